"""Files of others, broken in every way: sentences with file and key, all at once."""

import json
from importlib.resources import files
from pathlib import Path
from typing import get_args

import nibabel as nib
import numpy as np
import pytest
import yaml
from bids.layout import Query
from bids.layout.models import Config
from nilearn.interfaces.fmriprep.load_confounds import ALL_CONFOUNDS

from bids_recon import cli
from bids_recon.dataset.derivatives import camel_case, check_distinct, output_path
from bids_recon.dataset.filters import ENTITIES, entity_called, read_filters
from bids_recon.dataset.layout import Run
from bids_recon.dataset.metadata import read_times
from bids_recon.documents import MOST_BYTES, parse_yaml, read_json, yaml_text
from bids_recon.errors import Status, UserError
from bids_recon.evaluation.profiles import profile_names, profile_of
from bids_recon.plan.methods import KINDS, whole_recipe
from bids_recon.recipe_file import recipe_names
from bids_recon.recipe_schema import Confounds
from bids_recon.registry import build, load, options_of
from bids_recon.schema import Finding, Table, checked, refusal
from bids_recon.settings import SETTING_NAMES, Settings

REMOVE = object()
BROKEN = [
    *(None, [], {}, "x", -1, 1.5, float("inf"), float("nan"), True),
    *([[["x"]]], {"unknown": 1}, REMOVE),
]
WRONG = [
    *(None, [], {}, "", "x", "../x", "false", True, False, -1, 0, 10**40, 1.5),
    *(-1e308, float("inf"), float("nan"), [[["x"]]], {"unknown": 1}, ["a", "a"]),
    *([None], "a\0b", "x" * 300, "図", REMOVE),
]


def bomb(width=10, depth=9):
    """Aliases of aliases: a thousand million entries in 400 characters."""
    lines = [f"a0: &a0 [{', '.join('1' * width)}]"]
    for level in range(depth):
        aliases = ", ".join([f"*a{level}"] * width)
        lines.append(f"a{level + 1}: &a{level + 1} [{aliases}]")
    return "\n".join(lines)


def nodes(data, path=()):
    """Yield the keys that lead to every place in data."""
    pairs = data.items() if isinstance(data, dict) else enumerate(data)
    for key, value in pairs:
        yield (*path, key)
        if isinstance(value, dict | list):
            yield from nodes(value, (*path, key))


def changed(data, path, value):
    """Return a copy of data with another value at a place."""
    copy = json.loads(json.dumps(data))
    place = copy
    for key in path[:-1]:
        place = place[key]
    if value is REMOVE:
        del place[path[-1]]
    else:
        place[path[-1]] = value
    return copy


def as_yaml(data):
    return yaml.dump(data, Dumper=yaml.CSafeDumper, allow_unicode=True)


def packaged(name):
    resource = files("bids_recon").joinpath("recipes", f"{name}.yml")
    return yaml.safe_load(resource.read_text())


def problem(make, *arguments):
    """Return what is said of something wrong, or ``None`` where nothing is."""
    try:
        make(*arguments)
    except UserError as error:
        return error
    return None


