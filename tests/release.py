"""Install the wheel, the source archive and a clone, each afresh, and try them.

    make release-test                    the newest versions of what is needed
    python tests/release.py --lowest     the lowest that setup.cfg allows

The wheel gets an environment with all it needs, from the package index (7 GB, some
minutes). Archive and clone have environments of their own with bids-recon alone, and
see the rest through that of the wheel.
"""

import os
import re
import subprocess
import sys
import tarfile
import time
import zipfile
from argparse import ArgumentParser
from configparser import ConfigParser
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).resolve().parents[1]

IN_WHEEL = (
    *("bids_recon/py.typed", "bids_recon/weights.yml", "bids_recon/recipes/bayes.yml"),
    *("bids_recon/evaluation/profiles/mindeye.yml", "bids_recon/reports/report.tpl"),
    *("bids_recon/dataset/conventions/bids.yml", "bids_recon/plan/array_script.sh"),
)
IN_ARCHIVE = (
    *("README.md", "LICENSE", "CHANGES.md", "CITATION.cff", "Dockerfile", "Makefile"),
    *("docs/index.md", "tests/conftest.py", "containers/install.sh"),
)


def say(text: str) -> None:
    """Write a line at once."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def run(*words: object, where: Path | None = None) -> str:
    """Run a program away from the sources, and end where it fails."""
    away = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [str(word) for word in words],
        capture_output=True,
        text=True,
        check=False,
        cwd=where,
        env={**away, "OMP_NUM_THREADS": "1"},
    )
    if done.returncode:
        said = done.stdout + done.stderr
        raise SystemExit(f"{' '.join(map(str, words))}: {done.returncode}\n{said}")
    return done.stdout


def build(folder: Path) -> tuple[Path, Path]:
    """Make the wheel and the archive of what is committed; return where they are."""
    run("git", "clone", "--quiet", ROOT, folder / "clone")
    run(sys.executable, "-m", "build", "--outdir", folder / "dist", folder / "clone")
    (wheel,) = (folder / "dist").glob("*.whl")
    (archive,) = (folder / "dist").glob("*.tar.gz")
    check_holds(zipfile.ZipFile(wheel).namelist(), IN_WHEEL, wheel)
    with tarfile.open(archive) as opened:
        names = [name.partition("/")[2] for name in opened.getnames()]
    check_holds(names, (*IN_WHEEL, *IN_ARCHIVE), archive)
    for path in (wheel, archive):
        say(f"{path.name}: {path.stat().st_size / 1000:.0f} kB")
    return wheel, archive


def check_holds(names: list[str], expected: tuple[str, ...], where: Path) -> None:
    """Check that an archive holds what it must."""
    lacking = sorted(set(expected) - set(names))
    if lacking:
        raise SystemExit(f"{where.name} lacks {', '.join(lacking)}")


def environment(folder: Path, packages: Path | None = None) -> Path:
    """Make an environment; return its programs. It may see packages of another."""
    run(sys.executable, "-m", "venv", folder)
    if packages:
        own = next((folder / "lib").glob("python3*")) / "site-packages"
        (own / "others.pth").write_text(f"{packages}\n", encoding="utf-8")
    return folder / "bin"


def packages_of(programs: Path) -> Path:
    """Return where an environment has its packages."""
    return next((programs.parent / "lib").glob("python3*")) / "site-packages"


def try_out(programs: Path, folder: Path, name: str) -> None:
    """Use what was installed as somebody new would."""
    began = time.monotonic()
    version = run(programs / "bids-recon", "--version").strip()
    code = "import bids_recon; print(bids_recon.__file__)"
    place = run(programs / "python", "-c", code, where=folder).strip()
    if not place.startswith(str(programs.parent)):
        raise SystemExit(f"{name}: {place} was imported in place of what was installed")
    run(programs / "bids-recon", "--list")
    run(programs / "bids-recon-weights", "list")
    out = folder / f"demo-{name.replace(' ', '-')}"
    pages = run(programs / "bids-recon-demo", out).split()
    if [Path(page).name for page in pages] != [
        *("group.html", "sub-01.html", "sub-02.html"),
    ]:
        raise SystemExit(f"{name}: the demo made {pages}")
    seconds = time.monotonic() - began
    say(f"{name}: bids-recon {version}, demo and lists in {seconds:.0f} s")


def lowest() -> list[str]:
    """Return every requirement at its lower bound."""
    config = ConfigParser()
    config.read(ROOT / "setup.cfg")
    lines = config["options"]["install_requires"].split("\n")
    return [line.replace(" >= ", "==") for line in lines if re.match(r"\w.* >= ", line)]


def install_whole(wheel: Path, folder: Path, *words: str) -> Path:
    """Install a wheel with all it needs."""
    began = time.monotonic()
    programs = environment(folder)
    run(programs / "pip", "install", "--quiet", *words, wheel)
    run(programs / "pip", "check")
    say(f"{folder.name}: installed in {time.monotonic() - began:.0f} s")
    return programs


def main() -> None:
    """Build, install and try."""
    parser = ArgumentParser()
    parser.add_argument("--lowest", action="store_true")
    parser.add_argument("--scratch", type=Path)
    options = parser.parse_args()
    with TemporaryDirectory(dir=options.scratch) as name:
        folder = Path(name)
        wheel, archive = build(folder)
        if options.lowest:
            programs = install_whole(wheel, folder / "lowest", *lowest())
            try_out(programs, folder, "lowest versions")
            return
        whole = install_whole(wheel, folder / "newest")
        try_out(whole, folder, "wheel")
        for kind, source in (("archive", archive), ("clone", folder / "clone")):
            programs = environment(folder / kind, packages_of(whole))
            words = ("--quiet", "--no-deps", "--ignore-installed", source)
            run(programs / "pip", "install", *words)
            try_out(programs, folder, kind)
    say("release-test: all as it should be")


if __name__ == "__main__":
    main()
