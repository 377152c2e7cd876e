"""Bayesian reconstruction: against dense formulas, and on simulated data."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from PIL import Image
from scipy.stats import multivariate_normal, norm

from bids_recon.datatypes import Prior
from bids_recon.decoders.encoding import (
    Encoding,
    correlated_posterior,
    exemplar_posterior,
    gaussian_posterior,
)
from bids_recon.decoders.encoding_inversion import EncodingInversion
from bids_recon.decoders.posterior import convex_weights
from bids_recon.decoders.ridge import Ridge
from bids_recon.features.edges import Edges
from bids_recon.features.eigenimage import Eigenimage
from bids_recon.simulate.dataset import Experiment, simulate_dataset

N_TRIALS, N_FEATURES, N_VOXELS = 30, 4, 50


@pytest.fixture
def problem():
    rng = np.random.default_rng(0)
    Z = rng.standard_normal((N_TRIALS, N_FEATURES)) * [2, 1.5, 1, 0.5] + 3
    W = rng.standard_normal((N_FEATURES, N_VOXELS))
    shared = rng.standard_normal((3, N_VOXELS))
    noise = rng.standard_normal((N_TRIALS, 3)) @ shared
    noise += rng.standard_normal((N_TRIALS, N_VOXELS))
    return Z, Z @ W + noise, np.arange(N_TRIALS) // 2


def dense(model, shrinkage):
    """Return the covariance of noise, voxels by voxels."""
    S = model.errors.T @ model.errors / len(model.errors)
    return (1 - shrinkage) * S + shrinkage * np.diag(np.diag(S))


class TestEncoding:
    def test_errors_are_those_of_pictures_left_out(self, problem):
        Z, R, groups = problem
        model = Encoding(0.5).fit(Z, R, groups)
        centred = Z - Z.mean(axis=0)
        alpha = 0.5 * np.trace(centred @ centred.T) / N_TRIALS
        for group in np.unique(groups):
            out = groups == group
            ridge = Ridge(alpha=alpha, coefficients=True)
            ridge.fit(Z[~out], R[~out], groups[~out])
            expected = R[out] - ridge.predict(Z[out])
            np.testing.assert_allclose(model.errors[out], expected, atol=1e-4)

    @pytest.mark.parametrize("shrinkage", [0.1, 0.6, 1.0])
    def test_evidence_is_that_of_the_dense_covariance(self, problem, shrinkage):
        Z, R, groups = problem
        model = Encoding(0.5).fit(Z, R, groups)
        found = model.evidence(R[:3], np.ones(3), shrinkage)
        precision = np.linalg.inv(dense(model, shrinkage))
        A = model.weights @ precision @ model.weights.T
        offset = model.mean - model.z_mean @ model.weights
        c = (R[:3] - offset) @ precision @ model.weights.T
        np.testing.assert_allclose(found.A, A, rtol=1e-8)
        np.testing.assert_allclose(found.c, c, rtol=1e-6)

    def test_voxels_without_signal_change_nothing(self, problem):
        Z, R, groups = problem
        flat = np.hstack([R, np.zeros((N_TRIALS, 20))])
        whole = Encoding(0.5).fit(Z, flat, groups).evidence(flat[:2], np.ones(2), 0.5)
        own = Encoding(0.5).fit(Z, R, groups).evidence(R[:2], np.ones(2), 0.5)
        np.testing.assert_allclose(whole.A, own.A, rtol=1e-6)
        np.testing.assert_allclose(whole.c, own.c, rtol=1e-6)


class TestPosteriors:
    def test_gaussian_is_conditioning_of_the_joint_distribution(self, problem):
        Z, R, groups = problem
        model = Encoding(0.5).fit(Z, R, groups)
        mean, variance = np.array([3.0, 2, 3, 4]), np.array([4.0, 2, 1, 0.5])
        evidence = model.evidence(R[:5], np.ones(5), 0.3)
        means, covariances = gaussian_posterior(evidence, mean, variance)
        prior, noise, W = np.diag(variance), dense(model, 0.3), model.weights
        gain = prior @ W @ np.linalg.inv(W.T @ prior @ W + noise)
        predicted = model.mean + (mean - model.z_mean) @ W
        expected = mean + (R[:5] - predicted) @ gain.T
        np.testing.assert_allclose(means, expected, rtol=1e-6)
        expected = prior - gain @ W.T @ prior
        np.testing.assert_allclose(covariances[1.0], expected, atol=1e-8)

    @pytest.mark.parametrize("bandwidth", [0.05, 0.7])
    def test_exemplars_are_a_mixture_of_gaussians(self, problem, bandwidth):
        Z, R, groups = problem
        model = Encoding(0.5).fit(Z, R, groups)
        exemplars, variance = Z[:12], Z.var(axis=0)
        # Noisier, so that more than one exemplar has any weight.
        model.errors *= 10
        model._precision /= 100
        model._EE, model._EW, model._WW = (
            model._EE,
            model._EW / 10,
            model._WW / 100,
        )
        evidence = model.evidence(R[20:24], np.ones(4), 0.4)
        width = bandwidth**2 * np.diag(variance)
        noise = dense(model, 0.4)
        whole = noise + model.weights.T @ width @ model.weights
        centres = model.mean + (exemplars - model.z_mean) @ model.weights
        logs = np.array(
            [
                [multivariate_normal(m, whole).logpdf(r) for m in centres]
                for r in R[20:24]
            ]
        )
        for temperature in (1.0, 5.0):
            weights = np.exp((logs - logs.max(axis=1, keepdims=True)) / temperature)
            weights /= weights.sum(axis=1, keepdims=True)
            found = exemplar_posterior(
                evidence, exemplars, variance, bandwidth, [temperature]
            )[temperature]
            np.testing.assert_allclose(found[1], weights, atol=2e-3)
            assert weights.max() < 0.99
            gain = width @ model.weights @ np.linalg.inv(whole)
            means = np.array(
                [
                    [
                        z + gain @ (r - m)
                        for z, m in zip(exemplars, centres, strict=True)
                    ]
                    for r in R[20:24]
                ]
            )
            expected = np.einsum("ne,nef->nf", weights, means)
            np.testing.assert_allclose(found[0], expected, atol=1e-2)

    def test_repeats_are_combined_by_their_likelihood(self, problem):
        Z, R, groups = problem
        model = Encoding(0.5).fit(Z, R, groups)
        mean, variance = Z.mean(axis=0), Z.var(axis=0)
        # The posterior of one trial is the prior of the next.
        first = model.evidence(R[:1], np.ones(1), 0.5)
        second = model.evidence(R[1:2], np.ones(1), 0.5)
        precision = np.diag(1 / variance) + first.A + second.A
        right = mean / variance + first.c[0] + second.c[0]
        both = model.evidence(R[:2].mean(axis=0, keepdims=True), np.array([2]), 0.5)
        means, covariances = gaussian_posterior(both, mean, variance)
        np.testing.assert_allclose(means[0], np.linalg.solve(precision, right))
        np.testing.assert_allclose(covariances[2.0], np.linalg.inv(precision))

    def test_weights_of_a_mixture_are_convex_and_the_best(self):
        rng = np.random.default_rng(0)
        parts = rng.standard_normal((3, 40, 5))
        truth = 0.7 * parts[0] + 0.3 * parts[2]
        np.testing.assert_allclose(
            convex_weights(parts, truth), [0.7, 0, 0.3], atol=1e-3
        )
        noise = convex_weights(parts, rng.standard_normal((40, 5)))
        assert noise.sum() == pytest.approx(1)
        assert (noise >= 0).all()


class TestDecoder:
    def test_intervals_cover_as_often_as_they_say(self):
        rng = np.random.default_rng(1)
        n_features, n_voxels, n_train, n_test = 12, 150, 200, 400
        deviations = np.linspace(2, 0.5, n_features)
        Z = rng.standard_normal((n_train + n_test, n_features)) * deviations
        W = rng.standard_normal((n_features, n_voxels)) / 3
        mixing = rng.standard_normal((n_voxels, n_voxels)) / np.sqrt(n_voxels)
        noise = rng.standard_normal((len(Z), n_voxels)) @ (np.eye(n_voxels) + mixing)
        X = (Z @ W + 1.5 * noise).astype(np.float32)
        more = rng.standard_normal((500, n_features)) * deviations
        decoder = EncodingInversion(parts=("gaussian",)).fit(
            X[:n_train],
            Z[:n_train],
            np.arange(n_train),
            Prior(more, np.empty((n_train, 0)), np.empty((500, 0))),
        )
        # The pixels of a picture are sums of features.
        pixels = rng.standard_normal((n_features, 30))
        mean = decoder.gaussian(X[n_train:]) @ pixels
        covariance = decoder.basis_.T @ decoder.covariance_ @ decoder.basis_
        deviation = np.sqrt(np.diag(pixels.T @ covariance @ pixels))
        distance = np.abs(Z[n_train:] @ pixels - mean) / deviation
        for level in (0.5, 0.68, 0.95):
            covered = (distance <= norm.ppf(0.5 + level / 2)).mean()
            assert covered == pytest.approx(level, abs=0.05), level
        # Not because they say nothing: far narrower than before the response.
        assert deviation.mean() < 0.8 * (Z @ pixels).std(axis=0).mean()

    def test_the_gaussian_part_is_centred_where_the_features_are(self):
        rng = np.random.default_rng(0)
        Z = rng.standard_normal((60, 4))
        X = (Z @ rng.standard_normal((4, 80))).astype(np.float32)
        X += 0.05 * rng.standard_normal(X.shape).astype(np.float32)
        decoder = EncodingInversion(parts=("gaussian",))
        decoder.fit(X[:50], Z[:50] + 100, np.arange(50))
        for values in (decoder.gaussian(X[50:]), decoder.predict(X[50:])):
            np.testing.assert_allclose(values, Z[50:] + 100, atol=0.3)
        # Of two trials' mean, less is drawn to the prior than of one.
        far = X[50:] * 0 + X[:50].mean(axis=0) + 3 * (X[50:] - X[:50].mean(axis=0))
        once, often = (
            decoder.predict(far, np.full(10, count)) - 100 for count in (1, 1000)
        )
        assert (np.linalg.norm(often, axis=1) > np.linalg.norm(once, axis=1)).all()

    def test_the_pictures_that_responses_speak_for(self):
        rng = np.random.default_rng(0)
        Z = 3 * rng.standard_normal((40, 6)) + 10
        X = (Z @ rng.standard_normal((6, 90))).astype(np.float32)
        noisy = X + 0.5 * rng.standard_normal(X.shape).astype(np.float32)
        decoder = EncodingInversion(parts=("gaussian", "exemplar"))
        decoder.fit(noisy, Z.reshape(40, 2, 3), np.arange(40))
        features, weights = decoder.best_exemplars(X, np.ones(40))
        assert features.shape == (40, 3, 2, 3)
        np.testing.assert_allclose(features[:, 0], Z.reshape(40, 2, 3), atol=1e-4)
        assert (np.diff(weights, axis=1) <= 0).all()
        assert (weights[:, 0] > 2 / 40).all()
        assert (weights.sum(axis=1) <= 1 + 1e-9).all()
        learned = decoder.learned()
        assert set(learned["weights"]) == {"gaussian", "exemplar"}
        assert set(learned["exemplar"][0]) == {
            *("components", "penalty", "shrinkage", "bandwidth", "temperature")
        }
        assert set(learned["gaussian"][0]) == {"components", "penalty", "shrinkage"}
        assert learned["gaussian"][0]["penalty"] in decoder.penalties

    def test_pictures_all_alike_and_one_picture(self):
        rng = np.random.default_rng(0)
        X = rng.standard_normal((10, 20)).astype(np.float32)
        alike = np.ones((10, 6), dtype=np.float32)
        predicted = EncodingInversion().fit(X, alike, np.arange(10)).predict(X)
        np.testing.assert_allclose(predicted, 1, atol=1e-5)
        one = EncodingInversion().fit(X, alike, np.zeros(10)).predict(X[:1])
        np.testing.assert_allclose(one, 1, atol=1e-5)

    def test_voxels_without_signal_and_few_prior_pictures(self):
        rng = np.random.default_rng(0)
        Y = rng.standard_normal((20, 30)).astype(np.float32)
        X = np.zeros((20, 40), dtype=np.float32)
        prior = Prior(Y[:2] + 1, np.empty((20, 0)), np.empty((2, 0)))
        decoder = EncodingInversion().fit(X, Y, np.arange(20), prior)
        assert np.isfinite(decoder.predict(X[:3])).all()

    @pytest.mark.parametrize(
        "wrong",
        [
            {"parts": ("ridge", "lasso")},
            {"shrinkages": (0.0, 1.0)},
            {"shrinkages": (2.0,)},
            {"temperatures": (-1.0,)},
            {"parts": ()},
            {"parts": ("ridge", "ridge")},
            {"penalties": ()},
            {"scales": (1e-7,)},
            {"bandwidths": (1e7,)},
            {"components": (1.1,)},
            {"n_folds": 1},
            {"n_best": 0},
        ],
    )
    def test_settings_that_make_no_sense_are_refused(self, wrong):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            EncodingInversion(**wrong)

    def test_settings_at_their_limits_are_taken(self):
        EncodingInversion(n_folds=2, n_best=1, penalties=(1e-6, 1e6), shrinkages=(1.0,))

    def test_the_space_tells_what_its_components_leave_out(self):
        rng = np.random.default_rng(0)
        pictures = rng.random((40, 3, 4, 4)).astype(np.float32)
        space = Eigenimage(n_components=5).fit(pictures)
        left = pictures - space.linear(space.encode(pictures))
        deviation = space.deviation(np.zeros((5, 5)))
        np.testing.assert_allclose(deviation**2, (left**2).mean(axis=0), rtol=1e-4)
        C = space.components_
        grown = space.deviation(np.diag([4.0, 0, 0, 0, 0])).ravel() ** 2
        expected = deviation.ravel() ** 2 + 4 * C[0] ** 2
        np.testing.assert_allclose(grown, expected, rtol=1e-5)


def test_edges_tell_orientations_apart():
    rows, columns = np.mgrid[0:16, 0:16]
    stripes = [(columns // 2) % 2, (rows // 2) % 2, ((rows + columns) // 2) % 2]
    grey = np.stack([*stripes, *(1 - s for s in stripes)]).astype(np.float32)
    pictures = np.repeat(grey[:, None], 3, axis=1)
    scores = Edges().fit(pictures).encode(pictures)
    distance = np.linalg.norm(scores[:, None] - scores[None], axis=2)
    # A picture and its negative have the same edges; others have other ones.
    for own in range(3):
        assert distance[own, own + 3] < 0.2 * distance[own, (own + 1) % 3]


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    """Noisy digits, true and with their names shuffled, and digits never shown."""
    folder = tmp_path_factory.mktemp("digits")
    for name, shuffled in (("true", False), ("shuffled", True)):
        experiment = Experiment(
            n_participants=1,
            n_runs=4,
            n_pictures=60,
            noise=2.0,
            shuffled=shuffled,
            seed=5,
            n_prior=400,
        )
        simulate_dataset(folder / name, experiment)
    return folder


def arguments(dataset, out, *more):
    return [
        *(dataset, out, "participant", "--roi", "visual=V1+V2+V3"),
        *("--recipe", "bayes", "--split", "kfold:5"),
        *("--prior-pictures", dataset / "sourcedata" / "prior", *more),
    ]


def test_digits_are_better_than_by_eigenimages(run, digits, tmp_path):
    more = ("--recipe", "eigenimage")
    status, said = run(*arguments(digits / "true", tmp_path, *more))
    assert status == 0, said
    tables = {}
    for recipe in ("bayes", "eigenimage"):
        (path,) = tmp_path.rglob(f"*desc-{recipe}_recon.tsv")
        tables[recipe] = pd.read_csv(path, sep="\t")
    rng = np.random.default_rng(0)
    for metric in ("pixel_correlation", "ssim"):
        gain = (tables["bayes"][metric] - tables["eigenimage"][metric]).to_numpy()
        means = rng.choice(gain, (2000, len(gain))).mean(axis=1)
        assert np.quantile(means, 0.025) > 0, metric
    page = (tmp_path / "sub-01.html").read_text()
    assert "400 pictures that were never shown serve as prior" in page
    assert "posterior under the Gaussian prior" in page
    (path,) = tmp_path.rglob("*desc-bayes_decoder.json")
    learned = json.loads(path.read_text())["Learned"]
    assert len(learned) == 5
    for fold in learned.values():
        assert sum(fold["weights"].values()) == pytest.approx(1)
        assert set(fold["exemplar"][0]) >= {"bandwidth", "temperature"}


def test_shuffled_pictures_give_chance(run, digits, tmp_path):
    status, said = run(*arguments(digits / "shuffled", tmp_path))
    assert status == 0, said
    (path,) = tmp_path.rglob("*desc-bayes_metrics.tsv")
    metrics = pd.read_csv(path, sep="\t").set_index("metric")
    row = metrics.loc["two_way_identification"]
    assert row["ci_low"] < 0.5 < row["ci_high"]
    assert row["p_value"] > 0.01


class TestPriorPictures:
    def test_what_was_shown_is_left_out_and_told(self, run, digits, tmp_path):
        dataset = Path(shutil.copytree(digits / "true", tmp_path / "dataset"))
        prior = dataset / "sourcedata" / "prior"
        shown = sorted((dataset / "stimuli").rglob("*.png"))[:7]
        for number, path in enumerate(shown):
            with Image.open(path) as picture:
                # Another file, of another size, of the same picture.
                size = (16, 16) if number % 2 else (8, 8)
                again = picture.resize(size, Image.Resampling.NEAREST)
                again.save(prior / f"copy{number}.bmp")
        out = tmp_path / "out"
        status, said = run(*arguments(dataset, out, "--dry-run"))
        assert status == 0
        assert "400 pictures that were never shown" in said
        assert "7 pictures of prior equal one that was shown and were left out" in said
        assert "another size" in said

    def test_colours_are_made_grey_as_those_shown(self, run, digits, tmp_path):
        prior = tmp_path / "prior"
        prior.mkdir()
        rng = np.random.default_rng(0)
        for number in range(5):
            pixels = rng.integers(0, 255, (30, 20, 3)).astype(np.uint8)
            Image.fromarray(pixels).save(prior / f"{number}.png")
        more = ("--prior-pictures", prior, "--split", "kfold:2")
        status, said = run(*arguments(digits / "true", tmp_path / "out", *more))
        assert status == 0, said
        page = (tmp_path / "out" / "sub-01.html").read_text()
        assert "were made grey" in page
        assert "brought to that of the shown" in page
        (table,) = (tmp_path / "out").rglob("*desc-bayes_recon.tsv")
        made = sorted(table.with_suffix("").iterdir())
        with Image.open(made[0]) as picture:
            assert np.ptp(np.asarray(picture), axis=2).max() <= 1

    @pytest.mark.parametrize(
        ("make", "told"),
        [(False, "is no folder"), (True, "holds no pictures")],
    )
    def test_no_pictures_are_told(self, run, digits, tmp_path, make, told):
        prior = tmp_path / "prior"
        if make:
            prior.mkdir()
        more = ("--prior-pictures", prior)
        status, said = run(*arguments(digits / "true", tmp_path / "out", *more))
        assert status == 66
        assert told in said


def test_the_same_posterior_in_a_latent(run, toy_weights, tmp_path):
    dataset = tmp_path / "dataset"
    experiment = Experiment(
        "photographs", n_participants=1, n_runs=2, n_pictures=20, noise=0.2, n_prior=30
    )
    simulate_dataset(dataset, experiment)
    recipe = tmp_path / "mine.yml"
    decode = {"beside": ["edges"], "decoder": {"name": "encoding_inversion"}}
    data = {
        "name": "bayes-latent",
        "extends": "tiny-latent",
        "decode": {"latent": decode},
    }
    recipe.write_text(yaml.safe_dump(data))
    out = tmp_path / "out"
    status, said = run(
        *(dataset, out, "participant", "--recipe", recipe, "--split", "kfold:2"),
        *("--roi", "visual=V1+V2", "--weights-dir", toy_weights),
        *("--prior-pictures", dataset / "sourcedata" / "prior"),
    )
    assert status == 0, said
    (table,) = out.rglob("*desc-bayesLatent_recon.tsv")
    assert len(pd.read_csv(table, sep="\t")) == 20


class TestSmoothPrior:
    def test_the_posterior_is_that_of_conditioning(self, problem):
        Z, R, groups = problem
        model = Encoding(0.5).fit(Z, R, groups)
        rng = np.random.default_rng(0)
        root = rng.standard_normal((4, 4))
        mean, prior = np.array([3.0, 2, 3, 4]), root @ root.T
        noise, W = dense(model, 0.3), model.weights
        for count in (1, 3):
            evidence = model.evidence(R[:5], np.full(5, count), 0.3)
            gain = prior @ W @ np.linalg.inv(W.T @ prior @ W + noise / count)
            predicted = model.mean + (mean - model.z_mean) @ W
            expected = mean + (R[:5] - predicted) @ gain.T
            found = correlated_posterior(evidence, mean, prior)
            np.testing.assert_allclose(found, expected, rtol=1e-6)

    def test_further_components_are_orthonormal_and_leave_the_others(self):
        rng = np.random.default_rng(0)
        pictures = np.repeat(rng.random((5, 1, 4, 6)), 3, axis=1)
        few = Eigenimage(n_components=3).fit(pictures)
        more = Eigenimage(n_components=3, beyond=24).fit(pictures)
        # All that a grey picture of 24 pixels can be.
        assert more.components_.shape == (24, 72)
        C = more.components_
        np.testing.assert_allclose(C @ C.T, np.eye(24), atol=1e-8)
        np.testing.assert_allclose(C[:3], few.components_)
        other = np.repeat(rng.random((2, 1, 4, 6)), 3, axis=1)
        again = more.decode(more.encode(other))
        np.testing.assert_allclose(again, other, atol=1e-5)

    def test_the_covariance_is_that_of_pixels_by_their_distance(self):
        pictures = np.repeat(np.random.default_rng(0).random((3, 1, 2, 3)), 3, axis=1)
        space = Eigenimage(beyond=6).fit(pictures)
        length = 0.5
        place = np.array([(row, column) for row in range(2) for column in range(3)])
        squares = ((place[:, None] - place[None]) ** 2).sum(axis=2)
        pixels = np.exp(-squares / (2 * (length * 3) ** 2))
        C = space.components_[:, :6] * np.sqrt(3)
        expected = C @ pixels @ C.T
        expected *= 6 / np.trace(expected)
        expected = 0.999 * expected + 0.001 * np.eye(6)
        np.testing.assert_allclose(space.smooth(length), expected, atol=1e-8)
        np.testing.assert_allclose(space.smooth(0.0), np.eye(6), atol=1e-8)

    def test_patterns_that_were_not_spanned_are_decoded(self):
        """Nine pictures, each often; the tenth is in none of their mixtures."""
        rng = np.random.default_rng(0)
        place = np.arange(8)
        centres = rng.uniform(0, 7, (2, 150, 1))
        rows, columns = (np.exp(-((place - c) ** 2) / 4) for c in centres)
        drive = np.einsum("vh,vw->vhw", rows, columns).reshape(150, 64)
        smooth = np.exp(-((place[:, None] - place) ** 2) / 8)
        root = np.linalg.cholesky(np.kron(smooth, smooth) + 1e-6 * np.eye(64))
        grey = rng.standard_normal((19, 64)) @ root.T
        pictures = np.repeat(grey.reshape(19, 1, 8, 8), 3, axis=1)
        shown = np.repeat(np.arange(9), 8)
        X = grey @ drive.T
        X = X[np.concatenate([shown, np.arange(9, 19)])]
        X = (X + 0.5 * rng.standard_normal(X.shape)).astype(np.float32)
        space = Eigenimage(n_components=20, beyond=64).fit(pictures[:9])
        Y, empty = space.encode(pictures), np.empty((72, 0))
        kernels = np.stack([space.smooth(length) for length in (0.0, 0.25)])
        prior = Prior(np.empty((0, 64)), empty, np.empty((0, 0)), kernels)
        errors = {}
        for name, own in (("with", prior), ("without", None)):
            decoder = EncodingInversion().fit(X[:72], Y[shown], shown, own)
            predicted = decoder.predict(X[72:])
            errors[name] = ((predicted - Y[9:]) ** 2).mean()
            weights = decoder.learned()["weights"]
            assert ("smooth" in weights) == (name == "with")
        assert errors["with"] < 0.7 * errors["without"]
