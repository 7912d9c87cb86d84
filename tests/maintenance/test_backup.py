"""``agentidp backup`` and ``agentidp restore``: no row is lost, and no change is half done."""

from __future__ import annotations

import os
import re
import signal
import stat
import subprocess
import sys
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import psycopg
import pytest
from flask import Flask
from flask.testing import FlaskClient
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from agentidp import create_app
from agentidp.audit import INSTANCE
from agentidp.db.migrations import migrate, steps
from agentidp.db.sql import load_sql
from agentidp.maintenance.backup import back_up
from agentidp.maintenance.postgres_programs import build_connection_arguments, find_restore_programs
from agentidp.maintenance.restore import inspect_target
from agentidp.services import Services
from tests.audit.conftest import events_of, verified
from tests.citus import WITHOUT_CITUS
from tests.cli.command import Command
from tests.conftest import DEBIANS, Cast, settings_for
from tests.db.test_database import SOMETHING
from tests.factories import (
    PATIENCE,
    ROOT,
    SECRET_KEY,
    Agent,
    Clock,
    children,
    close_owner_connection,
    execute,
    wait_until,
)
from tests.maintenance.conftest import rows_of, schema, superusers


@pytest.fixture
def run(quiet: None, cast: Cast, services: Services) -> Command:
    """Return a function that runs commands on the application's database. The service is not connected."""
    services.close()
    return Command(str(services.settings.database_url))


def token(client: FlaskClient, agent: Agent) -> str:
    """Issue a token."""
    issued: str = client.post("/api/v1/token", data=agent.form).json["access_token"]
    return issued


def is_active(client: FlaskClient, agent: Agent, one: str) -> bool:
    """Return whether introspection says that a token is active."""
    active: bool = client.post("/api/v1/token/introspect", data=agent.form | {"token": one}).json["active"]
    return active


IS_SUPERUSER = "select rolsuper from pg_roles where rolname = 'agentidp_service'"


IMPORTED = "insert into usage_imports select %(organization_id)s, sha256(''), now(), 1, 1, 1, 0"
"""The table that SOMETHING leaves out."""


def fill(url: str, cast: Cast) -> None:
    """Insert rows into every table."""
    with psycopg.connect(url) as connection:
        for agent in (cast.acme, cast.outsider):
            for statement in (*SOMETHING, IMPORTED):
                connection.execute(
                    statement.encode(), {"organization_id": agent.organization_id, "agent_id": agent.agent_id}
                )


