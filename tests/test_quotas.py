"""Of a quota of N tokens at most N are issued, and the N-th is issued if it is asked for: under concurrency, when a
connection or a worker is killed, and while the quota is changed or usage is imported.
"""

from __future__ import annotations

import contextlib
import io
import os
import queue
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import psycopg
import pytest
from flask import Flask
from psycopg import sql

from agentidp.db.database import Database
from agentidp.db.sql import load_sql, sql_directory
from agentidp.oauth.client import Client
from agentidp.oauth.client_secret import hash_secret
from agentidp.oauth.issuance import CountedToken, build_call, record_issuance
from agentidp.oauth.quota_windows import WINDOWS, QuotaExhausted
from agentidp.registry import operator_token
from agentidp.registry.quotas import ORGANIZATION
from agentidp.services import Services
from agentidp.usage_history import importing
from agentidp.usage_history.adding import compute_hour_number
from agentidp.usage_history.records import Source
from tests.citus import server_of
from tests.conftest import ON_CITUS_TOO, settings_for
from tests.factories import (
    NOON,
    PATIENCE,
    Agent,
    Clock,
    Server,
    database_of,
    execute,
    make_agent,
    make_organization,
    usage_sums,
    wait_until,
)
from tests.helpers.load import THREADS, Load, assert_counted
from tests.helpers.quota_sessions import ENTER, MARK, SET, set_quota
from tests.helpers.slots import SLOTS

ISSUE = (
    'select scope, exhausted from issue_token(p_organization_id => %(organization_id)s::text collate "C", '
    "p_agent_id => %(agent_id)s::uuid, p_at => %(at)s::timestamptz, p_day => %(day)s::date, "
    "p_hour => %(hour)s::integer, p_secret_hash => %(secret)s::bytea, p_key_or_rule => null, p_digest => null, "
    "p_expires_at => null, p_scope => array['agents:read'], p_own_scopes => array['agents:read'], "
    "p_resource => %(resource)s::text, "
    "p_has_proof => false, p_authenticates_only => false, p_is_counted => true, p_durable => true)"
)
LOCK = "select lock_quotas(%(organization_id)s::text collate \"C\", '1h')"

TOMORROW = NOON + timedelta(days=1)
"""The next day, in the same month."""


FORGET = tuple(map(load_sql, importing.FORGET_SUMS))
"""The statements at the end of an import of past usage."""


class Session:
    """A connection with an open transaction, driven by a thread, so that a statement may wait for another session.

    :param agent: asks for tokens, unless another one of its organization is named.
    """

    def __init__(self, url: str, agent: Agent) -> None:
        self.url, self.agent, self.organization_id = url, agent, agent.organization_id
        self._work: queue.SimpleQueue[tuple[Future[Any], tuple[str, ...], dict[str, Any]] | None] = queue.SimpleQueue()
        self._connect()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _connect(self) -> None:
        self._connection = psycopg.connect(self.url)
        self.pid = self._connection.info.backend_pid

    def _run(self) -> None:
        while (work := self._work.get()) is not None:
            future, statements, values = work
            rows: list[Any] = []
            try:
                for statement in statements:
                    if statement in ("commit", "rollback"):
                        getattr(self._connection, statement)()
                    else:
                        cursor = self._connection.execute(statement.encode(), values)
                        rows = cursor.fetchall() if cursor.description else []
                future.set_result(rows)
            except psycopg.Error as error:
                with contextlib.suppress(psycopg.Error):
                    self._connection.rollback()
                future.set_exception(error)
            if self._connection.closed:
                self._connect()
        self._connection.close()

    def send(self, *statements: str, **values: Any) -> Future[Any]:
        """Run statements in the thread, until one fails. The result is the rows of the last one."""
        future: Future[Any] = Future()
        self._work.put((future, statements, {"organization_id": self.organization_id} | values))
        return future

    def ask(self, at: datetime = NOON, *, agent: Agent | None = None, resource: str | None = None) -> Future[Any]:
        """Ask for a token, and do not commit."""
        agent = agent or self.agent
        secret = hash_secret(agent.client_secret)
        values = {"agent_id": agent.agent_id, "at": at, "day": at.date(), "hour": at.hour, "secret": secret}
        return self.send(ISSUE, **values, resource=resource)

    def issue(self, at: datetime = NOON, *, commit: bool = False) -> None:
        """Get a token without waiting for anybody."""
        assert scope_of(self.ask(at)) == "agents:read"
        if commit:
            self.commit()

    def commit(self) -> None:
        """Commit."""
        self.send("commit").result(PATIENCE)

    def change(self, holder: UUID, window: str, tokens: int) -> Future[Any]:
        """Change a quota as the registry does, and do not commit."""
        return self.send(LOCK, ENTER, SET, MARK, agent_id=holder, window=window, tokens=tokens, is_enforced=True)

    def close(self) -> None:
        """End the thread."""
        self._work.put(None)
        self._thread.join()


