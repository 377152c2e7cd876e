"""Bayesian reconstruction: an encoding model turned round, with a picture prior."""

from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import ClassVar, Self

import numpy as np

from bids_recon.datatypes import Prior
from bids_recon.decoders.inner_folds import inner_folds
from bids_recon.decoders.posterior import Known, Posterior, convex_weights

PARTS = ("ridge", "gaussian", "exemplar", "smooth")

COMPONENTS = 300
"""Principal components of the features, at most."""

LEAST, MOST = 1e-6, 1e6
"""Of settings; beyond, matrices are no longer told from singular ones."""

SHOWN = 3
"""Exemplars that are shown beside a reconstruction."""


@dataclass
class EncodingInversion:
    """Posterior means of features under an encoding model and several priors, mixed.

    An encoding model says how features drive voxels and how noisy these are. The prior
    is a Gaussian; or the known pictures themselves, each with some width, where further
    features (such as oriented edges) may stand beside those that are decoded; or, for
    features of pixels, a Gaussian under which near pixels are alike. The means
    over the settings that inner cross-validation ranks best, and what ridge regression
    predicts, are mixed with weights that sum to one, learned on pictures left out.

    Parameters
    ----------
    parts : sequence of {'ridge', 'gaussian', 'exemplar', 'smooth'}
        What is mixed.
    components : sequence of float
        Which share of the principal components is used.
    penalties : sequence of float
        Of the encoding model, in units of the mean eigenvalue.
    shrinkages : sequence of float
        Of the noise covariance towards its diagonal, above 0 to 1.
    bandwidths : sequence of float
        Of exemplars, in units of the deviation over pictures.
    temperatures : sequence of float
        Of the weights of exemplars.
    scales : sequence of float
        Of the smooth prior's variance, in units of that over pictures.
    n_folds : int
        With which all of these are chosen.
    n_best : int
        Over how many of the best settings is averaged.

    References
    ----------
    Naselaris et al. (2009), Neuron 63, 902-915; Nishimoto et al. (2011), Current
    Biology 21, 1641-1646; Schoenmakers et al. (2013), NeuroImage 83, 951-961.
    """

    parts: tuple[str, ...] = PARTS
    components: tuple[float, ...] = (0.3, 1.0)
    penalties: tuple[float, ...] = (0.1, 0.3, 1.0, 3.0, 10.0)
    shrinkages: tuple[float, ...] = (0.1, 0.3, 0.6, 1.0)
    bandwidths: tuple[float, ...] = (0.1, 0.3, 0.6)
    temperatures: tuple[float, ...] = (1.0, 3.0, 10.0, 30.0)
    scales: tuple[float, ...] = (0.3, 1.0, 3.0)
    n_folds: int = 5
    n_best: int = 4
    uses_prior: ClassVar[bool] = True
    reads_beside: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not self.parts or set(self.parts) - set(PARTS):
            raise ValueError(f"parts are of {PARTS}, not {self.parts!r}")
        if len(set(self.parts)) < len(self.parts):
            raise ValueError(f"parts are different from each other, not {self.parts!r}")
        shares = ("components", "shrinkages")
        for name in (*shares, "penalties", "bandwidths", "temperatures", "scales"):
            values = getattr(self, name)
            most = 1.0 if name in shares else MOST
            if not values or min(values) < LEAST or max(values) > most:
                raise ValueError(
                    f"{name} are numbers from {LEAST:g} to {most:g}, not {values!r}"
                )
        if self.n_folds < 2 or self.n_best < 1:
            raise ValueError(
                "n_folds is at least 2 and n_best at least 1, not "
                f"{self.n_folds} and {self.n_best}"
            )

    def fit(
        self,
        X: np.ndarray,
        Y: np.ndarray,
        groups: np.ndarray,
        prior: Prior | None = None,
    ) -> Self:
        """Learn from X (n_trials, n_voxels), Y (n_trials, *shape).

        ``groups`` (n_trials,) says which trials are left out together; ``prior`` what
        is known of pictures beside them.
        """
        vars(self).pop("_whole", None)
        prior = prior or Prior.none(Y)
        self.shape_ = Y.shape[1:]
        n_targets = int(np.prod(self.shape_))
        flat, more = (
            part.reshape(len(part), n_targets).astype(np.float64)
            for part in (Y, prior.values)
        )
        self._learn_basis(np.concatenate([np.unique(flat, axis=0), more]))
        scores = [(part - self.center_) @ self.basis_.T for part in (flat, more)]
        beside = prior.beside, prior.beside_prior
        self.lengths_ = np.asarray(prior.smooth, dtype=np.float64)
        # What no picture shown has is decoded by the smooth prior alone.
        smooth = "smooth" in self._used
        self.frame_ = self.basis_ if smooth else np.eye(len(self.basis_))
        self.values_, self.prior_values_ = scores
        if smooth:
            self.values_, self.prior_values_ = flat - self.center_, more - self.center_
        self.features_, self.prior_ = _side_by_side(scores, beside)
        self.X_ = np.asarray(X, dtype=np.float32)
        self.groups_ = np.unique(groups, return_inverse=True)[1]
        self._choose(inner_folds(groups, self.n_folds))
        self.covariance_ = self.covariance(1)
        return self

    def _learn_basis(self, pool: np.ndarray) -> None:
        """Learn principal components of all known pictures."""
        self.center_ = pool.mean(axis=0)
        _, singular, rows = np.linalg.svd(pool - self.center_, full_matrices=False)
        kept = singular > 1e-6 * max(singular[0], 1e-12)
        kept[COMPONENTS:] = False
        # Pictures that are all alike have one component, on which nothing lies.
        kept[0] = True
        self.basis_ = rows[kept]

    def _known(self) -> Known:
        return Known(
            self.X_.astype(np.float64),
            self.features_,
            self.prior_,
            len(self.basis_),
            self.groups_,
            self.values_,
            self.prior_values_,
            self.lengths_,
        )

    @property
    def _used(self) -> list[str]:
        """The parts that these features allow."""
        return [part for part in self.parts if part != "smooth" or len(self.lengths_)]

    def _choose_smooth(
        self, models: list[tuple[Posterior, np.ndarray]], known: Known
    ) -> list[tuple[float, ...]]:
        """Return the best settings: lengths, penalty and shrinkage, then the scale."""
        lengths = range(len(known.smooth))
        grid = list(product(lengths, self.penalties, self.shrinkages))
        # Pictures as smooth as what voxels see of them, first; then others.
        wanted = {setting: ([setting[0]], (1.0,)) for setting in grid}
        # Without a second picture there is nothing to choose by.
        best = [(*grid[-1], lengths[-1], 1.0)]
        for _ in range(2 if models else 0):
            errors: dict[tuple[float, ...], float] = {}
            for (model, out), setting in product(models, wanted):
                X, ones = known.X[out], np.ones(len(out))
                for more, means in model.smooths(X, ones, setting, *wanted[setting]):
                    error = ((means - known.values[out]) ** 2).sum()
                    key = (*setting, *more)
                    errors[key] = errors.get(key, 0.0) + error
            best = self._best(errors)
            wanted = {setting[:3]: (lengths, self.scales) for setting in best}
        return best

    def _choose(self, folds: list[tuple[np.ndarray, np.ndarray]]) -> None:
        """Rank settings, and learn the mixture, on pictures that were left out."""
        known = self._known()
        models = [(Posterior(known, train), out) for train, out in folds]
        encoding = list(product(self.components, self.penalties, self.shrinkages))
        truth = known.features[:, : known.n_decoded]
        errors: dict[tuple[float, ...], float] = dict.fromkeys(encoding, 0.0)
        for (model, out), setting in product(models, encoding):
            means, _ = model.gaussian(known.X[out], np.ones(len(out)), setting)
            errors[setting] += ((means - truth[out]) ** 2).sum()
        self.gaussian_ = np.array(self._best(errors))
        self.calibration_ = np.array(self._calibration(models, truth))
        # Exemplars take the share of components that is best for the Gaussian.
        encoding = [
            setting for setting in encoding if setting[0] == self.gaussian_[0, 0]
        ]
        errors = {}
        for (model, out), setting in product(models, encoding):
            found = model.exemplars(
                known.X[out],
                np.ones(len(out)),
                setting,
                self.bandwidths,
                self.temperatures,
            )
            for more, means, _ in found if "exemplar" in self.parts else ():
                error = ((means - truth[out]) ** 2).sum()
                errors[(*setting, *more)] = errors.get((*setting, *more), 0.0) + error
        # Without a second picture there is nothing to choose by.
        first = (*encoding[-1], self.bandwidths[-1], self.temperatures[-1])
        self.exemplar_ = np.array(self._best(errors or {first: 0.0}))
        if "smooth" in self._used:
            self.smooth_ = np.array(self._choose_smooth(models, known))
        self.mixture_ = np.full(len(self._used), 1 / len(self._used))
        if models and len(self._used) > 1:
            predicted = np.zeros((len(self._used), *known.values.shape))
            for model, out in models:
                found = self._parts(model, known.X[out], np.ones(len(out)))
                predicted[:, out] = [found[part] for part in self._used]
            self.mixture_ = convex_weights(predicted, known.values)

    def _calibration(
        self, models: list[tuple[Posterior, np.ndarray]], truth: np.ndarray
    ) -> float:
        """Return how much larger squared errors are than the posterior's variance.

        On pictures left out: that the encoding model is itself uncertain is not in it.
        """
        squared, variance = 0.0, 0.0
        for model, out in models:
            X, ones = model.known.X[out], np.ones(len(out))
            found = [model.gaussian(X, ones, tuple(s)) for s in self.gaussian_]
            means = np.mean([one[0] for one in found], axis=0)
            squared += ((means - truth[out]) ** 2).sum()
            traces = [np.trace(one[1][1.0]) for one in found]
            variance += len(out) * np.mean(traces)
        return squared / variance if variance > 0 and squared > 0 else 1.0

    def _best(self, errors: dict[tuple[float, ...], float]) -> list[tuple[float, ...]]:
        return sorted(errors, key=errors.__getitem__)[: self.n_best]

    def _parts(
        self, model: Posterior, X: np.ndarray, n_repeats: np.ndarray
    ) -> dict[str, np.ndarray]:
        """Return what each part gives, averaged over settings, (n, n_values)."""
        result = {}
        for part in self._used:
            if part == "ridge":
                result[part] = model.spanned(model.ridge(X) @ self.frame_)
                continue
            if part == "smooth":
                found = []
                for *setting, length, scale in self.smooth_:
                    ((_, means),) = model.smooths(
                        X, n_repeats, tuple(setting), [length], [scale]
                    )
                    found.append(means)
                result[part] = np.mean(found, axis=0)
                continue
            settings = self.gaussian_ if part == "gaussian" else self.exemplar_
            by = getattr(model, part)
            found = [by(X, n_repeats, tuple(setting))[0] for setting in settings]
            result[part] = model.spanned(np.mean(found, axis=0) @ self.frame_)
        return result

    @cached_property
    def _whole(self) -> Posterior:
        """The models fitted to all training trials."""
        known = self._known()
        return Posterior(known, np.arange(len(known.X)))

    def predict(self, X: np.ndarray, n_repeats: np.ndarray | None = None) -> np.ndarray:
        """Return features (n_trials, *shape), float32.

        Parameters
        ----------
        X : array of shape (n_trials, n_voxels)
            Responses, or their means over repeats of a picture.
        n_repeats : array of shape (n_trials,), optional
            Over how many; one trial each by default.
        """
        counts = np.ones(len(X)) if n_repeats is None else np.asarray(n_repeats, float)
        found = self._parts(self._whole, X.astype(np.float64), counts)
        mixed = sum(
            weight * found[part]
            for weight, part in zip(self.mixture_, self._used, strict=True)
        )
        whole = mixed if "smooth" in self._used else mixed @ self.basis_
        values = whole + self.center_
        return values.reshape(len(X), *self.shape_).astype(np.float32)

    def gaussian(
        self, X: np.ndarray, n_repeats: np.ndarray | None = None
    ) -> np.ndarray:
        """Return the posterior mean under the Gaussian prior alone, (n, *shape)."""
        counts = np.ones(len(X)) if n_repeats is None else np.asarray(n_repeats, float)
        model, X = self._whole, X.astype(np.float64)
        found = [model.gaussian(X, counts, tuple(s))[0] for s in self.gaussian_]
        values = np.mean(found, axis=0) @ self.basis_ + self.center_
        return values.reshape(len(X), *self.shape_).astype(np.float32)

    def best_exemplars(
        self, X: np.ndarray, n_repeats: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the known pictures that responses speak for.

        Returns
        -------
        features : array of shape (n_trials, n_shown, *shape)
            The best first.
        weights : array of shape (n_trials, n_shown)
            Their posterior weights, the mean over settings.
        """
        model, X = self._whole, X.astype(np.float64)
        found = [model.exemplar(X, n_repeats, tuple(s))[1] for s in self.exemplar_]
        weights = np.mean(found, axis=0)
        best = np.argsort(-weights, axis=1, kind="stable")[:, :SHOWN]
        scores = model.pool[best][..., : len(self.basis_)]
        features = scores @ self.basis_ + self.center_
        shape = (*best.shape, *self.shape_)
        return features.reshape(shape), np.take_along_axis(weights, best, axis=1)

    def covariance(self, n_repeats: float) -> np.ndarray:
        """Return the posterior covariance under the Gaussian prior, calibrated.

        Returns
        -------
        array of shape (n_components, n_components)
            Of the principal components ``basis_`` of the features, for the mean over
            so many repeats; the same for every picture.
        """
        model, one = self._whole, self.X_[:1].astype(np.float64)
        counts = np.array([float(n_repeats)])
        found = [model.gaussian(one, counts, tuple(s))[1] for s in self.gaussian_]
        mean = np.mean([next(iter(every.values())) for every in found], axis=0)
        return self.calibration_ * mean

    def learned(self) -> dict[str, object]:
        """Return the settings that were chosen and the weights of the parts."""
        names = ("components", "penalty", "shrinkage", "bandwidth", "temperature")
        return {
            "calibration": float(self.calibration_),
            "weights": dict(zip(self._used, self.mixture_.tolist(), strict=True)),
            **{
                part: [dict(zip(names, row, strict=False)) for row in values.tolist()]
                for part, values in (
                    ("gaussian", self.gaussian_),
                    ("exemplar", self.exemplar_),
                )
            },
        }


def _side_by_side(
    scores: list[np.ndarray], beside: tuple[np.ndarray, np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """Put further features beside those decoded, with the same variance in all."""
    more = np.concatenate(beside).astype(np.float64)
    if not more.size:
        return scores[0], scores[1]
    own = np.concatenate(scores).var(axis=0).sum()
    scale = np.sqrt(own / max(more.var(axis=0).sum(), 1e-12))
    return tuple(
        np.hstack([part, (other - more.mean(axis=0)) * scale])
        for part, other in zip(scores, beside, strict=True)
    )
