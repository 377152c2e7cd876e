"""
From a dataset to a page
========================

A participant sees 40 digits in four runs. We simulate the dataset, reconstruct the
digits, and look at the scores and at some pictures.
"""

# %%
# The dataset is in BIDS, with derivatives as fMRIPrep writes them and masks of regions.

import os
import tempfile
from pathlib import Path

from bids_recon.simulate.dataset import Experiment, simulate_dataset

folder = Path(tempfile.gettempdir()) / "bids-recon-examples"
folder = Path(os.environ.get("BIDS_RECON_EXAMPLES", folder))
dataset, output = folder / "dataset", folder / "output"
if not dataset.is_dir():
    simulate_dataset(dataset, Experiment(n_participants=2, n_pictures=40, noise=0.5))
for path in sorted(dataset.glob("*")):
    print(path.name)

# %%
# What is there to be read? ``--list`` and ``--dry-run`` say it and write nothing. On a
# command line you would leave out all but the words in the list.

from bids_recon import cli

cli.main([str(dataset), "--list"])

# %%
# The run itself. Ten pictures in turn are held out, and decoders are trained on the
# other thirty. The same command given again does nothing: all is up to date.

options = [
    "--participant-label",
    "01",
    "--roi",
    "visual=V1+V2+V3",
    "--split",
    "kfold:4",
]
status = cli.main([str(dataset), str(output), "participant", *options])
print("exit status", status)

# %%
# Scores are in a table. The floor is the score of the mean training picture; a score
# shows something of a single picture where it lies above floor and chance.

import pandas as pd

(path,) = output.glob("sub-01/recon/*_desc-eigenimage_metrics.tsv")
scores = pd.read_csv(path, sep="\t", index_col="metric")
print(scores[["value", "ci_low", "ci_high", "chance", "p_value", "floor"]].round(3))

# %%
# And the pictures, in the order of how well they were reconstructed.

import matplotlib.pyplot as plt
import numpy as np

(path,) = output.glob("sub-01/recon/*_desc-eigenimage_recon.tsv")
table = pd.read_csv(path, sep="\t").sort_values("pixel_correlation", ascending=False)
ranks = np.linspace(0, len(table) - 1, 8).astype(int)
figure, axes = plt.subplots(2, 8, figsize=(10, 2.6), layout="constrained")
for column, rank in enumerate(ranks):
    row = table.iloc[rank]
    axes[0, column].imshow(
        plt.imread(dataset / "stimuli" / row["stimulus"]), cmap="gray"
    )
    axes[1, column].imshow(plt.imread(path.with_suffix("") / row["image"]))
    axes[0, column].set_title(f"rank {rank + 1}", size=9)
for axis in axes.flat:
    axis.set(xticks=[], yticks=[])
axes[0, 0].set_ylabel("seen")
axes[1, 0].set_ylabel("reconstructed")
plt.show()

# %%
# The same, and more, is on the page ``output/sub-01.html``.
