"""Make a virtual environment with messageu in it, from wheels only.

``bootstrap.py .venv`` installs the newest versions and all tools of a developer;
``bootstrap.py .venv-lowest --lowest`` the lowest that pyproject.toml allows, to run the tests on.
It does nothing when the environment is there and up to date. pip finds packages as its own
configuration and its PIP_* variables say.
"""

import sys

LOWEST_PYTHON = (3, 11)

if sys.version_info < LOWEST_PYTHON:  # before anything that an older Python cannot even import
    sys.exit(
        "bootstrap: Python {}.{} or newer is needed, and this is {}.{}; "
        "name another one: make PYTHON=python3.12".format(*LOWEST_PYTHON, *sys.version_info)
    )

import argparse
import fcntl
import hashlib
import importlib
import os
import re
import shutil
import subprocess
import sysconfig
import tomllib
from itertools import chain
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PROJECT = ROOT / "pyproject.toml"
WHEELS_ONLY = ["--only-binary", ":all:"]

LOWEST_EXTRAS = ["test"]
"""What the environment of the lowest versions has, beside what is needed."""

# pip is told where to install. What a machine's configuration says of that is for other uses.
ELSEWHERE = ["PIP_TARGET", "PIP_PREFIX", "PIP_ROOT"]
HERE = {"PIP_USER": "0", "PIP_REQUIRE_VIRTUALENV": "0"}


class BootstrapError(Exception):
    """The environment could not be made; the text says why in one line."""


def main(arguments: list[str]) -> int:
    """Make the environment; the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("directory", type=Path, help="where the environment is to be")
    parser.add_argument(
        "--lowest", action="store_true", help="install the lowest versions, for the tests"
    )
    options = parser.parse_args(arguments)
    try:
        # Two runs of make at the same time make one environment.
        with Path(__file__).open() as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            bring_up_to_date(options.directory.absolute(), lowest=options.lowest)
    except BootstrapError as error:
        print(f"bootstrap: {error}", file=sys.stderr)
        return 1
    return 0


def bring_up_to_date(directory: Path, *, lowest: bool) -> None:
    """Make the environment unless it is there.

    :raises BootstrapError: when it could not be made; then the next run begins anew.
    """
    project = PROJECT.read_text("utf-8")
    python = directory / "bin" / "python"
    stamp = directory / "messageu-stamp"
    # All that the environment depends on: it can neither be moved nor outlive its Python.
    inputs = [project, sys.version, str(directory), str(ROOT), str(lowest)]
    digest = hashlib.sha256("\0".join(inputs).encode()).hexdigest()
    if python.exists() and stamp.exists() and stamp.read_text("ascii") == digest:
        return
    print(f"Making {directory.name}, once: this may take a minute.", flush=True)
    make_environment(directory)
    extras, constraints = "dev", []
    if lowest:
        extras = ",".join(LOWEST_EXTRAS)
        pins = directory / "lowest.txt"
        pins.write_text("".join(f"{pin}\n" for pin in lowest_versions(project)), "utf-8")
        constraints = ["--constraint", str(pins)]
    run_pip(
        [str(python), "-I", "-m", "pip"],
        [*WHEELS_ONLY, *constraints, "--editable", f"{ROOT}[{extras}]"],
    )
    stamp.write_text(digest, "ascii")


def make_environment(directory: Path) -> None:
    """Make an environment that has pip, also where Python came without ensurepip."""
    if directory.exists() and not is_environment(directory):
        raise BootstrapError(f"{directory} is there and is no virtual environment: remove it")
    shutil.rmtree(directory, ignore_errors=True)
    if has_ensurepip() and run_venv(directory).returncode == 0:
        return
    shutil.rmtree(directory, ignore_errors=True)
    made = run_venv("--without-pip", directory)
    if made.returncode:
        raise BootstrapError(f"no virtual environment: {telling_line(made.stdout + made.stderr)}")
    library = sysconfig.get_path("purelib", "venv", {"base": str(directory)})
    run_pip(find_pip(), [*WHEELS_ONLY, "--target", library, "pip"])


def is_environment(directory: Path) -> bool:
    """Whether a directory is a virtual environment, or one that was interrupted at its start."""
    names = {path.name for path in directory.iterdir()}
    return "pyvenv.cfg" in names or names <= {"bin", "include", "lib", "lib64"}


def has_ensurepip() -> bool:
    """Whether this Python can give an environment its pip: Debian's needs a package more."""
    try:
        importlib.import_module("ensurepip")
    except ImportError:
        return False
    return True


def run_venv(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run the venv module."""
    return subprocess.run(
        [sys.executable, "-m", "venv", *arguments], capture_output=True, check=False, text=True
    )


def find_pip() -> list[str]:
    """The pip of this Python, or any: one pip can fetch another, which is the same for all."""
    candidates = [[sys.executable, "-m", "pip"], ["pip3"], ["pip"]]
    for candidate in candidates:
        try:
            found = subprocess.run([*candidate, "--version"], capture_output=True, check=False)
        except OSError:
            continue
        if found.returncode == 0:
            return candidate
    raise BootstrapError("this Python has neither ensurepip nor pip: install one of them")


def run_pip(pip: list[str], arguments: list[str]) -> None:
    """Install something, quietly.

    :raises BootstrapError: with the most telling line of what pip said.
    """
    environment = {name: value for name, value in os.environ.items() if name not in ELSEWHERE}
    finished = subprocess.run(
        [*pip, "install", "--quiet", "--no-input", "--disable-pip-version-check", *arguments],
        capture_output=True,
        check=False,
        cwd=ROOT,
        env=environment | HERE,
        text=True,
    )
    if finished.returncode:
        raise BootstrapError(
            f"pip could not install: {telling_line(finished.stderr)} "
            "(is there a network, or an index that pip is told of?)"
        )


def telling_line(said: str) -> str:
    """The first error that was reported, or else the last line."""
    lines = [line.strip() for line in said.splitlines() if line.strip()] or ["it said nothing"]
    errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ")]
    return errors[0] if errors else lines[-1]


def lowest_versions(project: str) -> list[str]:
    """The pins of a constraints file, from the lower bounds in the text of pyproject.toml.

    :raises BootstrapError: for a requirement without a lower bound.
    """
    table = tomllib.loads(project)["project"]
    extras = [table["optional-dependencies"][extra] for extra in LOWEST_EXTRAS]
    pins = []
    for requirement in chain(table["dependencies"], *extras):
        bound = re.fullmatch(r"([A-Za-z0-9._-]+)(?:\[[^]]*\])?>=([0-9][^,;\s]*)", requirement)
        if bound is None:
            raise BootstrapError(f"pyproject.toml gives no single lower bound for {requirement}")
        pins.append("==".join(bound.groups()))
    return pins


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
