"""One participant of the Natural Scenes Dataset's shape, from start to page.

At full size 30,000 trials in 480 runs of 40 sessions, 10,000 pictures of 425 pixels,
1,000 of them, with their three repeats, for test, and 15,724 voxels. Single-trial
responses lie by session as int16, as the release has them. ``--fraction 1/16`` takes as
small a part of the trials and pictures; ``--voxels`` says how many voxels. Data that
were simulated before (``--simulate FOLDER``) are taken with ``--data``.
"""

import argparse
import json
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
from PIL import Image

N_PICTURES, N_TEST, N_REPEATS, N_SESSIONS = 10_000, 1_000, 3, 40
RUNS_PER_SESSION, N_VOXELS, SIDE = 12, 15_724, 425
GRID = (28, 28, 24)
SCALE = 300
COARSE = 8
START = "start and plan"
SPACE, TASK = "func1pt8mm", "nsdcore"


@dataclass(frozen=True)
class Size:
    """How much is simulated.

    Parameters
    ----------
    fraction : Fraction
        Of NSD's trials and pictures.
    n_voxels : int
        Voxels of the regions.
    side : int
        Pixels of a picture.
    """

    fraction: Fraction
    n_voxels: int = N_VOXELS
    side: int = SIDE

    @property
    def n_pictures(self) -> int:
        """Distinct pictures."""
        return int(N_PICTURES * self.fraction)

    @property
    def n_sessions(self) -> int:
        """Sessions, among which trials are spread."""
        return max(2, round(N_SESSIONS * self.fraction))


def simulate(folder: Path, size: Size) -> None:
    """Write the dataset: pictures, and voxels that see their coarse colours."""
    rng = np.random.default_rng(0)
    coarse = rng.random((size.n_pictures, COARSE, COARSE, 3)).astype(np.float32)
    names = [f"shared-{row:05d}.jpg" for row in range(int(N_TEST * size.fraction))]
    names += [f"own-{row:05d}.jpg" for row in range(len(names), size.n_pictures)]
    stimuli = folder / "stimuli" / "nsd"
    stimuli.mkdir(parents=True)
    for name, colours in zip(names, coarse, strict=True):
        small = Image.fromarray((colours * 255).round().astype(np.uint8))
        large = small.resize((size.side, size.side), Image.Resampling.BICUBIC)
        large.save(stimuli / name, quality=90)
    betas = folder / "derivatives" / "betas"
    for place, kind in ((folder, "raw"), (betas, "derivative")):
        description = {
            "Name": "Of NSD's shape",
            "BIDSVersion": "1.10.0",
            "DatasetType": kind,
        }
        write(place / "dataset_description.json", description)
    inside = np.zeros(int(np.prod(GRID)), dtype=np.uint8)
    inside[rng.permutation(inside.size)[: size.n_voxels]] = 1
    inside = inside.reshape(GRID)
    affine = np.diag([1.8, 1.8, 1.8, 1])
    anat = betas / "sub-01" / "anat"
    anat.mkdir(parents=True)
    nib.Nifti1Image(inside, affine).to_filename(
        anat / f"sub-01_space-{SPACE}_label-nsdgeneral_mask.nii.gz"
    )
    latent = (coarse.reshape(size.n_pictures, -1) - 0.5) * np.sqrt(12)
    mixing = rng.standard_normal((latent.shape[1], size.n_voxels), dtype=np.float32)
    mixing /= np.sqrt(latent.shape[1])
    # Each presentation of all pictures is spread over all sessions.
    order = rng.permutation(np.repeat(np.arange(size.n_pictures), N_REPEATS))
    for number, shown in enumerate(np.array_split(order, size.n_sessions), start=1):
        drive = latent[shown] @ mixing
        drive += rng.standard_normal(drive.shape, dtype=np.float32)
        write_session(betas, number, shown, names, drive, inside, affine)