class TestYaml:
    @pytest.mark.parametrize(
        ("text", "words"),
        [
            (bomb(), "unfold"),
            ("a: &a [*a]", "an alias of what it stands in"),
            ("a: " + "[" * 5000, "inside one another"),
            ("a: " + "{b: " * 100 + "1" + "}" * 100, "inside one another"),
            ("a: 1\na: 2", "the key 'a' stands twice (line 2, column 1)"),
            ("a: !!python/object/apply:os.system [ls]", "'!!python/object/apply"),
            ("a: !!set {b}", "the tag '!!set' is not understood"),
            ("a: !!bool b", "neither true nor false"),
            ("a: !!int b", "no number"),
            ("a: !!map [1]", "expected a mapping"),
            ("a: " + "1" * 5000, "no number that can be used"),
            ("? [1]\n: 2", "a key that is no text"),
            ('a: "\\ud800"', "half a letter"),
            ("a: [", "not valid YAML"),
            ("a: 1\n--- \nb: 1", "another document"),
            ("- 1", "found a list"),
            ("", "found nothing"),
            ("<<: 3", "merging"),
        ],
    )
    def test_what_is_refused(self, text, words):
        with pytest.raises(UserError) as caught:
            parse_yaml(text, "some.yml")
        assert str(caught.value).startswith("some.yml: ")
        assert words in str(caught.value)

    def test_a_bomb_is_never_unfolded(self):
        # It would be 100 to the power of 51 entries.
        with pytest.raises(UserError, match="unfold"):
            parse_yaml(bomb(width=100, depth=50), "some.yml")

    def test_files_that_are_too_large_or_none(self, tmp_path):
        path = tmp_path / "c.yml"
        path.write_text(f"seed: 1 #{'x' * MOST_BYTES}")
        with pytest.raises(UserError, match="larger than 256 kB"):
            settings(path)
        path.write_bytes(b"\xff\xfes")
        with pytest.raises(UserError, match="UTF-8"):
            settings(path)
        with pytest.raises(UserError, match="found a folder"):
            settings(tmp_path)

    def test_values_are_what_people_mean(self):
        text = "a: 1e-3\nb: 01\nc: 2020-01-01\non: 1:30\nd: -2\ne: .5\nf: yes\ng: ~"
        assert parse_yaml(text, "") == {
            **{"a": 1e-3, "b": "01", "c": "2020-01-01", "on": "1:30"},
            **{"d": -2, "e": 0.5, "f": True, "g": None},
        }

    def test_aliases_and_merges_still_serve(self):
        text = "a: &a {x: 1, y: 2}\nb: {<<: *a, y: 3}\nc: *a"
        assert parse_yaml(text, "")["b"] == {"x": 1, "y": 3}
        assert parse_yaml(text, "")["c"] == {"x": 1, "y": 2}

    @pytest.mark.parametrize("label", ["01", "12e4", "1e5", "yes", "1", ".5", "null"])
    def test_what_is_written_is_read_again(self, label):
        assert parse_yaml(yaml_text({"a": [label]}), "") == {"a": [label]}


class TestJson:
    @pytest.mark.parametrize(
        ("text", "words"),
        [
            ("[]", "found a list"),
            ("null", "found nothing"),
            ("3", "found a number"),
            ('{"a": NaN}', "NaN is no number in JSON"),
            ('{"a": 1, "a": 2}', "the key 'a' stands twice"),
            ("[" * 100_000, "inside one another"),
            ('{"a":' * 100_000, "inside one another"),
            ('{"a": 1' + "0" * 5000 + "}", "5001 digits"),
            ('{"a": "\\ud800"}', "half a letter"),
            ("", "not valid JSON"),
        ],
    )
    def test_what_is_refused(self, tmp_path, text, words):
        path = tmp_path / "x.json"
        path.write_text(text)
        with pytest.raises(UserError) as caught:
            read_json(path, "file", Status.BAD_DATA)
        assert str(path) in str(caught.value)
        assert words in str(caught.value)
        assert caught.value.status == 65


class Inner(Table):
    size: int = 1
    kinds: tuple[str, ...] = ()


class Outer(Table):
    inner: Inner = Inner()
    many: dict[str, Inner | None]
    either: str | float


class TestSentences:
    def test_all_findings_at_once_with_file_and_key(self):
        data = {
            "innner": 1,
            "inner": {"size": "5", "kind": 3},
            "many": {"a": {"kinds": ["x", 3]}, "b": 3, "c": {"sizes": 1}},
            "either": [1],
        }
        with pytest.raises(UserError) as caught:
            checked(Outer, data, "my.yml")
        assert set(str(caught.value).split("\n")) == {
            "my.yml: there is no setting 'innner'. Did you mean 'inner'?",
            "my.yml, inner: there is no setting 'kind'. Did you mean 'kinds'?",
            "my.yml, inner: size: expected a whole number, found '5'.",
            "my.yml, many: a: kinds: 1: expected text, found 3.",
            "my.yml, many: b: expected a mapping, found 3.",
            "my.yml, many: c: there is no setting 'sizes'. Did you mean 'size'?",
            "my.yml, either: expected text or a number, found a list of 1.",
        }

    def test_hundreds_of_findings_are_counted(self):
        findings = [Finding(("a", n), "wrong") for n in range(100)]
        lines = str(refusal(findings, "x.yml")).split("\n")
        assert len(lines) == 21
        assert lines[-1] == "x.yml: 80 more like these."

    @pytest.mark.parametrize("value", [True, "1", float("nan"), float("inf"), None])
    def test_only_finite_numbers_are_numbers(self, value):
        with pytest.raises(UserError):
            checked(float, value, "x")
        assert checked(float, 1, "x") == 1.0


MINE = "name: mine\nextends: eigenimage\n"


