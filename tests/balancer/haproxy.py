"""HAProxy on the loopback, in front of relays in processes of their own."""

from __future__ import annotations

import csv
import io
import re
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from attrs import frozen

from tests.processes.children import ProcessTestCase, Relay
from tests.sockets.client import PATIENCE, SocketClient, wait_until

HAPROXY: Final = shutil.which("haproxy", path="/usr/local/sbin:/usr/sbin:/usr/local/bin:/usr/bin")
SKIP: Final = None if HAPROXY else "haproxy is not installed: apt-get install haproxy"

EXAMPLE: Final = Path(__file__).resolve().parents[2] / "deploy" / "haproxy" / "haproxy.cfg"

FRONTS: Final = {"v2": 1357, "v3": 1358}
"""Where the example listens, by the names of its frontends."""

HOSTS: Final = ("192.0.2.11", "192.0.2.12")
"""The relays of the example."""

HEALTH_PORT: Final = 8404


def free_port() -> int:
    """A port that nobody uses now."""
    with socket.socket() as finder:
        finder.bind(("127.0.0.1", 0))
        port: int = finder.getsockname()[1]
    return port


@frozen
class Place:
    """Where a relay is."""

    v2: int
    v3: int
    health: int

    @classmethod
    def free(cls) -> Place:
        """Where nobody is now."""
        return cls(free_port(), free_port(), free_port())

    @property
    def options(self) -> tuple[str, ...]:
        """What a relay is told to be there."""
        v2, v3, health = (
            f"tcp:{port}:interface=127.0.0.1" for port in (self.v2, self.v3, self.health)
        )
        return ("-e", v2, "--v3", v3, "--health", health)


def example_for(places: tuple[Place, ...], fronts: Mapping[str, int], control: Path) -> str:
    """The example, with the ports and addresses of a test, each of which must be found in it once."""
    text = EXAMPLE.read_text("utf-8")
    for name, port in FRONTS.items():
        text = _replace(text, f"bind :{port}\n", f"bind 127.0.0.1:{fronts[name]}\n")
    for host, place in zip(HOSTS, places, strict=True):
        for port, own in ((FRONTS["v2"], place.v2), (FRONTS["v3"], place.v3)):
            line = f"{host}:{port} check port {HEALTH_PORT}\n"
            text = _replace(text, line, f"127.0.0.1:{own} check port {place.health}\n")
    text = _replace(text, "/run/haproxy/admin.sock", str(control))
    assert not re.search(r"192\.0\.2\.\d+:", text)
    return text


def _replace(text: str, old: str, new: str) -> str:
    assert text.count(old) == 1, old
    return text.replace(old, new)


class HAProxy:
    """HAProxy as in the example, on ports of its own, in front of two relays or the first of them.

    :param header: how it is told to send which header.
    :ivar fronts: its ports, by the names of its frontends.
    """

    def __init__(self, places: tuple[Place, Place], header: str = "send-proxy-v2") -> None:
        assert HAPROXY is not None
        # A path that is short enough for a socket.
        self._folder = Path(tempfile.mkdtemp(prefix="haproxy-"))
        self._control = self._folder / "control"
        self._log = self._folder / "log"
        self.fronts = {name: free_port() for name in FRONTS}
        text = example_for(places, self.fronts, self._control)
        text = _replace(text, "default-server send-proxy-v2 ", f"default-server {header} ")
        file = self._folder / "haproxy.cfg"
        file.write_text(text, "utf-8")
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [HAPROXY, "-db", "-f", file], stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        wait_until(self._listens, "HAProxy listens")

    def stop(self) -> None:
        """End it at once, and leave nothing."""
        self._process.kill()
        self._process.wait(PATIENCE)
        shutil.rmtree(self._folder)

    def _listens(self) -> bool:
        if self._process.poll() is not None:
            raise RuntimeError(self._log.read_text("utf-8"))
        return self._control.exists()

    def states(self) -> dict[tuple[str, str], str]:
        """What it thinks of each server, by its backend and its name."""
        with socket.socket(socket.AF_UNIX) as control:
            control.settimeout(PATIENCE)
            control.connect(str(self._control))
            control.sendall(b"show stat\n")
            answer = b"".join(iter(lambda: control.recv(65_536), b"")).decode()
        rows = csv.DictReader(io.StringIO(answer.removeprefix("# ")))
        return {
            (row["pxname"], row["svname"]): row["status"].split()[0]
            for row in rows
            if row["svname"] not in ("FRONTEND", "BACKEND")
        }

    def wait_for(self, state: str, *servers: str) -> None:
        """Until it thinks so of servers, in all backends."""
        wait_until(
            lambda: all(
                found == state for (_, name), found in self.states().items() if name in servers
            ),
            f"{servers} are {state}",
        )


class BalancedTestCase(ProcessTestCase):
    """Tests with HAProxy and relays. A relay's name is that of its server in the example."""

    skip = SKIP

    def setUp(self) -> None:
        super().setUp()
        self.places = (Place.free(), Place.free())

    def start_relay(self, number: int, *options: str) -> Relay:
        """The first relay, or the second, each with a database of its own."""
        return self.start(
            *self.places[number].options,
            *("-d", f"relay{number + 1}.db", "--proxy-protocol", "127.0.0.1"),
            *options,
        )

    def start_haproxy(self, *ready: str, header: str = "send-proxy-v2") -> HAProxy:
        """HAProxy, which knows which relays are ready, and that no other is."""
        self.haproxy = haproxy = HAProxy(self.places, header)
        self.addCleanup(haproxy.stop)
        haproxy.wait_for("UP", *ready)
        haproxy.wait_for("DOWN", *({"relay1", "relay2"} - set(ready)))
        return haproxy

    def dial(self, source: str = "127.0.0.1") -> SocketClient:
        """A connection for v2 by way of HAProxy."""
        client = SocketClient(self.haproxy.fronts["v2"], source=source)
        self.addCleanup(client.close)
        return client

    def databases(self) -> Iterator[Path]:
        """Those of the relays."""
        yield from sorted(self.folder.glob("relay?.db"))
