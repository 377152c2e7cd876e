"""Feature spaces and generators: small cases by hand."""

import numpy as np
import pytest
from sklearn.decomposition import PCA

from bids_recon.datatypes import Decoded
from bids_recon.features.eigenimage import Eigenimage
from bids_recon.features.local_contrast import LocalContrast
from bids_recon.generators.inverse import Inverse
from bids_recon.generators.local_combination import LocalCombination


def grey(values):
    values = np.asarray(values, dtype=np.float32)
    return np.repeat(values[:, None], 3, axis=1)


@pytest.fixture
def pictures():
    return np.random.default_rng(0).random((12, 3, 5, 6)).astype(np.float32)


def test_grey_pictures_have_as_many_components_as_pixels_at_most():
    rng = np.random.default_rng(0)
    pictures = grey(rng.random((30, 3, 3)))
    space = Eigenimage(n_components=20).fit(pictures)
    assert space.components_.shape == (9, 27)
    again = space.decode(space.encode(pictures))
    np.testing.assert_allclose(again, pictures, atol=1e-5)


def test_eigenimage_is_principal_component_analysis(pictures):
    space = Eigenimage(n_components=4).fit(pictures)
    flat = pictures.reshape(12, -1).astype(np.float64)
    expected = PCA(4, svd_solver="full").fit(flat).transform(flat)
    np.testing.assert_allclose(space.encode(pictures), expected, atol=1e-5)


def test_eigenimage_with_all_components_is_lossless(pictures):
    space = Eigenimage(n_components=100).fit(pictures)
    assert space.components_.shape[0] == 11
    decoded = space.decode(space.encode(pictures))
    np.testing.assert_allclose(decoded, pictures, atol=1e-5)


def test_eigenimage_keeps_the_share_of_variance_asked_for(pictures):
    flat = pictures.reshape(12, -1)
    share = np.cumsum(PCA().fit(flat).explained_variance_ratio_)
    space = Eigenimage(n_components=0.7).fit(pictures)
    assert space.components_.shape[0] == np.searchsorted(share, 0.7) + 1


@pytest.mark.parametrize("n", [1, 3])
def test_eigenimage_of_pictures_that_are_all_alike_is_their_mean(n):
    same = np.full((n, 3, 4, 4), 0.25, dtype=np.float32)
    space = Eigenimage().fit(same)
    np.testing.assert_allclose(space.decode(space.encode(same)), same)


def test_local_contrast_by_hand():
    picture = grey([[[0, 1, 0], [1, 1, 0]]])
    space = LocalContrast(scales=[1, 2]).fit(picture)
    assert space.patches_ == [(1, 1), (1, 2), (2, 1), (2, 2)]
    assert space.sizes_ == [6, 4, 3, 2]
    expected = [0, 1, 0, 1, 1, 0, 0.5, 0.5, 1, 0.5, 0.5, 1, 0, 0.75, 0.5]
    np.testing.assert_allclose(space.encode(picture)[0], expected)


def test_spread_gives_each_pixel_the_mean_of_the_patches_on_it():
    space = LocalContrast(scales=[2]).fit(grey(np.zeros((1, 2, 3))))
    spread = space.spread(np.array([[0.2, 0.8]]))
    np.testing.assert_allclose(spread[0, 0], [[0.2, 0.5, 0.8], [0.2, 0.5, 0.8]])


def test_patches_that_do_not_fit_are_left_out():
    space = LocalContrast(scales=[1, 5]).fit(grey(np.zeros((1, 4, 6))))
    assert space.patches_ == [(1, 1), (1, 5)]