class Observer:
    """Watches the sessions from another connection to the same server."""

    def __init__(self, url: str) -> None:
        self.connection = psycopg.connect(url, autocommit=True)

    def is_settled(self, session: Session, future: Future[Any]) -> bool:
        """Return whether the statement of a session has ended, or waits for another session."""
        if future.done():
            return True
        [(blocked,)] = self.connection.execute("select pg_blocking_pids(%s) <> '{}'", [session.pid]).fetchall()
        return bool(blocked)

    def settle(self, session: Session, future: Future[Any]) -> bool:
        """Wait until the statement has ended or waits, and return whether it has ended."""
        wait_until(lambda: self.is_settled(session, future))
        return future.done()

    def waiting(self, session: Session, future: Future[Any]) -> Future[Any]:
        """Return the statement of a session, and fail unless it waits for another session."""
        assert not self.settle(session, future)
        return future

    def one_that_waits_for(self, session: Session) -> int:
        """Wait until a backend waits for a session, and return its process ID."""
        waits = "select pid from pg_stat_activity where pg_blocking_pids(pid) = array[%s::integer]"
        wait_until(lambda: len(self.connection.execute(waits, [session.pid]).fetchall()) == 1)
        [(pid,)] = self.connection.execute(waits, [session.pid]).fetchall()
        return int(pid)

    def kill(self, pid: int) -> None:
        """Kill a backend during its statement, and wait until it has ended."""
        self.connection.execute("select pg_terminate_backend(%s::integer)", [pid])
        gone = "select not exists (select from pg_stat_activity where pid = %s)"
        wait_until(lambda: self.connection.execute(gone, [pid]).fetchone() == (True,))


def with_margin(url: str, margin: int) -> None:
    """Let the functions take *margin* for what all connections together could take."""
    text = (sql_directory() / "functions" / "apply_quotas.sql").read_text(encoding="utf-8")
    known = (
        "        current_setting('max_connections')::bigint + current_setting('max_prepared_transactions')::bigint;\n"
    )
    assert text.count(known) == 1
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(text.replace(known, f"        {margin};\n").encode())


@contextlib.contextmanager
def all_slots_taken(url: str, organization_id: str) -> Iterator[None]:
    """Take all slots during the ``with`` block, so that other transactions share a slot."""
    with psycopg.connect(server_of(url, organization_id), autocommit=True) as connection:
        connection.execute(
            "select pg_advisory_lock(hashtext(%s), slot) from generate_series(0, %s) as slot",
            [organization_id, SLOTS - 1],
        )
        yield


class Scene:
    """An agent, the server that has the rows of its organization, and sessions there."""

    def __init__(self, url: str, agent: Agent) -> None:
        self.url, self.agent, self.server = url, agent, server_of(url, agent.organization_id)
        self.observer = Observer(self.server)
        self._opened: list[Session] = []

    def sessions(self, count: int) -> list[Session]:
        """Return *count* further sessions."""
        opened = [Session(self.server, self.agent) for _ in range(count)]
        self._opened += opened
        return opened

    def set_quota(self, window: str, tokens: int, *, own: bool = True, is_enforced: bool = True) -> None:
        """Set a quota of the agent or of its organization, and commit."""
        holder = self.agent.agent_id if own else ORGANIZATION
        set_quota(self.url, self.agent.organization_id, holder, window, tokens, is_enforced=is_enforced)

    def close(self) -> None:
        """End all sessions."""
        for session in self._opened:
            session.send("rollback")
        for session in self._opened:
            session.close()
        self.observer.connection.close()


