"""How often the group's intervals hold the truth, on simulated scores.

Scores of participants i and pictures j are mu + s_i + p_j + e_ij. Each interval is
taken over participants and pictures, of 2,000 simulated groups.
"""

import numpy as np

from bids_recon.evaluation.group import interval, prevalence

N_SIMULATED = 2000
N_PICTURES = 100
SPREADS = {
    "participants differ": (0.1, 0.3, 0.5),
    "participants differ much": (0.3, 0.3, 0.5),
    "pictures differ": (0.05, 0.5, 0.5),
    "no differences but noise": (0.0, 0.0, 0.5),
}


def coverage(
    n: int, spread: tuple[float, float, float], seed: int
) -> tuple[float, float]:
    """Return the share of intervals that hold the mean of all people and pictures.

    The second is that of intervals over pictures alone, of means over participants.
    """
    rng = np.random.default_rng(seed)
    held = over_pictures = 0
    for _ in range(N_SIMULATED):
        people = spread[0] * rng.standard_normal((n, 1))
        pictures = spread[1] * rng.standard_normal(N_PICTURES)
        noise = spread[2] * rng.standard_normal((n, N_PICTURES))
        scores = people + pictures + noise
        found = interval(scores)
        held += found.low <= 0 <= found.high
        usual = interval(scores.mean(axis=0, keepdims=True))
        over_pictures += usual.low <= 0 <= usual.high
    return held / N_SIMULATED, over_pictures / N_SIMULATED


def main() -> None:
    """Print coverage, and how p-values are spread where there is no effect."""
    for name, spread in SPREADS.items():
        both = {n: coverage(n, spread, n) for n in (3, 4, 8)}
        shares = [f"n={n}: {a:.3f} ({b:.3f})" for n, (a, b) in both.items()]
        print(f"{name:28s} {'  '.join(shares)}")
    rng = np.random.default_rng(0)
    for n in (3, 4, 8):
        drawn = rng.standard_normal((N_SIMULATED, n, 1000))
        own = rng.standard_normal((N_SIMULATED, n))
        p = [prevalence(own[i], drawn[i]).p_global for i in range(N_SIMULATED)]
        print(f"n={n}: p <= 0.05 of {np.mean(np.array(p) <= 0.05):.3f} null groups")


if __name__ == "__main__":
    main()
