"""Captions of pictures, pretrained weights, and the machine."""

import json
import os
from hashlib import sha256
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from bids_recon import weights_command
from bids_recon.dataset.captions import find_captions
from bids_recon.errors import UserError
from bids_recon.machine import Machine, in_batches
from bids_recon.weights import (
    Weights,
    check,
    fetch,
    find,
    known_weights,
    provenance_of,
    stamp_of,
    weights_called,
)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "coco").mkdir()
    return tmp_path


@pytest.fixture
def pictures(folder):
    names = ["coco/a.jpg", "coco/b.jpg"]
    return {name: folder / name for name in names}


@pytest.fixture
def trials():
    return pd.DataFrame({"stimulus": ["coco/a.jpg", "coco/b.jpg", "coco/a.jpg"]})


class TestCaptions:
    def test_none_at_all(self, pictures, trials, folder):
        assert find_captions(pictures, trials, folder, None) == {}

    def test_a_column_of_the_events(self, pictures, trials, folder):
        trials["caption"] = ["a dog", " a cat ", "a brown dog"]
        found = find_captions(pictures, trials, folder, None)
        assert found == {
            "coco/a.jpg": ("a dog", "a brown dog"),
            "coco/b.jpg": ("a cat",),
        }

    def test_sidecars(self, pictures, trials, folder):
        (folder / "coco/a.json").write_text('{"Captions": ["one", "two"]}')
        (folder / "coco/b.txt").write_text("three\n\nfour\n")
        found = find_captions(pictures, trials, folder, None)
        assert found == {
            "coco/a.jpg": ("one", "two"),
            "coco/b.jpg": ("three", "four"),
        }

    def test_a_table_beside_the_pictures_or_given(self, pictures, trials, folder):
        text = "stimulus\tcaption\na\tone\ncoco/b.jpg\ttwo\nc\tnobody saw it\n"
        (folder / "captions.tsv").write_text(text)
        found = find_captions(pictures, trials, folder, None)
        assert found == {"coco/a.jpg": ("one",), "coco/b.jpg": ("two",)}
        (folder / "other.tsv").write_text(text.replace("one", "another"))
        found = find_captions(pictures, trials, folder, folder / "other.tsv")
        assert found["coco/a.jpg"] == ("another",)

    def test_cocos_annotations(self, pictures, trials, folder):
        data = {
            "images": [
                {"id": 5, "file_name": "a.jpg"},
                {"id": 9, "file_name": "b.jpg"},
            ],
            "annotations": [
                {"image_id": 9, "caption": "A bird."},
                {"image_id": 5, "caption": "A boat."},
                {"image_id": 5, "caption": "A ship."},
            ],
        }
        path = folder / "captions_val.json"
        path.write_text(json.dumps(data))
        found = find_captions(pictures, trials, folder, path)
        assert found["coco/a.jpg"] == ("A boat.", "A ship.")

    def test_some_without_a_caption_are_told(self, pictures, trials, folder):
        (folder / "coco/a.txt").write_text("one\n")
        with pytest.raises(UserError, match="1 of 2 pictures have no caption: coco/b"):
            find_captions(pictures, trials, folder, None)

    @pytest.mark.parametrize(
        ("text", "told"),
        [
            ("{", "not valid JSON"),
            ("[]", "expected an object"),
            ('{"images": []}', "'annotations' is missing"),
        ],
    )
    def test_files_of_another_form_are_told(self, pictures, trials, folder, text, told):
        path = folder / "x.json"
        path.write_text(text)
        with pytest.raises(UserError, match=told):
            find_captions(pictures, trials, folder, path)


