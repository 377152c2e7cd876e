"""Splits over pictures: at random, one at a time, or in clusters of similar ones."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from bids_recon.datatypes import Trials
from bids_recon.errors import Status, UserError, first_few
from bids_recon.evaluation.folds import Split, as_fold, distinct, over_pictures

CLUSTER_COMPONENTS = 50
"""Pictures are clustered by their scores on so many principal components."""


def kfold(rule: str, argument: str, trials: Trials, seed: int) -> Split:
    """Divide pictures into parts at random."""
    try:
        n_folds = int(argument or 10)
    except ValueError:
        n_folds = 0
    if n_folds < 2:
        raise UserError(
            f"--split {rule!r}: expected kfold:K with K from 2, such as kfold:10.",
            Status.USAGE,
        )
    pictures = distinct(trials["stimulus"])
    _need_two(pictures, rule)
    n_folds = min(n_folds, len(pictures))
    order = np.random.default_rng(seed).permutation(len(pictures))
    fold_of = pd.Series(
        np.arange(len(pictures)) % n_folds, index=np.array(pictures)[order]
    )
    codes = fold_of.loc[trials["stimulus"].astype(str)].to_numpy()
    folds = tuple(
        as_fold(f"fold-{index + 1:02d}", codes != index, codes == index)
        for index in range(n_folds)
    )
    sentence = (
        f"The {len(pictures)} pictures were divided into {n_folds} parts at random; "
        "each part was reconstructed by decoders trained on the others, so that no "
        "picture is on both sides."
    )
    return over_pictures(rule, folds, trials, sentence)


def leave_one_out(rule: str, trials: Trials) -> Split:
    """Hold each picture out by itself."""
    names = trials["stimulus"].to_numpy(str)
    pictures = distinct(trials["stimulus"])
    _need_two(pictures, rule)
    folds = tuple(
        as_fold(f"picture-{index + 1:04d}", names != picture, names == picture)
        for index, picture in enumerate(pictures)
    )
    sentence = (
        f"Each of the {len(pictures)} pictures was reconstructed by decoders trained "
        "on all others. A fold has one picture, so identification is among the "
        "pictures of all folds, most of which its decoders were trained on."
    )
    return over_pictures(rule, folds, trials, sentence)


def by_clusters(
    rule: str,
    argument: str,
    trials: Trials,
    seed: int,
    pictures: Mapping[str, np.ndarray],
) -> Split:
    """Hold out pictures that are alike."""
    # Few runs are split by clusters.
    from sklearn.cluster import KMeans
    from sklearn.decomposition import PCA

    names = distinct(trials["stimulus"])
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
        as_fold(f"cluster-{index + 1:02d}", codes != index, codes == index)
        for index in range(n_clusters)
    )
    sizes = ", ".join(str(count) for count in np.bincount(labels))
    sentence = (
        f"The {len(names)} pictures were divided into {n_clusters} clusters of similar "
        f"ones ({sizes} pictures); each cluster was reconstructed by decoders that saw "
        "no picture of it."
    )
    return over_pictures(rule, folds, trials, sentence)


def _need_two(pictures: list[str], rule: str) -> None:
    if len(pictures) < 2:
        raise UserError(
            f"--split {rule!r}: all trials show the same picture "
            f"({first_few(pictures) or 'none'}), and none is left to test on.",
            Status.BAD_DATA,
        )
