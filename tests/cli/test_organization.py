"""``agentidp organization``. test_lifecycle.py tests suspension and deletion."""

from __future__ import annotations

import re

from flask.testing import FlaskClient

from agentidp.scopes import SCOPES
from tests.cli.command import ORGANIZATION, TIME, Command


def test_creates_and_lists(run: Command) -> None:
    first, second = run("organization", "create", "Acme"), run.json("organization", "create", "Größe & Söhne")
    assert re.fullmatch(ORGANIZATION, first)
    assert second == {"organizationId": second["organizationId"], "name": "Größe & Söhne"}
    lines = run.cells("organization", "list")
    assert [line[:3] for line in lines] == [[first, "Acme", "-"], [second["organizationId"], second["name"], "-"]]
    assert all(re.fullmatch(TIME, line[3]) for line in lines)
    # Each named organization is in the file once.
    exported = run("organization", "export", first, "Acme")
    assert (exported.count("name: Acme"), "Söhne" in exported) == (1, False)
    assert "Söhne" in run("organization", "export")
    listed = run.json("organization", "list")[1]
    assert listed == listed | second | {"status": "active", "createdAt": lines[1][3]}
    again = run.invoke("organization", "create", "Acme")
    assert again.stderr.startswith("Warning: 2 organizations are named Acme, so use the id in commands: org-")


def test_a_setting_is_printed_set_perhaps_after_a_question_and_removed(run: Command, agent: str) -> None:
    other = run("organization", "create", "Other")
    rule = ("provisioning-rule", "create", "r", "--organization", "Acme", "--issuer", "https://issuer.example")
    run(*rule, "--subject", "job:7", "--max-agents", "3")
    for setting, minimum, maximum, removed, nothing, asked in (
        ("budget", "1", "1000000000000", "--none", "-", ""),
        ("dormancy", "30", "3650", "--none", "-", "Acme has 1 agent. An agent that has not requested a token for "
         "30 days is suspended. A finding announces the suspension 14 days before. A suspended agent gets no token "
         "until somebody resumes the agent.\n"),
        ("provisioning", "on", "on", "off", "off", "Acme has 1 provisioning rule. From now on, provisioning rules "
         "create an agent for each new subject whose token they accept, up to 3 agents.\n"),
    ):  # fmt: skip
        command, yes = ("organization", setting, "Acme"), ["--yes"] if asked else []
        assert run(*command) == nothing
        if asked:
            assert run.asked(*command, minimum) == asked
            assert run(*command) == nothing
        assert run(*command, minimum, *yes) == run(*command) == minimum
        assert run(*command, maximum, *yes) == maximum
        assert run(*command, removed) == run(*command) == run("organization", setting, other) == nothing


def test_with_an_administrator_that_can_register_agents_over_http(run: Command, service: FlaskClient) -> None:
    line = run("organization", "create", "Acme", "--with-administrator")
    organization_id, client_id, client_secret = line.split("\t")
    assert re.fullmatch(ORGANIZATION, organization_id)
    [agent] = run.json("agent", "list", "--organization", organization_id)
    assert (agent["agentId"], agent["name"], agent["scopes"]) == (client_id, "administrator", list(SCOPES))
    form = {"grant_type": "client_credentials", "client_id": client_id, "client_secret": client_secret}
    token = service.post("/api/v1/token", data=form).json["access_token"]
    headers = {"Authorization": f"Bearer {token}"}
    assert service.post("/api/v1/agents", json={"name": "builder"}, headers=headers).status_code == 201
    organization = run.json("organization", "create", "Other", "--with-administrator")
    assert (organization.keys(), organization["name"]) == (
        {"organizationId", "clientId", "clientSecret", "name"},
        "Other",
    )
