"""What comes with the containers agrees with the program, and with itself."""

import json
import re
import shutil
import subprocess
import sys
from configparser import ConfigParser
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import yaml
from packaging.requirements import Requirement

from bids_recon import __version__, cli

ROOT = Path(__file__).parents[1]
CONTAINERS = ROOT / "containers"
DESCRIPTOR = CONTAINERS / "bids-recon.json"


def script(name):
    """A script of the folder, under a name that is no library's."""
    spec = spec_from_file_location(f"containers_{name}", CONTAINERS / f"{name}.py")
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def beside_python(program):
    """A program of this environment."""
    found = Path(sys.executable).with_name(program)
    return str(found if found.is_file() else shutil.which(program))


def test_the_boutiques_descriptor_is_that_of_the_parser():
    expected = script("boutiques").text()
    assert DESCRIPTOR.read_text() == expected, "run: python containers/boutiques.py"


def test_boutiques_takes_the_descriptor():
    command = [beside_python("bosh"), "validate", DESCRIPTOR]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_boutiques_makes_our_command_line(tmp_path):
    invocation = tmp_path / "invocation.json"
    asked = {"participant_label": ["01", "02"], "recipe": ["bayes"], "n_procs": 2}
    places = {"bids_dir": "/data", "output_dir": "/out", "level": "participant"}
    invocation.write_text(json.dumps({**places, **asked, "dry_run": True}))
    command = [beside_python("bosh"), "exec", "simulate", DESCRIPTOR, "-i", invocation]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    line = done.stdout.strip().splitlines()[-1]
    assert line.startswith("mkdir -p /out; bids-recon ")
    settings = cli.make_settings(line.partition("bids-recon ")[2].split())
    assert settings.level == "participant"
    assert settings.participant_label == ("01", "02")
    assert (settings.recipe, settings.n_procs) == (("bayes",), 2)
    assert settings.dry_run


def test_hadolint_has_no_complaint():
    command = [beside_python("hadolint"), ROOT / "Dockerfile"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_both_images_have_the_same_environment():
    docker = re.search(r"^ENV (.*?[^\\])$", dockerfile(), re.MULTILINE | re.DOTALL)
    ours = dict(re.findall(r'(\w+)="([^"]*)"', docker[1]))
    definition = (CONTAINERS / "Singularity.def").read_text()
    theirs = dict(re.findall(r'^    export (\w+)="([^"]*)"$', definition, re.MULTILINE))
    # Apptainer gives the home of whoever runs it.
    assert ours.pop("HOME")
    assert ours.pop("BIDS_RECON_CONTAINER") == "${TAG}"
    assert theirs.pop("BIDS_RECON_CONTAINER") == "{{ TAG }}"
    assert theirs.pop("TORCH_INDEX_URL") == "{{ TORCH_INDEX_URL }}"
    assert ours == theirs


def dockerfile():
    return (ROOT / "Dockerfile").read_text()


def test_what_is_copied_is_there_and_is_let_through():
    let_through = {
        line[1:]
        for line in (ROOT / ".dockerignore").read_text().split()
        if line.startswith("!")
    }
    copied = [
        word
        for line in re.findall(r"^COPY (?!--)(.*)$", dockerfile(), re.MULTILINE)
        for word in line.split()[:-1]
    ]
    assert copied
    for name in copied:
        assert (ROOT / name).exists(), name
        assert name.split("/")[0] in let_through, name


def test_lock_files_hold_what_is_needed_in_versions_that_are_allowed():
    locked = {}
    for lock in ("lock.txt", "lock-torch.txt"):
        text = (CONTAINERS / lock).read_text()
        pins = re.findall(r"^([\w.-]+)==(\S+) \\$", text, re.MULTILINE)
        assert text.count("--hash=sha256:") >= len(pins) > 0
        locked |= {canonical(name): version for name, version in pins}
    config = ConfigParser()
    config.read(ROOT / "setup.cfg")
    for line in config["options"]["install_requires"].split("\n"):
        if line and not line.startswith("#"):
            needed = Requirement(line)
            assert locked.get(canonical(needed.name), "") in needed.specifier, line


def canonical(name):
    return re.sub(r"[-_.]+", "-", name).lower()


def test_the_example_for_babs_asks_for_options_that_exist():
    (path,) = CONTAINERS.glob("eg_bids-recon-*.yaml")
    config = yaml.safe_load(path.read_text())
    known = {o for action in cli.make_parser()._actions for o in action.option_strings}
    arguments = dict(config["bids_app_args"])
    assert arguments.pop("$SUBJECT_SELECTION_FLAG") in known
    assert set(arguments) <= known
    assert any(place.endswith("/stimuli") for place in config["common_paths"])
    words = [word for pair in arguments.items() for word in pair]
    cli.make_settings(["/data", "/out", "participant", *words])


def test_every_place_that_names_the_version_names_this_one():
    cite = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert cite["version"] == __version__
    (path,) = CONTAINERS.glob("eg_bids-recon-*.yaml")
    dashes = __version__.replace(".", "-")
    assert path.stem == f"eg_bids-recon-{dashes}"
    names = yaml.safe_load(path.read_text())["zip_foldernames"]
    assert names == {"bids-recon": dashes}


def test_the_entry_for_the_registry_has_its_fields():
    (entry,) = yaml.safe_load((CONTAINERS / "bids-apps.yml").read_text())
    assert set(entry) == {
        *("gh", "dh", "description", "status", "ds_type", "datatype"),
        *("ci", "branch", "workflow"),
    }


def test_weights_and_atlases_are_fetched_by_name(tmp_path):
    fetch = [sys.executable, str(CONTAINERS / "fetch.py"), "--to", str(tmp_path / "to")]
    done = subprocess.run(fetch, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert {path.name for path in (tmp_path / "to").iterdir()} == {
        *("weights", "templateflow"),
    }
    wrong = [*fetch, "--recipes", "eigenimage tiny-latnet"]
    done = subprocess.run(wrong, capture_output=True, text=True, check=False)
    assert done.returncode == 64
    assert "Did you mean 'tiny-latent'?" in done.stderr
