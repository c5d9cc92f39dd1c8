"""The doctor: what it sees, and what it says is to be done."""

from __future__ import annotations

import os
import shutil
from datetime import UTC, datetime
from types import SimpleNamespace

from attrs import evolve

from messageu.cli import Exit, _doctor
from messageu.cli._findings import ROOM_WANTED
from messageu.client import Keyring, RelayAddress
from messageu.client.v3 import Contact, Core, Messenger, RelayLink
from messageu.model import ListedClient

from ..client.relay import ANNA, BERN, KEY
from .test_commands import CommandCase


class DoctorCase(CommandCase):
    """Somebody who asks the doctor."""

    def bad(self, who: str = "anna", *options: str) -> list[str]:
        """What is not well."""
        exit_code, written = self.run_for(who, "doctor", *options)
        lines = written.splitlines()
        found = [line.removeprefix("BAD ") for line in lines if line.startswith("BAD ")]
        self.assertEqual(exit_code, Exit.FAILED if found else Exit.DONE)
        self.assertEqual(self.console.complaints, [])
        return found

    def write(self, name: str, data: bytes, mode: int = 0o600) -> None:
        """A file of anna's."""
        path = self.root / "anna" / name
        path.write_bytes(data)
        path.chmod(mode)


class ProfileTests(DoctorCase):
    """In a profile of v3."""

    def setUp(self) -> None:
        super().setUp()
        self.register_both()

    def test_healthy(self) -> None:
        """A healthy profile has nothing bad, and each thing that was looked at is named."""
        written = self.done("anna", "doctor")
        self.assertNotIn("BAD", written)
        for what in (
            "folder", "disk", "address", "state.db", "state.kdf", "account", "relay", "certificate",
            "prekeys", "state", "clock", "contacts",
        ):  # fmt: skip
            self.assertIn(f"ok  {what}: ", written)
        self.assertIn("certificate: its key is the pinned one; dated until 9999-12-31\n", written)

    def test_modes(self) -> None:
        """What others can read or change is bad, and it says what to do."""
        (self.root / "anna/state.kdf").chmod(0o644)
        (self.root / "anna").chmod(0o702)
        self.assertEqual(
            self.bad(),
            [
                "folder: others may change it (mode 702): chmod o-w on the folder",
                "state.kdf: others may use it (mode 644): chmod 600 state.kdf",
                "profile: everybody may write in the profile's folder: chmod o-w",
            ],
        )

    def test_full_disk(self) -> None:
        """Too little room is bad before a file is refused for it."""
        self.patch(shutil, "disk_usage", lambda _: SimpleNamespace(free=ROOM_WANTED - 1))
        self.assertEqual(self.bad(), ["disk: 511 MiB are free: make room: 512 MiB at least"])

    def test_relay_away(self) -> None:
        """A relay that is away is one of the things that it sees."""
        self.network.listener = None
        [line] = self.bad()
        self.assertTrue(line.startswith("relay: the relay at 192.0.2.7:1358 cannot be reached"))
        self.assertTrue(line.endswith("is the line in server.info right?"))

    def test_other_key(self) -> None:
        """A relay with another key than the pinned one is bad for its certificate."""
        (self.root / "carl").mkdir()
        other = str(RelayLink(RelayAddress("192.0.2.7", 1358), bytes(32)))
        self.run_for("carl", "register", other, "carl", "--no-passphrase")
        self.console.complaints.clear()
        account, certificate = self.bad("carl")
        self.assertIn("not registered", account)
        self.assertIn("certificate: the relay shows another key than the pinned one: ", certificate)
        self.assertIn("do not go on before", certificate)

    def test_clock(self) -> None:
        """A clock that is wrong by minutes is bad."""
        desk = self.desk

        def late(*arguments: object) -> object:
            made = desk(*arguments)
            settings = evolve(made.settings, now=lambda: self.relay.now() - 120)
            return evolve(made, settings=settings)

        self.patch(self, "desk", late)
        self.assertEqual(self.bad(), ["clock: +120 seconds at the relay: set this one's clock"])

    def test_expired_certificate(self) -> None:
        """A certificate whose time is over is no reason to do anything, and that is said."""
        self.patch(_doctor, "expiry_of", lambda _: datetime(2020, 1, 1, tzinfo=UTC))
        self.assertIn(
            "ok  certificate: its key is the pinned one; dated until 2020-01-01, which is over: "
            "that does not matter, only the key counts\n",
            self.done("anna", "doctor"),
        )

    def test_old_copy(self) -> None:
        """A profile that was restored from a copy is bad, with what can be done about it."""
        shutil.copytree(self.root / "anna", self.root / "old")
        self.done("anna", "send", "bern", "hello")
        self.assertEqual(
            self.bad("old"),
            ["state: older than what the relay knows: give this copy up, or: messageu reset"],
        )

    def test_folder_of_somebody_else(self) -> None:
        """A folder in which nothing can be written is bad before something fails in it."""
        self.patch(os, "access", lambda *_: False)
        [line] = self.bad()
        self.assertRegex(line, r"\Afolder: it cannot be written \(mode \d+\): take the user")

    def test_name_that_went_to_somebody_else(self) -> None:
        """A contact whose name leads to somebody else now is bad."""
        profile = self.desk("anna").open(None)
        other = profile.core.profile.identity
        profile.close()
        contacts = Core.contacts

        def told(core: Core) -> list[Contact]:
            return [evolve(contact, changed_to=other, label="b\x1b") for contact in contacts(core)]

        self.patch(Core, "contacts", told)
        changed = "somebody else has the name of b\\x1b"
        self.assertEqual(
            self.bad(),
            [f"contact: {changed} now: ask b\\x1b for a new link, and compare: messageu verify"],
        )

    def test_locked(self) -> None:
        """A profile that another program has open is bad, and so is one without its passphrase."""
        messenger: Messenger = self.desk("anna").open(None)
        self.assertEqual(
            self.bad(), ["profile: another program has the profile open: end the other program"]
        )
        messenger.close()
        self.console.secrets = ["one two", "one two"]
        (self.root / "carl").mkdir()
        self.done("carl", "register", self.address, "carl")
        self.assertEqual(self.bad("carl"), ["profile: there is no terminal"])

    def test_no_profile(self) -> None:
        """Where nothing is, it says how to begin; an address that is none is bad."""
        (self.root / "carl").mkdir()
        self.assertEqual(
            self.bad("carl"),
            [
                "address: there is no server.info, which names a relay: register, or import the profile"
            ],
        )
        (self.root / "carl/server.info").write_text("messageu://nonsense\n")
        [line] = self.bad("carl")
        self.assertIn("address: ", line)
        (self.root / "carl/server.info").write_text(f"{self.address}\n")
        self.assertEqual(
            [line.partition(":")[0] for line in self.bad("carl")], ["state.db", "state.kdf"]
        )


