"""
Scoring another tool's pictures
===============================

``bids-recon-score`` compares two folders of pictures with the same names, whoever made
them. Here the other tool is a blur: what would reconstructions score that had the
coarse layout right and nothing else?
"""

import os
import tempfile
from pathlib import Path

from PIL import Image, ImageFilter

from bids_recon.simulate.dataset import Experiment, simulate_dataset

folder = Path(tempfile.gettempdir()) / "bids-recon-examples"
folder = Path(os.environ.get("BIDS_RECON_EXAMPLES", folder))
dataset = folder / "dataset"
if not dataset.is_dir():
    simulate_dataset(dataset, Experiment(n_participants=2, n_pictures=40, noise=0.5))

seen, made = dataset / "stimuli" / "digits", folder / "blurred"
made.mkdir(exist_ok=True)
for path in sorted(seen.glob("*.png")):
    Image.open(path).filter(ImageFilter.GaussianBlur(1.5)).save(made / path.name)

# %%
# On a command line: ``bids-recon-score SEEN_DIR RECON_DIR --out scores.tsv``. All
# pictures are candidates of each other. What a decoder was trained on is not known
# here, so that floors and the ceiling are ``n/a``.

from bids_recon.score import main

status = main([str(seen), str(made), "--out", str(folder / "scores.tsv")])
print("exit status", status)

# %%
# Metrics of networks need weights, and a note says which. With ``--profile`` the same
# pictures are scored as a paper did.

main([str(seen), str(made), "--profile", "deeprecon"])

# %%
# To have the other tool in the tables and on the page of the group, point to a table of
# reconstructions of ours: the same test images are scored, among the same candidates.
# Do it for each participant.

from bids_recon import cli

output = folder / "output"
options = ["--roi", "visual=V1+V2+V3", "--split", "kfold:4"]
print(cli.main([str(dataset), str(output), "participant", *options]))
for table in sorted(output.glob("sub-*/recon/*_desc-eigenimage_recon.tsv")):
    main([str(seen), str(made), "--name", "Blur", "--beside", str(table)])
print(cli.main([str(dataset), str(output), "group"]))

# %%
# The difference from our recipe is paired over test images; its interval is over
# participants and images.

import pandas as pd

differences = pd.read_csv(output / "group_differences.tsv", sep="\t")
shown = differences[differences["subject"] == "all"].set_index("metric")
print(shown[["a", "b", "difference", "ci_low", "ci_high", "better"]].round(3))
