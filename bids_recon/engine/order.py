"""Which of the jobs that could begin goes first, where several can run at once."""

from collections import defaultdict
from collections.abc import Container, Sequence

from bids_recon.engine.jobs import Job


class Order:
    """Puts jobs that could begin in an order in which all end early.

    As many participants are in work as there are places, so that each of them is done
    early; where no pages are made, as many recipes. Their jobs go by the time that is
    left from the begin of a job to the end of the last one that waits for it (the
    critical path), so that no place stands idle while one long chain of jobs comes to
    its end.

    Parameters
    ----------
    jobs : sequence of Job
        All jobs of a run, in an order in which they could run one after another.
    """

    def __init__(self, jobs: Sequence[Job]) -> None:
        followers = defaultdict(list)
        for job in jobs:
            for name in job.before:
                followers[name].append(job.name)
        # Job -> seconds to the end of what waits for it, and the last that does.
        self._left: dict[str, float] = {}
        self._end: dict[str, str] = {}
        for job in reversed(jobs):
            own = followers[job.name]
            longest = max((self._left[name] for name in own), default=0.0)
            self._left[job.name] = job.seconds + longest
            # The page of a participant is the last job that follows any of its own.
            self._end[job.name] = self._end[own[-1]] if own else job.name
        self._position = {job.name: place for place, job in enumerate(jobs)}

    def __call__(
        self, able: Sequence[Job], done: Container[str], n_places: int
    ) -> list[Job]:
        """Return the jobs that could begin, the first one first.

        Parameters
        ----------
        able : sequence of Job
            Those that could begin.
        done : container of str
            The names of jobs that have ended.
        n_places : int
            How many can run at once.
        """
        unfinished = (name for name in self._position if name not in done)
        ends = list(dict.fromkeys(self._end[name] for name in unfinished))
        in_work = set(ends[:n_places])

        def place(job: Job) -> tuple[bool, float, int]:
            position = self._position[job.name]
            if self._end[job.name] in in_work:
                return False, -self._left[job.name], position
            return True, 0.0, position

        return sorted(able, key=place)
