"""The steps of the schema: once each, one process at a time, whatever ends it, as any role that owns the database."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path

import psycopg
import pytest
from psycopg.rows import tuple_row

from agentidp import create_app
from agentidp.clock import utc_now
from agentidp.config import ConfigurationError
from agentidp.db import migrations
from agentidp.db.database import SERVICE_ROLE, connect
from agentidp.db.embedded_postgres import temporary
from agentidp.db.migrations import Step, migrate, statements_of, steps
from agentidp.db.sql import load_sql, sql_directory
from agentidp.jose.key_rotation import ensure_signing_key
from agentidp.server.runtime import prepared
from agentidp.services import Services
from tests.citus import WITHOUT_CITUS
from tests.conftest import INSTALLATIONS, bindir_of, name_of_installation, settings_for, with_database
from tests.factories import PATIENCE, ROOT, SECRET_KEY, Server, make_agent, make_organization

RELEASED = [step.name for step in steps()]


def query(url: str, statement: str) -> list[tuple[object, ...]]:
    """Rows of a statement that is run past the application."""
    with psycopg.connect(url, autocommit=True, row_factory=tuple_row) as connection:
        cursor = connection.execute(statement.encode())
        return cursor.fetchall() if cursor.description else []


def applied(url: str) -> list[object]:
    """The names of the steps that a database has, in the order in which it got them."""
    return [name for (name,) in query(url, "select name from schema_migrations order by applied_at, name")]


def wait_for(url: str, condition: str) -> None:
    """Until *condition* holds."""
    deadline = time.monotonic() + PATIENCE
    with psycopg.connect(url, autocommit=True, row_factory=tuple_row) as connection:
        while connection.execute(f"select {condition}".encode()).fetchone() != (True,):
            assert time.monotonic() < deadline, condition
            time.sleep(0.01)


def test_an_empty_database_gets_all_in_order_and_a_second_run_finds_nothing_to_do(empty_database_url: str) -> None:
    assert migrate(empty_database_url) == RELEASED
    assert migrate(empty_database_url) == []
    assert applied(empty_database_url) == RELEASED


def test_statements_end_at_semicolons_outside_of_comments_quotes_and_bodies() -> None:
    first = """-- It's one; really.