class TestRecipes:
    @pytest.mark.parametrize(
        ("text", "words"),
        [
            ("pictures: {max_size: 0}", "pictures: max_size: expected a number from 1"),
            ("pictures: {max_size: 1.5}", "max_size: expected a whole number"),
            ("pictures: {max_size: 100000}", "expected a number up to 4096"),
            ("pictures: null", "pictures: expected a mapping, found null"),
            ("decode: []", "decode: expected a mapping, found an empty list"),
            ("decode: {eigenimage: null}", "at least one feature space"),
            (
                "decode: {eigenimage: {decoder: {name: ridge, alpha: high}}}",
                "decode: eigenimage: decoder: alpha is per-target",
            ),
            (
                "decode: {eigenimage: {decoder: {coefficients: 'false'}}}",
                "decode: eigenimage: decoder: coefficients: expected true or false, "
                "found 'false'",
            ),
            (
                "decode: {eigenimage: {decoder: {alphas: [1, x]}}}",
                "decode: eigenimage: decoder: alphas: 1: expected a number, found 'x'",
            ),
            (
                "decode: {eigenimage: {voxels: {name: f_value, k: -5}}}",
                "decode: eigenimage: voxels: k is at least 1, not -5",
            ),
            ("decode: {eigenimage: {voxels: f_valu}}", "Did you mean 'f_value'?"),
            ("decode: {eigenimage: {rescale: 3}}", "rescale: expected 'train', 't"),
            ("decode: {eigenimage: {beside: edges}}", "beside: expected a list"),
            ("decode: {eigenimage: {beside: [edges]}}", "beside: the decoder 'ridge'"),
            ("decode: {../x: {features: pixels}}", "decode: ../x: expected a name"),
            ("decode: {图: {features: pixels}}", "at most 60 letters of A to Z"),
            (f"decode: {{{'x' * 61}: {{features: pixels}}}}", "at most 60 letters"),
            ("decode: {Eigenimage: {features: pixels}}", "upper and lower case only"),
            ("responses: {estimator: lsss}", "responses: estimator: There is no"),
            ("responses: {estimator: {name: lss, high_pass: .nan}}", "found NaN"),
            ("responses: {estimator: {name: lss, drift_order: -1}}", "drift_order"),
            ("responses: {confounds: [motions]}", "confounds: 0: expected 'motion'"),
            ("responses: {confounds: compcor}", "compcor needs high_pass"),
            ("responses: {confounds: [motion, motion]}", "found one twice"),
            (
                "responses: {average_repeats: {train: 'false'}}",
                "responses: average_repeats: train: expected true or false",
            ),
            ("responses: {immediate_repeats: 1}", "expected true or false, found 1"),
            ("evaluate: {recovery: 'no'}", "evaluate: recovery: expected true or"),
            ("evaluate: {profiles: [mindey]}", "Did you mean 'mindeye'?"),
            ("cite: [[a]]", "cite: 0: expected text, found a list of 1"),
            ("description: [a]", "description: expected text"),
            ("generate: {name: inverse, features: [x]}", "generate: features:"),
            ("generate: 3", "generate: expected the name of a generator"),
            ("generate: {name: 3}", "generate: expected the name of a generator"),
            ("generate: {name: inverse, feature: x}", "Did you mean 'features'?"),
            ("extends: 3", "extends: expected the name of a recipe"),
        ],
    )
    def test_a_broken_recipe_is_told(self, tmp_path, text, words):
        path = tmp_path / "mine.yml"
        start = "name: mine\n" if text.startswith("extends") else MINE
        path.write_text(start + text)
        with pytest.raises(UserError) as caught:
            whole_recipe(str(path))
        assert words in str(caught.value)
        assert all(line.startswith(str(path)) for line in str(caught.value).split("\n"))
        assert caught.value.status == 64

    def test_all_of_a_recipe_is_told_at_once(self, tmp_path):
        path = tmp_path / "mine.yml"
        path.write_text(
            f"{MINE}picturs: {{}}\nresponses: {{standardize: voxel, estimator: lzz}}\n"
            "decode: {eigenimage: {decoder: {alpha: true, alphas: x}, voxels: 3}}"
        )
        with pytest.raises(UserError) as caught:
            whole_recipe(str(path))
        lines = str(caught.value).split("\n")
        assert len(lines) == 6
        for key in ("alpha:", "alphas:", "voxels:", "standardize:", "estimator:"):
            assert any(key in line for line in lines)

    @pytest.mark.parametrize(
        "name", ["../x", "a/b", "a\\b", ".x", " ", "a\nb", "-", "x ", "[a]", "true"]
    )
    def test_names_that_are_paths_or_no_names(self, tmp_path, name):
        path = tmp_path / "mine.yml"
        path.write_text(yaml_text({"extends": "eigenimage", "name": name}))
        if name in ("-", "[a]", "true"):
            assert whole_recipe(str(path)).name == name
            return
        with pytest.raises(UserError, match="name: expected"):
            whole_recipe(str(path))

    @pytest.mark.parametrize("name", ["図", "x" * 300, "My ridge (v2)", "2024"])
    def test_names_that_work(self, tmp_path, name):
        path = tmp_path / "mine.yml"
        path.write_text(f"extends: eigenimage\nname: {name}\n")
        assert whole_recipe(str(path)).name == name

    def test_a_recipe_that_extends_itself(self, tmp_path):
        a, b = tmp_path / "a.yml", tmp_path / "b.yml"
        a.write_text(f"name: a\nextends: {a}\n")
        with pytest.raises(UserError, match=r"extends itself, a\.yml > a\.yml"):
            whole_recipe(str(a))
        a.write_text(f"name: a\nextends: {b}\n")
        b.write_text(f"name: b\nextends: {a}\n")
        with pytest.raises(UserError, match=r"itself, a\.yml > b\.yml > a\.yml"):
            whole_recipe(str(a))

    def test_a_recipe_that_extends_a_broken_one_names_that_one(self, tmp_path):
        a, b = tmp_path / "a.yml", tmp_path / "b.yml"
        a.write_text(f"name: a\nextends: {b}\n")
        b.write_text("decode: {}\n")
        with pytest.raises(UserError) as caught:
            whole_recipe(str(a))
        assert f"{b}: there is no 'name'." in str(caught.value)

    @pytest.mark.parametrize(
        ("decode", "generate", "words"),
        [
            ("clip-vision: {}", "{name: inverse, features: clip-vision}", "way back"),
            ("pixels: {}", "{name: local_combination, features: pixels}", "patches"),
            (
                "latent: {}, pixels: {}",
                "{name: stable-diffusion, text: pixels}",
                "no features of captions",
            ),
        ],
    )
    def test_features_that_a_generator_cannot_use(
        self, tmp_path, decode, generate, words
    ):
        path = tmp_path / "mine.yml"
        path.write_text(f"name: x\ndecode: {{{decode}}}\ngenerate: {generate}\n")
        with pytest.raises(UserError, match=words):
            whole_recipe(str(path))

    def test_a_mean_that_is_not_predicted_cannot_be_rescaled_about(self, tmp_path):
        path = tmp_path / "mine.yml"
        step = "features: {n_components: 0.9}, decoder: {name: ridge, intercept: %s}"
        for intercept, how in (("true", "train"), ("false", "transductive")):
            own = f"{step % intercept}, rescale: {how}"
            path.write_text(f"{MINE}decode: {{eigenimage: {{{own}}}}}\n")
            assert whole_recipe(str(path)).name == "mine"
        own = f"{step % 'false'}, rescale: train"
        path.write_text(f"{MINE}decode: {{eigenimage: {{{own}}}}}\n")
        with pytest.raises(UserError, match="decode: eigenimage: rescale: train takes"):
            whole_recipe(str(path))

    def test_confounds_are_those_of_nilearn(self):
        assert {*get_args(Confounds), "non_steady_state"} == set(ALL_CONFOUNDS)

    @pytest.mark.parametrize("name", recipe_names())
    def test_a_recipe_broken_anywhere_is_told_or_works(self, tmp_path, name):
        data = {**packaged(name), "name": "mine", "description": "short"}
        path = tmp_path / "mine.yml"
        for place in [(), *nodes(data)]:
            for value in BROKEN if place else [{**data, "unknown": 1}]:
                other = changed(data, place, value) if place else value
                path.write_text(as_yaml(other))
                found = problem(whole_recipe, str(path))
                assert found is None or found.status == 64
                assert found is None or str(path) in str(found)
                assert "expected another value" not in str(found)


