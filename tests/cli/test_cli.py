"""What all commands have in common."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import uuid
from collections.abc import Iterator

import click
import psycopg
import pytest
from click.testing import CliRunner

from agentidp.cli import cli
from agentidp.cli.credential import MAX_LIFETIME_DAYS
from agentidp.config import MAX_AUDIT_DAYS
from tests.cli.command import ORGANIZATION, Command
from tests.factories import PATIENCE, ROOT, SECRET_KEY


def commands() -> Iterator[tuple[str, ...]]:
    """The path of every command and group."""

    def walk(command: click.Command, path: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
        yield path
        if isinstance(command, click.Group):
            for name, inner in command.commands.items():
                yield from walk(inner, (*path, name))

    return walk(cli, ())


GROUPS = [path for path in commands() if any(other[:-1] == path for other in commands() if other)]


@pytest.mark.parametrize("path", list(commands()), ids=lambda path: " ".join(path) or "agentidp")
@pytest.mark.parametrize("option", ["--help", "-h"])
def test_every_command_has_help_with_a_sentence_for_each_option(path: tuple[str, ...], option: str) -> None:
    result = CliRunner().invoke(cli, [*path, option], env={"AGENTIDP_DATABASE_URL": "nonsense"})
    assert result.exit_code == 0
    assert re.match(rf"Usage: cli {' '.join(path)}", result.stdout)
    description = result.stdout.split("\n\n")[1].strip()
    assert re.match(r"[A-Z][^.]*", description)
    for line in result.stdout.partition("Options:")[2].partition("Commands:")[0].splitlines():
        if line.lstrip().startswith("-") and not line.startswith("   " * 4):
            assert re.search(r"  +[A-Z]|  +[a-z]|[A-Z]$|\]$", line), line


class TestRefusals:
    """An error is one line that begins with ``Error:``, and exit code 1."""

    @pytest.mark.parametrize("command", [("organization", "list"), ("db", "migrate"), ("serve",), ("demo",)])
    def test_of_a_database_that_does_not_answer(self, shared_run: Command, command: tuple[str, ...]) -> None:
        sentence = shared_run.refused(*command, AGENTIDP_DATABASE_URL="postgresql://u:hush@127.0.0.1:1/x", PORT="3999")
        assert sentence.startswith("the database of AGENTIDP_DATABASE_URL does not answer: ")
        assert "hush" not in sentence

    @pytest.mark.parametrize(
        ("environment", "sentence"),
        [
            ({"AGENTIDP_TOKEN_TTL": "soon"}, "AGENTIDP_TOKEN_TTL must be a whole number from 60 to 86400, not 'soon'"),
            (
                {"AGENTIDP_SECRET_KEY": None},
                "AGENTIDP_SECRET_KEY (or AGENTIDP_SECRET_KEY_FILE) must be set if AGENTIDP_DATABASE_URL is",
            ),
            (
                {"AGENTIDP_SECRET_KEY": "another secret that nobody knows of"},
                "AGENTIDP_SECRET_KEY does not decrypt this database's signing keys: "
                "set the secret that the instance was started with",
            ),
        ],
    )
    def test_of_a_bad_setting(self, shared_run: Command, environment: dict[str, str | None], sentence: str) -> None:
        assert shared_run.refused("organization", "list", **environment) == sentence

    def test_of_a_role_that_may_not(self, run: Command, database_url: str) -> None:
        name = f"weak_{uuid.uuid4().hex}"
        with psycopg.connect(database_url, autocommit=True) as connection:
            connection.execute(f"create role {name} login password 'x'")
            connection.execute(f"grant select on schema_migrations to {name}")
            try:
                url = re.sub(r"//[^@]*@", f"//{name}:x@", database_url)
                sentence = run.refused("organization", "create", "x", AGENTIDP_DATABASE_URL=url)
            finally:
                connection.execute(f"drop owned by {name}")
                connection.execute(f"drop role {name}")
        assert sentence == "the database's schema cannot be brought up to date: permission denied for schema public"

    @pytest.mark.parametrize(
        "arguments",
        [
            ("nonsense",),
            ("agent", "create"),
            ("agent", "create", "x"),
            ("agent", "update", str(uuid.uuid4())),
            ("resource-server", "update", str(uuid.uuid4()), "--organization", "o"),
            ("resource-server", "list", "--organization", "o", "--conflicts"),
            ("credential", "create", "--agent", str(uuid.uuid4()), "--expires-in", "0"),
            ("credential", "create", "--agent", str(uuid.uuid4()), "--expires-in", str(MAX_LIFETIME_DAYS + 1)),
            ("audit", "prune", "--keep", str(MAX_AUDIT_DAYS + 1)),
            ("keys", "rotate", "--alg", "none"),
        ],
    )
    def test_of_a_command_that_is_written_wrong(self, shared_run: Command, arguments: tuple[str, ...]) -> None:
        result = shared_run.invoke(*arguments)
        assert (result.exit_code, result.stdout) == (2, "")
        assert result.stderr.splitlines()[-1].startswith("Error: ")


@pytest.mark.parametrize("path", GROUPS, ids=lambda path: " ".join(path) or "agentidp")
def test_no_line_of_a_groups_list_of_commands_is_cut(path: tuple[str, ...]) -> None:
    listed = CliRunner().invoke(cli, [*path, "--help"], terminal_width=80).stdout.partition("Commands:")[2]
    assert listed
    assert [line for line in listed.splitlines() if line.endswith(("...", "…"))] == []


@pytest.mark.slow
def test_the_installed_command_prints_no_traceback_and_nothing_but_what_was_asked_for(database_url: str) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AGENTIDP_")}
    environment |= {"AGENTIDP_DATABASE_URL": database_url, "AGENTIDP_SECRET_KEY": SECRET_KEY}

    def agentidp(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "agentidp", *arguments],
            env=environment,
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )

    made = agentidp("organization", "create", "Acme")
    assert (made.returncode, made.stderr) == (0, "")
    assert re.fullmatch(ORGANIZATION + "\n", made.stdout)
    refused = agentidp("token", "--agent", str(uuid.UUID(int=1)))
    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr == "Error: there is no agent 00000000-0000-0000-0000-000000000001\n"
