"""
A method of one's own
=====================

A decoder has ``fit`` and ``predict``, and takes arrays. This one predicts from the
training trials whose responses are most alike. We try it on the responses of a run of
bids-recon, beside ridge regression, before it gets a file of its own and a line in the
registry (see :doc:`/adding-a-method`).
"""

# %%
# Options are fields of the dataclass; what is learned ends in an underscore.

from dataclasses import dataclass
from typing import Self

import numpy as np


@dataclass
class NearestTrials:
    """Predict the mean features of the training trials with the most similar responses.

    Parameters
    ----------
    n_trials : int
        How many.
    """

    n_trials: int = 5

    def fit(self, X: np.ndarray, Y: np.ndarray, groups: np.ndarray) -> Self:
        """Keep X (n_trials, n_voxels) and Y (n_trials, n_features)."""
        self.X_, self.Y_ = X, Y
        return self

    def predict(self, X: np.ndarray) -> np.ndarray:
        """Return features (n_trials, n_features)."""
        alike = np.corrcoef(X, self.X_)[: len(X), len(X) :]
        nearest = np.argsort(-alike, axis=1)[:, : self.n_trials]
        return self.Y_[nearest].mean(axis=1)


# %%
# Responses are images with a volume for each trial; the table beside them names the
# pictures.

import os
import tempfile
from pathlib import Path

import nibabel as nib
import pandas as pd
from PIL import Image

from bids_recon import cli
from bids_recon.simulate.dataset import Experiment, simulate_dataset

folder = Path(tempfile.gettempdir()) / "bids-recon-examples"
folder = Path(os.environ.get("BIDS_RECON_EXAMPLES", folder))
dataset, output = folder / "dataset", folder / "output"
if not dataset.is_dir():
    simulate_dataset(dataset, Experiment(n_participants=2, n_pictures=40, noise=0.5))
options = [
    "--participant-label",
    "01",
    "--roi",
    "visual=V1+V2+V3",
    "--split",
    "kfold:4",
]
cli.main([str(dataset), str(output), "participant", *options])

(mask,) = output.glob("sub-01/func/*_label-visual_desc-used_mask.nii.gz")
inside = nib.load(mask).get_fdata() > 0
responses, stimuli = [], []
for path in sorted(output.glob("sub-01/func/*_desc-trial_events.tsv")):
    image = path.name.replace("_desc-trial_events.tsv", "_stat-effect_desc-trial_*.gz")
    responses.append(nib.load(next(path.parent.glob(image))).get_fdata()[inside].T)
    stimuli += list(pd.read_csv(path, sep="\t")["stimulus"])
X = np.concatenate(responses)
grey = np.stack([np.array(Image.open(dataset / "stimuli" / name)) for name in stimuli])
pictures = np.repeat(grey[:, None] / np.float32(255), 3, axis=1)
print(X.shape, pictures.shape)

# %%
# Each quarter of the trials in turn is held out. The feature space, too, is fitted on
# training pictures alone.

from bids_recon.decoders.ridge import Ridge
from bids_recon.features.eigenimage import Eigenimage


def correlation(seen: np.ndarray, made: np.ndarray) -> np.ndarray:
    """Return the correlation of pixels, for each picture."""
    sides = [values.reshape(len(values), -1) for values in (seen, made)]
    return np.array([np.corrcoef(*pair)[0, 1] for pair in zip(*sides, strict=True)])


for decoder in (NearestTrials(), Ridge()):
    scores = []
    for fold in range(4):
        test = np.arange(len(X)) % 4 == fold
        space = Eigenimage(n_components=20).fit(pictures[~test])
        scale = X[~test].mean(axis=0), X[~test].std(axis=0)
        train, held_out = ((X[rows] - scale[0]) / scale[1] for rows in (~test, test))
        groups = np.arange(len(train))
        decoder.fit(train, space.encode(pictures[~test]), groups=groups)
        made = space.decode(decoder.predict(held_out))
        scores.append(correlation(pictures[test], made))
    name = type(decoder).__name__
    print(f"{name}: pixel correlation {np.concatenate(scores).mean():.3f}")