@pytest.fixture
def agent(app: Flask) -> Agent:
    """An agent of a new organization."""
    services: Services = app.extensions["agentidp"]
    made = make_agent(services, make_organization(services))
    # A credential's first token of a minute would make the next ones wait for its row.
    execute(str(services.settings.database_url), "update credentials set last_used_at = '2100-01-01'")
    return made


@pytest.fixture
def scene(database_url: str, agent: Agent) -> Iterator[Scene]:
    """The scene of the test's agent."""
    with contextlib.closing(Scene(database_url, agent)) as made:
        yield made


OWN = pytest.mark.parametrize("own", [True, False], ids=["agent", "organization"])
"""Whose quota it is."""


def scope_of(future: Future[Any]) -> str | None:
    """Return the granted scope when the statement of a session has ended."""
    [(scope, _)] = future.result(PATIENCE)
    granted: str | None = scope
    return granted


def assert_counted_with(url: str, organization_id: str, *, issued: int, imported: int) -> None:
    """Fail unless every counter has the issued tokens and the imported tokens, which belong to no credential."""
    sums = usage_sums(url, organization_id)
    assert sums == {
        name: 0 if "rejected" in name else issued if "credential" in name else issued + imported for name in sums
    }


class TestTwoTransactions:
    """A transaction waits, or not, while another transaction has not committed."""

    @OWN
    @pytest.mark.parametrize("window", WINDOWS)
    def test_the_last_token_is_issued_once(self, scene: Scene, window: str, own: bool) -> None:
        scene.set_quota(window, 1, own=own)
        one, two = scene.sessions(2)
        one.issue()
        second = scene.observer.waiting(two, two.ask())
        one.commit()
        assert scope_of(second) is None

    def test_a_quota_that_only_observes_and_is_at_its_end_lets_nobody_pass(self, scene: Scene) -> None:
        scene.set_quota("month", 1, is_enforced=False)
        scene.set_quota("day", 2)
        one, two = scene.sessions(2)
        one.issue(commit=True)
        one.issue()
        second = scene.observer.waiting(two, two.ask())
        one.commit()
        assert scope_of(second) is None

    def test_who_waits_gets_the_token_if_the_other_one_fails(self, scene: Scene) -> None:
        scene.set_quota("day", 1)
        one, two = scene.sessions(2)
        one.issue()
        second = scene.observer.waiting(two, two.ask())
        scene.observer.kill(one.pid)
        assert scope_of(second) == "agents:read"

    @OWN
    def test_tokens_wait_for_each_other_as_soon_as_all_connections_could_take_what_is_left(
        self, scene: Scene, own: bool
    ) -> None:
        [(margin,)] = scene.observer.connection.execute(
            "select sum(setting::integer)::integer from pg_settings "
            "where name in ('max_connections', 'max_prepared_transactions')"
        ).fetchall()
        for more, waits in ((1, False), (0, True)):
            scene.set_quota("day", margin + more, own=own)
            one, two = scene.sessions(2)
            one.issue()
            assert scene.observer.settle(two, two.ask()) is not waits
            one.send("rollback").result(PATIENCE)
            two.send("rollback").result(PATIENCE)

    @OWN
    def test_whoever_is_near_the_limit_waits_for_those_who_were_far_from_it(self, scene: Scene, own: bool) -> None:
        with_margin(scene.url, 2)
        scene.set_quota("day", 3, own=own)
        one, two = scene.sessions(2)
        one.issue()
        two.issue(commit=True)
        third = scene.observer.waiting(two, two.ask())
        one.commit()
        assert scope_of(third) == "agents:read"
        two.commit()
        assert scope_of(two.ask()) is None

    @OWN
    def test_whoever_has_waited_looks_again(self, scene: Scene, own: bool) -> None:
        """Two tokens that are not visible yet use what was left when the third one looked first."""
        with_margin(scene.url, 2)
        scene.set_quota("day", 4, own=own)
        one, two, three = scene.sessions(3)
        for session in (one, two):
            session.issue()
        for _ in range(2):
            three.issue(commit=True)
        future = scene.observer.waiting(three, three.ask())
        one.commit()
        two.commit()
        assert scope_of(future) is None

    def test_a_refusal_waits_for_no_token(self, scene: Scene) -> None:
        """Of a quota that is at its end, while little is left of another one."""
        scene.set_quota("day", 1)
        scene.set_quota("day", 2, own=False)
        one, two = scene.sessions(2)
        one.issue(commit=True)
        # A token that saw more tokens left takes the lock in this mode.
        one.send("select pg_advisory_xact_lock_shared(hashtext(%(organization_id)s), 18)").result(PATIENCE)
        refused = two.ask()
        assert scene.observer.settle(two, refused)
        assert refused.result() == [(None, "agent day")]

    @OWN
    @pytest.mark.parametrize("last", [NOON, TOMORROW], ids=["today", "tomorrow"])
    def test_a_months_sum_is_read_after_all_that_a_token_waits_for(
        self, scene: Scene, last: datetime, own: bool
    ) -> None:
        """One server's clock is a day ahead, and sums the month for its day while a token of the other one waits."""
        with_margin(scene.url, 1)
        scene.set_quota("month", 5, own=own)
        resource = "https://api.example.com"
        organization_id = scene.agent.organization_id
        execute(
            scene.url,
            "insert into resource_servers (organization_id, resource_server_id, resource, name, scopes, created_at) "
            "values (%s, gen_random_uuid(), %s, 'API', '{agents:read}', %s)",
            *(organization_id, resource, NOON),
        )
        execute(scene.url, "insert into resource_identifiers values (%s, %s, %s)", resource, organization_id, NOON)
        waiting, issuing, holding = scene.sessions(3)
        issuing.issue(commit=True)
        # A token reads the resource servers after it has read the quotas.
        holding.send("lock table resource_servers in access exclusive mode").result(PATIENCE)
        token = scene.observer.waiting(waiting, waiting.ask(resource=resource))
        for at in (TOMORROW, TOMORROW, TOMORROW, last):
            issuing.issue(at, commit=True)
        holding.send("rollback").result(PATIENCE)
        assert token.result(PATIENCE) == [(None, f"{'agent' if own else 'organization'} month")]

    def test_a_change_waits_for_tokens_and_tokens_wait_for_it(self, scene: Scene) -> None:
        """Also for a token of an agent that has no quota yet, which is counted although the first one is lower."""
        one, two, three = scene.sessions(3)
        one.issue()
        change = scene.observer.waiting(two, two.change(scene.agent.agent_id, "day", 1))
        later = scene.observer.waiting(three, three.ask())
        one.commit()
        change.result(PATIENCE)
        scene.observer.waiting(three, later)
        two.commit()
        assert scope_of(later) is None

    def test_a_change_and_a_token_of_the_operator_do_not_wait_for_each_other(self, scene: Scene) -> None:
        """The operator's token locks the agent's row, which the change updates after it has locked the quotas."""
        agent = scene.agent
        one, two = scene.sessions(2)
        with ThreadPoolExecutor(1) as operator:
            one.send(LOCK).result(PATIENCE)
            arguments = (agent.services, agent.organization_id, agent.agent_id)
            token = operator.submit(operator_token.issue_counted_token, *arguments, scope=None, resource=None, at=NOON)
            scene.observer.one_that_waits_for(one)
            one.change(agent.agent_id, "day", 1).result(PATIENCE)
            one.commit()
            assert token.result(PATIENCE)
        assert scope_of(two.ask()) is None

    def test_an_import_waits_for_the_first_sum_of_a_month_and_makes_it_new(self, scene: Scene) -> None:
        scene.set_quota("month", 501)
        issuing, importing = scene.sessions(2)
        importing.send(
            ENTER,
            "insert into agent_usage_daily values (%(organization_id)s, '2026-04-02', %(agent_id)s, 5, 500, 500, "
            "0, count_nothing(), count_nothing(), count_nothing())",
            agent_id=scene.agent.agent_id,
        ).result(PATIENCE)
        # It sums the month, without what is imported, and is not committed yet.
        issuing.issue()
        forgotten = scene.observer.waiting(importing, importing.send(*FORGET, "commit"))
        issuing.commit()
        forgotten.result(PATIENCE)
        assert execute(scene.url, "select other_days_of, other_days from quotas") == [(None, None)]
        # What was imported counts at once.
        assert scope_of(issuing.ask()) is None

    def test_an_import_shares_no_slot_with_tokens(self, scene: Scene) -> None:
        """Or a token that sums the month would wait for the import's row in the slot, and the import for the sum."""
        organization_id = scene.agent.organization_id
        scene.set_quota("month", 1000)
        with all_slots_taken(scene.url, organization_id):
            # Sessions that would share a slot if all are taken.
            by_slot: dict[int, list[Session]] = {}
            for session in scene.sessions(SLOTS + 1):
                by_slot.setdefault(session.pid % SLOTS, []).append(session)
            adding, issuing = next(shared for shared in by_slot.values() if len(shared) > 1)[:2]
            adding.send(
                ENTER,
                load_sql("usage_history/add_usage"),
                agent_ids=[scene.agent.agent_id],
                agents=[1],
                hours=[compute_hour_number(NOON.date(), NOON.hour)],
                tokens=[500],
                requests=[500],
                rejected=[0],
            ).result(PATIENCE)
            token = issuing.ask()
            scene.observer.settle(issuing, token)
            forgotten = scene.observer.waiting(adding, adding.send(*FORGET, "commit"))
            assert scope_of(token) == "agents:read"
            issuing.commit()
            forgotten.result(PATIENCE)
        assert_counted_with(scene.url, organization_id, issued=1, imported=500)

    def test_an_import_locks_quotas_as_tokens_do(self, scene: Scene) -> None:
        """Its agent's before the organization's."""
        for own in (True, False):
            scene.set_quota("month", 1000, own=own)
        one, issuing, forgetting = scene.sessions(3)
        # So the token has stored the agent's sum, and not the organization's.
        one.send("select pg_advisory_xact_lock(hashtext(%(organization_id)s), 18)").result(PATIENCE)
        token = scene.observer.waiting(issuing, issuing.ask())
        forgotten = scene.observer.waiting(forgetting, forgetting.send(*FORGET))
        one.send("rollback").result(PATIENCE)
        assert scope_of(token) == "agents:read"
        issuing.commit()
        forgotten.result(PATIENCE)

    def test_an_import_and_a_change_of_several_quotas_do_not_wait_for_each_other(self, scene: Scene) -> None:
        for own in (True, False):
            scene.set_quota("month", 1000, own=own)
        changing, forgetting = scene.sessions(2)
        changing.change(ORGANIZATION, "month", 2000).result(PATIENCE)
        forgotten = scene.observer.waiting(forgetting, forgetting.send(*FORGET))
        changing.change(scene.agent.agent_id, "month", 2000).result(PATIENCE)
        changing.commit()
        forgotten.result(PATIENCE)

    def test_the_service_sets_the_isolation_level_that_quotas_need(self, scene: Scene) -> None:
        """Otherwise the second reading would not include the tokens that were counted meanwhile."""
        with psycopg.connect(scene.url, autocommit=True) as owner:
            name = sql.Identifier(owner.info.dbname)
            owner.execute(
                sql.SQL("alter database {} set default_transaction_isolation = 'repeatable read'").format(name)
            )
        with (
            contextlib.closing(Database(scene.url, settings_for(scene.url))) as database,
            database.of(scene.agent.organization_id, NOON).transaction() as opened,
        ):
            assert opened._connection.execute("show transaction_isolation").fetchall() == [("read committed",)]


