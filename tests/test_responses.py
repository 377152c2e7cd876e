"""Responses: against nilearn, by hand, and with a known answer."""

import warnings

import numpy as np
import pandas as pd
import pytest
from nilearn.glm.first_level import make_first_level_design_matrix, run_glm

from bids_recon.errors import Note
from bids_recon.responses.design import design_matrices
from bids_recon.responses.lsa import LeastSquaresAll
from bids_recon.responses.lss import LeastSquaresSeparate, lss_weights
from bids_recon.responses.standardize import MIN_TRIALS, Standardizer
from bids_recon.responses.window import Window

TR = 2.0
N_VOLUMES = 120


@pytest.fixture
def trials():
    return pd.DataFrame(
        {"onset": 8 + 9.0 * np.arange(22), "duration": 3.0, "role": "trial"}
    )


@pytest.fixture
def bold(rng=None):
    rng = np.random.default_rng(0)
    return 500 + rng.standard_normal((N_VOLUMES, 30)).cumsum(axis=0)


def glm(bold, design, names):
    labels, results = run_glm(bold, design.to_numpy(), noise_model="ols")
    columns = [design.columns.get_loc(name) for name in names]
    theta = np.empty((len(columns), bold.shape[1]))
    for label, result in results.items():
        theta[:, labels == label] = result.theta[columns]
    return theta


@pytest.mark.parametrize("drift", ["cosine", "polynomial", None])
@pytest.mark.parametrize("hrf", ["glover", "spm"])
@pytest.mark.parametrize("with_confounds", [True, False])
def test_lss_is_nilearns_glm_once_per_trial(trials, bold, drift, hrf, with_confounds):
    confounds = None
    if with_confounds:
        confounds = np.random.default_rng(1).standard_normal((N_VOLUMES, 3))
    ours = LeastSquaresSeparate(hrf=hrf, drift=drift, drift_order=2).estimate(
        bold, trials, TR, confounds, start_time=0.5
    )
    for trial in (0, 7, 21):
        events = trials[["onset", "duration"]].assign(trial_type="others")
        events.loc[trial, "trial_type"] = "own"
        design = make_first_level_design_matrix(
            0.5 + TR * np.arange(N_VOLUMES),
            events,
            hrf_model=hrf,
            drift_model=drift,
            drift_order=2,
            high_pass=1 / 128,
            add_regs=confounds,
        )
        theirs = glm(bold, design, ["own"])[0]
        np.testing.assert_allclose(ours[trial], theirs, rtol=0, atol=1e-8)


def test_lsa_is_nilearns_glm(trials, bold):
    ours = LeastSquaresAll(drift="cosine").estimate(bold, trials, TR)
    names = [f"t{row:02d}" for row in range(len(trials))]
    design = make_first_level_design_matrix(
        TR * np.arange(N_VOLUMES),
        trials[["onset", "duration"]].assign(trial_type=names),
        hrf_model="glover",
        drift_model="cosine",
        high_pass=1 / 128,
    )
    np.testing.assert_allclose(ours, glm(bold, design, names), rtol=0, atol=1e-7)


@pytest.mark.parametrize("estimator", [LeastSquaresSeparate(), LeastSquaresAll()])
def test_responses_without_noise_are_recovered(trials, estimator):
    rng = np.random.default_rng(2)
    of_trials, others = design_matrices(trials, N_VOLUMES, TR, None, 0.0, estimator)
    true = rng.standard_normal((1, 30)) * np.ones((len(trials), 1))
    bold = of_trials @ true + others @ rng.standard_normal((others.shape[1], 30))
    estimated = estimator.estimate(bold, trials, TR)
    np.testing.assert_allclose(estimated, true, atol=1e-6)


def test_catch_and_cue_rows_are_modelled_and_get_no_response(trials, bold):
    cue = trials.assign(onset=trials["onset"] + 4, role="cue")
    both = pd.concat([trials, cue], ignore_index=True)
    estimator = LeastSquaresSeparate()
    of_trials, others = design_matrices(both, N_VOLUMES, TR, None, 0.0, estimator)
    _, without = design_matrices(trials, N_VOLUMES, TR, None, 0.0, estimator)
    assert of_trials.shape[1] == len(trials)
    assert others.shape[1] == without.shape[1] + 1
    assert estimator.estimate(bold, both, TR).shape == (len(trials), 30)


def test_a_single_trial_has_no_others(bold):
    trials = pd.DataFrame({"onset": [20.0], "duration": [3.0], "role": ["trial"]})
    separate = LeastSquaresSeparate().estimate(bold, trials, TR)
    together = LeastSquaresAll().estimate(bold, trials, TR)
    np.testing.assert_allclose(separate, together, atol=1e-9)


def test_a_trial_that_nothing_tells_apart_gets_nan():
    of_trials = np.zeros((20, 2))
    of_trials[5:8, 0] = 1
    weights = lss_weights(of_trials, np.ones((20, 1)))
    assert np.isfinite(weights[0]).all()
    assert np.isnan(weights[1]).all()


