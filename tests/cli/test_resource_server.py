"""``agentidp resource-server``."""

from __future__ import annotations

import json
import uuid

import psycopg
import pytest

from agentidp.registry import resource_identifiers
from agentidp.scopes import SCOPES
from tests.cli.command import Command
from tests.conftest import ON_CITUS_TOO


@ON_CITUS_TOO
def test_assigns_transfers_lists_and_releases_an_identifier(run: Command) -> None:
    acme, other = run("organization", "create", "Acme"), run("organization", "create", "Other")
    resource = "https://billing.example/v2"
    assert run("resource-server", "list") == ""
    assign = ("resource-server", "assign", resource, "--organization")
    assert run(*assign, acme) == f"{resource}\t{acme}\t-"
    assert run(*assign, other, "--yes") == f"{resource}\t{other}\t{acme}"
    assert run("resource-server", "list") == f"{resource}\t{other}\t"
    assert run("resource-server", "release", "--yes", resource) == f"{resource}\t-\t{other}"
    assert run("resource-server", "list", "--json") == "[]"


def test_lists_conflicts(run: Command) -> None:
    acme, other = run("organization", "create", "Acme"), run("organization", "create", "Other")
    with psycopg.connect(run.database_url) as connection:
        for at, organization_id, resource in (
            (2, acme, "https://a"),
            (1, other, "https://a"),
            (1, acme, "https://b"),
        ):
            connection.execute(
                "insert into resource_servers values (%s, gen_random_uuid(), %s, 'api', '{}', to_timestamp(%s))",
                [organization_id, resource, at],
            )
    run("resource-server", "assign", "https://b/", "--organization", acme)
    assert run("resource-server", "list") == f"https://a\t-\t{other} {acme}\nhttps://b\t{acme}\t{acme}"
    assert json.loads(run("resource-server", "list", "--conflicts", "--json")) == [
        {"resource": "https://a", "organizationId": None, "registeredBy": [other, acme]}
    ]
    made = json.loads(run("resource-server", "assign", "https://a", "--organization", acme, "--json"))
    assert made == {"resource": "https://a", "organizationId": acme, "previously": None}
    assert run("resource-server", "list", "--conflicts") == ""
    released = json.loads(run("resource-server", "release", "--yes", "https://a", "--json"))
    assert released == {"resource": "https://a", "organizationId": None, "previously": acme}


def test_assign_verifies_before_it_changes_anything(run: Command) -> None:
    acme = run("organization", "create", "Acme")
    resource = "http://localhost:1/v2"
    sentence = run.refused("resource-server", "assign", resource, "--organization", acme, "--verify")
    assert sentence.startswith(f"the metadata of {resource} cannot be fetched: ")
    assert run("resource-server", "list") == ""


