"""The relay, and what it is measured against."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path

from attrs import frozen

from benchmarks.building import ROOT, build
from benchmarks.processes import Recipe

REFERENCES = ROOT / "build" / "references"
RABBIT = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")


@frozen
class Candidate:
    """A server, and the dialect that the load generator speaks to it."""

    title: str
    recipe: Recipe
    dialect: str = "v2"


def relay() -> Candidate:
    """Ours, as an operator starts it."""
    return Candidate("messageu", Recipe("relay", _twistd))


def _twistd(port: int, directory: Path) -> Sequence[str]:
    return [
        str(Path(sys.executable).parent / "twistd"),
        "--nodaemon",
        "--pidfile=",
        "messageu",
        f"--endpoint=tcp:{port}:interface=127.0.0.1",
        f"--database={directory / 'relay.db'}",
        "--no-v3",
    ]


def _python(module: str, *arguments: object) -> Sequence[str]:
    return [sys.executable, "-m", f"benchmarks.{module}", *map(str, arguments)]


def _from_here(port: int, directory: Path) -> Mapping[str, str]:
    return {"PYTHONPATH": str(ROOT)}


def bare_twisted() -> Candidate:
    """A Twisted server of the same frames, without a store."""

    def command(port: int, directory: Path) -> Sequence[str]:
        return _python("responder", port)

    return Candidate("bare Twisted", Recipe("bare", command, _from_here))


def single() -> Candidate:
    """Ours, with one transaction a request."""

    def command(port: int, directory: Path) -> Sequence[str]:
        return _python("single", port, directory / "relay.db")

    return Candidate("one transaction a request", Recipe("single", command, _from_here))


def bare_c() -> Candidate:
    """The same in C, which shows what the load generator can do."""

    def command(port: int, directory: Path) -> Sequence[str]:
        return [str(build("responder")), str(port)]

    return Candidate("bare C", Recipe("bare-c", command))


def redis() -> Candidate | None:
    """Redis streams, which sync before they answer."""
    program = shutil.which("redis-server")
    if program is None:
        return None

    def command(port: int, directory: Path) -> Sequence[str]:
        options = {"bind": "127.0.0.1", "port": port, "dir": directory, "save": ""}
        durable = {"appendonly": "yes", "appendfsync": "always"}
        named = ((f"--{name}", str(value)) for name, value in (options | durable).items())
        return [program, *chain.from_iterable(named)]

    return Candidate("Redis streams, appendfsync always", Recipe("redis", command), "redis")


def nats() -> Candidate | None:
    """NATS JetStream, which syncs each message; older ones than 2.10 cannot."""
    found = (str(REFERENCES / "bin" / "nats-server"), shutil.which("nats-server"))
    installed = (path for path in found if path is not None and Path(path).exists())
    program = next((path for path in installed if _nats_version(path) >= (2, 10)), None)
    if program is None:
        return None
    return Candidate(
        "NATS JetStream, sync always",
        Recipe(
            "nats",
            lambda port, directory: [program, "-c", str(directory / "nats.conf")],
            prepare=_configure_nats,
            greet=_make_stream,
        ),
        "nats",
    )


def _nats_version(program: str) -> tuple[int, ...]:
    said = subprocess.run([program, "--version"], capture_output=True, check=False, text=True)
    return tuple(map(int, said.stdout.split()[-1].lstrip("v").split(".")[:2]))


def _configure_nats(port: int, directory: Path) -> None:
    store = directory / "jetstream"
    (directory / "nats.conf").write_text(
        f'listen: 127.0.0.1:{port}\njetstream {{ store_dir: "{store}", sync_interval: always }}\n',
        "utf-8",
    )


def _make_stream(port: int) -> None:
    wanted = {"name": "mail", "subjects": ["mailbox.*"], "storage": "file", "num_replicas": 1}
    body = json.dumps(wanted)
    with socket.create_connection(("127.0.0.1", port), 10) as connection:
        connection.sendall(
            b'CONNECT {"verbose":false}\r\nSUB made 1\r\n'
            + f"PUB $JS.API.STREAM.CREATE.mail made {len(body)}\r\n{body}\r\n".encode()
        )
        with connection.makefile("rb") as lines:
            for line in lines:
                if b"did_create" in line:
                    return
    raise SystemExit("bench: NATS makes no stream")


def rabbitmq() -> Candidate | None:
    """RabbitMQ quorum queues of one member, with publisher confirms."""
    if not RABBIT.exists():
        return None
    return Candidate(
        "RabbitMQ quorum queues, confirms",
        Recipe(
            "rabbitmq",
            lambda port, directory: [str(RABBIT)],
            environment=_rabbit_environment,
            prepare=_configure_rabbit,
            after=_end_port_mapper,
        ),
        "amqp",
    )


def _configure_rabbit(port: int, directory: Path) -> None:
    (directory / "rabbit.conf").write_text(f"listeners.tcp.1 = 127.0.0.1:{port}\n", "utf-8")
    (directory / "plugins").write_text("[].\n", "utf-8")


def _rabbit_environment(port: int, directory: Path) -> Mapping[str, str]:
    return {
        "HOME": str(directory),  # for the cookie
        "ERL_EPMD_PORT": str(_mapper_port(port)),
        "RABBITMQ_CONFIG_FILE": str(directory / "rabbit.conf"),
        "RABBITMQ_CONF_ENV_FILE": "/dev/null",
        "RABBITMQ_DIST_PORT": str(_mapper_port(port) - 1),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(directory / "plugins"),
        "RABBITMQ_LOG_BASE": str(directory / "log"),
        "RABBITMQ_MNESIA_BASE": str(directory / "mnesia"),
        "RABBITMQ_NODENAME": "bench@localhost",
    }


def _mapper_port(port: int) -> int:
    return 15_000 + port % 5_000


def _end_port_mapper(port: int) -> None:
    # Erlang's own daemon, which RabbitMQ leaves behind.
    subprocess.run(
        ["epmd", "-port", str(_mapper_port(port)), "-kill"], capture_output=True, check=False
    )
