"""Pictures are found by name and read into one form."""

import os
import struct
import zlib

import numpy as np
import pytest
from PIL import Image
from tifffile import imwrite

from bids_recon.dataset.stimuli import (
    Stimuli,
    common_size,
    load_pictures,
    read_picture,
    save_picture,
)
from bids_recon.errors import UserError
from bids_recon.pictures import open_picture, size_of


def picture(path, size=(12, 10), mode="RGB", value=128):
    path.parent.mkdir(parents=True, exist_ok=True)
    fill = value if mode in ("L", "1", "I;16") else (value,) * len(mode)
    Image.new(mode, size, fill).save(path)
    return path


@pytest.fixture
def folder(tmp_path):
    picture(tmp_path / "stimuli" / "dog" / "dog_12s.jpg")
    picture(tmp_path / "stimuli" / "n03626115_19498.png")
    return tmp_path / "stimuli"


@pytest.mark.parametrize(
    "name",
    ["dog/dog_12s.jpg", "dog/dog_12s", "dog_12s.jpg", "dog_12s", "stimuli/dog/dog_12s"],
)
def test_a_name_may_lack_folder_and_extension(folder, name):
    assert Stimuli(folder).find([name])[name] == folder / "dog" / "dog_12s.jpg"


def test_the_mapping_comes_first(folder, tmp_path):
    mapping = tmp_path / "map.tsv"
    mapping.write_text("stimulus\tfile\n17\tdog/dog_12s.jpg\n")
    found = Stimuli(folder, mapping).find(["17", "n03626115_19498"])
    assert found["17"].name == "dog_12s.jpg"
    assert found["n03626115_19498"].name == "n03626115_19498.png"


def test_missing_pictures_are_counted_and_five_are_named(folder):
    names = [f"lost{number}" for number in range(7)]
    with pytest.raises(UserError, match="7 of 8 pictures") as caught:
        Stimuli(folder).find([*names, "dog_12s"])
    assert "lost0, lost1, lost2, lost3, lost4 and 2 more" in str(caught.value)


@pytest.mark.parametrize("name", ["../secret.png", "/etc/passwd", "dog/../../x.png"])
def test_a_path_cannot_leave_the_folder(folder, name):
    picture(folder.parent / "secret.png")
    with pytest.raises(UserError, match="leaves the folder"):
        Stimuli(folder).find([name])


def test_a_link_cannot_leave_the_folder(folder, tmp_path):
    picture(tmp_path / "secret.png")
    (folder / "link.png").symlink_to(tmp_path / "secret.png")
    with pytest.raises(UserError, match="leads out of"):
        Stimuli(folder).find(["link.png"])


def test_a_link_into_the_annex_of_a_clone_is_followed(folder, tmp_path):
    key = picture(tmp_path / ".git" / "annex" / "objects" / "key.png")
    (folder / "cat.png").symlink_to(key)
    assert Stimuli(folder).find(["cat"])["cat"] == folder / "cat.png"
    key.unlink()
    with pytest.raises(UserError, match="datalad get"):
        Stimuli(folder).find(["cat"])


def test_an_ambiguous_name_is_told(folder):
    picture(folder / "cat" / "dog_12s.jpg")
    with pytest.raises(UserError, match="may be"):
        Stimuli(folder).find(["dog_12s"])


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "CMYK", "1", "P", "LA"])
def test_every_mode_becomes_rgb_between_0_and_1(tmp_path, mode):
    path = tmp_path / ("a.jpg" if mode == "CMYK" else "a.png")
    Image.new("RGB", (6, 5), (255, 0, 0)).convert(mode).save(path)
    values = read_picture(path, (5, 6))
    assert values.shape == (3, 5, 6)
    assert values.dtype == np.float32
    assert values.min() >= 0
    assert values.max() <= 1


def test_transparency_lies_on_white(tmp_path):
    Image.new("RGBA", (4, 4), (0, 0, 0, 0)).save(tmp_path / "clear.png")
    assert (read_picture(tmp_path / "clear.png", (4, 4)) == 1).all()


# A dark picture stays dark: 300 of 65535 is 1.17 of 255, and 1000 is 3.89.
DEEP = np.array([[0, 200, 300, 1000], [128, 129, 1000, 0]], dtype=np.uint16)
SHALLOW = np.array([[0, 1, 1, 4], [0, 1, 4, 0]])


def write_png(path, values, colours):
    """Write 16 bits a value; Pillow cannot where there are colours."""
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    height, width = values.shape[:2]
    header = struct.pack(">IIBBBBB", width, height, 16, colours, 0, 0, 0)
    parts = [(b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    chunks = [
        struct.pack(">I", len(data))
        + name
        + data
        # of the name and what follows it
        + struct.pack(">I", zlib.crc32(name + data))
        for name, data in parts
    ]
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunks))