def write_session(
    betas: Path,
    number: int,
    shown: np.ndarray,
    names: list[str],
    values: np.ndarray,
    inside: np.ndarray,
    affine: np.ndarray,
) -> None:
    """Write the responses and trials of a session."""
    func = betas / "sub-01" / f"ses-nsd{number:02d}" / "func"
    func.mkdir(parents=True)
    stem = func / f"sub-01_ses-nsd{number:02d}_task-{TASK}_space-{SPACE}"
    volumes = np.zeros((*inside.shape, len(shown)), dtype=np.int16)
    volumes[inside > 0] = (values * SCALE).round().clip(-32768, 32767).T
    image = nib.Nifti1Image(volumes, affine)
    image.to_filename(f"{stem}_stat-effect_desc-trial_statmap.nii.gz")
    write(
        Path(f"{stem}_stat-effect_desc-trial_statmap.json"), {"ScaleFactor": 1 / SCALE}
    )
    place = np.arange(len(shown)) // -(-len(shown) // RUNS_PER_SESSION)
    table = pd.DataFrame(
        {
            "onset": 4.0 * np.arange(len(shown)),
            "duration": 3.0,
            "run": [f"{run + 1:02d}" for run in place],
            "stimulus": [f"nsd/{names[row]}" for row in shown],
            "split": [
                "test" if names[row].startswith("shared") else "train" for row in shown
            ],
        }
    )
    table.to_csv(f"{stem}_desc-trial_events.tsv", sep="\t", index=False)


def write(path: Path, data: dict[str, object]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(data, indent=2) + "\n", encoding="utf-8")


@dataclass
class Stage:
    """What a stage took.

    Parameters
    ----------
    wall, cpu : float, s
        By the clock, and of processors.
    peak_gb : float, GB
        Memory at most.
    """

    wall: float = 0.0
    cpu: float = 0.0
    peak_gb: float = 0.0


def run(data: Path, out: Path, recipe: str, more: list[str]) -> dict[str, object]:
    """Run a recipe from start to page; return what each stage took, and all of it."""
    command = [
        *(sys.executable, "-m", "bids_recon", str(data), str(out)),
        *("participant", "--recipe", recipe, "--roi", "nsdgeneral"),
        *("--split", "column:split", "--n-procs", "1", "-v", *more),
    ]
    started = time.perf_counter()
    stages, said = {START: Stage()}, []
    with subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as process:
        known = 0.0
        for line in process.stderr:
            said.append(line)
            done = re.search(r"(\w+(?: \S+)*): done in ([\d.]+) s", line)
            if done is None:
                continue
            seconds, cpu = float(done[2]), used(process.pid) - known
            known += cpu
            if len(stages) == 1:
                # What went before the first job.
                stages[START].cpu = max(0.0, cpu - seconds)
                cpu -= stages[START].cpu
            stage = stages.setdefault(stage_of(done[1]), Stage())
            stage.wall += seconds
            stage.cpu += cpu
            stage.peak_gb = max(stage.peak_gb, peak_since(process.pid))
    if process.returncode:
        raise SystemExit("".join(said))
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    wall = time.perf_counter() - started
    stages[START].wall = wall - sum(stage.wall for stage in stages.values())
    return {
        "recipe": recipe,
        "wall": wall,
        "cpu": after.ru_utime + after.ru_stime,
        # The first stage's peak counts for all that went before it, too.
        "peak_gb": max(stage.peak_gb for stage in stages.values()),
        "stages": {name: vars(stage) for name, stage in stages.items()},
    }


