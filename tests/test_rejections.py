"""Why and from where authentications are rejected: the log, what is kept, and that the client learns nothing."""

from __future__ import annotations

import json
import logging
import uuid
from datetime import timedelta
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from prometheus_client import REGISTRY

from agentidp import create_app
from agentidp.counting import (
    KEEP_NETWORKS,
    MAX_NETWORKS,
    UNKNOWN_AGENT,
    UNKNOWN_ORGANIZATION,
    find_network,
    record_rejection,
)
from agentidp.http.logs import JsonFormatter
from agentidp.maintenance.erasure import delete_organization
from agentidp.oauth.throttle import MAX_FAILURES_PER_MINUTE
from agentidp.services import Services
from tests.conftest import ON_CITUS_TOO, Cast, settings_for
from tests.factories import NOON, Agent, database_of, execute, make_agent, usage_sums
from tests.routes import REVOKED_TOKEN, SUSPENDED_AGENT

ADDRESS = "198.51.100.77"
NETWORK = "198.51.100.0/24"


@pytest.fixture(scope="module")
def wired_app() -> Flask:
    """The application behind a proxy that tells the client's address."""
    return create_app(settings_for("postgresql:///none", trusted_proxies=1))


def rows(services: Services, organization_id: str) -> set[tuple[Any, ...]]:
    """Return the stored rejections of an organization: day, agent, network, reason and number."""
    statement = "select day, agent_id, network, reason, rejections from rejected_networks where organization_id = %s"
    return set(execute(str(services.settings.database_url), statement, organization_id))


def ask(client: FlaskClient, client_id: str, secret: str, address: str = ADDRESS) -> tuple[int, bytes]:
    """The status and the body of a token request from an address."""
    response = client.post(
        "/api/v1/token",
        data={"grant_type": "client_credentials"},
        auth=(client_id, secret),
        headers={"X-Forwarded-For": address},
    )
    return response.status_code, response.data


def change(agent: Agent, statement: str) -> None:
    """Change rows of an agent, or of its organization, as their owner."""
    of = "organization_id" if statement.startswith("organizations") else "agent_id"
    execute(str(agent.services.settings.database_url), f"update {statement} where {of} = %s", getattr(agent, of))


SITUATIONS = {
    "suspended agent": "agents set status = 'suspended'",
    "deleted agent": "agents set deleted_at = now()",
    "revoked credential": "credentials set revoked_at = '2026-04-15'",
    "expired credential": "credentials set expires_at = '2026-04-15 12:00:00Z'",
    "suspended organization": "organizations set suspended_at = now()",
}
"""Reason -> the change after which the right secret is rejected for it."""