GREY, RGB, GREY_ALPHA, RGBA = 0, 2, 4, 6


@pytest.mark.parametrize("colours", [GREY, RGB, GREY_ALPHA, RGBA])
def test_sixteen_bits_are_scaled_by_their_depth(tmp_path, colours):
    clear = np.full(DEEP.shape, 65535)
    channels = [DEEP] if colours in (GREY, GREY_ALPHA) else [DEEP, DEEP // 2, DEEP * 3]
    channels += [clear] if colours in (GREY_ALPHA, RGBA) else []
    path = tmp_path / "deep.png"
    write_png(path, np.stack(channels, axis=-1), colours)
    values = (read_picture(path, DEEP.shape) * 255).round()
    np.testing.assert_array_equal(values[0], SHALLOW)
    if colours in (RGB, RGBA):
        # 500 of 65535 is 1.95 of 255, 600 is 2.33, 3000 is 11.67, 384 is 1.49.
        np.testing.assert_array_equal(values[1], [[0, 0, 1, 2], [0, 0, 2, 0]])
        np.testing.assert_array_equal(values[2], [[0, 2, 4, 12], [1, 2, 12, 0]])


@pytest.mark.parametrize(
    ("values", "options", "expected"),
    [
        (DEEP, {}, SHALLOW),
        (DEEP, {"compression": "zlib"}, SHALLOW),
        (DEEP.astype(">u2"), {"byteorder": ">"}, SHALLOW),
        (DEEP, {"photometric": "miniswhite"}, 255 - SHALLOW),
        (DEEP[..., None].repeat(3, 2), {"photometric": "rgb"}, SHALLOW),
        (
            DEEP[..., None].repeat(3, 2),
            {"photometric": "rgb", "compression": "zlib"},
            SHALLOW,
        ),
        ((DEEP / 65535).astype(np.float32), {}, SHALLOW),
        ((DEEP // 4).astype(np.uint8), {}, (DEEP // 4).astype(np.uint8)),
    ],
)
def test_tiffs_are_scaled_by_their_depth(tmp_path, values, options, expected):
    imwrite(tmp_path / "a.tif", values, **options)
    read = (read_picture(tmp_path / "a.tif", DEEP.shape) * 255).round()
    np.testing.assert_array_equal(read, [expected] * 3)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (DEEP.astype(np.float32), "from 0 to 1000"),
        (np.full((2, 2), np.nan, np.float32), "from nan to nan"),
        (DEEP.astype(np.uint32), "32 bits"),
        (DEEP.astype(np.int16), "a sign"),
        (np.stack([DEEP, DEEP]).astype(np.uint8), "holds 2 pictures"),
    ],
)
def test_values_whose_range_nobody_knows_are_told(tmp_path, values, words):
    imwrite(tmp_path / "a.tif", values, photometric="minisblack")
    with pytest.raises(UserError, match=words):
        open_picture(tmp_path / "a.tif")


@pytest.mark.parametrize("name", ["a.gif", "a.png", "a.webp"])
def test_a_film_is_no_picture(tmp_path, name):
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:])
    with pytest.raises(UserError, match="holds 2 pictures, and a trial shows one"):
        open_picture(tmp_path / name)


def test_what_would_start_a_program_is_not_opened(tmp_path, monkeypatch):
    ghost = tmp_path / "bin" / "gs"
    ghost.parent.mkdir()
    ghost.write_text(f"#!/bin/sh\ntouch {tmp_path / 'started'}\n")
    ghost.chmod(0o755)
    monkeypatch.setenv("PATH", str(ghost.parent), prepend=":")
    path = tmp_path / "a.png"
    path.write_text(
        "%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n"
    )
    for read in (open_picture, size_of):
        with pytest.raises(UserError, match="PNG, JPEG, BMP, GIF, TIFF, WEBP, PPM"):
            read(path)
    assert not (tmp_path / "started").exists()


def test_a_picture_that_unpacks_to_too_much_is_told(tmp_path):
    Image.new("1", (30_000, 30_000)).save(tmp_path / "bomb.png")
    with pytest.raises(UserError, match=r"bomb\.png"):
        open_picture(tmp_path / "bomb.png")


def test_a_pipe_is_no_picture(tmp_path):
    os.mkfifo(tmp_path / "a.png")
    with pytest.raises(UserError, match="expected a file, found a pipe"):
        Stimuli(tmp_path).find(["a"])


@pytest.mark.parametrize(
    "name", ["test/plus.png", "test/plus", "other/train/plus.png", "x/plus"]
)
def test_a_folder_that_is_named_is_kept(folder, name):
    picture(folder / "train" / "plus.png")
    with pytest.raises(UserError, match="1 of 1 pictures") as caught:
        Stimuli(folder).find([name])
    assert "There is train/plus.png, in another folder" in str(caught.value)


