"""The command line: options, suggestions, start-up."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from bids_recon import __version__, cli
from bids_recon.errors import UserError
from bids_recon.recipe_file import read_recipe
from bids_recon.settings import SETTING_NAMES, RoiSet


def settings(*arguments):
    return cli.make_settings(["/data", "/out", "participant", *arguments])


def test_version_and_help(capsys):
    for option, words in (("--version", __version__), ("--help", "what is read")):
        with pytest.raises(SystemExit) as caught:
            cli.main([option])
        assert caught.value.code == 0
        assert words in capsys.readouterr().out


def check_alone(code):
    """Run code in a Python of its own, where nothing is imported yet."""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_help_imports_nothing_heavy():
    code = (
        "import sys; from bids_recon.cli import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "heavy = {'numpy', 'pandas', 'bids', 'nilearn', 'torch', 'sklearn', 'yaml', "
        "'pydantic'}\n"
        "sys.exit(', '.join(heavy & set(sys.modules)) or 0)"
    )
    check_alone(code)


def test_a_plan_waits_for_no_library_that_it_does_without(small_dataset, tmp_path):
    code = (
        "import sys; from bids_recon.cli import main\n"
        f"status = main([{str(small_dataset)!r}, {str(tmp_path / 'out')!r}, "
        "'participant', '--roi', 'V=V1', '--dry-run'])\n"
        "heavy = {'nilearn', 'sklearn', 'scipy.stats', 'matplotlib', 'torch'}\n"
        "sys.exit(status or ', '.join(heavy & set(sys.modules)) or 0)"
    )
    check_alone(code)


def test_a_run_without_networks_never_imports_torch(small_dataset, tmp_path):
    code = (
        "import sys; from bids_recon.cli import main\n"
        f"status = main([{str(small_dataset)!r}, {str(tmp_path / 'out')!r}, "
        "'participant', '--roi', 'V=V1'])\n"
        "sys.exit(status or ('torch' in sys.modules))"
    )
    check_alone(code)


def test_every_option_is_a_setting_and_back():
    parser = cli.make_parser()
    options = {action.dest for action in parser._actions} - {
        *("help", "version", "list", "config", "bids_dir", "output_dir", "level")
    }
    assert options == set(SETTING_NAMES)


def test_every_option_is_documented():
    usage = (Path(__file__).parents[1] / "docs" / "usage.md").read_text()
    for action in cli.make_parser()._actions:
        for option in action.option_strings:
            if option.startswith("--") and "_" not in option:
                assert f"`{option}" in usage, option


def test_options_may_be_repeated():
    made = settings("--recipe", "a", "--recipe", "b", "c", "--roi", "V=V1", "W=V2")
    assert made.recipe == ("a", "b", "c")
    assert [roi.name for roi in made.roi_sets] == ["V", "W"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--recipes", "x"], "Did you mean '--recipe'?"),
        (["--particpant-label", "1"], "Did you mean '--participant-label'?"),
        (["--device", "gpu"], "invalid choice: 'gpu'"),
        (["--n-procs", "0"], "expected a number from 1"),
        (["--roi", "=V1"], "NAME=LABEL"),
        (["--roi", "V 1=V1"], "NAME=LABEL"),
        (["--stages", "decoding"], "Did you mean 'decode'?"),
    ],
)
def test_what_is_misspelt_gets_a_suggestion(arguments, words):
    with pytest.raises(UserError) as caught:
        settings(*arguments)
    assert words in str(caught.value)
    assert caught.value.status == 64


def test_a_wrong_level_is_told(capsys):
    assert cli.main(["/data", "/out", "run"]) == 64
    assert "participant" in capsys.readouterr().err


def test_settings_of_a_run_can_be_used_again(tmp_path):
    first = settings("--recipe", "miyawaki2008", "--seed", "7", "--roi", "V=V1+V2")
    path = tmp_path / "settings.yml"
    path.write_text(yaml.safe_dump(first.as_data()))
    again = settings("--config", str(path))
    assert again == first
    assert settings("--config", str(path), "--seed", "8").seed == 8


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("sed: 3", "Did you mean 'seed'?"),
        ("device: gpu", "device: expected 'auto', 'cpu', 'cuda' or 'mps', found 'gpu'"),
        ("n-procs: many", "n_procs: expected a whole number, found 'many'"),
        ("[1, 2]", "expected a mapping"),
        ("a: [", "not valid YAML"),
    ],
)
def test_a_wrong_settings_file_is_told(tmp_path, text, words):
    path = tmp_path / "c.yml"
    path.write_text(text)
    with pytest.raises(UserError) as caught:
        settings("--config", str(path))
    assert words in str(caught.value)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("nam: x", "Did you mean 'name'?"),
        ("name: x", "there is no 'decode'"),
        ("name: x\nextends: eigenimag", "Did you mean 'eigenimage'?"),
        ("extends: eigenimage", "needs a name of its own"),
        ("name: x\nextends: eigenimage\nresponses: {estimater: lss}", "'estimator'?"),
        ("name: x\nextends: eigenimage\nresponses: {standardize: voxel}", "'voxel'"),
        (
            "name: x\nextends: eigenimage\ndecode: {eigenimage: {decodr: ridge}}",
            "'decod",
        ),
        ("name: x\nextends: eigenimage\ngenerate: {strength: 1}", None),
    ],
)
def test_a_wrong_recipe_is_told(tmp_path, text, words):
    path = tmp_path / "mine.yml"
    path.write_text(text)
    if words is None:
        assert read_recipe(str(path)).generate.options["strength"] == 1
        return
    with pytest.raises(UserError) as caught:
        read_recipe(str(path))
    assert words in str(caught.value)
    assert caught.value.status == 64


def test_an_unknown_recipe_gets_a_suggestion():
    with pytest.raises(UserError, match="Did you mean 'miyawaki2008'"):
        read_recipe("miyawaki2009")
    with pytest.raises(UserError, match="no such file"):
        read_recipe("/nowhere/mine.yml")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("generate: {name: inverse, feature: x}", "Did you mean 'features'?"),
        ("generate: {name: inverses}", "Did you mean 'inverse'?"),
        ("generate: {name: inverse, features: pixels}", "which it does not decode"),
    ],
)
def test_a_recipe_whose_methods_do_not_fit_is_told_before_anything_runs(
    small_dataset, tmp_path, run, change, words
):
    path = tmp_path / "mine.yml"
    path.write_text(f"name: mine\nextends: eigenimage\n{change}\n")
    status, said = run(small_dataset, tmp_path / "o", "participant", "--recipe", path)
    assert status == 64
    assert words in said
    assert not (tmp_path / "o").exists()


def test_the_same_recipe_twice_is_told(small_dataset, tmp_path, run):
    options = ("--recipe", "eigenimage", "--recipe", "eigenimage")
    status, said = run(small_dataset, tmp_path / "o", "participant", *options)
    assert status == 64
    assert "Two recipes are called" in said


@pytest.mark.parametrize(
    ("text", "name", "labels"),
    [
        ("V1", "V1", ("V1",)),
        ("V1=V1d+V1v", "V1", ("V1d", "V1v")),
        ("V1d+V1v", "V1dV1v", ("V1d", "V1v")),
        ("ctx-lh-cuneus", "ctxlhcuneus", ("ctx-lh-cuneus",)),
        ("early=Schaefer2018:Vis_*", "early", ("Schaefer2018:Vis_*",)),
    ],
)
def test_a_region_may_go_by_its_own_name(text, name, labels):
    assert RoiSet.parse(text) == RoiSet(name, labels)


@pytest.mark.parametrize("text", ["", "=", "=V1", "a-b=V1", "図=V1", "A:B", "V1="])
def test_a_region_that_cannot_be_named_is_refused(text):
    with pytest.raises(UserError, match="NAME of letters and digits"):
        RoiSet.parse(text)


@pytest.mark.parametrize(
    ("words", "said", "not_said"),
    [
        (["--list"], "takagi2023", "masks"),
        (["--recipe"], "Needs taef2 (5 MB, MIT)", "Regions"),
        (["--roi"], "bids-recon BIDS_DIR --list", "Recipes"),
    ],
)
def test_what_there_is_is_told_without_a_dataset(words, said, not_said, capsys):
    assert cli.main(words) == 0
    out = capsys.readouterr().out
    assert said in out
    assert not_said not in out


def test_the_regions_of_a_dataset_are_told(small_dataset, tmp_path, capsys):
    words = [str(small_dataset), str(tmp_path / "out"), "participant", "--roi"]
    assert cli.main(words) == 0
    assert "masks: V1, V2, V3, ventral" in capsys.readouterr().out
    assert not (tmp_path / "out").exists()
