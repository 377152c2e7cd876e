"""Posteriors of features, from encoding models fitted to some of the trials."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product

import numpy as np
from scipy.optimize import nnls

from bids_recon.decoders.encoding import (
    Encoding,
    Evidence,
    correlated_posterior,
    exemplar_posterior,
    gaussian_posterior,
)
from bids_recon.decoders.ridge import Ridge

SUM_WEIGHT = 1e3
"""Of the condition that weights sum to one, beside errors of about one."""

SPANNED = 1e-4
"""Of singular values of what is known, as a share of the largest."""

LEAST = 1e-6
"""Of a feature's variance, as a share of the largest."""


@dataclass(frozen=True)
class Known:
    """Training trials, and the features of all pictures that are known.

    Parameters
    ----------
    X : array of shape (n_trials, n_voxels)
        Responses.
    features : array of shape (n_trials, n_features)
        Of the pictures shown: those that are decoded, then those beside them.
    prior : array of shape (n_prior, n_features)
        Of pictures never shown.
    n_decoded : int
        How many of the features are decoded.
    groups : array of shape (n_trials,)
        Which trials are left out together.
    values : array of shape (n_trials, n_values)
        What is decoded, itself, about a centre.
    prior_values : array of shape (n_prior, n_values)
        The same of pictures never shown.
    smooth : array of shape (n_lengths, n_values, n_values)
        Its covariances under smooth priors.
    """

    X: np.ndarray
    features: np.ndarray
    prior: np.ndarray
    n_decoded: int
    groups: np.ndarray
    values: np.ndarray
    prior_values: np.ndarray
    smooth: np.ndarray


