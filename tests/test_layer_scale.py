"""The published rescaling of decoded layers, by hand."""

import numpy as np
import pytest

from bids_recon.datatypes import Targets
from bids_recon.stages.decode.layer_scale import LayerScale
from bids_recon.stages.decode.rescale import learn_scale, scale_again

ROWS = np.array([0, 0, 2, 0])
"""The first picture counts once, whatever it was shown, and the second not at all."""


def applied(scale, values, path):
    np.save(path, values.astype(np.float32))
    scale.apply(path)
    return np.load(path)


def no_spread(n):
    raise AssertionError(f"no predictions of {n} trials are needed")


def test_paper_of_a_convolution(tmp_path):
    # Two channels of two places: deviations 1 and 3, of the last picture 2 and 4.
    features = np.array(
        [[[[0, 2]], [[1, 7]]], [[[9, 0]], [[5, 0]]], [[[1, 5]], [[0, 8]]]], float
    )
    scale = learn_scale("paper", Targets(features, ROWS), no_spread)
    assert float(scale.true_spread) == pytest.approx(((1 + 3) / 2 + (2 + 4) / 2) / 2)
    decoded = np.array([[[[4, 5]], [[3, 6]]]], float)  # deviations 0.5 and 1.5
    found = applied(scale, decoded, tmp_path / "decoded.npy")
    np.testing.assert_allclose(found, decoded * 2.5 / 1.0, rtol=1e-6)


def test_paper_of_a_layer_without_places(tmp_path):
    features = np.array([[0, 2, 4, 6], [0, 0, 0, 9], [1, 1, 3, 3]], float)
    scale = learn_scale("paper", Targets(features, ROWS), no_spread)
    assert float(scale.true_spread) == pytest.approx((5**0.5 + 1) / 2)
    decoded = np.array([[1, 1, 2, 2], [3, 3, 3, 3]], float)
    found = applied(scale, decoded, tmp_path / "decoded.npy")
    np.testing.assert_allclose(found[0], decoded[0] * (5**0.5 + 1) / 2 / 0.5, rtol=1e-6)
    # What has no spread stays.
    np.testing.assert_array_equal(found[1], decoded[1])
    # One place for each channel is a layer without places.
    tall = Targets(features[..., None, None], ROWS)
    assert LayerScale.learn("paper", tall).true_spread == scale.true_spread


def test_train_centred(tmp_path):
    features = np.array([[0, 2, 4, 6], [0, 0, 0, 9], [1, 1, 3, 3]], float)
    scale = learn_scale("train-centred", Targets(features, ROWS), no_spread)
    spread = ((20 / 3) ** 0.5 + (4 / 3) ** 0.5) / 2
    centre = np.array([0.5, 1.5, 3.5, 4.5])
    np.testing.assert_allclose(scale.centre, centre)
    decoded = np.array([[1.5, 1.5, 5.5, 7.5], [2.5, 1.5, 5.5, 4.5]])
    found = applied(scale, decoded, tmp_path / "decoded.npy")
    for row, shifted in enumerate(([1, 0, 2, 3], [2, 0, 2, 0])):
        shifted = np.array(shifted, float)
        mean, deviation = shifted.mean(), shifted.std(ddof=1)
        expected = (shifted - mean) * spread / deviation + mean + centre
        np.testing.assert_allclose(found[row], expected, rtol=1e-6)


@pytest.mark.parametrize("how", ["paper", "train-centred"])
def test_one_picture_alone_and_a_scale_that_was_saved(how, tmp_path):
    rng = np.random.default_rng(0)
    features, decoded = rng.random((40, 3, 4, 4)), rng.random((20, 3, 4, 4))
    scale = learn_scale(how, Targets(features, np.arange(40)), no_spread)
    again = scale_again(vars(scale))
    together = applied(again, decoded, tmp_path / "decoded.npy")
    alone = applied(scale, decoded[17:18], tmp_path / "one.npy")
    np.testing.assert_array_equal(alone[0], together[17])
    spread = together if how == "paper" else together - scale.centre.reshape(3, 4, 4)
    axis, ddof = ((2, 3), 0) if how == "paper" else ((1, 2, 3), 1)
    found = spread.std(axis=axis, ddof=ddof).reshape(20, -1).mean(axis=1)
    np.testing.assert_allclose(found, float(scale.true_spread), rtol=1e-5)
