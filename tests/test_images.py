"""Images whose header or bytes are not what they should be are told, not read."""

import gzip

import nibabel as nib
import numpy as np
import pytest

from bids_recon.dataset.checksums import Checksums
from bids_recon.dataset.images import open_image, read_volume, read_volumes
from bids_recon.errors import UserError

SHAPE = (4, 5, 6)


def image(path, dtype=np.float32, shape=SHAPE, affine=None):
    rng = np.random.default_rng(0)
    if np.dtype(dtype).fields:
        data = np.zeros(shape, dtype)
    else:
        data = (rng.random(shape) * 100).astype(dtype)
    affine = np.diag([2.0, 2, 2, 1]) if affine is None else affine
    nib.Nifti1Image(data, affine, dtype=dtype).to_filename(path)
    return path


def patched(path, **fields):
    """Change fields of a header without nibabel's care."""
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "rb") as stream:
        data = bytearray(stream.read())
    header = np.frombuffer(data, nib.nifti1.header_dtype, 1).copy()
    for name, value in fields.items():
        header[name][0] = value
    data[: header.nbytes] = header.tobytes()
    with opener(path, "wb") as stream:
        stream.write(bytes(data))
    return path


@pytest.fixture(params=["a.nii", "a.nii.gz"])
def path(request, tmp_path):
    return tmp_path / request.param


@pytest.mark.parametrize(
    ("dtype", "words"),
    [
        (np.complex64, "complex numbers"),
        (np.complex128, "complex numbers"),
        (np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")]), "colours"),
    ],
)
def test_a_voxel_holds_one_number(path, dtype, words):
    image(path, dtype)
    with pytest.raises(UserError, match=words):
        open_image(path)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"dim": [3, 4, 0, 6, 1, 1, 1, 1]}, "no voxel"),
        ({"dim": [3, 30000, 30000, 30000, 1, 1, 1, 1]}, "30000 x 30000 x 30000"),
        ({"scl_slope": np.inf}, "scaled by infinity"),
        ({"scl_inter": -np.inf, "scl_slope": 1}, r"scaled by infinity|invalid inter"),
        ({"sform_code": 1, "srow_x": [np.nan] * 4}, "cannot be inverted"),
        ({"sform_code": 1, "srow_x": [0] * 4}, "cannot be inverted"),
        ({"datatype": 9999}, "not a readable NIfTI image"),
        ({"xyzt_units": 255}, "not a readable NIfTI image"),
        ({"vox_offset": np.nan}, "not a readable NIfTI image"),
        ({"magic": b"none"}, "not a readable NIfTI image"),
        ({"dim": [9, 4, 5, 6, 1, 1, 1, 1]}, r"not a readable|no voxel|promises"),
    ],
)
def test_a_header_that_cannot_be_is_told(path, fields, words):
    patched(image(path), **fields)
    with pytest.raises(UserError, match=words) as caught:
        open_image(path)
    assert path.name in str(caught.value)


@pytest.mark.parametrize("slope", [0, np.nan])
def test_no_slope_means_values_as_they_are(path, slope):
    expected = nib.load(image(path, np.int16)).get_fdata()
    patched(path, scl_slope=slope, scl_inter=0)
    np.testing.assert_array_equal(read_volume(path)[0], expected)


def test_slope_and_intercept_are_used(path):
    expected = nib.load(image(path, np.int16)).get_fdata() * 2 + 1
    patched(path, scl_slope=2, scl_inter=1)
    np.testing.assert_array_equal(read_volume(path)[0], expected)


def test_an_image_of_another_kind_is_told(tmp_path):
    nib.MGHImage(np.zeros(SHAPE, np.float32), np.eye(4)).to_filename(tmp_path / "a.mgz")
    with pytest.raises(UserError, match="MGHImage"):
        open_image(tmp_path / "a.mgz")


def damaged(path):
    """Change a byte in the middle so that it still unpacks, to other values."""
    before = path.read_bytes()
    whole = gzip.decompress(before)
    # Stored as they are, bytes stand in the file one by one.
    packed = bytearray(gzip.compress(whole, compresslevel=0))
    packed[len(packed) // 2] ^= 0xFF
    path.write_bytes(packed)
    with pytest.raises(gzip.BadGzipFile, match="CRC"):
        gzip.decompress(bytes(packed))


def test_damage_that_still_unpacks_is_told_by_the_checksum(tmp_path):
    path = image(tmp_path / "mask.nii.gz", shape=(40, 50, 60))
    read_volume(path)
    damaged(path)
    with pytest.raises(UserError, match="checksum at its end"):
        read_volume(path)


def test_damaged_bold_is_told_before_it_is_used(tmp_path):
    path = image(tmp_path / "bold.nii.gz", shape=(*SHAPE, 40))
    store = Checksums(tmp_path / "known.json")
    known = store.of({"bold": path})
    damaged(path)
    # What nibabel reads is not what was written, and it says nothing.
    read_volumes(path, np.ones(SHAPE, dtype=bool))
    for again in (store, Checksums(tmp_path / "known.json"), Checksums(None)):
        with pytest.raises(UserError, match="checksum at its end"):
            again.of({"bold": path})
    path = image(path, shape=(*SHAPE, 40))
    assert Checksums(None).of({"bold": path}) == known
