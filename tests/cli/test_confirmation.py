"""Commands that cannot be undone, or that end service for others, ask first.

``tests/audit/test_everything_is_recorded.py`` tests of each that it says how much it would change and changes nothing
without a terminal, and finds those that end something and do not ask. What they say is tested with the commands.
"""

from __future__ import annotations

import io
import os
import pty
import re
import sys
from pathlib import Path

import click
import pytest

from agentidp.cli.confirmation import YES, confirm
from tests.citus import WITHOUT_CITUS
from tests.cli.command import Command
from tests.cli.terminal import CTRL_C, Terminal

NOT_ITS_NAME = "Error: the typed name is wrong, so nothing was changed\n"


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
            with pytest.raises(click.ClickException, match="there is no terminal to ask for confirmation"):
                confirm(lambda: "This deletes all.")


class TestAnswers:
    @pytest.fixture(autouse=True)
    def on_terminal(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("agentidp.cli.confirmation._is_terminal", lambda: True)

    def test_only_yes_is_yes(self, run: Command, agent: str) -> None:
        for answer in ("n", "", "maybe\nn"):
            refused = run.invoke("agent", "delete", agent, input=f"{answer}\n")
            assert (refused.exit_code, refused.stdout) == (1, "")
            assert refused.stderr.startswith("This deletes the agent builder of Acme")
            assert "Continue? [y/N]: " in refused.stderr
            assert refused.stderr.endswith("Aborted!\n")
            assert run("agent", "show", agent)
        assert run.invoke("agent", "delete", agent, input="y\n").exit_code == 0
        assert run.refused("agent", "show", agent) == "there is no such agent"

    def test_to_delete_an_organization_its_name_is_typed(self, run: Command, agent: str) -> None:
        run("token", "--agent", agent)
        refused = run.invoke("organization", "delete", "Acme", input="acme\n")
        assert (refused.exit_code, refused.stderr) == (
            1,
            "This deletes Acme with 1 agent and 1 token in the last 30 days. All credentials, resource servers and "
            "findings of the organization, and its usage in 1 day, 1 token, are deleted as well. A deletion cannot be "
            "undone.\n"
            f"Type Acme to continue: acme\n{NOT_ITS_NAME}",
        )
        assert "Acme" in run("organization", "list")
        assert run.invoke("organization", "delete", "Acme", input="Acme\n").exit_code == 0
        assert run("organization", "list") == ""

    @WITHOUT_CITUS
    def test_to_restore_over_a_database_its_name_is_typed(self, run: Command, agent: str, tmp_path: Path) -> None:
        file = str(tmp_path / "agentidp.dump")
        run("backup", file)
        run("organization", "create", "Later")
        refused = run.invoke("restore", "--clean", file, input="other\n")
        assert (refused.exit_code, refused.stderr.endswith(NOT_ITS_NAME)) == (1, True)
        match = re.match(
            r"This deletes everything in the database (\w+) \((.*?)\). Then it restores the backup of 2", refused.stderr
        )
        assert match is not None, refused.stderr
        assert match[2] == "2 organizations, 1 agent and 0 tokens"
        restored = run.invoke("restore", "--clean", file, input=f"{match[1]}\n")
        assert (restored.exit_code, "Restored 1 organization" in restored.stdout) == (0, True), restored.output
        assert len(run.cells("organization", "list")) == 1


@pytest.mark.slow
def test_on_a_terminal(run: Command, agent: str, terminal: Terminal, tmp_path: Path) -> None:
    """Ctrl-C and Ctrl-D mean no. If standard output is a pipe, it gets only the result."""
    for typed in ("n\n", CTRL_C, "\x04"):
        status, shown = terminal("agent", "delete", agent, typed=typed)
        assert (status, "Continue? [y/N]: " in shown, shown.endswith("Aborted!\n")) == (1, True, True)
    printed = tmp_path / "printed"
    status, shown = terminal("agent", "suspend", agent, typed="y\n", stdout=printed)
    assert (status, "Continue?" in shown) == (0, True)
    assert printed.read_text() == run("agent", "show", agent) + "\n"
    status, shown = terminal("agent", "list", "--organization", "Acme")
    assert (status, shown.split()[:3]) == (0, ["AGENT", "ID", "NAME"])
    assert terminal("agent", "delete", "--yes", agent) == (0, "")
