"""Identification of 1,000 pictures among 1,000 on 60,000 features, in blocks."""

import resource
import time

import numpy as np

from bids_recon.evaluation.identification import two_way
from bids_recon.evaluation.metrics import correlation_matrix

N, N_FEATURES = 1_000, 60_000


def peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    rng = np.random.default_rng(0)
    seen = rng.standard_normal((N, N_FEATURES), dtype=np.float32)
    made = seen + 20 * rng.standard_normal((N, N_FEATURES), dtype=np.float32)
    before = peak()
    correlation_matrix(seen[:50], made[:50])  # warm
    started = time.perf_counter()
    scores = np.diag(two_way(correlation_matrix(seen, made)))
    ours = time.perf_counter() - started
    used = peak()
    a, b = seen.astype(np.float64), made.astype(np.float64)
    started = time.perf_counter()
    b @ a.T
    product = time.perf_counter() - started
    print(f"identification in blocks: {ours:.2f} s, {scores.mean():.3f} two-way")
    print(f"the matrix product alone, in double precision: {product:.2f} s")
    print(
        f"ratio: {ours / product:.1f}; peak {used:.0f} MB, of which {before:.0f} MB "
        "were there before"
    )


if __name__ == "__main__":
    main()
