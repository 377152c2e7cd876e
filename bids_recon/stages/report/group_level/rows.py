"""Scores of participants, and which of them may stand in one table."""

from collections.abc import Mapping
from dataclasses import astuple, dataclass, replace

import numpy as np
import pandas as pd

UNKNOWN = "not known"
"""What stands among the terms of another tool where only its makers could tell."""


@dataclass(frozen=True)
class Terms:
    """What must agree for scores to stand in one table; see ``WORDS``."""

    task: str
    split: str
    pictures: str
    candidates: str
    profile: str
    set: str
    share: str
    version: str
    preprocessing: str
    transductive: str
    learned_on: str

    @property
    def percent(self) -> float:
        """The share of training pictures as a number; 0 where it is not known."""
        return 0.0 if self.share == UNKNOWN else float(self.share.removesuffix(" %"))

    def agree_with(self, others: "Terms") -> bool:
        """Tell whether nothing that is known differs."""
        pairs = zip(astuple(self), astuple(others), strict=True)
        return all(a == b or UNKNOWN in (a, b) for a, b in pairs)


WORDS = {
    "task": "task",
    "split": "split",
    "pictures": "test pictures",
    "candidates": "number of candidates for identification",
    "profile": "metric profile",
    "set": "set of test pictures",
    "share": "share of the training pictures that were learned on",
    "version": "version of bids-recon",
    "preprocessing": "preprocessing",
    "transductive": "whether anything was taken from the set of test trials",
    "learned_on": "whether test pictures were also learned on",
}
"""What a reader calls each of the terms."""


@dataclass(frozen=True)
class Entry:
    """The scores of one recipe on one set of regions in one participant.

    Parameters
    ----------
    subject, recipe, roi : str
        Whose they are, and of what.
    terms : Terms
        Under which they were made.
    summary : DataFrame
        A row for each metric, as in the table of metrics; its index is the metric.
    pictures : DataFrame
        The mean score of each test picture, (n_pictures, n_metrics).
    images : mapping of str to str
        A reconstruction of each test picture, its path in OUTPUT_DIR.
    null : mapping of str to array of shape (n_permutations,)
        The mean of each metric under exchanged pictures, as the participant has them.
    n_training : (float, float)
        Training pictures and trials, means over folds; NaN where they are not known.
    other_tool : bool
        Whether another tool made the pictures; ``recipe`` says so, too.
    """

    subject: str
    recipe: str
    roi: str
    terms: Terms
    summary: pd.DataFrame
    pictures: pd.DataFrame
    images: Mapping[str, str]
    null: Mapping[str, np.ndarray]
    n_training: tuple[float, float]
    other_tool: bool = False


@dataclass(frozen=True)
class Block:
    """Scores that may be compared.

    Parameters
    ----------
    name : str
        A letter for tables.
    terms : Terms
        What they share.
    entries : tuple of Entry
        Sorted by recipe, regions and participant.
    """

    name: str
    terms: Terms
    entries: tuple[Entry, ...]

    @property
    def subjects(self) -> list[str]:
        """The participants."""
        return sorted({entry.subject for entry in self.entries})

    @property
    def recipes(self) -> list[str]:
        """The recipes."""
        return sorted({entry.recipe for entry in self.entries})

    @property
    def rois(self) -> list[str]:
        """The sets of regions."""
        return sorted({entry.roi for entry in self.entries})

    @property
    def metrics(self) -> list[str]:
        """The metrics that have values, in the order of the profile."""
        names = [name for entry in self.entries for name in entry.pictures.columns]
        return list(dict.fromkeys(names))

    def of(self, recipe: str, roi: str) -> dict[str, Entry]:
        """Return what participants have of a recipe on a set of regions."""
        return {
            entry.subject: entry
            for entry in self.entries
            if (entry.recipe, entry.roi) == (recipe, roi)
        }

    def matrix(
        self, metric: str, *methods: tuple[str, str]
    ) -> tuple[list[str], np.ndarray]:
        """Return scores of several methods where all of them have some.

        Parameters
        ----------
        metric : str
            Which score.
        *methods : tuple of str and str
            Recipes with their regions.

        Returns
        -------
        subjects : list of str
            The participants who have all methods.
        array of shape (n_methods, n_subjects, n_pictures)
            Pictures that have no finite score anywhere are left out.
        """
        own = [self.of(*method) for method in methods]
        subjects = [
            name
            for name in self.subjects
            if all(name in o and metric in o[name].pictures for o in own)
        ]
        if not subjects:
            return [], np.empty((len(methods), 0, 0))
        scores = np.array(
            [[o[name].pictures[metric].to_numpy() for name in subjects] for o in own]
        )
        return subjects, scores[..., np.isfinite(scores).all(axis=(0, 1))]


def comparable(entries: list[Entry]) -> list[Block]:
    """Put together what may be compared, the largest share and block first."""
    by_terms: dict[Terms, list[Entry]] = {}
    for entry in sorted(entries, key=lambda entry: entry.other_tool):
        fitting = [terms for terms in by_terms if entry.terms.agree_with(terms)]
        terms = max(
            fitting,
            key=lambda own: (own.percent, len(by_terms[own])),
            default=entry.terms,
        )
        by_terms.setdefault(terms, []).append(entry)
    ordered = sorted(
        by_terms.items(),
        key=lambda item: (-item[0].percent, -len(item[1]), repr(item[0])),
    )
    return [
        Block(
            _letters(index),
            terms,
            tuple(sorted(own, key=lambda e: (e.recipe, e.roi, e.subject))),
        )
        for index, (terms, own) in enumerate(ordered)
    ]


def _letters(index: int) -> str:
    """Return A to Z, then AA and so on.

    >>> _letters(0), _letters(27)
    ('A', 'AB')
    """
    name = chr(65 + index % 26)
    return name if index < 26 else _letters(index // 26 - 1) + name


def by_share(blocks: list[Block]) -> list[list[Block]]:
    """Put together blocks that differ in the share of training pictures alone, rising.

    They keep the order of their largest shares.
    """
    families: dict[Terms, list[Block]] = {}
    for block in blocks:
        families.setdefault(replace(block.terms, share=""), []).append(block)
    return [sorted(own, key=lambda b: b.terms.percent) for own in families.values()]


def what_differs(blocks: list[Block]) -> list[str]:
    """Return, for each block but the first, in which terms it is another."""
    sentences = []
    for block in blocks[1:]:
        found = []
        for name, words in WORDS.items():
            ours, theirs = (getattr(b.terms, name) for b in (block, blocks[0]))
            if ours == theirs or UNKNOWN in (ours, theirs):
                continue
            values = "" if name == "pictures" else f" ({ours}, not {theirs})"
            found.append(f"{words}{values}")
        sentences.append(
            f"Table {block.name} stands apart from table {blocks[0].name}, because it "
            f"differs in {' and '.join(found)}."
        )
    return sentences
