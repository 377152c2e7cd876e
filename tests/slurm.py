"""One node of SLURM, for real: array and group, and ``--cluster slurm``.

    make slurm-test       (Debian, as root: apt-get install slurm-wlm munge)

The node is this machine, with a made-up GPU; all its files are in ``build/slurm``. What
came out is compared, byte for byte, with what one process writes.
"""

import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from sockets import listening

from bids_recon.engine import Cluster, Job, Result, execute
from bids_recon.errors import UserError
from bids_recon.simulate.dataset import Experiment, simulate_dataset

ROOT = Path(__file__).resolve().parents[1]
# A path that would fall apart if it were not quoted.
PLACE = ROOT / "build" / "slurm" / "a user's $HOME; %j"
DATASET = PLACE / "dataset"
OPTIONS = (
    *("--recipe", "eigenimage", "miyawaki2008-omp", "--roi", "visual=V1+V2"),
    *("--split", "kfold:3", "--omp-nthreads", "1"),
)
SLURM = ROOT / "build" / "slurm" / "node"

CONFIGURATION = """\
ClusterName=test
SlurmctldHost={host}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
SlurmctldPort=16817
SlurmdPort=16818
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
MpiDefault=none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
GresTypes=gpu
ReturnToService=2
KillWait=5
SlurmdParameters=config_overrides
NodeName={host} CPUs=4 RealMemory=16000 Gres=gpu:1 State=UNKNOWN
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


def say(text: str) -> None:
    """Write a line at once."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def run(*words: object) -> str:
    """Run a program, and end where it fails."""
    done = subprocess.run(
        [str(word) for word in words], capture_output=True, text=True, check=False
    )
    if done.returncode:
        said = done.stdout + done.stderr
        raise SystemExit(f"{' '.join(map(str, words))}: {done.returncode}\n{said}")
    return done.stdout


@contextmanager
def node() -> Iterator[None]:
    """Have a SLURM of one node, which is this machine."""
    shutil.rmtree(SLURM, ignore_errors=True)
    for name in ("state", "spool"):
        (SLURM / name).mkdir(parents=True)
    host = socket.gethostname()
    text = CONFIGURATION.format(host=host, folder=SLURM)
    (SLURM / "slurm.conf").write_text(text)
    (SLURM / "gres.conf").write_text("Name=gpu File=/dev/null\n")
    key = SLURM / "munge.key"
    key.touch(0o600)
    key.write_bytes(os.urandom(128))
    os.environ["SLURM_CONF"] = str(SLURM / "slurm.conf")
    files = {
        name: f"--{option}={SLURM}/munge.{name}"
        for name, option in (
            ("key", "key-file"),
            ("socket", "socket"),
            ("pid", "pid-file"),
            ("log", "log-file"),
            ("seed", "seed-file"),
        )
    }
    programs = [
        ["munged", "--foreground", "--force", *files.values()],
        ["slurmctld", "-D"],
        ["slurmd", "-D", "-N", host],
    ]
    running = []
    try:
        for words in programs:
            with (SLURM / f"{words[0]}.said").open("w") as said:
                running.append(subprocess.Popen(words, stdout=said, stderr=said))
            time.sleep(1)
        until(lambda: "idle" in run("sinfo", "-h", "-o", "%T"), 60, "an idle node")
        yield
    finally:
        for process in reversed(running):
            process.terminate()
            process.wait()


def until(happens: Callable[[], object], seconds: float, what: str) -> None:
    """Wait until something is so; end where it never is."""
    end = time.monotonic() + seconds
    while not happens():
        if time.monotonic() > end:
            raise SystemExit(f"{what}: not within {seconds:.0f} s")
        time.sleep(0.2)


def bids_recon(*words: object) -> list[str]:
    """Return the words of a command of ours."""
    return [sys.executable, "-m", "bids_recon", str(DATASET), *map(str, words)]


def results(root: Path) -> dict[str, bytes]:
    """Return what a run wrote, without what says when and how it ran."""
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in root.rglob("*")
        if path.is_file()
        and path.relative_to(root).parts[0] not in ("logs", "work")
        and path.suffix not in (".html", ".json")
        and "figures" not in path.parts
    }


