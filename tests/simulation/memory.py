"""The database of a world in memory: as if a machine had it that no relay's kill concerns.

An operation takes its time, as one that asks a thread does, and is carried out whole or not at all.
A kill comes before or after one.
"""

from __future__ import annotations

from collections import Counter
from functools import partial

from attrs import define, field
from twisted.internet.defer import Deferred
from zope.interface import implementer

from messageu.store import IMailboxStore, MemoryStore, StoreError, StoreUnavailable
from messageu.store.v3 import IAccountStore

from .database import Database, StoreThread

READING = frozenset(
    {"public_key", "directory", "directory_page", "lease", "read", "resolve", "waiting"}
)
"""Operations for which nothing has to be written."""


class _Asked:
    """The operations of a store, each of which is asked of a thread.

    :param operate: is given the name of one, what carries it out, and what it is asked for.
    """

    def __init__(self, interface, store, operate, rest=()):
        for name in interface.names():
            method = getattr(store, name)
            setattr(self, name, method if name in rest else partial(operate, name, method))


@implementer(IAccountStore)
class AskedAccounts(_Asked):
    """The accounts, as a relay's process asks for them."""

    def __init__(self, store, operate):
        super().__init__(IAccountStore, store, operate)


@implementer(IMailboxStore)
class AskedStore(_Asked):
    """The mailboxes, as a relay's process asks for them."""

    def __init__(self, store, operate):
        super().__init__(IMailboxStore, store, operate, rest=("open", "watch"))
        self.accounts = AskedAccounts(store.accounts, operate)


@define(eq=False)
class Memory(Database):
    """A store in memory, which each process opens."""

    _store: MemoryStore | None = field(init=False, default=None)

    def make_store(self, relay):
        if self._store is None:
            self._store = MemoryStore(**self.world.store_options())
        thread = StoreThread(relay.time, self.world.draw_store_delay)
        return AskedStore(self._store, partial(self._operate, relay, thread))

    def crash(self, relay):
        # Whatever it had leased is nobody's now.
        self._store.close()

    def leases(self, relay):
        return len(self._store._leases._leases)

    def audit(self):
        envelopes = [message.envelope for message in self._store._messages.values()]
        counts = Counter(envelope.recipient for envelope in envelopes)
        sizes = Counter()
        for envelope in envelopes:
            sizes[envelope.recipient] += len(envelope.content)
        usage = self._store._usage
        clients = usage.keys() | counts
        wrong = [each for each in clients if usage.get(each) != (counts[each], sizes[each])]
        accounts = self._store.accounts._accounts.values()
        wrong_accounts = [
            each
            for each in accounts
            if each.content != sum(len(envelope.sealed) for envelope in each.mail.values())
        ]
        return [
            ("mailboxes that do not hold what they say", len(wrong)),
            ("accounts' mailboxes that do not hold what they say", len(wrong_accounts)),
        ]

    def _operate(self, relay, thread, name, method, *asked):
        operated = Deferred()

        def call():
            self.step(relay)
            self._break(name, asked)
            result = _result_of(method(*asked))
            self.step(relay)
            return result

        def tell(succeeded, result):
            (operated.callback if succeeded else operated.errback)(result)

        thread.callInThreadWithCallback(tell, call)
        return operated

    def _break(self, name, asked):
        """Fail, if that is what is to happen."""
        full = self.is_full and name not in READING
        if name == "close" or not (full or (self.is_failing and self.random.random() < 0.05)):
            return
        if name in ("settle", "release"):
            # It ends all the same, if it has not with the store.
            self._store.release(*asked).addErrback(lambda failure: failure.trap(StoreUnavailable))
        raise self.random.choice((StoreUnavailable, StoreError))("told to fail")


def _result_of(fired):
    """What a Deferred has fired with.

    :raises Exception: when that is a failure.
    """
    results = []
    fired.addCallbacks(results.append, lambda failure: results.append(failure.value))
    (result,) = results
    if isinstance(result, Exception):
        raise result
    return result
