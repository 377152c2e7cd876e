"""Reconstruct the pictures a person saw from fMRI."""

import os

__version__ = "0.1.0"

# nipype, which niworkflows loads, would ask a server for newer versions.
os.environ.setdefault("NO_ET", "1")
