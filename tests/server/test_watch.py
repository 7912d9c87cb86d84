"""``agentidp watch`` evaluates every organization, in one instance at a time, and as a child of ``agentidp serve``."""

from __future__ import annotations

import os
import signal
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest

from agentidp.clock import utc_now
from agentidp.counting import KEEP_NETWORKS, UNKNOWN_ORGANIZATION
from agentidp.db.database import connect
from agentidp.db.errors import DatabaseUnavailable
from agentidp.db.sql import load_sql
from agentidp.server import watch as watching
from agentidp.server.watch import WATCH_LOCK, evaluate_all, watch
from agentidp.services import Services
from tests.alerts.conftest import Outbox, change
from tests.alerts.receiver import Receiver
from tests.cli.command import Command
from tests.conftest import settings_for
from tests.factories import (
    PATIENCE,
    SECRET_KEY,
    Clock,
    Server,
    children,
    count_usage,
    execute,
    make_agent,
    make_grant,
    make_organization,
    wait_until,
)


@pytest.fixture
def services(database_url: str) -> Iterator[Services]:
    """Return services with two organizations and the real clock."""
    services = Services.of(settings_for(database_url), utc_now)
    for name in ("Acme", "Other"):
        make_organization(services, name)
    yield services
    services.close()


def evaluated(url: str) -> int:
    """Return the number of evaluated organizations."""
    [(count,)] = execute(url, "select count(*) from finding_evaluations where evaluated_at is not null")
    return int(count)


@contextmanager
def watching_in_a_thread(services: Services) -> Iterator[None]:
    """Run an instance of the watch in a thread."""
    stop = threading.Event()
    thread = threading.Thread(target=watch, args=(services, stop))
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(PATIENCE)
        assert not thread.is_alive()


def test_stores_the_sums_of_months(services: Services, database_url: str) -> None:
    yesterday = utc_now() - timedelta(days=1)
    for name in ("One", "Two"):
        agent = make_agent(services, make_organization(services, name))
        count_usage(services, agent.organization_id, agent.agent_id, yesterday, tokens=3)
    watch(services, threading.Event(), once=True)
    rows = execute(database_url, "select month, tokens from usage_monthly")
    assert rows == [(yesterday.astimezone(UTC).date().replace(day=1), 3)] * 2


@pytest.mark.parametrize(
    ("step", "error", "message", "organizations"),
    [
        ("delete_expired_agents", DatabaseUnavailable, "expired agents not deleted", 2),
        ("suspend_dormant", DatabaseUnavailable, "dormant agents not suspended", 2),
        ("_forget_networks", DatabaseUnavailable, "networks of unknown clients were not deleted", 2),
        ("evaluate", ZeroDivisionError, "findings not evaluated", 1),
    ],
)
def test_what_fails_once_stops_nothing_else(
    services: Services,
    database_url: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    step: str,
    error: type[Exception],
    message: str,
    organizations: int,
) -> None:
    real, failing = getattr(watching, step), iter([True])

    def first_fails(*arguments: Any) -> Any:
        if next(failing, False):
            raise error
        return real(*arguments)

    monkeypatch.setattr(watching, step, first_fails)
    watch(services, threading.Event(), once=True)
    assert evaluated(database_url) == organizations
    assert [text for text in caplog.messages if text != "findings evaluated"] == [message]


def test_says_why_no_alerts_were_sent(services: Services, database_url: str, caplog: pytest.LogCaptureFixture) -> None:
    execute(database_url, "alter table alert_deliveries rename to unreachable")
    with watching_in_a_thread(services):
        wait_until(lambda: "no alerts were sent" in caplog.messages)
    [reason, *_] = [record.fields["reason"] for record in caplog.records if record.message == "no alerts were sent"]  # type: ignore[attr-defined]
    assert 'relation "alert_deliveries" does not exist' in reason