@pytest.mark.parametrize(
    "name", ["plus.png", "a/plus.png", "stimuli/a/plus.png", "./a//plus", "a\\plus.png"]
)
def test_the_end_of_the_path_is_enough(folder, name):
    picture(folder / "deep" / "a" / "plus.png")
    path = Stimuli(folder).find([name])[name]
    assert path == folder / "deep" / "a" / "plus.png"


def test_the_whole_path_comes_first(folder):
    whole = picture(folder / "plus.png")
    picture(folder / "a" / "plus.png")
    assert Stimuli(folder).find(["plus.png", "plus"]) == {
        "plus.png": whole,
        "plus": whole,
    }


def test_a_number_after_a_dot_is_no_extension(folder):
    one, two = picture(folder / "pic.1.png"), picture(folder / "pic.2.png")
    picture(folder / "pic.png")
    assert Stimuli(folder).find(["pic.1", "pic.2"]) == {"pic.1": one, "pic.2": two}
    with pytest.raises(UserError, match=r"pic\.3"):
        Stimuli(folder).find(["pic.3"])


@pytest.mark.parametrize("name", ["図.png", "l'été & <b>.png", "a b.png", "%s{0}.png"])
def test_names_are_any_text(folder, name):
    path = picture(folder / name)
    assert Stimuli(folder).find([name, path.stem]) == {name: path, path.stem: path}


def test_a_name_that_cannot_be_printed_is_told(folder):
    picture(folder / "a\nb" / "c.png")
    with pytest.raises(UserError, match=r"'a\\nb/c.png' holds characters"):
        Stimuli(folder).find(["c.png"])


def test_a_file_that_is_no_picture_is_told(tmp_path):
    (tmp_path / "a.png").write_text("not a picture")
    with pytest.raises(UserError, match="not a picture that can be read"):
        common_size([tmp_path / "a.png"], 64)


def test_a_truncated_picture_is_told(tmp_path):
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 255, (64, 64, 3), dtype=np.uint8)).save(
        tmp_path / "a.png"
    )
    data = (tmp_path / "a.png").read_bytes()
    (tmp_path / "a.png").write_bytes(data[: len(data) // 2])
    with pytest.raises(UserError, match=r"a\.png"):
        read_picture(tmp_path / "a.png", (64, 64))


def test_size_is_kept_up_to_the_largest(tmp_path):
    rng = np.random.default_rng(0)
    paths = []
    for index in range(2):
        pixels = rng.integers(0, 255, (50, 100, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{index}.png")
        paths.append(tmp_path / f"{index}.png")
    assert common_size(paths, 200) == (50, 100)
    assert common_size(paths, 64) == (32, 64)
    assert common_size([*paths, picture(tmp_path / "c.png", (30, 40))], 64) == (30, 30)


def test_blocks_become_pixels_without_loss(tmp_path):
    pattern = np.array([[0, 255] * 5, [255, 0] * 5] * 5, dtype=np.uint8)
    Image.fromarray(pattern.repeat(8, 0).repeat(8, 1)).save(tmp_path / "a.png")
    size = common_size([tmp_path / "a.png"], 64)
    assert size == (10, 10)
    read = read_picture(tmp_path / "a.png", size)
    np.testing.assert_array_equal(read[0], pattern / 255)


def test_pictures_are_read_once_and_memory_mapped(tmp_path):
    paths = [picture(tmp_path / f"{value}.png", value=value) for value in (0, 255)]
    first = load_pictures(paths, ["x", "y"], (10, 12), tmp_path / "cache")
    assert isinstance(first.values, np.memmap)
    assert first.values.dtype == np.uint8
    assert first.shape == (2, 3, 10, 12)
    paths[0].unlink()
    again = load_pictures(paths, ["x", "y"], (10, 12), tmp_path / "cache")
    np.testing.assert_array_equal(first, again)


def test_what_is_saved_is_read_back(tmp_path):
    rng = np.random.default_rng(0)
    values = (rng.integers(0, 256, (3, 7, 5)) / 255).astype(np.float32)
    save_picture(values, tmp_path / "a.png")
    np.testing.assert_allclose(read_picture(tmp_path / "a.png", (7, 5)), values)


def test_kept_pictures_that_were_changed_are_read_again(tmp_path):
    path = tmp_path / "a.png"
    Image.new("RGB", (4, 4), (255, 0, 0)).save(path)
    first = np.array(load_pictures([path], ["1f"], (4, 4), tmp_path / "kept"))
    (kept,) = (tmp_path / "kept").glob("*.npy")
    data = bytearray(kept.read_bytes())
    data[-1] ^= 0x40
    kept.write_bytes(data)
    again = load_pictures([path], ["1f"], (4, 4), tmp_path / "kept")
    np.testing.assert_array_equal(again, first)
