"""What to do where a participant has nothing that could be read."""

from pathlib import Path
from typing import Any

from bids_recon.dataset.layout import Dataset
from bids_recon.errors import Status, UserError


def nothing_to_read(dataset: Dataset, subject: str, files: list[Any]) -> UserError:
    """Return why a participant has nothing to read, and what to do.

    Parameters
    ----------
    dataset : Dataset
        What was looked through.
    subject : str
        The participant.
    files : list of BIDSFile
        What there is before sessions, tasks and runs were selected.
    """
    settings = dataset.settings
    if files:
        names = sorted({Path(file.path).name for file in files})
        return UserError(
            f"sub-{subject}: the filters select none of its {len(names)} runs. There "
            f"is, for instance, {names[0]}. Check --session-label, --task-id and "
            "--run-id.",
            Status.NOTHING_SELECTED,
        )
    if not dataset.derivatives:
        return UserError(
            f"{settings.bids_dir}: there are no derivatives. bids-recon reads "
            "preprocessed BOLD: run fMRIPrep first, or say where its output is with "
            "--derivatives fmriprep=PATH.",
            Status.NO_INPUT,
        )
    if settings.bids_filter_file:
        return UserError(
            f"sub-{subject}: with the filters of {settings.bids_filter_file}, no "
            "desc-preproc_bold and no single-trial responses are left.",
            Status.NOTHING_SELECTED,
        )
    told = _told(dataset, subject)
    return UserError(
        told
        or f"sub-{subject}: no preprocessed BOLD and no single-trial responses in "
        f"{', '.join(str(path) for path in dataset.links.values())}. Expected files "
        f"like sub-{subject}_task-TASK_space-T1w_desc-preproc_bold.nii.gz. Run "
        "fMRIPrep first, or say where its output is with --derivatives NAME=PATH.",
        Status.NO_INPUT,
    )


def _told(dataset: Dataset, subject: str) -> str | None:
    """Return what derivatives hold that is known and not read, and what to do."""
    for name, layout in dataset.derivatives.items():
        root = dataset.links[name]
        for kind, entities in KNOWN.items():
            found = layout.get(subject=subject, **entities)
            if found:
                what, advice = ADVICE[kind]
                return f"{root}: {what} ({found[0].filename}). {advice}"
    return None


KNOWN: dict[str, dict[str, Any]] = {
    "xcp-d": {"suffix": "bold", "desc": ["denoised", "denoisedSmoothed"]},
    "cifti": {"suffix": "bold", "extension": ".dtseries.nii"},
    "surfaces": {"suffix": "bold", "extension": ".func.gii"},
    "minimal": {"suffix": "boldref", "desc": ["hmc", "coreg"]},
}
"""Entities by which pybids finds what is known and not read."""

ADVICE = {
    "xcp-d": (
        "this is XCP-D output, from which the responses to single pictures were "
        "filtered out together with what XCP-D takes for noise",
        "Read the fMRIPrep output that it was made from: --derivatives fmriprep=PATH",
    ),
    "cifti": (
        "there is BOLD on the surface and in grayordinates only (CIFTI), which is not "
        "read",
        "Run fMRIPrep again with --output-spaces T1w; it can keep --cifti-output, and "
        "starts from what is in its work directory",
    ),
    "surfaces": (
        "there is BOLD on surfaces only (GIFTI), which is not read",
        "Run fMRIPrep again with --output-spaces T1w",
    ),
    "minimal": (
        "this is fMRIPrep output at the minimal level: it has registrations "
        "(desc-hmc_boldref, desc-coreg_boldref) but no desc-preproc_bold, brain masks "
        "or confounds in a space that could be read",
        "Run fMRIPrep again with --level full (it can start from these files with "
        "--derivatives) and --output-spaces T1w",
    ),
}
"""What it is, and what to do."""
