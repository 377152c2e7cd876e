"""Where the files of a participant of NSD are, and what is wanted of them."""

import logging
import re
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from bids_recon.dataset.images import read_volume
from bids_recon.dataset.importers.nsd_betas import INDEX
from bids_recon.dataset.importers.nsd_design import N_TRIALS
from bids_recon.dataset.importers.request import Request, choose
from bids_recon.dataset.importers.store import Store
from bids_recon.dataset.importers.volumes import read_mask, union
from bids_recon.errors import Status, UserError, first_few
from bids_recon.files import read_text

logger = logging.getLogger("bids_recon")

SPACE = "func1pt8mm"
BETAS = "betas_fithrf_GLMdenoise_RR"
N_SESSIONS = (40, 40, 32, 30, 40, 32, 40, 30)
"""Of the participants 1 to 8, in the whole release."""


@dataclass(frozen=True)
class Participant:
    """Where the files of a participant are, and what is wanted of them.

    Parameters
    ----------
    label : str
        As the release has it: ``subj01``.
    betas : str
        Which betas.
    sessions : list of int
        Those wanted.
    mask : array of shape (x, y, z), bool
        Voxels wanted.
    affine : array of shape (4, 4)
    regions : mapping of str to (str, dict of int to str)
        By the name of each segmentation: its file, and the names of its values.
    some : bool
        Whether these are fewer voxels than the brain mask has.
    """

    label: str
    betas: str
    sessions: list[int]
    mask: np.ndarray
    affine: np.ndarray
    regions: dict[str, tuple[str, dict[int, str]]]
    some: bool

    @property
    def number(self) -> int:
        """From 1."""
        return int(self.label.removeprefix("subj"))

    @property
    def folder(self) -> str:
        """Where masks and regions are."""
        return f"nsddata/ppdata/{self.label}/{SPACE}"

    def beta(self, name: str) -> str:
        """Return the path of a file of betas."""
        return f"nsddata_betas/ppdata/{self.label}/{SPACE}/{self.betas}/{name}"

    def session(self, session: int, extension: str) -> str:
        """Return the path of the betas of a session."""
        return self.beta(f"betas_session{session:02d}.{extension}")

    def mean_of(self, session: int) -> str:
        """Return the path of the mean of the betas of a session."""
        return self.beta(f"meanbeta_session{session:02d}.nii.gz")


def find_participant(request: Request, store: Store, label: str) -> Participant:
    """Find what there is of a participant, and the voxels that were asked for.

    Raises
    ------
    UserError
        If something is missing, or does not fit together.
    """
    folder = f"nsddata/ppdata/{label}/{SPACE}"
    kinds = [
        name
        for name in store.names(f"nsddata_betas/ppdata/{label}/{SPACE}")
        if name.startswith("betas_")
    ]
    asked = request.betas or BETAS
    if asked not in kinds:
        raise UserError(
            f"{store.where(f'nsddata_betas/ppdata/{label}/{SPACE}')}: there are no "
            f"{asked}. Found: {', '.join(kinds) or 'nothing'}. Fetch them, or choose "
            "with --betas.",
            Status.NO_INPUT,
        )
    beta_folder = f"nsddata_betas/ppdata/{label}/{SPACE}/{asked}"
    names = store.names(beta_folder)
    there = sorted(
        {
            int(match.group(1))
            for name in names
            if (match := re.fullmatch(r"betas_session(\d\d)\.(nii\.gz|hdf5)", name))
        }
    )
    sessions = _sessions(request, label, there, store.where(beta_folder))
    brain_key = f"{folder}/brainmask.nii.gz"
    if not store.exists(brain_key):
        raise UserError(
            f"{store.where(brain_key)}: there is no such file. It says where the "
            "voxels lie. Fetch it, too.",
            Status.NO_INPUT,
        )
    brain, affine = read_mask(store.file(brain_key))
    regions = dict(_segmentations(store, label, folder))
    inside = (
        union(
            _masks(store, regions, brain), request.regions, store.where(f"{folder}/roi")
        )
        if request.regions
        else None
    )
    mask = brain
    if inside is not None:
        mask = brain.copy()
        mask[brain] = inside
    return Participant(
        label, asked, sessions, mask, affine, regions, inside is not None
    )