def wrong_for(kind):
    for name in KINDS[kind]:
        for option in options_of(load(KINDS[kind], kind, name)).model_fields:
            yield pytest.param(kind, name, option, id=f"{name}-{option}")


@pytest.mark.parametrize(
    ("kind", "name", "option"), [case for kind in KINDS for case in wrong_for(kind)]
)
def test_every_option_of_every_method_refuses_what_it_cannot_use(kind, name, option):
    values = (*WRONG[:-1], [1, "x"], [-1], [float("nan")], object, 10**9, 1e-300)
    found = [
        problem(build, KINDS[kind], kind, name, {option: value}) for value in values
    ]
    refused = [error for error in found if error is not None]
    assert all(error.status == 64 and name in str(error) for error in refused)
    # What fits a number fits no text, and the other way round.
    assert len(refused) >= 12


@pytest.mark.parametrize(
    ("kind", "name", "options"),
    [
        ("feature space", "eigenimage", {"n_components": 2.5}),
        ("feature space", "edges", {"orientations": 0}),
        ("feature space", "local_contrast", {"scales": [1, 1]}),
        ("feature space", "latent", {"weights": "taesq"}),
        ("feature space", "latent", {"weights": "/nowhere/at/all"}),
        ("feature space", "vdvae", {"n_layers": 76}),
        ("feature space", "vdvae", {"architecture": {"widht": 3}}),
        ("feature space", "vdvae", {"architecture": {"width": "x"}}),
        ("feature space", "vdvae", {"architecture": {"decoder_blocks": "8x9999999"}}),
        ("decoder", "ridge", {"n_folds": 1}),
        ("decoder", "ridge", {"alphas": []}),
        ("decoder", "encoding_inversion", {"components": [2]}),
        ("decoder", "encoding_inversion", {"penalties": []}),
        ("decoder", "encoding_inversion", {"temperatures": [1e300]}),
        ("decoder", "sgd", {"batch_size": 0}),
        ("decoder", "sgd", {"learning_rate": 1e300}),
        ("decoder", "sparse", {"n_nonzero": 0}),
        ("decoder", "sparse_logistic", {"C": 0}),
        ("voxel selection", "reliability", {"k": 0}),
        ("response estimator", "window", {"lag": 1e9}),
        ("generator", "stable-diffusion", {"side": 100}),
        ("generator", "stable-diffusion", {"steps": 1001}),
        ("generator", "versatile-diffusion", {"guidance": -1}),
        ("generator", "versatile-diffusion", {"init": None, "fixed_init": "x.png"}),
    ],
)
def test_values_out_of_range_are_refused(kind, name, options):
    with pytest.raises(UserError) as caught:
        build(KINDS[kind], kind, name, options)
    words = (*options, "weights", "blocks")
    assert any(word in str(caught.value) for word in words)


