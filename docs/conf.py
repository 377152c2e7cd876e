"""Sphinx settings."""

import os
import shutil
from pathlib import Path

from bids_recon import __version__

HERE = Path(__file__).parent
EXAMPLES = HERE / "_build" / "examples-data"
"""What the examples write, and the sample page is taken from."""

# matplotlib and the program read these when the examples run.
os.environ |= {"BIDS_RECON_EXAMPLES": str(EXAMPLES), "MPLBACKEND": "agg"}

project = "bids-recon"
author = "the bids-recon developers"
copyright = "the bids-recon developers"
release = version = __version__
extensions = [
    "myst_parser",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx_design",
    "sphinx_gallery.gen_gallery",
]
myst_enable_extensions = ["attrs_inline", "colon_fence", "deflist"]
myst_heading_anchors = 3
exclude_patterns = ["_build", "examples/*.ipynb", "sg_execution_times.rst"]
html_theme = "alabaster"
html_theme_options = {
    "description": "Reconstruct seen pictures from fMRI",
    "page_width": "1100px",
    "sidebar_width": "220px",
    "font_family": "system-ui, Helvetica Neue, Arial, sans-serif",
    "head_font_family": "system-ui, Helvetica Neue, Arial, sans-serif",
}
html_css_files = ["own.css"]
html_static_path = ["own.css"]
numpydoc_show_class_members = False
numpydoc_class_members_toctree = False
autodoc_typehints = "none"
sphinx_gallery_conf = {
    "examples_dirs": str(HERE.parent / "examples"),
    "gallery_dirs": "examples",
    "filename_pattern": r"\.py$",
    "within_subsection_order": "FileNameSortKey",
    "abort_on_example_error": True,
    "only_warn_on_example_error": False,
    "download_all_examples": False,
    "show_memory": False,
    "write_computation_times": False,
    "capture_repr": (),
    "remove_config_comments": True,
}
# The gallery's functions cannot be kept between builds; that is no fault of a page.
suppress_warnings = ["config.cache"]


def escape_stars(app, what, name, obj, options, lines):
    """Keep the star of shapes such as (n, *shape) from starting emphasis."""
    lines[:] = [line.replace("*shape", r"\*shape") for line in lines]


def forget_examples(app, config):
    """Have examples make everything anew, as for somebody who runs them first."""
    shutil.rmtree(EXAMPLES, ignore_errors=True)
    shutil.rmtree(HERE / "examples", ignore_errors=True)


def add_sample_page(app, error):
    """Put the pages that the examples made beside those of the documentation."""
    if error or app.builder.format != "html":
        return
    made, sample = EXAMPLES / "output", Path(app.outdir) / "sample"
    shutil.rmtree(sample, ignore_errors=True)
    parts = ("*.html", "**/figures/*.*", "sub-*/recon/**/*.png", "logs/*_times.html")
    for path in (path for part in parts for path in made.glob(part)):
        target = sample / path.relative_to(made)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)


def setup(app):
    app.connect("config-inited", forget_examples, priority=1)
    app.connect("autodoc-process-docstring", escape_stars, priority=400)
    app.connect("build-finished", add_sample_page)
