"""The figures of a participant's page."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from textwrap import shorten

import numpy as np
import pandas as pd
from safetensors import safe_open

from bids_recon.dataset.derivatives import camel_case
from bids_recon.dataset.images import open_image
from bids_recon.dataset.stimuli import read_picture
from bids_recon.dataset.tables import read_table
from bids_recon.evaluation.scores import finite_mean
from bids_recon.plan.plan import Analysis, Plan
from bids_recon.reports import decoder_figures, figures
from bids_recon.stages.ceiling import ceiling_path
from bids_recon.stages.connectivity.nodes import seg_of
from bids_recon.stages.connectivity.stage import (
    Relmat,
    read_relmat,
    relmat_path,
    relmats_of,
)
from bids_recon.stages.decode.fold_data import trials_and_split
from bids_recon.stages.decode.maps import map_paths
from bids_recon.stages.decode.stage import decoder_path
from bids_recon.stages.generate.stage import listing, recon_files
from bids_recon.stages.report.posterior_intervals import draw_posterior, posterior_steps
from bids_recon.stages.responses import (
    Variant,
    load_responses,
    read_trials,
    response_files,
)
from bids_recon.stages.rois import load_mask, reference_path

Figures = dict[str, Callable[[Path], None]]
"""What a figure is called -> how to write it."""

SHOWN = 6
"""How many pictures of each rank are shown."""

MOST_NODES = 500
"""Nodes in a glass brain, at most."""

LARGEST_PATTERN = 2000
"""Voxels and trials that correlations of patterns are computed from, at most."""


def work_is_there(plan: Plan) -> bool:
    """Tell whether responses still lie in the work folder, which may be removed."""
    variants = {Variant.of(plan, analysis.recipe) for analysis in plan.analyses}
    return all(
        response_files(plan, run, variant).values.is_file()
        for variant in variants
        for run in plan.runs
    )


def figures_of_data(plan: Plan, done: list[Analysis]) -> Figures:
    """Return the figures of regions and responses: desc and suffix -> how to write."""
    first = Variant.of(plan, plan.analyses[0].recipe)
    drawn: Figures = {"regions_mask": lambda part: _regions(plan, done, part)}
    of_pictures = (plan.own_trials["role"] == "trial").any()
    if work_is_there(plan) and of_pictures:
        drawn["quality_responses"] = lambda part: figures.save(
            figures.response_quality(_quality(plan, done[0])), part
        )
    if ceiling_path(plan, first).is_file():
        drawn["ceiling_responses"] = lambda part: figures.save(
            figures.ceilings(_ceilings(plan, done, first)), part
        )
    return drawn | figures_of_connectivity(plan)


def figures_of_connectivity(plan: Plan) -> Figures:
    """Return the figures of connectivity: name and suffix -> how to write."""
    drawn: Figures = {}
    for name, path in relmats_there(plan).items():
        drawn |= _connectivity(plan, name, read_relmat(path))
    return drawn


def relmats_there(plan: Plan) -> dict[str, Path]:
    """Return the matrices of connectivity that were written, by short names."""
    found = {}
    for _, rois, asked in relmats_of(plan):
        path = relmat_path(plan, rois, asked)
        if path.is_file():
            words = (seg_of(rois), asked.measure, asked.desc or "")
            found[camel_case(" ".join(words))] = path
    return found


def _connectivity(plan: Plan, name: str, relmat: Relmat) -> Figures:
    def matrix(part: Path) -> None:
        drawn = decoder_figures.connectivity_matrix(
            relmat.values, relmat.names, relmat.words
        )
        figures.save(drawn, part)

    def glass(part: Path) -> None:
        drawn = decoder_figures.connectome(relmat.values, relmat.positions)
        figures.save(drawn, part)

    drawn: Figures = {f"{name}_relmat": matrix}
    # A glass brain is that of the template.
    if plan.space.startswith("MNI") and len(relmat.names) <= MOST_NODES:
        drawn[f"{name}_connectome"] = glass
    return drawn


def figures_of(plan: Plan, analysis: Analysis) -> Figures:
    """Return the figures of one analysis: suffix -> how to write it."""
    learned = json.loads(
        recon_files(plan, analysis).sidecar.read_text(encoding="utf-8")
    )["Learned"]
    drawn: Figures = {
        "recon": lambda part: figures.save(
            figures.seen_and_reconstructed(_ranked(plan, analysis)), part
        )
    }
    if work_is_there(plan):
        trials, split = trials_and_split(plan, analysis.recipe)
        if posterior_steps(plan, analysis, split):
            listed = listing(trials, split, analysis.recipe)
            drawn["posterior"] = lambda part: draw_posterior(
                plan, analysis, listed, split, part
            )
    drawn |= figures_of_decoders(plan, analysis)
    if learned:
        drawn["weights"] = lambda part: figures.save(
            figures.combination_weights(learned), part
        )
    return drawn


def figures_of_decoders(plan: Plan, analysis: Analysis) -> Figures:
    """Return the figures of decoders alone, which need no test trials."""
    drawn: Figures = {}
    curves = _curves(plan, analysis)
    if curves:
        drawn["training"] = lambda part: figures.save(
            decoder_figures.training_curves(curves), part
        )
    maps = {k: p for k, p in map_paths(plan, analysis).items() if p.is_file()}
    if maps and reference_path(plan).is_file():
        drawn["maps"] = lambda part: _maps(plan, analysis, maps, part)
    return drawn


def _curves(plan: Plan, analysis: Analysis) -> dict[str, tuple[np.ndarray, int]]:
    """Return the training curves of an analysis' networks."""
    path = decoder_path(plan, analysis)
    if not path.is_file():
        return {}
    with safe_open(path, "np") as stream:
        names = [name for name in stream.keys() if name.endswith("/curve")]  # noqa: SIM118
        several = len(analysis.recipe.decode) > 1
        found = {}
        for name in names:
            fold, step = name.removesuffix("/curve").rsplit("/", 1)
            best = stream.get_tensor(name.replace("/curve", "/best_epoch"))
            words = f"{step}, {fold}" if several else fold
            found[words] = (stream.get_tensor(name), int(best))
    return found