def recorded(agent: Agent) -> CountedToken | None:
    """A token, as the token endpoint counts it."""
    client = Client(agent.organization_id, agent.agent_id, secret_hash=hash_secret(agent.client_secret))
    call = build_call(client, scope=None, resource=None, has_proof=False, is_counted=True)
    return record_issuance(database_of(agent.services, agent.organization_id), client, call, None)


@ON_CITUS_TOO
@OWN
def test_simultaneous_connections_get_what_a_quota_allows(agent: Agent, database_url: str, own: bool) -> None:
    """Each is a session of its own, and commits each token before it asks for the next one."""
    tokens, tries, connections = 60, 15, 8
    # Far from the limit at first, so that the tokens do not wait for each other from the beginning.
    with_margin(database_url, connections)
    set_quota(database_url, agent.organization_id, agent.agent_id if own else ORGANIZATION, "month", tokens)
    begin = threading.Barrier(connections)

    def ask(_: int) -> int:
        begin.wait(PATIENCE)
        issued = 0
        for _ in range(tries):
            with contextlib.suppress(QuotaExhausted):
                issued += recorded(agent) is not None
        return issued

    with ThreadPoolExecutor(connections) as threads:
        assert sum(threads.map(ask, range(connections))) == tokens
    assert_counted(database_url, agent.organization_id, tokens=tokens, requests=tokens)
    assert refusals(database_url, agent.organization_id) == connections * tries - tokens


