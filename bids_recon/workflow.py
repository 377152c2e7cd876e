"""The main path: what a run does, stage by stage.

``run_participant`` makes a plan for each participant, turns the plans into one graph of
jobs and has the engine execute it. Every job is one stage:

    responses (a run) -> rois, reference, ceiling -> decode -> generate -> evaluate
    -> report
"""

import logging
import re
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

from bids_recon.dataset.derivatives import write_descriptions
from bids_recon.dataset.layout import Dataset
from bids_recon.dataset.leftovers import remove_old_parts, remove_parts
from bids_recon.dataset.locks import locked
from bids_recon.dataset.output_dir import check_folders, make_output_dir
from bids_recon.documents import yaml_text
from bids_recon.engine import (
    Job,
    Outcome,
    Processes,
    default_threads,
    execute,
)
from bids_recon.errors import Status, UserError
from bids_recon.evaluation.splits import trains_on_all
from bids_recon.files import write_text
from bids_recon.plan.array_script import array_script
from bids_recon.plan.checks import (
    check_place,
    check_weights,
    processes_within_memory,
)
from bids_recon.plan.cluster import cluster_of
from bids_recon.plan.dry_run import describe
from bids_recon.plan.estimate import (
    REPORT,
    analysis_mb,
    analysis_seconds,
    largest_run_mb,
    run_seconds,
    sizes_of,
)
from bids_recon.plan.make_plans import planned_in
from bids_recon.plan.model import check_settings
from bids_recon.plan.plan import Analysis, Plan
from bids_recon.plan.recipes import read_recipes
from bids_recon.recipe import Recipe
from bids_recon.reports.citations import citations
from bids_recon.settings import Settings
from bids_recon.stages.ceiling import ceiling_stage, repeats
from bids_recon.stages.connectivity.nodes import (
    Rois,
    nodes_stage,
    rois_of_graphs,
    seg_of,
)
from bids_recon.stages.connectivity.stage import (
    Asked,
    connectivity_stage,
    relmats_of,
)
from bids_recon.stages.connectivity.tangent import write_tangents
from bids_recon.stages.decode.stage import decode_stage, generator_learns
from bids_recon.stages.evaluate import evaluate_stage
from bids_recon.stages.generate.stage import generate_stage
from bids_recon.stages.learning import learning_name, learning_stage
from bids_recon.stages.report.group_level.stage import group_stage
from bids_recon.stages.report.participant import (
    analysis_name,
    failure_page,
    report_stage,
)
from bids_recon.stages.responses import Variant, responses_stage
from bids_recon.stages.rois import reference_stage, rois_stage
from bids_recon.surroundings import temporary_folder
from bids_recon.terminal import RunProgress

logger = logging.getLogger("bids_recon")


def run_participant(settings: Settings, processes: Processes | None = None) -> Status:
    """Reconstruct for every participant that was asked for.

    Parameters
    ----------
    settings : Settings
        What the run was asked for.
    processes : Processes, optional
        Where participants are planned and jobs are executed, in place of this process.

    Returns
    -------
    Status
        ``OK``; ``FAILED`` if some failed and others are done; what the failures have in
        common if all failed.
    """
    recipes = read_recipes(settings)
    check_folders(settings)
    check_settings(settings)
    check_place(settings)
    for text in settings.connectivity:
        Asked.parse(text)
    dataset = Dataset(settings)
    subjects = dataset.participants()
    if settings.array_script:
        return write_array_script(dataset, subjects, recipes)
    if settings.dry_run:
        return dry_run(dataset, subjects, recipes)
    check_weights(settings, recipes)
    make_output_dir(settings.output_dir)
    write_run_files(settings, dataset, recipes)
    with locked(lock_files(settings, subjects)):
        return run_jobs(dataset, subjects, recipes, processes)


def dry_run(
    dataset: Dataset, subjects: list[str], recipes: tuple[Recipe, ...]
) -> Status:
    """Say what would run, and refuse what a run would refuse; write nothing."""
    with temporary_folder() as folder:
        dataset.settings = replace(dataset.settings, work_dir=folder)
        plans, failures = make_plans(dataset, subjects, recipes)
        for plan in plans:
            logger.info("%s", describe(plan))
        processes_within_memory(dataset.settings, plans)
    check_weights(dataset.settings, recipes)
    return exit_status(len(subjects), failures)


def write_array_script(
    dataset: Dataset, subjects: list[str], recipes: tuple[Recipe, ...]
) -> Status:
    """Write a script that runs participants that can be planned to stdout."""
    check_weights(dataset.settings, recipes)
    with temporary_folder() as folder:
        settings = dataset.settings
        dataset.settings = replace(settings, work_dir=folder, dry_run=True)
        plans, failures = make_plans(dataset, subjects, recipes)
        if plans:
            sys.stdout.write(array_script(settings, plans))
    return exit_status(len(subjects), failures)