def settings(path, *more) -> Settings:
    arguments = ["/data", "/out", "participant", "--config", str(path), *more]
    return cli.make_settings(arguments)


class TestSettingsFiles:
    @pytest.mark.parametrize(
        ("text", "words"),
        [
            ("seed: x", "seed: expected a whole number, found 'x'"),
            ("seed: 1.5", "seed: expected a whole number, found 1.5"),
            ("seed: true", "seed: expected a whole number, found true"),
            ("n-procs: 0", "n_procs: expected a number from 1, found 0"),
            ("dry-run: 'false'", "dry_run: expected true or false, found 'false'"),
            ("offline: 1", "offline: expected true or false, found 1"),
            ("stimuli: [a]", "stimuli: expected a path, found a list of 1"),
            ("stimuli: 3", "stimuli: expected a path, found 3"),
            ('stimuli: "a\\0b"', "stimuli: expected a path"),
            ("participant_label: [yes]", "expected text, found true"),
            ("participant_label: [1.5]", "participant_label: 0: expected text"),
            ("recipe: {a: 1}", "recipe: expected text, found a mapping with a"),
            ("stages: [decoding]", "stages: 0: expected 'responses'"),
            ("trials: 3", "trials: expected text"),
            ("space: ''", "space: expected text"),
            ("n-procs: 1\nn_procs: 2", "are one setting"),
            ("config: x", "there is no setting 'config'"),
            (bomb(), "unfold"),
        ],
    )
    def test_a_broken_settings_file_is_told(self, tmp_path, text, words):
        path = tmp_path / "c.yml"
        path.write_text(text)
        with pytest.raises(UserError) as caught:
            settings(path)
        assert words in str(caught.value)
        assert str(path) in str(caught.value)
        assert caught.value.status == 64

    def test_all_of_it_is_told_at_once(self, tmp_path):
        path = tmp_path / "c.yml"
        path.write_text("seed: x\nn-procs: 0\nspaec: T1w\nstimuli: [1]")
        with pytest.raises(UserError) as caught:
            settings(path)
        assert len(str(caught.value).split("\n")) == 4

    def test_labels_may_be_numbers_and_keep_their_zeros(self, tmp_path):
        path = tmp_path / "c.yml"
        path.write_text("participant_label: [1, 02, '03']\nrun-id: 4\ntask_id: rest")
        made = settings(path)
        assert made.participant_label == ("1", "02", "03")
        assert made.run_id == ("4",)
        assert made.task_id == ("rest",)

    def test_null_and_nothing_leave_the_default(self, tmp_path):
        path = tmp_path / "c.yml"
        path.write_text("recipe: []\nstages: null\nseed: null\noffline: null")
        assert settings(path) == cli.make_settings(["/data", "/out", "participant"])

    def test_paths_are_made_absolute_as_on_the_command_line(self, tmp_path):
        path = tmp_path / "c.yml"
        path.write_text("stimuli: pictures\nwork_dir: ~/w")
        made = settings(path)
        assert made.stimuli == Path.cwd() / "pictures"
        assert made.work_dir == Path.home() / "w"

    @pytest.mark.parametrize("name", SETTING_NAMES)
    def test_an_option_of_any_value_is_told_or_works(self, tmp_path, name):
        path = tmp_path / "c.yml"
        for value in (*WRONG[:-1], [1, 2], [[1]], {"a": {"b": [1]}}, "V=V1", 1):
            path.write_text(as_yaml({name: value}))
            found = problem(settings, path)
            assert found is None or found.status == 64
            assert found is not None or hash(getattr(settings(path), name)) is not None