def _sessions(request: Request, label: str, there: list[int], where: str) -> list[int]:
    if not there:
        raise UserError(
            f"{where}: there are no betas_session01.nii.gz and so on.",
            Status.NO_INPUT,
        )
    if request.sessions:
        labels = [f"{number:02d}" for number in there]
        return [
            int(own) for own in choose(request.sessions, labels, f"session of {label}")
        ]
    missing = sorted(set(range(1, there[-1] + 1)) - set(there))
    if missing:
        names = [f"betas_session{number:02d}" for number in missing]
        raise UserError(
            f"{where}: {first_few(names)} are missing, and session {there[-1]} is "
            "there. Fetch them, or say which sessions you want with --sessions.",
            Status.NO_INPUT,
        )
    whole = N_SESSIONS[int(label.removeprefix("subj")) - 1]
    if len(there) < whole:
        logger.info("%s: %d of its %d sessions are there.", label, len(there), whole)
    return there


def _segmentations(
    store: Store, label: str, folder: str
) -> Iterator[tuple[str, tuple[str, dict[int, str]]]]:
    """Yield the segmentations of both hemispheres, with the names of their values."""
    tables = f"nsddata/freesurfer/{label}/label"
    for name in store.names(f"{folder}/roi"):
        stem = name.removesuffix(".nii.gz")
        if stem == name or stem.startswith(("lh.", "rh.")):
            continue
        key = f"{tables}/{stem}.mgz.ctab"
        names = (
            read_ctab(read_text(store.file(key)), store.where(key))
            if store.exists(key)
            else {1: stem}
        )
        yield stem, (f"{folder}/roi/{name}", names)


def read_ctab(text: str, where: str) -> dict[int, str]:
    """Return the names of values: a number and a name a line; 0 is none.

    Raises
    ------
    UserError
        If a line is something else.
    """
    names = {}
    for number, line in enumerate(text.splitlines(), start=1):
        fields = line.split()
        if not fields:
            continue
        if len(fields) < 2 or not re.fullmatch(r"-?\d+", fields[0]):
            raise UserError(
                f"{where}: line {number} is {line!r}; expected a number and a name."
            )
        if int(fields[0]) > 0:
            names[int(fields[0])] = fields[1]
    return names


def _masks(
    store: Store, regions: dict[str, tuple[str, dict[int, str]]], brain: np.ndarray
) -> dict[str, np.ndarray]:
    found: dict[str, np.ndarray] = {}
    for key, names in regions.values():
        values = read_volume(store.file(key))[0]
        if values.shape != brain.shape:
            raise UserError(
                f"{store.where(key)}: its grid {values.shape} is not that of the brain "
                f"mask {brain.shape}."
            )
        for value, name in names.items():
            found[name] = found.get(name, False) | (values[brain] == value)
    return found


def betas_of(store: Store, person: Participant, session: int) -> str:
    """Return the file from which the betas of a session are read in fewer bytes.

    Raises
    ------
    UserError
        If all voxels are wanted, and there is no NIfTI file, or no other can be read.
    """
    nifti, hdf5 = (person.session(session, kind) for kind in ("nii.gz", "hdf5"))
    if person.some and store.exists(hdf5):
        n_bytes = int(person.mask.sum()) * (2 * N_TRIALS + INDEX)
        if not store.exists(nifti):
            return hdf5
        # Without it, nothing says that places and axes are those of the mask.
        checked = store.exists(person.mean_of(session))
        if checked and n_bytes < store.size(nifti):
            return hdf5
    if not store.exists(nifti):
        raise UserError(
            f"{store.where(nifti)}: there is no such file. All voxels are taken from "
            "NIfTI alone; fetch it, or ask for regions with --roi.",
            Status.NO_INPUT,
        )
    return nifti