def _maps(plan: Plan, analysis: Analysis, maps: Mapping[str, Path], part: Path) -> None:
    several = len(analysis.recipe.decode) > 1
    shown = {
        name if several else name.rpartition("_")[2]: np.asarray(
            open_image(path).dataobj
        )
        for name, path in maps.items()
    }
    figures.save(
        decoder_figures.maps_on_mean(open_image(reference_path(plan)), shown), part
    )


def _regions(plan: Plan, done: list[Analysis], part: Path) -> None:
    sets = dict.fromkeys(roi for analysis in done for roi in analysis.roi_sets)
    masks = {roi.name: load_mask(plan, roi) for roi in sets}
    mean = open_image(reference_path(plan))
    figures.save(figures.masks_on_mean(mean, masks), part)


def _ceilings(
    plan: Plan, done: list[Analysis], variant: Variant
) -> dict[str, np.ndarray]:
    """Return the noise ceiling of the voxels of each region that was used."""
    percent = np.asarray(open_image(ceiling_path(plan, variant)).dataobj)
    sets = dict.fromkeys(roi for analysis in done for roi in analysis.roi_sets)
    return {roi.name: percent[load_mask(plan, roi)] for roi in sets}


def _quality(plan: Plan, analysis: Analysis) -> pd.DataFrame:
    """Correlate response patterns of trials with one picture, and with others."""
    variant = Variant.of(plan, analysis.recipe)
    union = np.logical_or.reduce([load_mask(plan, roi) for roi in analysis.roi_sets])
    used, shown, names = [], [], []
    for run in plan.runs:
        trials = read_trials(plan, run, variant)
        rows = np.flatnonzero(trials["role"] == "trial")
        if len(rows):
            shown += trials["stimulus"].iloc[rows].tolist()
            used.append((run, rows, np.load(response_files(plan, run, variant).mask)))
            names += [run.run.name] * len(rows)
    # Drawn first, so that no more than one run and what is kept of all are held.
    rng = np.random.default_rng(0)
    voxels = _some(int(union[used[0][2]].sum()), rng)
    kept = _some(len(names), rng)
    values, deviations, first = [], {}, 0
    for run, rows, mask in used:
        part = load_responses(plan, run, variant)
        X = np.asarray(part.values)[rows][:, union[mask]]
        deviations[run.run.name] = float(np.median(X.std(axis=0)))
        own = kept[(kept >= first) & (kept < first + len(rows))] - first
        values.append((X - X.mean(axis=0))[np.ix_(own, voxels)])
        first += len(rows)
    return _pattern_correlations(
        np.concatenate(values),
        np.array(shown)[kept],
        np.array(names)[kept],
        deviations,
    )


