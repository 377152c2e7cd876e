"""Stage 6: figures of a participant, and the page that shows them."""

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from bids_recon.dataset.checksums import checksums
from bids_recon.dataset.derivatives import output_path
from bids_recon.dataset.leftovers import remove_listed
from bids_recon.dataset.sidecar import Record, Sidecar, library_versions, sidecar_path
from bids_recon.engine import Outcome, Result
from bids_recon.evaluation.splits import trains_on_all
from bids_recon.files import write_text, write_whole
from bids_recon.plan.plan import Analysis, Plan
from bids_recon.reports.fragments import (
    bullet_list,
    paragraph,
)
from bids_recon.reports.page import write_page
from bids_recon.settings import Settings
from bids_recon.stages.ceiling import ceiling_path
from bids_recon.stages.connectivity.stage import read_relmat
from bids_recon.stages.decode.maps import map_paths
from bids_recon.stages.decode.stage import decoder_path, decoding_path
from bids_recon.stages.generate.stage import recon_files
from bids_recon.stages.report.comparison import compared_recipes, comparison_words
from bids_recon.stages.report.image_gallery import gallery_parts, seen_folder
from bids_recon.stages.report.learning import (
    learning_figures,
    learning_scores,
    learning_tables,
    learning_words,
)
from bids_recon.stages.report.participant_figures import (
    figures_of,
    figures_of_connectivity,
    figures_of_data,
    figures_of_decoders,
    relmats_there,
    work_is_there,
)
from bids_recon.stages.report.participant_text import (
    about,
    shown_settings,
    what_to_cite,
    what_was_read,
    words_of,
    words_of_decoders,
)
from bids_recon.stages.report.summary import summary_words
from bids_recon.stages.report.times import note_times
from bids_recon.stages.responses import Variant, response_files
from bids_recon.stages.rois import reference_path, roi_path

logger = logging.getLogger("bids_recon")


def report_stage(plan: Plan, outcomes: Sequence[Outcome] = ()) -> Result:
    """Draw the figures of a participant and write the page, if that is not done yet.

    Figures of what lies in the work folder stay as they are where it was removed.
    """
    settings = plan.settings
    failed = {outcome.job for outcome in outcomes if outcome.failed}
    done = [
        analysis
        for analysis in plan.analyses
        if recon_files(plan, analysis).metrics.is_file()
        and f"{analysis_name(plan, analysis)} evaluate" not in failed
    ]
    folder = settings.output_dir / f"sub-{plan.subject}" / "figures"
    page = settings.output_dir / f"sub-{plan.subject}.html"
    before = report_sidecar(settings, plan.subject)
    problems = _problems(outcomes, before)
    notes = _notes(plan)
    record = Record(
        stage="report",
        settings={
            "problems": problems,
            "notes": notes,
            "settings": shown_settings(settings),
            "versions": library_versions(),
            "analyses": [f"{a.desc} {a.label}" for a in done],
        },
        inputs=_inputs(plan, done),
        seed=settings.seed,
    )
    note_times(plan, outcomes)
    drawn = parts_of(plan, done, problems, notes)
    parts = {path.name: path for path in drawn}
    if not work_is_there(plan):
        kept = (folder / name for name in before.listed)
        parts |= {path.name: path for path in kept if path.is_file()}
    sidecar = Sidecar(before.path, {"page": page, **dict(sorted(parts.items()))})
    reason = sidecar.why_run(record)
    if reason is None:
        return Result(False)
    for path, write in drawn.items():
        write_whole(path, write)
    for place in (folder, seen_folder(plan)):
        remove_listed(place, before.listed, parts.values())
    _write_page(settings, plan.subject)
    sidecar.write(record, {"Description": f"Figures of {page.name}."}, [])
    return Result(True, reason)


def parts_of(
    plan: Plan, done: list[Analysis], problems: list[str], notes: list[str]
) -> dict[Path, Callable[[Path], None]]:
    """Return the parts of a participant's page: path -> how to write it."""
    main = [analysis for analysis in done if analysis in plan.main_analyses]
    compared = compared_recipes(plan, main)
    gallery, copies = gallery_parts(plan, done)
    words = {
        "summary_about": summary_words(plan, done, compared, notes),
        "read_about": what_was_read(plan),
        "settings_about": about(plan.settings),
        "cite_about": what_to_cite(plan),
        **{
            f"{name}_connectivity": paragraph(read_relmat(path).description)
            for name, path in relmats_there(plan).items()
        },
    }
    if problems:
        words["problems_about"] = bullet_list(problems, "failed")
    if gallery:
        words["gallery_about"] = gallery
    if text := comparison_words(compared):
        words["compared_about"] = text
    drawn = figures_of_data(plan, done) if done else figures_of_connectivity(plan)
    learning = learning_scores(plan, done)
    if len(learning):
        words["learning_about"] = learning_words(learning)
        drawn |= learning_figures(learning)
    parts = {**copies, **_paths(plan, words, drawn)}
    for analysis in main:
        words = words_of(plan, analysis)
        parts |= _paths(plan, words, figures_of(plan, analysis), analysis)
    for analysis in trained_only(plan):
        words, drawn = words_of_decoders(plan, analysis), figures_of_decoders
        parts |= _paths(plan, words, drawn(plan, analysis), analysis)
    return parts


def trained_only(plan: Plan) -> list[Analysis]:
    """Return the analyses whose decoders were trained on all trials."""
    if not trains_on_all(plan.settings.split):
        return []
    return [a for a in plan.analyses if decoder_path(plan, a).is_file()]


