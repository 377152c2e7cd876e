"""Where processes listen, after ``/proc/net``."""

import re
from collections.abc import Iterable
from pathlib import Path


def listening(numbers: Iterable[int]) -> dict[str, int]:
    """Return the addresses at which processes listen, and their ports."""
    sockets = set()
    for number in numbers:
        for entry in Path("/proc", str(number), "fd").iterdir():
            try:
                found = re.fullmatch(r"socket:\[(\d+)\]", str(entry.readlink()))
            except OSError:
                continue
            sockets |= {found[1]} if found else set()
    places = {}
    for name in ("tcp", "tcp6"):
        for line in Path("/proc/net", name).read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and fields[9] in sockets:
                address, port = fields[1].split(":")
                places[f"{address}:{port}"] = int(port, 16)
    return places
