"""The fuzzers' corpus in every run, and that the fuzzers would notice what they look for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from unittest import mock

from attrs import fields
from twisted.trial.unittest import SynchronousTestCase

from fuzz import contents, databases, envelopes, files, frames, frames_v3, headers, texts
from fuzz.targets import TARGETS
from messageu.client import Identity, RelayAddress, _keyring
from messageu.client._inbox import Opener
from messageu.client._messages import KeyRequest, Sender
from messageu.crypto.v2 import SymmetricKey
from messageu.crypto.v3 import Ciphertext, FileOffer, Message, _seals
from messageu.model import ClientId
from messageu.server import Header, HeaderReader, _proxy_header
from messageu.store import SqliteStore, _opening, _takeover
from messageu.terminal import _text
from messageu.wire import Parser, Run, v2, v3


class CorpusTests(SynchronousTestCase):
    """Every input of fuzz/corpus, in each of the targets."""

    def test_requests(self) -> None:
        """What a relay reads."""
        self.run_corpus("requests")

    def test_responses(self) -> None:
        """What a client reads."""
        self.run_corpus("responses")

    def test_requests_v3(self) -> None:
        """What a relay of v3 reads."""
        self.run_corpus("requests_v3")

    def test_responses_v3(self) -> None:
        """What a client of v3 reads."""
        self.run_corpus("responses_v3")

    def test_header(self) -> None:
        """What a balancer sends before a connection."""
        self.run_corpus("header")

    def test_identity(self) -> None:
        """me.info."""
        self.run_corpus("identity")

    def test_keyring(self) -> None:
        """me.keys."""
        self.run_corpus("keyring")

    def test_address(self) -> None:
        """server.info."""
        self.run_corpus("address")

    def test_envelopes(self) -> None:
        """Sealed messages and keys."""
        self.run_corpus("envelopes")

    def test_contents(self) -> None:
        """What is inside v3's seals and ratchets."""
        self.run_corpus("contents")

    def test_terminal(self) -> None:
        """What is shown."""
        self.run_corpus("terminal")

    def test_rows(self) -> None:
        """Rows of another server."""
        self.run_corpus("rows")

    def test_database(self) -> None:
        """Files of another server."""
        self.run_corpus("database")

    def test_every_target_is_run(self) -> None:
        """There is a test above, a corpus and a dictionary for each target."""
        for name, target in TARGETS.items():
            self.assertTrue(hasattr(self, f"test_{name}"), name)
            self.assertTrue(target.dictionary_file.is_file(), name)

    def run_corpus(self, name: str) -> None:
        """Run all inputs of a target; the first that breaks something fails the test."""
        inputs = TARGETS[name].inputs()
        self.assertGreater(len(inputs), 4)
        for file, data in inputs.items():
            try:
                TARGETS[name].run(data)
            except Exception as error:
                raise AssertionError(f"{name}/{file}: {error!r}") from error


