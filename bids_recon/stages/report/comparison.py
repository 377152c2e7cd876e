"""Recipes of a participant beside each other, a ridge and the mean prediction."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from itertools import combinations

import numpy as np
import pandas as pd

from bids_recon.dataset.tables import read_table
from bids_recon.evaluation.chance import bootstrap_interval
from bids_recon.evaluation.comparison import Difference, paired_difference
from bids_recon.plan.methods import graph_of
from bids_recon.plan.plan import Analysis, Plan
from bids_recon.reports.fragments import paragraph, short, table
from bids_recon.stages.decode.baselines import MEAN, RIDGE
from bids_recon.stages.decode.stage import decoding_path
from bids_recon.stages.generate.stage import recon_files, trial_keys

CONTROLS = ("no-edges", "random", "rewired", "complete")
"""Graphs that tell whether edges matter."""

OTHERS = {RIDGE: "Ridge", MEAN: "Mean prediction"}

COLUMNS = {
    "features_mse": ("Error of features ↓", False),
    "features_two_way": ("Identification by features ↑", True),
    "mse": ("Error of pictures ↓", False),
    "two_way_identification": ("Identification by pixels ↑", True),
}
"""What is compared: words, and whether higher is better."""

MOST_PAIRS = 28
"""Of more, only those with the first recipe are shown."""


@dataclass(frozen=True)
class Entry:
    """Scores of one method, a row per trial.

    Parameters
    ----------
    name : str
        As a reader sees it.
    scores : DataFrame
        ``COLUMNS``, with NaN where there are none, indexed by trial.
    own : array of shape (n,)
        The picture of each trial.
    analysis : Analysis or None
        What it came from; ``None`` for what stands beside.
    """

    name: str
    scores: pd.DataFrame
    own: np.ndarray
    analysis: Analysis | None = None


def decoding_words(plan: Plan, analysis: Analysis) -> str:
    """Return the table of decoded features of one analysis; empty without any."""
    path = decoding_path(plan, analysis)
    if not path.is_file():
        return ""
    scores = read_table(path, numeric=("row", "mse", "two_way_identification"))
    rows = []
    for features, part in scores.groupby("features", sort=False):
        by_name = dict(iter(part.groupby("prediction", sort=False)))
        decoder = analysis.recipe.decode[features].decoder.name
        for name, own in by_name.items():
            words = OTHERS.get(name, f"This decoder ({decoder})")
            cells = [features, words]
            for score in ("mse", "two_way_identification"):
                values, stimuli = own[score].to_numpy(), own["stimulus"].to_numpy(str)
                cells.append(_with_interval(values, stimuli))
                difference = None
                if name != "decoder":
                    first = by_name["decoder"][score].to_numpy()
                    difference = paired_difference(first, values, stimuli)
                cells.append(_difference_words(difference))
            rows.append(cells)
    headers = (
        *("Features", "Prediction", "Mean squared error ↓", "This decoder less it"),
        *("Two-way identification ↑", "This decoder less it"),
    )
    return table(headers, rows)


def _with_interval(values: np.ndarray, own: np.ndarray) -> str:
    known = np.isfinite(values)
    if not known.any():
        return "n/a"
    low, high = bootstrap_interval(values, own, np.random.default_rng(0))
    mean = short(values[known].mean())
    return mean if np.isnan(low) else f"{mean} ({short(low)} to {short(high)})"


def _difference_words(difference: Difference | None) -> str:
    if difference is None or np.isnan(difference.mean):
        return ""
    return interval_words(difference) + " *" * difference.is_told


def interval_words(difference: Difference) -> str:
    """Return a difference with its interval, where it has one."""
    if np.isnan(difference.low):
        return short(difference.mean)
    interval = f"{short(difference.low)} to {short(difference.high)}"
    return f"{short(difference.mean)} ({interval})"


@dataclass(frozen=True)
class Compared:
    """Recipes on the same regions, and what stands beside them.

    Parameters
    ----------
    label : str
        The regions.
    entries : tuple of Entry
        Those that have the same trials.
    notes : tuple of str
        Why others are left out.
    """

    label: str
    entries: tuple[Entry, ...]
    notes: tuple[str, ...]

    def difference(self, first: str, second: str, column: str) -> Difference | None:
        """Return the paired difference of two recipes; None where they lack it."""
        own = {entry.name: entry for entry in self.entries if entry.analysis}
        if first not in own or second not in own or column not in COLUMNS:
            return None
        a, b = own[first], own[second]
        return paired_difference(a.scores[column], b.scores[column], a.own)


def compared_recipes(plan: Plan, done: Sequence[Analysis]) -> list[Compared]:
    """Return the recipes of each set of regions, where there are several."""
    found = []
    for label in dict.fromkeys(analysis.label for analysis in done):
        own = [analysis for analysis in done if analysis.label == label]
        if len(own) > 1:
            entries, notes = _entries(plan, own)
            found.append(Compared(label, tuple(entries), tuple(notes)))
    return found


def comparison_words(compared: Sequence[Compared]) -> str:
    """Return the comparison of all recipes on the same regions, as HTML."""
    text = ""
    for own in compared:
        notes = "".join(paragraph(note) for note in own.notes)
        if len([entry for entry in own.entries if entry.analysis]) < 2:
            text += notes
            continue
        text += f"<h3>Regions {escape(own.label)}</h3>" + _values(own.entries)
        text += "".join(paragraph(line) for line in graph_verdicts(own.entries))
        text += notes + _pairs(own.entries)
    return text


def _entries(plan: Plan, own: Sequence[Analysis]) -> tuple[list[Entry], list[str]]:
    """Return what can be compared with the first analysis trial by trial."""
    entries: list[Entry] = []
    beside: dict[str, Entry] = {}
    notes, keys, space = [], None, None
    for analysis in own:
        listed = read_table(recon_files(plan, analysis).table, numeric=("sample",))
        seen = listed["stimulus"].isin(plan.pictures) & (listed["sample"] == 1)
        listed = listed[seen].reset_index(drop=True)
        if listed.empty:
            continue
        for name in ("mse", "two_way_identification"):
            listed[name] = pd.to_numeric(listed[name], errors="coerce")
        found = trial_keys(listed)
        keys = found if keys is None else keys
        if set(found) != set(keys):
            notes.append(
                f"{analysis.recipe.name} reconstructs other trials, or combines "
                "repeats of a picture where others do not; it is not compared. "
                "--test-repeats has all recipes do the same."
            )
            continue
        order = pd.Series(np.arange(len(found)), index=found).loc[keys].to_numpy()
        step = next(iter(analysis.recipe.decode))
        features = repr(analysis.recipe.decode[step].features.as_data())
        space = features if space is None else space
        scores = listed[["mse", "two_way_identification"]].iloc[order]
        scores = scores.reset_index(drop=True)
        stimuli = listed["stimulus"].to_numpy(str)[order]
        by_name = _of_features(plan, analysis, step, order) if features == space else {}
        entries.append(
            Entry(
                analysis.recipe.name,
                _joined(by_name.pop("decoder", None), scores),
                stimuli,
                analysis,
            )
        )
        for name, part in by_name.items():
            words = OTHERS.get(name, name)
            beside.setdefault(name, Entry(words, _joined(part, None), stimuli))
    return [*entries, *beside.values()], notes


def _of_features(
    plan: Plan, analysis: Analysis, step: str, order: np.ndarray
) -> dict[str, pd.DataFrame]:
    """Return the scores of decoded features by prediction, in the order of trials."""
    path = decoding_path(plan, analysis)
    if not path.is_file():
        return {}
    scores = read_table(path, numeric=("row", "mse", "two_way_identification"))
    scores = scores[scores["features"] == step]
    return {
        name: part[["mse", "two_way_identification"]].iloc[order]
        for name, part in scores.groupby("prediction", sort=False)
        if len(part) == len(order)
    }


def _joined(
    features: pd.DataFrame | None, pictures: pd.DataFrame | None
) -> pd.DataFrame:
    n_trials = len(features if pictures is None else pictures)
    none = pd.DataFrame(
        np.nan, index=range(n_trials), columns=["mse", "two_way_identification"]
    )
    features = none if features is None else features.reset_index(drop=True)
    pictures = none if pictures is None else pictures
    return pd.DataFrame(
        {
            "features_mse": features["mse"],
            "features_two_way": features["two_way_identification"],
            **{name: pictures[name] for name in pictures},
        }
    )


def _values(entries: Sequence[Entry]) -> str:
    rows = [
        [
            entry.name,
            *(
                _with_interval(entry.scores[column].to_numpy(), entry.own)
                for column in COLUMNS
            ),
        ]
        for entry in entries
    ]
    return table(("Recipe", *(words for words, _ in COLUMNS.values())), rows)


def _pairs(entries: Sequence[Entry]) -> str:
    pairs = list(combinations(entries, 2))
    pairs = [pair for pair in pairs if pair[0].analysis or pair[1].analysis]
    if len(pairs) > MOST_PAIRS:
        pairs = [pair for pair in pairs if pair[0] is entries[0]]
    rows = [
        [
            f"{first.name} less {second.name}",
            *(
                _difference_words(
                    paired_difference(
                        first.scores[column], second.scores[column], first.own
                    )
                )
                for column in COLUMNS
            ),
        ]
        for first, second in pairs
    ]
    # The mean prediction has no images, and recipes may decode other features.
    rows = [row for row in rows if any(row[1:])]
    return table(("Difference", *(words for words, _ in COLUMNS.values())), rows)


def graph_verdicts(entries: Sequence[Entry]) -> list[str]:
    """Say for each graph whether its edges matter, beside each of its controls."""
    graphs = {}
    for entry in entries:
        if entry.analysis is None:
            continue
        step = next(iter(entry.analysis.recipe.decode.values()))
        if graph_of(step) is not None:
            graphs[entry.name] = (entry, step.graph.name if step.graph else "nearest")
    true = [pair for pair in graphs.values() if pair[1] not in CONTROLS]
    controls = [pair for pair in graphs.values() if pair[1] in CONTROLS]
    return [
        _verdict(entry, other, kind) for entry, _ in true for other, kind in controls
    ]


def _verdict(entry: Entry, other: Entry, control: str) -> str:
    column = "features_mse"
    if not np.isfinite(entry.scores[column]).any():
        column = "mse"
    found = paired_difference(entry.scores[column], other.scores[column], entry.own)
    interval = f"{short(found.low)} to {short(found.high)}"
    size = f"difference of the error {short(found.mean)}, 95 % interval {interval}"
    name = f"The graph of {entry.name}"
    if not found.is_told:
        return f"{name} makes no difference that can be told from {control}: {size}."
    better = "better" if found.mean < 0 else "worse"
    return f"{name} does {better} than {control}: {size}."
