"""``--dry-run`` of commands that end something: they say what would break, and change nothing."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from flask.testing import FlaskClient

from agentidp import create_app
from agentidp.config import Settings
from tests.cli.command import Command

NOW = r"2\d{3}-\d\d-\d\d \d\d:\d\d UTC"
VALID = rf"At most 3 tokens may still be valid, until {NOW}\."
QUIETEST = (
    r"The quietest hours of the week begin on \w+day at \d\d:00 UTC: 0 tokens in 3 hours, on all weeks together\."
)
API = "https://api.example"


@pytest.fixture
def client(run: Command) -> Iterator[FlaskClient]:
    app = create_app(Settings.from_environment(run.environment))
    yield app.test_client()
    app.extensions["agentidp"].close()


def take(client: FlaskClient, client_id: str, client_secret: str, **parameters: str) -> int:
    form = {"grant_type": "client_credentials", "client_id": client_id, "client_secret": client_secret, **parameters}
    return client.post("/api/v1/token", data=form).status_code


def expect(text: str, *lines: str) -> None:
    assert re.fullmatch("\n".join(lines), text), text


def test_of_revoking_says_who_would_notice_before_and_after_a_rotation(run: Command, client: FlaskClient) -> None:
    agent = run.agent()
    old, _, old_secret = run("credential", "create", "--agent", agent, "--label", "old").split("\t")
    dry_run = ("credential", "revoke", "old", "--agent", agent, "--dry-run")
    begin = rf"This revokes the credential {old} \(old\)\. This cannot be undone\."
    expect(
        run(*dry_run),
        begin,
        r"No token was counted in the last 90 days\.",
        r"The agent has no other credential: it will get no further token\.",
    )
    assert [take(client, agent, old_secret) for _ in range(3)] == [200] * 3
    new, _, new_secret = run("credential", "create", "--agent", agent, "--label", "new").split("\t")
    used = (
        begin,
        rf"3 tokens in the last 90 days, the last one at {NOW}\.",
        r"These are 3 tokens for http://localhost:3000/api/v1\.",
    )
    expect(
        run(*dry_run),
        *used,
        r"The agent has another credential, but none that was used in the last 30 days\.",
        VALID,
        QUIETEST,
    )
    assert take(client, agent, new_secret) == 200
    expect(
        run(*dry_run), *used, rf"The agent has another credential in use: new, last used at {NOW}\.", VALID, QUIETEST
    )
    # Nothing has changed, and the real command asks with the same sentences.
    assert take(client, agent, old_secret) == 200
    asked = run.invoke("credential", "revoke", "old", "--agent", agent).stderr
    assert asked.startswith(
        f"This revokes the credential {old} (old). This cannot be undone.\n4 tokens in the last 90 days"
    )
    run("credential", "revoke", "old", "--agent", agent, "--yes")
    assert (take(client, agent, old_secret), take(client, agent, new_secret)) == (401, 200)
    assert run.refused(*dry_run) == "the agent has no credential 'old'"
    assert new in run("credential", "list", "--agent", agent)


def test_of_suspending_and_deleting_an_agent(run: Command, client: FlaskClient) -> None:
    agent = run.agent()
    _, _, secret = run("credential", "create", "--agent", agent).split("\t")
    assert [take(client, agent, secret) for _ in range(3)] == [200] * 3
    impact = (
        rf"3 tokens in the last 90 days, the last one in the hour of {NOW}\.",
        r"These are 3 tokens for http://localhost:3000/api/v1\.",
        VALID,
        QUIETEST,
    )
    expect(run("agent", "suspend", agent, "--dry-run"), r"This suspends the agent builder of Acme, .*", *impact)
    expect(run("agent", "delete", agent, "--dry-run"), r"This deletes the agent builder of Acme, .*", *impact)
    assert take(client, agent, secret) == 200


def test_of_deleting_a_resource_server(run: Command, client: FlaskClient) -> None:
    organization_id = run("organization", "create", "Acme")
    of_acme = ("--organization", organization_id)
    run("resource-server", "create", API, *of_acme, "--name", "Billing", "--scope", "read")
    agent = run("agent", "create", "builder", *of_acme, "--scope", "read")
    _, _, secret = run("credential", "create", "--agent", agent).split("\t")
    assert [take(client, agent, secret, resource=API) for _ in range(3)] == [200] * 3
    expect(
        run("resource-server", "delete", API, *of_acme, "--dry-run"),
        r"This deletes the resource server Billing \(https://api\.example\)\. 1 agent with one of its 1 scope can .*",
        rf"3 tokens in the last 90 days, the last one in the hour of {NOW}\.",
        r"They were issued to builder \(3 tokens, the last on 2\d{3}-\d\d-\d\d\)\.",
        VALID,
        QUIETEST,
    )
    assert take(client, agent, secret, resource=API) == 200
