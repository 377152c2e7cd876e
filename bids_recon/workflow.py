"""The main path: what a run does, stage by stage.

``run_participant`` makes a plan for each participant, turns the plans into one graph of
jobs and has the engine execute it. Every job is one stage:

    responses (a run) -> rois, reference, ceiling -> decode -> generate -> evaluate
    -> report
"""

import json
import logging
from dataclasses import replace
from functools import partial

import yaml

from bids_recon.dataset.derivatives import (
    check_output_dir,
    make_output_dir,
    write_descriptions,
)
from bids_recon.dataset.layout import Dataset
from bids_recon.dataset.leftovers import remove_dead_parts, remove_parts
from bids_recon.engine import Job, Outcome, default_threads, execute
from bids_recon.errors import Status, UserError
from bids_recon.evaluation.profiles import read_profile
from bids_recon.files import write_text
from bids_recon.plan.dry_run import describe
from bids_recon.plan.make_plan import make_plan
from bids_recon.plan.methods import check_machine, checked_recipe
from bids_recon.plan.plan import Analysis, Plan, memory_of
from bids_recon.recipe import Recipe, read_recipe
from bids_recon.reports.citations import citations
from bids_recon.settings import Settings
from bids_recon.stages.ceiling import ceiling_stage, repeats
from bids_recon.stages.decode.stage import decode_stage
from bids_recon.stages.evaluate import evaluate_stage
from bids_recon.stages.generate.stage import generate_stage
from bids_recon.stages.report.group import group_stage
from bids_recon.stages.report.participant import (
    analysis_name,
    failure_page,
    report_stage,
)
from bids_recon.stages.responses import Variant, responses_stage
from bids_recon.stages.rois import reference_stage, rois_stage
from bids_recon.terminal import RunProgress

logger = logging.getLogger("bids_recon")


def run_participant(settings: Settings) -> Status:
    """Reconstruct for every participant that was asked for.

    Returns
    -------
    Status
        ``OK``; ``FAILED`` if some failed and others are done; what the failures have in
        common if all failed.
    """
    recipes = read_recipes(settings)
    check_output_dir(settings.bids_dir, settings.output_dir)
    dataset = Dataset(settings)
    subjects = dataset.participants()
    plans, failures = make_plans(dataset, subjects, recipes)
    if settings.dry_run:
        for plan in plans:
            logger.info("%s", describe(plan))
        return exit_status(len(subjects), failures)
    make_output_dir(settings.output_dir)
    write_run_files(settings, dataset, recipes)
    for subject, error in failures.items():
        failure_page(settings, subject, error.message)
    jobs_by_subject = {plan.subject: jobs_of(plan) for plan in plans}
    jobs = [job for jobs in jobs_by_subject.values() for job in jobs]
    n_procs = processes_within_memory(settings, plans)
    n_threads = settings.omp_nthreads or default_threads(n_procs)
    with RunProgress(jobs) as progress:
        outcomes = execute(jobs, n_procs, n_threads, progress.ended, progress.begun)
    log_defects(settings, outcomes)
    for subject, own in jobs_by_subject.items():
        failed = [outcomes[j.name] for j in own if outcomes[j.name].state == "failed"]
        if failed:
            failures[subject] = UserError(failed[0].reason, failed[0].status)
    _tell_end(settings, plans, failures)
    return exit_status(len(subjects), failures)


def run_group(settings: Settings) -> Status:
    """Collect all participants of OUTPUT_DIR in one table and page."""
    check_output_dir(settings.bids_dir, settings.output_dir)
    make_output_dir(settings.output_dir)
    page = group_stage(settings)
    logger.info("Group report: %s", page)
    return Status.OK


def read_recipes(settings: Settings) -> tuple[Recipe, ...]:
    """Read the recipes that were asked for.

    Raises
    ------
    UserError
        If there is no such recipe, or two share their name.
    """
    recipes = tuple(read_recipe(name) for name in settings.recipe)
    names = [recipe.name for recipe in recipes]
    for name in names:
        if names.count(name) > 1:
            raise UserError(
                f"Two recipes are called {name!r}; their outputs would have the same "
                "names. Ask for it once, or rename one.",
                Status.USAGE,
            )
    for recipe in recipes:
        for profile in recipe.profiles:
            read_profile(profile)
    recipes = tuple(checked_recipe(recipe) for recipe in recipes)
    computes = {"decode", "generate"} & set(settings.stages)
    if computes and not (settings.dry_run or settings.reports_only):
        check_machine(recipes, settings)
    return recipes


def make_plans(
    dataset: Dataset, subjects: list[str], recipes: tuple[Recipe, ...]
) -> tuple[list[Plan], dict[str, UserError]]:
    """Plan each participant; one that cannot be planned does not stop the others."""
    plans, failures = [], {}
    for subject in subjects:
        try:
            plans.append(make_plan(dataset, subject, recipes))
        except UserError as error:
            logger.error("sub-%s: %s", subject, error.message)
            failures[subject] = error
    return plans, failures


