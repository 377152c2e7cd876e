"""What a participant will take, roughly: time, memory and disk.

Constants were measured on the simulated datasets with two cores (docs/benchmarks.md).
What networks take depends on the device and is not told.
"""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from bids_recon.dataset.images import open_image, read_volume
from bids_recon.dataset.stimuli import common_size
from bids_recon.decoders.algebra import LARGE
from bids_recon.decoders.patterns import MOST_TARGETS
from bids_recon.machine import MEM_MB
from bids_recon.plan.methods import generator_class, trains_network, weights_of
from bids_recon.plan.plan import Analysis, Plan, RunPlan, split_trials
from bids_recon.recipe import DecodeStep

LIBRARIES_MB = 300
"""What Python and the libraries take."""

NETWORKS_MB = 700
"""What torch takes beside."""

READ = 2e7
"""Values of BOLD that are read from a compressed file and fitted in a second."""

PRODUCTS = 1e10
"""Multiplications and additions of matrix products in a second."""

PICTURES_MB = 150
"""What some pictures take at a time, as numbers; all of them lie in a file."""

PER_TARGET = {
    "sparse": 1e-3,
    "sparse_logistic": 1e-2,
    "encoding_inversion": 2e-2,
    "unit-ridge": 4e-3,
}
"""Seconds in which a decoder fits one target in a fold; others share their work."""

PER_PICTURE = 0.012
"""Seconds in which a picture is made, saved and scored."""

PRETRAINED = {"clip-vision": 257 * 768, "clip-text": 77 * 768, "vdvae": 91_168}
"""Values of a picture in feature spaces that have one size."""

INNER = 5
"""Further fits in a fold for what is learned from decoded training trials."""

START = 4.0
"""Seconds until the first job, mostly for loading libraries."""

REPORT = 2.5
"""Seconds for a page."""

REPORT_MB = 3
"""What pages and figures take."""


@dataclass(frozen=True)
class Estimate:
    """What a participant takes, roughly.

    Parameters
    ----------
    seconds : float, s
        With one process.
    memory_mb : int, MB
        Of a process, at most.
    disk_mb : int, MB
        Below OUTPUT_DIR and the work folder.
    networks : bool
        Whether networks take time that is not told.
    """

    seconds: float
    memory_mb: int
    disk_mb: int
    networks: bool

    def __str__(self) -> str:
        minutes = round(self.seconds / 60)
        time = f"{minutes} min" if minutes >= 2 else f"{round(self.seconds)} s"
        more = ", without what its networks take" if self.networks else ""
        return (
            f"roughly {time}{more}; {self.memory_mb:,} MB of memory a process, "
            f"{self.disk_mb:,} MB of disk"
        )


@dataclass(frozen=True)
class Sizes:
    """How much an analysis has to do."""

    n_trials: int
    n_folds: int
    n_voxels: int
    n_pixels: int
    n_features: dict[str, int]


