"""``agentidp audit``: list, export, verify and prune."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from agentidp.actor import find_operator
from agentidp.audit import INSTANCE
from agentidp.audit.chain import NO_HASH
from tests.cli.command import Command
from tests.factories import PATIENCE, ROOT, clean_environment, execute, wait_until

OF = ("--organization", "Acme")


@pytest.fixture
def organization(run: Command, acme: str, agent: str) -> str:
    """Acme with four events: its creation, the creation of two agents, and a change of the first agent."""
    run("agent", "create", "second", *OF)
    run("agent", "suspend", "--yes", agent)
    return acme


def sequences(text: str) -> list[int]:
    return [json.loads(line)["sequence"] for line in text.splitlines()]


def test_lists_the_newest_first_and_what_is_asked_for(run: Command, organization: str, agent: str) -> None:
    lines, kind = run.cells("audit", "list", *OF), ["operator", find_operator().name]
    assert [[line[0], *line[2:5], *line[6:]] for line in lines[::3]] == [
        ["4", *kind, "agent.changed", '{"status": "active"}', '{"status": "suspended"}'],
        ["1", *kind, "organization.created", "-", '{"name": "Acme"}'],
    ]
    assert len(lines) == 4

    def found(*options: str) -> list[int]:
        return [event["sequence"] for event in run.json("audit", "list", "--organization", organization, *options)]

    assert found("--action", "agent.created", "--subject", agent) == [2]
    assert found("--actor", find_operator().name, "--limit", "1") == [4]
    assert found("--since", "2020-01-01", "--until", "2100-01-01T00:00:00+01:00") == [4, 3, 2, 1]
    assert found("--since", "2100-01-01") == found("--until", "2020-01-01") == []
    # The instance's trail has the events of the keys, and the trail of a deleted organization is kept.
    kid = run("keys", "rotate").split("\t")[0]
    [newest, first] = run.json("audit", "list")
    assert (newest["organizationId"], newest["action"], newest["subject"]) == (INSTANCE, "signing_key.created", kid)
    assert (newest["after"].keys(), first["sequence"]) == ({"alg", "signsFrom"}, 1)
    run("organization", "delete", "--yes", "Acme")
    assert found("--action", "organization.deleted") != []


class TestExport:
    def test_prints_each_trail_in_order_and_continues_where_it_ended(
        self, run: Command, organization: str, tmp_path: Path
    ) -> None:
        state = ("--state", str(tmp_path / "state"))
        lines = [json.loads(line) for line in run("audit", "export", *state).splitlines()]
        assert [(line["organizationId"], line["sequence"]) for line in lines] == sorted(
            [(INSTANCE, 1), *((organization, sequence) for sequence in (1, 2, 3, 4))]
        )
        assert run("audit", "export", *state) == run("audit", "export", "--since", "2100-01-01") == ""
        run("organization", "budget", "Acme", "7")
        assert sequences(run("audit", "export", *state)) == [5]
        assert json.loads(Path(state[1]).read_text()) == {INSTANCE: 1, organization: 5}
        assert sequences(run("audit", "export", *OF, "--since", "2020-01-01")) == [1, 2, 3, 4, 5]
        assert sequences(run("audit", "export", *OF, "--after", "3")) == [4, 5]

    @pytest.mark.parametrize("content", ["[1]", "{", '{"x": true}'])
    def test_refuses_a_file_that_is_no_state(self, shared_run: Command, tmp_path: Path, content: str) -> None:
        state, nowhere = tmp_path / "state", tmp_path / "nowhere" / "state"
        state.write_text(content)
        assert shared_run.refused("audit", "export", "--state", str(state)) == (
            f"{state} is not the state file of an export. Remove the file to export all events again"
        )
        assert shared_run.refused("audit", "export", "--state", str(nowhere)) == (
            f"the state {nowhere} cannot be written: No such file or directory"
        )

    @pytest.mark.slow
    def test_follows(self, run: Command, organization: str, tmp_path: Path) -> None:
        output, state = tmp_path / "output", tmp_path / "state"
        with (
            output.open("w") as file,
            subprocess.Popen(
                [sys.executable, "-m", "agentidp", "audit", "export", "--follow", "--state", str(state)],
                env=clean_environment() | run.environment,
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
    def test_names_the_first_event_that_was_changed(self, run: Command, organization: str) -> None:
        assert [[*line[:4], line[5]] for line in run.cells("audit", "verify")] == sorted(
            [[INSTANCE, "1", "0", "1", "ok"], [organization, "4", "0", "4", "ok"]]
        )
        execute(
            run.database_url,
            "update audit_events set actor = 'x' where sequence > 1 and organization_id = %s",
            organization,
        )
        result = run.invoke("audit", "verify", *OF)
        assert (result.exit_code, result.stdout.split("\t")[5]) == (1, "event 2: the event was altered\n")
        in_json = json.loads(run.invoke("audit", "verify", *OF, "--json").stdout)
        assert (in_json[0]["brokenAt"], in_json[0]["reason"]) == (2, "the event was altered")

    def test_compares_with_what_is_known(self, run: Command, organization: str) -> None:
        known_hash = json.loads(run("audit", "export", *OF, "--after", "3"))["hash"]
        verify = ("audit", "verify", *OF, "--known")
        assert run(*verify, f"4:{known_hash.upper()}").endswith("\tok")
        other = run.invoke(*verify, f"4:{'0' * 64}").stdout
        assert other.endswith("\tevent 4: the event differs from the noted event\n")

    def test_notices_that_all_of_a_chain_is_gone(self, run: Command, organization: str) -> None:
        for table in ("audit_events", "audit_heads"):
            execute(run.database_url, f"delete from {table} where organization_id = %s", organization)
        for arguments in ((), OF):
            result = run.invoke("audit", "verify", *arguments)
            assert (result.exit_code, result.stdout.splitlines()[-1]) == (
                1,
                f"{organization}\t0\t0\t0\t{NO_HASH}\tevent 1: all events and the head of the chain are missing",
            )


class TestPrune:
    def test_removes_what_is_older_and_leaves_a_chain_that_can_be_verified(
        self, run: Command, organization: str
    ) -> None:
        third = json.loads(run("audit", "export", *OF).splitlines()[2])
        # The event's hash is wrong from here on, and the event is removed.
        earlier = (
            "update audit_events set at = timestamptz '2020-01-01 00:00Z' where sequence <= 3 and organization_id = %s"
        )
        execute(run.database_url, earlier, organization)
        assert run.asked("audit", "prune", "--keep", "30") == (
            "This removes 3 events older than 30 days from 1 audit trail. Removed events cannot be restored, so "
            "export them first (agentidp audit export).\n"
        )
        # Without --keep, the setting has the number of days.
        run.environment["AGENTIDP_AUDIT_DAYS"] = "30"
        assert run("audit", "prune", "--yes", *OF) == f"{organization}\t3\t3"
        assert run("audit", "prune", "--yes", "--keep", "30") == ""
        four, five = map(json.loads, run("audit", "export", *OF).splitlines())
        assert (four["sequence"], five["sequence"], five["action"]) == (4, 5, "audit.pruned")
        assert five["after"] == {"sequence": 3, "hash": third["hash"], "events": 3}
        assert run("audit", "verify", *OF).endswith("\tok")

    def test_may_remove_all_but_its_own_record_again_and_again(self, run: Command, organization: str) -> None:
        for events, last in ((4, 4), (1, 5), (1, 6)):
            pruned = run("audit", "prune", "--yes", "--keep", "0").splitlines()
            assert f"{organization}\t{events}\t{last}" in pruned
            assert sequences(run("audit", "export", *OF)) == [last + 1]
            assert run("audit", "verify", *OF).endswith("\tok")