def jobs_of(plan: Plan) -> list[Job]:
    """Return the jobs of one participant, in an order in which they could run."""
    if plan.settings.reports_only:
        report = partial(report_stage, plan, ())
        return [Job(f"sub-{plan.subject} report", "report", report)]
    subject = f"sub-{plan.subject}"
    # Masks are the same whichever way responses are estimated: the first one serves.
    first = Variant.of(plan, plan.analyses[0].recipe)
    jobs = response_jobs(plan, first)
    of_first = tuple(job.name for job in jobs)
    reference = partial(reference_stage, plan, first)
    jobs.append(Job(f"{subject} reference", "rois", reference, of_first))
    if repeats(plan):
        ceiling = partial(ceiling_stage, plan, first)
        jobs.append(Job(f"{subject} ceiling", "responses", ceiling, of_first))
    for roi in dict.fromkeys(r for a in plan.analyses for r in a.roi_sets):
        stage = partial(rois_stage, plan, roi, first)
        jobs.append(Job(f"{subject} rois {roi.name}", "rois", stage, of_first))
    for analysis in plan.analyses:
        responses = response_jobs(plan, Variant.of(plan, analysis.recipe))
        known = {job.name for job in jobs}
        jobs += [job for job in responses if job.name not in known]
        jobs += analysis_jobs(plan, analysis, [job.name for job in responses])
    after = tuple(job.name for job in jobs)
    report = partial(report_stage, plan)
    jobs.append(Job(f"{subject} report", "report", report, after=after))
    return of_stages(jobs, plan.settings.stages)


def response_jobs(plan: Plan, variant: Variant) -> list[Job]:
    """Return one job per run for one way to estimate responses."""
    return [
        Job(
            f"sub-{plan.subject} responses {variant.desc} {run.run.name}",
            "responses",
            partial(responses_stage, plan, index, variant),
        )
        for index, run in enumerate(plan.runs)
    ]


def analysis_jobs(plan: Plan, analysis: Analysis, responses: list[str]) -> list[Job]:
    """Return the jobs of one recipe on one set of regions, one after another."""
    masks = [f"sub-{plan.subject} rois {roi.name}" for roi in analysis.roi_sets]
    needs = (*responses, *masks)
    jobs = []
    for stage, function in (
        ("decode", decode_stage),
        ("generate", generate_stage),
        ("evaluate", evaluate_stage),
    ):
        name = f"{analysis_name(plan, analysis)} {stage}"
        jobs.append(Job(name, stage, partial(function, plan, analysis), needs))
        needs = (name,)
    return jobs


def of_stages(jobs: list[Job], stages: tuple[str, ...]) -> list[Job]:
    """Keep the jobs of some stages; an earlier run made what they need."""
    kept = {job.name for job in jobs if job.stage in stages}
    return [
        replace(
            job,
            needs=tuple(name for name in job.needs if name in kept),
            after=tuple(name for name in job.after if name in kept),
        )
        for job in jobs
        if job.name in kept
    ]


def write_run_files(
    settings: Settings, dataset: Dataset, recipes: tuple[Recipe, ...]
) -> None:
    """Write what describes the output, and the settings and citations of this run."""
    output_dir = settings.output_dir
    description = settings.bids_dir / "dataset_description.json"
    raw = json.loads(description.read_text()) if description.is_file() else {}
    write_descriptions(output_dir, dataset.links, raw)
    data = yaml.safe_dump(settings.as_data(), sort_keys=False)
    write_text(output_dir / "logs" / settings.run_uuid / "settings.yml", data)
    text, bibtex = citations({key for recipe in recipes for key in recipe.cite})
    write_text(output_dir / "logs" / "CITATION.md", text)
    write_text(output_dir / "logs" / "CITATION.bib", bibtex)
    for subject in dataset.participants():
        remove_parts(output_dir / f"sub-{subject}")
        remove_parts(settings.work / f"sub-{subject}")
    for folder in (output_dir, output_dir / "logs"):
        remove_dead_parts(folder)


def processes_within_memory(settings: Settings, plans: list[Plan]) -> int:
    """Return how many processes fit into ``--mem-mb``.

    Raises
    ------
    UserError
        If not even one does.
    """
    if settings.mem_mb is None or not plans:
        return settings.n_procs
    need = max(memory_of(plan) for plan in plans)
    fit = settings.mem_mb // need
    if fit < 1:
        raise UserError(
            f"--mem-mb {settings.mem_mb}: the largest run needs about {need} MB. Give "
            "more, or read a space with larger voxels.",
            Status.USAGE,
        )
    if fit < settings.n_procs:
        logger.warning(
            "A process needs about %d MB; %d run at once instead of %d.",
            need,
            fit,
            settings.n_procs,
        )
    return min(fit, settings.n_procs)


def log_defects(settings: Settings, outcomes: dict[str, Outcome]) -> None:
    """Write the tracebacks of our own defects where a user can find them."""
    for outcome in outcomes.values():
        if outcome.details:
            name = f"crash-{outcome.job.replace(' ', '_')}.txt"
            path = settings.output_dir / "logs" / settings.run_uuid / name
            write_text(path, outcome.details)
            logger.error("Its traceback: %s", path)


def exit_status(n_subjects: int, failures: dict[str, UserError]) -> Status:
    """Return the exit status of a run over participants."""
    if not failures:
        return Status.OK
    statuses = {error.status for error in failures.values()}
    if len(failures) == n_subjects and len(statuses) == 1:
        return statuses.pop()
    return Status.FAILED


def _tell_end(
    settings: Settings, plans: list[Plan], failures: dict[str, UserError]
) -> None:
    for plan in plans:
        page = settings.output_dir / f"sub-{plan.subject}.html"
        if page.is_file():
            logger.info("Report: %s", page)
    for subject in sorted(failures):
        logger.error("sub-%s failed: %s", subject, failures[subject].message)