@ON_CITUS_TOO
def test_imports_and_tokens_at_the_same_time_are_counted_exactly(agent: Agent, database_url: str) -> None:
    """All slots are taken, and after each import the next token sums the month anew."""
    connections, tries, imports = 4, 15, 6
    for holder in (agent.agent_id, ORGANIZATION):
        set_quota(database_url, agent.organization_id, holder, "month", 1000)
    begin = threading.Barrier(connections + 2)

    def ask(_: int) -> None:
        begin.wait(PATIENCE)
        for _ in range(tries):
            assert recorded(agent)

    def add(number: int) -> None:
        begin.wait(PATIENCE)
        for turn in range(imports):
            # No file is like another one, which would not be counted again.
            today, before = (f"{at:%Y-%m-%dT%H:%M:%SZ},{agent.agent_id}" for at in (NOON, NOON - timedelta(days=1)))
            file = f"time,agent,tokens\n{today},{number + 1}\n{before},{turn + 1}\n"
            source = Source(io.BytesIO(file.encode()))
            importing.import_usage(database_url, agent.organization_id, source, file_format="csv", at=NOON)

    with all_slots_taken(database_url, agent.organization_id), ThreadPoolExecutor(connections + 2) as threads:
        for future in [threads.submit(ask, n) for n in range(connections)] + [threads.submit(add, n) for n in range(2)]:
            future.result(PATIENCE)
    issued, imported = connections * tries, imports * (1 + 2) + 2 * sum(range(1, imports + 1))
    assert_counted_with(database_url, agent.organization_id, issued=issued, imported=imported)
    granted = recorded(agent)
    assert granted is not None
    assert {quota.tokens_left for quota in granted.quotas} == {1000 - issued - imported}


