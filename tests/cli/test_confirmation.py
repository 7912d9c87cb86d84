"""Commands that cannot be undone, or that end service for others, ask first.

``tests/audit/test_everything_is_recorded.py`` finds the commands that end something and are not declared.
"""

from __future__ import annotations

import io
import os
import pty
import re
import sys
import uuid
from pathlib import Path

import click
import pytest

from agentidp.cli.confirmation import YES, confirm
from tests.audit.test_everything_is_recorded import ASKING, BEFORE, CHANGES, Story
from tests.citus import WITHOUT_CITUS
from tests.cli.command import Command
from tests.cli.terminal import CTRL_C, Terminal
from tests.factories import ROOT
from tests.maintenance.conftest import rows_of

REFUSED = "Error: nothing was changed: there is no terminal to ask on, so give --yes\n"


@pytest.fixture
def terminal(quiet: None, database_url: str) -> Terminal:
    """Commands on a terminal, on the database of ``run``."""
    return Terminal(database_url)


@pytest.mark.parametrize(
    "command",
    [pytest.param(command, marks=WITHOUT_CITUS if command == "restore" else ()) for command in sorted(ASKING)],
)
def test_without_a_terminal_it_says_what_it_would_do_and_changes_nothing(
    run: Command, tmp_path: Path, command: str
) -> None:
    story = Story(run, tmp_path)
    if command in BEFORE:
        run(*BEFORE[command](story))
    arguments = CHANGES[command](story)
    before = rows_of(run.database_url)
    refused = run.invoke(*command.split(), *arguments)
    assert (refused.exit_code, refused.stderr.endswith(REFUSED)) == (1, True), refused.output
    said = refused.output.removesuffix(REFUSED)
    assert re.search(r"\b\d", re.sub(r"org-\S+|[0-9a-f-]{36}", "", said)), f"{command} should say how much it changes"
    assert rows_of(run.database_url) == before


def test_the_documentation_lists_the_commands_that_ask() -> None:
    [table] = re.findall(
        r"^## Commands that ask$.*?(^\|.*?)\n\n", (ROOT / "docs" / "operating.md").read_text("utf-8"), re.M | re.S
    )
    assert set(re.findall(r"^\| `agentidp ([a-z -]+[a-z])", table, re.MULTILINE)) == ASKING


def test_of_an_agent(run: Command) -> None:
    agent = run.agent()
    run("credential", "create", "--agent", agent)
    run("token", "--agent", agent)
    suspended = run.invoke("agent", "suspend", agent).stderr.splitlines()[0]
    assert suspended == (
        "This suspends the agent builder of Acme, which was issued 1 token in the last 30 days. It gets no token, and "
        f"those that it has stop working at once, until agentidp agent resume {agent} ends that."
    )
    assert run.invoke("agent", "delete", agent).stderr.splitlines()[0] == (
        "This deletes the agent builder of Acme, which was issued 1 token in the last 30 days. It revokes its 1 "
        "credential, and its tokens stop working at once. Its usage stays counted. This cannot be undone."
    )
    run("agent", "delete", "--yes", agent)
    assert run.refused("agent", "suspend", agent) == "there is no such agent"
    assert run.invoke("agent", "erase", agent).stderr.startswith("This erases the deleted agent builder of Acme, which")


def test_of_a_resource_identifier_that_nobody_holds_nothing_is_asked(run: Command) -> None:
    run("organization", "create", "Acme")
    named = ("resource-server", "assign", "https://api.example", "--organization", "Acme")
    for _ in range(2):
        assert run.invoke(*named).exit_code == 0
    run("organization", "create", "Other")
    assert run.invoke(*named[:-1], "Other").stderr.startswith(
        "This takes the identifier https://api.example from Acme: 0 agents with a scope of its resource server can"
    )


@pytest.mark.parametrize("other", ["stdin", "stderr"])
def test_who_would_not_see_the_question_or_could_not_answer_is_not_asked(
    monkeypatch: pytest.MonkeyPatch, other: str
) -> None:
    ours, theirs = pty.openpty()
    with os.fdopen(ours, "r+b", buffering=0) as person, os.fdopen(theirs, "r+b", buffering=0) as terminal:
        for name in ("stdin", "stderr"):
            monkeypatch.setattr(sys, name, io.TextIOWrapper(terminal if name != other else io.BytesIO()))
        person.write(b"y\n")
        with click.Context(click.Command("x"), obj=None) as context:
            context.meta[YES] = False
            with pytest.raises(click.ClickException, match="there is no terminal to ask on"):
                confirm(lambda: "This deletes all.")


