"""Ridge at the shape of the Natural Scenes Dataset, beside scikit-learn.

8,859 pictures, 15,724 voxels, 982 test pictures; targets of Brain-Diffuser: 91,168 of
VDVAE, 257 x 768 of CLIP's picture tower, 77 x 768 of its text tower: 12 GB on disk.
What scikit-learn would take for its 335 fits is extrapolated from one of each kind.
Each part runs in a process of its own, so that its peak memory is its own.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from sklearn.linear_model import Ridge as ScikitRidge

from bids_recon.datatypes import Targets
from bids_recon.decoders.ridge import Ridge
from bids_recon.machine import Machine

N_TRAIN, N_TEST, N_VOXELS = 8859, 982, 15724
SPACES = {  # shape and penalty, as published
    "vdvae": ((91168,), 50000.0),
    "clip-vision": ((257, 768), 60000.0),
    "clip-text": ((77, 768), 100000.0),
}
TOKEN = 768
N_COMPARED = 768


def simulate(folder: Path) -> None:
    """Write responses and targets that share 200 components."""
    rng = np.random.default_rng(0)
    shared = rng.standard_normal((N_TRAIN + N_TEST, 200), dtype=np.float32)
    X = shared @ rng.standard_normal((200, N_VOXELS), dtype=np.float32) / 20
    X += rng.standard_normal(X.shape, dtype=np.float32)
    np.save(folder / "train.npy", X[:N_TRAIN])
    np.save(folder / "test.npy", X[N_TRAIN:])
    for name, (shape, _) in SPACES.items():
        out = np.lib.format.open_memmap(
            folder / f"{name}.npy", "w+", np.float32, (N_TRAIN, *shape)
        )
        flat = out.reshape(N_TRAIN, -1)
        noise = rng.standard_normal(2**22, dtype=np.float32)
        for start in range(0, flat.shape[1], 4096):
            part = flat[:, start : start + 4096]
            mixing = rng.standard_normal((200, part.shape[1]), dtype=np.float32) / 14
            part[:] = shared[:N_TRAIN] @ mixing + 0.5
            part += np.resize(np.roll(noise, start), part.shape)
        out.flush()


def read(folder: Path, name: str) -> np.ndarray:
    return np.load(folder / f"{name}.npy", mmap_mode="r")


def ours(folder: Path, device: str) -> dict[str, float]:
    """Fit and predict all targets; the predictions are written to disk."""
    X, X_test = read(folder, "train"), read(folder, "test")
    trials = np.arange(N_TRAIN)
    started = time.perf_counter()
    equations = None
    for name, (shape, alpha) in SPACES.items():
        decoder = Ridge(alpha=alpha, machine=Machine(device=device))
        decoder.equations = equations
        decoder.fit(X, Targets(read(folder, name), trials), trials)
        equations = decoder.equations
        out = np.lib.format.open_memmap(
            folder / f"{name}-predicted.npy", "w+", np.float32, (N_TEST, *shape)
        )
        decoder.predict(X_test, out)
    return {"seconds": time.perf_counter() - started, **peaks(device)}


def products(folder: Path) -> dict[str, float]:
    """Time the matrix products alone, in memory."""
    X = np.array(read(folder, "train"))
    started = time.perf_counter()
    _ = X @ X.T
    _ = np.array(read(folder, "test")) @ X.T
    seconds = time.perf_counter() - started
    rng = np.random.default_rng(0)
    block = rng.standard_normal((N_TRAIN, 8192), dtype=np.float32)
    weights = rng.standard_normal((N_TEST, N_TRAIN), dtype=np.float32)
    started = time.perf_counter()
    _ = weights @ block
    n_targets = sum(int(np.prod(shape)) for shape, _ in SPACES.values())
    seconds += (time.perf_counter() - started) * n_targets / block.shape[1]
    return {"seconds": seconds}


def scikit(folder: Path, name: str) -> dict[str, float]:
    """Fit and predict one of scikit-learn's problems: a token, or all of VDVAE."""
    X, X_test = (np.array(read(folder, side)) for side in ("train", "test"))
    Y = read(folder, name)
    Y = np.array(Y if name == "vdvae" else Y[:, 1])
    started = time.perf_counter()
    predicted = ScikitRidge(alpha=SPACES[name][1]).fit(X, Y).predict(X_test)
    seconds = time.perf_counter() - started
    own = read(folder, f"{name}-predicted")
    own = own if name == "vdvae" else own[:, 1]
    difference = np.abs(own[:, :N_COMPARED] - predicted[:, :N_COMPARED]).max()
    scale = np.abs(predicted[:, :N_COMPARED]).max()
    return {"seconds": seconds, "difference": float(difference / scale), **peaks("cpu")}


def peaks(device: str) -> dict[str, float]:
    # Unlike getrusage's, this peak does not begin with that of the parent process.
    status = Path("/proc/self/status").read_text()
    peak = int(status.split("VmHWM:")[1].split()[0]) / 2**20
    if device != "cuda":
        return {"peak_gb": peak}
    import torch

    return {"peak_gb": peak, "device_gb": torch.cuda.max_memory_allocated() / 2**30}


def apart(folder: Path, *part: str) -> dict[str, float]:
    """Run one part in a process of its own."""
    command = [sys.executable, __file__, "--folder", str(folder), "--part", *part]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--folder", type=Path, help="where 15 GB fit")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--part", nargs="+")
    parser.add_argument("--alone", action="store_true", help="without scikit-learn")
    options = parser.parse_args()
    if options.part:
        function = {"ours": ours, "products": products, "scikit": scikit}
        name, *rest = options.part
        print(json.dumps(function[name](options.folder, *rest)))
        return
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        simulate(folder)
        own = apart(folder, "ours", options.device)
        alone = apart(folder, "products")
        if options.alone:
            print(own, alone)
            return
        fits = {space: apart(folder, "scikit", space) for space in SPACES}
    text, vision, whole = (
        fits[space]["seconds"] for space in ("clip-text", "clip-vision", "vdvae")
    )
    theirs = 77 * text + 257 * vision + whole
    print(f"bids-recon: {own}")
    print(f"matrix products alone: {alone['seconds']:.1f} s")
    for space, fit in fits.items():
        print(f"scikit-learn, one fit of {space}: {fit}")
    print(
        f"scikit-learn, 335 fits: {theirs:.0f} s, {theirs / own['seconds']:.0f} times"
    )
    print(f"times the products alone: {own['seconds'] / alone['seconds']:.2f}")


if __name__ == "__main__":
    main()
