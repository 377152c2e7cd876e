"""Releases that are not BIDS, made BIDS: each importer knows one form."""

IMPORTERS = {
    "nsd": "bids_recon.dataset.importers.nsd:import_nsd",
    "things": "bids_recon.dataset.importers.things:import_things",
    "bdata": "bids_recon.dataset.importers.bdata:import_bdata",
    "miyawaki": "bids_recon.dataset.importers.miyawaki:import_miyawaki",
    "glmsingle": "bids_recon.dataset.importers.glmsingle:import_glmsingle",
}
"""Name on the command line -> what imports it."""
