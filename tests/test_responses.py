"""Responses: against nilearn, by hand, and with a known answer."""

import warnings

import numpy as np
import pandas as pd
import pytest
from nilearn.glm.first_level import make_first_level_design_matrix, run_glm

from bids_recon.errors import Note
from bids_recon.responses import design
from bids_recon.responses.design import design_matrices
from bids_recon.responses.given import Given
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


def glm(bold, matrix, names):
    labels, results = run_glm(bold, matrix.to_numpy(), noise_model="ols")
    columns = [matrix.columns.get_loc(name) for name in names]
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
        matrix = make_first_level_design_matrix(
            0.5 + TR * np.arange(N_VOLUMES),
            events,
            hrf_model=hrf,
            drift_model=drift,
            drift_order=2,
            high_pass=1 / 128,
            add_regs=confounds,
        )
        theirs = glm(bold, matrix, ["own"])[0]
        np.testing.assert_allclose(ours[trial], theirs, rtol=0, atol=1e-8)


def test_lsa_is_nilearns_glm(trials, bold):
    ours = LeastSquaresAll(drift="cosine").estimate(bold, trials, TR)
    names = [f"t{row:02d}" for row in range(len(trials))]
    matrix = make_first_level_design_matrix(
        TR * np.arange(N_VOLUMES),
        trials[["onset", "duration"]].assign(trial_type=names),
        hrf_model="glover",
        drift_model="cosine",
        high_pass=1 / 128,
    )
    np.testing.assert_allclose(ours, glm(bold, matrix, names), rtol=0, atol=1e-7)


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


def window(bold, onset, duration, **more):
    trials = pd.DataFrame({"onset": [onset], "duration": [duration], "role": "trial"})
    return Window(lag=4.0, detrend=False).estimate(bold, trials, TR, **more)[0]


@pytest.mark.parametrize(
    ("onset", "duration", "start_time", "volumes"),
    [
        (10.0, 6.0, 0.0, [7, 8, 9]),
        # Volume 6 is acquired at 12.9 s, volume 7 at 14.9 s.
        (10.0, 6.0, 0.9, [7, 8, 9]),
        (9.0, 6.0, 0.9, [7, 8, 9]),
        (8.9, 6.0, 0.9, [6, 7, 8]),
        (8.0, 4.0, 1.0, [6, 7]),
        # What lasts less than a volume takes one.
        (10.0, 0.0, 0.0, [7]),
        (9.5, 0.5, 0.0, [7]),
        (9.5, 2.5, 0.0, [7]),
        (9.5, 2.6, 0.0, [7, 8]),
        (8.5, 0.0, 0.9, [6]),
    ],
)
def test_volumes_of_a_window(onset, duration, start_time, volumes):
    # Squares, of which no two sets of volumes have the same mean.
    bold = 100 + np.arange(20.0)[:, None] ** 2
    response = window(bold, onset, duration, start_time=start_time)
    mean = bold.mean()
    np.testing.assert_allclose(response, 100 * (bold[volumes].mean() - mean) / mean)


@pytest.mark.parametrize("unit", ["percent", "z"])
def test_confounds_leave_a_window(unit):
    rng = np.random.default_rng(0)
    confounds = rng.standard_normal((40, 2)) + np.array([3, -5])
    clean = 100 + rng.standard_normal((40, 5))
    bold = clean + confounds @ rng.uniform(5, 20, (2, 5))
    trials = pd.DataFrame({"onset": [8.0, 30.0], "duration": 4.0, "role": "trial"})
    estimator = Window(unit=unit, detrend=False)
    values = estimator.estimate(bold, trials, TR, confounds)
    # Without what a regression on confounds and a constant explains of it.
    model = np.column_stack([confounds, np.ones(40)])
    left = bold - model @ np.linalg.lstsq(model, bold, rcond=None)[0]
    mean = bold.mean(axis=0)
    signal = 100 * left / mean if unit == "percent" else left / left.std(axis=0, ddof=1)
    expected = [signal[6:8].mean(axis=0), signal[17:19].mean(axis=0)]
    np.testing.assert_allclose(values, expected, rtol=1e-6)


def test_a_window_has_the_type_of_the_bold_and_finds_voxels_without_values():
    bold = np.full((20, 2), 100.0, dtype=np.float32)
    bold[7:10, 0] = 110.0
    bold[3, 1] = np.nan
    with np.errstate(all="raise"):
        response = window(bold, 10.0, 6.0)
    assert response.dtype == np.float32
    assert np.isfinite(response[0])
    assert np.isnan(response[1])


def test_a_mean_of_nothing_is_found_in_double_precision():
    # Summed in single precision, the first voxel's mean would not be 0.
    half = np.float32(0.1) * np.arange(1, 6001, dtype=np.float32)
    bold = np.stack([np.concatenate([half, -half]), half.repeat(2)], axis=1)
    trials = pd.DataFrame({"onset": [10.0], "duration": [2.0], "role": ["trial"]})
    (said,), _ = notes_of(Window(detrend=False), bold, trials)
    assert said.startswith("1 voxels")


