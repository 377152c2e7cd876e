"""Made-up releases that are not BIDS, with the keys, dtypes and orders of the real.

Each is written with what wrote the real one where that runs here (pandas and PyTables
for THINGS-fMRI, bdpy for BData), and its responses are pictures through random weights.
"""

import json
import subprocess
import sys
import warnings
from dataclasses import dataclass
from pathlib import Path

import h5py
import nibabel as nib
import numpy as np
import pandas as pd
from bdpy import BData
from PIL import Image
from scipy.io import savemat
from sklearn.datasets import load_digits

GRID = (9, 8, 7)
AFFINE = np.array(
    [[1.8, 0, 0, -7.2], [0, 1.8, 0, -6.3], [0, 0, 1.8, -5.4], [0, 0, 0, 1.0]]
)


VALIDATOR = Path(sys.executable).with_name("bids-validator-deno")


def validator_errors(folder: Path) -> list[dict]:
    """Return what the official validator calls an error."""
    done = subprocess.run(
        [VALIDATOR, "--json", folder], capture_output=True, text=True, check=False
    )
    issues = json.loads(done.stdout)["issues"]["issues"]
    return [issue for issue in issues if issue["severity"] == "error"]


def digits(n: int, seed: int = 0) -> np.ndarray:
    """Return pictures (n, 8, 8) in [0, 1], no two equal."""
    images = load_digits().images / 16
    return images[np.random.default_rng(seed).permutation(len(images))[:n]]


def responses(
    pictures: np.ndarray, n_voxels: int, noise: float = 0.5, seed: int = 1
) -> np.ndarray:
    """Return (n, n_voxels): pictures through random weights, about 1 in size."""
    rng = np.random.default_rng(seed)
    flat = pictures.reshape(len(pictures), -1)
    flat = (flat - flat.mean(axis=0)) / (flat.std() or 1)
    weights = rng.normal(size=(flat.shape[1], n_voxels)) / np.sqrt(flat.shape[1])
    return flat @ weights + noise * rng.normal(size=(len(flat), n_voxels))