create table "a;b" (c text default 'it''s; one') -- ;"""
    second = "do $$ begin perform 1; end $$"
    third = "do $body$ begin execute $$ select 1; $$; end $body$"
    fourth = "create function f(text) returns text language sql return $1 || '$$;'"
    assert statements_of(f"{first}\n;\n{second};{third};\n;{fourth};\n-- The end;\n") == [first, second, third, fourth]


@pytest.mark.parametrize("file", [file for step in steps() for file in step.files], ids=lambda file: file.stem)
def test_each_statement_of_a_step_can_be_sent_alone(database_url: str, file: Path) -> None:
    statements = statements_of(file.read_text(encoding="utf-8"))
    with psycopg.connect(database_url) as connection:
        for statement in statements:
            # Only parsed: the server takes no two statements here, and not a part of one.
            parsed = connection.pgconn.prepare(b"", statement.encode())
            assert parsed.status == psycopg.pq.ExecStatus.COMMAND_OK, statement


def test_of_many_at_once_one_works_and_the_others_wait(empty_database_url: str) -> None:
    barrier, done = threading.Barrier(4), []

    def run() -> None:
        barrier.wait()
        done.append(migrate(empty_database_url))

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert sorted(done) == [[], [], [], RELEASED]


def test_a_database_newer_than_the_release_is_refused_and_left_as_it_is(database_url: str) -> None:
    query(database_url, "insert into schema_migrations (name) values ('9999_from_the_future')")
    with pytest.raises(ConfigurationError) as refused:
        migrate(database_url)
    assert str(refused.value) == (
        "the database holds migration 9999_from_the_future, which this release of AgentIdP does not know: "
        "install the release that applied it, or a newer one"
    )
    assert len(query(database_url, "select 1 from schema_migrations")) == len(RELEASED) + 1


class TestFunctions:
    """``sql/functions/``, which are replaced when their text changes."""

    NAME = "functions_{}_0123456789abcdef"

    @pytest.fixture
    def change(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[str], str]:
        """Make the functions those of a release in which nothing is counted as one; the name of the step."""
        file = tmp_path / "count_nothing.sql"
        text = (sql_directory() / "functions" / "count_nothing.sql").read_text(encoding="utf-8")
        file.write_text(text.replace("array_fill(0,", "array_fill(1,"), encoding="utf-8")

        def changed(release: str) -> str:
            others, name = steps()[:-1], self.NAME.format(release)
            monkeypatch.setattr(migrations, "steps", lambda: [*others, Step(name, [file])])
            return name

        return changed

    def test_are_replaced_once_if_their_text_has_changed(self, database_url: str, change: Callable[[str], str]) -> None:
        changed = change(version("agentidp"))
        assert migrate(database_url) == [changed]
        assert query(database_url, "select (count_nothing())[24]") == [(1,)]
        assert applied(database_url) == [*RELEASED[:-1], changed]
        assert migrate(database_url) == []

    def test_those_of_a_release_before_are_replaced(self, database_url: str) -> None:
        older = self.NAME.format("0.0.9")
        query(database_url, f"update schema_migrations set name = '{older}' where name = '{RELEASED[-1]}'")
        assert migrate(database_url) == RELEASED[-1:]
        assert sorted(applied(database_url)) == sorted(RELEASED)  # type: ignore[type-var]

    def test_those_of_a_newer_release_stay(self, database_url: str, change: Callable[[str], str]) -> None:
        newer = change("10.0.0")
        assert migrate(database_url) == [newer]
        change("9.1")
        with pytest.raises(ConfigurationError, match=f"the database holds migration {newer}, which this release"):
            migrate(database_url)
        assert applied(database_url) == [*RELEASED[:-1], newer]

    def test_a_failure_leaves_those_that_were_there(
        self, database_url: str, change: Callable[[str], str], tmp_path: Path
    ) -> None:
        change(version("agentidp"))
        steps_of_change = migrations.steps()
        broken = tmp_path / "broken.sql"
        broken.write_text("select 1 / 0", encoding="utf-8")
        steps_of_change[-1].files.append(broken)
        with pytest.MonkeyPatch.context() as failing:
            failing.setattr(migrations, "steps", lambda: steps_of_change)
            with pytest.raises(ConfigurationError, match="division by zero"):
                migrate(database_url)
        assert query(database_url, "select (count_nothing())[24]") == [(0,)]
        assert applied(database_url) == RELEASED

    def test_any_change_of_a_text_changes_the_step(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        shutil.copytree(sql_directory() / "functions", tmp_path / "functions")
        monkeypatch.setattr(migrations, "sql_directory", lambda: tmp_path)
        make = steps.__wrapped__
        assert make()[-1].name == RELEASED[-1]
        with (tmp_path / "functions" / "count_nothing.sql").open("a", encoding="utf-8") as file:
            file.write("-- x\n")
        assert make()[-1].name != RELEASED[-1]


class Copy:
    """A copy of the package with a further migration, run in processes of its own."""

    def __init__(self, directory: Path, url: str) -> None:
        self.url, self.directory = url, directory
        self.runs: list[subprocess.Popen[str]] = []
        shutil.copytree(ROOT / "agentidp", directory / "agentidp", ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copytree(sql_directory(), directory / "agentidp" / "sql")

    def add(self, statements: str) -> None:
        """Make the further migration, or change it."""
        migrations_of_copy = self.directory / "agentidp" / "sql" / "migrations"
        migrations_of_copy.mkdir(exist_ok=True)
        (migrations_of_copy / "8888_slow.sql").write_text(statements, encoding="utf-8")

    def start(self) -> subprocess.Popen[str]:
        """Start ``agentidp db migrate``."""
        run = subprocess.Popen(
            [sys.executable, "-m", "agentidp", "db", "migrate"],
            cwd=self.directory,
            env={
                **{name: value for name, value in os.environ.items() if not name.startswith("AGENTIDP_")},
                "PYTHONPATH": str(self.directory),
                "AGENTIDP_DATABASE_URL": self.url,
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.runs.append(run)
        return run


WITH_SLOW = [*RELEASED[:-1], "8888_slow", RELEASED[-1]]
SLEEPS = "select pid is not null from pg_stat_activity where datname = current_database() and wait_event = 'PgSleep'"


@pytest.fixture
def copy(tmp_path: Path, empty_database_url: str) -> Iterator[Copy]:
    """A copy with a migration that takes a while in the middle."""
    made = Copy(tmp_path, empty_database_url)
    made.add("create table half_way (); select pg_sleep(4); create table done ();")
    yield made
    # A test that has failed may have left some.
    for run in made.runs:
        if run.returncode is None:
            run.kill()
            run.communicate()


@pytest.mark.very_slow
def test_a_killed_migration_leaves_nothing_half_done_and_the_next_run_completes(copy: Copy) -> None:
    killed = copy.start()
    wait_for(copy.url, f"exists ({SLEEPS})")
    # Sent by itself, as Citus's workers want it.
    assert query(copy.url, SLEEPS.replace("pid is not null", "query")) == [("select pg_sleep(4)",)]
    assert query(copy.url, "select to_regclass('agents') is not null, to_regclass('half_way') is null") == [
        (True, True)
    ]
    killed.send_signal(signal.SIGKILL)
    killed.communicate(timeout=PATIENCE)
    copy.add("create table half_way (); create table done ();")
    # The killed one's statement still runs in the server; the next run waits for it.
    after = copy.start()
    output, _ = after.communicate(timeout=PATIENCE)
    assert (after.returncode, output) == (0, f"8888_slow\n{RELEASED[-1]}\n")
    assert query(copy.url, "select to_regclass('half_way') is not null, to_regclass('done') is not null") == [
        (True, True)
    ]


@WITHOUT_CITUS
@pytest.mark.slow
def test_a_second_run_waits_for_the_first(copy: Copy) -> None:
    # Until the test has made the table.
    goes_on = "exists (select from pg_class where relname = 'go_on')"
    copy.add(f"do $$ begin while not {goes_on} loop perform pg_sleep(0.1); end loop; end $$;")
    first = copy.start()
    wait_for(copy.url, f"exists ({SLEEPS})")
    second = copy.start()
    wait_for(copy.url, "exists (select from pg_locks where locktype = 'advisory' and not granted)")
    query(copy.url, "create table go_on ()")
    outputs = [run.communicate(timeout=PATIENCE)[0] for run in (first, second)]
    assert outputs == ["".join(f"{name}\n" for name in WITH_SLOW), "The schema is up to date.\n"]


@pytest.mark.slow
def test_a_migration_that_waits_for_a_table_lets_others_go_on(copy: Copy) -> None:
    migrate(copy.url)
    copy.add("alter table agents add column further text;")
    with psycopg.connect(copy.url) as reader, psycopg.connect(copy.url) as other:
        reader.execute("select count(*) from agents")
        run = copy.start()
        wait_for(copy.url, "exists (select from pg_locks where relation = 'agents'::regclass and not granted)")
        other.execute(f"set statement_timeout = '{PATIENCE}s'")
        # It waits behind the migration, which waits for the reader.
        other.execute("update agents set description = 'x'")
        other.commit()
        assert run.poll() is None
        reader.rollback()
        output, _ = run.communicate(timeout=PATIENCE)
        assert run.returncode == 0
        assert output.count("migration 8888_slow waits for a table that is in use") == 1
        assert output.endswith("8888_slow\n")


def test_a_migration_that_gets_no_table_is_given_up_in_one_sentence(
    empty_database_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    migrate(empty_database_url)
    file = tmp_path / "8888_further.sql"
    file.write_text("alter table agents add column further text", encoding="utf-8")
    *others, functions = steps()
    monkeypatch.setattr(migrations, "steps", lambda: [*others, Step(file.stem, [file]), functions])
    monkeypatch.setattr(migrations, "LOCK_ATTEMPTS", 1)
    with psycopg.connect(empty_database_url) as reader:
        reader.execute("select count(*) from agents")
        with pytest.raises(ConfigurationError) as refused:
            migrate(empty_database_url)
    assert str(refused.value) == (
        "migration 8888_further did not get a table that is in use; end the export, backup or query that reads it"
    )


@WITHOUT_CITUS
@pytest.mark.slow
def test_a_migration_that_fails_is_one_sentence_and_undone_whole(copy: Copy) -> None:
    copy.add("create table half_way (); select 1 / 0;")
    failed = copy.start()
    output, _ = failed.communicate(timeout=PATIENCE)
    assert failed.returncode == 1
    assert output == "Error: the database's schema cannot be brought up to date: division by zero\n"
    assert query(copy.url, "select to_regclass('half_way')") == [(None,)]
    assert applied(copy.url) == RELEASED[:-1]


@pytest.fixture(params=INSTALLATIONS, ids=name_of_installation)
def server_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """A server of the test's own, as its superuser."""
    with temporary(bindir=bindir_of(request.param)) as postgres:
        yield postgres.url


