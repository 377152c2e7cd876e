"""Miyawaki et al. (2008) as nilearn's ``fetch_miyawaki2008`` leaves it.

There are no onsets: the label of each volume says what was on the screen, and the
response comes two volumes later. A block of volumes with one pattern is a trial, whose
response is their mean, in percent of the run's mean, without its linear trend.
"""

import logging
import re
from pathlib import Path

import numpy as np
import pandas as pd
from nilearn.signal import clean
from PIL import Image

from bids_recon.dataset.images import read_volume, read_volumes
from bids_recon.dataset.importers.request import Request
from bids_recon.dataset.importers.target import (
    About,
    Source,
    Target,
    check_free,
    linked,
)
from bids_recon.dataset.importers.volumes import (
    check_volumes,
    in_memory,
    read_mask,
    write_regions,
    writer,
)
from bids_recon.errors import Status, UserError, first_few
from bids_recon.files import read_text, write_whole

logger = logging.getLogger("bids_recon")

ABOUT = About(
    importer="miyawaki",
    name="Miyawaki 2008, visual image reconstruction",
    licence="As stated by Kamitani Lab's data of 2008 (see nilearn's description)",
    url="https://nilearn.github.io",
    cite="Miyawaki et al. (2008). Neuron 60, 915-929. doi:10.1016/j.neuron.2008.11.004",
)
SUBJECT, SPACE = "sub-01", "space-boldref"
REPETITION_TIME = 2.0
LAG = 2
"""Volumes after which the response to a label comes."""

SIDE = 10
REST = -1
SPLITS = {"random": "train", "figure": "test"}


def import_miyawaki(request: Request) -> None:
    """Make a BIDS dataset of what nilearn fetched.

    Raises
    ------
    UserError
        If something is missing, or does not fit together.
    """
    check_free(request.bids_dir, ABOUT)
    runs, masks = _find(request.place)
    mask, _ = read_mask(masks["mask"])
    tables, patterns = {}, {}
    for key, (image, label) in runs.items():
        labels = read_labels(label)
        check_volumes(image, mask.shape, len(labels), label.name)
        tables[key], own = blocks_of(labels, *key)
        patterns |= own
    for task in SPLITS:
        own = [table for (name, _), table in tables.items() if name == task]
        n_trials = sum(len(table) for table in own)
        logger.info("%s: %d runs, %d trials.", task, len(own), n_trials)
    if request.dry_run:
        return
    target = Target(request.bids_dir, ABOUT, request.source)
    _write_anatomy(request, target, masks)
    for (task, run), (image, label) in runs.items():
        _write_run(target, task, run, image, label, masks["mask"], tables[task, run])
    folder = target.stimuli / "patterns"
    for name, pixels in patterns.items():
        picture = Image.fromarray(pixels.astype(np.uint8) * 255)
        write_whole(
            folder / name, lambda part, own=picture: own.save(part, format="PNG")
        )
    target.finish()


def _find(
    root: Path,
) -> tuple[dict[tuple[str, str], tuple[Path, Path]], dict[str, Path]]:
    """Return image and labels of each run, and masks by their names."""
    if not (root / "func").is_dir() and (root / "miyawaki2008").is_dir():
        root = root / "miyawaki2008"
    runs = {}
    for image in sorted((root / "func").glob("data_*_run*.nii.gz")):
        match = re.fullmatch(r"data_(figure|random)_run(\d+)\.nii\.gz", image.name)
        if match is None:
            continue
        stem = image.name.removesuffix(".nii.gz")
        label = root / "label" / f"{stem}_label.csv"
        if not label.is_file():
            raise UserError(
                f"{label}: there is no such file. It says what each volume of "
                f"{image.name} showed.",
                Status.NO_INPUT,
            )
        runs[match.group(1), match.group(2)] = (image, label)
    if not runs:
        raise UserError(
            f"{root}: there is no func/data_figure_run01.nii.gz and so on. SOURCE is "
            "the folder miyawaki2008 that nilearn's fetch_miyawaki2008 leaves.",
            Status.NO_INPUT,
        )
    _check_runs(root, runs)
    masks = {
        path.name.removesuffix(".nii.gz"): path
        for path in sorted((root / "mask").glob("*.nii.gz"))
    }
    if "mask" not in masks:
        raise UserError(f"{root / 'mask/mask.nii.gz'}: no such file.", Status.NO_INPUT)
    return runs, masks


def _check_runs(root: Path, runs: dict[tuple[str, str], tuple[Path, Path]]) -> None:
    for task in SPLITS:
        numbers = sorted(int(number) for name, number in runs if name == task)
        missing = sorted(set(range(1, max(numbers, default=1) + 1)) - set(numbers))
        if missing:
            names = [f"data_{task}_run{number:02d}.nii.gz" for number in missing]
            raise UserError(
                f"{root / 'func'}: {first_few(names)} missing. Fetch the dataset again "
                "with nilearn.",
                Status.NO_INPUT,
            )