def run_jobs(
    dataset: Dataset,
    subjects: list[str],
    recipes: tuple[Recipe, ...],
    processes: Processes | None,
) -> Status:
    """Plan and execute the jobs of participants whose folders are locked."""
    settings = dataset.settings
    for subject in subjects:
        remove_parts(settings.output_dir / f"sub-{subject}")
        remove_parts(settings.work / f"sub-{subject}")
    plans, failures = make_plans(dataset, subjects, recipes, processes)
    for subject, error in failures.items():
        if error.status not in (Status.USAGE, Status.NOTHING_SELECTED):
            failure_page(settings, subject, error.message)
    jobs_by_subject = {plan.subject: jobs_of(plan) for plan in plans}
    jobs = [job for jobs in jobs_by_subject.values() for job in jobs]
    cluster = cluster_of(settings, plans)
    n_procs = 1 if cluster else processes_within_memory(settings, plans)
    if processes:
        processes.keep(n_procs if n_procs > 1 else 0)
    place = cluster or (processes if n_procs > 1 else None)
    n_threads = settings.omp_nthreads or default_threads(n_procs)
    with RunProgress(jobs) as progress:
        outcomes = execute(jobs, n_threads, progress.ended, progress.begun, place)
    log_defects(settings, outcomes)
    for subject, own in jobs_by_subject.items():
        failed = [outcomes[j.name] for j in own if outcomes[j.name].state == "failed"]
        if failed:
            failures[subject] = UserError(failed[0].reason, failed[0].status)
    _tell_end(settings, plans, failures)
    return exit_status(len(subjects), failures)


def run_group(settings: Settings) -> Status:
    """Collect all participants of OUTPUT_DIR in one table and page."""
    if settings.array_script:
        raise UserError(
            "--array-script writes what to do for participants, and then for the "
            "group. Ask for it with the level participant.",
            Status.USAGE,
        )
    check_folders(settings)
    logs = settings.output_dir / "logs"
    scored = [path.parent.name for path in settings.output_dir.glob("sub-*/recon")]
    with locked(logs / f"{name}.lock" for name in scored):
        for line in write_tangents(settings):
            logger.info("%s", line)
        page = group_stage(settings)
    logger.info("Group report: %s", page)
    return Status.OK


def make_plans(
    dataset: Dataset,
    subjects: list[str],
    recipes: tuple[Recipe, ...],
    processes: Processes | None = None,
) -> tuple[list[Plan], dict[str, UserError]]:
    """Plan each participant; one that cannot be planned does not stop the others."""
    planned = planned_in(processes, dataset, subjects, recipes)
    failures = {
        subject: UserError(outcome.reason, outcome.status)
        for subject, outcome in planned.items()
        if outcome.failed
    }
    for subject, error in failures.items():
        _tell_failure(subject, error)
    if not dataset.settings.dry_run:
        log_defects(dataset.settings, planned)
    plans = [outcome.value for outcome in planned.values() if not outcome.failed]
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
    jobs += nodes_jobs(plan)
    jobs += connectivity_jobs(plan, [job.name for job in jobs])
    for analysis in plan.analyses:
        responses = response_jobs(plan, Variant.of(plan, analysis.recipe))
        known = {job.name for job in jobs}
        jobs += [job for job in responses if job.name not in known]
        jobs += analysis_jobs(plan, analysis, [job.name for job in responses])
    jobs += learning_jobs(plan)
    after = tuple(job.name for job in jobs)
    report = partial(report_stage, plan)
    jobs.append(Job(f"{subject} report", "report", report, (), after, REPORT))
    least = largest_run_mb(plan)
    jobs = [replace(job, memory_mb=max(job.memory_mb, least)) for job in jobs]
    return of_stages(jobs, plan.settings.stages)


def nodes_jobs(plan: Plan) -> list[Job]:
    """Return one job per set of regions that are nodes of a graph."""
    found = [rois for a in plan.analyses for rois in rois_of_graphs(plan, a)]
    found += [r for _, r, asked in relmats_of(plan) if asked.nodes == "regions"]
    return [
        Job(
            nodes_name(plan, rois),
            "rois",
            partial(nodes_stage, plan, rois),
            tuple(f"sub-{plan.subject} rois {roi.name}" for roi in rois),
        )
        for rois in dict.fromkeys(found)
    ]


def connectivity_jobs(plan: Plan, needs: list[str]) -> list[Job]:
    """Return one job per matrix of connectivity that is an output."""
    jobs = []
    for analysis, rois, asked in relmats_of(plan):
        responses = response_jobs(plan, Variant.of(plan, analysis.recipe))
        known = set(needs) | {job.name for job in jobs}
        jobs += [job for job in responses if job.name not in known]
        own = [*(job.name for job in responses), *needs]
        words = (seg_of(rois), asked.measure, asked.desc or "")
        name = " ".join((f"sub-{plan.subject} connectivity", *filter(None, words)))
        work = partial(connectivity_stage, plan, analysis, rois, asked)
        jobs.append(Job(name, "rois", work, tuple(dict.fromkeys(own))))
    return jobs


