"""The examples of deploy/ agree with the programs that they start, and with each other."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from unittest import skipUnless

import yaml
from twisted.trial.unittest import SynchronousTestCase

from messageu.server import LIMITS
from messageu.store.postgres import CONNECTIONS, PostgresAddress
from messageu.tap import Options

DEPLOY = Path(__file__).resolve().parent.parent / "deploy"
UNITS = sorted(DEPLOY.glob("systemd/**/*.service")) + sorted(DEPLOY.glob("systemd/**/*.conf"))
RELAYS = {"relay1": "192.0.2.11", "relay2": "192.0.2.12"}
DATABASES = {"db1": "192.0.2.21", "db2": "192.0.2.22"}
BALANCER = "192.0.2.1"
BACKGROUND_CONNECTIONS = 2

HARDENED = {
    "NoNewPrivileges": "yes",
    "CapabilityBoundingSet": "",
    "ProtectSystem": "strict",
    "ProtectHome": "yes",
    "PrivateTmp": "yes",
    "RestrictNamespaces": "yes",
    "RestrictSUIDSGID": "yes",
    "SystemCallFilter": "@system-service",
    "IPAddressDeny": "any",
}


def read_unit(path: Path) -> dict[str, str]:
    """The settings of a unit, of which none is given twice."""
    text = path.read_text("utf-8").replace("\\\n", " ")
    pairs = re.findall(r"^(\w+)=(.*)$", text, re.MULTILINE)
    assert len(dict(pairs)) == len(pairs), path
    return dict(pairs)


def read_environment(path: Path) -> dict[str, str]:
    """The variables of an environment file."""
    return dict(re.findall(r"^(\w+)=(.*)$", path.read_text("utf-8"), re.MULTILINE))


def read_compose() -> dict[str, Any]:
    """The compose file."""
    return dict(yaml.safe_load((DEPLOY / "compose" / "compose.yaml").read_text("utf-8")))


def read_patroni() -> dict[str, Any]:
    """Patroni's configuration."""
    return dict(yaml.safe_load((DEPLOY / "patroni" / "patroni.yml").read_text("utf-8")))


def relay_options(arguments: list[str]) -> Options:
    """What a relay understands of its command line."""
    options = Options()
    options.parseOptions(arguments)
    return options


def relays() -> Mapping[str, Options]:
    """Every command line of a relay in the examples."""
    unit = read_unit(DEPLOY / "systemd" / "messageu.service")
    command = shlex.split(unit["ExecStart"])
    environment = read_environment(DEPLOY / "systemd" / "relay.env")
    arguments = [
        re.sub(r"\$\{(\w+)\}", lambda found: environment[found[1]], argument)
        for argument in command[command.index("messageu") + 1 :]
    ]
    compose = read_compose()["services"]
    return {
        "systemd": relay_options(arguments),
        **{name: relay_options(compose[name]["command"]) for name in RELAYS},
    }


class RelayTests(SynchronousTestCase):
    """How relays are started."""

    def test_options(self) -> None:
        """A relay knows all its options. It is where HAProxy looks for it, and believes nobody else."""
        haproxy = (DEPLOY / "haproxy" / "haproxy.cfg").read_text("utf-8")
        servers = re.findall(r"server (\w+) ([\d.]+):(\d+) check port (\d+)", haproxy)
        for name, options in relays().items():
            ports = [
                int(re.match(r"tcp:(\d+)", where)[1])
                for where in (options["endpoint"][0], options["v3"][0], options["health"])
            ]
            expected = {
                (relay, address, str(port), str(ports[2]))
                for relay, address in RELAYS.items()
                for port in ports[:2]
            }
            self.assertEqual(set(servers), expected, name)
            self.assertEqual(options["proxy-protocol"], BALANCER, name)
            self.assertIsNotNone(options["v3-certificate"], name)

    def test_database(self) -> None:
        """All are given the same two databases, and the user that is made for them."""
        for name, options in relays().items():
            parameters = PostgresAddress.parse(options["database"]).parameters
            self.assertEqual(parameters["host"], ",".join(DATABASES.values()), name)
            self.assertEqual((parameters["user"], parameters["dbname"]), ("messageu",) * 2, name)
            self.assertEqual(parameters["target_session_attrs"], "read-write", name)
        made = (DEPLOY / "patroni" / "post_bootstrap").read_text("utf-8")
        self.assertIn("CREATE ROLE messageu LOGIN", made)
        self.assertIn("CREATE DATABASE messageu OWNER messageu", made)

    def test_time_to_stop(self) -> None:
        """A supervisor waits for longer than a relay takes to drain and to stop."""
        drain = relays()["systemd"]["drain"] + LIMITS["stop_grace"].default
        unit = read_unit(DEPLOY / "systemd" / "messageu.service")
        self.assertGreater(int(unit["TimeoutStopSec"]), 2 * drain)
        for name in RELAYS:
            grace = read_compose()["services"][name]["stop_grace_period"]
            self.assertEqual(grace, f"{unit['TimeoutStopSec']}s")

    def test_one_certificate(self) -> None:
        """In compose, the second relay waits until the first one has made the certificate of both."""
        services = read_compose()["services"]
        self.assertEqual(
            services["relay2"]["depends_on"], {"relay1": {"condition": "service_healthy"}}
        )
        self.assertEqual(
            {tuple(services[name]["volumes"]) for name in RELAYS}, {("certificate:/certificate",)}
        )


