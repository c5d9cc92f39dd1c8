"""What relays tell each other, as lines."""

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from messageu.model import ClientId
from messageu.store import Arrived, PrekeysTaken, Subscribed
from messageu.store.postgres import _announcements
from messageu.store.postgres._announcements import (
    ACCOUNTS_A_LINE,
    Announcements,
    decode,
    encode_arrivals,
    encode_prekeys,
    encode_subscription,
)

US, THEM = "0" * 32, "1" * 32
LINE_LIMIT = 8_000
"""Bytes from which on PostgreSQL takes no notification."""

ACCOUNTS = st.binary(min_size=16, max_size=16).map(ClientId)
TERMS = st.integers(0, 2**63 - 1)
WORDS = st.one_of(
    st.sampled_from(
        ["mail", "subscribed", "prekeys", US, THEM, "ab" * 16, "", "0", "-1", "\N{SUPERSCRIPT TWO}"]
    ),
    st.text(max_size=40),
)


def account(number: int) -> ClientId:
    return ClientId(number.to_bytes(16, "big"))


class LineTests(SynchronousTestCase):
    @given(st.lists(ACCOUNTS, max_size=3 * ACCOUNTS_A_LINE))
    def test_arrivals(self, accounts: list[ClientId]) -> None:
        """New mail is announced of each account once, in lines that PostgreSQL takes."""
        told: list[ClientId] = []
        for line in encode_arrivals(THEM, accounts):
            self.assertLess(len(line), LINE_LIMIT)
            news = decode(US, line)
            assert isinstance(news, Arrived)
            told += news.accounts
        self.assertEqual(len(told), len(set(told)))
        self.assertEqual(set(told), set(accounts))

    @given(ACCOUNTS, TERMS)
    def test_subscription(self, subscribed: ClientId, term: int) -> None:
        """So is a subscription, with its term."""
        line = encode_subscription(THEM, subscribed, term)
        self.assertEqual(decode(US, line), Subscribed(subscribed, term))

    @given(ACCOUNTS, st.integers(0, 100))
    def test_prekeys(self, claimed: ClientId, left: int) -> None:
        """And how many one-time keys are left."""
        line = encode_prekeys(THEM, claimed, left)
        self.assertEqual(decode(US, line), PrekeysTaken(claimed, left))

    def test_own(self) -> None:
        """What a relay has said itself is no news to it."""
        for line in (
            *encode_arrivals(US, [account(1)]),
            encode_subscription(US, account(1), 1),
            encode_prekeys(US, account(1), 1),
        ):
            self.assertIsNone(decode(US, line))

    @given(st.lists(WORDS, max_size=6).map(" ".join))
    def test_anything(self, line: str) -> None:
        """Whoever may write to the database may say anything: what is no news is nothing."""
        news = decode(US, line)
        self.assertTrue(news is None or isinstance(news, (Arrived, Subscribed, PrekeysTaken)))

    def test_nearly(self) -> None:
        """A line that is not quite right is nothing."""
        whole = encode_subscription(THEM, account(1), 7)
        self.assertIsNotNone(decode(US, whole))
        for line in (
            whole[:-1],
            whole + " ",
            whole + " 8",
            whole + "\N{ARABIC-INDIC DIGIT ONE}",
            whole + "0" * 20,
            whole.replace("subscribed", "Subscribed"),
            f"{THEM} subscribed {'0' * 30} 7",
            f"{THEM} subscribed {'0' * 34} 7",
            f"{THEM} mail",
            f"{THEM} mail ",
            f"{THEM} mail {'0' * 32} {'g' * 32}",
            THEM,
            "",
        ):
            with self.subTest(line=line):
                self.assertIsNone(decode(US, line))


class AnnouncementsTests(SynchronousTestCase):
    def test_gathers(self) -> None:
        """What is said meanwhile goes together, and once."""
        announcements = Announcements(THEM)
        announcements.arrive([account(1), account(2)])
        announcements.say(encode_prekeys(THEM, account(1), 3))
        announcements.arrive([account(2), account(3)])
        self.assertEqual(
            [decode(US, line) for line in announcements.take()],
            [
                PrekeysTaken(account(1), 3),
                Arrived(frozenset({account(1), account(2), account(3)})),
            ],
        )
        self.assertEqual(announcements.take(), [])

    def test_limit(self) -> None:
        """Of what nobody can be told only so much is kept."""
        self.patch(_announcements, "UNSAID_LIMIT", 3)
        announcements = Announcements(THEM)
        for number in range(9):
            announcements.arrive([account(number)])
            announcements.say(encode_prekeys(THEM, account(number), 0))
        said = [decode(US, line) for line in announcements.take()]
        self.assertEqual(
            said,
            [
                *(PrekeysTaken(account(number), 0) for number in range(3)),
                Arrived(frozenset(map(account, range(3)))),
            ],
        )
        announcements.arrive([account(9)])
        self.assertEqual(len(announcements.take()), 1)
