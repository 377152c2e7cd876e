"""How much memory the decoding of many trials takes, in a process of its own."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bids_recon.datatypes import Responses
from bids_recon.responses.standardize import Standardizer
from bids_recon.stages.decode.fold_data import side
from bids_recon.stages.decode.room import Room

N_TRIALS, N_VOXELS = 16_000, 2_500

CODE = """
import sys
from pathlib import Path
import numpy as np
import pandas as pd
from bids_recon.datatypes import Responses, Targets
from bids_recon.decoders import ridge
from bids_recon.decoders.large_equations import LargeEquations
from bids_recon.machine import Machine
from bids_recon.responses.standardize import Standardizer
from bids_recon.stages.decode.fold_data import side
from bids_recon.stages.decode.room import Room

def peak():
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024

folder = Path(sys.argv[1])
X = np.load(folder / "X.npy", mmap_mode="r")
rows = np.arange(len(X)) // 4
trials = pd.DataFrame({"stimulus": rows.astype(str), "role": "trial"})
responses = Responses(X, trials, np.zeros((X.shape[1], 3)), "T1w")
Y = Targets(np.random.default_rng(0).standard_normal((4000, 8), np.float32), rows)
before = peak()
with Room.within(folder, 160) as room:
    scaler = Standardizer(None).fit(X, trials)
    train = side(responses, np.arange(len(X)), scaler, False, room)
    decoder = ridge.Ridge(alpha=100.0, machine=Machine("cpu", mem_mb=160))
    decoder.fit(train.values, Y, rows)
    assert isinstance(decoder.equations, LargeEquations)
    decoder.predict(train.values[:50])
    decoder.maps(train.values)
print(peak() - before)
assert not list(folder.glob(".bids-recon-part-*"))
"""


def test_responses_are_never_in_memory_as_a_whole(tmp_path):
    rng = np.random.default_rng(0)
    shape = (N_TRIALS, N_VOXELS)
    np.save(tmp_path / "X.npy", rng.standard_normal(shape, dtype=np.float32))
    done = subprocess.run(
        [sys.executable, "-c", CODE, str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    # Responses are 153 MB; with their scaled form they would be 305 MB.
    assert float(done.stdout) < 140, done.stdout


@pytest.mark.parametrize("mem_mb", [1, 2, 2000])
@pytest.mark.parametrize("averaged", [False, True])
def test_blocks_and_files_change_no_bit(tmp_path, mem_mb, averaged):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((90, 4000), dtype=np.float32)
    shown = rng.integers(0, 20, 90).astype(str)
    trials = pd.DataFrame({"stimulus": shown, "role": "trial"})
    trials["session"] = np.repeat(["1", "2"], 45)
    responses = Responses(X, trials, np.zeros((4000, 3)), "T1w")
    rows = np.flatnonzero(rng.random(90) < 0.8)
    scaler = Standardizer("session").fit(X, trials.iloc[rows], rows)
    with Room.within(tmp_path, mem_mb) as room:
        own = side(responses, rows, scaler, averaged, room)
        assert isinstance(own.values, np.memmap) == (mem_mb < 2000)
        values = np.array(own.values)
    scaled = scaler.transform(X[rows], trials.iloc[rows])
    table = trials.iloc[rows].reset_index(drop=True)
    if averaged:
        names = table["stimulus"].drop_duplicates()
        groups = [scaled[table["stimulus"] == name] for name in names]
        sums = [sum(group.astype(np.float64)) for group in groups]
        scaled = np.stack([s / len(g) for s, g in zip(sums, groups, strict=True)])
        assert own.trials["n_repeats"].tolist() == list(map(len, groups))
        assert own.trials["stimulus"].tolist() == names.tolist()
    np.testing.assert_array_equal(values, scaled.astype(np.float32))
    assert not list(Path(tmp_path).iterdir())
