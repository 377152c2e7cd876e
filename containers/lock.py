"""Write the lock files: what the images hold, to the version and the checksum.

    python containers/lock.py

``lock.txt``
    All that bids-recon and its clusters of Dask need, but torch.
``lock-torch.txt``
    torch with what only it needs, as the default package index has them (CUDA). For
    another index (``TORCH_INDEX_URL``) the versions count and the checksums do not.
``lock-build.txt``
    What builds the package; nothing of it stays in the image.

Versions are those of the environment that runs this, so that images hold what the tests
passed with; for its Python, and Linux on x86-64.
"""

import re
import subprocess
import sys
from importlib.metadata import distributions
from pathlib import Path
from tempfile import TemporaryDirectory

HERE = Path(__file__).parent
ROOT = HERE.parent

TORCH = re.compile(r"(torch|torchvision|triton)==|(nvidia|cuda)-")
"""What comes from the index of torch."""

HEAD = "# Written by containers/lock.py; do not edit.\n"


def compiled(requirements: Path, *more: str) -> list[str]:
    """Return one text for each package: its version and checksums.

    ``more`` are further words for pip-tools.
    """
    with TemporaryDirectory() as folder:
        target = Path(folder) / "lock.txt"
        installed = Path(folder) / "installed.txt"
        pins = sorted(f"{d.name}=={d.version}\n" for d in distributions())
        pins = [pin for pin in pins if not pin.startswith("bids-recon=")]
        installed.write_text("".join(pins), encoding="utf-8")
        command = [
            *(sys.executable, "-m", "piptools", "compile", "--quiet"),
            *("--generate-hashes", "--allow-unsafe", "--strip-extras"),
            *("--no-annotate", "--no-header", "--no-config", "--no-emit-options"),
            *("--no-emit-index-url", "--no-emit-find-links", "--no-emit-trusted-host"),
            *("--constraint", str(installed)),
            *more,
            *("--output-file", str(target), str(requirements)),
        ]
        subprocess.run(command, check=True, cwd=ROOT)
        text = target.read_text(encoding="utf-8")
    return re.findall(r"^\S.*?(?=^\S|\Z)", text, flags=re.MULTILINE | re.DOTALL)


def main() -> None:
    """Write all three files."""
    # Images are also what workers of a cluster run in.
    packages = compiled(ROOT / "pyproject.toml", "--extra", "cluster")
    with TemporaryDirectory() as folder:
        build = Path(folder) / "build.in"
        pyproject = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
        requires = re.search(r"^requires = \[(.*)\]$", pyproject, flags=re.MULTILINE)
        build.write_text(requires.group(1).replace('"', "").replace(",", "\n"))
        locks = {
            "lock.txt": [text for text in packages if not TORCH.match(text)],
            "lock-torch.txt": [text for text in packages if TORCH.match(text)],
            "lock-build.txt": compiled(build),
        }
    for name, texts in locks.items():
        (HERE / name).write_text(HEAD + "".join(texts), encoding="utf-8")
        sys.stdout.write(f"{HERE / name}: {len(texts)} packages\n")


if __name__ == "__main__":
    main()