@pytest.mark.parametrize("reason", SITUATIONS)
def test_the_log_and_the_owner_learn_the_reason_and_who_has_the_secret_that_it_has_ended(
    client: FlaskClient, services: Services, cast: Cast, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    acme = cast.acme
    wrong = ask(client, acme.client_id, "wrong")
    ended = {
        "revoked credential": "the secret was revoked: use another credential of the agent",
        "expired credential": "the secret has expired: use another credential of the agent",
    }
    change(acme, SITUATIONS[reason])
    before = REGISTRY.get_sample_value("agentidp_authentications_rejected_total", {"reason": reason}) or 0
    caplog.set_level(logging.INFO, "agentidp")
    caplog.clear()
    response = ask(client, acme.client_id, acme.client_secret)
    if reason in ended:
        assert json.loads(response[1])["error_description"] == ended[reason]
    else:
        # Whoever does not have the secret gets this reason as well.
        assert response == wrong
    rejected, request = [
        json.loads(JsonFormatter().format(record)) for record in caplog.records if record.name == "agentidp"
    ]
    who = {"organization": acme.organization_id, "agent": acme.client_id}
    assert {name: rejected[name] for name in rejected if name != "at"} == {
        "level": "WARNING",
        "message": "authentication rejected",
        **who,
        "credential": "secret",
        "reason": reason,
        "address": ADDRESS,
        "request_id": request["request_id"],
    }
    assert {name: request[name] for name in who} == who
    assert acme.client_secret not in caplog.text
    after = REGISTRY.get_sample_value("agentidp_authentications_rejected_total", {"reason": reason})
    assert after == before + 1
    # If the agent is not active, the reason says so, whatever the client sent.
    first = (NOON.date(), acme.agent_id, NETWORK)
    assert rows(services, acme.organization_id) == {(*first, "wrong secret", 1), (*first, reason, 1)}


def test_an_expired_credential_is_one_from_the_instant_on(client: FlaskClient, services: Services, cast: Cast) -> None:
    change(cast.acme, "credentials set expires_at = '2026-04-15 12:00:00.000001Z'")
    assert ask(client, cast.acme.client_id, cast.acme.client_secret)[0] == 200
    assert rows(services, cast.acme.organization_id) == set()


def test_another_agents_secret_is_a_wrong_one(client: FlaskClient, services: Services, cast: Cast) -> None:
    other = make_agent(services, cast.acme.organization_id, "other")
    change(other, SITUATIONS["revoked credential"])
    ask(client, cast.acme.client_id, other.client_secret)
    assert rows(services, cast.acme.organization_id) == {(NOON.date(), cast.acme.agent_id, NETWORK, "wrong secret", 1)}


def test_a_client_that_nobody_registered_is_not_named(
    client: FlaskClient, services: Services, caplog: pytest.LogCaptureFixture
) -> None:
    invented = str(uuid.uuid4())
    # A secret that was sent as the client_id by mistake.
    for sent in (invented, "aidp_secret"):
        ask(client, sent, "wrong")
    rejected = [record.fields for record in caplog.records if record.message == "authentication rejected"]  # type: ignore[attr-defined]
    assert [(rejection["organization"], rejection["agent"], rejection["reason"]) for rejection in rejected] == [
        (None, None, "unknown client")
    ] * 2
    assert invented not in caplog.text
    assert "aidp_secret" not in caplog.text
    assert rows(services, UNKNOWN_ORGANIZATION) == {(NOON.date(), UNKNOWN_AGENT, NETWORK, "unknown client", 2)}


def test_a_client_of_a_deleted_organization_is_one_that_nobody_registered(
    client: FlaskClient, services: Services, cast: Cast
) -> None:
    """Also at a server that remembers it, and whatever it sends: nothing of the organization comes back."""
    acme, url = cast.acme, str(services.settings.database_url)
    assert ask(client, acme.client_id, acme.client_secret)[0] == 200
    delete_organization(url, acme.organization_id, at=NOON)
    for secret in (acme.client_secret, "wrong"):
        assert ask(client, acme.client_id, secret)[0] == 401
    assert rows(services, acme.organization_id) == set()
    assert set(usage_sums(url, acme.organization_id).values()) <= {0, None}
    [(_, agent_id, _, reason, count)] = rows(services, UNKNOWN_ORGANIZATION)
    assert (agent_id, reason, count) == (UNKNOWN_AGENT, "unknown client", 2)


def test_a_throttled_failure_is_reported_as_well(client: FlaskClient, services: Services, cast: Cast) -> None:
    statuses = [ask(client, cast.acme.client_id, "wrong")[0] for _ in range(MAX_FAILURES_PER_MINUTE + 2)]
    assert statuses == [401] * MAX_FAILURES_PER_MINUTE + [429] * 2
    [row] = rows(services, cast.acme.organization_id)
    sums = usage_sums(str(services.settings.database_url), cast.acme.organization_id)
    assert row[-1] == sums["rejected"] == len(statuses)


@ON_CITUS_TOO
@pytest.mark.parametrize(
    ("changes", "reason", "advice"),
    [
        ({"at": NOON - timedelta(days=1)}, "token expired", "expired at 2026-04-14T13:00:00Z. Request a new one."),
        ({"at": NOON + timedelta(days=1)}, "token not yet valid", "is not valid before 2026-04-16T12:00:00Z."),
        ({"jkt": "x" * 43}, "token sent by the wrong scheme", "is bound to a key. Send it with the scheme DPoP"),
        ({"audience": "https://files.example"}, "token for another audience", "is for https://files.example, not for"),
    ],
)
def test_the_log_the_owner_and_the_holder_learn_why_a_token_is_refused(
    client: FlaskClient,
    services: Services,
    cast: Cast,
    caplog: pytest.LogCaptureFixture,
    changes: dict[str, Any],
    reason: str,
    advice: str,
) -> None:
    headers = {**cast.acme.bearer(**changes), "X-Forwarded-For": ADDRESS}
    response = client.get("/api/v1/agents", headers=headers)
    assert response.status_code == 401
    assert response.json["message"].startswith(f"The access token {advice}")
    [rejected] = [record.fields for record in caplog.records if record.message == "authentication rejected"]  # type: ignore[attr-defined]
    assert (rejected["agent"], rejected["reason"]) == (cast.acme.client_id, reason)
    assert rows(services, cast.acme.organization_id) == {(NOON.date(), cast.acme.agent_id, NETWORK, reason, 1)}


def test_the_holder_learns_that_a_token_or_its_agent_has_ended(
    client: FlaskClient, services: Services, cast: Cast
) -> None:
    token = cast.acme.token()
    headers = {"Authorization": f"Bearer {token}", "X-Forwarded-For": ADDRESS}
    client.post("/api/v1/token/revoke", data={"token": token}, auth=(cast.acme.client_id, cast.acme.client_secret))
    assert client.get("/api/v1/agents", headers=headers).json == REVOKED_TOKEN
    change(cast.acme, SITUATIONS["suspended agent"])
    assert client.get("/api/v1/agents", headers=headers).json == SUSPENDED_AGENT
    place = (NOON.date(), cast.acme.agent_id, NETWORK)
    assert rows(services, cast.acme.organization_id) == {(*place, "revoked token", 1), (*place, "suspended agent", 1)}


def reject(services: Services, agent: Agent, network: str, at: Any = NOON, reason: str = "wrong secret") -> None:
    """Count a rejection as the product does, from a network."""
    database = services.database.of(agent.organization_id, at)
    call = {"agent_id": agent.agent_id, "reason": reason, "secret_hash": None, "network": network}
    bounds = {"most_rows": MAX_NETWORKS, "keep_days": KEEP_NETWORKS, "nobody": UNKNOWN_AGENT}
    database.fetch("usage/record_rejected_network", **call, **bounds)


@ON_CITUS_TOO
def test_invented_networks_fill_a_day_no_further_than_its_bound(services: Services, cast: Cast) -> None:
    acme = cast.acme
    for n in range(MAX_NETWORKS + 3):
        reject(services, acme, f"10.{n // 250}.{n % 250}.0/24")
    # A network that has its row is counted there, also when the day is full.
    reject(services, acme, "10.0.0.0/24")
    agents_by_rejection = {row[2:]: row[1] for row in rows(services, acme.organization_id)}
    assert len(agents_by_rejection) == MAX_NETWORKS + 1
    assert agents_by_rejection["other", "other", 3] == UNKNOWN_AGENT
    assert agents_by_rejection["10.0.0.0/24", "wrong secret", 2] == acme.agent_id
    # Another day, and another organization, are not full.
    reject(services, acme, "192.0.2.0/24", NOON + timedelta(days=1))
    reject(services, cast.outsider, "192.0.2.0/24")
    assert len(rows(services, acme.organization_id)) == MAX_NETWORKS + 2
    assert {row[2] for row in rows(services, cast.outsider.organization_id)} == {"192.0.2.0/24"}


def test_a_network_is_kept_for_thirty_days(services: Services, cast: Cast) -> None:
    reject(services, cast.outsider, "192.0.2.0/24")
    reject(services, cast.acme, "192.0.2.0/24")
    last = NOON + timedelta(days=KEEP_NETWORKS - 1)
    reject(services, cast.acme, "198.51.100.0/24", last)
    assert {row[2] for row in rows(services, cast.acme.organization_id)} == {"192.0.2.0/24", "198.51.100.0/24"}
    reject(services, cast.acme, "198.51.100.0/24", last + timedelta(days=1))
    assert {row[2] for row in rows(services, cast.acme.organization_id)} == {"198.51.100.0/24"}
    # Nobody's rejection deletes another organization's rows.
    assert len(rows(services, cast.outsider.organization_id)) == 1


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("203.0.113.255", "203.0.113.0/24"),
        ("::ffff:203.0.113.7", "203.0.113.0/24"),
        ("2001:db8:1:ffff:1234::1", "2001:db8:1::/48"),
        ("fe80::1%eth0", "fe80::/48"),
        ("", "unknown"),
        ("unix:", "unknown"),
        ("203.0.113.7, 10.0.0.1", "unknown"),
    ],
)
def test_an_address_is_kept_as_its_network(address: str, network: str) -> None:
    assert find_network(address) == network


def test_outside_a_request_there_is_no_network(services: Services, cast: Cast) -> None:
    record_rejection(database_of(services, cast.acme.organization_id), cast.acme.agent_id, "token expired")
    assert {row[2:] for row in rows(services, cast.acme.organization_id)} == {("unknown", "token expired", 1)}
