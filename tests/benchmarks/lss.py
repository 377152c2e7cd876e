"""LSS for all trials at once, beside nilearn's ``run_glm`` once per trial.

230 volumes, 60 trials, 20,000 voxels; one run of both in the same process.
"""

import resource
import time

import numpy as np
import pandas as pd
from nilearn.glm.first_level import make_first_level_design_matrix, run_glm

from bids_recon.responses.design import design_matrices, project
from bids_recon.responses.lss import LeastSquaresSeparate, lss_weights

N_VOLUMES, N_TRIALS, N_VOXELS, TR = 230, 60, 20_000, 2.0


def nilearn_design(trials: pd.DataFrame, trial: int) -> pd.DataFrame:
    """Return the model of one trial: its own regressor, the others', drifts."""
    events = trials[["onset", "duration"]].assign(trial_type="others")
    events.loc[trial, "trial_type"] = "own"
    return make_first_level_design_matrix(
        TR * np.arange(N_VOLUMES),
        events,
        drift_model="polynomial",
        drift_order=round(N_VOLUMES * TR / 60 / 2),
    )


def main() -> None:
    rng = np.random.default_rng(0)
    bold = 800 + rng.standard_normal((N_VOLUMES, N_VOXELS))
    trials = pd.DataFrame(
        {
            "onset": 10 + 7.2 * np.arange(N_TRIALS),
            "duration": 3.0,
            "role": "trial",
        }
    )
    settings = LeastSquaresSeparate()
    started = time.perf_counter()
    of_trials, others = design_matrices(trials, N_VOLUMES, TR, None, 0.0, settings)
    our_design = time.perf_counter() - started
    project(lss_weights(of_trials, others), bold)  # warm
    started = time.perf_counter()
    ours = project(lss_weights(of_trials, others), bold)
    our_solve = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

    theirs = np.empty_like(ours)
    their_design = their_solve = 0.0
    for trial in range(N_TRIALS):
        started = time.perf_counter()
        design = nilearn_design(trials, trial)
        their_design += time.perf_counter() - started
        column = design.columns.get_loc("own")
        started = time.perf_counter()
        labels, results = run_glm(bold, design.to_numpy(), noise_model="ols")
        their_solve += time.perf_counter() - started
        for label, result in results.items():
            theirs[trial, labels == label] = result.theta[column]

    difference = np.abs(ours - theirs).max()
    print(
        f"bids-recon, all trials at once: {our_solve:.3f} s, and {our_design:.3f} s "
        f"for the design; peak {peak:.0f} MB"
    )
    print(
        f"nilearn run_glm, once per trial: {their_solve:.3f} s, and "
        f"{their_design:.3f} s for the designs"
    )
    whole = (their_solve + their_design) / (our_solve + our_design)
    print(
        f"ratio: {their_solve / our_solve:.0f} ({whole:.0f} with designs); largest "
        f"difference: {difference:.1e}"
    )


if __name__ == "__main__":
    main()