@pytest.mark.slow
class TestOnATerminal:
    def test_only_yes_is_yes(self, run: Command, terminal: Terminal) -> None:
        agent = run.agent()
        for answer in ("n", "", "maybe\nn"):
            status, shown = terminal("agent", "delete", agent, typed=f"{answer}\n")
            assert status == 1
            assert "This deletes the agent builder of Acme" in shown
            assert "Continue? [y/N]: " in shown
            assert shown.endswith("Aborted!\n")
            assert run("agent", "show", agent)
        status, shown = terminal("agent", "delete", agent, typed="y\n")
        assert (status, "Aborted" in shown) == (0, False)
        assert run.refused("agent", "show", agent) == "there is no such agent"

    def test_ctrl_c_and_ctrl_d_are_no(self, run: Command, terminal: Terminal) -> None:
        agent = run.agent()
        for typed in (CTRL_C, "\x04"):
            status, shown = terminal("agent", "delete", agent, typed=typed)
            assert (status, shown.endswith("Aborted!\n")) == (1, True)
        assert run("agent", "show", agent)

    def test_to_delete_an_organization_its_name_is_typed(self, run: Command, terminal: Terminal) -> None:
        organization_id = run("organization", "create", "Acme Inc")
        run("token", "--agent", run("agent", "create", "builder", "--organization", organization_id))
        status, shown = terminal("organization", "delete", organization_id, typed="acme inc\n")
        assert status == 1
        assert (
            "This deletes Acme Inc with 1 agent, which were issued 1 token in the last 30 days, with all their "
            "credentials, and with resource servers, findings and the usage of 1 day: 1 token. This cannot be undone."
        ) in shown
        assert "Type Acme Inc to continue: " in shown
        assert shown.endswith("Error: this is not its name; nothing was changed\n")
        assert organization_id in run("organization", "list")
        assert terminal("organization", "delete", organization_id, typed="Acme Inc\n")[0] == 0
        assert run("organization", "list") == ""

    def test_standard_output_that_is_a_pipe_gets_only_the_result(
        self, run: Command, terminal: Terminal, tmp_path: Path
    ) -> None:
        agent = run.agent()
        printed = tmp_path / "printed"
        status, shown = terminal("agent", "suspend", agent, typed="y\n", stdout=printed)
        assert (status, "Continue?" in shown) == (0, True)
        assert printed.read_text() == run("agent", "show", agent) + "\n"

    def test_yes_asks_nothing(self, run: Command, terminal: Terminal) -> None:
        assert terminal("agent", "delete", "--yes", run.agent()) == (0, "")

    @WITHOUT_CITUS
    def test_to_restore_over_a_database_its_name_is_typed(
        self, run: Command, terminal: Terminal, tmp_path: Path
    ) -> None:
        file = str(tmp_path / "agentidp.dump")
        run("organization", "create", "Acme")
        run("backup", file)
        run("organization", "create", "Later")
        status, shown = terminal("restore", "--clean", file, typed="other\n")
        assert (status, shown.endswith("Error: this is not its name; nothing was changed\n")) == (1, True)
        found = re.search(r"deletes everything in the database (\w+) \((.*?)\), and restores the backup of 2", shown)
        assert found is not None, shown
        assert found[2] == "2 organizations, 0 agents and 0 tokens"
        status, shown = terminal("restore", "--clean", file, typed=f"{found[1]}\n")
        assert (status, "Restored 1 organization" in shown) == (0, True), shown
        assert len(run("organization", "list").splitlines()) == 1


def test_an_id_that_is_not_there_is_no_question(run: Command) -> None:
    unknown = str(uuid.uuid4())
    run("organization", "create", "Acme")
    of = ("--organization", "Acme")
    assert run.refused("alerts", "target", "delete", unknown, *of) == f"the organization has no alert target {unknown}"
    assert run.refused("agent", "delete", unknown) == f"there is no agent {unknown}"
    assert run.refused("organization", "delete", "Acne") == "there is no organization 'Acne': did you mean 'Acme'?"
    assert run.refused("keys", "revoke", "x") == "there is no signing key 'x': agentidp keys list shows them"
