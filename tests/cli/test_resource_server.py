"""``agentidp resource-server``."""

from __future__ import annotations

import pytest

from agentidp.registry import resource_identifiers
from agentidp.scopes import SCOPES
from tests.cli.command import Command
from tests.conftest import ON_CITUS_TOO

API = "https://api.example"


@ON_CITUS_TOO
def test_an_identifier_is_assigned_transferred_after_a_question_and_released(
    run: Command, acme: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    other, assign = run("organization", "create", "Other"), ("resource-server", "assign", API, "--organization")
    run("resource-server", "create", API, "--organization", "Acme", "--name", "api", "--scope", "read")
    run("resource-server", "delete", "--yes", "api", "--organization", "Acme")
    proven: list[object] = []
    monkeypatch.setattr(resource_identifiers, "verify_ownership", lambda *arguments: proven.append(arguments))
    # The command neither asks nor changes anything, because Acme still holds the identifier.
    assert run("resource-server", "list") == f"{API}\t{acme}\t"
    assert run("resource-server", "list", "--conflicts") == ""
    assert run(*assign, "Acme") == f"{API}\t{acme}\t{acme}"
    assert proven == []
    question = f"This takes the identifier {API} from Acme. 0 agents of the organization can get no further token "
    assert run.asked(*assign, "Other").startswith(question)
    assert run.json(*assign, "Other", "--yes", "--verify") == {
        "resource": API,
        "organizationId": other,
        "previously": acme,
    }
    assert proven == [(API, other, "http://localhost:3000")]
    run("agent", "create", "reader", "--organization", "Other")
    run("resource-server", "create", API, "--organization", other, "--name", "api", "--scope", "read")
    run("agent", "update", "reader", "--scope", "read")
    holder = {"resource": API, "organizationId": other, "registeredBy": [other]}
    assert run.json("resource-server", "list") == [holder]
    assert " from Other. 1 agent of the organization " in run.asked("resource-server", "release", API)
    released = {"resource": API, "organizationId": None, "previously": other}
    assert run.json("resource-server", "release", "--yes", API) == released
    assert run.refused("resource-server", "release", API) == f"no organization owns the resource '{API}'"
    # The metadata of the resource server name no organization.
    monkeypatch.undo()
    local = "http://localhost:1/v2"
    sentence = run.refused("resource-server", "assign", local, "--organization", acme, "--verify")
    assert sentence.startswith(f"the metadata of {local} cannot be fetched: ")


def test_creates_changes_lists_shows_and_deletes_a_resource_server(run: Command, acme: str) -> None:
    other, of = run("organization", "create", "Other"), ("--organization", "Acme")
    options = ("--name", "billing", "--scope", "invoices:read", "--scope", "invoices:write")
    server = run.json("resource-server", "create", API, *of, *options)
    assert (server["resource"], server["name"], server["scopes"]) == (
        API,
        "billing",
        ["invoices:read", "invoices:write"],
    )
    # The argument may be the id, the identifier or the name.
    server_id, update = server["resourceServerId"], ("resource-server", "update", *of)
    [cells] = run.cells(*update, "billing", "--scope", "invoices:read")
    assert cells[:10] == [
        server_id,
        API,
        "billing",
        "invoices:read",
        server["createdAt"],
        *["false", "-", "-", "agent", "-"],
    ]
    shown = server | {"scopes": ["invoices:read"]}
    for name in (server_id, API, "billing"):
        assert run.json("resource-server", "show", name, *of) == shown
    assert run.json("resource-server", "list", *of) == [shown]
    assert run("resource-server", "list", "--organization", other) == ""
    assert run("resource-server", "list") == f"{API}\t{acme}\t{acme}"
    of_tokens = {"audience": "sts.amazonaws.com", "tokenTtl": 300, "subject": "organization-agent"}
    of_tokens |= {"tokenPerCall": True}
    options = ("--audience", "sts.amazonaws.com", "--token-ttl", "300", "--subject", "organization-agent", "--per-call")
    assert run.json(*update, API, *options) == shown | of_tokens
    # Omitted options keep their values.
    assert run.json(*update, API, "--name", "bills") == shown | of_tokens | {"name": "bills"}
    runs = run("agent", "create", "biller", *of)
    for name in ("biller", runs):
        assert run.json(*update, API, "--agent", name)["agentId"] == runs
    assert run.refused(*update, API, "--agent", "bille") == (
        "the organization has no agent 'bille': did you mean 'biller'?"
    )
    removed = ("--audience", "", "--token-ttl", "none", "--subject", "agent", "--no-per-call", "--name", "billing")
    removed = (*removed, "--agent", "")
    assert run.cells(*update, API, *removed) == [cells]
    for command in (("show",), ("update", "--name", "x"), ("delete", "--yes")):
        refused = run.refused("resource-server", *command, server_id, "--organization", other)
        assert refused == f"the organization has no resource server {server_id}"


def test_asks_what_would_break_before_it_deletes_one(run: Command, acme: str) -> None:
    of = ("--organization", "Acme")
    run("resource-server", "create", API, *of, "--name", "Billing", "--scope", "read")
    run("agent", "create", "builder", *of, "--scope", "read")
    run("agent", "create", "other", *of)
    assert run.refused("agent", "update", "other", "--scope", "nothing") == (
        f"scopes must be among {', '.join(SCOPES)}, read: register other scopes with their resource server first"
    )
    asked = run.asked("resource-server", "delete", API, *of)
    assert asked.startswith(
        f"This deletes the resource server Billing ({API}). 1 agent with its scopes can get no further token "
    )
    assert asked.endswith("\nNo token was counted in the last 90 days.\n")
    assert run("resource-server", "delete", API, *of, "--dry-run") + "\n" == asked
    assert run("resource-server", "delete", API, *of, "--yes") == run("resource-server", "list", *of) == ""
