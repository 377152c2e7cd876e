"""The Natural Scenes Dataset, from its folder or its bucket.

Allen et al. (2022), A massive 7T fMRI dataset to bridge cognitive neuroscience and
artificial intelligence, Nature Neuroscience 25, 116-126.
"""

import logging
import re

import numpy as np
import pandas as pd
from PIL import Image

from bids_recon.dataset.derivatives import camel_case
from bids_recon.dataset.importers.hdf5 import (
    check_filters,
    dataset_of,
    open_hdf5,
    rows_of,
)
from bids_recon.dataset.importers.nsd_betas import (
    SLOPE,
    Hdf5Betas,
    nifti_betas,
    slope_of,
)
from bids_recon.dataset.importers.nsd_design import (
    DESIGN,
    N_TRIALS,
    check_behaviour,
    picture_name,
    read_design,
)
from bids_recon.dataset.importers.nsd_participant import (
    SPACE,
    Participant,
    betas_of,
    find_participant,
)
from bids_recon.dataset.importers.ranges import in_words
from bids_recon.dataset.importers.request import Request, choose
from bids_recon.dataset.importers.store import Store, open_store
from bids_recon.dataset.importers.target import (
    About,
    Target,
    check_free,
    check_pictures,
    link_pictures,
    linked,
)
from bids_recon.dataset.importers.volumes import (
    check_volumes,
    in_memory,
    kept_voxels,
    write_mask,
    writer,
)
from bids_recon.errors import Status, UserError
from bids_recon.files import write_whole

logger = logging.getLogger("bids_recon")

ABOUT = About(
    importer="nsd",
    name="Natural Scenes Dataset",
    licence="NSD Data Access Agreement",
    url="https://naturalscenesdataset.org",
    cite="Allen et al. (2022). Nature Neuroscience 25, 116-126. "
    "doi:10.1038/s41593-021-00962-x",
)
AGREEMENT = (
    "NSD may be used by those who agreed to its terms. If you did not yet, read them "
    "and fill in the form: https://naturalscenesdataset.org (Data Access Agreement)."
)
PICTURES = "nsddata_stimuli/stimuli/nsd/nsd_stimuli.hdf5"


def import_nsd(request: Request) -> None:
    """Make a BIDS dataset of the Natural Scenes Dataset.

    Raises
    ------
    UserError
        If something is missing, or does not fit together.
    """
    check_free(request.bids_dir, ABOUT)
    store = open_store(request.source, request.bids_dir / "sourcedata" / "nsd")
    logger.info(AGREEMENT)
    if store.remote and store.exists(DESIGN):
        # What is fetched is kept in it from now on.
        Target(request.bids_dir, ABOUT, request.source)
    design = read_design(store)
    found = [
        name
        for name in store.names("nsddata/ppdata")
        if re.fullmatch(r"subj0[1-8]", name)
    ]
    if not found:
        raise UserError(
            f"{store.where('nsddata/ppdata')}: there is no participant (subj01 to "
            "subj08) in it. SOURCE is the folder that holds nsddata and "
            "nsddata_betas.",
            Status.NO_INPUT,
        )
    labels = choose(request.participants, found, "participant")
    people = [find_participant(request, store, label) for label in labels]
    shown = {
        (person.label, session): design.session(person.number, session)
        for person in people
        for session in person.sessions
    }
    names = sorted({name for own in shown.values() for name in own["stimulus"]})
    if request.stimuli is not None:
        check_pictures(request.stimuli, names)
    elif not store.exists(PICTURES):
        raise UserError(
            f"{store.where(PICTURES)}: there is no such file, in which the pictures "
            "are. Fetch it, or give pictures called nsd00001.png to nsd73000.png with "
            "--stimuli DIR.",
            Status.NO_INPUT,
        )
    _announce(request, store, people, [] if request.stimuli else names)
    if request.dry_run:
        return
    target = Target(request.bids_dir, ABOUT, request.source)
    for person in people:
        _write_anatomy(request, store, target, person)
        hdf5 = Hdf5Betas(store, person.mask)
        for session in person.sessions:
            trials = shown[person.label, session]
            check_behaviour(store, person.label, session, trials)
            _write_session(request, store, target, person, session, trials, hdf5)
    if request.stimuli is not None:
        link_pictures(target, request.stimuli)
    else:
        _write_pictures(store, target, names)
    target.finish()


def _announce(
    request: Request, store: Store, people: list[Participant], names: list[str]
) -> None:
    """Say what will be read, and fetched."""
    betas = pictures = 0
    for person in people:
        n_voxels = int(person.mask.sum())
        keys = [betas_of(store, person, session) for session in person.sessions]
        chunks = [key.endswith(".hdf5") for key in keys]
        for key, chunked in zip(keys, chunks, strict=True):
            betas += n_voxels * 2 * N_TRIALS if chunked else store.size(key)
        logger.info(
            "%s: %d sessions, %d trials, %d voxels%s.",
            person.label,
            len(person.sessions),
            len(person.sessions) * N_TRIALS,
            n_voxels,
            ", read voxel by voxel" if all(chunks) else "",
        )
    if names:
        with open_hdf5(store, PICTURES) as file:
            brick = _brick(store, file)
            pictures = len(names) * int(np.prod(brick.shape[1:]))
            last = int(names[-1][3:8])
            if last > len(brick):
                raise UserError(
                    f"{store.where(PICTURES)}: {len(brick)} pictures, but the design "
                    f"names the {last}th. Fetch it again."
                )
    if store.remote:
        logger.info(
            "To fetch from %s: %s of betas, %s of pictures (%d); what is here already "
            "is not fetched again.",
            request.source,
            in_words(betas),
            in_words(pictures),
            len(names),
        )