class TestFilters:
    def read(self, tmp_path, text):
        path = tmp_path / "filter.json"
        path.write_text(text)
        return read_filters(path)

    @pytest.mark.parametrize(
        ("text", "words"),
        [
            ("[]", "found a list"),
            ("null", "found nothing"),
            ('{"bold": null}', "bold: expected a mapping, found null"),
            ('{"bald": {}}', "Did you mean 'bold'?"),
            ('{"bold": {"ech": 1}}', "there is no entity 'ech'. Did you mean 'echo'?"),
            ('{"bold": {"return_type": "id"}}', "no entity 'return_type'"),
            ('{"bold": {"sub": "02"}}', "--participant-label"),
            ('{"bold": {"res": true}}', "bold: res: expected text, found true"),
            ('{"bold": {"res": []}}', "bold: res: expected 1 or more entries"),
            ('{"bold": {"res": {"a": 1}}}', "found a mapping with a"),
            ('{"bold": {"res": "Query.SOME"}}', "there is no 'Query.SOME'"),
            ('{"bold": {"res": 1, "resolution": 2}}', "are one entity"),
            ('{"bold": {"ech": 1, "res": 1.5}, "bald": 1}', "bold: res: expected text"),
        ],
    )
    def test_a_broken_filter_file_is_told(self, tmp_path, text, words):
        with pytest.raises(UserError) as caught:
            self.read(tmp_path, text)
        assert words in str(caught.value)
        assert "filter.json" in str(caught.value)
        assert caught.value.status == 64

    def test_entities_by_all_their_names(self, tmp_path):
        text = (
            '{"bold": {"ses": 1, "acq": null, "resolution": ["2", "*"], "desc": "x"}}'
        )
        entities = self.read(tmp_path, text).of("bold")
        assert entities == {
            **{"session": ["1"], "acquisition": [Query.NONE]},
            **{"res": ["2", Query.ANY], "desc": ["x"]},
        }

    def test_every_entity_of_pybids_is_found_by_its_prefix(self):
        for kind in ("bids", "derivatives"):
            for entity in Config.load(kind).entities.values():
                assert entity_called(entity.name) == entity.name
                prefix = entity.pattern.split("-(")[0].rsplit("]+")[-1]
                if prefix.isalnum():
                    assert entity_called(prefix) == entity.name
        for names in ENTITIES.items():
            assert len({entity_called(name) for name in names}) == 1

    def test_what_fmriprep_knows_and_is_not_read_is_left_out_and_said(
        self, small_dataset, tmp_path, run
    ):
        path = tmp_path / "fmriprep.json"
        fmriprep = {
            "bold": {"datatype": "func", "suffix": "bold", "task": ["digits"]},
            "t1w": {"datatype": "anat", "session": None, "suffix": "T1w"},
            "sbref": {"datatype": "func", "suffix": "sbref"},
            "events": {"suffix": "events"},
            "roi": {"suffix": "mask"},
        }
        path.write_text(json.dumps(fmriprep))
        options = ("--roi", "V=V1", "--dry-run", "--bids-filter-file", path)
        status, said = run(small_dataset, tmp_path / "o", "participant", *options)
        assert status == 0, said
        assert "filters of t1w, sbref were left out" in said
        assert "runs: 2, in space" in said


