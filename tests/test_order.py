"""Which job goes first, by hand and on a clock that is only counted."""

import heapq

import pytest

from bids_recon.engine import Job
from bids_recon.engine.jobs import ready
from bids_recon.engine.order import Order


def named(jobs):
    return [job.name for job in jobs]


def test_the_longest_way_to_the_end_goes_first():
    jobs = [
        Job("short", "x", id, seconds=1),
        Job("begins long", "x", id, seconds=1),
        Job("medium", "x", id, seconds=5),
        Job("ends long", "x", id, ("begins long",), seconds=9),
        Job("page", "x", id, (), ("short", "medium", "ends long"), seconds=2),
    ]
    order = Order(jobs)
    # 1 + 9 + 2 s are left, 5 + 2 and 1 + 2.
    assert named(order(jobs[:3], {}, 2)) == ["begins long", "medium", "short"]
    able = [jobs[0], jobs[3]]
    assert named(order(able, {"begins long", "medium"}, 2)) == ["ends long", "short"]


def test_no_more_participants_are_begun_than_there_are_places():
    jobs = []
    for subject in ("1", "2", "3"):
        jobs += [
            Job(f"{subject} small", "x", id, seconds=1),
            # The later, the more there is to do.
            Job(f"{subject} large", "x", id, seconds=10 * int(subject)),
            Job(f"{subject} page", "x", id, (f"{subject} small", f"{subject} large")),
        ]
    able = [job for job in jobs if "page" not in job.name]
    first = ["2 large", "1 large", "1 small", "2 small", "3 small", "3 large"]
    assert named(Order(jobs)(able, {}, 2)) == first
    left = [job for job in able if job.name[0] != "1"]
    done = {"1 small", "1 large", "1 page"}
    assert named(Order(jobs)(left, done, 2))[:2] == ["3 large", "2 large"]


def participants(n, n_recipes):
    """Return jobs as a run has them: two runs, recipes, a page."""
    jobs = []
    for subject in range(n):
        own = [Job(f"{subject} run {run}", "x", id, seconds=1) for run in range(2)]
        runs, ends = tuple(named(own)), []
        for recipe in range(n_recipes):
            before = runs
            for stage, seconds in (("decode", 4), ("generate", 2), ("evaluate", 10)):
                name = f"{subject} {recipe} {stage}"
                own.append(Job(name, stage, id, before, seconds=seconds))
                before = (name,)
            ends.append(name)
        own.append(Job(f"{subject} page", "report", id, (), tuple(ends), seconds=10))
        jobs += own
    return jobs


def clock_at_the_end(jobs, n_places):
    """Return when the last job ends if each takes the time that it says."""
    order, waiting, done = Order(jobs), list(jobs), set()
    running, now = [], 0.0
    while len(done) < len(jobs):
        free = n_places - len(running)
        for job in order(ready(waiting, done), done, n_places)[:free]:
            waiting.remove(job)
            heapq.heappush(running, (now + job.seconds, job.name))
        now, name = heapq.heappop(running)
        done.add(name)
    return now


@pytest.mark.parametrize("n_recipes", [1, 4])
@pytest.mark.parametrize("n_places", [2, 4])
def test_no_place_stands_idle_while_four_participants_are_done(n_recipes, n_places):
    jobs = participants(4, n_recipes)
    work = sum(job.seconds for job in jobs)
    assert clock_at_the_end(jobs, n_places) == work / n_places
