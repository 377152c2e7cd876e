"""Which trials are learned on and which are tested."""

from collections.abc import Callable, Mapping
from fnmatch import fnmatch
from types import MappingProxyType

import numpy as np
import pandas as pd

from bids_recon.datatypes import TEST_WORDS, TRAIN_WORDS, Trials
from bids_recon.errors import Status, UserError, did_you_mean, first_few
from bids_recon.evaluation.folds import (
    Fold,
    Sides,
    Split,
    as_fold,
    distinct,
    over_pictures,
    pictures_on_both_sides,
)
from bids_recon.evaluation.picture_folds import by_clusters, kfold, leave_one_out

ALL = "all"
"""The rule by which decoders are trained on all trials, to be used again."""

UNITS = MappingProxyType({"session": "ses", "task": "task", "run": "run"})
"""What may be held out as a whole, and how file names call it."""

WHOLE = ("leave-one-picture-out", "run", "session", "task", "paper")
"""Rules that nothing stands behind."""

FILE = "file:"
"""How a rule begins that names a file of sides."""


def make_split(
    rule: str | None,
    trials: Trials,
    seed: int,
    pictures_of: Callable[[], Mapping[str, np.ndarray]] | None = None,
    sides: Sides | None = None,
) -> Split:
    """Divide trials by a rule.

    Parameters
    ----------
    rule : str or None
        ``kfold:K`` over pictures, ``leave-one-picture-out``, ``run``, ``session``,
        ``task``, ``column:NAME``, ``clusters:K`` of similar pictures, ``all``,
        ``all:UNIT``, ``paper`` and ``file:PATH`` by ``sides``, or
        ``train=A,B/test=C`` with sessions. ``None`` takes the column ``split`` where
        the trials have it, else the paper's split where there is one with trials on
        both sides, else ``kfold:10``.
    trials : Trials
        The trials, all of which have a picture.
    seed : int
        Which pictures go together in ``kfold``, and where ``clusters`` start.
    pictures_of : callable, optional
        Gives the pictures (3, H, W) by their stimuli; ``clusters`` needs it.
    sides : Sides, optional
        What the file or the paper says, where there is one.

    Raises
    ------
    UserError
        If the rule is unknown, does not fit the trials, leaves a side empty, or would
        put a picture on both sides without saying so.
    """
    if rule is None:
        both = sides is not None and sides.train.any() and sides.tests
        rule = "paper" if both else "kfold:10"
        rule = "column:split" if _has_split_column(trials) else rule
    kind, _, argument = rule.partition(":")
    if rule.startswith("train="):
        return _by_sessions(rule, trials)
    makers: dict[str, Callable[[], Split]] = {
        "kfold": lambda: kfold(rule, argument, trials, seed),
        "leave-one-picture-out": lambda: leave_one_out(rule, trials),
        "run": lambda: _by_unit(rule, trials),
        "session": lambda: _by_unit(rule, trials),
        "task": lambda: _by_unit(rule, trials),
        ALL: lambda: _all(rule, argument, trials),
        "column": lambda: _by_column(rule, argument, trials),
        "paper": lambda: _by_sides(rule, trials, sides),
        "file": lambda: _by_sides(rule, trials, sides),
        "clusters": lambda: by_clusters(rule, argument, trials, seed, pictures_of()),
    }
    if kind in WHOLE and argument:
        raise UserError(
            f"--split {rule!r}: expected {kind} alone, without anything after it.",
            Status.USAGE,
        )
    if kind not in makers:
        known = [*makers, "train=SESSIONS/test=SESSIONS"]
        raise UserError(
            f"--split {rule!r} is no rule. {did_you_mean(kind, known)}", Status.USAGE
        )
    return makers[kind]()


def _has_split_column(trials: Trials) -> bool:
    return "split" in trials and trials["split"].notna().any()


def _labels(unit: str, trials: Trials) -> pd.Series:
    """Return the run, session or task of each trial, as file names have it."""
    columns = ["session", "task", "run"] if unit == "run" else [unit]
    keys = trials[columns].astype(str)
    return keys.apply(
        lambda row: "_".join(
            f"{UNITS[name]}-{row[name]}" for name in columns if row[name] != "n/a"
        ),
        axis=1,
    )


def _by_unit(unit: str, trials: Trials) -> Split:
    labels = _labels(unit, trials)
    names = labels.to_numpy(str)
    units = distinct(labels)
    if len(units) < 2:
        raise UserError(
            f"--split {unit}: there is one {unit} only ({units[0]}), and nothing to "
            "hold out. Use --split kfold:10.",
            Status.USAGE,
        )
    folds = tuple(as_fold(name, names != name, names == name) for name in units)
    shared = any(pictures_on_both_sides(fold, trials) for fold in folds)
    note = (
        "Pictures repeat between them: a picture that is tested was also learned on, "
        "in other trials, so these scores say how well known pictures are told "
        "apart, not how well new ones are reconstructed."
        if shared
        else "No picture is on both sides."
    )
    sentence = (
        f"Each of the {len(units)} {unit}s was reconstructed by decoders trained on "
        f"the others. {note}"
    )
    groups = names if shared else trials["stimulus"].to_numpy(str)
    return Split(unit, folds, groups, shared, sentence)