class TestProfiles:
    def text(self, **changes):
        data = {
            **{"name": "mine", "version": 1, "describes": "x", "source": "y"},
            **{"max_size": 64, "samples": "first", "prepare": [{"engine": "seen"}]},
            "metrics": {"mse": {"kind": "mse"}},
        }
        return yaml.safe_dump({**data, **changes}, allow_unicode=True)

    @pytest.mark.parametrize(
        ("changes", "words"),
        [
            ({"version": "one"}, "version: expected a whole number, found 'one'"),
            ({"sample": 1}, "Did you mean 'samples'?"),
            ({"metrics": {}}, "metrics: expected 1 or more entries"),
            ({"metrics": [1]}, "metrics: expected a mapping"),
            ({"metrics": {"a": 3}}, "metrics: a: expected a mapping, found 3"),
            ({"metrics": {"a": {"kind": "msee"}}}, "metrics: a: kind: expected"),
            (
                {"metrics": {"a": {"kind": "lpips"}}},
                "metrics: a: lpips needs a network",
            ),
            (
                {"metrics": {"a": {"kind": "two_way", "network": "alexnet"}}},
                "needs a layer",
            ),
            (
                {"metrics": {"a": {"kind": "mse", "prepare": [{"engine": "pil"}]}}},
                "metrics: a: prepare: 0: the size of pil is at least 1",
            ),
        ],
    )
    def test_a_broken_profile_is_told(self, changes, words):
        with pytest.raises(UserError) as caught:
            profile_of(self.text(**changes), "profile mine")
        assert words in str(caught.value)
        assert "profile mine" in str(caught.value)

    @pytest.mark.parametrize("name", profile_names())
    def test_a_profile_broken_anywhere_is_told_or_works(self, name):
        resource = files("bids_recon.evaluation").joinpath("profiles", f"{name}.yml")
        data = yaml.safe_load(resource.read_text())
        for place in nodes(data):
            if len(place) > 2 and place[1] != next(iter(data["metrics"])):
                continue
            for value in BROKEN:
                found = problem(
                    profile_of, as_yaml(changed(data, place, value)), "p.yml"
                )
                assert found is None or "p.yml" in str(found)
                assert "expected another value" not in str(found)


class TestSidecars:
    def times(self, metadata, zoom=2.0):
        image = nib.Nifti1Image(np.zeros((1, 1, 1, 2), np.float32), np.eye(4))
        image.header.set_xyzt_units("mm", "sec")
        image.header["pixdim"][4] = zoom
        run = Run({}, Path("sub-01_bold.nii.gz"), None, None, None, metadata)
        return read_times(run, image.header)

    @pytest.mark.parametrize(
        ("metadata", "words"),
        [
            ({"RepetitionTime": float("nan")}, "expected a finite number, found NaN"),
            ({"RepetitionTime": -2}, "RepetitionTime: expected a number from 0.01"),
            ({"RepetitionTime": 2000}, "RepetitionTime: expected a number up to 60"),
            ({"RepetitionTime": "2"}, "RepetitionTime: expected a number, found '2'"),
            ({"RepetitionTime": [2]}, "expected a number, found a list of 1"),
            ({"RepetitionTime": True}, "expected a number, found true"),
            ({"StartTime": 1e9}, "StartTime: expected a number up to 60"),
            ({"StartTime": 3}, "StartTime: expected at most the 2 s"),
            ({"StartTime": -1}, "StartTime: expected a number from 0"),
            ({"StartTime": float("nan")}, "expected a finite number, found NaN"),
            ({"StartTime": "x"}, "StartTime: expected a number, found 'x'"),
            (
                {"StartTime": "x", "RepetitionTime": "y"},
                "RepetitionTime: expected a number, found 'y'",
            ),
        ],
    )
    def test_times_that_are_none_are_told(self, metadata, words):
        with pytest.raises(UserError) as caught:
            self.times(metadata)
        assert words in str(caught.value)
        assert "sub-01_bold.nii.gz" in str(caught.value)
        assert caught.value.status == 65

    def test_times_as_fmriprep_writes_them(self):
        slices = {"SliceTiming": [0, 1], "StartTime": 1.0, "RepetitionTime": 2.0}
        assert self.times(slices) == (2.0, 1.0)
        assert self.times({"StartTime": None}) == (2.0, 0.0)

    @pytest.mark.parametrize("zoom", [float("nan"), 2000.0, 1e-9])
    def test_a_header_that_cannot_be(self, zoom):
        with pytest.raises(UserError, match="its header says"):
            self.times({}, zoom)

    @pytest.mark.parametrize("text", ["[]", "null", "3", '"x"', "{", "[" * 100_000])
    def test_a_sidecar_that_is_none(self, dataset, tmp_path, run, text):
        bold = next(dataset.glob("derivatives/fmriprep/**/*run-01*bold.nii.gz"))
        path = bold.with_name(bold.name.replace(".nii.gz", ".json"))
        path.write_text(text)
        options = ("--roi", "V=V1", "--dry-run")
        status, said = run(dataset, tmp_path / "o", "participant", *options)
        assert status == 65
        assert str(path) in said

    @pytest.mark.parametrize("where", [".", "derivatives/fmriprep"])
    @pytest.mark.parametrize("more", [(), ("--skip-bids-validation",)])
    @pytest.mark.parametrize("text", ["[]", "null", '"Name"', "[" * 100_000])
    def test_a_description_that_is_none(
        self, dataset, tmp_path, run, where, more, text
    ):
        path = dataset / where / "dataset_description.json"
        path.write_text(text)
        options = ("--roi", "V=V1", "--dry-run", *more)
        status, said = run(dataset, tmp_path / "o", "participant", *options)
        assert status == 16
        assert str(path) in said


