"""What stands in the table of scores, by hand on a few pictures."""

from itertools import permutations

import numpy as np
import pytest
import torch
from PIL import Image
from test_judge import SIZE, networks, spec  # noqa: F401

from bids_recon.errors import UserError
from bids_recon.evaluation import metrics
from bids_recon.evaluation.identification import two_way_of_originals
from bids_recon.evaluation.judge import Judge, PictureFiles
from bids_recon.evaluation.profiles import MetricSpec, Profile
from bids_recon.evaluation.scores import Reconstructed, score


def profile(*specs, samples="first"):
    return Profile(
        name="own",
        version=3,
        describes="for tests",
        source="here",
        max_size=64,
        samples=samples,
        metrics=specs,
    )


@pytest.fixture
def pair():
    rng = np.random.default_rng(0)
    seen = rng.random((5, 3, *SIZE)).astype(np.float32)
    made = np.clip(seen + 0.4 * rng.standard_normal(seen.shape), 0, 1)
    return seen, made.astype(np.float32)


def recon(seen, made, fold=None, **instead):
    fold = np.full(len(seen), "a") if fold is None else np.array(fold)
    return Reconstructed(seen, made, np.arange(len(seen)), fold, instead)


def by_hand(similarity):
    """Return two-way identification of each row's own column, by counting."""
    n = len(similarity)
    return [
        np.mean(
            [
                np.heaviside(similarity[i, i] - similarity[i, j], 0.5)
                for j in range(n)
                if j != i
            ]
        )
        for i in range(n)
    ]


def test_which_is_compared_with_which(pair):
    seen, made = pair
    made = made[[1, 0, 2, 4, 3]]
    # Rows are reconstructions, columns pictures.
    similarity = np.corrcoef(made.reshape(5, -1), seen.reshape(5, -1))[:5, 5:]
    expected = {"reconstruction": similarity, "original": similarity.T}
    both = [MetricSpec(name=name, kind="two_way", direction=name) for name in expected]
    summary, per_picture, _, _ = score(recon(seen, made), profile(*both), 0, Judge())
    summary = summary.set_index("metric")
    for name, values in expected.items():
        np.testing.assert_allclose(per_picture[name], by_hand(values))
        assert summary.loc[name, "value"] == pytest.approx(np.mean(by_hand(values)))
        assert summary.loc[name, "profile"] == "own-3"
        assert summary.loc[name, "n_candidates"] == "5"


def test_other_reconstructions_of_the_same_picture_are_no_rivals():
    # Reconstructions 0 and 1 are of picture 0, 2 and 3 of picture 1.
    similarity = np.array([[0.9, 0.8], [0.2, 0.1], [0.5, 0.6], [0.3, 0.1]])
    own = np.array([0, 0, 1, 1])
    scores = two_way_of_originals(similarity, own)
    expected = [
        [1.0, 1.0],
        [0.0, 0.25],
        [0.5, 0.5],
        [0.5, 0.25],
    ]
    np.testing.assert_allclose(scores, expected)
    # Reconstructions of one picture alone have no rivals at all.
    assert np.isnan(two_way_of_originals(similarity, np.zeros(4, int))).all()


def test_distances_are_one_minus_the_correlation(pair, networks):  # noqa: F811
    seen, made = pair
    folder, network = next(iter(networks.items()))
    own = spec(name="d", kind="distance", layer="features.12", prepare=())
    mean = torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1)
    std = torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1)
    floor = np.broadcast_to(seen.mean(axis=0), seen.shape)
    with torch.inference_mode():
        of_seen, of_made, of_floor = (
            network.features((torch.from_numpy(np.array(part)) - mean) / std).flatten(1)
            for part in (seen, made, floor)
        )
    expected, of_nothing = (
        [1 - np.corrcoef(a, b)[0, 1] for a, b in zip(of_seen, part, strict=True)]
        for part in (of_made, of_floor)
    )
    table, per_picture, _, _ = score(
        recon(seen, made, floor=floor), profile(own), 0, Judge(folder)
    )
    np.testing.assert_allclose(per_picture["d"], expected, rtol=1e-3)
    assert table.loc[0, "value"] == pytest.approx(np.mean(expected), rel=1e-3)
    assert table.loc[0, "floor"] == pytest.approx(np.mean(of_nothing), rel=1e-3)
    # All pairings: how many are at least as near as those that were seen together?
    distances = 1 - np.corrcoef(of_made, of_seen)[:5, 5:]
    means = [
        distances[np.arange(5), list(order)].mean() for order in permutations(range(5))
    ]
    hits = np.sum(np.array(means[1:]) <= means[0])
    assert table.loc[0, "p_value"] == pytest.approx((1 + hits) / 120)
    assert table.loc[0, "chance"] == pytest.approx(np.mean(means[1:]), rel=1e-3)


