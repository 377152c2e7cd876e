"""The stages of a run, each in one form: what it reads, its record, what it writes.

A stage is a function of a participant's plan that compares its record with the sidecar
of its output, and does its work only where they differ.
"""
