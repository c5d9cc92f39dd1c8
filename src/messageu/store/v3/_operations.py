"""What the SQL store can be asked about accounts, as objects for the transactor."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from hashlib import sha256
from typing import ClassVar, Final, TypeAlias, cast

from attrs import define, frozen

from messageu.model import ClientId
from messageu.model.v3 import (
    Bundle,
    Delivery,
    EnvelopeId,
    Handle,
    Identity,
    IdentityKeys,
    OneTimeKey,
    Reason,
    SealedEnvelope,
)

from .._interface import Quota, StoreError
from .._work import Needs, Operation
from ._interface import Admission, Claimed, PutOutcome, Stored
from ._rules import (
    judge_bundle,
    judge_generation,
    judge_registration,
    lowest_left,
    new_one_time_keys,
)
from ._work import AccountWork, MailRow, Place, TombstoneRow

TOMBSTONES_STEP: Final = 4_096
"""Envelopes that one transaction looks at for what is too old, or of nobody any more."""

_SEQUENCE_LIMIT: Final = 2**63
"""Above all sequences that there will ever be."""


AccountOperation: TypeAlias = Operation[AccountWork]


def _u64(number: int) -> bytes:
    return number.to_bytes(8, "big")


@frozen
class Admit(AccountOperation):
    """Keep the generation of somebody who connects, if he has an account."""

    name: ClassVar[str] = "admission"
    writes: ClassVar[bool] = True
    repeatable: ClassVar[bool] = True

    identity: Identity
    generation: int

    @property
    def subject(self) -> bytes:
        return self.identity.account_id.raw

    @property
    def needs(self) -> Needs:
        return Needs(accounts=(self.identity.account_id.raw,))

    def run(self, work: AccountWork) -> Admission | Reason:
        row = work.accounts.find_account(work.cursor, self.identity.account_id.raw)
        if row is None or IdentityKeys(row[1], row[2]).identity != self.identity:
            return Admission(registered=False, one_time_keys=0)
        account, *_, kept = row
        refusal = judge_generation(int.from_bytes(kept, "big"), self.generation)
        if refusal is not None:
            return refusal
        work.accounts.set_generation(work.cursor, account, _u64(self.generation))
        return Admission(
            registered=True, one_time_keys=work.accounts.count_one_time_keys(work.cursor, account)
        )


@frozen
class RegisterAccount(AccountOperation):
    """Make an account."""

    name: ClassVar[str] = "registration of an account"
    writes: ClassVar[bool] = True

    keys: IdentityKeys
    generation: int
    handle: Handle
    token_digest: bytes | None

    @property
    def subject(self) -> bytes:
        return self.keys.identity.account_id.raw

    @property
    def needs(self) -> Needs:
        return Needs(registry=True, accounts=(self.keys.identity.account_id.raw,))

    def run(self, work: AccountWork) -> Reason | None:
        cursor, sql, handle = work.cursor, work.accounts, self.handle
        account_id = self.keys.identity.account_id.raw
        generation = _u64(self.generation)
        row = sql.find_account(cursor, account_id)
        if row is not None:
            account, ed25519, curve25519, name, kept = row
            there = IdentityKeys(ed25519, curve25519), name
            refusal = judge_registration(there, self.keys, handle.text)
            if refusal is None and generation > kept:
                sql.set_generation(cursor, account, generation)
            return refusal
        if self.token_digest is not None and not sql.has_token(cursor, self.token_digest):
            return Reason.TOKEN_INVALID
        if sql.is_skeleton_taken(cursor, handle.skeleton):
            return Reason.NAME_TAKEN
        if self.token_digest is not None:
            sql.delete_token(cursor, self.token_digest)
        keys = self.keys.ed25519, self.keys.curve25519
        account = sql.add_account(cursor, account_id, keys, handle.text, generation)
        sql.add_name(cursor, handle.text, handle.skeleton, account)
        return None


@frozen
class Resolve(AccountOperation):
    """Find whose a name is."""

    name: ClassVar[str] = "resolving of a name"

    handle: Handle

    @property
    def subject(self) -> bytes:
        return self.handle.raw

    def run(self, work: AccountWork) -> IdentityKeys | Reason:
        keys = work.accounts.find_keys_of_name(work.cursor, self.handle.text)
        return Reason.NOT_FOUND if keys is None else IdentityKeys(*keys)


@frozen
class Publish(AccountOperation):
    """Keep prekeys."""

    name: ClassVar[str] = "publication"
    writes: ClassVar[bool] = True

    account: ClientId
    bundle: Bundle
    one_time_keys: Sequence[OneTimeKey]

    @property
    def subject(self) -> bytes:
        return self.account.raw

    @property
    def needs(self) -> Needs:
        return Needs(accounts=(self.account.raw,))

    def run(self, work: AccountWork) -> int | Reason:
        row = work.accounts.find_published(work.cursor, self.account.raw)
        if row is None:
            return Reason.NOT_REGISTERED
        account, raw, highest = row
        kept = None if raw is None else Bundle.decode(raw)
        refusal = judge_bundle(self.account, kept, self.bundle)
        if refusal is not None:
            return refusal
        lowest = lowest_left(kept, self.bundle)
        left = work.accounts.count_one_time_keys(work.cursor, account, _u64(lowest))
        fresh = new_one_time_keys(
            self.one_time_keys, None if highest is None else int.from_bytes(highest, "big"), left
        )
        if isinstance(fresh, Reason):
            return fresh
        if lowest:
            work.accounts.drop_one_time_keys(work.cursor, account, _u64(lowest))
        if self.bundle != kept:
            work.accounts.set_bundle(work.cursor, account, self.bundle.encode())
        if fresh:
            rows = [(_u64(key.key_id), key.key, key.signature) for key in fresh]
            work.accounts.add_one_time_keys(work.cursor, account, rows)
        return left + len(fresh)


@frozen
class Claim(AccountOperation):
    """Give an account's prekeys, of which a one-time key is used up."""

    name: ClassVar[str] = "claim"
    writes: ClassVar[bool] = True

    account: ClientId

    @property
    def subject(self) -> bytes:
        return self.account.raw

    @property
    def needs(self) -> Needs:
        return Needs(accounts=(self.account.raw,))

    def run(self, work: AccountWork) -> Claimed | Reason:
        row = work.accounts.find_account(work.cursor, self.account.raw)
        published = work.accounts.find_published(work.cursor, self.account.raw)
        if row is None or published is None or published[1] is None:
            return Reason.NOT_FOUND
        account, ed25519, curve25519, *_ = row
        taken = work.accounts.take_one_time_key(work.cursor, account)
        key = None
        if taken is not None:
            key = OneTimeKey(int.from_bytes(taken[0], "big"), taken[1], taken[2])
        left = work.accounts.count_one_time_keys(work.cursor, account)
        return Claimed(IdentityKeys(ed25519, curve25519), Bundle.decode(published[1]), key, left)