def _brick(store: Store, file: object) -> object:
    where = store.where(PICTURES)
    brick = dataset_of(file, "imgBrick", where, 4)
    if brick.dtype != np.uint8 or brick.shape[3] != 3:
        raise UserError(
            f"{where}: expected imgBrick to hold pictures (n, height, width, 3) of "
            f"uint8, found {brick.dtype} in {brick.shape}."
        )
    check_filters(brick, where)
    return brick


def _write_anatomy(
    request: Request, store: Store, target: Target, person: Participant
) -> None:
    """Write the mask of the voxels, regions, and the ratio of signal to noise."""
    parts = (f"sub-{person.label.removeprefix('subj')}", f"space-{SPACE}")
    brain = f"{person.folder}/brainmask.nii.gz"
    what = kept_voxels(request.regions)
    sources = [store.source(brain)]
    if person.some:
        write_mask(target, parts, person.mask, person.affine, sources, what)
    else:
        path = target.path("anat", *parts, "desc-brain", suffix="mask.nii.gz")
        target.check_voxels(path, what)
        describe = {"Description": what, "Type": "Brain"}
        target.make(path, sources, linked(store.file(brain), request.copy), describe)
    for stem, (key, names) in person.regions.items():
        path = target.path(
            "anat", *parts, f"seg-{camel_case(stem)}", suffix="dseg.nii.gz"
        )
        table = pd.DataFrame({"index": list(names), "name": list(names.values())})
        describe = {"Description": f"The regions {stem} of NSD."}
        write = linked(store.file(key), request.copy)
        target.make(path, [store.source(key)], write, describe, table)
    key = person.beta("ncsnr.nii.gz")
    if store.exists(key):
        path = target.path("func", *parts, "stat-ncsnr", suffix="statmap.nii.gz")
        describe = {
            "Description": "Ratio of signal to noise of each voxel, over all sessions."
        }
        write = linked(store.file(key), request.copy)
        target.make(path, [store.source(key)], write, describe)


def _write_session(
    request: Request,
    store: Store,
    target: Target,
    person: Participant,
    session: int,
    trials: pd.DataFrame,
    hdf5: Hdf5Betas,
) -> None:
    subject = f"sub-{person.label.removeprefix('subj')}"
    image = target.path(
        "func",
        *(subject, f"ses-{session:02d}", "task-nsdcore", f"space-{SPACE}"),
        *("stat-effect", "desc-trial"),
        suffix="statmap.nii.gz",
    )
    describe = {
        "Description": f"{person.betas}: each volume is a row of the events.",
    }
    key = betas_of(store, person, session)
    source = [store.source(key)]
    if person.some:
        describe |= {
            "Units": "percent signal change",
            "Voxels": f"{int(person.mask.sum())} of {', '.join(request.regions)}",
        }
        if target.is_made(image, source, describe, trials):
            return

        def write(part: object) -> None:
            if key.endswith(".hdf5"):
                values = hdf5.read(key, person.mean_of(session))
            else:
                path = store.file(key)
                check_volumes(path, person.mask.shape, N_TRIALS, "a session")
                slope_of(path)
                values = nifti_betas(path, person.mask)
            writer(
                *(in_memory(values), N_TRIALS, person.mask, person.affine),
                np.int16,
                SLOPE,
            )(part)

        target.make(image, source, write, describe, trials)
        store.drop(key)
        return
    path = store.file(key)
    check_volumes(path, person.mask.shape, N_TRIALS, "a session")
    slope = slope_of(path)
    describe |= {"Units": "percent signal change", "ScaleFactor": slope}
    target.make(image, source, linked(path, request.copy), describe, trials)


def _write_pictures(store: Store, target: Target, names: list[str]) -> None:
    """Write the pictures that are not there yet as PNG."""
    folder = target.stimuli / "nsd"
    missing = [name for name in names if not (folder / name).is_file()]
    target.n_kept += len(names) - len(missing)
    if not missing:
        return
    logger.info("%d pictures", len(missing))
    rows = [int(name[3:8]) - 1 for name in missing]
    with open_hdf5(store, PICTURES) as file:
        brick = _brick(store, file)
        pictures = rows_of(store, PICTURES, brick, rows)
        for row, pixels in zip(rows, pictures, strict=True):
            image = Image.fromarray(np.ascontiguousarray(pixels))
            write_whole(
                folder / picture_name(row + 1),
                lambda part, image=image: image.save(part, format="PNG"),
            )
    target.n_made += len(missing)
