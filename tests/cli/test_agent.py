"""``agentidp agent``."""

from __future__ import annotations

import json
import re
import uuid

from tests.cli.command import UUID, Command


def test_create_prints_its_id_and_list_shows_it(run: Command) -> None:
    organization_id = run("organization", "create", "Acme")
    agent_id = run("agent", "create", "builder", "--organization", organization_id)
    assert re.fullmatch(UUID, agent_id)
    line = run("agent", "list", "--organization", organization_id).split("\t")
    assert line[:5] == [agent_id, "builder", "", "analytics:read agents:read", "active"]


def test_as_json(run: Command) -> None:
    organization_id = run("organization", "create", "Acme")
    options = ("--organization", organization_id, "--description", "builds", "--scope", "agents:write")
    made = json.loads(run("agent", "create", "builder", *options, "--json"))
    assert made == {
        "agentId": made["agentId"],
        "name": "builder",
        "description": "builds",
        "scopes": ["agents:write"],
        "status": "active",
        "dpopBoundAccessTokens": False,
        "createdAt": made["createdAt"],
        "updatedAt": made["createdAt"],
    }
    assert json.loads(run("agent", "list", "--organization", organization_id, "--json")) == [made]


def test_what_is_refused(run: Command) -> None:
    organization_id = run("organization", "create", "Acme")
    run("agent", "create", "builder", "--organization", organization_id)
    missing = f"org-{uuid.uuid4()}"
    for arguments, sentence in {
        ("builder", organization_id): "Another agent has this name. (name is taken)",
        ("", organization_id): "name must have 1 to 100 characters",
        ("a\tb", organization_id): "name must not hold control characters or lone surrogates",
        ("x", missing): f"there is no organization '{missing}'",
        ("x", "' or '1'='1"): "there is no organization \"' or '1'='1\"",
        ("x", "\udcff"): "there is no organization '\\udcff'",
    }.items():
        assert run.refused("agent", "create", arguments[0], "--organization", arguments[1]) == sentence
    assert run.refused("agent", "list", "--organization", missing) == f"there is no organization '{missing}'"
    description = run.refused("agent", "create", "x", "--organization", organization_id, "--description", "\udcff")
    assert description == "description must not hold control characters or lone surrogates"
