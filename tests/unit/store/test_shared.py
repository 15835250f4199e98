"""The database of a shared state: its door, its tables and its leases."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psycopg
import pytest

from batches_mcp.core.errors import Retry, StateUnusable, UsageError
from batches_mcp.store import migrations
from batches_mcp.store.claim_rules import Baseline, Begun, ClaimRules
from batches_mcp.store.entry import Draft
from batches_mcp.store.lease import ACT_FOR_S, Lease
from batches_mcp.store.ledger import Ledger
from batches_mcp.store.objects import Objects
from batches_mcp.store.postgres import Postgres, secrets_of, shown
from batches_mcp.store.shared import AccountDatabase, DatabaseNames
from tests.support.cable import cable_to
from tests.support.postgres import PASSWORD, fresh_schema, fresh_url, url_of


@pytest.fixture
def url(postgres: str) -> str:
    return fresh_url(postgres)


@pytest.fixture
def database(url: str) -> Iterator[Postgres]:
    with closing(Postgres(url)) as found:
        yield found


def sql(url: str, statement: str) -> None:
    with psycopg.connect(url) as connection:
        connection.execute(statement.encode())


def begin(ledger: Ledger, content: str) -> int:
    claim = ledger.claim(Draft(content, 1, 1, body=content), "o", Baseline(1.0), lambda _: True, ClaimRules())
    assert isinstance(claim, Begun)
    return claim.entry.key


# Tables


def test_migrating_makes_the_tables_once(postgres: str) -> None:
    url = url_of(postgres, fresh_schema(postgres))
    with closing(Postgres(url)) as database:
        with pytest.raises(StateUnusable, match=r"(?s)are not there yet.*Run `batches-mcp migrate`"):
            migrations.check(database)
        assert migrations.migrate(database) == (0, migrations.LATEST)
        assert migrations.migrate(database) == (migrations.LATEST, migrations.LATEST)
        migrations.check(database)


def test_two_that_migrate_at_once_make_the_tables_once(postgres: str) -> None:
    url = url_of(postgres, fresh_schema(postgres))
    came: list[tuple[int, int]] = []

    def run() -> None:
        with closing(Postgres(url)) as database:
            came.append(migrations.migrate(database))

    threads = [threading.Thread(target=run) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(came) == [(0, migrations.LATEST), *[(migrations.LATEST, migrations.LATEST)] * 2]


def test_tables_of_a_later_version_are_left_alone(url: str, database: Postgres) -> None:
    sql(url, "UPDATE schema_version SET version = 99")
    for look in (migrations.check, migrations.migrate):
        with pytest.raises(StateUnusable, match="are of version 99, which a later version of batches-mcp made"):
            look(database)


def test_tables_of_an_earlier_version_are_to_be_migrated(url: str, database: Postgres) -> None:
    sql(url, "UPDATE schema_version SET version = 0")
    with pytest.raises(StateUnusable, match="Run `batches-mcp migrate`"):
        migrations.check(database)


def test_a_database_that_cannot_be_written_to_is_refused(url: str) -> None:
    database = Postgres(f"{url}%20-cdefault_transaction_read_only%3Don")
    with closing(database), pytest.raises(StateUnusable, match="it is read-only") as caught:
        migrations.check(database)
    assert "primary" in caught.value.report.next_step
    assert caught.value.report.retry is Retry.USELESS


def test_an_account_sees_its_own_creates_only(database: Postgres) -> None:
    one, other = (Ledger(AccountDatabase(database, name)) for name in ("one", "other"))
    assert (begin(one, "c"), begin(one, "d"), begin(other, "c")) == (1, 2, 1)
    other.sent(1, 5.0)
    assert [entry.sent_s for entry in one.entries()] == [None, None]
    assert [entry.content for entry in other.entries()] == ["c"]
    with pytest.raises(StateUnusable), database.transaction() as db:
        db.execute("INSERT INTO creates (key) VALUES (9)")


def test_text_that_postgresql_does_not_hold_is_kept_as_well_as_can_be(database: Postgres) -> None:
    ledger = Ledger(AccountDatabase(database, "a"))
    rules = ClaimRules()
    ledger.claim(Draft("c", 1, 1, label="a\0b\ud800c%s?"), "o", Baseline(1.0), lambda _: True, rules)
    assert [entry.label for entry in ledger.entries()] == ["a\ufffdb?c%s?"]


def test_the_account_of_a_credential_is_named_once(database: Postgres) -> None:
    names = DatabaseNames(database)
    assert names.read("credential") is None
    assert names.remember("credential", "first") == "first"
    assert names.remember("credential", "second") == "first"
    assert names.read("credential") == "first"


# Connections


def test_a_connection_that_the_server_closed_is_made_anew(url: str) -> None:
    # Other tests have connections to the same server at the same time.
    name = f"closed-{uuid.uuid4().hex}"
    database = Postgres(f"{url}&application_name={name}")
    ledger = Ledger(AccountDatabase(database, "a"))
    begin(ledger, "c")
    sql(url, f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = '{name}'")  # noqa: S608
    begin(ledger, "d")
    assert [entry.content for entry in ledger.entries()] == ["d", "c"]
    database.close()


def test_nothing_is_kept_on_a_connection_so_that_a_pooler_may_share_it(database: Postgres) -> None:
    ledger = Ledger(AccountDatabase(database, "a"))
    for number in range(10):
        begin(ledger, str(number))
    with database.transaction() as db:
        assert db.execute("SELECT count(*) FROM pg_prepared_statements").fetchall() == [(0,)]
        held = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()"
        assert db.execute(held).fetchall() == [(0,)]
        assert db.execute("SELECT current_setting('batches_mcp.account')").fetchall() == [("",)]


def test_who_holds_a_connection_waits_for_no_second_one(url: str, database: Postgres) -> None:
    lease = Lease(database)
    lease.enter()
    with database.transaction("a") as db:
        [(mine,)] = db.execute("SELECT pg_backend_pid()")
        assert lease.alive(lease.name)
        with database.transaction() as inner:
            assert inner.execute("SELECT pg_backend_pid()").fetchall() == [(mine,)]
    lease.leave()


def test_a_database_that_is_gone_is_said_without_its_password(postgres: str) -> None:
    with cable_to(postgres) as cable:
        url = url_of("127.0.0.1", fresh_schema(postgres), cable.port)
        with closing(Postgres(url)) as database:
            migrations.migrate(database)
            cable.cut()
            with pytest.raises(StateUnusable, match="cannot be used") as caught:
                migrations.check(database)
            assert caught.value.report.retry is Retry.HELPS
            assert PASSWORD not in caught.value.report.text()
            cable.mend()
            migrations.check(database)


@pytest.mark.parametrize(
    "url",
    [
        "mysql://a:geheim99@b/c",
        "geheim99",
        "postgresql://a:ge@heim99/geheim99@b:x/c",
        "postgresql://a:geheim99@b:port/c",
        "postgresql://a:geheim99%@b/c",
        "postgresql://a:geheim99@b/c?nonsense=1",
    ],
)
def test_what_is_no_url_of_a_database_is_refused_without_repeating_it(url: str) -> None:
    with pytest.raises(UsageError, match="expected postgresql://USER") as caught:
        shown(url)
    assert "heim99" not in str(caught.value)


def test_what_is_shown_of_a_url() -> None:
    url = "postgresql://user:pass%20word@db.internal:6432/batches?sslmode=require"
    assert shown(url) == "postgresql://db.internal:6432/batches"
    assert secrets_of(url) == [url, "pass word"]


def test_a_store_that_answered_is_not_asked_again_for_a_while(tmp_path: Path) -> None:
    clock = Clock()
    objects = Objects((tmp_path / "objects").as_uri(), now_s=clock)
    objects.check()
    objects.look()
    mark = tmp_path / "objects" / "batches-mcp.json"
    mark.unlink()
    objects.look()
    clock.now_s += 11
    for _ in range(2):
        with pytest.raises(StateUnusable, match=r"batches-mcp.json is no longer there"):
            objects.look()
    objects.check()
    objects.look()


# Leases


class Clock:
    def __init__(self) -> None:
        self.now_s = 1_000.0

    def __call__(self) -> float:
        return self.now_s


def run_out(url: str) -> None:
    """Time passes at the database."""
    sql(url, "UPDATE owners SET until = until - interval '31 seconds'")


def test_a_lease_shows_that_its_holder_lives_until_it_runs_out(url: str, database: Postgres) -> None:
    one, other = Lease(database), Lease(database)
    assert not other.alive(one.name)
    one.enter()
    one.enter()
    assert other.alive(one.name)
    run_out(url)
    assert not other.alive(one.name)
    one.leave()


def test_a_lease_ends_when_its_holder_leaves(database: Postgres) -> None:
    one, other = Lease(database), Lease(database)
    one.enter()
    one.leave()
    one.leave()
    assert not other.alive(one.name)
    assert one.left_s == 0


def test_a_holder_acts_for_20_s_after_the_beginning_of_its_last_renewal(database: Postgres) -> None:
    clock = Clock()
    lease = Lease(database, clock)
    assert lease.left_s == 0
    lease.check()  # who never took one may take it when it is needed
    lease.enter()
    assert lease.left_s == ACT_FOR_S
    clock.now_s += 15
    assert lease.left_s == ACT_FOR_S - 15
    lease.renew()
    assert lease.left_s == ACT_FOR_S
    clock.now_s += 21
    assert lease.left_s == 0
    with pytest.raises(StateUnusable, match="could not be renewed for 20 s, so that it starts no create"):
        lease.check()
    lease.enter()
    lease.check()
    assert (lease.left_s, lease.lost) == (ACT_FOR_S, 0)
    lease.leave()


def test_who_renewed_too_late_gets_another_name(url: str, database: Postgres) -> None:
    lease = Lease(database)
    lease.enter()
    name = lease.name
    run_out(url)
    lease.renew()
    assert (lease.name != name, lease.lost) == (True, 1)
    assert not lease.alive(name)
    assert lease.alive(lease.name)
    lease.leave()


def test_a_holder_without_its_database_starts_nothing(postgres: str) -> None:
    clock = Clock()
    with (
        cable_to(postgres) as cable,
        closing(Postgres(url_of("127.0.0.1", fresh_schema(postgres), cable.port))) as gone,
    ):
        migrations.migrate(gone)
        lease = Lease(gone, clock)
        lease.enter()
        cable.cut()
        with pytest.raises(StateUnusable):
            lease.renew()
        clock.now_s += ACT_FOR_S
        assert lease.left_s == 0
        with pytest.raises(StateUnusable):
            lease.enter()
        lease.leave()


def test_a_create_that_was_taken_over_may_not_be_sent_to_its_end(url: str, database: Postgres) -> None:
    ledger = Ledger(AccountDatabase(database, "a"))
    key = begin(ledger, "c")
    assert ledger.sent(key, 1.0, "o")
    [entry] = ledger.left_behind("another", lambda _: False)
    assert entry.key == key
    assert not ledger.sent(key, 2.0, "o")
    assert [found.sent_s for found in ledger.entries()] == [1.0]