@pytest.mark.parametrize(
    ("estimator", "options", "words"),
    [
        (LeastSquaresSeparate, {"hrf": "fir"}, "is one of"),
        (LeastSquaresSeparate, {"drift": "spline"}, "is one of"),
        (LeastSquaresSeparate, {"drift_order": -1}, "0 to 100"),
        (LeastSquaresSeparate, {"drift_order": 101}, "0 to 100"),
        (LeastSquaresSeparate, {"high_pass": 0.0}, "above 0"),
        (LeastSquaresSeparate, {"high_pass": 0.11}, r"at most 0\.1"),
        (Window, {"unit": "psc"}, "is one of"),
        (Window, {"lag": 60.5}, "-60 to 60"),
        (Window, {"lag": float("nan")}, "-60 to 60"),
    ],
)
def test_a_wrong_option_is_refused(estimator, options, words):
    with pytest.raises(ValueError, match=words):
        estimator(**options)


def test_options_at_their_limits_are_taken():
    for options in ({"drift_order": 0}, {"drift_order": 100}, {"high_pass": 0.1}):
        LeastSquaresSeparate(**options)
    for lag in (-60, 60):
        Window(lag=lag)


def test_runs_are_projected_in_blocks_and_in_double_precision(monkeypatch):
    monkeypatch.setattr(design, "VOXELS_AT_ONCE", 7)
    rng = np.random.default_rng(0)
    weights = rng.standard_normal((3, 50))
    bold = (1e4 + rng.standard_normal((50, 30))).astype(np.float32)
    result = design.project(weights, bold)
    assert result.dtype == np.float32
    expected = weights @ bold.astype(np.float64)
    np.testing.assert_allclose(result, expected, rtol=1e-6)


def test_the_degree_of_drifts_is_the_one_asked_for(trials):
    for order in (0, 1, 4):
        others = design_matrices(
            trials, N_VOLUMES, TR, None, 0.0, LeastSquaresSeparate(drift_order=order)
        )[1]
        assert others.shape[1] == order + 1
        # Drifts are polynomials: they leave nothing of one.
        time = np.linspace(-1, 1, N_VOLUMES)[:, None]
        left = design.residual(time**order, others)
        np.testing.assert_allclose(left, 0, atol=1e-10)


def test_times_of_events_may_be_text_or_whole_numbers(trials, bold):
    estimator = LeastSquaresSeparate()
    expected = estimator.estimate(bold, trials, TR)
    as_text = trials.assign(
        onset=trials["onset"].astype(object), duration=trials["duration"].astype(object)
    )
    np.testing.assert_array_equal(estimator.estimate(bold, as_text, TR), expected)


def test_what_nilearn_says_anew_is_passed_on():
    raised = warnings.WarningMessage(
        UserWarning("something new"), UserWarning, "theirs.py", 17
    )
    with pytest.warns(UserWarning, match="something new") as caught:
        design._tell(raised)
    assert (caught[0].filename, caught[0].lineno) == ("theirs.py", 17)


def test_trials_that_can_hardly_be_told_apart_get_nan():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((50, 3))
    nuisance = np.ones((50, 1))
    assert np.isfinite(lss_weights(x, nuisance)).all()
    # Of three, one is what the nuisance explains; the scale of all does not matter.
    for scale in (1e-3, 1.0, 1e3):
        flat = x.copy()
        flat[:, 1] = 1 + 1e-9 * x[:, 1]
        found = np.isfinite(lss_weights(scale * flat, nuisance)).all(axis=1)
        assert found.tolist() == [True, False, True]
    # Two that are the same, beside others, are the same response each way.
    twins = x[:, [0, 0]]
    assert np.isnan(lss_weights(twins, nuisance)).all()
    # A small one is not nothing.
    small = x * [1, 1e-3, 1]
    weights = lss_weights(small, nuisance)
    for trial in range(3):
        rest = np.delete(small, trial, axis=1).sum(axis=1)
        model = np.column_stack([small[:, trial], rest, nuisance])
        expected = np.linalg.pinv(model)[0]
        np.testing.assert_allclose(weights[trial], expected, rtol=1e-6, atol=1e-9)


def test_one_trial_is_its_regression():
    rng = np.random.default_rng(0)
    for scale in (1e-3, 1.0, 30.0):
        x = scale * rng.standard_normal((30, 1))
        expected = np.linalg.pinv(np.column_stack([x, np.ones(30)]))[:1]
        ours = lss_weights(x, np.ones((30, 1)))
        np.testing.assert_allclose(ours, expected, rtol=1e-9, atol=1e-12 / scale)


