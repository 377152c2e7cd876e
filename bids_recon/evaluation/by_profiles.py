"""Scores by several profiles, some of them for each set of pictures by itself."""

from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from bids_recon.evaluation.judge import Judge
from bids_recon.evaluation.profiles import Profile
from bids_recon.evaluation.scores import (
    COLUMNS,
    Reconstructed,
    Scored,
    applies,
    score,
)


def score_by_profiles(
    tasks: Iterable[tuple[Profile, Reconstructed, int]], judge: Judge
) -> Scored:
    """Return what ``score`` gives for every profile, side by side.

    Metrics of a picture carry the profile's name, except those of the first; null
    values carry it with its version. A profile that scores each set of pictures by
    itself does so where there are sets.

    Parameters
    ----------
    tasks : iterable of (Profile, Reconstructed, int)
        A profile, what it scores, and the seed.
    judge : Judge
        Resizes pictures and computes features.
    """
    summaries, columns, notes, null = [], [], [], {}
    for profile, recon, seed in tasks:
        how = score_by_set if profile.by_set and recon.has_sets else score
        summary, per_picture, found, chance = how(recon, profile, seed, judge)
        null |= {
            f"{profile.name}-{profile.version}/{metric}": values
            for metric, values in chance.items()
        }
        if summaries:
            per_picture = per_picture.add_suffix(f"_{profile.name}")
        summaries.append(summary)
        columns.append(per_picture)
        notes += [note for note in found if note not in notes]
    return Scored(
        pd.concat(summaries, ignore_index=True),
        pd.concat(columns, axis=1),
        notes,
        null,
    )


def score_by_set(
    recon: Reconstructed, profile: Profile, seed: int, judge: Judge
) -> Scored:
    """Score each set as if there were no other; one of a single picture not at all."""
    summaries, notes, null = [], [], {}
    per_picture = pd.DataFrame(index=range(len(recon.pictures)))
    label = f"{profile.name}-{profile.version}"
    for name in sorted(set(recon.sets) - {""}):
        own = recon.of_set(name)
        rows = np.flatnonzero(np.repeat(recon.sets == name, recon.n_samples))
        if len(own.seen) < 2:
            known = [spec.name for spec in profile.metrics if applies(spec, own)]
            row = {"profile": label, "set": name, "n": len(own.own), "n_pictures": 1}
            summaries.append(pd.DataFrame([{**row, "metric": m} for m in known]))
            notes.append(
                f"The set {name} has one test picture, and nothing to tell it from: "
                f"{profile.name} has no score of it."
            )
            continue
        scored = score(own, profile, seed, judge)
        summaries.append(scored.summary.assign(set=name))
        for metric, values in scored.per_picture.items():
            if metric not in per_picture:
                per_picture[metric] = np.nan
            per_picture.loc[rows, metric] = values.to_numpy()
        null |= {f"{metric}/{name}": values for metric, values in scored.null.items()}
        notes += [f"Set {name}: {note}" for note in scored.notes]
    summary = pd.concat(summaries, ignore_index=True)
    return Scored(summary.reindex(columns=COLUMNS), per_picture, notes, null)


def save_null(null: Mapping[str, np.ndarray], part: Path) -> None:
    """Write null values as a compressed archive of NumPy."""
    with part.open("wb") as file:
        np.savez_compressed(file, **null)
