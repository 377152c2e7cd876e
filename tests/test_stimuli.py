"""Pictures are found by name and read into one form."""

import numpy as np
import pytest
from PIL import Image

from bids_recon.dataset.stimuli import (
    Stimuli,
    common_size,
    load_pictures,
    read_picture,
    save_picture,
)
from bids_recon.errors import UserError


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


def test_sixteen_bit_grey_keeps_its_range(tmp_path):
    values = np.full((4, 4), 65535, dtype=np.uint16)
    Image.fromarray(values).save(tmp_path / "deep.png")
    assert (read_picture(tmp_path / "deep.png", (4, 4)) == 1).all()


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
    assert isinstance(first, np.memmap)
    assert first.shape == (2, 3, 10, 12)
    paths[0].unlink()
    again = load_pictures(paths, ["x", "y"], (10, 12), tmp_path / "cache")
    np.testing.assert_array_equal(first, again)


def test_what_is_saved_is_read_back(tmp_path):
    rng = np.random.default_rng(0)
    values = (rng.integers(0, 256, (3, 7, 5)) / 255).astype(np.float32)
    save_picture(values, tmp_path / "a.png")
    np.testing.assert_allclose(read_picture(tmp_path / "a.png", (7, 5)), values)
