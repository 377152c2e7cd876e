"""
All participants
================

Participants are reconstructed one after another, or at once, and the group level puts
their scores in one table and on one page.
"""

import os
import tempfile
from pathlib import Path

from bids_recon import cli
from bids_recon.simulate.dataset import Experiment, simulate_dataset

folder = Path(tempfile.gettempdir()) / "bids-recon-examples"
folder = Path(os.environ.get("BIDS_RECON_EXAMPLES", folder))
dataset, output = folder / "dataset", folder / "output"
if not dataset.is_dir():
    simulate_dataset(dataset, Experiment(n_participants=2, n_pictures=40, noise=0.5))

options = ["--roi", "visual=V1+V2+V3", "--split", "kfold:4"]
print(cli.main([str(dataset), str(output), "participant", *options]))
print(cli.main([str(dataset), str(output), "group"]))

# %%
# One row for each participant, recipe and metric.

import pandas as pd

scores = pd.read_csv(output / "group_metrics.tsv", sep="\t", dtype={"subject": str})
shown = scores[(scores["recipe"] == "eigenimage") & (scores["metric"] != "mse")]
print(shown.pivot_table(index="metric", columns="subject", values="value").round(3))

# %%
# With few participants, show each of them. An interval over pictures says what other
# pictures would give; it says nothing of other people.

import matplotlib.pyplot as plt

rows = shown[shown["metric"] == "pixel_correlation"]
figure, axis = plt.subplots(figsize=(4, 2.6), layout="constrained")
errors = [rows["value"] - rows["ci_low"], rows["ci_high"] - rows["value"]]
axis.errorbar(rows["subject"], rows["value"], yerr=errors, fmt="o", capsize=4)
axis.scatter(rows["subject"], rows["floor"], marker="_", label="mean training picture")
axis.set(xlabel="participant", ylabel="pixel correlation", xlim=(-0.5, 1.5))
axis.legend()
plt.show()
