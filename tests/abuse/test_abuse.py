"""Attacks over real sockets, beside an honest client who goes on (docs/reliability.md)."""

from __future__ import annotations

from tests.sockets.client import message
from tests.torture import scaled

from .relay import AbuseTestCase

MEBIBYTE = 1 << 20


class StandstillTests(AbuseTestCase):
    """Those who begin something, and do not end it."""

    def test_half_headers(self) -> None:
        """Whoever holds half a header is sent away at the frame's deadline, ten thousand of them."""
        self.start_relay(**scaled({"frame_deadline": 2}, {}))
        count = scaled(300, 9_990)
        fates = self.attack(
            "half headers",
            "HalfHeader",
            count=count,
            total=count,
            sources=count,
            seconds=scaled(20, 120),
        )
        self.assertEqual(fates["answered 9000"], count)
        self.assertEqual(fates["closed"], count)
        self.assertIn("has met a limit: frame_deadline", self.stop_relay())

    def test_drip(self) -> None:
        """Whoever sends a byte a second of a large frame is sent away at the frame's deadline."""
        self.start_relay(**scaled({"frame_deadline": 3}, {}))
        count = scaled(50, 1_000)
        fates = self.attack("drip", "Drip", count=count, total=count, seconds=scaled(20, 120))
        self.assertEqual(fates["answered 9000"], count)
        self.assertEqual(fates["closed"], count)
        self.assertIn("has met a limit: frame_deadline", self.stop_relay())

    def test_announcers(self) -> None:
        """Of those who announce the largest frame at once the oldest are sent away when they have
        sent too much of it together, and the others at the frame's deadline."""
        self.start_relay(**scaled({"frame_deadline": 3}, {}))
        count = scaled(100, 1_000)
        fates = self.attack(
            "largest frames",
            "Announcer",
            count=count,
            total=count,
            seconds=scaled(20, 120),
            amount=MEBIBYTE,
        )
        self.assertEqual(fates["closed"] + fates["reset"], count)
        self.assertEqual(fates["left"], 0)