@WITHOUT_CITUS
def test_everything_is_restored_for_an_owner_who_is_no_superuser(
    run: Command,
    app: Flask,
    client: FlaskClient,
    cast: Cast,
    clock: Clock,
    managed_url: str,
    other_server: str,
    tmp_path: Path,
) -> None:
    before = [token(client, agent) for agent in (cast.acme, cast.outsider) for _ in range(2)]
    revoked = before.pop()
    assert client.post("/api/v1/token/revoke", data=cast.outsider.form | {"token": revoked}).status_code == 200
    fill(run.database_url, cast)
    app.extensions["agentidp"].close()
    file = tmp_path / "agentidp.dump"
    size = r" \([0-9,]{5,} bytes\)\."
    size_line, secret_line = run("backup", str(file)).splitlines()
    assert re.fullmatch(f"Backed up 2 organizations, 2 agents and 4 tokens to {file}{size}", size_line)
    assert "needs the instance secret as well (AGENTIDP_SECRET_KEY)" in secret_line
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [*tmp_path.iterdir()] == [file]

    there = Command(managed_url)
    printed = there("restore", str(file))
    first, *others = printed.splitlines()
    assert re.fullmatch(r"Restored 2 organizations, 2 agents and 4 tokens, from the backup of \S+Z\.", first)
    assert "repeat every revocation, suspension and erasure since the backup" in others[0]
    whole, restored = rows_of(run.database_url), rows_of(superusers(managed_url, other_server))
    assert all(whole.values())
    recorded = {name: restored.pop(name) for name in ("audit_events", "audit_heads")}
    assert {name: whole.pop(name) for name in recorded}["audit_events"] == [
        row for row in recorded["audit_events"] if "instance.restored" not in row
    ]
    assert restored == whole
    assert schema(superusers(managed_url, other_server)) == schema(run.database_url)

    owner = superusers(managed_url, other_server)
    [event] = [event for event in events_of(owner, INSTANCE) if event["action"] == "instance.restored"]
    assert (event["subject"], event["after"]["agents"], event["after"]["tokens"]) == (file.name, 2, 4)
    for line in there("audit", "verify").splitlines():
        assert line.endswith("\tok")
    for chain in (INSTANCE, cast.acme.organization_id, cast.outsider.organization_id):
        assert verified(owner, chain).broken_at is None
    assert len(there("organization", "list").splitlines()) == 2

    moved = create_app(settings_for(managed_url), clock=clock)
    try:
        service = moved.test_client()
        assert [is_active(service, cast.acme, one) for one in before[:2]] == [True, True]
        assert [is_active(service, cast.outsider, one) for one in (before[2], revoked)] == [True, False]
        assert is_active(service, cast.acme, token(service, cast.acme))
        headers = {"Authorization": f"Bearer {before[0]}"}
        trend = service.get("/api/v1/analytics/tokens?days=1", headers=headers).json
        assert [day["count"] for day in trend["data"]] == [3]
        assert [one["agentId"] for one in service.get("/api/v1/agents", headers=headers).json["data"]] == [
            cast.acme.client_id
        ]
    finally:
        moved.extensions["agentidp"].close()
    # The owner's backup would lack the rows that row-level security hides.
    assert "row-level security hides rows from the role manager" in there.refused("backup", str(tmp_path / "part"))
    assert [*tmp_path.iterdir()] == [file]


@WITHOUT_CITUS
def test_the_documented_role_backs_up_a_database_to_which_not_everybody_may_connect(
    run: Command, tmp_path: Path
) -> None:
    """docs/deployment.md recommends that only an installation's own roles may connect."""
    role, database = f"backup_{uuid.uuid4().hex[:8]}", str(conninfo_to_dict(run.database_url)["dbname"])
    text = (ROOT / "docs" / "operating.md").read_text(encoding="utf-8")
    [documented] = re.findall(r"```sql\n( *create role backup .*?)```", text, re.DOTALL)
    documented = documented.replace("'…'", "'secret'").replace("agentidp", database).replace("backup", role)
    with psycopg.connect(run.database_url, autocommit=True) as connection:
        connection.execute(f"revoke connect on database {database} from public".encode())
        try:
            connection.execute(documented.encode())
            there = Command(re.sub("//[^@]*@", f"//{role}:secret@", run.database_url))
            assert there("backup", str(tmp_path / "file")).startswith("Backed up ")
        finally:
            connection.execute(f"drop owned by {role}".encode())
            connection.execute(f"drop role {role}".encode())


@WITHOUT_CITUS
def test_what_belongs_to_the_servers_administrator_is_not_restored(
    run: Command, managed_url: str, other_server: str, tmp_path: Path
) -> None:
    """Extensions, and rights of roles that may not exist on the other server."""
    role = sql.Identifier(f"reporting_{uuid.uuid4().hex[:8]}")
    # One extension is in the wheel, and the other in Debian.
    some = (
        "select name from pg_available_extensions where name in ('vector', 'pg_stat_statements') order by name limit 1"
    )
    with psycopg.connect(run.database_url, autocommit=True) as connection:
        [(extension,)] = connection.execute(some).fetchall()
        for statement in (
            "create role {}",
            f"create extension {extension}",
            "grant usage on schema public to {}",
            "grant select on organizations to {}",
            "grant select (name) on agents to {} with grant option",
            "alter default privileges in schema public grant select on tables to {}",
        ):
            connection.execute(sql.SQL(statement).format(role))
        try:
            run("backup", str(tmp_path / "agentidp.dump"))
        finally:
            connection.execute(sql.SQL("drop owned by {}").format(role))
            connection.execute(sql.SQL("drop role {}").format(role))
            connection.execute(f"drop extension {extension}")
    Command(managed_url)("restore", str(tmp_path / "agentidp.dump"))
    owner = superusers(managed_url, other_server)
    assert schema(owner) == schema(run.database_url)
    assert execute(owner, "select extname from pg_extension") == [("plpgsql",)]


