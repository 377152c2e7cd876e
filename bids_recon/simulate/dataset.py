"""A BIDS dataset of a simulated experiment, with fMRIPrep-style derivatives."""

import json
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
from nilearn.glm.first_level import compute_regressor
from PIL import Image

from bids_recon.errors import Status, UserError
from bids_recon.simulate.brain import VOXELS, Brain, make_brain
from bids_recon.simulate.pictures import PICTURES

REPETITION_TIME = 2.0
TRIAL = 4.0
GAP = 4.0
LEAD = 8.0
TAIL = 14.0
BASELINE = 800.0
SIGNAL_PERCENT = 1.0
SPACE = "T1w"


@dataclass(frozen=True)
class Experiment:
    """What is simulated.

    Parameters
    ----------
    pictures : {'digits', 'patterns', 'photographs'}
        What is shown.
    n_participants, n_runs : int
        How many there are.
    n_pictures : int
        How many distinct pictures each participant sees.
    n_repeats : int
        How often each picture is shown, in different runs where there are enough.
    noise : float
        Standard deviation of the noise of a volume, in units of that of the response
        to pictures.
    shuffled : bool
        Whether the events name pictures at random, so that nothing can be decoded.
    seed : int
        Of all of it.
    n_prior : int
        How many more pictures, which nobody sees, are written to ``sourcedata/prior``.
    """

    pictures: str = "digits"
    n_participants: int = 2
    n_runs: int = 4
    n_pictures: int = 100
    n_repeats: int = 1
    noise: float = 1.0
    shuffled: bool = False
    seed: int = 0
    n_prior: int = 0

    def __post_init__(self) -> None:
        if self.pictures not in PICTURES:
            raise ValueError(
                f"pictures is one of {tuple(PICTURES)}, not {self.pictures!r}"
            )


def simulate_dataset(folder: Path, experiment: Experiment) -> None:
    """Write a dataset with raw events, pictures, preprocessed BOLD and regions.

    There is no raw BOLD, as in a clone whose images were not fetched.

    Raises
    ------
    UserError
        If the folder holds something already.
    """
    if folder.exists() and any(folder.iterdir()):
        raise UserError(
            f"{folder}: this folder is not empty. Choose an empty one.",
            Status.CANNOT_WRITE,
        )
    rng = np.random.default_rng(experiment.seed)
    n_pictures = experiment.n_pictures
    drawn, drawn_names = PICTURES[experiment.pictures](
        n_pictures + experiment.n_prior, rng
    )
    pictures, names = drawn[:n_pictures], drawn_names[:n_pictures]
    _write_root(folder, experiment, pictures, names)
    prior = folder / "sourcedata" / "prior"
    _write_pictures(prior, drawn[n_pictures:], drawn_names[n_pictures:])
    for number in range(experiment.n_participants):
        subject = f"{number + 1:02d}"
        own = np.random.default_rng([experiment.seed, number + 1])
        brain = make_brain(own)
        _write_regions(folder, subject, brain)
        _write_runs(folder, subject, brain, experiment, pictures, names, own)


def _write_root(
    folder: Path, experiment: Experiment, pictures: np.ndarray, names: list[str]
) -> None:
    _write_pictures(folder / "stimuli" / experiment.pictures, pictures, names)
    _json(
        folder / "dataset_description.json",
        {
            "Name": f"Simulated responses to {experiment.pictures}",
            "BIDSVersion": "1.10.0",
            "DatasetType": "raw",
            "License": "CC0",
            "GeneratedBy": [{"Name": "bids-recon simulate"}],
        },
    )
    (folder / "README").write_text(
        "A simulated experiment: pictures, voxels with receptive fields in V1, V2 and "
        "V3 and with categories in a ventral region, and the BOLD they give.\n"
    )
    subjects = [f"sub-{n + 1:02d}" for n in range(experiment.n_participants)]
    (folder / "participants.tsv").write_text(
        "\n".join(["participant_id", *subjects]) + "\n"
    )
    task = experiment.pictures
    columns = {
        "stim_file": {"Description": "The picture shown, below stimuli/"},
        "category": {"Description": "The category of the picture"},
    }
    _json(folder / f"task-{task}_events.json", columns)
    for name in ("fmriprep", "rois"):
        description = {
            "Name": f"Simulated {name}",
            "BIDSVersion": "1.10.0",
            "DatasetType": "derivative",
            "License": "CC0",
            "GeneratedBy": [{"Name": "bids-recon simulate"}],
        }
        _json(folder / "derivatives" / name / "dataset_description.json", description)


def _write_pictures(folder: Path, pictures: np.ndarray, names: list[str]) -> None:
    for picture, name in zip(pictures, names, strict=True):
        folder.mkdir(parents=True, exist_ok=True)
        pixels = (picture * 255).round().astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{name}.png")


def _write_regions(folder: Path, subject: str, brain: Brain) -> None:
    for name in VOXELS:
        mask = brain.region_mask(name).astype(np.uint8)
        path = (
            folder / "derivatives" / "rois" / f"sub-{subject}" / "anat"
        ) / f"sub-{subject}_space-{SPACE}_label-{name}_mask.nii.gz"
        path.parent.mkdir(parents=True, exist_ok=True)
        nib.Nifti1Image(mask, brain.affine).to_filename(path)