class NeverReadingTests(AbuseTestCase):
    """Those who ask, and do not read what they are answered."""

    def fill_mailbox(self, count: int, size: int) -> None:
        """So many messages wait for Mallory, each of this size."""
        client = self.relay.dial()
        at_once = max(1, min(count, (MEBIBYTE // 4) // (size + 44), 1_024))
        self.assertEqual(count % at_once, 0)
        for _ in range(count // at_once):
            client.send(message(self.mallory, self.mallory, bytes(size)) * at_once)
            codes = {client.answer().code for _ in range(at_once)}
            self.assertEqual(codes, {2103})
        client.close()

    def check_mailbox(self, count: int, size: int) -> None:
        """All of them are still there."""
        client = self.relay.dial()
        sizes = [len(waiting.content) for waiting in client.fetch_all(self.mallory)]
        client.close()
        self.assertEqual(sizes, [size] * count)

    def attack_mailbox(
        self, fault: str, behaviour: str, mail: tuple[int, int], **plan: float
    ) -> None:
        """Let them loose on a mailbox with so many messages of a size, which stay."""
        few = {"progress_deadline": 1, "crowded_deadline": 1, "streams": 16}
        self.start_relay(**scaled(few, {}))
        self.fill_mailbox(*mail)
        fates = self.attack(fault, behaviour, **plan)
        self.assertGreater(fates["reset"] + fates["closed"], 0)
        self.check_mailbox(*mail)
        self.stop_relay()

    def test_large_mailbox(self) -> None:
        """Who does not read while a gigabyte waits is cut off each time, and all of it waits on."""
        mail = (scaled(8, 64), scaled(MEBIBYTE, 16 * MEBIBYTE))
        self.attack_mailbox(
            "a gigabyte that nobody reads",
            "NeverReader",
            mail,
            count=1,
            total=scaled(1, None),
            seconds=scaled(30, 60),
        )

    def test_zero_windows(self) -> None:
        """Those who ask and let their window close, more of them than there are places."""
        self.attack_mailbox(
            "zero windows",
            "NeverReader",
            (8, MEBIBYTE),
            count=scaled(24, 1_000),
            total=scaled(24, None),
            seconds=scaled(30, 60),
        )

    def test_half_closed(self) -> None:
        """Those who ask, half-close and do not read."""
        self.attack_mailbox(
            "half-closed and never read",
            "HalfCloser",
            (8, MEBIBYTE),
            count=scaled(24, 1_000),
            total=scaled(24, None),
            seconds=scaled(30, 60),
        )

    def test_kept_answers(self) -> None:
        """Those who read a long answer and never say so do not make the relay remember all that
        was in it for each of them."""
        self.start_relay()
        mail = (scaled(2_048, 16_384), 0)
        self.fill_mailbox(*mail)
        count = scaled(50, 2_000)
        fates = self.attack(
            "answers that are kept",
            "Keeper",
            count=count,
            total=count,
            seconds=scaled(3, 60),
        )
        self.assertGreater(fates["answered 2104"], 0)
        self.check_mailbox(*mail)
        self.stop_relay()

    def test_full_mailbox(self) -> None:
        """Whoever sends to a full mailbox is refused, each time; what was there stays, and when it
        is fetched there is room again."""
        quota = scaled(1_000, 100_000)
        self.start_relay(mailbox_messages=quota)
        count, amount = 8, scaled(250, 25_000)
        fates = self.attack(
            "a full mailbox",
            "Filler",
            count=count,
            total=count,
            amount=amount,
            seconds=scaled(30, 300),
        )
        self.assertEqual(fates["answered 2103"], quota)
        self.assertEqual(fates["answered 9000"], count * amount - quota)
        self.check_mailbox(quota, 300)
        self.fill_mailbox(1, 300)
        self.stop_relay()

    def test_greed(self) -> None:
        """Those who send without end, and read, do not keep others from being answered."""
        self.start_relay()
        fates = self.attack("pipelining", "Greedy", count=scaled(8, 100), seconds=scaled(3, 30))
        self.assertGreater(fates["answered 2103"], 0)
        self.stop_relay()

    def test_pipelining(self) -> None:
        """Those who send without end and never read an answer are read no further, and cut off."""
        self.start_relay(**scaled({"progress_deadline": 1, "crowded_deadline": 1}, {}))
        fates = self.attack(
            "pipelining without reading",
            "Pipeliner",
            count=scaled(2, 100),
            total=scaled(2, None),
            seconds=scaled(30, 60),
        )
        self.assertGreater(fates["reset"] + fates["closed"], 0)
        self.stop_relay()


class ComingAndGoingTests(AbuseTestCase):
    """Those who come in a flood."""

    def test_connects(self) -> None:
        """Connections that come and go, with a goodbye or without."""
        self.start_relay()
        total = scaled(3_000, 100_000)
        fates = self.attack(
            "connects and disconnects", "Passer", count=64, total=total, seconds=scaled(30, 300)
        )
        self.assertEqual(fates["connected"], total)
        self.stop_relay()

    def test_resets(self) -> None:
        """Connections that are reset after a request for which the answer is on its way."""
        self.start_relay()
        total = scaled(1_000, 30_000)
        fates = self.attack("resets", "Resetter", count=64, total=total, seconds=scaled(30, 300))
        self.assertEqual(fates["connected"], total)
        self.stop_relay()

    def test_registrations(self) -> None:
        """Of a flood of registrations from one address only as many are taken as may come in the
        time; the others are refused, and a newcomer from elsewhere is not."""
        self.start_relay(registrations_a_minute=60)
        amount = scaled(2_000, 100_000)
        fates = self.attack(
            "registrations from one address",
            "Registrar",
            count=1,
            total=1,
            sources=1,
            amount=amount,
            seconds=scaled(30, 300),
        )
        self.assertEqual(fates["answered 2100"] + fates["answered 9000"], amount)
        self.assertGreaterEqual(fates["answered 2100"], 60)
        self.assertLess(fates["answered 2100"], amount / 10)
        self.stop_relay()

    def test_registrations_from_everywhere(self) -> None:
        """A flood of registrations from many addresses is stored, all of it."""
        self.start_relay()
        count, amount = scaled(20, 200), 100
        fates = self.attack(
            "registrations from many addresses",
            "Registrar",
            count=count,
            total=count,
            amount=amount,
            seconds=scaled(30, 300),
        )
        self.assertEqual(fates["answered 2100"], count * amount)
        self.stop_relay()