class NoticingTests(SynchronousTestCase):
    """The harnesses, on readers that have been broken on purpose."""

    def notices(self, target: Callable[[bytes], None], corpus: str, *patches: Any) -> None:
        """With the patches, some input of the corpus breaks the target; without, none does."""
        inputs = TARGETS[corpus].inputs().values()
        for patch in patches:
            with patch:
                broken = any(_breaks(target, data) for data in inputs)
            self.assertTrue(broken, f"{corpus} without {patch.attribute}")

    def test_split_that_matters(self) -> None:
        """A parser that forgets what it has of a frame is noticed, in either direction."""
        forgetful = mock.patch.object(Parser, "_compact", lambda self: self._fail("forgotten"))
        self.notices(frames.requests, "requests", forgetful)
        self.notices(frames.responses, "responses", forgetful)
        self.notices(frames_v3.requests, "requests_v3", forgetful)
        self.notices(frames_v3.responses, "responses_v3", forgetful)

    def test_header_that_is_cut(self) -> None:
        """A reader of headers that forgets what it has is noticed, and one that guesses, or says
        something else than an address."""
        read = HeaderReader.feed

        def forgets(self: HeaderReader, data: bytes) -> Any:
            self._stored.clear()
            return read(self, data)

        def guesses(data: bytes) -> Header | None:
            return _proxy_header._read_text(data + b"\r\n") if b"PROXY" in data else None

        self.notices(
            headers.header,
            "header",
            mock.patch.object(HeaderReader, "feed", forgets),
            mock.patch.object(_proxy_header, "read_header", guesses),
            mock.patch.object(_proxy_header, "_show", lambda address: f"{address} "),
        )

    def test_run_that_differs(self) -> None:
        """A short cut that leaves out a frame, or takes another's type, is noticed."""
        read_run = v2.RequestCodec.read_run

        def leaves_out(self: v2.RequestCodec, *rest: Any) -> Run[Any] | None:
            run = read_run(self, *rest)
            return run and Run(run.items[1:], run.last, run.end)

        self.notices(
            frames.requests, "requests", mock.patch.object(v2.RequestCodec, "read_run", leaves_out)
        )

    def test_frame_that_is_another(self) -> None:
        """A request of v3 that is read as another is noticed, and so is an answer."""
        for target, corpus, body in (
            (frames_v3.requests, "requests_v3", v3.Subscribe),
            (frames_v3.responses, "responses_v3", v3.Published),
        ):
            other = mock.patch.object(body, "decode", lambda _, body=body: _ones(body))
            self.notices(target, corpus, other)

    def test_foreign_error(self) -> None:
        """An exception that is not of our tree is noticed."""
        for target, corpus, owner, name in (
            (frames.requests, "requests", v2.SendMessage, "decode"),
            (frames.responses, "responses", v2.Stored, "decode"),
            (frames_v3.requests, "requests_v3", v3.Register, "decode"),
            (frames_v3.responses, "responses_v3", v3.Claimed, "decode"),
            (headers.header, "header", _proxy_header, "_show"),
            (files.identity, "identity", ClientId, "from_hex"),
            (files.keyring, "keyring", ClientId, "from_hex"),
            (files.address, "address", RelayAddress, "__init__"),
            (envelopes.envelopes, "envelopes", SymmetricKey, "open"),
            (contents.contents, "contents", FileOffer, "__init__"),
            (databases.rows, "rows", _takeover, "_id"),
            (databases.database, "database", _opening, "check_foreign"),
        ):
            broken = mock.patch.object(owner, name, side_effect=ZeroDivisionError)
            self.notices(target, corpus, broken)

    def test_file_that_is_not_read_again(self) -> None:
        """A file that is written as something else than what was read is noticed."""
        self.notices(
            files.identity, "identity", mock.patch.object(Identity, "encode", lambda _: b"anna")
        )
        self.notices(
            files.keyring,
            "keyring",
            mock.patch.object(_keyring, "_peer_out", lambda peer: {"id": peer.client_id.hex}),
        )
        self.notices(
            files.address, "address", mock.patch.object(RelayAddress, "__str__", lambda _: "a:1")
        )

    def test_message_taken_for_another(self) -> None:
        """A message of one type that is opened as one of another is noticed."""

        async def opens_anything(_: Opener, message: v2.WaitingMessage) -> KeyRequest:
            return KeyRequest(Sender(message.sender, None))

        self.notices(
            envelopes.envelopes, "envelopes", mock.patch.object(Opener, "open", opens_anything)
        )

    def test_content_that_is_read_as_another(self) -> None:
        """What v3's readers leave out, or take for something else, is noticed."""
        self.notices(
            contents.contents,
            "contents",
            mock.patch.object(_seals, "Ciphertext", lambda kind, raw: Ciphertext(kind, raw[1:])),
            mock.patch.object(contents, "decode_receipt", lambda body: [body[:16]]),
            mock.patch.object(Message, "encode", lambda _: b"a message"),
            mock.patch.object(FileOffer, "encode", lambda _: b"an offer"),
        )

    def test_terminal_that_obeys(self) -> None:
        """A control character that comes through is noticed, and so is a forged frame."""
        self.notices(
            texts.terminal,
            "terminal",
            mock.patch.object(_text, "_ALL", {}),
            mock.patch.object(_text, "_marked", lambda line, _: line),
        )

    def test_row_that_is_lost(self) -> None:
        """A row that is neither taken nor set aside is noticed, and so is a good one set aside."""
        self.notices(
            databases.rows,
            "rows",
            mock.patch.object(_takeover, "_quarantine"),
            mock.patch.object(_takeover, "_content", side_effect=_takeover._Unfit("no")),
            mock.patch.object(_takeover, "_name", side_effect=_takeover._Unfit("no")),
        )

    def test_refused_database_that_is_changed(self) -> None:
        """A database that is refused and not left as it was is noticed."""
        opened = SqliteStore.open

        def spoils(store: SqliteStore) -> None:
            try:
                opened(store)
            finally:
                with store._path.open("ab") as file:
                    file.write(b"spoilt")

        self.notices(databases.database, "database", mock.patch.object(SqliteStore, "open", spoils))


def _ones(body: type[Any]) -> Any:
    return body(*(1 for _ in fields(body)))


def _breaks(target: Callable[[bytes], None], data: bytes) -> bool:
    try:
        target(data)
    except Exception:  # noqa: BLE001 - whichever it is
        return True
    return False
