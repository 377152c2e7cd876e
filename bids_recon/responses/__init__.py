"""A BOLD run to one response per trial."""

from types import MappingProxyType

ESTIMATORS = MappingProxyType(
    {
        "lss": "bids_recon.responses.lss:LeastSquaresSeparate",
        "lsa": "bids_recon.responses.lsa:LeastSquaresAll",
        "window": "bids_recon.responses.window:Window",
        "given": "bids_recon.responses.given:Given",
    }
)