def test_weights_are_those_that_made_the_picture():
    rng = np.random.default_rng(0)
    space = LocalContrast(scales=[1, 2]).fit(grey(np.zeros((1, 4, 4))))
    values = rng.random((30, sum(space.sizes_)))
    weights = np.array([0.5, 0.0, 0.1, 0.3])
    made = np.einsum("s,nshw->nhw", weights, space.spread(values))
    decoded = {"features": Decoded(values, space)}
    generator = LocalCombination().fit(decoded, grey(made))
    np.testing.assert_allclose(generator.weights_, weights, atol=1e-5)
    assert generator.learned(decoded)["2x2"] == pytest.approx(0.3, abs=1e-5)
    np.testing.assert_allclose(
        generator.generate(decoded, 0), np.clip(grey(made), 0, 1), atol=1e-5
    )


def test_weights_of_elements_are_those_that_made_the_picture():
    rng = np.random.default_rng(0)
    space = LocalContrast(scales=[1, 2]).fit(grey(np.zeros((1, 3, 4))))
    values = rng.random((200, sum(space.sizes_)))
    weights = rng.random(values.shape[1]) * (rng.random(values.shape[1]) < 0.5)
    made = np.zeros((200, 3, 4))
    start = 0
    for height, width in space.patches_:
        for row in range(3 - height + 1):
            for column in range(4 - width + 1):
                part = weights[start] * values[:, start, None, None]
                made[:, row : row + height, column : column + width] += part
                start += 1
    assert start == len(weights)
    made /= made.max()
    decoded = {"features": Decoded(values, space)}
    for how in ("per-element", "auto"):
        generator = LocalCombination(weights=how).fit(decoded, grey(made))
        again = generator.generate(decoded, 0)
        np.testing.assert_allclose(again, grey(made), atol=1e-4)
        ratio = generator.weights_ / max(generator.weights_)
        np.testing.assert_allclose(ratio, weights / max(weights), atol=1e-3)
        mean = generator.weights_[:12].mean()
        assert generator.learned(decoded)["1x1 (mean)"] == pytest.approx(mean)


def test_auto_takes_sizes_where_elements_have_nothing_of_their_own():
    rng = np.random.default_rng(0)
    space = LocalContrast(scales=[1, 2]).fit(grey(np.zeros((1, 4, 4))))
    values = rng.random((12, sum(space.sizes_)))
    shown = space.spread(values).mean(axis=1) + 0.05 * rng.standard_normal((12, 4, 4))
    decoded = {"features": Decoded(values, space)}
    auto = LocalCombination(weights="auto").fit(decoded, grey(shown))
    sizes = LocalCombination(weights="learned").fit(decoded, grey(shown))
    np.testing.assert_array_equal(auto.weights_, sizes.weights_)
    # One picture leaves nothing to choose by.
    one = LocalCombination(weights="auto").fit(decoded, grey(shown[:1].repeat(12, 0)))
    assert not one.per_element_


def test_weights_are_never_negative():
    rng = np.random.default_rng(0)
    space = LocalContrast(scales=[1, 2]).fit(grey(np.zeros((1, 4, 4))))
    values = rng.random((30, sum(space.sizes_)))
    made = 1 - space.spread(values)[:, 0]
    generator = LocalCombination().fit({"features": Decoded(values, space)}, grey(made))
    assert (generator.weights_ >= 0).all()


def test_equal_weights_are_equal_and_missing_predictions_teach_nothing():
    space = LocalContrast(scales=[1, 2]).fit(grey(np.zeros((1, 4, 4))))
    values = np.full((3, sum(space.sizes_)), np.nan)
    for weights in ("equal", "learned"):
        generator = LocalCombination(weights=weights).fit(
            {"features": Decoded(values, space)}, grey(np.zeros((3, 4, 4)))
        )
        np.testing.assert_allclose(generator.weights_, 0.25)


def test_eigenimage_generator_inverts_the_space(pictures):
    space = Eigenimage(n_components=11).fit(pictures)
    decoded = {"features": Decoded(space.encode(pictures), space)}
    made = Inverse().generate(decoded, 0)
    np.testing.assert_allclose(made, pictures, atol=1e-5)