@pytest.fixture
def managed_url(server_url: str) -> str:
    """A database as a cloud gives it out: its owner may create roles and is no superuser."""
    query(server_url, "create role manager login createrole password 'managed'")
    query(server_url, "create database managed owner manager")
    host = with_database(server_url, "managed").rpartition("@")[2]
    return f"postgresql://manager:managed@{host}"


def has_administrators(server_url: str) -> bool:
    """Whether the server is of version 16 or newer: one who may create roles may not grant those of others."""
    return query(server_url, "select current_setting('server_version_num')::integer >= 160000") == [(True,)]


@pytest.mark.slow
def test_an_owner_who_is_no_superuser_can_migrate_and_the_service_runs(managed_url: str) -> None:
    assert migrate(managed_url) == RELEASED
    assert migrate(managed_url) == []
    ensure_signing_key(settings_for(managed_url), at=utc_now())
    app = create_app(settings_for(managed_url))
    services: Services = app.extensions["agentidp"]
    try:
        agents = [make_agent(services, make_organization(services, name)) for name in ("Acme", "Outsider")]
        client = app.test_client()
        for agent in agents:
            form = {
                "grant_type": "client_credentials",
                "client_id": agent.client_id,
                "client_secret": agent.client_secret,
            }
            issued = client.post("/api/v1/token", data=form)
            assert issued.status_code == 200
            headers = {"Authorization": f"Bearer {issued.json['access_token']}"}
            seen = client.get("/api/v1/agents", headers=headers)
            assert [found["agentId"] for found in seen.json["data"]] == [agent.client_id]
            trend = client.get("/api/v1/analytics/tokens?days=1", headers=headers)
            assert [day["count"] for day in trend.json["data"]] == [1]
        with services.database.pool.connection() as pooled:
            assert pooled.execute("select current_user, session_user").fetchone() == (SERVICE_ROLE, "manager")
    finally:
        services.close()
    # Row-level security holds for the owner of the tables as well.
    with connect(managed_url) as owner:
        owner.row_factory = tuple_row
        counts = (
            "select (select count(*) from agents), (select count(*) from usage_daily), "
            "(select count(*) from organizations)"
        )
        assert owner.execute(counts).fetchone() == (0, 0, 2)
        owner.execute("select set_config('agentidp.organization_id', %s, false)", [agents[0].organization_id])
        assert owner.execute(counts).fetchone() == (1, 1, 2)