def read_labels(path: Path) -> np.ndarray:
    """Return the label of each volume, (n_volumes, 100), of 0, 1, or -1 for rest.

    Raises
    ------
    UserError
        If a row is something else.
    """
    rows = []
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        if not line.strip():
            continue
        fields = line.split(",")
        try:
            values = [int(float(field)) for field in fields]
        except (ValueError, OverflowError):
            values = []
        known = set(values) <= {0, 1} or set(values) == {REST}
        if len(values) != SIDE * SIDE or not known:
            raise UserError(
                f"{path}: line {number} has {len(fields)} fields; expected "
                f"{SIDE * SIDE} of 0 or 1, or all -1, separated by commas."
            )
        rows.append(values)
    if not rows:
        raise UserError(f"{path}: the table is empty; expected a row for each volume.")
    return np.array(rows, dtype=np.int8).reshape(-1, SIDE * SIDE)


def blocks_of(
    labels: np.ndarray, task: str, run: str
) -> tuple[pd.DataFrame, dict[str, np.ndarray]]:
    """Return a row for each block of one pattern, and the patterns by their names.

    The 100 values of a label run down the columns of the pattern.

    Parameters
    ----------
    labels : array of shape (n_volumes, 100)
        -1 for rest.
    task, run : str
        As the file is called.
    """
    begins = np.r_[True, (labels[1:] != labels[:-1]).any(axis=1)]
    starts = np.flatnonzero(begins)
    stops = np.r_[starts[1:], len(labels)]
    rows, patterns = [], {}
    for start, stop in zip(starts.tolist(), stops.tolist(), strict=True):
        label = labels[start]
        # What comes two volumes later must have been measured.
        if (label == REST).any() or start + LAG >= len(labels):
            continue
        pixels = label.reshape(SIDE, SIDE, order="F")
        bits = "".join(map(str, pixels.ravel().tolist()))
        name = f"pattern-{int(bits, 2):025x}.png"
        patterns[name] = pixels
        rows.append(
            {
                "onset": start * REPETITION_TIME,
                "duration": (stop - start) * REPETITION_TIME,
                "stimulus": f"patterns/{name}",
                "run": run,
                "split": SPLITS[task],
                "first_volume": start + LAG,
                "n_volumes": min(stop + LAG, len(labels)) - start - LAG,
            }
        )
    columns = ["onset", "duration", "stimulus", "run", "split", "first_volume"]
    return pd.DataFrame(rows, columns=[*columns, "n_volumes"]), patterns


def _write_anatomy(request: Request, target: Target, masks: dict[str, Path]) -> None:
    """Link the brain mask, and write regions of both hemispheres, and of each."""
    brain = masks["mask"]
    image = target.path("anat", SUBJECT, SPACE, "desc-brain", suffix="mask.nii.gz")
    describe = {"Description": "Voxels with responses.", "Type": "Brain"}
    target.make(image, [Source.of(brain)], linked(brain, request.copy), describe)
    mask, affine = read_mask(brain)
    both: dict[str, np.ndarray] = {}
    single: dict[str, np.ndarray] = {}
    sources = [Source.of(brain)]
    for name, path in masks.items():
        match = re.fullmatch(r"[LR]H(\w+)", name)
        if match is None:
            continue
        values, _ = read_volume(path)
        if values.shape != mask.shape:
            raise UserError(
                f"{path}: its grid {values.shape} is not that of mask.nii.gz "
                f"{mask.shape}."
            )
        single[name] = values[mask] > 0
        region = match.group(1)
        both[region] = both.get(region, False) | single[name]
        sources.append(Source.of(path))
    write_regions(target, (SUBJECT, SPACE), both | single, mask, affine, sources)


def _write_run(
    target: Target,
    task: str,
    run: str,
    image: Path,
    label: Path,
    mask_path: Path,
    table: pd.DataFrame,
) -> None:
    mask, affine = read_mask(mask_path)
    path = target.path(
        *("func", SUBJECT, f"task-{task}", f"run-{run}", SPACE),
        *("stat-effect", "desc-trial"),
        suffix="statmap.nii.gz",
    )
    describe = {
        "Description": "Each volume is a row of the events: the mean of the volumes of "
        "a block, two volumes late, without linear trend.",
        "Units": "percent signal change",
    }

    def write(part: Path) -> None:
        values = responses_of(image, mask, table)
        writer(in_memory(values), len(table), mask, affine, np.float32)(part)

    target.make(path, [Source.of(image), Source.of(label)], write, describe, table)


def responses_of(image: Path, mask: np.ndarray, table: pd.DataFrame) -> np.ndarray:
    """Return the response to each block, (n_trials, n_voxels), percent.

    Parameters
    ----------
    image : Path
        A run.
    mask : array of shape (x, y, z), bool
    table : DataFrame
        As ``blocks_of`` returns it.
    """
    series = clean(read_volumes(image, mask), detrend=True, standardize="psc")
    first, count = table["first_volume"], table["n_volumes"]
    return np.array(
        [series[a : a + n].mean(axis=0) for a, n in zip(first, count, strict=True)],
        dtype=np.float32,
    )
