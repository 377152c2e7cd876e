"""The group level: participants compared where they can be."""