def _by_column(rule: str, column: str, trials: Trials) -> Split:
    if column not in trials:
        raise UserError(
            f"--split {rule!r}: the events have no column {column!r}. "
            f"{did_you_mean(column, trials.columns)}",
            Status.USAGE,
        )
    _check_complete(rule, column, trials)
    values = trials[column].to_numpy(str)
    lower = np.char.lower(values)
    train, test = np.isin(lower, TRAIN_WORDS), np.isin(lower, TEST_WORDS)
    if train.any() and test.any():
        folds: tuple[Fold, ...] = (as_fold("test", train, test),)
        sentence = (
            f"The column {column!r} of the events says which trials are for training "
            f"({train.sum()}) and which for test ({test.sum()}); no picture is on both "
            "sides."
        )
        others = sorted(set(values[~(train | test)].tolist()))
        if others:
            sentence += (
                f" {(~(train | test)).sum()} trials are in neither, since it says "
                f"{first_few(others)} of them."
            )
    else:
        names = distinct(trials[column])
        if len(names) < 2:
            raise UserError(
                f"--split {rule!r}: the column has one value only ({names[0]!r}). "
                "Expected train and test, or several values to hold out in turn.",
                Status.USAGE,
            )
        folds = tuple(as_fold(name, values != name, values == name) for name in names)
        sentence = (
            f"Each of the {len(names)} values of the column {column!r} was held out in "
            "turn; no picture is on both sides."
        )
    return over_pictures(rule, folds, trials, sentence)


def _by_sides(rule: str, trials: Trials, sides: Sides | None) -> Split:
    if sides is None:
        raise UserError(
            f"--split {rule}: no paper's split is known for these events. Split over "
            "pictures (--split kfold:10), by a column (--split column:NAME), by "
            "sessions (--split train=A/test=B) or by a file (--split file:PATH).",
            Status.USAGE,
        )
    if not (sides.train.any() and sides.tests):
        side = "test" if sides.train.any() else "training"
        raise UserError(
            f"--split {rule}: no trial is on the side of {side}, by {sides.source}. "
            "Read all sessions and tasks of the participant, or use another rule, such "
            "as --split kfold:10.",
            Status.USAGE,
        )
    folds = tuple(
        as_fold(name, sides.train, sides.values == name) for name in sides.tests
    )
    tested = " and ".join(
        f"{len(fold.test)} test trials" + ("" if len(folds) == 1 else f" ({fold.name})")
        for fold in folds
    )
    sentence = (
        f"Decoders were trained on {int(sides.train.sum())} trials and applied to "
        f"{tested}, by {sides.source}; no picture is on both sides."
    )
    n_neither = sum(value is None or value != value for value in sides.values)
    if n_neither:
        sentence += f" {n_neither} trials are on neither side."
    return over_pictures(rule, folds, trials, sentence)


def _check_complete(rule: str, column: str, trials: Trials) -> None:
    missing = np.flatnonzero(trials[column].isna())
    if not len(missing):
        return
    rows = [
        f"session {row['session']}, task {row['task']}, run {row['run']}"
        + ("" if pd.isna(row["onset"]) else f", onset {row['onset']:g} s")
        for row in trials.iloc[missing[:5]].to_dict("records")
    ]
    more = f"; and {len(missing) - 5} more" if len(missing) > 5 else ""
    raise UserError(
        f"--split {rule!r}: the column {column!r} of the events is n/a for "
        f"{len(missing)} of {len(trials)} trials ({'; '.join(rows)}{more}). Say there "
        "on which side they are, leave these rows out with --trials, or split by "
        "another rule, such as --split kfold:10.",
    )


def trains_on_all(rule: str | None) -> bool:
    """Tell whether a rule holds nothing out."""
    return rule is not None and rule.partition(":")[0] == ALL


def _all(rule: str, unit: str, trials: Trials) -> Split:
    every = np.ones(len(trials), dtype=bool)
    groups = trials["stimulus"].to_numpy(str)
    if unit:
        if unit not in UNITS:
            raise UserError(
                f"--split {rule!r}: expected all, or all:UNIT to keep together the "
                f"trials of a unit inside. {did_you_mean(unit, UNITS)}",
                Status.USAGE,
            )
        groups = _labels(unit, trials).to_numpy(str)
    sentence = (
        f"Decoders were trained on all {len(trials)} trials, to be used again with "
        "--model-from; nothing was held out, and nothing is tested."
    )
    return Split(rule, (as_fold(ALL, every, ~every),), groups, False, sentence)


def _by_sessions(rule: str, trials: Trials) -> Split:
    parts = dict(part.partition("=")[::2] for part in rule.split("/") if "=" in part)
    if set(parts) != {"train", "test"}:
        raise UserError(
            f"--split {rule!r}: expected train=SESSIONS/test=SESSIONS, with labels "
            "separated by commas; * stands for any letters.",
            Status.USAGE,
        )
    sessions = trials["session"].to_numpy(str)
    masks = {}
    for side, patterns in parts.items():
        labels = [text.removeprefix("ses-") for text in patterns.split(",") if text]
        masks[side] = np.array(
            [any(fnmatch(name, label) for label in labels) for name in sessions]
        )
        if not masks[side].any():
            raise UserError(
                f"--split {rule!r}: no trial is in the sessions for {side}. There "
                f"are: {', '.join(distinct(trials['session']))}.",
                Status.USAGE,
            )
    if (masks["train"] & masks["test"]).any():
        raise UserError(f"--split {rule!r}: a session is on both sides.", Status.USAGE)
    fold = as_fold("test", masks["train"], masks["test"])
    sentence = (
        f"Decoders were trained on {len(fold.train)} trials of the sessions "
        f"{parts['train']} and tested on {len(fold.test)} trials of {parts['test']}; "
        "no picture is on both sides."
    )
    return over_pictures(rule, (fold,), trials, sentence)
