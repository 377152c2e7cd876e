"""
A recipe of one's own
=====================

A recipe is a YAML file that says what differs from another recipe. This one decodes
fewer components, from the 100 voxels that tell pictures apart best, and scores by a
second profile.
"""

# %%
# Settings that do not exist, and values of the wrong kind, are refused before anything
# runs, with the file and the key.

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

recipe = folder / "mine.yml"
recipe.write_text("""\
name: ten-components
extends: eigenimage
decode:
  eigenimage:
    features: {n_components: 10}
    voxels: {name: f_value, k: 100}
evaluate: {profiles: [deeprecon]}
""")
status = cli.main(
    [
        *(str(dataset), str(output), "participant", "--participant-label", "01"),
        *("--recipe", str(recipe), "eigenimage"),
        *("--roi", "visual=V1+V2+V3", "--split", "kfold:4"),
    ]
)
print("exit status", status)

# %%
# Both recipes stand on one page and in tables of the same form. A number of one profile
# is not to be compared with one of another.

import pandas as pd

tables = []
for path in sorted(output.glob("sub-01/recon/*_metrics.tsv")):
    table = pd.read_csv(path, sep="\t")
    table.insert(0, "recipe", path.stem.split("_desc-")[1].removesuffix("_metrics"))
    tables.append(table)
scores = pd.concat(tables)
print(scores[["recipe", "profile", "metric", "value", "chance"]].round(3).to_string())
