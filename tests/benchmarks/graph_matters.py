"""Whether a graph helps where one region's code depends on another's, and where not.

Twelve simulated regions in six pairs. The regions of a pair share a fluctuation, by
which connectivity finds them. In the dependent form, the sign with which a region codes
its target is that of the state that its partner shows; otherwise it always is the same.
Each target is learned by the graph network on its true graph and on its controls, by a
ridge regression and by the mean, on the same trials.

Run: python tests/benchmarks/graph_matters.py [n_seeds]
"""

import sys
import time

import numpy as np

from bids_recon.decoders.gcn import GCN
from bids_recon.decoders.ridge import Ridge
from bids_recon.evaluation.comparison import paired_difference
from bids_recon.evaluation.identification import two_way
from bids_recon.evaluation.metrics import correlation_matrix
from bids_recon.machine import Machine
from bids_recon.registry import build
from bids_recon.rois import GRAPHS
from bids_recon.rois.connectivity import connectivity
from bids_recon.rois.graphs import make_graph

N_PAIRS, N_EACH = 6, 8
KINDS = ("nearest", "rewired", "random", "no-edges", "complete")


def simulated(
    n_trials: int, dependent: bool, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return responses (n_trials, 96) and targets (n_trials, 6)."""
    rng = np.random.default_rng(seed)
    fixed = np.random.default_rng([seed, 1])
    shape = (n_trials, N_PAIRS)
    targets, shared = rng.standard_normal(shape), rng.standard_normal(shape)
    state = rng.choice([-1.0, 1.0], shape) if dependent else np.ones(shape)
    codes = fixed.standard_normal((2, N_PAIRS, N_EACH))
    codes -= codes.mean(axis=2, keepdims=True)
    first = state[..., None] * codes[0]
    second = (state * targets)[..., None] * codes[1]
    both = np.stack([first, second], axis=2) + shared[..., None, None]
    both = both + 0.3 * rng.standard_normal(both.shape)
    return both.reshape(n_trials, -1).astype(np.float32), targets.astype(np.float32)


def scores(predicted: np.ndarray, Y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the error and the identification of each trial."""
    found = two_way(correlation_matrix(Y, predicted))
    return ((predicted - Y) ** 2).mean(axis=1), np.diag(found)


def compare(
    dependent: bool, seed: int, n_train: int = 600, n_test: int = 200
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return the scores of each kind of prediction on the same test trials."""
    X, Y = simulated(n_train + n_test, dependent, seed)
    train, test = slice(0, n_train), slice(n_train, None)
    members = np.split(np.arange(X.shape[1]), 2 * N_PAIRS)
    means = np.stack([X[train][:, own].mean(axis=1) for own in members], axis=1)
    measured = connectivity([means], "pearson")
    groups = np.arange(n_train)
    result = {
        "mean": scores(np.tile(Y[train].mean(axis=0), (n_test, 1)), Y[test]),
        "ridge": scores(
            Ridge().fit(X[train], Y[train], groups).predict(X[test]), Y[test]
        ),
    }
    names = [f"R{n}" for n in range(2 * N_PAIRS)]
    for kind in KINDS:
        options = {"k": 1} if kind in ("nearest", "rewired", "random") else {}
        how = build(GRAPHS, "graph", kind, options | {"seed": seed})
        graph = make_graph(measured, how, names, members, np.zeros((X.shape[1], 3)))
        decoder = GCN(
            width=32,
            hidden=64,
            channels=4,
            batch_size=32,
            epochs=100,
            patience=15,
            seed=seed,
            machine=Machine(device="cpu"),
        )
        decoder.fit(X[train], Y[train], groups, graph=graph)
        result[kind] = scores(decoder.predict(X[test]), Y[test])
    return result


def main() -> None:
    """Print scores and paired differences for each seed."""
    n_seeds = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    for dependent in (True, False):
        print("one code depends on another" if dependent else "codes do not depend")
        for seed in range(n_seeds):
            started = time.process_time()
            found = compare(dependent, seed)
            for kind, (error, identified) in found.items():
                difference = paired_difference(
                    found["nearest"][0], error, np.arange(len(error))
                )
                print(
                    f"  seed {seed} {kind:9} error {error.mean():.3f} identification "
                    f"{identified.mean():.3f}  nearest less it {difference.mean:.3f} "
                    f"({difference.low:.3f} to {difference.high:.3f})"
                )
            print(f"  {time.process_time() - started:.0f} s of processor")


if __name__ == "__main__":
    main()