@define
class _Mailbox:
    """What a mailbox holds during one transaction."""

    account: int
    last_sequence: int
    messages: int
    content: int


@frozen
class PutMail(AccountOperation):
    """Put envelopes into their mailboxes."""

    name: ClassVar[str] = "put of mail"
    writes: ClassVar[bool] = True

    envelopes: Sequence[SealedEnvelope]
    hour: int
    quota: Quota

    @property
    def subject(self) -> bytes:
        return self.envelopes[0].recipient.raw if self.envelopes else b""

    @property
    def needs(self) -> Needs:
        return Needs(accounts=[envelope.recipient.raw for envelope in self.envelopes])

    @property
    def count(self) -> int:
        return max(1, len(self.envelopes))

    @property
    def size(self) -> int:
        return sum([len(envelope.sealed) for envelope in self.envelopes])

    def parts(self) -> Sequence[PutMail]:
        return [PutMail((envelope,), self.hour, self.quota) for envelope in self.envelopes]

    def join(self, results: Sequence[object]) -> Sequence[object]:
        return [
            result if isinstance(result, StoreError) else cast(Sequence[object], result)[0]
            for result in results
        ]

    @classmethod
    def run_group(
        cls, work: AccountWork, group: Sequence[PutMail]
    ) -> Sequence[Sequence[PutOutcome]]:
        placing = _Placing.of(work, [envelope for put in group for envelope in put.envelopes])
        results = [[placing.place(each, put) for each in put.envelopes] for put in group]
        placing.write(work)
        return results


