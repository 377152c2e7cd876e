"""Features of pretrained networks: computed once, whoever saw the pictures."""

import logging
import re
import shutil
import subprocess
import sys
import threading

import numpy as np
import pytest
import torch

from bids_recon.features.latent import Latent
from bids_recon.features.network import Network
from bids_recon.machine import Machine
from bids_recon.pictures import Pictures
from bids_recon.simulate.dataset import Experiment, simulate_dataset
from bids_recon.stages.decode import features
from bids_recon.stages.decode.features import Gallery

KEYS = tuple("abcdefg")


@pytest.fixture
def machine(toy_weights):
    return Machine("cpu", toy_weights)


@pytest.fixture
def kept(tmp_path, caplog):
    """Return the features of some of seven pictures, and how many were computed."""
    caplog.set_level(logging.INFO, logger="bids_recon")
    rng = np.random.default_rng(0)
    values = rng.integers(0, 256, (len(KEYS), 3, 16, 16), dtype=np.uint8)

    def of(names, space, together=()):
        rows = np.array([KEYS.index(name) for name in names])
        pictures = Pictures(values, rows)
        caplog.clear()
        gallery = Gallery(
            pictures, (), tmp_path / "kept", tuple(names), together=together
        )
        found = np.asarray(gallery.targets(space, np.arange(len(names))))
        np.testing.assert_allclose(found, space.encode(pictures), atol=1e-5)
        said = re.findall(r": (\d+) of (\d+) to compute", caplog.text)
        return [int(part[0]) for part in said]

    return of


def test_what_another_participant_saw_is_not_computed_again(kept, machine, tmp_path):
    space = Latent(machine=machine)
    assert kept("abcd", space) == [4]
    assert kept("abcd", space) == []
    # In another order, and some others.
    assert kept("dbac", space) == [0]
    assert kept("gdbe", space) == [2]
    assert kept("edgf", space) == [1]
    assert len(list((tmp_path / "kept").glob("*.npy"))) == 4
    assert not list((tmp_path / "kept").glob("unfinished-*"))


def test_other_settings_and_sizes_share_nothing(kept, machine):
    assert kept("ab", Latent(machine=machine)) == [2]
    assert kept("ab", Latent(side=24, machine=machine)) == [2]


def test_weights_that_were_trained_again_in_place_are_others(
    kept, toy_weights, tmp_path
):
    folder = shutil.copytree(toy_weights, tmp_path / "weights")
    machine = Machine("cpu", folder)
    space = Network("conv1", "squeezenet1-1", side=32, machine=machine)
    path = machine.weights("squeezenet1-1")
    state, sizes = torch.load(path, weights_only=True), []
    for factor in (1, 2):
        torch.save({name: factor * values for name, values in state.items()}, path)
        sizes.append(path.stat().st_size)
        assert kept("abc", space) == [3]
    assert sizes[0] == sizes[1]


def test_another_version_of_the_program_computes_anew(kept, machine, monkeypatch):
    space = Latent(machine=machine)
    assert kept("abc", space) == [3]
    monkeypatch.setattr(features, "__version__", "1000")
    assert kept("abc", space) == [3]
    assert kept("abc", space) == []


def test_layers_of_one_encoder_are_shared_together(kept, machine):
    layers = tuple(
        Network(layer, "squeezenet1-1", side=32, machine=machine)
        for layer in ("conv1", "fire2")
    )
    assert kept("abc", layers[0], layers) == [3]
    assert kept("abc", layers[1], layers) == []
    assert kept("bcd", layers[1], layers) == [1]
    assert kept("bcd", layers[0], layers) == []


def test_a_file_that_was_changed_is_not_taken_over(kept, machine, tmp_path):
    space = Latent(machine=machine)
    kept("abc", space)
    (path,) = (tmp_path / "kept").glob("*.npy")
    data = bytearray(path.read_bytes())
    data[-3] ^= 0x40
    path.write_bytes(data)
    assert kept("abd", space) == [3]
    assert kept("abc", space) == [1]


class EndedError(Exception):
    """What ends a computation."""


def test_what_was_begun_goes_on(kept, machine):
    one_by_one = Machine("cpu", machine.weights_dir, mem_mb=1)

    def batches(self, pictures):
        for number, part in enumerate(Latent.batches(self, pictures)):
            if number == 2:
                raise EndedError
            yield part

    ending = type("Latent", (Latent,), {"batches": batches})(machine=one_by_one)
    assert kept("ab", Latent(machine=machine)) == [2]
    with pytest.raises(EndedError):
        kept("abcdef", ending)
    assert kept("abcdef", Latent(machine=machine)) == [2]