def nodes_name(plan: Plan, rois: Rois) -> str:
    """Return how the job that makes nodes of regions is called."""
    return f"sub-{plan.subject} nodes {seg_of(rois)}"


def response_jobs(plan: Plan, variant: Variant) -> list[Job]:
    """Return one job per run for one way to estimate responses."""
    return [
        Job(
            f"sub-{plan.subject} responses {variant.desc} {run.run.name}",
            "responses",
            partial(responses_stage, plan, index, variant),
            seconds=run_seconds(run),
        )
        for index, run in enumerate(plan.runs)
    ]


def analysis_jobs(plan: Plan, analysis: Analysis, responses: list[str]) -> list[Job]:
    """Return the jobs of one recipe on one set of regions, one after another."""
    masks = [f"sub-{plan.subject} rois {roi.name}" for roi in analysis.roi_sets]
    nodes = [nodes_name(plan, rois) for rois in rois_of_graphs(plan, analysis)]
    needs = (*responses, *masks, *nodes)
    sizes = sizes_of(plan, analysis)
    seconds = analysis_seconds(analysis, sizes)
    demands = {
        "memory_mb": analysis_mb(plan, analysis, sizes),
        "gpus": int(plan.settings.device == "cuda"),
    }
    jobs = []
    stages = [
        ("decode", decode_stage),
        ("generate", generate_stage),
        ("evaluate", evaluate_stage),
    ]
    if trains_on_all(plan.settings.split):
        # Nothing is tested; a generator may learn.
        stages = stages[: 2 if generator_learns(analysis.recipe) else 1]
    for stage, function in stages:
        name = f"{analysis_name(plan, analysis)} {stage}"
        work = partial(function, plan, analysis)
        jobs.append(Job(name, stage, work, needs, (), seconds[stage], **demands))
        needs = (name,)
    return jobs


def learning_jobs(plan: Plan) -> list[Job]:
    """Return one job per recipe and set of regions that is done on several shares."""
    jobs = []
    for analysis in plan.main_analyses:
        variants = plan.variants_of(analysis)
        if len(variants) > 1:
            needs = tuple(f"{analysis_name(plan, own)} evaluate" for own in variants)
            work = partial(learning_stage, plan, analysis)
            jobs.append(Job(learning_name(plan, analysis), "evaluate", work, needs))
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
    output_dir, logs = settings.output_dir, settings.output_dir / "logs"
    text, bibtex = citations({key for recipe in recipes for key in recipe.cite})
    with locked([output_dir / ".bids-recon.lock"]):
        shared = (settings.work / "pictures", settings.work / "features")
        for folder in (output_dir, logs, settings.work, *shared):
            remove_old_parts(folder)
        # The description comes first: by it the folder is ours.
        write_descriptions(output_dir, dataset.links, dataset.description)
        write_text(logs / "CITATION.md", text)
        write_text(logs / "CITATION.bib", bibtex)
        data = yaml_text(settings.as_data())
        write_text(logs / settings.run_uuid / "settings.yml", data)


def lock_files(settings: Settings, subjects: list[str]) -> list[Path]:
    """Return what one run at a time holds locked, for each participant."""
    folders = (settings.output_dir / "logs", settings.work)
    return [folder / f"sub-{label}.lock" for folder in folders for label in subjects]


def log_defects(settings: Settings, outcomes: dict[str, Outcome]) -> None:
    """Write the tracebacks of our own defects where a user can find them."""
    for outcome in outcomes.values():
        if outcome.details:
            write_crash(settings, outcome.job, outcome.details)


def write_crash(settings: Settings, what: str, details: str) -> None:
    """Write one traceback; its name holds nothing that a path would take amiss."""
    name = re.sub(r"[^A-Za-z0-9.-]+", "_", what)[:150]
    path = settings.output_dir / "logs" / settings.run_uuid / f"crash-{name}.txt"
    write_text(path, details)
    logger.error("Its traceback: %s", path)


def exit_status(n_subjects: int, failures: dict[str, UserError]) -> Status:
    """Return the exit status of a run over participants."""
    if not failures:
        return Status.OK
    statuses = {error.status for error in failures.values()}
    if len(failures) == n_subjects and len(statuses) == 1:
        return statuses.pop()
    return Status.FAILED


def _tell_failure(subject: str, error: UserError) -> None:
    name = f"sub-{subject}"
    logger.error("%s failed: %s", name, error.message.removeprefix(f"{name}: "))


def _tell_end(
    settings: Settings, plans: list[Plan], failures: dict[str, UserError]
) -> None:
    for plan in plans:
        page = settings.output_dir / f"sub-{plan.subject}.html"
        if page.is_file():
            logger.info("Report: %s", page)
    # Where nothing was planned, planning was the last to speak.
    for subject in sorted(failures) if plans else ():
        _tell_failure(subject, failures[subject])