class TestNames:
    @pytest.mark.parametrize(
        ("name", "form"),
        [
            *(("brain-diffuser", "brainDiffuser"), ("my_ridge", "myRidge")),
            *(("aB", "aB"), ("V1 V2", "V1V2"), ("bücher 2", "bCher2"), ("1.5", "15")),
        ],
    )
    def test_names_that_worked_stay(self, name, form):
        assert camel_case(name) == form

    @pytest.mark.parametrize("name", ["図", "絵", "---", "ü", "x" * 300, "x" * 299])
    def test_other_names_get_a_form_of_their_own(self, name):
        form = camel_case(name)
        assert form.isascii()
        assert form.isalnum()
        assert len(form) <= 70
        assert camel_case(form) == form
        others = {"図", "絵", "---", "ü", "x" * 300, "x" * 299} - {name}
        assert form not in {camel_case(other) for other in others}

    def test_one_name_in_two_spellings_of_unicode_is_one(self):
        assert camel_case("\u0451\u0451") == camel_case("\u0435\u0308\u0435\u0308")

    @pytest.mark.parametrize("kind", ["recon", "decoder", "figure", "mask"])
    def test_names_of_files_stay_short(self, tmp_path, kind):
        entities = {"label": "図" * 300, "desc": "a " * 300}
        if kind == "mask":
            del entities["desc"]
        more = {"suffix": "metrics"} if kind == "figure" else {}
        path = output_path(tmp_path, kind, subject="01", task="x", **entities, **more)
        assert len(path.name.encode()) < 220

    @pytest.mark.parametrize(
        "names", [("a", "a"), ("my-ridge", "my_ridge"), ("aB", "a-b"), ("ab", "AB")]
    )
    def test_names_that_would_share_files_are_refused(self, names):
        with pytest.raises(UserError, match="Two recipes are called"):
            check_distinct("recipes", names)
        check_distinct("recipes", ("a", "b"))

    def test_recipes_of_one_form_are_refused(self, small_dataset, tmp_path, run):
        for name in ("my-ridge", "my_ridge"):
            text = f"name: {name}\nextends: eigenimage\n"
            (tmp_path / f"{name}.yml").write_text(text)
        recipes = ("--recipe", tmp_path / "my-ridge.yml", tmp_path / "my_ridge.yml")
        status, said = run(small_dataset, tmp_path / "o", "participant", *recipes)
        assert status == 64
        assert "Two recipes are called 'my-ridge' and 'my_ridge'" in said
        assert not (tmp_path / "o").exists()

    def test_two_sets_of_regions_of_one_name_are_refused(
        self, small_dataset, tmp_path, run
    ):
        options = ("--roi", "V=V1", "v=V2")
        status, said = run(small_dataset, tmp_path / "o", "participant", *options)
        assert status == 64
        assert "Two sets of --roi are called 'V' and 'v'" in said

    @pytest.mark.parametrize("names", [("f", "f"), ("my-f", "my_f")])
    def test_two_derivatives_of_one_name_are_refused(
        self, small_dataset, tmp_path, run, names
    ):
        folders = ("fmriprep", "rois")
        given = [
            f"{name}={small_dataset / 'derivatives' / folder}"
            for name, folder in zip(names, folders, strict=True)
        ]
        status, said = run(small_dataset, tmp_path / "o", "participant", "-d", *given)
        assert status == 64
        assert "Two --derivatives are called" in said

    def test_a_recipe_without_any_letter_of_a_to_z_runs(
        self, small_dataset, tmp_path, run
    ):
        recipe = tmp_path / "mine.yml"
        recipe.write_text("name: 図\nextends: eigenimage\n")
        options = ("--roi", "V=V1", "--split", "kfold:2", "--recipe", recipe)
        output = tmp_path / "o"
        status, said = run(small_dataset, output, "participant", *options)
        assert status == 0, said
        pictures = f"sub-01/recon/*_desc-{camel_case('図')}_recon/*.png"
        assert len(list(output.glob(pictures))) == 24