def estimate(plan: Plan) -> Estimate:
    """Return what a participant takes, roughly."""
    variants = {
        (repr(plan.estimator(a.recipe)), a.recipe.responses.confounds)
        for a in plan.analyses
    }
    seconds, values, memory = START + REPORT, 0, largest_run_mb(plan)
    for run in plan.runs:
        seconds += run_seconds(run) * len(variants)
        # Once as an image and once as it is mapped.
        values += 2 * len(run.own) * n_voxels(run) * len(variants)
    for analysis in plan.analyses:
        sizes = sizes_of(plan, analysis)
        seconds += sum(analysis_seconds(analysis, sizes).values())
        # A byte a value, where features take four.
        pictures = sizes.n_pixels * (len(plan.pictures) + 2 * sizes.n_trials) // 4
        decoded = sum(
            count * sizes.n_trials * (sizes.n_folds if _learns(analysis) else 1)
            for count in sizes.n_features.values()
        )
        values += pictures + decoded
        memory = max(memory, analysis_mb(plan, analysis, sizes))
    networks = any(has_networks(analysis) for analysis in plan.analyses)
    return Estimate(seconds, memory, REPORT_MB + 4 * values // 2**20, networks)


def has_networks(analysis: Analysis) -> bool:
    """Tell whether a recipe has networks, whose time is not told."""
    recipe = analysis.recipe
    return bool(weights_of(recipe)) or any(map(trains_network, recipe.decode.values()))


def analysis_mb(plan: Plan, analysis: Analysis, sizes: Sizes) -> int:
    """Return how much memory the stages of an analysis take, in MB."""
    spaces = {step.features.name for step in analysis.recipe.decode.values()}
    # Principal components come from products of pictures, in double precision, which
    # are held three times while their eigenvectors are found.
    n_products = min(len(plan.pictures), sizes.n_pixels)
    products = 3 * 2 * n_products**2 if "eigenimage" in spaces else 0
    mem_mb = plan.settings.mem_mb or MEM_MB
    decoding = max(
        _decoding_values(step, sizes, sizes.n_features[name], mem_mb)
        for name, step in analysis.recipe.decode.items()
    )
    # Components are found before the equations, beside responses that are in memory.
    responses = sizes.n_trials * sizes.n_voxels
    held = max(decoding, products + 2 * min(responses, mem_mb * 2**18 // 16))
    networks = NETWORKS_MB if has_networks(analysis) else 0
    return LIBRARIES_MB + PICTURES_MB + 4 * held // 2**20 + networks


def _decoding_values(
    step: DecodeStep, sizes: Sizes, n_features: int, mem_mb: int
) -> int:
    """Return how many numbers of four bytes decoding holds in memory."""
    n_train = sizes.n_trials - sizes.n_trials // sizes.n_folds
    fewer = min(n_train, sizes.n_voxels)
    n_operations = 2.0 * n_train * fewer * (n_features + fewer)
    if step.decoder.name != "ridge" or n_operations < LARGE:
        return 3 * sizes.n_trials * sizes.n_voxels
    # Half of a symmetric matrix and half of its form; then what predicts the trials of
    # an inner fold, with blocks of targets, or maps in double precision.
    share = mem_mb * 2**18 // 16
    folds = fewer * n_train // INNER + 5 * share
    mapped = min(n_features, MOST_TARGETS)
    maps = 2 * mapped * (3 * sizes.n_voxels + n_train)
    return fewer**2 + max(folds, maps) + 2 * share


def needed_mb(plan: Plan) -> int:
    """Return about how much memory a process takes for what is asked for, in MB."""
    computes = {"decode", "generate", "evaluate"} & set(plan.settings.stages)
    if not computes or plan.settings.reports_only:
        return largest_run_mb(plan)
    return estimate(plan).memory_mb


def run_seconds(run: RunPlan) -> float:
    """Return how long the responses of a run take, in seconds."""
    grid = int(np.prod(open_image(run.run.bold).shape[:3]))
    fitted = n_voxels(run) * run.n_volumes * len(run.trials)
    return 0.1 + grid * run.n_volumes / READ + 4 * fitted / PRODUCTS


def analysis_seconds(analysis: Analysis, sizes: Sizes) -> dict[str, float]:
    """Return how long the stages of an analysis take, in seconds."""
    n_train = sizes.n_trials * (1 - 1 / sizes.n_folds)
    n_train *= analysis.recipe.train_fraction
    decode = 0.1
    for name, step in analysis.recipe.decode.items():
        held_out = _learns(analysis) or step.rescale in ("train", "transductive")
        n_fits = sizes.n_folds * (1 + INNER * held_out)
        decode += n_fits * _fit_seconds(step, n_train, sizes, sizes.n_features[name])
    shown = 0.1 + sizes.n_trials * PER_PICTURE
    return {"decode": decode, "generate": shown / 2, "evaluate": shown}


def _fit_seconds(
    step: DecodeStep, n_train: float, sizes: Sizes, n_features: int
) -> float:
    # The covariance of trials, its eigenvectors, and ten penalties for every target.
    products = 2 * n_train**2 * sizes.n_voxels + 20 * n_train**3
    products += 20 * n_train**2 * n_features
    return products / PRODUCTS + PER_TARGET.get(step.decoder.name, 0.0) * n_features


def sizes_of(plan: Plan, analysis: Analysis) -> Sizes:
    """Return how much an analysis has to do, as far as the plan knows."""
    recipe = analysis.recipe
    trials, split = split_trials(plan, recipe, plan.own_trials)
    if plan.applies:
        height, width = plan.models[analysis.key].picture_size
    else:
        height, width = common_size(list(plan.pictures.values()), recipe.picture_size)
    n_train = len(trials) - len(trials) // len(split.folds)
    n_known = int(recipe.train_fraction * min(n_train, len(plan.pictures)))
    learned = min(n_known, height * width)
    n_features = {
        name: step.features.options.get("units")
        or PRETRAINED.get(
            step.features.name,
            learned if step.features.name in ("eigenimage", "edges") else None,
        )
        or 2 * height * width
        for name, step in recipe.decode.items()
    }
    voxels = max(n_voxels(run) for run in plan.runs)
    return Sizes(len(trials), len(split.folds), voxels, 3 * height * width, n_features)


def n_voxels(run: RunPlan) -> int:
    """Return how many voxels the brain mask of a run has."""
    if run.run.mask is not None:
        stat = run.run.mask.stat()
        return _n_inside(run.run.mask, (stat.st_size, stat.st_mtime_ns))
    return int(np.prod(open_image(run.run.bold).shape[:3]))


# The stamp has a mask read once for as long as its file stays as it is.
@cache
def _n_inside(mask: Path, stamp: tuple[int, int]) -> int:  # noqa: ARG001
    return int((read_volume(mask)[0] > 0.5).sum())


def largest_run_mb(plan: Plan) -> int:
    """Return about how many MB the largest run takes, the libraries included.

    A run is held once as it was read and once as it is worked on, with its responses.
    """
    most = max(
        n_voxels(run) * (2 * run.n_volumes + 3 * len(run.trials)) for run in plan.runs
    )
    return LIBRARIES_MB + 4 * most // 2**20


def _learns(analysis: Analysis) -> bool:
    return hasattr(generator_class(analysis.recipe), "fit")