class FolderOfV2Tests(DoctorCase):
    """In a folder of MessageU v2."""

    def setUp(self) -> None:
        super().setUp()
        self.write("server.info", b"192.0.2.7:1357\n")
        self.write("me.info", ANNA.encode())

    def test_healthy(self) -> None:
        """All is well where the files can be used and something listens; nothing is changed."""
        ring = Keyring(ANNA.client_id, relay_version=2)
        ring.learn_name(ListedClient(BERN.client_id, BERN.name))
        ring.share(BERN.client_id, KEY)
        self.write("me.keys", ring.encode())
        written = self.done("anna", "doctor")
        self.assertNotIn("BAD", written)
        for line in (
            "me.info: mode 600", "account: anna", "me.keys: mode 600",
            "keys: shared with 1 of 1 who are known", "address: 192.0.2.7:1357",
            "relay: something listens there",
        ):  # fmt: skip
            self.assertIn(f"ok  {line}\n", written)
        self.assertEqual(
            sorted(path.name for path in (self.root / "anna").iterdir()),
            ["me.info", "me.keys", "server.info"],
        )

    def test_not_registered(self) -> None:
        """Nobody has registered: that is said, with what to do."""
        (self.root / "anna/me.info").unlink()
        self.assertEqual(
            self.bad(), ["account: nobody has registered here: register, with 110 in the menu"]
        )

    def test_damaged(self) -> None:
        """Files that cannot be used are bad, and stay as they are."""
        self.write("me.keys", b"{", 0o644)
        self.write("me.info", ANNA.encode(), 0o640)
        self.assertEqual([line.partition(": ")[0] for line in self.bad()], ["me.info", "keys"])
        self.assertEqual((self.root / "anna/me.keys").read_bytes(), b"{")
        self.write("me.info", b"anna\n")
        [line] = self.bad()
        self.assertIn("bring back a copy of me.info", line)
        (self.root / "anna/me.info").write_bytes(ANNA.encode())
        (self.root / "anna/me.keys").unlink()
        (self.root / "anna/me.keys").mkdir()
        [line] = self.bad()
        self.assertIn("me.keys cannot be read", line)

    def test_relay_away(self) -> None:
        """A relay that is not there, or that takes no connection in time, is bad."""
        self.network.listener = None
        [line] = self.bad()
        self.assertTrue(line.startswith("relay: "), line)

    def test_bad_address(self) -> None:
        """An address that is none is bad."""
        self.write("server.info", b"nowhere\n")
        [line] = self.bad()
        self.assertTrue(line.startswith("address: server.info is invalid"), line)
        self.assertTrue(line.endswith("ask the relay's operator for its address"), line)
