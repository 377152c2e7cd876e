"""Pictures as bytes: what they give, in blocks of any size, and what they take."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.decomposition import PCA

from bids_recon.dataset.stimuli import (
    equal_to_any,
    is_grey,
    load_pictures,
    read_picture,
)
from bids_recon.evaluation import metrics
from bids_recon.evaluation.chance import of_pairs
from bids_recon.evaluation.judge import Judge, PictureFiles, Prepared
from bids_recon.evaluation.profiles import MetricSpec, Step
from bids_recon.evaluation.spurious import Decodings, nearest_training, zero_shot
from bids_recon.features.components import principal_components
from bids_recon.features.eigenimage import Eigenimage

SIZES = [(12, 10), (9, 7)]
"""The size of the files, and one that they are brought to."""


@pytest.fixture
def paths(tmp_path):
    rng = np.random.default_rng(0)
    paths = [tmp_path / f"{row}.png" for row in range(7)]
    for path in paths:
        pixels = rng.integers(0, 256, (12, 10, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(path)
    return paths


@pytest.fixture(params=[1, 2**10, 2**22])
def any_block(request, monkeypatch):
    """Blocks of one picture, of a few, and of all."""
    for place in ("pictures", "evaluation.chance"):
        monkeypatch.setattr(f"bids_recon.{place}.BLOCK_VALUES", request.param)
    return request.param


def stored(paths, size, folder):
    return load_pictures(paths, [path.name for path in paths], size, folder)


@pytest.mark.parametrize("size", SIZES)
def test_bytes_give_what_the_files_give(paths, tmp_path, size, any_block):
    pictures = stored(paths, size, tmp_path)
    expected = np.stack([read_picture(path, size) for path in paths])
    assert pictures.values.dtype == np.uint8
    np.testing.assert_array_equal(np.asarray(pictures), expected)
    np.testing.assert_array_equal(np.stack(list(pictures)), expected)
    np.testing.assert_array_equal(pictures[[4, 1, 1]], expected[[4, 1, 1]])
    np.testing.assert_array_equal(pictures[2:][1::2], expected[2:][1::2])
    np.testing.assert_array_equal(pictures.mean(), expected.mean(axis=0))
    assert np.asarray(pictures).dtype == pictures.mean().dtype == np.float32
    assert pictures.shape == expected.shape


def test_one_file_serves_participants_who_saw_the_same(paths, tmp_path):
    first = stored(paths, SIZES[0], tmp_path / "kept")
    again = stored(paths, SIZES[0], tmp_path / "kept")
    assert first.values.filename == again.values.filename
    # A byte a value, and the header of the array.
    assert Path(first.values.filename).stat().st_size == 7 * 3 * 12 * 10 + 128


def test_what_is_told_of_pictures_is_told_in_blocks_of_any_size(
    paths, tmp_path, any_block
):
    pictures = stored(paths, SIZES[0], tmp_path)
    near = np.clip(np.asarray(pictures)[[5, 0]] + 0.005, 0, 1)
    others = np.random.default_rng(1).random((3, *near.shape[1:]), dtype=np.float32)
    found = equal_to_any(np.concatenate([others, near]), pictures)
    assert found.tolist() == [False, False, False, True, True]
    assert not is_grey(pictures)
    assert is_grey(np.repeat(others[:, :1], 3, axis=1))


def test_an_eigenimage_is_that_of_all_pictures_at_once(paths, tmp_path, any_block):
    pictures = stored(paths, SIZES[0], tmp_path)
    whole = np.asarray(pictures, dtype=np.float64)
    flat = whole.reshape(len(whole), -1)
    space = Eigenimage(4).fit(pictures)
    pca = PCA(4, svd_solver="full").fit(flat)
    np.testing.assert_allclose(space.components_, pca.components_, atol=1e-10)
    np.testing.assert_allclose(space.encode(pictures), pca.transform(flat), atol=1e-5)
    left = flat - pca.inverse_transform(pca.transform(flat))
    np.testing.assert_allclose(space.left_out_, (left**2).mean(axis=0), atol=1e-12)
    same = Eigenimage(4).fit(whole)
    np.testing.assert_allclose(same.components_, space.components_, atol=1e-10)


@pytest.mark.parametrize("shape", [(20, 60), (60, 20), (30, 30)])
@pytest.mark.parametrize("wanted", [0.5, 0.99, 3, 200])
def test_components_are_those_of_scikit_learn(shape, wanted):
    rng = np.random.default_rng(0)
    flat = rng.random(shape) * np.linspace(0.1, 1, shape[1]) + 5
    most = min(shape[0] - 1, shape[1])
    pca = PCA(min(wanted, most), svd_solver="full").fit(flat)
    found = principal_components(flat, wanted)
    assert found.shape == pca.components_.shape
    np.testing.assert_allclose(found, pca.components_, atol=1e-8)


def test_rows_that_span_little_have_few_components():
    rng = np.random.default_rng(0)
    flat = rng.random((15, 3)) @ rng.random((3, 40))
    found = principal_components(flat, 14)
    assert found.shape == (3, 40)
    np.testing.assert_allclose(found @ found.T, np.eye(3), atol=1e-10)
    assert not principal_components(np.ones((4, 5)), 0.9).any()


@pytest.mark.parametrize(
    "step",
    [Step(engine="seen"), Step(engine="pil", size=6), Step(engine="tensor", size=6)],
)
def test_metrics_in_blocks_are_those_of_all_pictures_at_once(
    paths, tmp_path, step, any_block
):
    judge, size = Judge(), SIZES[0]
    spec = MetricSpec(name="m", kind="mse", prepare=(step,))
    seen, own = np.asarray(stored(paths, size, tmp_path)), np.array([6, 0, 3, 3, 1])
    seen = judge.prepare(seen, spec, size)
    made = PictureFiles([paths[row] for row in (1, 2, 3, 4, 5)])
    found = of_pairs(metrics.mse, seen, Prepared(judge, made, spec, size), own)
    whole = judge.prepare(made, spec, size)
    np.testing.assert_array_equal(found, metrics.mse(seen[own], whole))
    similar = metrics.correlation_matrix(seen, Prepared(judge, made, spec, size))
    np.testing.assert_array_equal(similar, metrics.correlation_matrix(seen, whole))


@pytest.mark.parametrize("at_a_time", [1, 4, 100])
def test_ranks_among_training_pictures_in_blocks(at_a_time, monkeypatch):
    rng = np.random.default_rng(0)
    decoded, true, training = (rng.random((n, 6)) for n in (9, 9, 30))
    fold = Decodings(decoded, true, training, np.arange(9), np.repeat("a", 9))
    monkeypatch.setattr("bids_recon.evaluation.spurious.AT_A_TIME", at_a_time)
    to_training = np.corrcoef(decoded, training)[:9, 9:]
    to_true = np.corrcoef(decoded, true)[np.arange(9), np.arange(9, 18)]
    expected = 1 + (to_training > to_true[:, None]).sum(axis=1)
    np.testing.assert_array_equal(zero_shot(fold), expected)
    nearest = 1 - np.corrcoef(true, training)[:9, 9:].max(axis=1)
    np.testing.assert_allclose(nearest_training(fold), nearest)


MEASURED = """
import json, resource, sys
from pathlib import Path
import numpy as np
from bids_recon.features.eigenimage import Eigenimage
from bids_recon.pictures import Pictures
from bids_recon.dataset.stimuli import equal_to_any, is_grey
values = np.load(sys.argv[1], mmap_mode="r")
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
pictures = Pictures.of(values)
is_grey(pictures), pictures.mean(), equal_to_any(pictures[:9], pictures)
space = Eigenimage(3).fit(pictures[:60])
space.encode(pictures)
after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(json.dumps([before, after]))
"""


def test_memory_does_not_grow_with_the_number_of_pictures(tmp_path):
    # As float32 these are 1.2 GB.
    values = np.lib.format.open_memmap(
        tmp_path / "p.npy", "w+", np.uint8, (1000, 3, 320, 320)
    )
    values[:60] = np.random.default_rng(0).integers(0, 256, values[:60].shape)
    values.flush()
    del values
    done = subprocess.run(
        [sys.executable, "-c", MEASURED, tmp_path / "p.npy"],
        capture_output=True,
        check=True,
    )
    before, after = json.loads(done.stdout)
    assert after - before < 400_000