def test_pictures_are_read_from_files_one_by_one(pair, tmp_path):
    seen, made = (np.round(part * 255) / 255 for part in pair)
    paths = []
    for row, picture in enumerate(made):
        paths.append(tmp_path / f"{row}.png")
        pixels = (picture * 255).round().astype(np.uint8).transpose(1, 2, 0)
        Image.fromarray(pixels).save(paths[-1])
    files = PictureFiles(paths)
    assert (len(files), files.shape) == (5, (5, 3, *SIZE))
    np.testing.assert_allclose(np.stack(list(files)), made, atol=1e-6)
    assert next(iter(files)).dtype == np.float32
    np.testing.assert_allclose(np.stack(list(files[1::2])), made[1::2], atol=1e-6)
    metric = MetricSpec(name="mse", kind="mse")
    tables = [
        score(recon(seen, part), profile(metric), 0, Judge())[0]
        for part in (files, made)
    ]
    assert tables[0].loc[0, "value"] == pytest.approx(tables[1].loc[0, "value"])
    Image.new("RGB", (SIZE[1] + 1, SIZE[0])).save(paths[3])
    with pytest.raises(UserError, match=r"3\.png: the picture has 41 x 40 pixels"):
        list(files)


def test_samples_count_by_their_first_or_their_mean(pair):
    seen, made = pair
    # Two pictures of each trial, one after another.
    both = np.stack([made, seen], axis=1).reshape(10, *seen.shape[1:])
    metric = MetricSpec(name="mse", kind="mse")
    each = ((made - seen) ** 2).mean(axis=(1, 2, 3))
    for samples, share in (("first", 1.0), ("mean", 0.5)):
        table, per_picture, _, _ = score(
            recon(seen, both), profile(metric, samples=samples), 0, Judge()
        )
        np.testing.assert_allclose(per_picture["mse"][::2], share * each, rtol=1e-5)
        assert np.isnan(per_picture["mse"][1::2]).all()
        assert table.loc[0, "value"] == pytest.approx(share * each.mean(), rel=1e-5)
        assert table.loc[0, "n"] == 5


def test_options_of_a_metric_are_used(pair):
    seen, made = pair
    specs = [
        MetricSpec(name=f"{regime}-{grey}", kind="ssim", regime=regime, grey=grey)
        for regime in ("uniform", "gaussian", "columns")
        for grey in ("mean", "luma")
    ]
    table = score(recon(seen, made), profile(*specs), 0, Judge())[0]
    assert table["value"].nunique() == 6
    for own, value in zip(specs, table["value"], strict=True):
        expected = metrics.ssim(seen, made, own.regime, own.grey).mean()
        assert value == pytest.approx(expected)


def test_columns_are_columns(pair):
    seen, made = pair
    # Each column of pixels alone is a signal of one dimension: turning all pictures
    # changes it, and a change of the order of columns does not.
    value = metrics.ssim(seen, made, "columns")
    order = np.random.default_rng(0).permutation(SIZE[1])
    again = metrics.ssim(seen[..., order], made[..., order], "columns")
    np.testing.assert_allclose(value, again)
    turned = [part.swapaxes(2, 3) for part in (seen, made)]
    assert np.abs(metrics.ssim(*turned, "columns") - value).min() > 1e-6


def test_black_and_white_metrics_need_black_and_white_pictures(pair):
    specs = [MetricSpec(name=kind, kind=kind) for kind in ("mse", "f1", "mcc")]
    binary = np.repeat((pair[0][:, :1] > 0.7).astype(np.float32), 3, axis=1)
    floor = np.broadcast_to(binary.mean(axis=0), binary.shape)
    table = score(recon(binary, pair[1], floor=floor), profile(*specs), 0, Judge())[0]
    assert table["metric"].tolist() == ["mse", "f1", "mcc"]
    # All background finds no bright pixel.
    assert table.set_index("metric").loc["f1", "floor"] == 0
    assert score(recon(*pair), profile(*specs), 0, Judge())[0]["metric"].tolist() == [
        "mse"
    ]


def test_candidates_of_folds_are_counted(pair):
    seen, made = pair
    metric = MetricSpec(name="m", kind="two_way")
    for fold, said in ((list("aabbb"), "2-3"), (list("aaaaa"), "5")):
        table = score(recon(seen, made, fold), profile(metric), 0, Judge())[0]
        assert table.loc[0, "n_candidates"] == said
