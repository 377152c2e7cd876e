"""Scoring folders of pictures from any tool."""

import io

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from bids_recon import score
from bids_recon.evaluation import metrics


def save(folder, name, values):
    folder.mkdir(exist_ok=True)
    Image.fromarray((values * 255).round().astype(np.uint8)).save(folder / name)


@pytest.fixture
def folders(tmp_path):
    rng = np.random.default_rng(0)
    for index in range(12):
        seen = rng.integers(0, 256, (20, 16, 3)) / 255
        made = np.clip(seen + 0.2 * rng.standard_normal(seen.shape), 0, 1)
        save(tmp_path / "seen", f"a{index:02d}.png", seen)
        save(tmp_path / "made", f"a{index:02d}.bmp", made)
    return tmp_path / "seen", tmp_path / "made"


@pytest.fixture
def run(capsys):
    def call(*arguments):
        status = score.main([str(argument) for argument in arguments])
        said = capsys.readouterr()
        return status, said.out, said.err

    return call


def table_of(text):
    """Read what was printed, each cell as it stands there."""
    return pd.read_csv(io.StringIO(text), sep="\t", dtype=str, keep_default_na=False)


def test_the_table_is_that_of_the_metrics(folders, tmp_path, run):
    status, out, err = run(*folders, "--out", tmp_path / "scores.tsv")
    assert status == 0, err
    assert (tmp_path / "scores.tsv").read_text() == out
    table = pd.read_csv(tmp_path / "scores.tsv", sep="\t").set_index("metric")
    seen, made = (
        np.stack([np.asarray(Image.open(p)) / 255 for p in sorted(f.iterdir())])
        .astype(np.float32)
        .transpose(0, 3, 1, 2)
        for f in folders
    )
    for name in ("pixel_correlation", "ssim", "mse"):
        expected = getattr(metrics, name)(seen, made).mean()
        assert table.loc[name, "value"] == pytest.approx(expected, rel=1e-4)
    assert table.loc["two_way_identification", "value"] == 1
    assert table.loc["two_way_identification", "n_candidates"] == 12
    assert table["floor"].isna().all()
    assert "12 pictures, seen 20 x 16, reconstructed 20 x 16" in err


def test_the_seed_is_that_of_what_is_drawn(folders, run):
    tables = [run(*folders, "--seed", seed)[1] for seed in (0, 1, 1)]
    assert tables[0] == run(*folders)[1]
    assert tables[1] == tables[2]
    first, second = both = [table_of(text) for text in tables[:2]]
    # The value is not drawn; the interval of every row that has one is.
    same = ["profile", "metric", "value"]
    assert first[same].equals(second[same])
    one, other = (t.set_index("metric").loc["pixel_correlation"] for t in both)
    interval = ["ci_low", "ci_high"]
    assert list(one[interval]) != list(other[interval])
    assert one["chance"] != other["chance"]


def test_reconstructions_of_another_size_are_brought_to_that_of_the_seen(folders, run):
    before = run(*folders)[1]
    for path in folders[1].iterdir():
        Image.open(path).resize((64, 80), Image.Resampling.BILINEAR).save(path)
    status, out, err = run(*folders)
    assert status == 0, err
    assert "seen 20 x 16, reconstructed 80 x 64" in err
    first, again = (float(table_of(text).loc[0, "value"]) for text in (before, out))
    assert again == pytest.approx(first, abs=0.1)


def test_one_picture_is_n_a_where_it_must_be(folders, run):
    for folder in folders:
        for path in sorted(folder.iterdir())[1:]:
            path.unlink()
    status, out, err = run(*folders)
    assert status == 0
    scores = table_of(out).set_index("metric")
    assert scores.loc["two_way_identification", "value"] == "n/a"
    assert "one test picture only" in err


def test_few_pictures_are_exchanged_in_every_way(folders, run):
    for folder in folders:
        for path in sorted(folder.iterdir())[4:]:
            path.unlink()
    status, out, err = run(*folders)
    assert status == 0
    assert "Only 24 pairings of pictures exist" in err
    assert table_of(out).loc[0, "n_permutations"] == "23"


def test_pictures_without_a_partner_are_named(folders, run):
    (folders[1] / "a05.bmp").unlink()
    (folders[1] / "a07.bmp").unlink()
    status, _, err = run(*folders)
    assert status == 65
    assert "2 of 12 pictures of the other folder are not in it: a05, a07" in err
    for index in range(7):
        save(folders[1], f"b{index}.png", np.zeros((4, 4, 3)))
    status, _, err = run(*reversed(folders))
    assert status == 65
    assert "b0, b1, b2, b3, b4 and 2 more" in err


def test_bad_folders_and_pictures_are_told(folders, tmp_path, run):
    assert run(folders[0], tmp_path / "nowhere")[0] == 66
    (tmp_path / "empty").mkdir()
    status, _, err = run(folders[0], tmp_path / "empty")
    assert status == 66
    assert "no picture in it" in err
    save(folders[0], "a00.jpg", np.zeros((4, 4, 3)))
    status, _, err = run(*folders)
    assert status == 65
    assert "same name but for the extension" in err
    (folders[0] / "a00.jpg").unlink()
    (folders[1] / "a02.bmp").write_text("no picture")
    status, _, err = run(*folders)
    assert status == 65
    assert "a02.bmp" in err


def test_an_unknown_profile_is_told(folders, run):
    status, _, err = run(*folders, "--profile", "bids-recom")
    assert status == 64
    assert "Did you mean 'bids-recon'?" in err


def test_constant_pictures_are_counted(folders, run):
    save(folders[1], "a01.png", np.full((20, 16, 3), 0.5))
    (folders[1] / "a01.bmp").unlink()
    status, out, err = run(*folders)
    assert status == 0
    assert "nan" not in out
    assert "1 of 12 reconstructions are constant" in err