@pytest.mark.slow
def test_the_service_can_log_in_as_a_role_that_only_becomes_the_services(managed_url: str) -> None:
    """As docs/deployment.md makes that role, by the owner who may create roles."""
    with prepared(settings_for(managed_url)):
        pass
    query(managed_url, "create role agentidp_login login noinherit password 'login' in role agentidp_service")
    url = managed_url.replace("manager:managed@", "agentidp_login:login@")
    owners: Services = create_app(settings_for(managed_url)).extensions["agentidp"]
    app = create_app(settings_for(url))
    services: Services = app.extensions["agentidp"]
    try:
        agent = make_agent(owners, make_organization(owners))
        client = app.test_client()
        form = {"client_id": agent.client_id, "client_secret": agent.client_secret}
        issued = client.post("/api/v1/token", data=form | {"grant_type": "client_credentials"})
        assert issued.status_code == 200
        headers = {"Authorization": f"Bearer {issued.json['access_token']}"}
        for path in ("/api/v1/analytics/tokens", "/api/v1/analytics/findings", "/api/v1/agents", "/readyz"):
            assert client.get(path, headers=headers).status_code == 200
        with services.database.pool.connection() as pooled:
            assert pooled.execute("select current_user, session_user").fetchone() == (SERVICE_ROLE, "agentidp_login")
            pooled.execute("reset role")
            for statement in ("select from agents", "select from signing_keys", "set role manager"):
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    pooled.execute(statement.encode())
            pooled.execute("set role agentidp_service")
    finally:
        services.close()
        owners.close()
    # Migrations are the owner's.
    with pytest.raises(ConfigurationError, match="permission denied"):
        migrate(url)


def test_a_role_that_may_not_is_refused_in_one_sentence(managed_url: str) -> None:
    query(managed_url, "create role weak login password 'weak'")
    weak = managed_url.replace("manager:managed@", "weak:weak@")
    with pytest.raises(ConfigurationError) as refused:
        migrate(weak)
    assert str(refused.value) == (
        "the database's schema cannot be brought up to date: permission denied for schema public"
    )
    assert query(managed_url, "select to_regclass('schema_migrations')") == [(None,)]


