"""The units for systemd say what systemd understands, and fit each other and the relay."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from messageu.server import LimitSettings
from messageu.settings import from_file

FOLDER = Path(__file__).resolve().parents[2] / "deploy" / "single"
TWISTD = Path(sys.executable).with_name("twistd")


def directives(name: str) -> dict[str, list[str]]:
    """What a unit says, by directive."""
    found: dict[str, list[str]] = {}
    for line in (FOLDER / name).read_text("utf-8").splitlines():
        key, equals, value = line.partition("=")
        if equals and not line.startswith("#"):
            found.setdefault(key, []).append(value)
    return found


class UnitTests(SynchronousTestCase):
    """deploy/single."""

    def test_systemd_understands(self) -> None:
        """systemd-analyze has nothing to say about the units, once the program is where it is here."""
        if shutil.which("systemd-analyze") is None:
            raise SkipTest("systemd is not installed")
        folder = Path(self.mktemp()).absolute()
        shutil.copytree(FOLDER, folder)
        service = folder / "messageu.service"
        program = directives("messageu.service")["ExecStart"][0].split()[0]
        service.write_text(service.read_text().replace(program, str(TWISTD)))
        finished = subprocess.run(
            [
                "systemd-analyze",
                "verify",
                "--man=no",
                str(service),
                str(folder / "messageu.socket"),
            ],
            capture_output=True,
            check=False,
            text=True,
        )
        self.assertEqual((finished.returncode, finished.stdout, finished.stderr), (0, "", ""))

    def test_settings(self) -> None:
        """The settings are some that there are; what they name is where the unit lets the relay
        write, and each port of the socket is listened at."""
        service, sockets = directives("messageu.service"), directives("messageu.socket")
        given = from_file("relay.toml", (FOLDER / "relay.toml").read_bytes())
        self.assertIn("--config /etc/messageu/relay.toml", service["ExecStart"][0])
        state = f"/var/lib/{service['StateDirectory'][0]}"
        self.assertEqual(service["WorkingDirectory"], [state])
        self.assertTrue(given["database"].value.startswith(f"{state}/"))
        endpoints = given["endpoint"].value + given["v3"].value
        places = [
            int(re.fullmatch(r"systemd:domain=INET:index=(\d)", each)[1]) for each in endpoints
        ]
        self.assertEqual(places, list(range(len(sockets["ListenStream"]))))

    def test_room(self) -> None:
        """The unit lets the relay have the descriptors that its limits need, and time to stop."""
        service, limits = directives("messageu.service"), LimitSettings()
        self.assertGreater(int(service["LimitNOFILE"][0]), limits.connections + 64)
        self.assertGreater(int(service["TimeoutStopSec"][0]), limits.stop_grace)

    def test_hardened(self) -> None:
        """It can write nowhere but in its folder, and get no more rights than it has."""
        service = directives("messageu.service")
        for name, value in (
            ("ProtectSystem", "strict"),
            ("NoNewPrivileges", "yes"),
            ("CapabilityBoundingSet", ""),
            ("PrivateTmp", "yes"),
            ("User", "messageu"),
        ):
            self.assertEqual(service[name], [value])
        self.assertNotIn("ReadWritePaths", service)
        # What cffi makes for pyOpenSSL's callbacks is written and run.
        self.assertNotIn("MemoryDenyWriteExecute", service)