@define
class _Placing:
    """Envelopes on their way into mailboxes, in one transaction.

    :ivar known: digests and sequences of what was sent before, by account and envelope id.
    """

    mailboxes: Mapping[bytes, _Mailbox]
    known: dict[tuple[int, bytes], tuple[bytes, int]]
    next_place: int
    mail: list[MailRow]
    tombstones: list[TombstoneRow]

    @classmethod
    def of(cls, work: AccountWork, envelopes: Sequence[SealedEnvelope]) -> _Placing:
        """What has to be known of these, before the first of them is placed."""
        sql, cursor = work.accounts, work.cursor
        recipients = list({envelope.recipient.raw: None for envelope in envelopes})
        rows = sql.find_mailboxes(cursor, recipients)
        mailboxes = {raw: _Mailbox(*row) for raw, row in rows.items()}
        named = [
            (mailboxes[envelope.recipient.raw].account, envelope.envelope_id.raw)
            for envelope in envelopes
            if envelope.recipient.raw in mailboxes
        ]
        known = sql.find_tombstones(cursor, named)
        return cls(mailboxes, dict(known), sql.last_place(cursor) + 1, [], [])

    def place(self, envelope: SealedEnvelope, put: PutMail) -> PutOutcome:
        """Make rows of an envelope, unless it is refused; what becomes of it."""
        mailbox = self.mailboxes.get(envelope.recipient.raw)
        if mailbox is None:
            return Reason.NOT_FOUND
        sealed, envelope_id = envelope.sealed, envelope.envelope_id.raw
        account, size = mailbox.account, len(sealed)
        digest = sha256(sealed).digest()
        known = self.known.get((account, envelope_id))
        if known is not None:
            return Stored(known[1], known=True) if known[0] == digest else Reason.CONFLICT
        if mailbox.messages >= put.quota.messages or mailbox.content + size > put.quota.content:
            return Reason.MAILBOX_FULL
        mailbox.last_sequence = sequence = mailbox.last_sequence + 1
        mailbox.messages += 1
        mailbox.content += size
        self.known[account, envelope_id] = digest, sequence
        place = self.next_place
        self.next_place += 1
        self.mail.append((place, account, sequence, envelope_id, envelope.hpke_key_id, sealed))
        self.tombstones.append((place, account, sequence, envelope_id, digest, put.hour))
        return Stored(sequence)

    def write(self, work: AccountWork) -> None:
        """Insert the rows, and keep what the mailboxes hold."""
        if self.mail:
            changed = {row[1] for row in self.mail}
            mailboxes = [
                (each.last_sequence, each.messages, each.content, each.account)
                for each in self.mailboxes.values()
                if each.account in changed
            ]
            work.accounts.store_mail(work.cursor, self.mail, self.tombstones, mailboxes)


@frozen
class Subscribe(AccountOperation):
    """Give a mailbox to a subscription: its term."""

    name: ClassVar[str] = "subscription"
    writes: ClassVar[bool] = True
    repeatable: ClassVar[bool] = True

    account: ClientId

    @property
    def subject(self) -> bytes:
        return self.account.raw

    @property
    def needs(self) -> Needs:
        return Needs(accounts=(self.account.raw,))

    def run(self, work: AccountWork) -> int | Reason:
        row = work.accounts.find_term(work.cursor, self.account.raw)
        if row is None:
            return Reason.NOT_REGISTERED
        account, term = row
        work.accounts.set_term(work.cursor, account, term + 1)
        return term + 1


def _find_mailbox(work: AccountWork, account: ClientId, term: int | None) -> int | Reason | None:
    """The integer key of a mailbox, None when there is none, or why this term may not use it."""
    row = work.accounts.find_term(work.cursor, account.raw)
    if row is None:
        return None if term is None else Reason.NOT_SUBSCRIBED
    key, current = row
    return key if term in (None, current) else Reason.NOT_SUBSCRIBED


@frozen
class ReadWaiting(AccountOperation):
    """Read some of what waits in a mailbox."""

    name: ClassVar[str] = "reading of mail"

    account: ClientId
    after: int
    max_messages: int
    max_bytes: int
    term: int | None

    @property
    def subject(self) -> bytes:
        return self.account.raw

    @property
    def size(self) -> int:
        return self.max_bytes

    def run(self, work: AccountWork) -> Sequence[Delivery] | Reason:
        account = _find_mailbox(work, self.account, self.term)
        if account is None:
            return ()
        if isinstance(account, Reason):
            return account
        sequences: list[int] = []
        room = self.max_bytes
        heads = work.accounts.list_waiting(
            work.cursor, account, self.after, max(1, self.max_messages)
        )
        with closing(heads):
            for sequence, size in heads:
                room -= size
                if sequences and room < 0:
                    break
                sequences.append(sequence)
        if not sequences:
            return ()
        rows = work.accounts.read_mail(work.cursor, account, sequences[0], sequences[-1])
        return [
            Delivery(sequence, EnvelopeId(envelope_id), hpke_key_id, sealed)
            for sequence, envelope_id, hpke_key_id, sealed in rows
        ]