def save(path: Path, data: np.ndarray, affine: np.ndarray = AFFINE) -> Path:
    """Write a NIfTI file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = nib.Nifti1Image(data, affine)
    image.header.set_xyzt_units("mm", "sec")
    image.to_filename(path)
    return path


@dataclass(frozen=True)
class Nsd:
    """A made-up Natural Scenes Dataset, and what is in it."""

    folder: Path
    ordering: np.ndarray
    pictures: np.ndarray
    betas: dict[tuple[int, int], np.ndarray]
    mask: np.ndarray
    visual: np.ndarray
    brick: np.ndarray


NSD_SIDE = 8
"""Of the made-up pictures; the real ones have 425 pixels."""


def make_nsd(
    folder: Path,
    subjects: tuple[int, ...] = (2,),
    sessions: tuple[int, ...] = (1, 2),
    hdf5: bool = True,
    flips: tuple[int, ...] = (),
    n_repeated: int = 160,
    chunked: bool = False,
    grid: tuple[int, int, int] = GRID,
) -> Nsd:
    """Write betas as NIfTI and HDF5, the design, regions, behaviour and pictures.

    Of the pictures of the sessions, so few differ that decoders can learn them.
    """
    rng = np.random.default_rng(5)
    ordering = rng.permutation(np.repeat(np.arange(1, 10001), 3))
    # Of the first sessions, a few pictures, of which every fifth is shared.
    few = rng.permutation(
        np.r_[
            np.arange(1, 1001)[: n_repeated // 5],
            np.arange(1001, 10001)[: n_repeated - n_repeated // 5],
        ]
    )
    n_first = 750 * max(sessions)
    ordering[:n_first] = np.resize(few, n_first)
    ordering[:n_first] = rng.permutation(ordering[:n_first])
    images = np.stack([1 + rng.permutation(73000)[:10000] for _ in range(8)]).astype(
        np.uint32
    )
    images[:, :1000] = images[0, :1000]
    design = folder / "nsddata/experiments/nsd/nsd_expdesign.mat"
    design.parent.mkdir(parents=True)
    pattern = np.zeros((40, 12, 75), dtype=np.uint8)
    for run in range(12):
        pattern[:, run, : 63 - run % 2] = 1
    savemat(
        design,
        {
            "masterordering": ordering[None].astype(np.uint16),
            "subjectim": images,
            "sharedix": images[:1, :1000],
            "stimpattern": pattern,
        },
        do_compression=True,
    )
    shown = {
        (s, n): images[s - 1, ordering[(n - 1) * 750 : n * 750] - 1]
        for s in subjects
        for n in sessions
    }
    numbers = np.unique(np.concatenate(list(shown.values())))
    brick = _nsd_pictures(folder, numbers, chunked)
    mask = np.zeros(grid, dtype=bool)
    mask[1:-1, 1:-1, 1:-1] = True
    mask[1, 1, 1] = False  # no two flips alike
    visual = np.zeros(grid, dtype=np.int16)
    visual[2:-2, 2:5, 2:4] = 1
    visual[2:-2, 2:5, 4] = 2
    visual[0] = -1
    betas = {}
    for subject in subjects:
        _nsd_participant(folder, subject, mask, visual)
        _nsd_behaviour(folder, subject, sessions, shown)
        for session in sessions:
            own = brick[shown[subject, session] - 1] / 255
            values = responses(own[..., 0], int(mask.sum()), seed=subject)
            values = (values * 300).astype(np.int16)
            betas[subject, session] = values
            _nsd_session(folder, subject, session, values, mask, hdf5, flips)
    return Nsd(folder, ordering, images, betas, mask, visual, brick)


def _nsd_pictures(folder: Path, numbers: np.ndarray, chunked: bool) -> np.ndarray:
    path = folder / "nsddata_stimuli/stimuli/nsd/nsd_stimuli.hdf5"
    path.parent.mkdir(parents=True)
    brick = np.zeros((73000, NSD_SIDE, NSD_SIDE, 3), dtype=np.uint8)
    drawn = np.resize(digits(1700), (len(numbers), 8, 8))
    brick[numbers - 1] = (drawn[..., None] * 255).astype(np.uint8)
    with h5py.File(path, "w") as file:
        if chunked:
            own = file.create_dataset(
                "imgBrick", brick.shape, np.uint8, chunks=(1, *brick.shape[1:])
            )
            for number in numbers:
                own[number - 1] = brick[number - 1]
        else:
            file["imgBrick"] = brick
    return brick


def _nsd_participant(
    folder: Path, subject: int, mask: np.ndarray, visual: np.ndarray
) -> None:
    own = folder / f"nsddata/ppdata/subj{subject:02d}/func1pt8mm"
    save(own / "brainmask.nii.gz", mask.astype(np.int16))
    save(own / "roi/prf-visualrois.nii.gz", visual)
    save(own / "roi/nsdgeneral.nii.gz", np.where(visual > 0, 1, visual))
    save(own / "roi/lh.prf-visualrois.nii.gz", visual)
    labels = folder / f"nsddata/freesurfer/subj{subject:02d}/label"
    labels.mkdir(parents=True)
    (labels / "prf-visualrois.mgz.ctab").write_text("0 Unknown\n1 V1v\n2 V1d\n")
    (labels / "nsdgeneral.mgz.ctab").write_text("0 Unknown\n1 nsdgeneral\n")
    ncsnr = np.where(mask, 0.4, 0).astype(np.float32)
    betas = folder / f"nsddata_betas/ppdata/subj{subject:02d}/func1pt8mm"
    save(betas / "betas_fithrf_GLMdenoise_RR/ncsnr.nii.gz", ncsnr)


def _nsd_behaviour(
    folder: Path,
    subject: int,
    sessions: tuple[int, ...],
    shown: dict[tuple[int, int], np.ndarray],
) -> None:
    rows = [
        {"SUBJECT": subject, "SESSION": session, "RUN": 1, "TRIAL": 1, "73KID": number}
        for session in sessions
        for number in shown[subject, session]
    ]
    path = folder / f"nsddata/ppdata/subj{subject:02d}/behav/responses.tsv"
    path.parent.mkdir(parents=True)
    pd.DataFrame(rows).to_csv(path, sep="\t", index=False)


def _nsd_session(
    folder: Path,
    subject: int,
    session: int,
    values: np.ndarray,
    mask: np.ndarray,
    hdf5: bool,
    flips: tuple[int, ...],
) -> None:
    own = folder / (
        f"nsddata_betas/ppdata/subj{subject:02d}/func1pt8mm/betas_fithrf_GLMdenoise_RR"
    )
    data = np.zeros((*mask.shape, 750), dtype=np.int16)
    data[mask] = values.T
    save(own / f"betas_session{session:02d}.nii.gz", data)
    mean = data.astype(np.float32).mean(axis=3)
    save(own / f"meanbeta_session{session:02d}.nii.gz", mean)
    if hdf5:
        with h5py.File(own / f"betas_session{session:02d}.hdf5", "w") as file:
            turned = np.flip(data, flips) if flips else data
            file.create_dataset("betas", data=turned.T, chunks=(750, 1, 1, 1))


THINGS_GRID = (6, 5, 4)
THINGS_AFFINE = np.diag([2.0, 2.0, 2.0, 1.0])


@dataclass(frozen=True)
class Things:
    """A made-up THINGS-fMRI, and what is in it."""

    folder: Path
    stimuli: Path
    design: pd.DataFrame
    values: np.ndarray
    mask: np.ndarray


def make_things(
    folder: Path, n_sessions: int = 2, n_runs: int = 3, n_trials: int = 40
) -> Things:
    """Write the tables of responses, voxels and trials, the mask, and images of runs.

    Every fourth trial shows one of ten test pictures.
    """
    rng = np.random.default_rng(8)
    n = n_sessions * n_runs * n_trials
    drawn = digits(n + 10)
    picture = np.arange(n)
    picture[::4] = n + rng.permutation(np.resize(np.arange(10), len(picture[::4])))
    names = np.array([f"thing{i:04d}_{i % 12 + 1:02d}s.jpg" for i in range(n + 10)])
    design = pd.DataFrame(
        {
            "trial_type": np.where(picture >= n, "test", "train"),
            "session": np.repeat(np.arange(1, n_sessions + 1), n_runs * n_trials),
            "run": np.tile(np.repeat(np.arange(1, n_runs + 1), n_trials), n_sessions),
            "subject_id": 1,
            "trial_id": np.arange(n),
            "stimulus": names[picture],
            "concept": [name.split("_")[0] for name in names[picture]],
        }
    )
    stimuli = folder / "object_images"
    for name, pixels in zip(names, drawn, strict=True):
        path = stimuli / name.split("_")[0] / name
        path.parent.mkdir(parents=True)
        Image.fromarray((pixels * 255).astype(np.uint8)).save(path, quality=95)
    mask = np.zeros(THINGS_GRID, dtype=bool)
    mask[1:, 1:, :3] = True
    values = responses(drawn[picture], int(mask.sum())).astype(np.float32)
    _things_tables(folder, design, values, mask)
    _things_runs(folder, design, values, mask, rng)
    return Things(folder, stimuli, design, values, mask)


def _things_tables(
    folder: Path, design: pd.DataFrame, values: np.ndarray, mask: np.ndarray
) -> None:
    csv = folder / "betas_csv"
    csv.mkdir()
    n_voxels = int(mask.sum())
    frame = pd.DataFrame(values.T, columns=range(len(values)))
    frame.insert(0, "voxel_id", np.arange(n_voxels))
    with warnings.catch_warnings():
        # It says that it pickles the names of columns, which is what is wanted.
        warnings.simplefilter("ignore", pd.errors.PerformanceWarning)
        frame.to_hdf(csv / "sub-01_ResponseData.h5", key="ResponseData")
    design.to_csv(csv / "sub-01_StimulusMetadata.csv", index=False)
    places = np.argwhere(mask)
    half = (np.arange(n_voxels) < n_voxels // 2).astype(int)
    voxels = pd.DataFrame(
        {
            "voxel_id": np.arange(n_voxels),
            "subject_id": 1,
            "voxel_x": places[:, 0],
            "voxel_y": places[:, 1],
            "voxel_z": places[:, 2],
            "nc_singletrial": np.linspace(0, 60, n_voxels),
            "nc_testset": np.linspace(0, 90, n_voxels),
            "prf-size": np.linspace(0, 3, n_voxels),
            "V1": half,
            "lFFA": 1 - half,
            "LO1 (prf)": half,
            "glasser-V1": np.r_[1, half[1:]],
        }
    )
    voxels.to_csv(csv / "sub-01_VoxelMetadata.csv", index=False)
    path = folder / "brainmasks/sub-01_space-T1w_brainmask.nii.gz"
    save(path, mask.astype(np.uint8), THINGS_AFFINE)


def _things_runs(
    folder: Path,
    design: pd.DataFrame,
    values: np.ndarray,
    mask: np.ndarray,
    rng: np.random.Generator,
) -> None:
    for (session, run), own in design.groupby(["session", "run"]):
        names, rows = list(own["stimulus"]), list(own.index)
        for catch in (5, 17):
            names.insert(catch, f"catch{catch}.jpg")
            rows.insert(catch, -1)
        data = np.zeros((*mask.shape, len(rows)), dtype=np.float32)
        noise = rng.normal(size=values.shape[1])
        data[mask] = np.array([values[r] if r >= 0 else noise for r in rows]).T
        stem = f"sub-01_ses-things{session:02d}_run-{run:02d}"
        parent = folder / f"betas_vol/sub-01/ses-things{session:02d}"
        save(parent / f"{stem}_betas.nii.gz", data, THINGS_AFFINE)
        table = pd.DataFrame({"image_filename": names})
        table.to_csv(parent / f"{stem}_conditions.tsv", sep="\t")


GOD_GRID = (7, 6, 5)


@dataclass(frozen=True)
class God:
    """A made-up file of Generic Object Decoding, and what is in it."""

    file: Path
    stimuli: Path
    values: np.ndarray
    places: np.ndarray


def make_god(folder: Path, old: bool = False, indices: bool = False) -> God:
    """Write BData with bdpy: 120 pictures once, 20 eight times, 10 imagined."""
    rng = np.random.default_rng(11)
    drawn = digits(140)
    names = [(1440764 + 37 * n, 1000 + 7 * n) for n in range(140)]
    shown = np.r_[np.arange(120), np.tile(np.arange(120, 140), 8)]
    numbers = np.array([names[n][0] + names[n][1] / 1e6 for n in shown])
    imagined = np.array([names[n][0] for n in range(10)], dtype=float)
    stimuli = folder / "images"
    stimuli.mkdir(parents=True)
    for (category, number), pixels in zip(names, drawn, strict=True):
        path = stimuli / f"n{category:08d}_{number}.png"
        Image.fromarray((pixels * 255).astype(np.uint8)).save(path)
    places = np.argwhere(rng.random(GOD_GRID) < 0.4)
    places = places[np.lexsort(places.T)]  # the first index fastest
    seen = responses(drawn[shown], len(places))
    values = np.r_[seen, rng.normal(size=(10, len(places)))]
    data = BData()
    data.add(values, "VoxelData")
    kind = np.r_[np.full(120, 1.0), np.full(160, 2.0), np.full(10, 3.0)]
    data.add(kind[:, None], "DataType")
    data.add(np.r_[numbers, imagined][:, None], "stimulus_id")
    data.add(np.repeat(np.arange(1, 11), 29)[:, None].astype(float), "Run")
    half = (places[:, 1] < 3).astype(float)
    data.add_metadata("ROI_V1", half, "in V1", where="VoxelData")
    data.add_metadata("ROI_VC", np.ones(len(places)), "all", where="VoxelData")
    xyz = places * 3.0 - [10, 20, 5]
    for axis, name in enumerate("xyz"):
        data.add_metadata(f"voxel_{name}", xyz[:, axis], where="VoxelData")
    for axis, name in enumerate("ijk" if indices else ""):
        own = places[:, axis].astype(float)
        data.add_metadata(f"voxel_{name}", own, where="VoxelData")
    file = folder / "Subject3.h5"
    data.save(str(file))
    if old:
        with h5py.File(file, "r+") as opened:
            opened.move("dataset", "dataSet")
            opened.move("metadata", "metaData")
    return God(file, stimuli, values, places)


@dataclass(frozen=True)
class Miyawaki:
    """A made-up Miyawaki 2008 as nilearn leaves it, and what is in it."""

    folder: Path
    patterns: dict[str, list[np.ndarray]]
    mask: np.ndarray


def make_miyawaki(folder: Path, n_random: int = 6, n_figure: int = 2) -> Miyawaki:
    """Write runs of blocks: random patterns 3 volumes long, figures 6."""
    rng = np.random.default_rng(13)
    mask = np.zeros((6, 5, 4), dtype=bool)
    mask[1:5, 1:5, 1:4] = True
    weights = rng.normal(size=(100, int(mask.sum()))) / 10
    figures = (rng.random((5, 100)) < 0.5).astype(int)
    patterns: dict[str, list[np.ndarray]] = {}
    for task, n_runs, length, n_blocks in (
        ("random", n_random, 3, 22),
        ("figure", n_figure, 6, 10),
    ):
        for run in range(1, n_runs + 1):
            shown = (
                (rng.random((n_blocks, 100)) < 0.5).astype(int)
                if task == "random"
                else figures[rng.permutation(np.resize(np.arange(5), n_blocks))]
            )
            patterns[f"{task}_run{run:02d}"] = list(shown)
            rest = np.full((length, 100), -1)
            rows = [rest]
            for pattern in shown:
                rows += [np.tile(pattern, (length, 1)), rest]
            labels = np.concatenate(rows)
            _miyawaki_run(folder, f"{task}_run{run:02d}", labels, mask, weights, rng)
    save(folder / "mask/mask.nii.gz", mask.astype(np.int16))
    for hemi, side in (("LH", slice(0, 3)), ("RH", slice(3, 6))):
        for name, rows in (("V1d", slice(0, 3)), ("V1v", slice(3, 5))):
            region = np.zeros_like(mask)
            region[side, rows] = mask[side, rows]
            save(folder / f"mask/{hemi}{name}.nii.gz", region.astype(np.int16))
    save(folder / "bg.nii.gz", mask.astype(np.float32))
    return Miyawaki(folder, patterns, mask)


def _miyawaki_run(
    folder: Path,
    stem: str,
    labels: np.ndarray,
    mask: np.ndarray,
    weights: np.ndarray,
    rng: np.random.Generator,
) -> None:
    (folder / "label").mkdir(parents=True, exist_ok=True)
    np.savetxt(folder / f"label/data_{stem}_label.csv", labels, "%d", delimiter=",")
    signal = np.where(labels[:, :1] >= 0, (labels - 0.5) @ weights, 0)
    signal = np.r_[np.zeros((2, signal.shape[1])), signal[:-2]]  # two volumes late
    drift = np.linspace(-20, 20, len(labels))[:, None]
    noise = 2 * rng.normal(size=signal.shape)
    data = np.zeros((*mask.shape, len(labels)), dtype=np.float32)
    data[mask] = (800 + 16 * signal + drift + noise).T
    save(folder / f"func/data_{stem}.nii.gz", data)