def test_assign_takes_the_proof_of_the_resource_server(run: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    acme, asked = run("organization", "create", "Acme"), []
    monkeypatch.setattr(resource_identifiers, "verify_ownership", lambda *arguments: asked.append(arguments))
    assign = ("resource-server", "assign", "https://billing.example", "--organization", acme)
    run(*assign)
    assert asked == []
    run(*assign, "--verify")
    assert asked == [("https://billing.example", acme, "http://localhost:3000")]


def test_what_is_refused(run: Command) -> None:
    acme, missing = run("organization", "create", "Acme"), f"org-{uuid.uuid4()}"
    own = "the resource must not be this server's own API or dashboard"
    malformed = "the resource must be an absolute URI without fragment, or an audience that is not shared"
    for resource, organization_id, sentence in (
        ("https://x.example", missing, f"there is no organization '{missing}'"),
        ("https://x.example/\udcff", acme, malformed),
        ("two words", acme, malformed),
        # An audience of every customer of a cloud.
        ("sts.amazonaws.com", acme, malformed),
        ("http://localhost:3000/api/v1", acme, own),
        ("http://localhost:3000/dashboard", acme, own),
        ("http://localhost:3000/dashboard/sign-in", acme, own),
    ):
        assert run.refused("resource-server", "assign", resource, "--organization", organization_id) == sentence
    for resource, sentence in {
        "https://x.example": "no organization holds the resource 'https://x.example'",
        "\udcff": malformed,
    }.items():
        assert run.refused("resource-server", "release", "--yes", resource) == sentence


def test_creates_changes_lists_shows_and_deletes_a_resource_server(run: Command) -> None:
    acme, other = run("organization", "create", "Acme"), run("organization", "create", "Other")
    resource = "https://billing.example/v2"
    options = ("--name", "billing", "--scope", "invoices:read", "--scope", "invoices:write")
    made = json.loads(run("resource-server", "create", resource, "--organization", acme, *options, "--json"))
    assert made == {
        "resourceServerId": made["resourceServerId"],
        "resource": resource,
        "name": "billing",
        "scopes": ["invoices:read", "invoices:write"],
        "createdAt": made["createdAt"],
        "tokenPerCall": False,
        "audience": None,
        "tokenTtl": None,
        "subject": "agent",
    }
    here = (made["resourceServerId"], "--organization", acme)
    assert json.loads(run("resource-server", "update", *here, "--name", "bills", "--json")) == made | {"name": "bills"}
    changed = run("resource-server", "update", *here, "--scope", "invoices:read").split("\t")
    assert changed == [here[0], resource, "bills", "invoices:read", made["createdAt"], "False", "-", "-", "agent"]
    assert run("resource-server", "list", "--organization", acme).split("\t") == changed
    assert run("resource-server", "show", *here).split("\t") == changed
    shown = json.loads(run("resource-server", "show", *here, "--json"))
    assert shown == made | {"name": "bills", "scopes": ["invoices:read"]}
    per_call = json.loads(run("resource-server", "update", *here, "--per-call", "--json"))
    assert per_call == shown | {"tokenPerCall": True}
    assert run("resource-server", "update", *here, "--no-per-call").split("\t") == changed
    assert run("resource-server", "list", "--organization", other) == ""
    assert run("resource-server", "list") == f"{resource}\t{acme}\t{acme}"
    of_tokens = ("--audience", "sts.amazonaws.com", "--token-ttl", "300", "--subject", "organization-agent")
    for_cloud = json.loads(run("resource-server", "update", *here, *of_tokens, "--json"))
    said = {"audience": "sts.amazonaws.com", "tokenTtl": 300, "subject": "organization-agent"}
    assert for_cloud == shown | said
    assert run("resource-server", "update", *here, "--name", "bills").split("\t")[-3:] == [
        str(x) for x in said.values()
    ]
    removed = ("--audience", "", "--token-ttl", "none", "--subject", "agent")
    assert run("resource-server", "update", *here, *removed).split("\t") == changed
    other_one = ("resource-server", "create", "https://aws.example", "--organization", acme, "--name", "AWS")
    created = json.loads(run(*other_one, *of_tokens, "--json"))
    assert {name: created[name] for name in said} == said
    assert run("resource-server", "delete", "--yes", created["resourceServerId"], "--organization", acme) == ""
    run("resource-server", "release", "--yes", "https://aws.example")
    for wrong in ("0", "59", "86401", "x", "-1"):
        refused = run.invoke("resource-server", "update", *here, "--token-ttl", wrong)
        assert (refused.exit_code, "a whole number from 60 to 86400, or none" in refused.stderr) == (2, True), wrong
    missing = f"the organization has no resource server {here[0]}"
    assert run.refused("resource-server", "delete", "--yes", here[0], "--organization", other) == missing
    assert run.refused("resource-server", "update", here[0], "--organization", other, "--name", "x") == missing
    assert run.refused("resource-server", "show", here[0], "--organization", other) == missing
    assert run("resource-server", "delete", "--yes", *here) == ""
    assert run.refused("resource-server", "delete", "--yes", *here) == missing
    assert run("resource-server", "list") == f"{resource}\t{acme}\t"


def test_a_resource_server_that_is_no_good(run: Command) -> None:
    acme, other = run("organization", "create", "Acme"), run("organization", "create", "Other")
    run("resource-server", "create", "https://a.example", "--organization", acme, "--name", "a")
    for resource, name, scope, sentence in (
        ("x", "a", "s", "resource must be an absolute URI of at most 500 characters without fragment"),
        ("http://localhost:3000/api/v1", "a", "s", "resource must not be this server's own API or dashboard"),
        ("https://x.example", "", "s", "name must have 1 to 100 characters"),
        ("https://a.example", "a", "s", "The resource is registered already. (resource is taken)"),
        (
            "https://x.example",
            "a",
            "agents:read",
            f"scopes must not contain a scope of this server's own API: {', '.join(SCOPES)}",
        ),
    ):
        options = ("--organization", other, "--name", name, "--scope", scope)
        assert run.refused("resource-server", "create", resource, *options) == sentence
    assert run("resource-server", "list", "--organization", other) == ""
