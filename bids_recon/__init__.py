"""Reconstruct the pictures a person saw from fMRI."""

__version__ = "0.1.0"