def compare(root: Path) -> str:
    """End where a run's results are not those of one process."""
    expected, found = results(PLACE / "one"), results(root)
    if set(expected) != set(found):
        raise SystemExit(f"{root}: other files: {set(expected) ^ set(found)}")
    other = [name for name, data in expected.items() if found[name] != data]
    if other:
        raise SystemExit(f"{root}: other bytes: {other}")
    return f"{len(found)} files, the same bytes"


def array() -> None:
    """Run the script that ``--array-script`` writes."""
    out = PLACE / "array"
    script = PLACE / "run.sh"
    script.write_text(
        run(*bids_recon(out, "participant", *OPTIONS, "--array-script", "slurm"))
    )
    started = time.monotonic()
    said = run("bash", script)
    until(lambda: not run("squeue", "-h"), 300, "the end of the array")
    (table,) = (PLACE / "bids-recon-slurm").glob("*.tsv")
    rows = [line.split("\t") for line in table.read_text().splitlines()]
    names = [row[0] for row in rows]
    if names != ["participant_id", "sub-01", "sub-02", "sub-03", "group"]:
        raise SystemExit(f"{table}: {names}\n{said}")
    if {row[1] for row in rows[1:]} != {"0"}:
        raise SystemExit(table.read_text())
    say(f"array + group: {time.monotonic() - started:.0f} s, {compare(out)}")


def workers() -> dict[int, list[str]]:
    """Return the processes that SLURM started for us, by their numbers."""
    found = {}
    for path in Path("/proc").iterdir():
        try:
            variables = (path / "environ").read_bytes()
            words = (path / "cmdline").read_bytes().decode().split("\0")
        except (OSError, ValueError):
            continue
        # Dask's workers write their name over their variables.
        named = words[0].startswith("dask worker")
        if named or b"\0SLURM_JOB_NAME=bids-recon-" in b"\0" + variables:
            found[int(path.name)] = words
    return found


def busy_worker() -> int | None:
    """Return a worker of Dask whose job computes just now."""
    for number, words in workers().items():
        if any("work_beside" in word for word in words):
            stat = Path("/proc", str(number), "stat").read_text().rsplit(")", 1)[1]
            if stat.split()[0] == "R":
                return int(stat.split()[1])
    return None


