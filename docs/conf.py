"""Sphinx settings."""

from bids_recon import __version__

project = "bids-recon"
author = "the bids-recon developers"
copyright = "the bids-recon developers"
release = version = __version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "numpydoc"]
myst_enable_extensions = ["deflist"]
myst_heading_anchors = 3
exclude_patterns = ["_build"]
html_theme = "alabaster"
html_theme_options = {"description": "Reconstruct seen pictures from fMRI"}
numpydoc_show_class_members = False
numpydoc_class_members_toctree = False
autodoc_typehints = "none"


def escape_stars(app, what, name, obj, options, lines):
    """Keep the star of shapes such as (n, *shape) from starting emphasis."""
    lines[:] = [line.replace("*shape", r"\*shape") for line in lines]


def setup(app):
    app.connect("autodoc-process-docstring", escape_stars, priority=400)
