"""Build the image without an engine, and run it as strictly as clusters do.

    sudo make container-test

Needs Debian's buildah and debootstrap, util-linux, and root. The base is made by
debootstrap (or named by ``BASE_IMAGE``). The image then runs with a read-only root, as
a user whom nobody knows, without a network and without a folder for temporary files;
what it writes must equal, byte for byte, what the same versions write outside of it.

``BIDS_RECON_SHARED`` names the folder of real data, if there is one. Where buildah
cannot have overlays, ``STORAGE_DRIVER=vfs`` takes 40 GB. All is kept in
``build/containers``, so that a second test is quicker; remove it when done.
"""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SCRATCH = Path(os.environ.get("SCRATCH", ROOT / "build" / "containers"))
SOURCE = SCRATCH / "source"
ENVIRONMENT = SCRATCH / "environment"
IMAGE = "localhost/bids-recon:test"
BASE = "localhost/bids-recon-base:bookworm"
USER = 4321
"""A user whom no file names."""

MORE_MB = 300
"""How much larger than the environment outside the image may be, its base left out."""

RUN = """
set -eu
mount --bind "$1" "$1"
mount -o remount,bind,ro "$1"
shift_root=$1; shift
while [ "$1" != -- ]; do
    mount --bind "$1" "$shift_root$2"
    [ "$3" = rw ] || mount -o remount,bind,ro "$shift_root$2"
    shift 3
done
shift
mount -t proc proc "$shift_root/proc"
mount --rbind /dev "$shift_root/dev"
exec chroot --userspec={user}:{user} --groups={user} "$shift_root" "$@"
"""
"""Run in namespaces of its own: mounts, then the program. No /tmp: the root's is
read-only as well."""


def main() -> None:
    """Build, run, compare, and say how large it is."""
    SCRATCH.mkdir(parents=True, exist_ok=True)
    for program in ("buildah", "debootstrap", "unshare", "chroot"):
        if shutil.which(program) is None:
            raise SystemExit(f"{program} is not here (apt-get install buildah ...)")
    copy_source()
    make_base()
    build()
    make_environment()
    tell_sizes()
    container = Container()
    try:
        check_runs(container)
        check_bad_input(container)
    finally:
        container.remove()
    say("container-test: all as it should be")


