"""What to cite, for a run's recipes."""

from collections.abc import Iterable
from importlib.resources import files

import yaml

from bids_recon import __version__

ALWAYS = ("bids-recon", "bids", "pybids", "nilearn", "scikit-learn", "wang2004")


def citations(keys: Iterable[str]) -> tuple[str, str]:
    """Return the references of a run as Markdown and as BibTeX.

    Parameters
    ----------
    keys : iterable of str
        What recipes cite. A key without an entry stands as it is.
    """
    resource = files("bids_recon.reports").joinpath("citations.yml")
    entries = yaml.safe_load(resource.read_text(encoding="utf-8"))
    lines, bibtex = [], []
    for key in dict.fromkeys((*ALWAYS, *sorted(keys))):
        entry = entries.get(key)
        if entry is None:
            lines.append(f"- {key}")
            continue
        lines.append(f"- {entry['text'].format(version=__version__)}")
        bibtex.append(entry["bibtex"].format(version=__version__))
    text = "# How to cite\n\nResults of this run rest on:\n\n" + "\n".join(lines) + "\n"
    return text, "\n\n".join(bibtex) + "\n"