def on_cluster(out: Path, log: TextIO) -> subprocess.Popen:
    """Start ``--cluster slurm`` with two workers."""
    words = bids_recon(out, "participant", *OPTIONS)
    return subprocess.Popen(
        [*words, "--cluster", "slurm", "--n-procs", "2"],
        stderr=log,
        # What runs in the background of a shell ignores Ctrl-C.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def cluster() -> None:
    """Run with two workers, and kill one of them."""
    out, log = PLACE / "cluster", PLACE / "cluster.txt"
    started = time.monotonic()
    with log.open("w") as stream:
        process = on_cluster(out, stream)
        until(lambda: "decode: done" in log.read_text(), 120, "a decoder")
        until(lambda: len(listening(set(workers()))) > 1, 60, "a second worker")
        doors(process.pid)
        victim: list[int] = []
        until(lambda: victim.append(busy_worker()) or victim[-1], 60, "a busy worker")
        os.kill(victim[-1], signal.SIGKILL)
        if process.wait(300):
            raise SystemExit(log.read_text())
    lost = log.read_text().count("lost with its worker")
    if not lost:
        raise SystemExit(f"no job was lost with its worker\n{log.read_text()}")
    took = time.monotonic() - started
    run(*bids_recon(out, "group"))
    say(f"--cluster slurm, a worker killed: {took:.0f} s, {compare(out)}")
    nothing_left(out)


def nothing_left(out: Path) -> None:
    """End where a job, a process or a key outlived its run."""
    until(lambda: not run("squeue", "-h"), 15, "the end of all jobs")
    until(lambda: not workers(), 15, "the end of all processes")
    # What a job was about to write is left where it was, for the next run to remove.
    places = (out, out / "work", *(out / "logs").glob("*"))
    left = [path for place in places for path in place.glob(".bids-recon-part-*")]
    if left:
        raise SystemExit(f"left: {left}")


def doors(number: int) -> None:
    """End where something of ours listens beyond this machine and lets others in."""
    places = listening({number, *workers()})
    loopback = ("0100007F:", "00000000000000000000000001000000:")
    outside = {p: port for p, port in places.items() if not p.startswith(loopback)}
    for port in outside.values():
        # Whoever has no certificate of the run gets no word.
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        host = socket.gethostname()
        try:
            with (
                socket.create_connection((host, port), 5) as plain,
                context.wrap_socket(plain) as sealed,
            ):
                sealed.settimeout(5)
                if sealed.recv(100):
                    raise SystemExit(f"port {port} speaks to strangers")
        except ssl.SSLError as error:
            if "CERTIFICATE_REQUIRED" not in str(error):
                raise SystemExit(f"port {port}: {error}") from error
    say(
        f"ports: {len(places) - len(outside)} on loopback alone, {len(outside)} for "
        "nodes, all of which want a certificate of the run"
    )


def stopped(number: int, status: int) -> None:
    """Stop a run by a signal, and have it go on."""
    out, log = PLACE / f"stopped-{status}", PLACE / f"stopped-{status}.txt"
    with log.open("w") as stream:
        process = on_cluster(out, stream)
        until(lambda: "done in" in log.read_text(), 120, "a first job")
        sent = time.monotonic()
        process.send_signal(number)
        if process.wait(30) != status:
            raise SystemExit(f"{process.returncode}\n{log.read_text()}")
        took = time.monotonic() - sent
        nothing_left(out)
        gone = time.monotonic() - sent
        if not log.read_text().endswith("The same command goes on where it was.\n"):
            raise SystemExit(log.read_text())
        if on_cluster(out, stream).wait(300):
            raise SystemExit(log.read_text())
    run(*bids_recon(out, "group"))
    say(
        f"signal {number}: status {status} after {took:.1f} s, nothing left after "
        f"{gone:.1f} s; started again: {compare(out)}"
    )


def which_gpu() -> Result:
    """Say which GPU SLURM gave."""
    return Result(True, os.environ.get("SLURM_JOB_GPUS", "none"))


def gpus() -> None:
    """Have jobs with and without the GPU, and ask for more than there is."""
    # Workers import this file by its name.
    from slurm import which_gpu

    jobs = [Job("with", "x", which_gpu, gpus=1), Job("without", "x", which_gpu)]
    asked = Cluster("slurm", 2, 1, None, (PLACE,), (PLACE,), PLACE / "logs")
    outcomes = execute(jobs, 1, [].append, [].append, asked)
    found = {name: outcome.reason for name, outcome in outcomes.items()}
    if found != {"with": "0", "without": "none"}:
        raise SystemExit(f"GPUs: {found}")
    say("a job that asks for a GPU gets one, another none")
    impossible = [Job("large", "x", which_gpu, memory_mb=10**6)]
    started = time.monotonic()
    try:
        execute(impossible, 1, [].append, [].append, asked)
    except UserError as error:
        say(f"after {time.monotonic() - started:.1f} s: {error.message}")
    else:
        raise SystemExit("a job of a terabyte ran")


def main() -> None:
    """Do all of it."""
    missing = [name for name in ("slurmctld", "munged") if shutil.which(name) is None]
    if missing or os.getuid():
        raise SystemExit("apt-get install slurm-wlm munge, and run this as root.")
    os.environ |= {"PYTHONPATH": f"{ROOT}:{ROOT}/tests", "OMP_NUM_THREADS": "1"}
    shutil.rmtree(PLACE, ignore_errors=True)
    experiment = Experiment(
        n_participants=3, n_runs=2, n_pictures=24, noise=0.2, seed=3
    )
    simulate_dataset(DATASET, experiment)
    os.chdir(PLACE)
    started = time.monotonic()
    run(*bids_recon(PLACE / "one", "participant", *OPTIONS))
    say(f"one process: {time.monotonic() - started:.0f} s")
    run(*bids_recon(PLACE / "one", "group"))
    with node():
        array()
        cluster()
        stopped(signal.SIGINT, 130)
        stopped(signal.SIGTERM, 143)
        gpus()


if __name__ == "__main__":
    main()
