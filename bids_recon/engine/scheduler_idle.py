"""A page of Dask's scheduler by which the operator of Kubernetes ends one left alone.

Of the pages that Dask has for the operator, others change the cluster for whoever asks.
"""

from distributed.http.utils import RequestHandler


class CheckIdleHandler(RequestHandler):
    """Says since when nobody is connected to a scheduler and nothing is done."""

    def get(self) -> None:
        """Write ``idle_since``, in seconds since 1970; 0 where there is anybody."""
        scheduler = self.server
        # Dask counts what is left to the scheduler as somebody.
        connected = set(scheduler.clients) - {"fire-and-forget"}
        since = None if connected else scheduler.check_idle()
        self.write({"idle_since": since or 0})


routes: list[tuple] = [("/api/v1/check_idle", CheckIdleHandler, {})]