class DatabaseTests(SynchronousTestCase):
    """Patroni and etcd."""

    def test_patroni(self) -> None:
        """A commit waits for the standby, as Patroni's times allow, and there are connections for
        all relays, twice."""
        settings = read_patroni()["bootstrap"]["dcs"]
        self.assertTrue(settings["synchronous_mode"])
        self.assertLessEqual(settings["loop_wait"] + 2 * settings["retry_timeout"], settings["ttl"])
        parameters = settings["postgresql"]["parameters"]
        wanted = 2 * len(RELAYS) * (CONNECTIONS + BACKGROUND_CONNECTIONS)
        self.assertGreater(parameters["max_connections"], wanted + 10)
        for unsafe in ("fsync", "synchronous_commit", "full_page_writes"):
            self.assertNotIn(unsafe, parameters)

    def test_who_may_connect(self) -> None:
        """The relays may, and the databases with each other; passwords are never sent in clear."""
        rules = [rule.split() for rule in read_patroni()["postgresql"]["pg_hba"]]
        self.assertEqual(
            {rule[3] for rule in rules if rule[1:3] == ["messageu", "messageu"]},
            {f"{address}/32" for address in RELAYS.values()},
        )
        self.assertEqual({rule[-1] for rule in rules if rule[0] != "local"}, {"scram-sha-256"})

    def test_etcd(self) -> None:
        """Patroni asks the etcds that know of each other."""
        members = read_environment(DEPLOY / "etcd" / "etcd.env")["ETCD_INITIAL_CLUSTER"]
        addresses = re.findall(r"http://([\d.]+):2380", members)
        asked = read_patroni()["etcd3"]["hosts"]
        self.assertEqual(asked.split(","), [f"{address}:2379" for address in addresses])
        self.assertEqual(addresses, [*DATABASES.values(), BALANCER])

    def test_compose(self) -> None:
        """Everybody has the address that the others look for, and a network that has it."""
        compose = read_compose()
        services = compose["services"]
        addresses = {
            name: service["networks"]["inside"]["ipv4_address"]
            for name, service in services.items()
        }
        self.assertEqual(
            {**addresses, "etcd": None}, {"balancer": BALANCER, **RELAYS, **DATABASES, "etcd": None}
        )
        variables = set(read_environment(DEPLOY / "patroni" / "patroni.env"))
        for name, address in DATABASES.items():
            environment = services[name]["environment"]
            self.assertLessEqual(variables, set(environment))
            self.assertEqual(environment["PATRONI_NAME"], name)
            self.assertEqual(environment["PATRONI_POSTGRESQL_CONNECT_ADDRESS"], f"{address}:5432")
            self.assertEqual(environment["PATRONI_ETCD3_HOSTS"], f"{addresses['etcd']}:2379")
            self.assertIn(f":{environment['RELAY_PASSWORD']}@", services["relay1"]["command"][0])
        for service in services.values():
            built = service.get("build")
            if built is not None:
                context = DEPLOY / "compose" / built["context"]
                self.assertTrue((context / built["dockerfile"]).is_file(), built)


class UnitTests(SynchronousTestCase):
    """Units of systemd."""

    def test_sandbox(self) -> None:
        """Each service can do little beside its work."""
        self.assertEqual(len(UNITS), 3)
        for path in UNITS:
            unit = read_unit(path)
            self.assertEqual({name: unit.get(name) for name in HARDENED}, HARDENED, path.name)
            # Neither pyOpenSSL nor PostgreSQL's compiler could work.
            self.assertNotIn("MemoryDenyWriteExecute", unit)

    @skipUnless(shutil.which("systemd-analyze"), "systemd-analyze is not installed")
    def test_verified(self) -> None:
        """systemd understands them."""
        folder = Path(self.mktemp())
        folder.mkdir()
        for path in DEPLOY.glob("systemd/*.service"):
            unit = folder / path.name
            # The programs are not there.
            unit.write_text(re.sub(r"/opt/\w+/bin/\w+", "/bin/true", path.read_text("utf-8")))
            verified = subprocess.run(
                ["systemd-analyze", "verify", "--man=no", unit],
                capture_output=True,
                check=False,
                text=True,
            )
            said = [line for line in verified.stderr.splitlines() if path.name in line]
            self.assertEqual(said, [])


class ShellTests(SynchronousTestCase):
    """What is a program."""

    def test_post_bootstrap(self) -> None:
        """A shell understands it, and it may be run."""
        script = DEPLOY / "patroni" / "post_bootstrap"
        self.assertTrue(script.stat().st_mode & 0o100)
        self.assertEqual(subprocess.run(["sh", "-n", script], check=False).returncode, 0)
