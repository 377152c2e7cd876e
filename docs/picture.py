"""Draw the picture of the first page, from simulated data.

    python docs/picture.py FOLDER

FOLDER gets the dataset and the outputs; a second call takes what is there. What is
shown is not the best: reconstructions of `bayes` are ranked by the correlation of
pixels with what was seen, and ranks at even distances are taken.
"""

import sys
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image, ImageDraw, ImageFont

from bids_recon import cli
from bids_recon.simulate.dataset import Experiment, simulate_dataset

SIDE, GAP, LEFT = 88, 8, 130
N_SHOWN = 9
RECIPES = ("bayes", "eigenimage")
TARGET = Path(__file__).with_name("reconstructions.png")


def make_outputs(dataset: Path, outputs: Path) -> None:
    """Simulate a participant who sees 100 digits, and reconstruct them."""
    if not dataset.is_dir():
        simulate_dataset(dataset, Experiment(n_participants=1, n_prior=1500))
    prior = dataset / "sourcedata" / "prior"
    options = ["--recipe", *RECIPES, "--roi", "visual=V1+V2+V3"]
    words = [dataset, outputs, "participant", *options, "--prior-pictures", prior]
    status = cli.main([str(word) for word in words])
    if status:
        raise SystemExit(status)


def rows_of(dataset: Path, outputs: Path) -> dict[str, list[Image.Image]]:
    """Return rows of pictures: what was seen, and what each recipe made of it."""
    tables = {}
    for recipe in RECIPES:
        (path,) = outputs.glob(f"sub-01/recon/*_desc-{recipe}_recon.tsv")
        table = pd.read_csv(path, sep="\t").set_index("stimulus")
        table["image"] = [path.with_suffix("") / name for name in table["image"]]
        tables[recipe] = table
    ranked = tables[RECIPES[0]].sort_values("pixel_correlation", ascending=False)
    places = np.linspace(0, len(ranked) - 1, N_SHOWN + 2)[1:-1].astype(int)
    names = ranked.index[places]
    seen = [Image.open(dataset / "stimuli" / name) for name in names]
    made = {r: [Image.open(t.image[n]) for n in names] for r, t in tables.items()}
    return {"seen": seen, **made}


def draw(rows: dict[str, list[Image.Image]]) -> Image.Image:
    """Return all rows in one picture."""
    step = SIDE + GAP
    canvas = Image.new("RGB", (LEFT + N_SHOWN * step, len(rows) * step), "white")
    pen, font = ImageDraw.Draw(canvas), ImageFont.load_default(17)
    for row, (word, pictures) in enumerate(rows.items()):
        middle = (LEFT - 12, row * step + SIDE / 2)
        pen.text(middle, word, "#1b1f24", font, anchor="rm")
        for column, picture in enumerate(pictures):
            large = picture.convert("RGB").resize(
                (SIDE, SIDE), Image.Resampling.NEAREST
            )
            canvas.paste(large, (LEFT + column * step, row * step))
    return canvas.quantize(64, dither=Image.Dither.NONE)


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    make_outputs(folder / "dataset", folder / "derivatives")
    picture = draw(rows_of(folder / "dataset", folder / "derivatives"))
    picture.save(TARGET, optimize=True)
