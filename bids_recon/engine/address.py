"""A scheduler of Dask that somebody started, with workers of their own."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from bids_recon.engine.clusters import Greeting, cannot_be_reached
from bids_recon.engine.jobs import Job

if TYPE_CHECKING:
    from distributed import Client

CONNECT = 8.0
"""Seconds in which a scheduler must answer."""

PATIENCE = "30s"
"""How long a worker that a job needs is waited for, where Dask's configuration does not
say it (``distributed.scheduler.no-workers-timeout``)."""


def connected(address: str) -> "Client":
    """Return a client of the scheduler at an address.

    Raises
    ------
    UserError
        If nobody answers there, or nobody who lets us in.
    """
    from distributed import Client

    try:
        return Client(address, timeout=CONNECT, set_as_default=False)
    # Dask raises whatever the network, TLS or the address itself gave rise to.
    except Exception as error:
        raise cannot_be_reached(
            f"--cluster {address}: no scheduler of Dask answers there",
            error,
            "Is it running, is the address right, and does it want TLS (tls://, with "
            "the certificates in Dask's configuration)?",
        ) from error


class Address:
    """A scheduler that runs, reached.

    Parameters
    ----------
    address : str
        Where it listens.

    Raises
    ------
    UserError
        If it does not answer.
    """

    def __init__(self, address: str) -> None:
        import dask
        from dask.utils import parse_timedelta

        self.address = address
        self.client = connected(address)
        asked = dask.config.get("distributed.scheduler.no-workers-timeout", None)
        self.patience = parse_timedelta(asked or PATIENCE)

    def offer(self, greeting: Greeting) -> Greeting:
        """Return what a worker says that it has."""
        return greeting

    def keep_up(self, jobs: Sequence[Job], later: Sequence[Job], busy: set[str]) -> str:  # noqa: ARG002
        """Say that there is no worker; whoever started the scheduler starts them."""
        return f"{self.address} has no worker"

    def lost(self, name: str) -> None:
        """Leave it to those who started a worker to replace it."""

    def drop(self) -> None:
        """Have nothing that ends without Dask."""

    def end(self) -> None:
        """Leave the cluster as it is, without our jobs."""
        self.client.close(timeout=2)