class TestWeights:
    def test_every_entry_says_who_needs_it(self):
        for weights in known_weights().values():
            assert weights.needed_by
            assert weights.licence
            assert weights.size
            assert weights.hub or weights.urls

    def test_several_files_go_into_a_folder_and_are_checked(self, tmp_path):
        sources = [tmp_path / "one.pth", tmp_path / "two.pth"]
        for source in sources:
            source.write_bytes(source.name.encode())
        toy = Weights(
            "toy",
            1,
            "CC0",
            urls=tuple(source.as_uri() for source in sources),
            sha256={"two.pth": "0" * 64},
        )
        to = tmp_path / "to"
        with pytest.raises(UserError, match="not the weights toy"):
            fetch(toy, to)
        # The first one is there, and the second not even in part.
        assert find(toy, to) is None
        assert [path.name for path in (to / "toy").iterdir()] == ["one.pth"]
        good = Weights("toy", 1, "CC0", urls=toy.urls)
        assert fetch(good, to) == to / "toy"
        assert check(good, to) == (to / "toy", False)
        assert "sha256" in provenance_of(good, to / "toy")

    def test_a_hubs_revision_is_found_where_its_client_notes_it(self, tmp_path):
        weights = known_weights()["stable-diffusion-1.4"]
        cached = tmp_path / "models--x" / "snapshots" / "abc123"
        cached.mkdir(parents=True)
        assert provenance_of(weights, cached) == f"{weights.hub} revision abc123"
        fetched = tmp_path / "fetched"
        note = fetched / ".cache" / "huggingface" / "download" / "a.metadata"
        note.parent.mkdir(parents=True)
        note.write_text("def456\netag\n")
        assert provenance_of(weights, fetched) == f"{weights.hub} revision def456"

    def test_a_stamp_tells_files_of_one_name_apart(self, tmp_path):
        for folder in ("unet", "vae"):
            (tmp_path / folder).mkdir()
            (tmp_path / folder / "model.safetensors").write_bytes(b"12345")
        before = stamp_of(tmp_path)
        (tmp_path / "unet" / "model.safetensors").write_bytes(b"123456")
        assert stamp_of(tmp_path) != before

    def test_a_stamp_tells_weights_of_the_same_size_apart(self, tmp_path):
        file = tmp_path / "model" / "one.pth"
        file.parent.mkdir()
        file.write_bytes(b"12345")
        before = stamp_of(file), stamp_of(file.parent)
        file.write_bytes(b"54321")
        os.utime(file, ns=(0, 1))
        assert stamp_of(file) != before[0]
        assert stamp_of(file.parent) != before[1]
        file.write_bytes(b"12345")
        os.utime(file, ns=(0, 2))
        (file.parent / ".cache").mkdir()
        (file.parent / ".cache" / "one.metadata").write_text("fetched today")
        assert (stamp_of(file), stamp_of(file.parent)) == before

    def test_checksums_of_weights_are_remembered_between_runs(self, tmp_path):
        file, memory = tmp_path / "one.pth", tmp_path / "weights.json"
        file.write_bytes(b"12345")
        known = stamp_of(file, memory)
        assert stamp_of(file, memory) == known
        noted = json.loads(memory.read_text())
        assert noted[str(file)][2] == sha256(b"12345").hexdigest()
        # What is remembered is taken, and the file not read.
        noted[str(file)][2] = "another"
        memory.write_text(json.dumps(noted))
        assert stamp_of(file, memory) != known
        os.utime(file, ns=(0, 1))
        assert stamp_of(file, memory) == known

    def test_the_hubs_cache_is_looked_into(self, tmp_path, monkeypatch):
        import huggingface_hub

        root = tmp_path / "models--CompVis--stable-diffusion-v1-4"
        config = root / "snapshots" / "abc" / "unet" / "config.json"
        config.parent.mkdir(parents=True)
        config.write_text("{}")
        (root / "refs").mkdir()
        (root / "refs" / "main").write_text("abc")
        real = huggingface_hub.try_to_load_from_cache
        monkeypatch.setattr(
            huggingface_hub,
            "try_to_load_from_cache",
            lambda *names, **options: real(*names, cache_dir=tmp_path, **options),
        )
        weights = known_weights()["stable-diffusion-1.4"]
        assert find(weights, None) == config.parents[1]

    def test_other_models_by_repository_or_folder(self, tmp_path):
        other = weights_called("owner/model")
        assert other.hub == "owner/model"
        assert find(other, tmp_path) is None
        assert "fetch owner/model" in other.absent
        (tmp_path / "owner--model").mkdir()
        assert find(other, tmp_path) == tmp_path / "owner--model"
        here = tmp_path / "mine"
        here.mkdir()
        assert find(weights_called(str(here)), None) == here
        with pytest.raises(UserError, match="Did you mean 'taef2'"):
            weights_called("taef")

    def test_the_real_autoencoder_is_what_is_known_of_it(self, shared, capsys):
        folder = str(shared / "weights")
        assert weights_command.main(["check", "taef2", "--to", folder]) == 0
        assert str(shared / "weights" / "taef2") in capsys.readouterr().out


class TestMachine:
    def test_a_device_that_is_not_there_says_what_is(self, monkeypatch):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
        with pytest.raises(UserError, match=r"--device cuda.*there is .*cpu"):
            _ = Machine(device="cuda").torch_device
        assert Machine(device="cpu").torch_device.type == "cpu"

    def test_batches_halve_where_memory_runs_out(self):
        sizes = []

        def function(items):
            sizes.append(len(items))
            if len(items) > 3:
                raise torch.OutOfMemoryError("CUDA out of memory")
            return items * 2

        found = np.concatenate([p for _, p in in_batches(function, np.arange(10), 10)])
        np.testing.assert_array_equal(found, 2 * np.arange(10))
        assert sizes == [10, 5, 2, 2, 2, 2, 2]

    def test_not_even_one_fits(self):
        def function(items):
            raise MemoryError

        with pytest.raises(UserError, match="memory is used up"):
            list(in_batches(function, np.arange(4), 4))

    def test_other_errors_are_not_taken_for_it(self):
        def function(items):
            raise RuntimeError("shapes do not match")

        with pytest.raises(RuntimeError, match="shapes"):
            list(in_batches(function, np.arange(4), 4))

    def test_batches_fit_the_memory_given(self):
        assert Machine(mem_mb=1000).batch_size(10) == 50
        assert Machine(mem_mb=1).batch_size(10) == 1

    def test_absent_weights_are_one_sentence(self, tmp_path, monkeypatch):
        monkeypatch.setenv("TORCH_HOME", str(tmp_path))
        with pytest.raises(UserError) as told:
            Machine(weights_dir=tmp_path).weights("vdvae-imagenet64")
        for words in ("vdvae-imagenet64", "500 MB", "MIT", "fetch vdvae-imagenet64"):
            assert words in told.value.message


def test_the_toys_lie_where_real_weights_would(toy_weights):
    for name in ("taef2", "vdvae-imagenet64", "clip-vit-l-14", "versatile-diffusion"):
        path = find(known_weights()[name], toy_weights)
        assert path is not None
        assert Path(path).parent == toy_weights