def _paths(
    plan: Plan,
    words: Mapping[str, str],
    drawn: Mapping[str, Callable[[Path], None]],
    analysis: Analysis | None = None,
) -> dict[Path, Callable[[Path], None]]:
    """Return path -> how to write it; names are a desc and a suffix, or a suffix."""
    writers = {
        (name, ".html"): lambda part, text=text: part.write_text(text, "utf-8")
        for name, text in words.items()
    }
    writers |= {(name, ".svg"): write for name, write in drawn.items()}
    parts = {}
    for (name, extension), write in writers.items():
        desc, _, suffix = name.rpartition("_")
        desc, label = (analysis.desc, analysis.label) if analysis else (desc, None)
        path = figure_path(
            plan.settings, plan.subject, desc, suffix, extension, label, plan.task
        )
        parts[path] = write
    return parts


def figure_path(
    settings: Settings,
    subject: str,
    desc: str,
    suffix: str,
    extension: str,
    label: str | None = None,
    task: str | None = None,
) -> Path:
    """Return where a piece of a page lies."""
    return output_path(
        settings.output_dir,
        "figure",
        subject=subject,
        task=task,
        label=label,
        desc=desc,
        suffix=suffix,
        extension=extension,
    )


def _problems(outcomes: Sequence[Outcome], before: Sidecar) -> list[str]:
    """Return what failed; where only the report is made anew, what failed before."""
    if not outcomes and before.path.is_file():
        return before.read()["BidsRecon"]["Settings"]["problems"]
    return [f"{o.job}: {o.reason}" for o in outcomes if o.state == "failed"]


def _notes(plan: Plan) -> list[str]:
    """Return what was noted in the plan and in sidecars of responses and masks."""
    sidecars = [
        response_files(plan, run, variant).sidecar.path
        for variant in dict.fromkeys(
            Variant.of(plan, analysis.recipe) for analysis in plan.analyses
        )
        for run in plan.runs
    ]
    sidecars += [
        sidecar_path(roi_path(plan, roi))
        for analysis in plan.analyses
        for roi in analysis.roi_sets
    ]
    for analysis in plan.analyses:
        decoders = decoder_path(plan, analysis).with_suffix(".json")
        applied = decoding_path(plan, analysis).with_suffix(".json")
        sidecars += [decoders, applied, recon_files(plan, analysis).sidecar]
    notes = list(plan.notes)
    for path in dict.fromkeys(sidecars):
        if path.is_file():
            notes += json.loads(path.read_text(encoding="utf-8"))["BidsRecon"][
                "Warnings"
            ]
    return list(dict.fromkeys(notes))


def analysis_name(plan: Plan, analysis: Analysis) -> str:
    """Return how the jobs of an analysis are called."""
    return f"sub-{plan.subject} {analysis.recipe.output_name} {analysis.label}"


def failure_page(settings: Settings, subject: str, message: str) -> None:
    """Write the page of a participant whose input could not be read.

    The page of a run that reconstructed something stays as it is.
    """
    folder = settings.output_dir / f"sub-{subject}" / "figures"
    sidecar = report_sidecar(settings, subject)
    record = Record(
        "report", {"problems": [message], "analyses": []}, {}, settings.seed
    )
    if sidecar.path.is_file() and _shows_something(sidecar):
        logger.warning("sub-%s: the page of an earlier run stays.", subject)
        return
    problems = paragraph("Nothing was reconstructed.") + bullet_list(
        [message], "failed"
    )
    parts = {
        figure_path(settings, subject, "problems", "about", ".html"): problems,
        figure_path(settings, subject, "settings", "about", ".html"): about(settings),
    }
    for path, text in parts.items():
        write_text(path, text)
    remove_listed(folder, sidecar.listed, parts)
    page = settings.output_dir / f"sub-{subject}.html"
    _write_page(settings, subject)
    outputs = {"page": page, **{path.name: path for path in parts}}
    Sidecar(sidecar.path, outputs).write(record, {"Description": page.name}, [])


def report_sidecar(settings: Settings, subject: str) -> Sidecar:
    """Return the sidecar of a participant's page, which lists its parts."""
    folder = settings.output_dir / f"sub-{subject}" / "figures"
    return Sidecar(folder / f"sub-{subject}_report.json")


def _shows_something(sidecar: Sidecar) -> bool:
    try:
        return bool(sidecar.read()["BidsRecon"]["Settings"]["analyses"])
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _write_page(settings: Settings, subject: str) -> None:
    folder = settings.output_dir / f"sub-{subject}" / "figures"
    write_whole(
        settings.output_dir / f"sub-{subject}.html",
        lambda part: write_page(
            settings.output_dir, folder, part.name, "participant", subject=subject
        ),
    )


def _inputs(plan: Plan, done: list[Analysis]) -> dict[str, str]:
    paths = [decoder_path(plan, analysis) for analysis in trained_only(plan)]
    for analysis in done:
        files = recon_files(plan, analysis)
        paths += [files.table, files.metrics, files.sidecar]
        paths += [files.spurious] if files.spurious.is_file() else []
        paths += [roi_path(plan, roi) for roi in analysis.roi_sets]
        paths += [decoder_path(plan, analysis), decoding_path(plan, analysis)]
        paths += list(map_paths(plan, analysis).values())
    if done:
        ceiling = ceiling_path(plan, Variant.of(plan, plan.analyses[0].recipe))
        paths += [reference_path(plan), *([ceiling] if ceiling.is_file() else [])]
    paths += [*relmats_there(plan).values(), *learning_tables(plan, done)]
    return checksums([path for path in paths if path.is_file()])
