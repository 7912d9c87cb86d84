"""The steps of the schema: each is applied once, by one process at a time, even after interruptions, by any owner."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.rows import tuple_row

from agentidp import create_app
from agentidp.clock import utc_now
from agentidp.config import ConfigurationError
from agentidp.db import migrations
from agentidp.db.database import SERVICE_ROLE, connect
from agentidp.db.embedded_postgres import temporary
from agentidp.db.migrations import Step, migrate, split_statements, steps
from agentidp.db.sql import load_sql
from agentidp.jose.key_rotation import ensure_signing_key
from agentidp.server.runtime import open_instance
from agentidp.services import Services
from tests.conftest import INSTALLATIONS, bindir_of, name_of_installation, settings_for, with_database
from tests.factories import (
    PATIENCE,
    Agent,
    execute,
    make_agent,
    make_organization,
)
from tests.helpers.migrations import RELEASED, wait_for
from tests.next_release import MIGRATION, NextRelease


def applied(url: str) -> list[object]:
    """Return the names of the applied steps, in the order in which they were applied."""
    return [name for (name,) in execute(url, "select name from schema_migrations order by applied_at, name")]


def test_statements_end_at_semicolons_outside_of_comments_quotes_and_bodies() -> None:
    first = """-- It's one; really.
create table "a;b" (c text default 'it''s; one') -- ;"""
    second = "do $$ begin perform 1; end $$"
    third = "do $body$ begin execute $$ select 1; $$; end $body$"
    fourth = "create function f(text) returns text language sql return $1 || '$$;'"
    assert split_statements(f"{first}\n;\n{second};{third};\n;{fourth};\n-- The end;\n") == [
        first,
        second,
        third,
        fourth,
    ]


@pytest.mark.parametrize("file", [file for step in steps() for file in step.files], ids=lambda file: file.stem)
def test_each_statement_of_a_step_can_be_sent_alone(database_url: str, file: Path) -> None:
    statements = split_statements(file.read_text(encoding="utf-8"))
    with psycopg.connect(database_url) as connection:
        for statement in statements:
            # Only parsed. The server refuses two statements, and an incomplete statement.
            parsed = connection.pgconn.prepare(b"", statement.encode())
            assert parsed.status == psycopg.pq.ExecStatus.COMMAND_OK, statement


def test_of_many_at_once_one_applies_all_in_order_and_the_others_wait(empty_database_url: str) -> None:
    barrier = threading.Barrier(4)

    def run(_: int) -> list[str]:
        barrier.wait()
        return migrate(empty_database_url)

    with ThreadPoolExecutor(4) as threads:
        assert sorted(threads.map(run, range(4))) == [[], [], [], RELEASED]
    assert applied(empty_database_url) == RELEASED


@pytest.mark.parametrize(
    ("own", "newer"),
    [("functions_1.0.0_0", "9999_from_the_future"), ("functions_9.1_0", "functions_10.0.0_0123456789abcdef")],
)
def test_a_database_newer_than_the_release_is_refused_and_left_as_it_is(
    database_url: str, own: str, newer: str
) -> None:
    release = [*steps()[:-1], Step(f"{own}123456789abcdef", [])]
    execute(database_url, f"insert into schema_migrations (name) values ('{newer}')")
    before = applied(database_url)
    with pytest.raises(ConfigurationError) as refused:
        migrate(database_url, release)
    assert str(refused.value) == (
        f"the database holds migration {newer}, which this release of AgentIdP does not know: "
        "install the release that applied it, or a newer one"
    )
    assert applied(database_url) == before


@pytest.fixture
def next_release(tmp_path: Path) -> NextRelease:
    """Copy the SQL of this release, so that the test can add a step."""
    return NextRelease(tmp_path)


def test_functions_are_replaced_once_if_their_text_has_changed(database_url: str, next_release: NextRelease) -> None:
    older = "functions_0.0.9_0123456789abcdef"
    execute(database_url, f"update schema_migrations set name = '{older}' where name = '{RELEASED[-1]}'")
    next_release.change_function("count_nothing", "array_fill(0,", "array_fill(1,")
    release = next_release.steps()
    assert release[-1].name != RELEASED[-1]
    assert migrate(database_url, release) == [release[-1].name]
    assert execute(database_url, "select (count_nothing())[24]") == [(1,)]
    assert applied(database_url) == [step.name for step in release]
    assert migrate(database_url, release) == []


SLEEPS = "select pid is not null from pg_stat_activity where datname = current_database() and wait_event = 'PgSleep'"
UNTIL = "do $$ begin while not exists (select from pg_class where relname = 'go_on') loop perform pg_sleep(0.1); {}"


@pytest.mark.slow
def test_a_killed_migration_leaves_nothing_and_the_next_run_completes_and_prints_it(
    database_url: str, next_release: NextRelease
) -> None:
    # The migration cannot see this table before the test has created it.
    until = UNTIL.format("end loop; end $$")
    next_release.add_migration(f"create table half_way (); {until}; create table done ();")
    killed = next_release.migrate(database_url)
    wait_for(database_url, f"exists ({SLEEPS})")
    # Each statement is sent separately, as Citus's workers require.
    assert execute(database_url, SLEEPS.replace("pid is not null", "query")) == [(until,)]
    killed.kill()
    killed.communicate(timeout=PATIENCE)
    # The killed process's statement still runs in the server. The next run waits for it.
    after = next_release.migrate(database_url)
    wait_for(database_url, "exists (select from pg_locks where locktype = 'advisory' and not granted)")
    execute(database_url, "create table go_on ()")
    output, _ = after.communicate(timeout=PATIENCE)
    assert (after.returncode, output) == (0, f"{MIGRATION}\n")
    assert applied(database_url) == [*RELEASED, MIGRATION]


def test_a_migration_that_fails_is_one_sentence_and_undone_whole(database_url: str, next_release: NextRelease) -> None:
    next_release.add_migration("create table half_way (); select 1 / 0;")
    with pytest.raises(ConfigurationError) as failed:
        migrate(database_url, next_release.steps())
    assert str(failed.value) == "the database's schema cannot be brought up to date: division by zero"
    assert execute(database_url, "select to_regclass('half_way')") == [(None,)]
    assert applied(database_url) == RELEASED


def test_a_migration_that_waits_for_a_table_lets_others_go_on(
    database_url: str, next_release: NextRelease, caplog: pytest.LogCaptureFixture
) -> None:
    next_release.add_migration("alter table agents add column further text;")
    with (
        psycopg.connect(database_url) as reader,
        psycopg.connect(database_url) as other,
        ThreadPoolExecutor(1) as thread,
    ):
        reader.execute("select count(*) from agents")
        run = thread.submit(migrate, database_url, next_release.steps())
        wait_for(database_url, "exists (select from pg_locks where relation = 'agents'::regclass and not granted)")
        other.execute(f"set statement_timeout = '{PATIENCE}s'")
        # This statement waits behind the migration, which waits for the reader.
        other.execute("update agents set description = 'x'")
        other.commit()
        assert not run.done()
        reader.rollback()
        assert run.result(PATIENCE) == [MIGRATION]
    assert [record.getMessage() for record in caplog.records] == [
        f"migration {MIGRATION} waits for a table that is in use"
    ]


def test_a_migration_that_gets_no_table_is_given_up_in_one_sentence(
    database_url: str, next_release: NextRelease, monkeypatch: pytest.MonkeyPatch
) -> None:
    next_release.add_migration("alter table agents add column further text;")
    monkeypatch.setattr(migrations, "LOCK_ATTEMPTS", 1)
    with psycopg.connect(database_url) as reader:
        reader.execute("select count(*) from agents")
        with pytest.raises(ConfigurationError) as refused:
            migrate(database_url, next_release.steps())
    assert str(refused.value) == (
        f"migration {MIGRATION} did not get a table that is in use; end the export, backup or query that reads it"
    )


@pytest.fixture(params=INSTALLATIONS, ids=name_of_installation)
def server_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """Run a server for this test, and return its URL as its superuser."""
    with temporary(bindir=bindir_of(request.param)) as postgres:
        yield postgres.url


@pytest.fixture
def managed_url(server_url: str) -> str:
    """Return the URL of a managed database, whose owner may create roles and is not a superuser."""
    execute(server_url, "create role manager login createrole password 'managed'")
    execute(server_url, "create database managed owner manager")
    host = with_database(server_url, "managed").rpartition("@")[2]
    return f"postgresql://manager:managed@{host}"


@contextmanager
def serving(url: str, owners: str) -> Iterator[tuple[Services, Callable[[Agent, str], Any]]]:
    """Run the service on a database, and yield a function that reads an address with an agent's token.

    :param owners: the URL of the database's owner.
    """
    ensure_signing_key(settings_for(owners), at=utc_now())
    app = create_app(settings_for(url))
    client = app.test_client()

    def get(agent: Agent, path: str) -> Any:
        issued = client.post("/api/v1/token", data=agent.form)
        assert issued.status_code == 200
        found = client.get(path, headers={"Authorization": f"Bearer {issued.json['access_token']}"})
        assert found.status_code == 200
        return found.json

    with closing(app.extensions["agentidp"]) as services:
        yield services, get


@pytest.mark.slow
def test_an_owner_who_is_no_superuser_can_migrate_and_the_service_runs(managed_url: str) -> None:
    assert migrate(managed_url) == RELEASED
    assert migrate(managed_url) == []
    with serving(managed_url, managed_url) as (services, get):
        agents = [make_agent(services, make_organization(services, name)) for name in ("Acme", "Outsider")]
        for agent in agents:
            assert [agent_json["agentId"] for agent_json in get(agent, "/api/v1/agents")["data"]] == [agent.client_id]
            assert [day["count"] for day in get(agent, "/api/v1/analytics/tokens?days=1")["data"]] == [2]
        with services.database.pool.connection() as pooled:
            assert pooled.execute("select current_user, session_user").fetchone() == (SERVICE_ROLE, "manager")
            with pytest.raises(psycopg.errors.InsufficientPrivilege, match="create temporary tables"):
                pooled.execute("create temporary table scratch (n int)")
    # Row-level security also applies to the owner of the tables.
    with connect(managed_url) as owner:
        owner.row_factory = tuple_row
        counts = (
            "select (select count(*) from credentials), (select count(*) from usage_daily), "
            "(select count(*) from organizations)"
        )
        assert owner.execute(counts).fetchone() == (0, 0, 2)
        owner.execute("select set_config('agentidp.organization_id', %s, false)", [agents[0].organization_id])
        assert owner.execute(counts).fetchone() == (1, 1, 2)


@pytest.mark.slow
def test_the_service_can_log_in_as_a_role_that_only_becomes_the_services(managed_url: str) -> None:
    """The owner, who may create roles, creates that role as docs/deployment.md says."""
    with open_instance(settings_for(managed_url)):
        pass
    execute(managed_url, "create role agentidp_login login noinherit password 'login' in role agentidp_service")
    url = managed_url.replace("manager:managed@", "agentidp_login:login@")
    with serving(url, managed_url) as (services, get):
        owner = Services.of(settings_for(managed_url), utc_now)
        agent = make_agent(owner, make_organization(owner))
        owner.close()
        for path in ("/api/v1/analytics/tokens", "/api/v1/analytics/findings", "/api/v1/agents", "/readyz"):
            get(agent, path)
        with services.database.pool.connection() as pooled:
            assert pooled.execute("select current_user, session_user").fetchone() == (SERVICE_ROLE, "agentidp_login")
            pooled.execute("reset role")
            for statement in ("select from agents", "select from signing_keys", "set role manager"):
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    pooled.execute(statement.encode())
            pooled.execute("set role agentidp_service")
    # Only the owner may migrate.
    with pytest.raises(ConfigurationError, match="permission denied"):
        migrate(url)


def test_a_role_that_may_not_is_refused_in_one_sentence(managed_url: str) -> None:
    execute(managed_url, "create role weak login password 'weak'")
    weak = managed_url.replace("manager:managed@", "weak:weak@")
    with pytest.raises(ConfigurationError) as refused:
        migrate(weak)
    assert str(refused.value) == (
        "the database's schema cannot be brought up to date: permission denied for schema public. "
        "Set AGENTIDP_DATABASE_URL to the URL of the role that owns the database"
    )
    assert execute(managed_url, "select to_regclass('schema_migrations')") == [(None,)]


class TestASecondInstallation:
    """Another database with another owner on the same server, where agentidp_service exists already."""

    @pytest.fixture
    def second_url(self, managed_url: str, server_url: str) -> str:
        """Return the URL of an empty database on the server of a migrated one."""
        assert migrate(managed_url) == RELEASED
        execute(server_url, "create role second login createrole password 'second'")
        execute(server_url, "create database second owner second")
        return managed_url.replace("manager:managed@", "second:second@").replace("/managed?", "/second?")

    def test_has_no_access_to_the_first_one_if_only_its_owner_may_connect(
        self, managed_url: str, second_url: str, server_url: str
    ) -> None:
        """docs/deployment.md requires this. Otherwise each of the two owners can become the service of both."""
        execute(server_url, "grant agentidp_service to second")
        first_as_second = second_url.replace("/second?", "/managed?")
        seen = "set role agentidp_service; select count(*) from clients"
        assert execute(first_as_second, "set role agentidp_service") == []
        execute(server_url, "revoke connect on database managed from public")
        with pytest.raises(psycopg.OperationalError, match='permission denied for database "managed"'):
            execute(first_as_second, seen)
        assert migrate(managed_url) == []

    def test_installs_after_a_superuser_has_run_what_the_refusal_says(self, second_url: str, server_url: str) -> None:
        execute(server_url, "alter role second nocreaterole")
        execute(server_url, 'alter role second rename to "Second owner"')
        execute(server_url, "alter role \"Second owner\" password 'second'")
        url = second_url.replace("second:second@", "Second%20owner:second@")
        with pytest.raises(ConfigurationError) as refused:
            migrate(url)
        sentence, _, statements = str(refused.value).rpartition(": ")
        assert sentence == (
            "the role Second owner may not create or use the role agentidp_service: "
            "let a superuser of the server run once"
        )
        # Before version 16, a role that may create roles may use every role.
        [(is_newer,)] = execute(server_url, "select current_setting('server_version_num')::integer >= 160000")
        grant = ['grant agentidp_service to "Second owner"'] if is_newer else []
        assert statements.split("; ") == ['alter role "Second owner" createrole', *grant]
        assert execute(url, "select to_regclass('schema_migrations')") == [(None,)]
        for statement in statements.split("; "):
            execute(server_url, statement)
        assert migrate(url) == RELEASED
        with serving(url, url) as (services, get):
            get(make_agent(services, make_organization(services)), "/api/v1/agents")


def test_what_a_step_warns_of_is_logged(empty_database_url: str, caplog: pytest.LogCaptureFixture) -> None:
    execute(empty_database_url, load_sql("database/create_schema_migrations"))
    warn = "begin raise notice 'unseen %', new.name; raise warning 'look at %', new.name; return new; end"
    execute(empty_database_url, f"create function warn() returns trigger language plpgsql as $$ {warn} $$")
    execute(
        empty_database_url,
        "create trigger warn before insert on schema_migrations for each row execute function warn()",
    )
    migrate(empty_database_url)
    assert caplog.messages == [f"look at {name}" for name in RELEASED]
