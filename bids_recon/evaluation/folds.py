"""What a split is made of: folds, and the sides that somebody says trials are on."""

import re
from dataclasses import dataclass
from hashlib import sha256

import numpy as np
import pandas as pd

from bids_recon.datatypes import Trials
from bids_recon.errors import Status, UserError


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


def over_pictures(
    rule: str, folds: tuple[Fold, ...], trials: Trials, sentence: str
) -> Split:
    """Return the split of folds that share no picture.

    Raises
    ------
    UserError
        If a picture is on both sides of one.
    """
    for fold in folds:
        shared = pictures_on_both_sides(fold, trials)
        if shared:
            raise UserError(
                f"--split {rule!r} puts {len(shared)} pictures into training and "
                f"test ({', '.join(shared[:5])}). Split over pictures "
                "(--split kfold:10), or hold out runs (--split run), which allows it "
                "and says so in the report.",
                Status.USAGE,
            )
    return Split(rule, folds, trials["stimulus"].to_numpy(str), False, sentence)


def pictures_on_both_sides(fold: Fold, trials: Trials) -> list[str]:
    """Return the pictures that a fold both learns from and tests."""
    names = trials["stimulus"].astype(str)
    return sorted(set(names.iloc[fold.train]) & set(names.iloc[fold.test]))


def as_fold(name: str, train: np.ndarray, test: np.ndarray) -> Fold:
    """Return the fold of two masks (n_trials,)."""
    return Fold(name, np.flatnonzero(train), np.flatnonzero(test))


def distinct(values: pd.Series) -> list[str]:
    """Return what a column holds, sorted, each value once."""
    return sorted(set(map(str, values)))