def test_no_trials_have_no_weights():
    assert lss_weights(np.zeros((20, 0)), np.ones((20, 1))).shape == (0, 20)


def test_given_responses_are_the_volumes_of_their_rows():
    bold = np.arange(12.0).reshape(4, 3)
    trials = pd.DataFrame({"volume": [2, 0, 3]})
    values = Given().estimate(bold, trials, TR)
    np.testing.assert_array_equal(values, [[6, 7, 8], [0, 1, 2], [9, 10, 11]])


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
        scaled = scaler.transform(np.array([[10.0]]), self.table("3"))
        np.testing.assert_allclose(scaled, (10 - (1 + 7) / 2) / scale, rtol=1e-6)

    def test_each_voxel_has_its_own_mean_and_scale(self):
        rng = np.random.default_rng(0)
        X = rng.standard_normal((2 * MIN_TRIALS, 4)) * [1, 5, 0.1, 20] + [0, 3, -7, 50]
        trials = self.table(*["1"] * MIN_TRIALS, *["2"] * MIN_TRIALS)
        runs = np.split(X, 2)
        held_out = rng.standard_normal((3, 4))
        scaled = (
            Standardizer("run")
            .fit(X, trials)
            .transform(held_out, self.table("3", "3", "3"))
        )
        mean = np.mean([run.mean(axis=0) for run in runs], axis=0)
        scale = np.sqrt(np.mean([run.var(axis=0) for run in runs], axis=0))
        np.testing.assert_allclose(scaled, (held_out - mean) / scale, rtol=1e-5)
        assert scaled.dtype == np.float32
        # Too few for a run alone: all trials together.
        few = [0, 1, 2, MIN_TRIALS, MIN_TRIALS + 1]
        scaler = Standardizer("run").fit(X[few], trials.iloc[few])
        expected = (X[few] - X[few].mean(axis=0)) / X[few].std(axis=0)
        again = scaler.transform(X[few], trials.iloc[few])
        np.testing.assert_allclose(again, expected, rtol=1e-5, atol=1e-6)

    def test_sums_are_in_double_precision(self):
        # In single precision, a mean of 1e7 leaves hardly any digit of the scale.
        X = (1e7 + np.tile([[0.0], [2.0]], (MIN_TRIALS, 1))).astype(np.float32)
        for trials in (self.table(*["1"] * len(X)), self.table(*map(str, range(40)))):
            scaled = Standardizer("run").fit(X, trials).transform(X, trials)
            np.testing.assert_allclose(scaled[:2, 0], [-1, 1], rtol=1e-6)

    def test_what_shares_a_scale(self):
        n = MIN_TRIALS
        X = np.tile([[0.0], [2.0]], (n, 1)) * np.repeat([[1.0], [3.0]], n, axis=0)
        trials = pd.DataFrame(
            {"session": ["A"] * n + ["B"] * n, "task": "t", "run": "1"}
        )
        of_each = np.tile([[-1.0], [1.0]], (n, 1))
        # Runs of two sessions may have the same number.
        for by, table in (
            ("run", trials),
            ("session", trials.assign(run=range(2 * n))),
        ):
            scaled = Standardizer(by).fit(X, table).transform(X, table)
            np.testing.assert_allclose(scaled, of_each, rtol=1e-6)
        scaled = Standardizer(None).fit(X, trials).transform(X, trials)
        np.testing.assert_allclose(scaled, (X - X.mean()) / X.std(), rtol=1e-6)
        # Session 1, task 1t and session 11, task t are two.
        twins = pd.DataFrame(
            {"session": ["1"] * n + ["11"] * n, "task": ["1t"] * n + ["t"] * n}
        ).assign(run="1")
        scaled = Standardizer("run").fit(X, twins).transform(X, twins)
        np.testing.assert_allclose(scaled, of_each, rtol=1e-6)

    def test_few_trials_are_scaled_together(self):
        X = np.array([[1.0], [3.0], [11.0], [13.0]])
        trials = self.table("1", "1", "2", "2")
        scaled = Standardizer("run").fit(X, trials).transform(X, trials)
        np.testing.assert_allclose(scaled, (X - X.mean()) / X.std(), rtol=1e-6)

    def test_a_constant_voxel_stays_finite(self):
        X = np.ones((4, 1))
        trials = self.table("1", "1", "1", "1")
        scaler = Standardizer(None).fit(X, trials)
        assert (scaler.transform(X, trials) == 0).all()
        np.testing.assert_allclose(scaler.transform(X + 3, trials), 3)
        # Small is not constant.
        small = np.array([[0.0], [2e-6], [0.0], [2e-6]])
        scaled = Standardizer(None).fit(small, trials).transform(small, trials)
        np.testing.assert_allclose(scaled[:2, 0], [-1, 1], rtol=1e-6)


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
