"""Outputs of simulated participants, as far as the group level reads them."""

import json
from hashlib import sha256

import numpy as np
import pandas as pd

SIDES = ("two_way_identification", "mse")


def write_participant(out, subject, recipe, roi, scores, **terms):
    """Write the tables of one analysis: ``scores`` maps metrics to (n_pictures,)."""
    stem = f"sub-{subject}_task-digits_label-{roi}_desc-{recipe.replace('-', '')}"
    share = terms.get("share", 1.0)
    stem += "" if share == 1 else f"Percent{100 * share:g}"
    folder = out / f"sub-{subject}" / "recon"
    folder.mkdir(parents=True, exist_ok=True)
    n = len(next(iter(scores.values())))
    names = terms.pop("pictures", [f"p{index:03d}.png" for index in range(n)])
    table = pd.DataFrame({"trial": range(1, n + 1), "stimulus": names, "split": "test"})
    table["set"] = None
    table["image"] = [f"{index:04d}_{name}" for index, name in enumerate(names)]
    table = table.assign(**scores)
    table.to_csv(folder / f"{stem}_recon.tsv", sep="\t", index=False, na_rep="n/a")
    rows = [
        {
            "profile": terms.get("profile", "bids-recon-1"),
            "metric": metric,
            "set": None,
            "value": np.nanmean(values),
            "chance": 0.5,
            "p_value": terms.get("p", 0.01),
            "floor": 0.55,
            "floor_retrieval": 0.6,
            "ceiling": 0.9,
            "n_candidates": terms.get("candidates", n),
        }
        for metric, values in scores.items()
    ]
    columns = ["ci_low", "ci_high", "n", "n_pictures", "n_permutations"]
    metrics = pd.DataFrame(rows).assign(**dict.fromkeys(columns, 0.0))
    metrics.to_csv(folder / f"{stem}_metrics.tsv", sep="\t", index=False, na_rep="n/a")
    sidecar = {
        "Recipe": {"name": recipe},
        "Cite": [],
        "Split": terms.get("split", "kfold:10"),
        "Preprocessing": [terms.get("preprocessing", "fMRIPrep 25.1.0")],
        "Transductive": terms.get("transductive", False),
        "SharesPictures": terms.get("learned_on", False),
        "TrainFraction": share,
        "NumberOfTrainingPictures": [round(100 * share)],
        "NumberOfTrainingTrials": [round(200 * share)],
        "BidsRecon": {"Version": terms.get("version", "0.1.0")},
    }
    (folder / f"{stem}_recon.json").write_text(json.dumps(sidecar))
    (out / f"sub-{subject}.html").write_text("")
    return sign(folder / f"{stem}_metrics.tsv")


def sign(metrics):
    """Write the sidecar that says what the tables were when they were written."""
    recon = metrics.with_name(metrics.name.replace("_metrics", "_recon"))
    outputs = {
        name: {
            "Size": path.stat().st_size,
            "SHA256": sha256(path.read_bytes()).hexdigest(),
        }
        for name, path in (("metrics", metrics), ("recon", recon))
    }
    sidecar = {"BidsRecon": {"Outputs": outputs}}
    metrics.with_suffix(".json").write_text(json.dumps(sidecar))
    return metrics


def write_group(out, n_participants, recipes, rois=("V1",), n_pictures=30, seed=0):
    """Write a group; recipes have their means, higher in identification and mse."""
    rng = np.random.default_rng(seed)
    description = {
        "Name": "x",
        "BIDSVersion": "1.10.0",
        "DatasetType": "derivative",
        "GeneratedBy": [{"Name": "bids-recon"}],
    }
    out.mkdir(parents=True, exist_ok=True)
    (out / "dataset_description.json").write_text(json.dumps(description))
    pictures = 0.05 * rng.standard_normal(n_pictures)
    for index in range(n_participants):
        person = 0.02 * rng.standard_normal()
        for roi in rois:
            for recipe, mean in recipes.items():
                noise = 0.05 * rng.standard_normal((2, n_pictures))
                values = mean + person + pictures + noise
                scores = dict(zip(SIDES, values, strict=True))
                write_participant(out, f"{index + 1:02d}", recipe, roi, scores)
    return out