class TestASecondInstallation:
    """Another database with an owner of its own on the same server, where agentidp_service exists already."""

    @pytest.fixture
    def second_url(self, managed_url: str, server_url: str) -> str:
        """An empty database beside a migrated one."""
        assert migrate(managed_url) == RELEASED
        query(server_url, "create role second login createrole password 'second'")
        query(server_url, "create database second owner second")
        return managed_url.replace("manager:managed@", "second:second@").replace("/managed?", "/second?")

    def test_installs_after_a_superuser_has_run_what_the_refusal_says(self, second_url: str, server_url: str) -> None:
        if has_administrators(server_url):
            with pytest.raises(ConfigurationError) as refused:
                migrate(second_url)
            sentence, _, statement = str(refused.value).rpartition(": ")
            assert sentence == (
                "the role second may not create or use the role agentidp_service: "
                "let a superuser of the server run once"
            )
            assert statement == "grant agentidp_service to second"
            assert query(second_url, "select to_regclass('schema_migrations')") == [(None,)]
            query(server_url, statement)
        assert migrate(second_url) == RELEASED
        ensure_signing_key(settings_for(second_url), at=utc_now())
        app = create_app(settings_for(second_url))
        services: Services = app.extensions["agentidp"]
        try:
            agent = make_agent(services, make_organization(services))
            form = {"client_id": agent.client_id, "client_secret": agent.client_secret}
            issued = app.test_client().post("/api/v1/token", data=form | {"grant_type": "client_credentials"})
            assert issued.status_code == 200
        finally:
            services.close()

    def test_has_no_access_to_the_first_one_if_only_its_owner_may_connect(
        self, managed_url: str, second_url: str, server_url: str
    ) -> None:
        """As docs/deployment.md says it. Otherwise each of the two owners can become the service of both."""
        query(server_url, "grant agentidp_service to second")
        first_as_second = second_url.replace("/second?", "/managed?")
        seen = "set role agentidp_service; select count(*) from clients"
        assert query(first_as_second, "set role agentidp_service") == []
        query(server_url, "revoke connect, temporary on database managed from public")
        with pytest.raises(psycopg.OperationalError, match='permission denied for database "managed"'):
            query(first_as_second, seen)
        assert migrate(managed_url) == []

    def test_the_refusal_names_everything_that_is_missing(self, second_url: str, server_url: str) -> None:
        query(server_url, "alter role second nocreaterole")
        query(server_url, 'alter role second rename to "Second owner"')
        query(server_url, "alter role \"Second owner\" password 'second'")
        with pytest.raises(ConfigurationError) as refused:
            migrate(second_url.replace("second:second@", "Second%20owner:second@"))
        statements = str(refused.value).rpartition(": ")[2].split("; ")
        grant = ['grant agentidp_service to "Second owner"'] if has_administrators(server_url) else []
        assert statements == ['alter role "Second owner" createrole', *grant]
        for statement in statements:
            query(server_url, statement)
        assert migrate(second_url.replace("second:second@", "Second%20owner:second@")) == RELEASED


@pytest.mark.very_slow
@pytest.mark.parametrize("managed_url", [None], indirect=True, ids=["wheel"])
@pytest.mark.parametrize("command", [("db", "migrate"), ("organization", "list"), ("serve",)], ids=" ".join)
def test_a_command_shows_what_a_step_warns_of(managed_url: str, command: tuple[str, ...]) -> None:
    query(managed_url, load_sql("database/create_schema_migrations"))
    warn = "begin raise notice 'unseen %', new.name; raise warning 'look at %', new.name; return new; end"
    query(managed_url, f"create function warn() returns trigger language plpgsql as $$ {warn} $$")
    query(managed_url, "create trigger warn before insert on schema_migrations for each row execute function warn()")
    environment = {"AGENTIDP_DATABASE_URL": managed_url, "AGENTIDP_SECRET_KEY": SECRET_KEY}
    if command == ("serve",):
        with Server(environment) as server:
            pass
        logged = server.logs()
    else:
        run = subprocess.run(
            [sys.executable, "-m", "agentidp", *command],
            cwd=ROOT,
            env={name: value for name, value in os.environ.items() if not name.startswith("AGENTIDP_")} | environment,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=True,
        )
        logged = run.stderr
    warnings = [line for line in map(json.loads, logged.splitlines()) if line["level"] == "WARNING"]
    # The service says which parts it runs on if they are the stock ones.
    messages = [line["message"] for line in warnings if line["message"] != "the service runs on stock parts"]
    assert messages == [f"look at {name}" for name in RELEASED]
