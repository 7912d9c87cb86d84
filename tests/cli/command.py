"""Runs commands in the tests."""

from __future__ import annotations

import json
import os
from typing import Any

from click.testing import CliRunner, Result
from flask.testing import FlaskClient

from agentidp.cli import cli
from tests.factories import SECRET_KEY, close_owner_connection

ORGANIZATION = r"org-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"
UUID = r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"
TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z"

SUSPENDED = "the agent {0} is suspended: agentidp agent resume {0} ends that"


class Command:
    """Runs commands on a database that only this test uses."""

    def __init__(self, database_url: str) -> None:
        self.environment = {"AGENTIDP_DATABASE_URL": database_url, "AGENTIDP_SECRET_KEY": SECRET_KEY}
        self.database_url = database_url

    def invoke(self, *arguments: str, input: str | None = None, **environment: str | None) -> Result:
        """Run a command and return its result, whether it succeeds or fails."""
        for name in os.environ:
            if name.startswith("AGENTIDP_"):
                environment.setdefault(name, None)
        if "restore" in arguments:
            # The command refuses a database to which anybody else is connected.
            close_owner_connection()
        return CliRunner().invoke(cli, arguments, input=input, env={**environment, **self.environment, **environment})

    def __call__(self, *arguments: str, input: str | None = None) -> str:
        """Run a command that must succeed without warnings, and return its standard output without the line break."""
        result = self.invoke(*arguments, input=input)
        assert (result.exit_code, result.stderr) == (0, ""), result.output
        assert result.stdout.endswith("\n") or not result.stdout
        return result.stdout.removesuffix("\n")

    def cells(self, *arguments: str) -> list[list[str]]:
        """Run a command and return its rows, each as a list of values."""
        return [line.split("\t") for line in self(*arguments).splitlines()]

    def json(self, *arguments: str) -> Any:
        return json.loads(self(*arguments, "--json"))

    def refused(self, *arguments: str, **environment: str | None) -> str:
        """Run a command that must fail with exit code 1, and return its error message."""
        result = self.invoke(*arguments, **environment)
        assert isinstance(result.exception, SystemExit), result.exception
        assert (result.exit_code, result.stdout) == (1, "")
        assert result.stderr.startswith("Error: ")
        return result.stderr.removeprefix("Error: ").removesuffix("\n")

    def asked(self, *arguments: str) -> str:
        """Run a command that asks without a terminal, and return the consequences that it prints before it refuses."""
        consequences, _, refusal = self.invoke(*arguments).output.rpartition("Error: ")
        assert refusal == "nothing was changed, because there is no terminal to ask for confirmation: give --yes\n"
        return consequences

    def misused(self, *arguments: str, input: str | None = None) -> str:
        """Run a command with wrong usage, which must end with exit code 2, and return its error message."""
        result = self.invoke(*arguments, input=input)
        assert (result.exit_code, result.stdout) == (2, ""), result.output
        return result.stderr.splitlines()[-1].removeprefix("Error: ")

    def agent(self, *scopes: str) -> str:
        """Create an agent in a new organization and return its id."""
        options = [option for scope in scopes for option in ("--scope", scope)]
        # The command warns if another organization has this name.
        organization_id = self.invoke("organization", "create", "Acme").stdout.strip()
        return self("agent", "create", "builder", "--organization", organization_id, *options)


def ask_for_token(client: FlaskClient, client_id: str, client_secret: str, **parameters: str) -> int:
    form = {"grant_type": "client_credentials", "client_id": client_id, "client_secret": client_secret, **parameters}
    return client.post("/api/v1/token", data=form).status_code
