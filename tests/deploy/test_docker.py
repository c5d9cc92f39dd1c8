"""The Dockerfile copies what there is, and what is needed, and runs what is installed."""

from __future__ import annotations

import json
import re
import tomllib
from importlib.metadata import entry_points
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from messageu.settings import SETTINGS, from_environment
from messageu.tap import Options

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "deploy" / "docker" / "Dockerfile").read_text("utf-8")
LINES = re.sub(r"\\\n\s*", "", TEXT).splitlines()


def instructions(name: str) -> list[str]:
    """What follows an instruction, each time that it stands there."""
    return [line.partition(" ")[2] for line in LINES if line.startswith(f"{name} ")]


def environment() -> dict[str, str]:
    """The variables that a relay has there."""
    return dict(re.findall(r'(\w+)="([^"]*)"', " ".join(instructions("ENV"))))


class DockerfileTests(SynchronousTestCase):
    """deploy/docker/Dockerfile."""

    def test_copies_what_there_is(self) -> None:
        """What is copied exists, and everything is among it from which the wheel is built."""
        copied = {source for line in instructions("COPY") for source in line.split()[:-1]}
        for source in copied:
            self.assertTrue((ROOT / source).exists(), source)
        project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
        wheel = project["tool"]["hatch"]["build"]["targets"]["wheel"]["only-include"]
        needed = [project["project"]["readme"], *project["project"]["license-files"], *wheel]
        for path in ("pyproject.toml", *needed):
            self.assertIn(path.split("/")[0], copied)

    def test_python(self) -> None:
        """Its Python is new enough, and the extra that it installs is one."""
        project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
        (version,) = re.findall(r"^FROM python:3\.(\d+)-", TEXT, re.MULTILINE)
        self.assertGreaterEqual(int(version), int(project["requires-python"].split(".")[1]))
        (extra,) = re.findall(r"/usr/src/messageu\[(\w+)\]", TEXT)
        self.assertIn(extra, project["optional-dependencies"])

    def test_runs_what_is_installed(self) -> None:
        """The program that it runs is one of Twisted's, with our plugin, not as root, and is told
        to stop as we are."""
        (command,) = map(json.loads, instructions("ENTRYPOINT"))
        self.assertEqual(command, ["twistd", "--nodaemon", "--pidfile=", "messageu"])
        self.assertIn("twistd", entry_points(group="console_scripts").names)
        self.assertEqual(instructions("USER"), ["messageu"])
        self.assertEqual(instructions("STOPSIGNAL"), ["SIGTERM"])
        self.assertEqual(instructions("WORKDIR"), instructions("VOLUME"))

    def test_settings(self) -> None:
        """Every variable is a setting, the relay can be so, and each port of it is exposed."""
        variables = environment()
        self.assertLessEqual(set(variables), {each.variable for each in SETTINGS.values()})
        given = from_environment(variables)
        words = [
            f"--{name}={part}"
            for name, said in given.items()
            if said.value is not True
            for part in ([said.value] if isinstance(said.value, str) else said.value)
        ]
        Options().parseOptions(words)
        ports = re.findall(r"tcp:(\d+)", " ".join(variables.values()))
        self.assertEqual(instructions("EXPOSE")[0].split(), ports)

    def test_health(self) -> None:
        """Its health is asked where the relay answers."""
        (check,) = instructions("HEALTHCHECK")
        port = environment()["MESSAGEU_HEALTH"].removeprefix("tcp:")
        self.assertIn(f"http://127.0.0.1:{port}/healthz", json.loads(check.partition(" ")[2])[2])
