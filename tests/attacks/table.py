"""What was tried: each attack, the test in which it works on v2, and those in which it fails on v3."""

from __future__ import annotations

from typing import Final

from attrs import frozen

V2: Final = "tests.attacks.test_v2"
V3: Final = "tests.attacks.test_v3"


@frozen
class Attack:
    """A row of the table.

    :ivar v2: the test in which it works, behind the name of the module.
    :ivar v3: the tests in which it fails, behind the name of the module.
    :ivar stopped_by: what stops it.
    """

    name: str
    v2: str
    v3: tuple[str, ...]
    stopped_by: str

    @property
    def tests(self) -> tuple[str, ...]:
        """All of them, with the names of their modules."""
        return (f"{V2}.{self.v2}", *(f"{V3}.{test}" for test in self.v3))


ATTACKS: Final = (
    Attack(
        "empty somebody's mailbox by his id",
        "MailboxTests.test_draining",
        ("MailboxTests.test_draining", "MailboxTests.test_forged_proof"),
        "no request names a mailbox; a signature proves whose connection it is",
    ),
    Attack(
        "forge a sender",
        "MailboxTests.test_forged_sender",
        ("SenderTests.test_forged_sender", "SenderTests.test_honest_stranger"),
        "the ratchet, and the keys of both inside the message",
    ),
    Attack(
        "pass a message on as one's own, or on to somebody it was not for",
        "MailboxTests.test_passed_on_as_ones_own",
        ("SenderTests.test_passed_on_as_ones_own", "SenderTests.test_misbinding"),
        "the seal holds recipient and envelope; the message holds all four keys",
    ),
    Attack(
        "swap a public key at the relay",
        "RelayTests.test_swapped_key",
        (
            "KeyTests.test_swapped_key",
            "KeyTests.test_swapped_key_in_bobs_name",
            "KeyTests.test_honest_relay",
            "KeyTests.test_name_of_another",
            "KeyTests.test_safety_number",
        ),
        "an identity is the hash of its keys; prekeys are signed; links and safety numbers",
    ),
    Attack(
        "hand out stale or foreign prekeys",
        "RelayTests.test_foreign_prekey",
        (
            "KeyTests.test_foreign_prekey",
            "KeyTests.test_foreign_bundle",
            "KeyTests.test_stale_prekey",
            "KeyTests.test_older_prekey",
        ),
        "signatures name the identity; a bundle has an end and a sequence that is remembered",
    ),
    Attack(
        "replay a message",
        "RelayTests.test_replay",
        ("DeliveryTests.test_replay", "DeliveryTests.test_replay_later"),
        "a key of the ratchet opens once; the seal is bound to its envelope's id",
    ),
    Attack(
        "replay a first message under a fallback key",
        "RelayTests.test_replayed_first_message",
        ("DeliveryTests.test_replayed_first_message",),
        "the ids of sessions that were begun are remembered",
    ),
    Attack(
        "reorder messages",
        "RelayTests.test_reorder",
        ("DeliveryTests.test_reorder",),
        "not prevented: sequences show what is missing until it comes",
    ),
    Attack(
        "withhold messages",
        "RelayTests.test_withhold",
        ("DeliveryTests.test_withhold", "DeliveryTests.test_withheld_end"),
        "not prevented: shown as missing to one side, and as not delivered to the other",
    ),
    Attack(
        "flip bits, in each layer",
        "RelayTests.test_flipped_bits",
        (
            "DeliveryTests.test_flipped_bits",
            "DeliveryTests.test_flipped_bits_below_the_seal",
            "FileTests.test_flipped_bits",
        ),
        "each layer is authenticated",
    ),
    Attack(
        "truncate a message or a file",
        "RelayTests.test_truncated",
        ("DeliveryTests.test_truncated", "FileTests.test_truncated"),
        "each layer is authenticated; the last piece of a file is marked",
    ),
    Attack(
        "downgrade to an older version",
        "RelayTests.test_downgrade",
        ("ClientChannelTests.test_downgrade",),
        "no error leads from v3 to v2",
    ),
    Attack(
        "relay a challenge through another server",
        "RelayTests.test_relayed_challenge",
        ("ChannelTests.test_relayed_challenge",),
        "the signature holds the binding of the channel",
    ),
    Attack(
        "stand in for the relay: a wrong pin, TLS 1.2, no ALPN",
        "RelayTests.test_wrong_relay",
        (
            "ClientChannelTests.test_wrong_pin",
            "ClientChannelTests.test_no_alpn",
            "ChannelTests.test_old_tls",
            "ChannelTests.test_missing_alpn",
        ),
        "both ends check before they say anything",
    ),
    Attack(
        "steal the relay's database",
        "ThiefTests.test_stolen_database",
        ("DatabaseTests.test_stolen_database",),
        "there is no sender and no plaintext in it",
    ),
    Attack(
        "steal the state of a session",
        "ThiefTests.test_stolen_state",
        ("ThiefTests.test_stolen_state",),
        "keys of the past are gone; a round trip brings new ones",
    ),
    Attack(
        "run a copied or restored client",
        "MailboxTests.test_copied_client",
        (
            "ThiefTests.test_copied_client",
            "ThiefTests.test_restored_client",
            "ThiefTests.test_restored_within_a_connection",
        ),
        "generations, if there was a connection since",
    ),
    Attack(
        "use up prekeys, mailboxes and registrations",
        "MailboxTests.test_drained_by_sends",
        (
            "ExhaustionTests.test_prekeys",
            "ExhaustionTests.test_sends",
            "ExhaustionTests.test_registrations",
        ),
        "limits for each account and address; a fallback key",
    ),
    Attack(
        "squat a reserved or look-alike name",
        "MailboxTests.test_squatted_name",
        ("MailboxTests.test_squatted_name",),
        "reserved names, skeletons, and names that are given out once",
    ),
)


def markdown() -> str:
    """The table, for a document."""
    lines = ["| attack | on v2 | on v3 |", "|---|---|---|"]
    lines += [f"| {attack.name} | works | {attack.stopped_by} |" for attack in ATTACKS]
    return "\n".join(lines)