@frozen
class Acknowledge(AccountOperation):
    """Delete mail, as much as one transaction may: the sequences that are left."""

    name: ClassVar[str] = "acknowledgement"
    writes: ClassVar[bool] = True
    repeatable: ClassVar[bool] = True

    account: ClientId
    sequences: Sequence[int]
    term: int | None

    @property
    def subject(self) -> bytes:
        return self.account.raw

    @property
    def needs(self) -> Needs:
        return Needs(accounts=(self.account.raw,))

    @property
    def count(self) -> int:
        return max(1, len(self.sequences))

    def run(self, work: AccountWork) -> Sequence[int] | Reason:
        account = _find_mailbox(work, self.account, self.term)
        if isinstance(account, Reason):
            return account
        asked = [sequence for sequence in self.sequences if sequence < _SEQUENCE_LIMIT]
        if account is None or not asked:
            return ()
        rows = work.accounts.list_mail(work.cursor, account, asked)
        taken = work.take_deletable(size for _, _, size in rows)
        gone = [(place, account, size) for place, _, size in rows[:taken]]
        _delete_mail(work, gone)
        return [sequence for _, sequence, _ in rows[taken:]]


@frozen
class DeleteAccount(AccountOperation):
    """Forget an account, and as much of its mail as one transaction may: whether more is left."""

    name: ClassVar[str] = "deletion of an account"
    writes: ClassVar[bool] = True

    account: ClientId

    @property
    def subject(self) -> bytes:
        return self.account.raw

    @property
    def needs(self) -> Needs:
        return Needs(registry=True, accounts=(self.account.raw,))

    def run(self, work: AccountWork) -> bool:
        row = work.accounts.find_account(work.cursor, self.account.raw)
        if row is None:
            return False
        account, *_, name, _ = row
        work.accounts.delete_account(work.cursor, account, name)
        return _clear(work, account)


@frozen
class ClearRubbish(AccountOperation):
    """Delete some of what accounts have left that are gone: whether there may be more."""

    name: ClassVar[str] = "clearing of accounts"
    writes: ClassVar[bool] = True
    repeatable: ClassVar[bool] = True

    def run(self, work: AccountWork) -> bool:
        account = work.accounts.find_rubbish(work.cursor)
        if account is None:
            return False
        _clear(work, account)
        return True


@frozen
class ExpireMail(AccountOperation):
    """Delete some of what arrived before an hour: how many envelopes, and whether there is more."""

    name: ClassVar[str] = "expiry of mail"
    writes: ClassVar[bool] = True
    repeatable: ClassVar[bool] = True
    alone: ClassVar[bool] = True

    hour: int

    def run(self, work: AccountWork) -> tuple[int, bool]:
        rows = work.accounts.list_older(work.cursor, self.hour, TOMBSTONES_STEP)
        taken = _delete_with_memory(work, rows)
        count = sum(size is not None for _, _, size in rows[:taken])
        return count, taken < len(rows) or len(rows) == TOMBSTONES_STEP


@frozen
class Invite(AccountOperation):
    """Keep a token."""

    name: ClassVar[str] = "invitation"
    writes: ClassVar[bool] = True
    repeatable: ClassVar[bool] = True

    digest: bytes

    def run(self, work: AccountWork) -> None:
        work.accounts.add_token(work.cursor, self.digest)


@frozen
class ReleaseName(AccountOperation):
    """Let a name that nobody has any more be given out again."""

    name: ClassVar[str] = "release of a name"
    writes: ClassVar[bool] = True

    handle: Handle

    def run(self, work: AccountWork) -> bool:
        return work.accounts.release_name(work.cursor, self.handle.text)


def _clear(work: AccountWork, account: int) -> bool:
    """Delete some of what is left of an account that is gone: whether more is left."""
    rows = work.accounts.list_rubbish(work.cursor, account, TOMBSTONES_STEP)
    taken = _delete_with_memory(work, rows)
    if taken < len(rows) or len(rows) == TOMBSTONES_STEP:
        return True
    work.accounts.delete_rubbish(work.cursor, account)
    return False


def _delete_with_memory(work: AccountWork, rows: Sequence[tuple[Place, int, int | None]]) -> int:
    """Delete mail and the memory of it, as much as may be; how many of these that was."""
    taken = work.take_deletable(size or 0 for _, _, size in rows)
    gone = [(place, account, size) for place, account, size in rows[:taken] if size is not None]
    _delete_mail(work, gone)
    work.accounts.delete_tombstones(work.cursor, [place for place, _, _ in rows[:taken]])
    return taken


def _delete_mail(work: AccountWork, mail: Iterable[tuple[Place, int, int]]) -> None:
    """Delete mail of these places, accounts and sizes, which makes room in their mailboxes."""
    places = []
    usage: dict[int, tuple[int, int]] = {}
    for place, account, size in mail:
        messages, content = usage.get(account, (0, 0))
        usage[account] = messages + 1, content + size
        places.append(place)
    work.accounts.delete_mail(work.cursor, places)
    work.accounts.take_from_mailboxes(
        work.cursor, [(*taken, account) for account, taken in usage.items()]
    )
