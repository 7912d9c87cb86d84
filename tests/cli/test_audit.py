"""``agentidp audit``: list, export, verify and prune."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.rows import namedtuple_row

from agentidp import audit
from agentidp.actor import operator
from agentidp.audit import INSTANCE
from agentidp.audit.chain import NO_HASH, event_hash
from tests.citus import REFUSED_BY_CITUS
from tests.cli.command import Command
from tests.factories import PATIENCE, ROOT, wait_until

KIND = ("operator", operator().name)


def execute(run: Command, statement: str, *parameters: Any) -> None:
    """Change the database as its owner does past all commands."""
    with psycopg.connect(run.database_url, autocommit=True) as connection:
        connection.execute(statement.encode(), parameters)


@pytest.fixture
def organization(run: Command) -> str:
    """An organization with four events: it, two agents, and a change of the first one."""
    organization_id = run("organization", "create", "Acme")
    agent = run("agent", "create", "first", "--organization", organization_id)
    run("agent", "create", "second", "--organization", organization_id)
    run("agent", "suspend", "--yes", agent)
    return organization_id


def sequences(text: str) -> list[int]:
    """The sequences of exported events."""
    return [json.loads(line)["sequence"] for line in text.splitlines()]


class TestList:
    def test_prints_the_newest_first(self, run: Command, organization: str) -> None:
        lines = [line.split("\t") for line in run("audit", "list", "--organization", organization).splitlines()]
        assert [(line[0], line[2], line[3], line[4], *line[6:]) for line in lines[::3]] == [
            ("4", *KIND, "agent.changed", '{"status": "active"}', '{"status": "suspended"}'),
            ("1", *KIND, "organization.created", "-", '{"name": "Acme"}'),
        ]
        assert len(lines) == 4

    def test_filters(self, run: Command, organization: str) -> None:
        def found(*options: str) -> list[int]:
            events = json.loads(run("audit", "list", "--organization", organization, "--json", *options))
            return [event["sequence"] for event in events]

        subject = json.loads(run("audit", "list", "--organization", organization, "--json"))[0]["subject"]
        assert found("--action", "agent.created") == [3, 2]
        assert found("--subject", subject) == [4, 2]
        assert found("--actor", operator().name, "--limit", "1") == [4]
        assert found("--actor", "nobody") == []
        assert found("--since", "2020-01-01", "--until", "2100-01-01T00:00:00+01:00") == [4, 3, 2, 1]
        assert found("--since", "2100-01-01") == found("--until", "2020-01-01") == []

    @pytest.mark.parametrize("time", ["yesterday", "2026-04-15T12:00:00", "2026-13-01", "0001-01-01T00:00:00+23:00"])
    def test_refuses_what_is_no_time(self, run: Command, time: str) -> None:
        result = run.invoke("audit", "list", "--since", time)
        assert result.exit_code == 2
        assert "must be a day (2026-04-15), or a date and time with a time zone" in result.stderr

    def test_of_the_instance_is_about_its_keys(self, run: Command) -> None:
        kid = run("keys", "rotate").split("\t")[0]
        [newest, first] = json.loads(run("audit", "list", "--json"))
        assert (newest["organizationId"], newest["action"], newest["subject"]) == (INSTANCE, "signing_key.created", kid)
        assert newest["after"].keys() == {"alg", "signsFrom"}
        assert first["sequence"] == 1


class TestExport:
    def test_prints_each_trail_in_order(self, run: Command, organization: str) -> None:
        lines = [json.loads(line) for line in run("audit", "export").splitlines()]
        assert [(line["organizationId"], line["sequence"]) for line in lines] == sorted(
            [(INSTANCE, 1), *((organization, sequence) for sequence in (1, 2, 3, 4))]
        )
        only = run("audit", "export", "--organization", organization)
        assert sequences(only) == [1, 2, 3, 4]
        assert sequences(run("audit", "export", "--organization", organization, "--after", "3")) == [4]
        assert run("audit", "export", "--since", "2100-01-01") == ""

    def test_continues_where_it_ended(self, run: Command, organization: str, tmp_path: Path) -> None:
        state = str(tmp_path / "state")
        assert len(run("audit", "export", "--state", state).splitlines()) == 5
        assert run("audit", "export", "--state", state) == ""
        run("organization", "budget", organization, "7")
        assert sequences(run("audit", "export", "--state", state)) == [5]
        assert json.loads(Path(state).read_text()) == {INSTANCE: 1, organization: 5}

    def test_refuses_a_file_that_is_no_state(self, run: Command, tmp_path: Path) -> None:
        state = tmp_path / "state"
        state.write_text("[1]")
        assert run.refused("audit", "export", "--state", str(state)) == (
            f"{state} is not the state of an export: remove it to export everything again"
        )
        nowhere = tmp_path / "nowhere" / "state"
        assert run.refused("audit", "export", "--state", str(nowhere)) == (
            f"the state {nowhere} cannot be written: No such file or directory"
        )

    def test_refuses_a_sequence_without_an_organization(self, run: Command) -> None:
        assert run.invoke("audit", "export", "--after", "3").exit_code == 2

    @pytest.mark.slow
    def test_follows(self, run: Command, organization: str, tmp_path: Path) -> None:
        output, state = tmp_path / "output", tmp_path / "state"
        with (
            output.open("w") as file,
            subprocess.Popen(
                [sys.executable, "-m", "agentidp", "audit", "export", "--follow", "--state", str(state)],
                env={k: v for k, v in os.environ.items() if not k.startswith("AGENTIDP_")} | run.environment,
                cwd=ROOT,
                stdout=file,
                stderr=subprocess.PIPE,
                text=True,
            ) as process,
        ):
            try:
                wait_until(lambda: len(output.read_text().splitlines()) == 5)
                run("organization", "budget", organization, "7")
                wait_until(lambda: len(output.read_text().splitlines()) == 6)
                wait_until(lambda: json.loads(state.read_text())[organization] == 5)
                process.send_signal(signal.SIGINT)
                _, errors = process.communicate(timeout=PATIENCE)
            finally:
                process.kill()
        assert errors.strip() == "Aborted!"


class TestVerify:
    def test_says_that_all_is_well(self, run: Command, organization: str) -> None:
        lines = [line.split("\t") for line in run("audit", "verify").splitlines()]
        assert [(line[0], *line[1:4], line[5]) for line in lines] == sorted(
            [(INSTANCE, "1", "0", "1", "ok"), (organization, "4", "0", "4", "ok")]
        )

    def test_names_the_first_event_that_was_changed(self, run: Command, organization: str) -> None:
        execute(run, "update audit_events set actor = 'x' where sequence > 1 and organization_id = %s", organization)
        result = run.invoke("audit", "verify", "--organization", organization)
        assert result.exit_code == 1
        assert result.stdout.split("\t")[5] == "event 2: the event was altered\n"
        in_json = json.loads(run.invoke("audit", "verify", "--organization", organization, "--json").stdout)
        assert (in_json[0]["brokenAt"], in_json[0]["reason"]) == (2, "the event was altered")

    def test_compares_with_what_is_known(self, run: Command, organization: str) -> None:
        *_, exported = run("audit", "export", "--organization", organization).splitlines()
        event = json.loads(exported)
        verify = ("audit", "verify", "--organization", organization, "--known")
        assert run(*verify, f"4:{event['hash']}").endswith("\tok")
        assert run.invoke(*verify, f"4:{'0' * 64}").stdout.endswith(
            "\tevent 4: the event is not the one that is known\n"
        )
        # Whoever owns the tables can remove the last event and correct the head. Only what is known shows it.
        execute(run, "delete from audit_events where sequence = 4 and organization_id = %s", organization)
        execute(
            run,
            "update audit_heads as head set sequence = 3, hash = event.hash from audit_events as event "
            "where event.organization_id = head.organization_id and event.sequence = 3 and head.organization_id = %s",
            organization,
        )
        assert run("audit", "verify", "--organization", organization).endswith("\tok")
        missing = "event 4: the events from here to the one that is known are missing\n"
        assert run.invoke(*verify, f"4:{event['hash']}").stdout.endswith(missing)

    def test_notices_that_all_of_a_chain_is_gone(self, run: Command, organization: str) -> None:
        for table in ("audit_events", "audit_heads"):
            execute(run, f"delete from {table} where organization_id = %s", organization)
        for arguments in ((), ("--organization", organization)):
            result = run.invoke("audit", "verify", *arguments)
            assert result.exit_code == 1
            assert result.stdout.splitlines()[-1] == (
                f"{organization}\t0\t0\t0\t{NO_HASH}\tevent 1: all events and the head of the chain are missing"
            )

    @pytest.mark.parametrize("known", ["4", "x:" + "0" * 64, "4:0"])
    def test_refuses_what_is_not_known(self, run: Command, organization: str, known: str) -> None:
        result = run.invoke("audit", "verify", "--organization", organization, "--known", known)
        assert result.exit_code == 2
        assert run.invoke("audit", "verify", "--known", "4:" + "0" * 64).exit_code == 2


class TestPrune:
    def age(self, run: Command, organization: str) -> None:
        """Write the first three events a year earlier, with hashes that are right."""
        execute(
            run,
            "update audit_events set at = at - interval '1 year' where sequence <= 3 and organization_id = %s",
            organization,
        )
        with psycopg.connect(run.database_url, autocommit=True) as connection:
            previous = NO_HASH
            rows = connection.cursor(row_factory=namedtuple_row).execute(
                "select * from audit_events where organization_id = %s order by sequence", [organization]
            )
            for row in rows.fetchall():
                event = audit.represent(row) | {"previousHash": previous}
                previous = event_hash(event)
                connection.execute(
                    "update audit_events set previous_hash = %s, hash = %s "
                    "where organization_id = %s and sequence = %s",
                    [bytes.fromhex(event["previousHash"]), bytes.fromhex(previous), organization, row.sequence],
                )
            connection.execute(
                "update audit_heads set hash = %s where organization_id = %s", [bytes.fromhex(previous), organization]
            )

    @REFUSED_BY_CITUS
    def test_removes_what_is_older_and_leaves_a_chain_that_can_be_verified(
        self, run: Command, organization: str
    ) -> None:
        self.age(run, organization)
        assert run("audit", "verify", "--organization", organization).endswith("\tok")
        third = json.loads(run("audit", "export", "--organization", organization).splitlines()[2])
        assert run("audit", "prune", "--yes", "--keep", "30") == f"{organization}\t3\t3"
        assert run("audit", "prune", "--yes", "--keep", "30") == ""
        four, five = map(json.loads, run("audit", "export", "--organization", organization).splitlines())
        assert (four["sequence"], five["sequence"], five["action"]) == (4, 5, "audit.pruned")
        assert five["after"] == {"sequence": 3, "hash": third["hash"], "events": 3}
        assert run("audit", "verify", "--organization", organization).endswith("\tok")
        # Removing one more by hand shows.
        execute(run, "delete from audit_events where sequence = 4 and organization_id = %s", organization)
        assert run.invoke("audit", "verify", "--organization", organization).stdout.endswith(
            "\tevent 4: the events up to this one are missing, and no event records that they were pruned\n"
        )

    def test_may_remove_all_but_its_own_record_again_and_again(self, run: Command, organization: str) -> None:
        for last in (4, 5, 6):
            assert (
                f"{organization}\t{4 if last == 4 else 1}\t{last}"
                in run("audit", "prune", "--yes", "--keep", "0").splitlines()
            )
            assert sequences(run("audit", "export", "--organization", organization)) == [last + 1]
            assert run("audit", "verify", "--organization", organization).endswith("\tok")

    @REFUSED_BY_CITUS
    def test_takes_the_days_from_the_setting(self, run: Command, organization: str) -> None:
        assert (
            run.refused("audit", "prune", "--yes")
            == "say how many days to keep: with --keep, or in AGENTIDP_AUDIT_DAYS"
        )
        self.age(run, organization)
        result = run.invoke("audit", "prune", "--yes", "--organization", organization, AGENTIDP_AUDIT_DAYS="30")
        assert (result.exit_code, result.stdout) == (0, f"{organization}\t3\t3\n")