@WITHOUT_CITUS
class TestRefusals:
    @pytest.fixture
    def file(self, run: Command, tmp_path: Path) -> Path:
        """Return a backup file."""
        run("backup", str(tmp_path / "agentidp.dump"))
        return tmp_path / "agentidp.dump"

    def test_a_database_that_is_not_empty_is_replaced_only_if_asked_for(self, run: Command, file: Path) -> None:
        names = [line.split("\t")[1] for line in run("organization", "list").splitlines()]
        run("organization", "create", "Later")
        assert "is not empty. Restore into an empty database, or give" in run.refused("restore", str(file))
        run("restore", "--clean", "--yes", str(file))
        assert [line.split("\t")[1] for line in run("organization", "list").splitlines()] == names

    def test_nothing_is_changed_while_somebody_is_connected(self, run: Command, file: Path) -> None:
        with psycopg.connect(run.database_url) as other:
            sentence = run.refused("restore", "--clean", "--yes", str(file))
            assert other.info.user + " (1). Stop the service" in sentence

    def test_a_database_of_something_else_is_left_alone(self, file: Path, empty_database_url: str) -> None:
        execute(empty_database_url, "create table of_somebody_else ()")
        for options in ((), ("--clean", "--yes")):
            sentence = Command(empty_database_url).refused("restore", *options, str(file))
            assert "contains tables that are not AgentIdP's" in sentence
        assert "is not one of AgentIdP" in Command(empty_database_url).refused("backup", str(file))

    @pytest.mark.parametrize("may", ["createrole", "nocreaterole"])
    def test_an_owner_who_may_not_use_the_services_role_learns_what_is_missing(
        self, file: Path, managed_url: str, other_server: str, may: str
    ) -> None:
        """Another installation on the server has created the role, so this owner may lack the right to create it."""
        owner = f"second_{uuid.uuid4().hex[:8]}"
        there = Command(managed_url.replace("manager:", f"{owner}:"))
        database = conninfo_to_dict(managed_url)["dbname"]
        with psycopg.connect(other_server, autocommit=True) as connection:
            connection.execute("set role manager")
            with suppress(psycopg.errors.DuplicateObject):
                connection.execute("create role agentidp_service")
            connection.execute("reset role")
            connection.execute(f"create role {owner} login {may} password 'managed'")
            connection.execute(f"alter database {database} owner to {owner}")
            # Before version 16, a role that may create roles may use every role.
            if connection.info.server_version >= 160_000 or may == "nocreaterole":
                assert there.refused("restore", str(file)).endswith(f"run once: grant agentidp_service to {owner}")
                connection.execute(f"grant agentidp_service to {owner}")
        assert there("restore", str(file)).startswith("Restored 2 organizations")

    def test_a_damaged_file_restores_nothing(self, run: Command, file: Path, empty_database_url: str) -> None:
        whole = file.read_bytes()
        there = Command(empty_database_url)
        for kept in (20, len(whole) // 2, len(whole) - 20):
            file.write_bytes(whole[:kept])
            assert re.search(r"cannot read|cannot be read", there.refused("restore", str(file)))
            assert rows_of(empty_database_url) == {}
        file.write_bytes(b"not a backup")
        assert "pg_restore cannot read" in there.refused("restore", str(file))

    def test_a_failure_leaves_the_database_as_it_was(
        self, run: Command, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        before = rows_of(run.database_url)
        # The failure comes after all rows were printed.
        real = find_restore_programs(None, settings_for(run.database_url)).directory
        failing = tmp_path / "failing"
        failing.mkdir()
        (failing / "pg_dump").symlink_to(real / "pg_dump")
        (failing / "pg_restore").write_text(
            f'#!/bin/sh\n{real}/pg_restore "$@" || exit\n'
            'case "$*" in *--section=data*) echo "error: no more memory" >&2; exit 1; esac\n'
        )
        (failing / "pg_restore").chmod(0o700)
        options = ("restore", "--clean", "--yes", str(file))
        assert run.refused(*options, "--bindir", str(failing)) == f"{file} cannot be read: no more memory"
        assert rows_of(run.database_url) == before
        with monkeypatch.context() as broken:
            wrong = {"maintenance/statements_after_rows": "select 'select 1 / 0' as statement"}
            broken.setattr("agentidp.db.sql.load_sql", lambda name: wrong.get(name) or load_sql(name))
            assert run.refused(*options) == "the backup was not restored: division by zero"
        assert rows_of(run.database_url) == before

    def test_a_newer_backup_is_refused(self, run: Command, file: Path, empty_database_url: str, tmp_path: Path) -> None:
        execute(run.database_url, "insert into schema_migrations (name) values ('9999_from_the_future')")
        run("backup", str(tmp_path / "newer.dump"))
        sentence = Command(empty_database_url).refused("restore", str(tmp_path / "newer.dump"))
        assert sentence.startswith("the backup holds migration 9999_from_the_future, which this release")

    def test_the_wrong_secret_is_found_out_and_deletes_nothing(
        self, run: Command, file: Path, empty_database_url: str
    ) -> None:
        there = Command(empty_database_url)
        sentence = there.refused("restore", str(file), AGENTIDP_SECRET_KEY=None)
        assert "set it in AGENTIDP_SECRET_KEY" in sentence
        wrong = {"AGENTIDP_SECRET_KEY": SECRET_KEY.swapcase()}
        said = r"the backup was restored \(2 .*\), but AGENTIDP_SECRET_KEY does not decrypt \S+, the key that signs"
        assert re.match(said, there.refused("restore", str(file), **wrong))
        before = rows_of(run.database_url)
        options = ("restore", "--clean", "--yes", str(file))
        said = r"the instance secret does not decrypt the backup's signing key \S+: set the secret"
        assert re.match(said, run.refused(*options, **wrong))
        assert rows_of(run.database_url) == before
        # The previous secret is sufficient, as for the service.
        assert run.invoke(*options, **wrong, AGENTIDP_SECRET_KEY_PREVIOUS=SECRET_KEY).exit_code == 0

    def test_a_session_that_is_just_ending_is_given_some_time(
        self, run: Command, file: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("agentidp.maintenance.restore.SESSION_END_TIMEOUT", PATIENCE)
        waiting = "select 1 from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()"
        close_owner_connection()
        with psycopg.connect(run.database_url, autocommit=True) as other, ThreadPoolExecutor(1) as threads:
            running = threads.submit(inspect_target, run.database_url)
            wait_until(lambda: other.execute(waiting).fetchall())
            other.close()
            assert not running.result(PATIENCE).is_empty

    def test_a_password_of_a_key_would_be_seen_and_no_program_gets_the_secret(
        self, run: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        there = Command(f"{run.database_url}&sslpassword=hunter2")
        sentence = there.refused("backup", str(tmp_path / "file"))
        assert "has an sslpassword, which everybody on this machine could read" in sentence
        assert "hunter2" not in sentence
        monkeypatch.setenv("AGENTIDP_SECRET_KEY", SECRET_KEY)
        assert SECRET_KEY not in build_connection_arguments(run.database_url)[1].values()

    def test_what_is_added_after_it_has_begun_is_not_in_it(
        self, run: Command, empty_database_url: str, tmp_path: Path
    ) -> None:
        """The backup contains exactly the counted rows, although both are read one after the other."""
        file, settings = tmp_path / "agentidp.dump", settings_for(run.database_url)
        run("organization", "create", "Before")
        waiting = "select from pg_locks where relation = 'usage_daily'::regclass and not granted"
        with ThreadPoolExecutor(1) as threads, psycopg.connect(run.database_url) as holder:
            holder.execute("lock table usage_daily")
            running = threads.submit(back_up, run.database_url, file, bindir=None, settings=settings)
            # The snapshot has been exported, and pg_dump has not been started.
            wait_until(lambda: holder.execute(waiting).fetchall())
            run("organization", "create", "After")
            holder.rollback()
            contents = running.result(PATIENCE)
        there = Command(empty_database_url)
        there("restore", str(file))
        listed = there("organization", "list")
        assert (len(listed.splitlines()), "After" in listed) == (contents.organizations, False)

    def test_a_backup_that_is_ended_leaves_nothing(self, run: Command, tmp_path: Path) -> None:
        with psycopg.connect(run.database_url) as holder:
            holder.execute("lock table signing_keys")
            environment = os.environ | {"AGENTIDP_DATABASE_URL": run.database_url, "AGENTIDP_SECRET_KEY": SECRET_KEY}
            command = [sys.executable, "-m", "agentidp", "backup", str(tmp_path / "agentidp.dump")]
            with subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL) as process:
                try:
                    # pg_dump waits for the table.
                    wait_until(lambda: [*tmp_path.iterdir()] and children(process.pid, "pg_dump"))
                    process.terminate()
                    assert process.wait(PATIENCE) == 128 + signal.SIGTERM
                finally:
                    process.kill()
        assert [*tmp_path.iterdir()] == []

    @pytest.mark.program
    def test_programs_that_are_too_old_are_named(self, run: Command, file: Path, tmp_path: Path) -> None:
        [old] = DEBIANS
        sentence = run.refused("backup", "--bindir", str(old), str(tmp_path / "other"))
        assert re.match(
            r"pg_dump of PostgreSQL 18 or newer is needed, because the server is PostgreSQL 18; "
            rf"the only installations are PostgreSQL 1[5-7] in {old}: install",
            sentence,
        )
        empty = tmp_path / "empty"
        empty.mkdir()
        assert "none was found" in run.refused("backup", "--bindir", str(empty), str(tmp_path / "other"))
        sentence = run.refused("restore", "--bindir", str(old), "--clean", "--yes", str(file))
        assert re.match(rf"PostgreSQL 1[5-7]'s pg_restore cannot read {file}: unsupported version", sentence)

    def test_an_older_backup_is_replaced_and_no_device(self, run: Command, file: Path, tmp_path: Path) -> None:
        before = file.read_bytes()
        run("organization", "create", "Later")
        run("backup", str(file))
        assert file.read_bytes() != before
        os.mkfifo(tmp_path / "pipe")
        assert "is no regular file" in run.refused("backup", str(tmp_path / "pipe"))
        assert "cannot be written: No such file or directory" in run.refused("backup", str(tmp_path / "no" / "file"))


@WITHOUT_CITUS
class TestBackupsOfAnAttacker:
    """The backups are restored as a superuser, for whom PostgreSQL would run programs."""

    @pytest.fixture
    def trace(self, directory: Path) -> Path:
        """Return the file that an attacker's program would write. The server's account may write to its directory."""
        directory.chmod(0o777)
        return directory / "trace"

    @pytest.fixture
    def dump(self, run: Command, tmp_path: Path) -> Callable[[], Path]:
        """Return a function that backs up the database without compression, so that a test can change its bytes."""

        def dumped() -> Path:
            program = find_restore_programs(None, settings_for(run.database_url)).directory / "pg_dump"
            file = tmp_path / "hostile.dump"
            options = ["--format=custom", "--compress=0", f"--file={file}", run.database_url]
            subprocess.run([program, *options], check=True)
            return file

        return dumped

    def test_nothing_of_the_schema_in_it_is_restored(
        self, run: Command, dump: Callable[[], Path], empty_database_url: str, trace: Path
    ) -> None:
        """Also not objects that would only be executed by the owner's next statement."""
        there = Command(empty_database_url)
        file = dump()
        there("restore", str(file))
        clean = schema(empty_database_url)
        with psycopg.connect(run.database_url, autocommit=True) as connection:
            for statement in (
                f"""
                create function attack() returns trigger security definer language plpgsql as $$
                begin
                    reset role;
                    execute 'alter role agentidp_service superuser';
                    copy (select 1) to program 'touch {trace}';
                    return new;
                end $$
                """,
                *(
                    f"create trigger attack before insert on {table} for each row execute function attack()"
                    for table in ("organizations", "audit_events", "schema_migrations")
                ),
                "alter table organizations add check (attacks())",
                "create rule attack as on insert to clients do also select attacks()",
                "create table attacks (a text default attacks()::text)",
                "insert into attacks default values",
                "create policy attack on agents using (attacks())",
            ):
                if "attacks()" in statement:
                    function = "create or replace function attacks() returns boolean language sql return true"
                    connection.execute(function)
                connection.execute(statement.encode())
            function = (
                "create or replace function attacks() returns boolean language plpgsql as "
                f"$$ begin copy (select 1) to program 'touch {trace}'; return true; end $$"
            )
            connection.execute(function.encode())
        printed = there("restore", "--clean", "--yes", str(dump()))
        assert "Restored 2 organizations, 2 agents" in printed
        assert "Tables that do not belong to AgentIdP were not restored: attacks." in printed
        assert there("organization", "create", "Next")
        assert not trace.exists()
        assert schema(empty_database_url) == clean
        assert execute(empty_database_url, IS_SUPERUSER) == [(False,)]

    def test_a_statement_in_the_list_of_objects_is_not_run(
        self, dump: Callable[[], Path], run: Command, empty_database_url: str
    ) -> None:
        statement = "alter role agentidp_service superuser;"
        execute(run.database_url, f"comment on table agents is '{'x' * 100}'")
        file = dump()
        whole = file.read_bytes()
        [comment] = re.findall(rb"COMMENT ON TABLE public.agents IS 'x{100}';", whole)
        file.write_bytes(whole.replace(comment, statement.encode().ljust(len(comment))))
        assert statement in subprocess.run(
            [find_restore_programs(None, settings_for(run.database_url)).directory / "pg_restore", "--file=-", file],
            check=True, capture_output=True, text=True,
        ).stdout  # fmt: skip
        assert Command(empty_database_url)("restore", str(file)).startswith("Restored 2 organizations")
        assert execute(empty_database_url, IS_SUPERUSER) == [(False,)]

    @pytest.mark.parametrize(
        ("place", "statement"),
        [
            ("copy", "copy organizations from program 'touch {trace}';"),
            ("copy", "COPY public.agents (name) FROM stdin; commit;"),
            ("rows", "\\! touch {trace}"),
            ("rows", "alter role agentidp_service superuser;"),
        ],
    )
    def test_a_statement_among_the_rows_is_refused(
        self, run: Command, dump: Callable[[], Path], trace: Path, place: str, statement: str
    ) -> None:
        run("organization", "create", "x" * 90)
        file = dump()
        run("organization", "create", "Later")
        before = rows_of(run.database_url)
        attack = statement.format(trace=trace).encode()
        whole = file.read_bytes()
        if place == "copy":
            # The line that pg_restore prints before the rows of a table.
            [replaced] = re.findall(rb"COPY public[.]agents [^;]+;\n", whole)
        else:
            # An end mark within the rows.
            attack = b"\n\\.\n" + attack + b"\n"
            [replaced] = {*re.findall(rb"x{90}", whole)}
        file.write_bytes(whole.replace(replaced, attack.ljust(len(replaced) - 1) + replaced[-1:]))
        sentence = run.refused("restore", "--clean", "--yes", str(file))
        assert re.search("contains SQL other than rows|was not restored", sentence)
        assert not trace.exists()
        assert rows_of(run.database_url) == before
        assert execute(run.database_url, IS_SUPERUSER) == [(False,)]


@WITHOUT_CITUS
def test_a_backup_of_an_older_schema_is_brought_up_to_date(
    quiet: None, empty_database_url: str, managed_url: str, tmp_path: Path
) -> None:
    migrate(empty_database_url, steps()[:-1])
    Command(empty_database_url)("backup", str(tmp_path / "old.dump"))
    printed = Command(managed_url)("restore", str(tmp_path / "old.dump"))
    assert printed.endswith(f"\nThe schema was brought up to date: {steps()[-1].name}.")