def _write_runs(
    folder: Path,
    subject: str,
    brain: Brain,
    experiment: Experiment,
    pictures: np.ndarray,
    names: list[str],
    rng: np.random.Generator,
) -> None:
    categories = np.array([name.split("-")[0] for name in names])
    drive = brain.drive(pictures, categories)
    # Each repeat of all pictures is spread over the runs before the next one begins.
    shown = np.concatenate(
        [rng.permutation(len(pictures)) for _ in range(experiment.n_repeats)]
    )
    named = rng.permutation(len(pictures)) if experiment.shuffled else None
    for number, order in enumerate(np.array_split(shown, experiment.n_runs)):
        run = f"sub-{subject}_task-{experiment.pictures}_run-{number + 1:02d}"
        onsets = LEAD + (TRIAL + GAP) * np.arange(len(order))
        told = order if named is None else named[order]
        events = pd.DataFrame(
            {
                "onset": onsets,
                "duration": TRIAL,
                "category": categories[told],
                "stim_file": [
                    f"{experiment.pictures}/{names[picture]}.png" for picture in told
                ],
            }
        )
        path = folder / f"sub-{subject}" / "func" / f"{run}_events.tsv"
        path.parent.mkdir(parents=True, exist_ok=True)
        events.to_csv(path, sep="\t", index=False)
        bold, confounds = _bold(brain, drive[order], onsets, experiment.noise, rng)
        _write_derivatives(folder, subject, run, brain, bold, confounds)


def _bold(
    brain: Brain,
    drive: np.ndarray,
    onsets: np.ndarray,
    noise: float,
    rng: np.random.Generator,
) -> tuple[np.ndarray, pd.DataFrame]:
    """Return intensities (n_volumes, n_voxels) and the confounds in them."""
    n_volumes = int(np.ceil((onsets[-1] + TRIAL + TAIL) / REPETITION_TIME))
    times = REPETITION_TIME * np.arange(n_volumes)
    regressors = np.stack(
        [
            compute_regressor(np.array([[onset], [TRIAL], [1.0]]), "glover", times)[0][
                :, 0
            ]
            for onset in onsets
        ],
        axis=1,
    )
    regressors /= regressors.max()
    seen = (brain.region != "").astype(float)
    # A picture drives all voxels of the regions, and some of them more than others.
    signal = regressors @ (drive + 2 * seen)
    shape = (n_volumes, drive.shape[1])
    white = rng.standard_normal(shape)
    for volume in range(1, n_volumes):
        white[volume] = 0.4 * white[volume - 1] + np.sqrt(1 - 0.16) * white[volume]
    slow = np.linspace(-1, 1, n_volumes)[:, None]
    drift = slow * rng.standard_normal(shape[1]) + slow**2 * rng.standard_normal(
        shape[1]
    )
    motion = np.cumsum(rng.standard_normal((n_volumes, 6)) * 0.01, axis=0)
    moved = motion @ rng.standard_normal((6, shape[1])) * 2
    percent = SIGNAL_PERCENT * (signal + noise * white + drift + moved)
    baseline = BASELINE * rng.uniform(0.8, 1.2, shape[1])
    names = [f"{kind}_{axis}" for kind in ("trans", "rot") for axis in "xyz"]
    confounds = pd.DataFrame(motion, columns=names)
    confounds["csf"] = slow[:, 0] + 0.1 * rng.standard_normal(n_volumes)
    confounds["white_matter"] = 0.1 * rng.standard_normal(n_volumes)
    return (baseline * (1 + percent / 100)).astype(np.float32), confounds


def _write_derivatives(
    folder: Path,
    subject: str,
    run: str,
    brain: Brain,
    bold: np.ndarray,
    confounds: pd.DataFrame,
) -> None:
    func = folder / "derivatives" / "fmriprep" / f"sub-{subject}" / "func"
    func.mkdir(parents=True, exist_ok=True)
    image = brain.image(bold)
    image.header.set_xyzt_units("mm", "sec")
    image.header.set_zooms((*image.header.get_zooms()[:3], REPETITION_TIME))
    image.to_filename(func / f"{run}_space-{SPACE}_desc-preproc_bold.nii.gz")
    _json(
        func / f"{run}_space-{SPACE}_desc-preproc_bold.json",
        {"RepetitionTime": REPETITION_TIME, "SkullStripped": True},
    )
    mask = nib.Nifti1Image(brain.mask.astype(np.uint8), brain.affine)
    mask.to_filename(func / f"{run}_space-{SPACE}_desc-brain_mask.nii.gz")
    confounds.to_csv(
        func / f"{run}_desc-confounds_timeseries.tsv", sep="\t", index=False
    )
    _json(func / f"{run}_desc-confounds_timeseries.json", {})


def _json(path: Path, data: dict[str, object]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(data, indent=2) + "\n", encoding="utf-8")