@pytest.fixture
def layers(machine):
    """Two layers of one encoder, which are computed at once."""
    return tuple(
        Network(layer, "squeezenet1-1", side=32, machine=machine)
        for layer in ("conv1", "fire2")
    )


def stopped(layer, before):
    """Return a layer that sees one picture at a time, and calls ``before`` each."""

    def batches_of(spaces, pictures):
        for row in range(len(pictures)):
            before(row)
            own = Network.batches_of(spaces, pictures[row : row + 1])
            for _, found in own:
                yield slice(row, row + 1), found

    kind = type("Network", (Network,), {"batches_of": staticmethod(batches_of)})
    return kind(layer.layer, layer.encoder, side=layer.side, machine=layer.machine)


def ending(layers, number):
    """Return the first of some layers, and all, of which that many rows are made."""

    def before(row):
        if row == number:
            raise EndedError

    first = stopped(layers[0], before)
    return first, (first, *layers[1:])


def test_groups_that_overlap_each_go_on_where_they_were(kept, layers):
    one, other = layers
    with pytest.raises(EndedError):
        kept("abcdef", *ending(layers, 4))
    with pytest.raises(EndedError):
        kept("abcdef", *ending([other], 1))
    assert kept("abcdef", one, layers) == [2]
    assert kept("abcdef", other, layers) == []


def test_a_file_that_was_finished_alone_is_left_as_it_is(kept, layers):
    one, other = layers
    with pytest.raises(EndedError):
        kept("abcdef", *ending(layers, 4))
    assert kept("abcdef", other) == [2]
    assert kept("abcdef", one, layers) == [2]
    assert kept("abcdef", other, layers) == []


def test_a_file_whose_note_was_lost_is_begun_anew(kept, layers, tmp_path):
    one, other = layers
    with pytest.raises(EndedError):
        kept("abcdef", *ending(layers, 4))
    for note in (tmp_path / "kept").glob("unfinished-*.json"):
        note.unlink()
        break
    assert kept("abcdef", one, layers) == [6]
    assert kept("abcdef", other, layers) == []


@pytest.mark.parametrize("shared", [0, 1])
def test_jobs_whose_groups_overlap_wait_for_each_other(kept, layers, shared):
    # The second job begins in the midst of the first, which goes on as soon as the
    # second waits or has ended.
    waits, second = threading.Event(), []

    class Heard(logging.Handler):
        def emit(self, record):
            if "Another run is at work" in record.getMessage():
                waits.set()

    def run():
        try:
            kept("abcd", layers[shared])
        finally:
            waits.set()

    def before(row):
        if row == 2 and not second:
            second.append(threading.Thread(target=run))
            second[0].start()
            waits.wait()

    heard = Heard()
    logging.getLogger("bids_recon").addHandler(heard)
    first = stopped(layers[1 - shared], before)
    kept("abcd", first, (first, layers[shared]))
    second[0].join()
    logging.getLogger("bids_recon").removeHandler(heard)
    for layer in layers:
        kept("abcd", layer, layers)


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """Two participants who saw the same 12 photographs."""
    folder = tmp_path_factory.mktemp("two") / "dataset"
    simulate_dataset(
        folder,
        Experiment(
            "photographs", n_participants=2, n_runs=2, n_pictures=12, noise=0.2, seed=3
        ),
    )
    return folder


def test_the_second_participant_encodes_nothing(two, toy_weights, tmp_path):
    command = [
        *(sys.executable, "-m", "bids_recon", two, tmp_path / "out", "participant"),
        *("--recipe", "tiny-latent", "--weights-dir", toy_weights, "--roi", "V1"),
        *("--split", "kfold:3", "--device", "cpu", "--n-procs", "1"),
    ]

    def start(*options):
        return subprocess.Popen(
            [*map(str, [*command, *options])], stderr=subprocess.PIPE, text=True
        )

    # Both at once: one of them computes, and the other waits for it.
    both = [start("--participant-label", label) for label in ("01", "02")]
    said = [process.communicate()[1] for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    computed = re.findall(r"features Latent-\S+: (\d+) of 12 to compute", "".join(said))
    assert computed == ["12"]
    work = tmp_path / "out" / "work"
    assert len(list((work / "features").glob("Latent-*.npy"))) == 1
    assert len(list((work / "pictures").glob("*.npy"))) == 1
