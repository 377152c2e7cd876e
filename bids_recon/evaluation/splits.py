"""Which trials are learned on and which are tested."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatch
from hashlib import sha256
from types import MappingProxyType

import numpy as np
import pandas as pd
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA

from bids_recon.datatypes import TEST_WORDS, TRAIN_WORDS, Trials
from bids_recon.errors import Status, UserError, did_you_mean, first_few

ALL = "all"
"""The rule by which decoders are trained on all trials, to be used again."""

UNITS = MappingProxyType({"session": "ses", "task": "task", "run": "run"})
"""What may be held out as a whole, and how file names call it."""

CLUSTER_COMPONENTS = 50
"""Pictures are clustered by their scores on so many principal components."""


WHOLE = ("leave-one-picture-out", "run", "session", "task", "paper")
"""Rules that nothing stands behind."""

FILE = "file:"
"""How a rule begins that names a file of sides."""


@dataclass(frozen=True)
class Sides:
    """The side of each trial, as a paper or a file says.

    Parameters
    ----------
    values : array of shape (n_trials,), str or None
        ``train``, the name of a test set, or ``None`` for neither.
    source : str
        Who says so.
    """

    values: np.ndarray
    source: str

    @property
    def train(self) -> np.ndarray:
        """Which trials are learned on."""
        return self.values == "train"

    @property
    def tests(self) -> list[str]:
        """The names of the test sets."""
        return sorted({v for v in self.values if isinstance(v, str)} - {"train"})


@dataclass(frozen=True)
class Fold:
    """One way to divide the trials.

    Parameters
    ----------
    name : str
        What the outputs say in their column ``split``; may be a value of the events.
    train, test : array of int
        Positions of trials.
    """

    name: str
    train: np.ndarray
    test: np.ndarray

    @property
    def file_name(self) -> str:
        """The name as it stands in names of files, which is safe there."""
        if re.fullmatch(r"[A-Za-z0-9_-]{1,60}", self.name):
            return self.name
        cleaned = re.sub(r"[^A-Za-z0-9]+", "-", self.name).strip("-")[:40]
        return f"{cleaned}-{sha256(self.name.encode()).hexdigest()[:8]}".lstrip("-")


@dataclass(frozen=True)
class Split:
    """All folds of a rule.

    Parameters
    ----------
    rule : str
        The rule as it was asked for.
    folds : tuple of Fold
        In every fold, no trial is on both sides.
    groups : array of shape (n_trials,)
        What inner folds keep together: the picture, or the unit that is held out.
    shares_pictures : bool
        Whether a picture may be on both sides, as the rule says.
    sentence : str
        The rule in words, for the report.
    """

    rule: str
    folds: tuple[Fold, ...]
    groups: np.ndarray
    shares_pictures: bool
    sentence: str


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
        "kfold": lambda: _kfold(rule, argument, trials, seed),
        "leave-one-picture-out": lambda: _leave_one_out(rule, trials),
        "run": lambda: _by_unit(rule, trials),
        "session": lambda: _by_unit(rule, trials),
        "task": lambda: _by_unit(rule, trials),
        ALL: lambda: _all(rule, argument, trials),
        "column": lambda: _by_column(rule, argument, trials),
        "paper": lambda: _by_sides(rule, trials, sides),
        "file": lambda: _by_sides(rule, trials, sides),
        "clusters": lambda: _by_clusters(rule, argument, trials, seed, pictures_of()),
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


def _kfold(rule: str, argument: str, trials: Trials, seed: int) -> Split:
    try:
        n_folds = int(argument or 10)
    except ValueError:
        n_folds = 0
    if n_folds < 2:
        raise UserError(
            f"--split {rule!r}: expected kfold:K with K from 2, such as kfold:10.",
            Status.USAGE,
        )
    pictures = _distinct(trials["stimulus"])
    _need_two(pictures, rule)
    n_folds = min(n_folds, len(pictures))
    order = np.random.default_rng(seed).permutation(len(pictures))
    fold_of = pd.Series(
        np.arange(len(pictures)) % n_folds, index=np.array(pictures)[order]
    )
    codes = fold_of.loc[trials["stimulus"].astype(str)].to_numpy()
    folds = tuple(
        _fold(f"fold-{index + 1:02d}", codes != index, codes == index)
        for index in range(n_folds)
    )
    sentence = (
        f"The {len(pictures)} pictures were divided into {n_folds} parts at random; "
        "each part was reconstructed by decoders trained on the others, so that no "
        "picture is on both sides."
    )
    return _over_pictures(rule, folds, trials, sentence)


def _leave_one_out(rule: str, trials: Trials) -> Split:
    names = trials["stimulus"].to_numpy(str)
    pictures = _distinct(trials["stimulus"])
    _need_two(pictures, rule)
    folds = tuple(
        _fold(f"picture-{index + 1:04d}", names != picture, names == picture)
        for index, picture in enumerate(pictures)
    )
    sentence = (
        f"Each of the {len(pictures)} pictures was reconstructed by decoders trained "
        "on all others. A fold has one picture, so identification is among the "
        "pictures of all folds, most of which its decoders were trained on."
    )
    return _over_pictures(rule, folds, trials, sentence)


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
    units = _distinct(labels)
    if len(units) < 2:
        raise UserError(
            f"--split {unit}: there is one {unit} only ({units[0]}), and nothing to "
            "hold out. Use --split kfold:10.",
            Status.USAGE,
        )
    folds = tuple(_fold(name, names != name, names == name) for name in units)
    shared = any(_pictures_on_both_sides(fold, trials) for fold in folds)
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
        folds: tuple[Fold, ...] = (_fold("test", train, test),)
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
        names = _distinct(trials[column])
        if len(names) < 2:
            raise UserError(
                f"--split {rule!r}: the column has one value only ({names[0]!r}). "
                "Expected train and test, or several values to hold out in turn.",
                Status.USAGE,
            )
        folds = tuple(_fold(name, values != name, values == name) for name in names)
        sentence = (
            f"Each of the {len(names)} values of the column {column!r} was held out in "
            "turn; no picture is on both sides."
        )
    return _over_pictures(rule, folds, trials, sentence)


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
        _fold(name, sides.train, sides.values == name) for name in sides.tests
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
    return _over_pictures(rule, folds, trials, sentence)


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


def _by_clusters(
    rule: str,
    argument: str,
    trials: Trials,
    seed: int,
    pictures: Mapping[str, np.ndarray],
) -> Split:
    names = _distinct(trials["stimulus"])
    _need_two(names, rule)
    try:
        n_clusters = int(argument)
    except ValueError:
        n_clusters = 0
    if not 2 <= n_clusters <= len(names):
        raise UserError(
            f"--split {rule!r}: expected clusters:K with K from 2 to the number of "
            f"pictures ({len(names)}), such as clusters:5.",
            Status.USAGE,
        )
    flat = np.stack([np.asarray(pictures[name]).ravel() for name in names])
    n_components = min(CLUSTER_COMPONENTS, *flat.shape)
    scores = PCA(n_components, svd_solver="full").fit_transform(flat.astype(np.float64))
    labels = KMeans(n_clusters, n_init=10, random_state=seed).fit_predict(scores)
    n_found = len(np.unique(labels))
    if n_found < n_clusters:
        raise UserError(
            f"--split {rule!r}: the pictures fall into {n_found} clusters only, as "
            f"many are alike. Use --split clusters:{max(n_found, 2)} or fewer.",
            Status.USAGE,
        )
    cluster_of = pd.Series(labels, index=names)
    codes = cluster_of.loc[trials["stimulus"].astype(str)].to_numpy()
    folds = tuple(
        _fold(f"cluster-{index + 1:02d}", codes != index, codes == index)
        for index in range(n_clusters)
    )
    sizes = ", ".join(str(count) for count in np.bincount(labels))
    sentence = (
        f"The {len(names)} pictures were divided into {n_clusters} clusters of similar "
        f"ones ({sizes} pictures); each cluster was reconstructed by decoders that saw "
        "no picture of it."
    )
    return _over_pictures(rule, folds, trials, sentence)


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
    return Split(rule, (_fold(ALL, every, ~every),), groups, False, sentence)


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
                f"are: {', '.join(_distinct(trials['session']))}.",
                Status.USAGE,
            )
    if (masks["train"] & masks["test"]).any():
        raise UserError(f"--split {rule!r}: a session is on both sides.", Status.USAGE)
    fold = _fold("test", masks["train"], masks["test"])
    sentence = (
        f"Decoders were trained on {len(fold.train)} trials of the sessions "
        f"{parts['train']} and tested on {len(fold.test)} trials of {parts['test']}; "
        "no picture is on both sides."
    )
    return _over_pictures(rule, (fold,), trials, sentence)


def _over_pictures(
    rule: str, folds: tuple[Fold, ...], trials: Trials, sentence: str
) -> Split:
    for fold in folds:
        shared = _pictures_on_both_sides(fold, trials)
        if shared:
            raise UserError(
                f"--split {rule!r} puts {len(shared)} pictures into training and "
                f"test ({', '.join(shared[:5])}). Split over pictures "
                "(--split kfold:10), or hold out runs (--split run), which allows it "
                "and says so in the report.",
                Status.USAGE,
            )
    return Split(rule, folds, trials["stimulus"].to_numpy(str), False, sentence)


def _pictures_on_both_sides(fold: Fold, trials: Trials) -> list[str]:
    names = trials["stimulus"].astype(str)
    return sorted(set(names.iloc[fold.train]) & set(names.iloc[fold.test]))


def _fold(name: str, train: np.ndarray, test: np.ndarray) -> Fold:
    return Fold(name, np.flatnonzero(train), np.flatnonzero(test))


def _distinct(values: pd.Series) -> list[str]:
    """Return what a column holds, sorted, each value once."""
    return sorted(set(map(str, values)))


def _need_two(pictures: list[str], rule: str) -> None:
    if len(pictures) < 2:
        raise UserError(
            f"--split {rule!r}: all trials show the same picture "
            f"({first_few(pictures) or 'none'}), and none is left to test on.",
            Status.BAD_DATA,
        )
