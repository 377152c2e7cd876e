"""What a run would refuse, found before its first job."""

import logging

from bids_recon.dataset.stimuli import common_size
from bids_recon.datatypes import Trials, first_of_repeats
from bids_recon.engine.clusters import check_cluster
from bids_recon.errors import Status, UserError
from bids_recon.evaluation.folds import Split
from bids_recon.plan.estimate import largest_run_mb, needed_mb
from bids_recon.plan.methods import check_machine, decoder_of, machine_of
from bids_recon.plan.picture_sets import picture_sets
from bids_recon.plan.plan import Plan, split_trials
from bids_recon.plan.recipes import check_training_pictures
from bids_recon.recipe import Recipe
from bids_recon.settings import Settings

logger = logging.getLogger("bids_recon")


def check_split(plan: Plan) -> None:
    """Check that split and sets fit the trials of every recipe, on enough pictures.

    Raises
    ------
    UserError
        If they do not.
    """
    if plan.settings.reports_only:
        return
    for recipe in {a.recipe.variant: a.recipe for a in plan.analyses}.values():
        trials, split = split_trials(plan, recipe, plan.own_trials)
        check_training_pictures(plan, recipe, trials, split)
        if "decode" in plan.settings.stages and not plan.applies:
            check_decoders(plan, recipe, trials, split)
        picture_sets(plan, recipe, trials, split)


def check_decoders(plan: Plan, recipe: Recipe, trials: Trials, split: Split) -> None:
    """Check that trials and pictures are enough for decoders that say what they need.

    Raises
    ------
    UserError
        If they are not.
    """
    for step in recipe.decode.values():
        decoder = decoder_of(step, machine_of(plan.settings))
        if not hasattr(decoder, "check_trials"):
            continue
        for fold in split.folds:
            rows = fold.train
            if recipe.responses.average_train:
                rows = first_of_repeats(trials, rows)
            try:
                decoder.check_trials(split.groups[rows])
            except UserError as error:
                share = recipe.train_fraction
                given = "" if share == 1 else f", --train-fraction {share:g}"
                raise UserError(
                    f"sub-{plan.subject}, recipe {recipe.name}{given}: {error}",
                    Status.USAGE,
                ) from error
        paths = list(plan.pictures.values())
        decoder.check(common_size(paths, recipe.picture_size))


def check_weights(settings: Settings, recipes: tuple[Recipe, ...]) -> None:
    """Check that the device and all weights are there, if this run computes with them.

    Raises
    ------
    UserError
        If they are not.
    """
    if {"decode", "generate"} & set(settings.stages) and not settings.reports_only:
        check_machine(recipes, settings)


def check_place(settings: Settings) -> None:
    """Check that the cluster is there, where jobs are to be executed on one.

    Raises
    ------
    UserError
        If it is not.
    """
    if settings.cluster and settings.array_script:
        raise UserError(
            "--cluster and --array-script are two ways to use a cluster. Take one.",
            Status.USAGE,
        )
    if settings.cluster:
        check_cluster(settings.cluster)


def processes_within_memory(settings: Settings, plans: list[Plan]) -> int:
    """Return how many processes fit into ``--mem-mb``; one where that may not do.

    Raises
    ------
    UserError
        If the largest run of BOLD does not fit.
    """
    n_procs = settings.n_procs or 1
    if settings.mem_mb is None or not plans:
        return n_procs
    least = max(largest_run_mb(plan) for plan in plans)
    if settings.mem_mb < least:
        raise UserError(
            f"--mem-mb {settings.mem_mb}: the largest run needs about {least} MB. Give "
            "more, or read a space with larger voxels.",
            Status.USAGE,
        )
    need = max(needed_mb(plan) for plan in plans)
    fit = max(1, settings.mem_mb // need)
    if need > settings.mem_mb:
        logger.warning(
            "--mem-mb %d: a process needs about %d MB if regions are as large as the "
            "brain mask, and takes what it needs. Smaller regions or pictures "
            "(pictures: {max_size: ...}) need less.",
            settings.mem_mb,
            need,
        )
    if fit < n_procs:
        logger.warning(
            "A process needs about %d MB; %d run at once instead of %d.",
            need,
            fit,
            n_procs,
        )
    return min(fit, n_procs)
