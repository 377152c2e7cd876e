"""Change one package line by line, and see whether its tests notice.

``python run.py PACKAGE [SAMPLE]``: all mutants that mutmut makes of ``bids_recon``'s
package, or so many of them, drawn with a fixed seed. What survives is shown as a diff.
Words of messages are left as they are.
"""

import json
import os
import random
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

PROJECT = Path(__file__).parents[2]

TESTS = {
    "decoders": (
        "tests/test_bayes.py",
        "tests/test_decoders.py",
        "tests/test_rescale.py",
        "tests/test_ridge_at_scale.py",
        "tests/test_sgd.py",
        # Simulations of minutes; what they show is that it works, not where it fails.
        "--deselect=tests/test_bayes.py::test_digits_are_better_than_by_eigenimages",
        "--deselect=tests/test_bayes.py::test_shuffled_pictures_give_chance",
        "--deselect=tests/test_bayes.py::TestPriorPictures",
        "--deselect=tests/test_bayes.py::test_the_same_posterior_in_a_latent",
    ),
    "evaluation": (
        "tests/test_ceiling_spurious.py",
        "tests/test_evaluation.py",
        "tests/test_group_statistics.py",
        "tests/test_judge.py",
        "tests/test_profiles.py",
        "tests/test_scores.py",
        "tests/test_splits.py",
        "--deselect=tests/test_ceiling_spurious.py"
        "::test_p_within_categories_is_uniform_without_a_relation",
        "--deselect=tests/test_evaluation.py"
        "::test_p_values_are_uniform_without_a_relation",
        # Networks of real size, whose time is not that of this package.
        "--deselect=tests/test_profiles.py"
        "::test_a_whole_profile_by_the_command_with_random_weights",
        "--deselect=tests/test_profiles.py::TestNetworks",
        "--deselect=tests/test_profiles.py::TestRealNetwork",
    ),
    "responses": ("tests/test_responses.py",),
}
"""By package: the tests that are run, each mutant by those that reach its function."""

SEED = 0
NOTICED = {"killed", "timeout", "segfault", "suspicious"}


def prepare(package: str) -> Path:
    """Copy the project to where it may be changed, and say there how."""
    folder = PROJECT / "mutants" / package
    shutil.rmtree(folder, ignore_errors=True)
    for name in ("bids_recon", "docs", "tests"):
        ignored = shutil.ignore_patterns("__pycache__", "_build")
        shutil.copytree(PROJECT / name, folder / name, ignore=ignored)
    shutil.copy(PROJECT / "setup.cfg", folder)
    # Python remembers of a path that there was nothing.
    (folder / "mutants").mkdir()
    options = {
        "source_paths": ["bids_recon"],
        "also_copy": ["docs"],
        "only_mutate": [f"bids_recon/{package}/*.py"],
        "do_not_mutate_patterns": [
            r"raise \w*Error\(",
            r"(Note|warnings\.warn|warnings\.simplefilter|warnings\.filterwarnings)\(",
        ],
        "pytest_add_cli_args": ["-p", "no:cacheprovider"],
        "pytest_add_cli_args_test_selection": list(TESTS[package]),
        # torch does not survive a fork of a process that used it.
        "process_isolation": "forkserver",
        "timeout_multiplier": 5.0,
        "timeout_constant": 10.0,
    }
    lines = [f"{name} = {json.dumps(value)}" for name, value in options.items()]
    (folder / "pyproject.toml").write_text("\n".join(["[tool.mutmut]", *lines, ""]))
    return folder


def names_of(folder: Path, package: str) -> list[str]:
    """Return the names of all mutants, as mutmut gives them."""
    from mutmut.mutation.file_mutation import mutate_file_contents
    from mutmut.utils.format_utils import get_mutant_name

    os.chdir(folder)
    names = []
    for path in sorted(Path("bids_recon", package).glob("*.py")):
        made = mutate_file_contents(str(path), path.read_text(encoding="utf-8"))
        names += [get_mutant_name(path, name) for name in made.mutant_names]
    return names


def main() -> int:
    package = sys.argv[1] if len(sys.argv) > 1 else ""
    if package not in TESTS:
        sys.stderr.write(f"PACKAGE is one of {', '.join(TESTS)}, not {package!r}\n")
        return 64
    folder = prepare(package)
    names = names_of(folder, package)
    n_all, drawn = len(names), []
    if len(sys.argv) > 2 and sys.argv[2]:
        drawn = random.Random(SEED).sample(names, min(int(sys.argv[2]), n_all))
        names = drawn
    os.environ |= {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(folder / "mutants")}
    os.nice(10)
    mutmut = [Path(sys.executable).with_name("mutmut")]
    done = subprocess.run([*mutmut, "run", "--max-children", "1", *drawn], check=False)
    if done.returncode:
        return done.returncode
    # All: the results of those that were noticed, too.
    said = subprocess.run(
        [*mutmut, "results", "--all", "true"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    states = dict(line.strip().split(": ", 1) for line in said.splitlines())
    states = {name: states[name] for name in names}
    left = [name for name, state in states.items() if state not in NOTICED]
    for name in left:
        subprocess.run([*mutmut, "show", name], check=False)
    counts = ", ".join(f"{n} {state}" for state, n in Counter(states.values()).items())
    share = 100 * (1 - len(left) / len(names))
    sys.stdout.write(
        f"{package}: {len(names)} of {n_all} mutants: {counts}. "
        f"{share:.1f} % were noticed.\n"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
