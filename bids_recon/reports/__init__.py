"""Figures, and the YAML lists from which nireports puts pages together."""
