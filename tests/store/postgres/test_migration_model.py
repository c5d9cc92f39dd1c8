"""Whatever was done with an SQLite store, one on the tables that it was moved to answers the same."""

from __future__ import annotations

import shutil
from typing import Any
from unittest import mock

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from messageu.store import NO_QUOTA, Quota
from messageu.store.postgres import PostgresAddress, _filling, migrate
from messageu.testing.postgres import Schema
from tests.torture import scaled

from .fixtures import PostgresFixture, make_schema
from .moving import NAMES, PEOPLE, SIZES, TOKEN, Life, Source, answers, new_ids

CLIENTS = st.integers(0, 3)
NUMBERS = st.sampled_from(PEOPLE)
AGES = st.sampled_from((0, 2, 3_600, 7_200))
QUOTAS = st.sampled_from((NO_QUOTA, Quota(2, 2**62), Quota(100, 70_000)))


def _deed(name: str, *arguments: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.tuples(st.just(name), *arguments)


DEEDS = st.one_of(
    _deed("register", CLIENTS),
    _deed("put", CLIENTS, CLIENTS, st.sampled_from(SIZES)),
    _deed("put", CLIENTS, CLIENTS, st.sampled_from(SIZES)),
    _deed("fetch", CLIENTS, st.integers(1, 3), st.sampled_from(("settle", "release", "nothing"))),
    _deed("pass_time", st.sampled_from((1, 1, 3_600))),
    _deed("expire", AGES),
    _deed("invite", st.just(TOKEN)),
    _deed("enrol", NUMBERS, st.sampled_from(NAMES), st.sampled_from((None, None, TOKEN))),
    _deed("admit", NUMBERS, st.integers(0, 100)),
    _deed("publish", NUMBERS, st.integers(1, 3), st.sampled_from((1, 2**32, 2**63, 2**64 - 2))),
    _deed("claim", NUMBERS),
    _deed("send", NUMBERS, st.sampled_from(SIZES)),
    _deed("subscribe", NUMBERS),
    _deed("acknowledge", NUMBERS, st.integers(1, 4)),
    _deed("leave", NUMBERS),
    _deed("release_name", st.sampled_from(NAMES)),
)


class ModelTests(SynchronousTestCase):
    """Databases that were filled by what people do."""

    @settings(max_examples=scaled(6, 100))
    @given(
        deeds=st.lists(DEEDS, min_size=15, max_size=40),
        killed=st.booleans(),
        quota=QUOTAS,
        steps=st.sampled_from((1, 2, 100)),
    )
    def test_same_answers(self, deeds: Any, killed: bool, quota: Quota, steps: int) -> None:
        """Both say the same to whatever they are asked, also when the relay was killed."""
        source = Source()
        schema = make_schema()
        try:
            life = Life(source)
            for number in (0, 1):
                life.register(number)
            for number in (1, 2):
                life.enrol(number, NAMES[number])
            for name, *arguments in deeds:
                getattr(life, name)(*arguments)
            source.quota = source.account_quota = quota
            self.check(source, life.clients, killed, steps, schema)
        finally:
            source.dispose()
            schema.remove()

    def check(self, source: Source, clients: int, killed: bool, steps: int, schema: Schema) -> None:
        """Move it, and ask both."""
        whole = source.path
        if killed:
            folder = source.folder / "killed"
            folder.mkdir()
            for suffix in ("", "-wal"):
                shutil.copy(f"{source.path}{suffix}", folder)
            whole = folder / source.path.name
        source.result(source.store.close())
        with mock.patch.object(_filling, "STEP_ROWS", steps):
            migrate(whole, PostgresAddress.parse(schema.address), lambda *_: None)
        if killed:
            for suffix in ("", "-wal"):
                shutil.copy(f"{whole}{suffix}", source.folder)
        source.store = source.make()
        source.store.open()
        moved = PostgresFixture(
            time=source.time,
            quota=quota_of(source),
            account_quota=quota_of(source),
            new_client_id=new_ids(),
            schema=schema,
        )
        try:
            self.assertEqual(list(answers(moved, clients)), list(answers(source, clients)))
        finally:
            moved.result(moved.store.close())


def quota_of(source: Source) -> Quota:
    """Of both kinds of mailboxes."""
    return source.quota
