"""Datasets with a known answer, as BIDS: the demo and the tests."""