def used(pid: int) -> float:
    """Return the seconds of processors that a process has taken."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def peak_since(pid: int) -> float:
    """Return the most memory that a process had since this was last asked, in GB."""
    status = Path(f"/proc/{pid}/status").read_text()
    Path(f"/proc/{pid}/clear_refs").write_text("5")
    return int(re.search(r"VmHWM:\s+(\d+)", status)[1]) / 2**20


def stage_of(job: str) -> str:
    """Return the stage of a job, by its name."""
    known = (
        *("responses", "reference", "ceiling", "rois", "decode", "generate"),
        *("evaluate", "report"),
    )
    words = job.split()
    return next((word for word in known if word in words), job)


def apart(*arguments: str) -> list[str]:
    """Run this file in another process, so that each peak of memory is its own."""
    command = [sys.executable, __file__, *arguments]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return done.stdout.splitlines()


def report(size: Size, found: dict[str, object]) -> None:
    load = os.getloadavg()[0]
    print(
        f"{found['recipe']} at {size.fraction} of the trials and pictures "
        f"({3 * size.n_pictures} and {size.n_pictures}), {size.n_voxels} voxels: "
        f"{found['wall']:.0f} s, {found['cpu']:.0f} s of a core, "
        f"{found['peak_gb']:.2f} GB at most; load {load:.1f}"
    )
    for name, stage in found["stages"].items():
        print(
            f"  {name}: {stage['wall']:.1f} s, {stage['cpu']:.1f} s of a core, "
            f"{stage['cpu'] / found['cpu']:.0%}; {stage['peak_gb']:.2f} GB",
            flush=True,
        )


def exponents(rows: list[tuple[Size, dict[str, object]]]) -> None:
    """Print with which power of the number of trials the cost of stages grows."""
    for recipe in dict.fromkeys(found["recipe"] for _, found in rows):
        own = [(size, found) for size, found in rows if found["recipe"] == recipe]
        trials = [3 * size.n_pictures for size, _ in own]
        if len(set(trials)) < 2:
            continue
        cost = {"all": [found["cpu"] for _, found in own]}
        for name in own[0][1]["stages"]:
            cost[name] = [found["stages"][name]["cpu"] for _, found in own]
        for name, seconds in cost.items():
            if min(seconds) > 0:
                power = np.polyfit(np.log(trials), np.log(seconds), 1)[0]
                print(f"{recipe}, {name}: trials ** {power:.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, help="where the data fit")
    parser.add_argument("--data", type=Path, nargs="+", help="simulated before")
    parser.add_argument("--fraction", type=Fraction, nargs="+", default=[Fraction(1)])
    parser.add_argument("--voxels", type=int, nargs="+", default=[N_VOXELS])
    parser.add_argument("--side", type=int, default=SIDE)
    parser.add_argument("--recipe", nargs="+", default=["eigenimage"])
    parser.add_argument("--option", action="append", default=[], help="of bids-recon")
    parser.add_argument("--figure", type=Path, help="where cost is drawn, as PNG")
    parser.add_argument("--simulate", type=Path, help="only do that")
    parser.add_argument("--run", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.simulate:
        (fraction,), (voxels,) = options.fraction, options.voxels
        simulate(options.simulate, Size(fraction, voxels, options.side))
        return
    if options.run:
        (recipe,), (data,) = options.recipe, options.data
        print(json.dumps(run(data, options.run, recipe, options.option)))
        return
    rows = []
    given = iter(options.data or ())
    for fraction in options.fraction:
        for voxels in options.voxels:
            size = Size(fraction, voxels, options.side)
            with tempfile.TemporaryDirectory(dir=options.folder) as name:
                data = next(given, Path(name, "data"))
                if not data.is_dir():
                    shape = ("--fraction", str(fraction), "--voxels", str(voxels))
                    place = ("--simulate", str(data), "--side", str(options.side))
                    apart(*shape, *place)
                for recipe in options.recipe:
                    more = [f"--option={text}" for text in options.option]
                    place = ("--run", f"{name}/{recipe}", "--data", str(data))
                    found = json.loads(apart(*place, "--recipe", recipe, *more)[-1])
                    report(size, found)
                    rows.append((size, found))
    exponents(rows)
    if options.figure:
        draw(rows, options.figure)


def draw(rows: list[tuple[Size, dict[str, object]]], path: Path) -> None:
    """Draw seconds of a core and peak memory against the number of trials."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
    for axis, key, label in (
        (axes[0], "cpu", "seconds of a core"),
        (axes[1], "peak_gb", "peak memory [GB]"),
    ):
        for recipe, voxels in dict.fromkeys((f["recipe"], s.n_voxels) for s, f in rows):
            own = [
                (3 * size.n_pictures, found[key])
                for size, found in rows
                if (found["recipe"], size.n_voxels) == (recipe, voxels)
            ]
            axis.loglog(*zip(*own, strict=True), "o-", label=f"{recipe}, {voxels}")
        axis.set(xlabel="trials", ylabel=label)
        axis.tick_params(which="minor", labelbottom=False)
    axes[0].legend(title="recipe, voxels")
    # Memory does not span decades.
    axes[1].set(yscale="linear", ylim=(0, None))
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    main()