class Posterior:
    """What responses say of features, by models fitted to some of the trials.

    Parameters
    ----------
    known : Known
        All there is.
    rows : array of shape (n_train,)
        The trials that are learned from. Pictures of others are not known here, unless
        they are among the prior's.
    """

    def __init__(self, known: Known, rows: np.ndarray) -> None:
        self.known, self.rows = known, rows
        shown = np.unique(known.features[rows], axis=0)
        self.pool = np.concatenate([shown, known.prior])
        self.mean, variance = self.pool.mean(axis=0), self.pool.var(axis=0)
        self.variance = np.maximum(variance, LEAST * max(variance.max(), 1e-12))
        self._encodings: dict[tuple[int, bool, float], Encoding] = {}
        shown = np.unique(known.values[rows], axis=0)
        self.values = np.concatenate([shown, known.prior_values])
        self._smooth: dict[tuple[float, float], Encoding] = {}

    @cached_property
    def _span(self) -> np.ndarray:
        """Orthonormal rows that span the known pictures about their mean."""
        about = self.values - self.values.mean(axis=0)
        _, singular, rows = np.linalg.svd(about, full_matrices=False)
        return rows[singular > SPANNED * max(singular[0], 1e-12)]

    def spanned(self, values: np.ndarray) -> np.ndarray:
        """Return what of values (n, n_values) the known pictures span.

        Components that were learned from more pictures than are known here say what
        the others look like.
        """
        mean = self.values.mean(axis=0)
        return mean + ((values - mean) @ self._span.T) @ self._span

    def _columns(self, share: float, beside: bool) -> np.ndarray:
        """Return the features that are used: the first of those decoded, and others."""
        first = max(1, round(share * self.known.n_decoded))
        others = np.arange(self.known.n_decoded, len(self.mean)) if beside else []
        return np.concatenate([np.arange(first), others]).astype(int)

    def _evidence(
        self,
        X: np.ndarray,
        n_repeats: np.ndarray,
        columns: np.ndarray,
        penalty: float,
        shrinkage: float,
    ) -> Evidence:
        key = (len(columns), bool(columns[-1] >= self.known.n_decoded), penalty)
        if key not in self._encodings:
            features = self.known.features[np.ix_(self.rows, columns)]
            model = Encoding(penalty)
            groups = self.known.groups[self.rows]
            self._encodings[key] = model.fit(features, self.known.X[self.rows], groups)
        return self._encodings[key].evidence(X, n_repeats, shrinkage)

    def gaussian(
        self,
        X: np.ndarray,
        n_repeats: np.ndarray,
        setting: tuple[float, float, float],
    ) -> tuple[np.ndarray, dict[float, np.ndarray]]:
        """Return posterior means (n, n_decoded), and covariances by repeats.

        ``setting`` holds the share of components, the penalty and the shrinkage.
        """
        share, penalty, shrinkage = setting
        columns = self._columns(share, beside=False)
        evidence = self._evidence(X, n_repeats, columns, penalty, shrinkage)
        means, covariances = gaussian_posterior(
            evidence, self.mean[columns], self.variance[columns]
        )
        whole = np.repeat(self.mean[None, : self.known.n_decoded], len(X), axis=0)
        whole[:, columns] = means
        every = {}
        for count, covariance in covariances.items():
            # Components that are not used are as uncertain as before.
            every[count] = np.diag(self.variance[: self.known.n_decoded])
            every[count][np.ix_(columns, columns)] = covariance
        return whole, every

    def exemplar(
        self,
        X: np.ndarray,
        n_repeats: np.ndarray,
        setting: tuple[float, float, float, float, float],
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return posterior means (n, n_decoded), and weights of the pool's pictures.

        ``setting`` holds those of ``gaussian``, the bandwidth and the temperature.
        """
        *first, bandwidth, temperature = setting
        ((_, means, weights),) = self.exemplars(
            X, n_repeats, tuple(first), [bandwidth], [temperature]
        )
        return means, weights

    def exemplars(
        self,
        X: np.ndarray,
        n_repeats: np.ndarray,
        setting: tuple[float, float, float],
        bandwidths: list[float],
        temperatures: list[float],
    ) -> Iterator[tuple[tuple[float, float], np.ndarray, np.ndarray]]:
        """Yield bandwidth and temperature, with what ``exemplar`` returns for them."""
        share, penalty, shrinkage = setting
        columns = self._columns(share, beside=True)
        evidence = self._evidence(X, n_repeats, columns, penalty, shrinkage)
        first = int((columns < self.known.n_decoded).sum())
        exemplars, variance = self.pool[:, columns], self.variance[columns]
        others = self.pool[:, first : self.known.n_decoded]
        for bandwidth in bandwidths:
            for temperature, (means, weights) in exemplar_posterior(
                evidence, exemplars, variance, bandwidth, temperatures
            ).items():
                # Components that are not used are those of the exemplars.
                whole = np.hstack([means[:, :first], weights @ others])
                yield (bandwidth, temperature), whole, weights

    def smooths(
        self,
        X: np.ndarray,
        n_repeats: np.ndarray,
        setting: tuple[float, float, float],
        lengths: Sequence[int],
        scales: Sequence[float],
    ) -> Iterator[tuple[tuple[int, float], np.ndarray]]:
        """Yield length and scale, with posterior means (n, n_values) under them.

        The prior is a Gaussian of pixels, of which near ones are alike. So are near
        weights in the encoding model, which thereby says something of patterns that no
        picture shown has. ``setting`` holds which of the lengths these have, the
        penalty and the shrinkage.
        """
        field, penalty, shrinkage = setting
        root = np.linalg.cholesky(self.known.smooth[int(field)])
        if (field, penalty) not in self._smooth:
            groups = self.known.groups[self.rows]
            values = self.known.values[self.rows] @ root
            model = Encoding(penalty).fit(values, self.known.X[self.rows], groups)
            # Settings come in order, and a model is as large as the voxels it has.
            self._smooth = {(field, penalty): model}
        found = self._smooth[field, penalty].evidence(X, n_repeats, shrinkage)
        evidence = Evidence(root @ found.A @ root.T, found.c @ root.T, found.n_repeats)
        mean, variance = self.values.mean(axis=0), self.values.var(axis=0).mean()
        for length, scale in product(lengths, scales):
            covariance = scale * variance * self.known.smooth[int(length)]
            yield (length, scale), correlated_posterior(evidence, mean, covariance)

    def ridge(self, X: np.ndarray) -> np.ndarray:
        """Return what ridge regression decodes, (n, n_decoded)."""
        features = self.known.features[self.rows, : self.known.n_decoded]
        groups = self.known.groups[self.rows]
        return Ridge().fit(self.known.X[self.rows], features, groups).predict(X)


def convex_weights(predicted: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Return weights, none negative and one in sum, with the least squared error.

    Parameters
    ----------
    predicted : array of shape (n_parts, n, n_features)
        Predictions for what was left out.
    truth : array of shape (n, n_features)
        What was true.
    """
    flat = predicted.reshape(len(predicted), -1).T
    scale = np.linalg.norm(flat)
    if scale == 0:
        return np.full(len(predicted), 1 / len(predicted))
    # A row of large weight holds the sum at one.
    design = np.vstack([flat / scale, np.full(len(predicted), SUM_WEIGHT)])
    found = nnls(design, np.append(truth.ravel() / scale, SUM_WEIGHT))[0]
    return found / found.sum()