def say(text: str) -> None:
    """Write a line at once."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def buildah(*words: object, quiet: bool = False) -> str:
    """Run buildah on a store of our own."""
    driver = os.environ.get("STORAGE_DRIVER", "overlay")
    store = ("--root", SCRATCH / "store", "--runroot", SCRATCH / "run")
    command = ["buildah", *store, "--storage-driver", driver, *words]
    done = subprocess.run(
        [str(word) for word in command],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT if not quiet else None,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"{' '.join(map(str, words))}\n{done.stdout}")
    return done.stdout.strip()


def copy_source() -> None:
    """Copy what git knows of, so that inside and outside are of one state."""
    listed = subprocess.run(
        ["git", "-C", ROOT, "ls-files"], capture_output=True, text=True, check=True
    ).stdout.split("\n")
    shutil.rmtree(SOURCE, ignore_errors=True)
    for name in filter(None, listed):
        (SOURCE / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, SOURCE / name)


def make_base() -> None:
    """Make a base of Debian with Python, unless one is named or there."""
    there = buildah("images", "--format", "{{.Name}}:{{.Tag}}")
    if "BASE_IMAGE" in os.environ or BASE in there:
        return
    began = time.monotonic()
    folder = SCRATCH / "base"
    if not folder.is_dir():
        mirror = os.environ.get("DEBIAN_MIRROR", "http://deb.debian.org/debian")
        subprocess.run(
            [
                *("debootstrap", "--variant=minbase"),
                "--include=python3,python3-venv,ca-certificates",
                *("bookworm", f"{folder}.part", mirror),
            ],
            check=True,
            stdout=subprocess.DEVNULL,
        )
        for cache in ("var/cache/apt", "var/lib/apt/lists"):
            shutil.rmtree(Path(f"{folder}.part") / cache)
        Path(f"{folder}.part").rename(folder)
    name = buildah("from", "scratch")
    buildah("copy", "--quiet", name, folder, "/")
    buildah("commit", "--quiet", "--rm", name, BASE)
    say(f"base: {time.monotonic() - began:.0f} s")


def build() -> None:
    """Build the image; stages that did not change are taken as they are."""
    began = time.monotonic()
    git = ["git", "-C", ROOT, "rev-parse", "HEAD"]
    done = subprocess.run(git, capture_output=True, text=True, check=False)
    arguments = {
        "BASE_IMAGE": os.environ.get("BASE_IMAGE", BASE),
        "TORCH_INDEX_URL": os.environ.get("TORCH_INDEX_URL", ""),
        "REVISION": done.stdout.strip(),
        "TAG": "bids-recon:test",
    }
    buildah(
        *("build", "--isolation", "chroot", "--pull-never", "--force-rm"),
        # Without overlays, every layer would be a copy of all below it.
        f"--layers={os.environ.get('STORAGE_DRIVER') != 'vfs'}",
        *(f"--build-arg={name}={value}" for name, value in arguments.items()),
        *(f"--volume={mount}" for mount in package_index()),
        *("--tag", IMAGE, "--file", SOURCE / "Dockerfile", SOURCE),
    )
    say(f"build: {time.monotonic() - began:.0f} s")


def package_index() -> list[str]:
    """Return mounts that tell pip in the build what pip is told on this machine."""
    listed = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    given = dict(line.split("=", 1) for line in listed.splitlines() if "=" in line)
    values = {
        name.rpartition(".")[2]: value.strip("'").replace("\\n", " ")
        for name, value in given.items()
        if not name.startswith(":env:") or name.rpartition(".")[2] not in ("cert",)
    }
    # Versions come from the lock files alone.
    values = {name: v for name, v in values.items() if name != "constraint"}
    folders = [
        word.removeprefix("file://").removesuffix("/simple")
        for value in values.values()
        for word in value.split()
    ]
    mounts = [f"{path}:{path}:ro" for path in folders if Path(path).is_dir()]
    certificates = os.environ.get("SSL_CERT_FILE", "")
    if certificates:
        values["cert"] = "/etc/build-certificates.crt"
        mounts.append(f"{certificates}:{values['cert']}:ro")
    config = SCRATCH / "pip.conf"
    lines = [f"{name} = {value}\n" for name, value in values.items()]
    config.write_text("".join(["[global]\n", *lines]), encoding="utf-8")
    return [*dict.fromkeys(mounts), f"{config}:/etc/pip.conf:ro"]


def make_environment() -> None:
    """Install the same versions outside, in an environment as anyone has it."""
    locks = [SOURCE / "containers" / f"lock{name}.txt" for name in ("", "-torch")]
    stamp, now = ENVIRONMENT / "locks", "".join(map(Path.read_text, locks))
    if not (stamp.is_file() and stamp.read_text(encoding="utf-8") == now):
        began = time.monotonic()
        shutil.rmtree(ENVIRONMENT, ignore_errors=True)
        subprocess.run([same_python(), "-m", "venv", ENVIRONMENT], check=True)
        install = [ENVIRONMENT / "bin" / "pip", "--no-cache-dir", "install", "--quiet"]
        for lock in locks:
            words = ["--no-deps", "--require-hashes", "--requirement", lock]
            subprocess.run([*install, *words], check=True, stderr=subprocess.DEVNULL)
        stamp.write_text(now, encoding="utf-8")
        say(f"environment outside: {time.monotonic() - began:.0f} s")
    pip = [ENVIRONMENT / "bin" / "pip", "install", "--quiet", "--no-deps"]
    subprocess.run(
        [*pip, "--force-reinstall", SOURCE], check=True, stderr=subprocess.DEVNULL
    )


def same_python() -> str:
    """Return a Python of the version in the image, which sidecars name."""
    name = buildah("from", "--pull-never", IMAGE, quiet=True)
    root = buildah("mount", name)
    inside = version_of("chroot", root, "/opt/bids-recon/bin/python")
    buildah("rm", name)
    candidates = (sys.executable, "/usr/bin/python3", shutil.which("python3"))
    for candidate in candidates:
        if candidate and version_of(candidate) == inside:
            return candidate
    raise SystemExit(f"{inside} is in the image; install the same one to compare with")


def version_of(*python: str) -> str:
    """Return what a Python says of its version."""
    command = [*python, "--version"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip()


def size_mb(folder: Path) -> int:
    """Return the size of all files in a folder, each counted once."""
    done = subprocess.run(
        ["du", "-sm", "--apparent-size", folder],
        capture_output=True,
        text=True,
        check=True,
    )
    return int(done.stdout.split()[0])


def tell_sizes() -> None:
    """Write the size of each layer, and check it against the environment outside."""
    name = buildah("from", "--pull-never", IMAGE, quiet=True)
    root = Path(buildah("mount", name))
    parts = {
        "base": size_mb(root) - size_mb(root / "opt"),
        "dependencies, /opt/bids-recon": size_mb(root / "opt" / "bids-recon"),
        "weights and atlases, /opt/data": size_mb(root / "opt" / "data"),
    }
    for part, size in parts.items():
        say(f"{size:6d} MB  {part}")
    whole, outside = size_mb(root), size_mb(ENVIRONMENT)
    say(f"{whole:6d} MB  image\n{outside:6d} MB  environment outside")
    history = json.loads(buildah("inspect", "--type", "image", IMAGE))
    for entry in history["OCIv1"]["history"]:
        if not entry.get("empty_layer"):
            say(f"   layer: {entry.get('created_by', '')[:90]}")
    buildah("rm", name)
    if whole > outside + MORE_MB:
        more = whole - outside
        raise SystemExit(f"the image is larger than the environment by {more} MB")


class Container:
    """The image, mounted, with its settings."""

    def __init__(self) -> None:
        self.name = buildah("from", "--pull-never", IMAGE, quiet=True)
        self.root = Path(buildah("mount", self.name))
        config = json.loads(buildah("inspect", "--type", "image", IMAGE))
        self.config = config["OCIv1"]["config"]
        # Where an engine mounts folders, it makes their places.
        for place in ("data", "out", "weights"):
            (self.root / place).mkdir()

    def remove(self) -> None:
        """Give the space back."""
        buildah("rm", self.name)

    def run(
        self,
        *words: object,
        mounts: Mapping[Path, str],
        environment: Mapping[str, str | None] | None = None,
    ) -> tuple[int, str]:
        """Run the image's program; return its status and what it said.

        ``mounts`` holds folders outside and where they are inside, with ``:rw`` behind
        those that may be written to.
        """
        variables = dict(pair.split("=", 1) for pair in self.config["Env"])
        for name, value in (environment or {}).items():
            variables.pop(name, None)
            if value is not None:
                variables[name] = value
        binds: list[str] = []
        for outside, inside in mounts.items():
            place, _, mode = inside.partition(":")
            binds += [str(outside), place, mode or "ro"]
        script = RUN.format(user=USER)
        done = subprocess.run(
            [
                *("unshare", "--net", "--mount", "--pid", "--ipc", "--fork"),
                *("sh", "-c", script, "sh", str(self.root), *binds, "--"),
                *("env", "-i", *(f"{k}={v}" for k, v in variables.items())),
                *self.config["Entrypoint"],
                *map(str, words),
            ],
            capture_output=True,
            text=True,
            check=False,
        )
        return done.returncode, done.stdout + done.stderr


def writable(folder: Path) -> Path:
    """Make an empty folder of the unknown user."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    os.chown(folder, USER, USER)
    return folder


