"""An epoch of each neural decoder at the shape of NSD's early visual cortex.

10,631 voxels in three regions, 8,859 trials, 6,400 targets, all mapped from disk. The
loop is compared with the same network learning from one batch that lies ready: what is
beyond is reading, and keeping count. On a CPU some batches are timed and an epoch is
extrapolated; on a CUDA GPU 100 epochs are trained.

Run: python tests/benchmarks/training.py [n_batches] [decoder ...]
"""

import resource
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from bids_recon.datatypes import Targets
from bids_recon.decoders import DECODERS
from bids_recon.decoders.batches import Batches, scales_of
from bids_recon.decoders.network import NetworkDecoder
from bids_recon.decoders.training import Training, loss_of, mixed_precision
from bids_recon.machine import Machine
from bids_recon.registry import build
from bids_recon.rois import GRAPHS
from bids_recon.rois.graphs import make_graph

N_TRIALS, N_TARGETS = 8859, 6400
SIZES = (4308, 2916, 3407)

OPTIONS = {"gcn": {}, "cnn": {}, "vae": {}, "cluster-attention": {}}
ON_CPU = {"cnn": {"batch_size": 8}, "cluster-attention": {"batch_size": 32}}
"""Smaller batches, whose activations fit into a few GB."""


def written(folder: Path) -> tuple[np.ndarray, Targets]:
    """Write random responses and targets, and map them."""
    rng = np.random.default_rng(0)
    mapped = []
    for name, n_columns in (("X", sum(SIZES)), ("Y", N_TARGETS)):
        path = folder / f"{name}.npy"
        shape = (N_TRIALS, n_columns)
        array = np.lib.format.open_memmap(path, "w+", np.float32, shape)
        for start in range(0, N_TRIALS, 1000):
            part = array[start : start + 1000]
            part[:] = rng.standard_normal(part.shape, dtype=np.float32)
        array.flush()
        del array
        mapped.append(np.load(path, mmap_mode="r"))
    return mapped[0], Targets(mapped[1], np.arange(N_TRIALS))


def prepared(
    name: str, X: np.ndarray, Y: Targets, machine: Machine
) -> tuple[NetworkDecoder, torch.nn.Module, Batches]:
    """Return a decoder, its network and its batches, as ``fit`` makes them."""
    on_cpu = ON_CPU.get(name, {}) if machine.torch_device.type == "cpu" else {}
    decoder = build(DECODERS, "decoder", name, OPTIONS[name] | on_cpu, machine)
    train = np.arange(N_TRIALS)
    decoder.shape_ = np.array([N_TARGETS])
    decoder.x_mean_, decoder.x_scale_ = scales_of(X, train)
    decoder.y_mean_, decoder.y_scale_ = scales_of(Y, train, shared=True)
    if name == "gcn":
        measured = np.array([[1, 0.8, 0.7], [0.8, 1, 0.8], [0.7, 0.8, 1.0]])
        members = np.split(np.arange(sum(SIZES)), np.cumsum(SIZES)[:-1])
        how = build(GRAPHS, "graph", "nearest", {})
        xyz = np.zeros((sum(SIZES), 3))
        graph = make_graph(measured, how, ("V1", "V2", "V34"), members, xyz)
        for part in ("edge_index", "edge_weight", "voxels", "sizes"):
            setattr(decoder, f"{part}_", getattr(graph, part).numpy())
    if name == "cluster-attention":
        # Which cluster a voxel is in does not change the time.
        decoder.cluster_ = np.arange(sum(SIZES)) % decoder.n_clusters
    network = decoder._network().to(machine.torch_device)
    batches = Batches(
        X,
        Y,
        decoder.x_mean_,
        decoder.x_scale_,
        decoder.y_mean_,
        decoder.y_scale_,
        machine.torch_device,
    )
    return decoder, network, batches


def waited(device: torch.device) -> float:
    """Return the time when all that was asked of a device is done."""
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


def main() -> None:
    """Print seconds of an epoch, the share of reading and the ratio to the peer."""
    n_batches = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    names = sys.argv[2:] or list(OPTIONS)
    machine = Machine()
    device = machine.torch_device
    print(f"{device.type}, {torch.get_num_threads()} threads")
    with tempfile.TemporaryDirectory() as folder:
        X, Y = written(Path(folder))
        for name in names:
            decoder, network, batches = prepared(name, X, Y, machine)
            n_in_epoch = -(-N_TRIALS // decoder.batch_size)
            if device.type == "cuda":
                n_batches = 100 * n_in_epoch
            training = Training(name, network, batches, decoder)
            order = np.random.default_rng(0).permutation(N_TRIALS)
            parts = np.array_split(order, n_in_epoch)
            network.train()
            training._step(np.sort(parts[0]))
            batches.seconds, started = 0.0, waited(device)
            for number in range(n_batches):
                training._step(np.sort(parts[number % n_in_epoch]))
            own = (waited(device) - started) / n_batches
            reading = batches.seconds / n_batches
            x, y = batches.take(np.sort(parts[0]))
            started = waited(device)
            for _ in range(min(n_batches, n_in_epoch)):
                training.optimizer.zero_grad()
                with mixed_precision(device):
                    loss = loss_of(network, x, y)
                loss.backward()
                torch.nn.utils.clip_grad_norm_(network.parameters(), decoder.clip)
                training.optimizer.step()
            peer = (waited(device) - started) / min(n_batches, n_in_epoch)
            n_weights = sum(p.numel() for p in network.parameters()) / 1e6
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            print(
                f"{name:18} {n_weights:6.1f} M weights, batch {decoder.batch_size:3}: "
                f"epoch {own * n_in_epoch:7.1f} s, of it reading "
                f"{100 * reading / own:4.1f} %, {own / peer:.2f} times one batch that "
                f"lies ready, peak {peak:.0f} MB"
            )
            if device.type == "cuda":
                print(f"{'':18} 100 epochs: {own * n_batches:.0f} s")
            del network, training, batches, decoder


if __name__ == "__main__":
    main()