class Tries(Load):
    """Sixteen threads that request the same number of tokens each, even if some are refused."""

    def has_enough(self, number: int) -> bool:
        """Return whether a thread has requested all of its tokens."""
        self.tried[number] += 1
        return self.tried[number] > self.tokens

    def start(self) -> Tries:
        self.tried = [0] * THREADS
        super().start()
        return self


QUOTA, TRIES = 300, 40
"""The quota, and the attempts per thread: 640 attempts at a quota of 300."""


@pytest.mark.very_slow
@pytest.mark.usefixtures("midnight_is_far")
class TestServers:
    """``agentidp serve``, as clients see it."""

    @pytest.fixture
    def clock(self) -> Clock:
        """The clock of the test, which shows the real time like the server's clock."""
        return Clock(None)

    @pytest.fixture
    def services(self, app: Flask) -> Services:
        """The services that create the agent."""
        app_services: Services = app.extensions["agentidp"]
        return app_services

    def test_workers_that_are_killed_issue_exactly_what_a_quota_allows(
        self, server: Server, agent: Agent, database_url: str
    ) -> None:
        set_quota(database_url, agent.organization_id, agent.agent_id, "day", QUOTA)
        load = Tries(server.port, [agent], TRIES).start()
        killed: list[int] = []
        for threshold in (50, 150, 250):
            wait_until(lambda threshold=threshold: load.ended >= threshold)
            worker = next(pid for pid in server.workers() if pid not in killed)
            os.kill(worker, signal.SIGKILL)
            killed.append(worker)
            wait_until(lambda: len(set(server.workers()) - set(killed)) == 2)
        load.join()
        # What a killed worker had begun is committed or undone by now; the rest is issued to somebody else.
        rest = Tries(server.port, [agent], TRIES).start().join()
        assert load.acknowledged + rest.acknowledged <= QUOTA
        assert load.acknowledged + rest.acknowledged + sum(load.lost) >= QUOTA
        assert set(load.refused) | set(rest.refused) <= {429, 503}
        assert_counted(database_url, agent.organization_id, tokens=QUOTA, requests=QUOTA)


def refusals(url: str, organization_id: str) -> int:
    """How many tokens quotas have refused."""
    statement = (
        "select coalesce(sum(n), 0) from quota_refusals_daily, unnest(refused_by_hour) as n where organization_id = %s"
    )
    [(count,)] = execute(url, statement, organization_id)
    return int(count)