def outside(words: Sequence[object], places: Mapping[Path, str]) -> None:
    """Run the same outside, in a namespace where folders are placed as inside."""
    mounts = "".join(f"mount --bind '{f}' {place}\n" for f, place in places.items())
    made = [Path(place) for place in places.values() if not Path(place).exists()]
    for place in made:
        place.mkdir()
    try:
        done = subprocess.run(
            [
                *("unshare", "--mount", "sh", "-c", f'set -e\n{mounts}exec "$@"', "sh"),
                *(ENVIRONMENT / "bin" / "bids-recon", *map(str, words)),
            ],
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "LC_ALL": "C.UTF-8", "PYTHONPATH": ""},
        )
    finally:
        for place in made:
            place.rmdir()
    if done.returncode:
        raise SystemExit(f"outside: {done.stdout}{done.stderr}")


def check_runs(container: Container) -> None:
    """Run the simulated data, and the real ones, inside and outside, and compare."""
    demo = SCRATCH / "demo"
    if not demo.is_dir():
        code = (
            "from bids_recon.simulate.dataset import *; from pathlib import Path; "
            f"simulate_dataset(Path({str(demo)!r}), Experiment(n_pictures=60))"
        )
        subprocess.run([ENVIRONMENT / "bin" / "python", "-c", code], check=True)
    check_run(container, "simulated", demo, "--roi", "visual=V1+V2", "--n-procs", 2)
    shared = os.environ.get("BIDS_RECON_SHARED")
    if shared:
        real = Path(shared).resolve() / "datasets" / "yamada2015"
        check_run(
            container, "yamada2015", real, "--split", "run", "--roi", "V1=V1d+V1v"
        )
        weights = Path(shared).resolve() / "weights"
        check_run(
            *(container, "simulated, with weights", demo, "--weights-dir", "/weights"),
            *("--recipe", "tiny-latent", "--roi", "visual=V1+V2"),
            weights=weights,
        )