def test_evaluates_nothing_while_another_instance_watches(
    services: Services, database_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    with connect(database_url) as other:
        other.execute("select pg_advisory_lock(%s)", [WATCH_LOCK])
        watch(services, threading.Event(), once=True)
        assert evaluated(database_url) == 0
    assert "another instance watches, so nothing was evaluated" in caplog.messages
    assert "findings evaluated" not in caplog.messages


def test_stops_between_two_organizations_when_the_lock_is_lost(
    services: Services, database_url: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Another instance may watch from then on. The next organization does not count as failed."""
    evaluate = watching.evaluate

    def ends_the_lock(*arguments: Any) -> None:
        evaluate(*arguments)
        execute(
            database_url,
            "select pg_terminate_backend(pid) from pg_locks join pg_database on pg_database.oid = database "
            "where locktype = 'advisory' and granted and datname = current_database() "
            "and (classid::bigint << 32) + objid::bigint = %s",
            WATCH_LOCK,
        )

    monkeypatch.setattr(watching, "evaluate", ends_the_lock)
    with connect(database_url) as own:
        own.execute(load_sql("database/try_lock"), {"key": WATCH_LOCK})
        with pytest.raises(psycopg.OperationalError):
            evaluate_all(own, services, threading.Event())
    assert evaluated(database_url) == 1
    assert "findings not evaluated" not in caplog.messages


def test_alerts_are_sent_by_watch_and_in_one_go(services: Services) -> None:
    acme = Outbox(services)
    with Receiver() as receiver:
        acme.add_target(receiver.url)
        acme.put(change(services.clock()))
        watch(acme.services, threading.Event(), once=True)
        assert len(receiver.received) == 1
        acme.put(change(services.clock()))
        with watching_in_a_thread(acme.services):
            wait_until(lambda: len(receiver.received) == 2)


def test_networks_of_rejected_requests_are_forgotten(services: Services, database_url: str) -> None:
    # The day must not end before the evaluation.
    services = replace(services, clock=Clock(services.clock()))
    today = services.clock().astimezone(UTC).date()
    [(organization_id,), _] = execute(database_url, "select organization_id from organizations")
    insert = "insert into rejected_networks values (%s, %s, %s, '192.0.2.0/24', 'wrong secret', 1)"
    for whose in (organization_id, UNKNOWN_ORGANIZATION):
        for days in (KEEP_NETWORKS - 1, KEEP_NETWORKS):
            execute(database_url, insert, whose, today - timedelta(days=days), uuid.uuid4())
    watch(services, threading.Event(), once=True)
    kept = execute(database_url, "select day from rejected_networks")
    assert kept == [(today - timedelta(days=KEEP_NETWORKS - 1),)] * 2


def test_grants_that_have_expired_are_deleted(services: Services, database_url: str) -> None:
    agent = make_agent(services, make_organization(services))
    make_grant(agent)
    expired = make_grant(agent)
    execute(database_url, "update grants set expires_at = now() where grant_id = %s", expired)
    watch(services, threading.Event(), once=True)
    assert [grant_id for (grant_id,) in execute(database_url, "select grant_id from grants")] != [expired]
    assert execute(database_url, "select count(*) from grants") == [(1,)]
    copies = """
        insert into grants
        select (jsonb_populate_record(grants, jsonb_build_object('grant_id', gen_random_uuid(), 'expires_at', now()))).*
        from grants cross join generate_series(1, 10001)
    """
    execute(database_url, copies)
    for remaining in (2, 1):
        watch(services, threading.Event(), once=True)
        assert execute(database_url, "select count(*) from grants") == [(remaining,)]


def test_the_command(quiet: None, services: Services, database_url: str) -> None:
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        assert Command(database_url).invoke("watch", "--once").exit_code == 0
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    assert evaluated(database_url) == 2


def test_another_instance_takes_over_when_the_lock_is_free(
    services: Services, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries: list[int] = []
    try_lock = watching._try_lock
    monkeypatch.setattr(watching, "LOCK_INTERVAL", 0.01)
    monkeypatch.setattr(watching, "_try_lock", lambda connection: tries.append(1) or try_lock(connection))
    with connect(database_url) as other:
        other.execute("select pg_advisory_lock(%s)", [WATCH_LOCK])
        with watching_in_a_thread(services):
            wait_until(lambda: len(tries) > 2)
            assert evaluated(database_url) == 0
            other.close()
            wait_until(lambda: evaluated(database_url) == 2)


@pytest.mark.slow
def test_serve_starts_it_again_and_ends_it(services: Services, database_url: str) -> None:
    environment = {"AGENTIDP_DATABASE_URL": database_url, "AGENTIDP_SECRET_KEY": SECRET_KEY, "AGENTIDP_WATCH": "on"}
    with Server(environment) as server:
        wait_until(lambda: evaluated(database_url) == 2)
        [child] = children(server.process.pid, "watch")
        os.kill(child, signal.SIGKILL)
        wait_until(lambda: children(server.process.pid, "watch") not in ([], [child]))
        [again] = children(server.process.pid, "watch")
    wait_until(lambda: not Path(f"/proc/{again}").exists())