def _some(n: int, rng: np.random.Generator) -> np.ndarray:
    """Return which of n are looked at, ascending; all where there are not too many."""
    if n <= LARGEST_PATTERN:
        return np.arange(n)
    return np.sort(rng.choice(n, LARGEST_PATTERN, replace=False))


def _pattern_correlations(
    X: np.ndarray,
    stimuli: np.ndarray,
    runs: np.ndarray,
    deviations: Mapping[str, float],
) -> pd.DataFrame:
    Z = X - X.mean(axis=1, keepdims=True)
    norms = np.linalg.norm(Z, axis=1, keepdims=True)
    Z = np.divide(Z, norms, out=np.zeros_like(Z), where=norms > 0)
    r = Z @ Z.T
    np.fill_diagonal(r, np.nan)
    same = stimuli[:, None] == stimuli[None]
    rows = []
    for name, deviation in deviations.items():
        inside = runs == name
        among, apart = r[inside][same[inside]], r[inside][~same[inside]]
        rows.append(
            {
                "run": name,
                "same": finite_mean(among),
                "different": finite_mean(apart),
                "deviation": deviation,
            }
        )
    return pd.DataFrame(rows)


def _ranked(
    plan: Plan, analysis: Analysis
) -> dict[str, list[tuple[np.ndarray, np.ndarray, str]]]:
    """Pick reconstructions by rank: the best, those in the middle, the worst."""
    files = recon_files(plan, analysis)
    listed = read_table(files.table, numeric=("sample",))
    scores = listed.get("pixel_correlation", pd.Series(np.nan, listed.index))
    listed["pixel_correlation"] = pd.to_numeric(scores, errors="coerce")
    listed = listed[listed["sample"] == 1]
    unseen = listed[~listed["stimulus"].isin(plan.pictures)]
    listed = listed[listed["stimulus"].isin(plan.pictures)]
    size = tuple(json.loads(files.sidecar.read_text(encoding="utf-8"))["PictureSize"])
    order = listed["pixel_correlation"].fillna(-2).to_numpy().argsort(kind="stable")
    order = order[::-1]
    shown = min(SHOWN, len(order))
    middle = max(0, (len(order) - shown) // 2)
    groups = {
        f"Best {shown} of {len(order)}": order[:shown],
        f"Middle {shown} of {len(order)}": order[middle : middle + shown],
        f"Worst {shown} of {len(order)}": order[-shown:],
    }
    groups = groups if shown else {}
    result = {}
    for title, rows in groups.items():
        items = []
        for row in rows:
            entry = listed.iloc[row]
            seen = read_picture(plan.pictures[entry["stimulus"]], size)
            made = read_picture(files.folder / entry["image"], size)
            caption = f"trial {entry['trial']}\nr = {entry['pixel_correlation']:.2f}"
            items.append((seen, made, caption))
        result[title] = items
    if len(unseen):
        chosen = unseen.iloc[:: max(1, -(-len(unseen) // SHOWN))]
        blank = np.full((3, *size), 0.9, dtype=np.float32)
        result[f"Without a picture: {len(chosen)} of {len(unseen)}, not scored"] = [
            (
                blank,
                read_picture(files.folder / entry["image"], size),
                f"trial {entry['trial']}\n{shorten(entry['stimulus'], 18)}",
            )
            for _, entry in chosen.iterrows()
        ]
    return result