def check_run(
    container: Container,
    name: str,
    dataset: Path,
    *options: object,
    weights: Path | None = None,
) -> None:
    """Run both levels inside and outside on one dataset, and compare all files."""
    mounts = {dataset: "/data"}
    if weights:
        mounts[weights] = "/weights"
    inside_out = writable(SCRATCH / "out-inside")
    began = time.monotonic()
    levels = (("participant", *options), ("group",))
    for level in levels:
        status, said = container.run(
            "/data", "/out", *level, mounts={**mounts, inside_out: "/out:rw"}
        )
        if status:
            raise SystemExit(f"{name}, inside: status {status}\n{said}")
    seconds = time.monotonic() - began
    outside_out = writable(SCRATCH / "out-outside")
    for level in levels:
        # The same names of folders, as in settings and links.
        outside(["/data", "/out", *level], {**mounts, outside_out: "/out"})
    n_files = compare(inside_out, outside_out)
    say(f"{name}: {n_files} files as outside, byte for byte ({seconds:.0f} s inside)")


def compare(inside: Path, outside: Path) -> int:
    """Check that two outputs are equal, but for the container that one names."""
    sides = []
    for folder in (inside, outside):
        files = {
            str(path.relative_to(folder)): path
            for path in sorted(folder.rglob("*"))
            if path.is_file()
        }
        sides.append(files)
    only = set(sides[0]) ^ set(sides[1])
    if only:
        raise SystemExit(f"only on one side: {sorted(only)[:10]}")
    differing = []
    for name in sides[0]:
        ours, theirs = (side[name].read_bytes() for side in sides)
        if name == "dataset_description.json":
            description = json.loads(ours)
            maker = description["GeneratedBy"][0].pop("Container")
            if maker != {"Type": "docker", "Tag": "bids-recon:test"}:
                raise SystemExit(f"GeneratedBy: {maker}")
            ours, theirs = (description, json.loads(theirs))
        if ours != theirs:
            differing.append(name)
    if differing:
        raise SystemExit(f"{len(differing)} files differ: {differing[:10]}")
    return len(sides[0])


def check_bad_input(container: Container) -> None:
    """Check statuses and sentences where something is not as it should be."""
    demo, empty = SCRATCH / "demo", writable(SCRATCH / "empty")
    out = writable(SCRATCH / "out-bad")
    whole = {demo: "/data", out: "/out:rw"}
    cases = {
        "/out not writable": (73, {demo: "/data", out: "/out"}, (), {}),
        "/data empty": (16, {empty: "/data", out: "/out:rw"}, (), {}),
        "no GPU": (64, whole, ("--device", "cuda"), {}),
        "no weights": (66, whole, ("--recipe", "tiny-latent"), {}),
        "no HOME, no USER, locale C": (
            *(0, whole, ("--participant-label", "01", "--roi", "V1")),
            {"HOME": None, "USER": None, "LC_ALL": "C"},
        ),
    }
    for name, (expected, mounts, options, environment) in cases.items():
        status, said = container.run(
            *("/data", "/out", "participant", *options),
            mounts=mounts,
            environment=environment,
        )
        last = said.strip().splitlines()[-1] if said.strip() else ""
        say(f"{name}: status {status}, {last}")
        if status != expected or "Traceback" in said:
            raise SystemExit(f"expected status {expected}\n{said}")


if __name__ == "__main__":
    main()