def test_polynomials_grow_with_the_length_of_the_run(trials):
    def n_drifts(n_volumes):
        return design_matrices(
            trials.iloc[:4], n_volumes, TR, None, 0.0, LeastSquaresSeparate()
        )[1].shape[1]

    # Half of 4 and of 10 minutes, and the constant.
    assert n_drifts(120) == 2 + 1
    assert n_drifts(300) == 5 + 1


def test_window_is_the_mean_of_the_shifted_block():
    bold = np.full((20, 2), 100.0)
    bold[7:10, 0] = 110.0
    trials = pd.DataFrame({"onset": [10.0], "duration": [6.0], "role": ["trial"]})
    response = Window(lag=4.0, detrend=False).estimate(bold, trials, TR)
    mean = bold[:, 0].mean()
    np.testing.assert_allclose(response[0, 0], 100 * (110 - mean) / mean)


def test_window_past_the_end_gets_nan(bold):
    trials = pd.DataFrame({"onset": [10.0, 238.0], "duration": 2.0, "role": "trial"})
    response = Window().estimate(bold, trials, TR)
    assert np.isfinite(response[0]).all()
    assert np.isnan(response[1]).all()


@pytest.mark.parametrize(
    "options", [{"hrf": "fir"}, {"drift": "spline"}], ids=["hrf", "drift"]
)
def test_a_wrong_option_is_refused(options):
    with pytest.raises(ValueError, match="is one of"):
        LeastSquaresSeparate(**options)


class TestStandardizer:
    def table(self, *runs):
        return pd.DataFrame({"session": "n/a", "task": "t", "run": list(runs)})

    def test_a_run_is_scaled_by_its_own_training_trials(self):
        rng = np.random.default_rng(0)
        n = MIN_TRIALS
        X = rng.standard_normal((2 * n, 3)) * 4 + 7
        X[n:] = X[n:] * 3 - 20
        trials = self.table(*["1"] * n, *["2"] * n)
        scaled = Standardizer("run").fit(X, trials).transform(X, trials)
        for rows in (slice(None, n), slice(n, None)):
            np.testing.assert_allclose(scaled[rows].mean(axis=0), 0, atol=1e-6)
            np.testing.assert_allclose(scaled[rows].std(axis=0), 1, atol=1e-6)

    def test_a_run_without_training_trials_takes_the_mean_of_the_others(self):
        n = MIN_TRIALS
        first, second = (
            np.tile([[0.0], [2.0]], (n, 1)),
            np.tile([[4.0], [10.0]], (n, 1)),
        )
        X = np.vstack([first, second])
        trials = self.table(*["1"] * 2 * n, *["2"] * 2 * n)
        scaler = Standardizer("run").fit(X, trials)
        scale = np.sqrt((1**2 + 3**2) / 2)
        scaled = scaler.transform(np.array([[4.0]]), self.table("3"))
        np.testing.assert_allclose(scaled, (4 - (1 + 7) / 2) / scale)

    def test_few_trials_are_scaled_together(self):
        X = np.array([[1.0], [3.0], [11.0], [13.0]])
        trials = self.table("1", "1", "2", "2")
        scaled = Standardizer("run").fit(X, trials).transform(X, trials)
        np.testing.assert_allclose(scaled, (X - X.mean()) / X.std(), rtol=1e-6)

    def test_a_constant_voxel_stays_finite(self):
        X = np.ones((4, 1))
        trials = self.table("1", "1", "1", "1")
        assert (Standardizer(None).fit(X, trials).transform(X, trials) == 0).all()


def notes_of(estimator, bold, trials, confounds=None):
    """Return what an estimator warns of; anything but a note is an error."""
    with warnings.catch_warnings(record=True) as raised:
        warnings.simplefilter("always")
        values = estimator.estimate(bold, trials, TR, confounds)
    assert all(isinstance(warning.message, Note) for warning in raised), raised
    return [str(warning.message) for warning in raised], values


@pytest.mark.parametrize("estimator", [LeastSquaresSeparate(), LeastSquaresAll()])
def test_what_nilearn_warns_of_is_told_in_our_words(trials, bold, estimator):
    assert notes_of(estimator, bold, trials)[0] == []
    assert notes_of(estimator, bold, trials.assign(duration=0.0))[0] == []
    twin = np.random.default_rng(0).standard_normal((N_VOLUMES, 1)).repeat(2, axis=1)
    (said,), values = notes_of(estimator, bold, trials, twin)
    assert "design matrix of a run is singular" in said
    assert np.isfinite(values).all()
    twice = pd.concat([trials, trials.head(2).assign(role="catch")] * 2)
    twice = twice.drop_duplicates(["onset", "role"]).reset_index(drop=True)
    again = pd.concat([twice, twice[twice["role"] == "catch"]], ignore_index=True)
    assert any("stand twice" in note for note in notes_of(estimator, bold, again)[0])


def test_a_percentage_of_nothing_is_told_with_its_count(trials, bold):
    bold = bold.copy()
    bold[:, :3] = np.tile([1.0, -1.0], N_VOLUMES // 2)[:, None]
    (said,), values = notes_of(Window(detrend=False), bold, trials)
    assert said.startswith("3 voxels of a run have a mean of 0")
    assert np.isfinite(values).all()
    assert (values[:, :3] == 0).all()
    assert notes_of(Window(unit="z"), bold, trials)[0] == []
