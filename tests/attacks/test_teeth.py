"""The attacks on v3, on code from which a defence was taken: they work then, and are noticed."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from unittest import TestResult, mock

from twisted.trial.unittest import SynchronousTestCase

from messageu.client.v3 import _conversations as conversations
from messageu.client.v3._connection import RelayConnection
from messageu.crypto.v3 import Message
from messageu.model.v3 import Handle
from messageu.server.v3 import _postmaster as postmaster
from messageu.server.v3 import _session as session
from messageu.store.v3 import Admission, MemoryAccountStore

from . import test_v3


def _anybodys(raw: bytes) -> Message:
    """A message whose keys are those that whoever looks at it wants to see."""
    message = _decode(raw)
    return _Agreeable(message)


_decode = Message.decode


class _Agreeable:
    def __init__(self, message: Message) -> None:
        self.message = message
        self.sender = self.recipient = _Equal()

    def __getattr__(self, name: str):
        return getattr(self.message, name)


class _Equal:
    def __eq__(self, other: object) -> bool:
        return True

    def __ne__(self, other: object) -> bool:
        return False

    __hash__ = None


class TeethTests(SynchronousTestCase):
    def assert_noticed(self, name: str, *patches) -> None:
        """With the patch the test of an attack fails, and without it passes."""
        case, method = name.split(".")
        for patch in (None, *patches):
            result = TestResult()
            test = getattr(test_v3, case)(method)
            if patch is None:
                test.run(result)
                self.assertTrue(result.wasSuccessful(), f"{name}: {result.failures}")
            else:
                with patch:
                    test.run(result)
                self.assertEqual(result.errors, [])
                self.assertEqual(len(result.failures), 1, f"{name} notices nothing")

    def test_keys_in_the_message(self) -> None:
        """Without the four keys in a message, alice's words pass for words to bob, and whoever has
        a session with bob writes in alice's name."""
        for name in ("SenderTests.test_misbinding", "SenderTests.test_forged_sender"):
            agreeable = mock.patch.object(conversations.Message, "decode", _anybodys)
            self.assert_noticed(name, agreeable)

    def test_signatures_of_prekeys(self) -> None:
        """Without signatures on prekeys the relay's own are written to."""
        always = {"return_value": True}
        self.assert_noticed(
            "KeyTests.test_swapped_key_in_bobs_name",
            _together(
                mock.patch.object(conversations, "is_bundle_signed", **always),
                mock.patch.object(conversations, "is_one_time_key_signed", **always),
            ),
        )
        self.assert_noticed(
            "KeyTests.test_foreign_prekey",
            mock.patch.object(conversations, "is_one_time_key_signed", **always),
        )

    def test_channel_binding(self) -> None:
        """Without the channel in what is signed, a challenge can be passed through."""

        def unbound(nonce, identity, generation, _):
            return session_text(nonce, identity, generation, bytes(32))

        session_text = session.authentication_text
        self.assert_noticed(
            "ChannelTests.test_relayed_challenge",
            _together(
                mock.patch.object(session, "authentication_text", unbound),
                mock.patch("messageu.client.v3._answers.authentication_text", unbound),
            ),
        )

    def test_proofs(self) -> None:
        """A relay that does not look at signatures is noticed."""
        self.assert_noticed(
            "MailboxTests.test_forged_proof",
            mock.patch.object(session, "is_signed", return_value=True),
        )

    def test_look_alikes(self) -> None:
        """A relay without skeletons is noticed."""
        self.assert_noticed(
            "MailboxTests.test_squatted_name",
            mock.patch.object(Handle, "skeleton", property(lambda handle: handle.text)),
        )

    def test_generations(self) -> None:
        """A relay that admits any generation is noticed."""
        admit = MemoryAccountStore.admit

        def anybody(store, identity, generation):
            admitted = admit(store, identity, 2**63 + next(numbers))
            return admitted.addCallback(
                lambda known: known if isinstance(known, Admission) else Admission(True, 50)
            )

        numbers = iter(range(10_000))
        self.assert_noticed(
            "ThiefTests.test_copied_client", mock.patch.object(MemoryAccountStore, "admit", anybody)
        )

    def test_sequences(self) -> None:
        """A client that does not count is noticed."""
        deaf = mock.patch("messageu.client.v3._inbox.came")
        for name in ("DeliveryTests.test_withhold", "DeliveryTests.test_reorder"):
            self.assert_noticed(name, deaf)

    def test_seen_sessions(self) -> None:
        """A client that forgets which sessions were begun is noticed."""
        execute = conversations.Unit.execute

        def forgets(unit, sql, *values):
            if "INSERT INTO seen_sessions" in sql:
                return None
            return execute(unit, sql, *values)

        self.assert_noticed(
            "DeliveryTests.test_replayed_first_message",
            mock.patch.object(conversations.Unit, "execute", forgets),
        )

    def test_pin(self) -> None:
        """A client that looks at no pin is noticed, and so is one that looks at no ALPN."""
        blind = mock.patch.object(RelayConnection, "_find_fault", lambda *_: None)
        for name in ("ClientChannelTests.test_wrong_pin", "ClientChannelTests.test_no_alpn"):
            self.assert_noticed(name, blind)

    def test_limits(self) -> None:
        """A relay that grants everything is noticed."""
        grants = mock.patch.object(postmaster.Postmaster, "_wait", lambda *_: 0)
        for name in ("test_prekeys", "test_sends", "test_registrations"):
            self.assert_noticed(f"ExhaustionTests.{name}", grants)


@contextmanager
def _together(*patches):
    """Several patches as one."""
    with ExitStack() as stack:
        for patch in patches:
            stack.enter_context(patch)
        yield
