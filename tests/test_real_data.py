"""Real BOLD: the five figures of Yamada et al. (2015)."""

import subprocess

import pandas as pd
import pytest


@pytest.fixture(scope="module")
def reconstructed(shared, tmp_path_factory, command):
    output_dir = tmp_path_factory.mktemp("yamada") / "out"
    arguments = [
        *(shared / "datasets" / "yamada2015", output_dir, "participant"),
        *("--recipe", "miyawaki2008-omp", "--recipe", "eigenimage"),
        *("--roi", "V1=V1d+V1v", "--split", "run"),
    ]
    done = subprocess.run(
        [*command, *map(str, arguments)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return output_dir


@pytest.mark.parametrize(
    ("recipe", "top1"), [("miyawaki2008Omp", 0.95), ("eigenimage", 0)]
)
def test_figures_are_identified(reconstructed, recipe, top1):
    stem = f"sub-S2/recon/sub-S2_task-figure_label-V1_desc-{recipe}"
    metrics = pd.read_csv(reconstructed / f"{stem}_metrics.tsv", sep="\t")
    metrics = metrics.set_index("metric")
    assert len(list((reconstructed / f"{stem}_recon").glob("*.png"))) == 40
    assert metrics.loc["two_way_identification", "value"] >= 0.97
    assert metrics.loc["top1_identification", "value"] >= top1
    assert metrics.loc["top1_identification", "n_candidates"] == 5
    # All 120 pairings of five pictures were tried.
    assert (metrics["n_permutations"] == 119).all()
    assert (
        metrics.loc["patch_accuracy", "value"] > metrics.loc["patch_accuracy", "floor"]
    )


def test_the_report_says_that_pictures_were_learned_on(reconstructed):
    page = (reconstructed / "sub-S2.html").read_text()
    assert "were also learned on, in other trials" in page
    assert "10 x 10 pixels" in page
