"""``/api/v1/agents/{agentId}/credentials``."""

from __future__ import annotations

import re
import threading
import uuid
from typing import Any

import psycopg
import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from agentidp.registry.credentials import MAX_CREDENTIALS, add_credential
from tests.citus import someone_waits
from tests.conftest import Cast
from tests.factories import PATIENCE, Agent, Clock, database_of, make_agent

PUBLIC_KEY = {
    "kty": "EC",
    "crv": "P-256",
    "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
    "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
}
NOT_FOUND = {"code": "NOT_FOUND", "message": "There is nothing at this address.", "details": {}}


@pytest.fixture
def worker(cast: Cast) -> Agent:
    """An agent of Acme beside the one that manages it."""
    return make_agent(cast.acme.services, cast.acme.organization_id, "worker")


def add(client: FlaskClient, cast: Cast, agent: Agent, **body: Any) -> dict[str, Any]:
    """Make a credential over HTTP and return the answer."""
    response = client.post(f"/api/v1/agents/{agent.agent_id}/credentials", json=body, headers=cast.acme.bearer())
    assert response.status_code == 201, response.text
    assert isinstance(response.json, dict)
    return response.json


def all_of(client: FlaskClient, cast: Cast, agent: Agent) -> list[dict[str, Any]]:
    """The agent's credentials as listed."""
    response = client.get(f"/api/v1/agents/{agent.agent_id}/credentials", headers=cast.acme.bearer())
    assert response.status_code == 200
    assert response.json is not None
    assert set(response.json) == {"data"}
    found: list[dict[str, Any]] = response.json["data"]
    return found


def ask(client: FlaskClient, agent: Agent, client_secret: str) -> TestResponse:
    """A token request."""
    form = {"grant_type": "client_credentials", "client_id": agent.client_id, "client_secret": client_secret}
    return client.post("/api/v1/token", data=form)


def test_shows_its_secret_once(client: FlaskClient, cast: Cast, worker: Agent, database_url: str) -> None:
    response = client.post(f"/api/v1/agents/{worker.agent_id}/credentials", headers=cast.acme.bearer())
    assert response.status_code == 201
    credential_id, client_secret = response.json["credentialId"], response.json["clientSecret"]
    assert response.json == {
        "credentialId": credential_id,
        "type": "secret",
        "label": None,
        "jwks": None,
        "createdAt": "2026-04-15T12:00:00.000000Z",
        "expiresAt": None,
        "lastUsedAt": None,
        "clientId": worker.client_id,
        "clientSecret": client_secret,
    }
    assert re.fullmatch(r"aidp_[0-9A-Za-z]{49}", client_secret)
    path = f"/api/v1/agents/{worker.agent_id}/credentials/{credential_id}"
    assert response.headers["Location"] == path
    assert response.headers["Cache-Control"] == "no-store"
    assert client_secret not in client.get(path.rpartition("/")[0], headers=cast.acme.bearer()).text
    with psycopg.connect(database_url) as connection:
        stored = connection.execute(
            "select c::text from credentials c where organization_id = %s", [worker.organization_id]
        ).fetchall()
    assert len(stored) == 3
    assert not any(client_secret in row or client_secret.encode().hex() in row for (row,) in stored)


def test_a_label_is_kept_and_shown(client: FlaskClient, cast: Cast, worker: Agent) -> None:
    made = add(client, cast, worker, label="CI of the shop")
    assert made["label"] == "CI of the shop"
    assert {credential["label"] for credential in all_of(client, cast, worker)} == {None, "CI of the shop"}
    assert add(client, cast, worker, label=None)["label"] is None


def test_no_two_secrets_are_the_same(client: FlaskClient, cast: Cast, worker: Agent) -> None:
    made = [add(client, cast, worker) for _ in range(5)]
    assert len({credential["clientSecret"] for credential in made}) == 5


def test_lists_all_that_are_not_revoked_oldest_first(
    client: FlaskClient, cast: Cast, worker: Agent, clock: Clock
) -> None:
    [first] = all_of(client, cast, worker)
    made = []
    for _ in range(3):
        clock.advance(seconds=1)
        credential = add(client, cast, worker)
        del credential["clientId"], credential["clientSecret"]
        made.append(credential)
    path = f"/api/v1/agents/{worker.agent_id}/credentials/{made[1]['credentialId']}"
    assert client.delete(path, headers=cast.acme.bearer()).status_code == 204
    assert all_of(client, cast, worker) == [first, made[0], made[2]]


def test_an_agent_without_any_has_an_empty_list(client: FlaskClient, cast: Cast, worker: Agent) -> None:
    [only] = all_of(client, cast, worker)
    path = f"/api/v1/agents/{worker.agent_id}/credentials/{only['credentialId']}"
    revoked = client.delete(path, headers=cast.acme.bearer())
    assert (revoked.status_code, revoked.data) == (204, b"")
    assert all_of(client, cast, worker) == []


def test_several_work_at_a_time_so_that_one_is_replaced_without_downtime(
    client: FlaskClient, cast: Cast, worker: Agent
) -> None:
    [old] = all_of(client, cast, worker)
    new = add(client, cast, worker)
    assert ask(client, worker, worker.client_secret).status_code == 200
    assert ask(client, worker, new["clientSecret"]).status_code == 200
    live = ask(client, worker, worker.client_secret).json["access_token"]
    path = f"/api/v1/agents/{worker.agent_id}/credentials/{old['credentialId']}"
    assert client.delete(path, headers=cast.acme.bearer()).status_code == 204
    refused = ask(client, worker, worker.client_secret)
    assert (refused.status_code, refused.json["error"]) == (401, "invalid_client")
    assert ask(client, worker, new["clientSecret"]).status_code == 200
    # What it got lives until it expires.
    assert client.get("/api/v1/agents", headers={"Authorization": f"Bearer {live}"}).status_code == 200
    assert client.delete(path, headers=cast.acme.bearer()).status_code == 404


@pytest.mark.parametrize(
    ("sent", "answered"),
    [
        ("2026-04-15T12:00:00.000001Z", "2026-04-15T12:00:00.000001Z"),
        ("2026-04-16T00:00:00+05:30", "2026-04-15T18:30:00.000000Z"),
        ("2026-04-15t12:30:00.5z", "2026-04-15T12:30:00.500000Z"),
        ("9999-12-31T23:59:59.999999Z", "9999-12-31T23:59:59.999999Z"),
        (None, None),
    ],
)
def test_may_expire(client: FlaskClient, cast: Cast, worker: Agent, sent: str | None, answered: str | None) -> None:
    made = add(client, cast, worker, expiresAt=sent)
    assert made["expiresAt"] == answered
    listed = {credential["credentialId"]: credential["expiresAt"] for credential in all_of(client, cast, worker)}
    assert listed[made["credentialId"]] == answered


@pytest.mark.parametrize("sent", ["2026-04-15T12:00:00Z", "2026-04-15T11:59:59.999999Z"])
def test_must_expire_in_the_future(client: FlaskClient, cast: Cast, worker: Agent, sent: str) -> None:
    path = f"/api/v1/agents/{worker.agent_id}/credentials"
    response = client.post(path, json={"expiresAt": sent}, headers=cast.acme.bearer())
    assert (response.status_code, response.json["details"]) == (400, {"expiresAt": ["must be in the future"]})


def test_gets_no_token_from_the_moment_it_expires(client: FlaskClient, cast: Cast, worker: Agent, clock: Clock) -> None:
    made = add(client, cast, worker, expiresAt="2026-04-15T12:30:00Z")
    clock.advance(minutes=29, seconds=59.999999)
    assert ask(client, worker, made["clientSecret"]).status_code == 200
    clock.advance(microseconds=1)
    refused = ask(client, worker, made["clientSecret"])
    assert (refused.status_code, refused.json["error"]) == (401, "invalid_client")
    assert ask(client, worker, worker.client_secret).status_code == 200


def test_last_used_is_right_to_the_minute(client: FlaskClient, cast: Cast, worker: Agent, clock: Clock) -> None:
    def last_used() -> str | None:
        [only] = all_of(client, cast, worker)
        found: str | None = only["lastUsedAt"]
        return found

    assert last_used() is None
    ask(client, worker, "wrong")
    assert last_used() is None
    seen = []
    for seconds in (0, 59, 2, 30):
        clock.advance(seconds=seconds)
        assert ask(client, worker, worker.client_secret).status_code == 200
        seen.append(last_used())
    assert seen == [
        "2026-04-15T12:00:00.000000Z",
        "2026-04-15T12:00:00.000000Z",
        "2026-04-15T12:01:01.000000Z",
        "2026-04-15T12:01:01.000000Z",
    ]


def test_an_agent_has_at_most_so_many(client: FlaskClient, cast: Cast, worker: Agent) -> None:
    for _ in range(MAX_CREDENTIALS - 1):
        last = add(client, cast, worker)
    path = f"/api/v1/agents/{worker.agent_id}/credentials"
    response = client.post(path, headers=cast.acme.bearer())
    assert (response.status_code, response.json) == (
        409,
        {
            "code": "CONFLICT",
            "message": f"The agent has {MAX_CREDENTIALS} credentials; revoke one first.",
            "details": {"credentials": [f"at most {MAX_CREDENTIALS} at a time"]},
        },
    )
    client.delete(f"{path}/{last['credentialId']}", headers=cast.acme.bearer())
    add(client, cast, worker)


def test_the_limit_holds_where_two_ask_at_once(
    app: Flask, client: FlaskClient, cast: Cast, worker: Agent, database_url: str
) -> None:
    for _ in range(MAX_CREDENTIALS - 2):
        add(client, cast, worker)
    path, headers = f"/api/v1/agents/{worker.agent_id}/credentials", cast.acme.bearer()
    answers: list[int] = []
    second = threading.Thread(target=lambda: answers.append(app.test_client().post(path, headers=headers).status_code))
    with database_of(cast.acme.services, worker.organization_id).transaction() as first:
        add_credential(first, worker.agent_id, expires_at=None)
        second.start()
        while not someone_waits(database_url):
            assert second.is_alive()
    second.join(PATIENCE)
    assert answers == [409]
    assert len(all_of(client, cast, worker)) == MAX_CREDENTIALS


@pytest.mark.parametrize("whose", ["nobody's", "deleted"])
def test_of_an_agent_that_is_not_there(client: FlaskClient, cast: Cast, worker: Agent, whose: str) -> None:
    [credential] = all_of(client, cast, worker)
    client.delete(f"/api/v1/agents/{worker.agent_id}", headers=cast.acme.bearer())
    agent_id = uuid.uuid4() if whose == "nobody's" else worker.agent_id
    path = f"/api/v1/agents/{agent_id}/credentials"
    for method, address in (("GET", path), ("POST", path), ("DELETE", f"{path}/{credential['credentialId']}")):
        response = client.open(address, method=method, headers=cast.acme.bearer())
        assert (response.status_code, response.json) == (404, NOT_FOUND)


RULE = {
    "type": "federated",
    "issuer": "https://token.actions.githubusercontent.com",
    "subject": "repo:acme/app:ref:refs/heads/main",
    "claims": {"repository_id": "7", "ref_protected": ["true"]},
    "audience": "https://idp.example",
    "jwksUri": "https://issuer.example/keys",
}


def test_a_rule_of_trust_is_shown_as_it_was_made(
    client: FlaskClient, cast: Cast, worker: Agent, database_url: str
) -> None:
    path = f"/api/v1/agents/{worker.agent_id}/credentials"
    response = client.post(path, json=RULE | {"label": "CI"}, headers=cast.acme.bearer())
    assert response.status_code == 201, response.text
    shown = {
        **RULE,
        "credentialId": response.json["credentialId"],
        "label": "CI",
        "jwks": None,
        "createdAt": "2026-04-15T12:00:00.000000Z",
        "expiresAt": None,
        "lastUsedAt": None,
        "warnings": [],
    }
    assert response.json == shown | {"clientId": worker.client_id}
    assert shown in all_of(client, cast, worker)
    events = client.get("/api/v1/audit?limit=1", headers=cast.acme.bearer()).json["data"]
    recorded = {name: shown[name] for name in ("label", "jwks", "expiresAt", *RULE)}
    assert (events[0]["action"], events[0]["after"]) == (
        "credential.created",
        recorded | {"agentId": worker.client_id},
    )


def test_a_rule_without_more_is_for_this_server_and_the_issuers_published_keys(
    client: FlaskClient, cast: Cast, worker: Agent
) -> None:
    made = add(client, cast, worker, type="federated", issuer="https://issuer.example", claims={"team": "a"})
    assert (made["audience"], made["jwks"]) == (cast.acme.services.settings.issuer, None)
    assert not {"subject", "jwksUri", "clientSecret"} & set(made)
    assert made["warnings"] == ["there is no subject, so every workload of the issuer with these claims is trusted"]


@pytest.mark.parametrize(
    ("body", "details"),
    [
        ({"type": "federated"}, {"issuer": ["must be there for the type federated"]}),
        ({"type": "x"}, {"type": ["must be one of secret, key, federated"]}),
        ({"issuer": "https://issuer.example"}, {"issuer": ["must be there for the type federated only"]}),
        ({"type": "key"}, {"type": ["must be key if there is a jwk or jwks, and otherwise secret"]}),
        (
            {"type": "federated", "issuer": "https://issuer.example"},
            {"subject": ["must be there, or claims: otherwise every token of the issuer would be trusted"]},
        ),
        (
            RULE | {"jwk": {}},
            {"jwk": ["must not be there for the type federated: its keys are in jwks"]},
        ),
        (
            RULE | {"claims": {"a": {}}},
            {"claims": ["a must be a string, a whole number or a boolean, or a list of these"]},
        ),
        (RULE | {"claims": []}, {"claims": ["Not a valid mapping type."]}),
        (RULE | {"issuer": 7}, {"issuer": ["Not a valid string."]}),
        (RULE | {"subject": "a\u0000"}, {"subject": ["must not hold control characters or lone surrogates"]}),
    ],
    ids=str,
)
def test_a_wrong_rule_is_refused_by_the_name_of_the_member(
    client: FlaskClient, cast: Cast, worker: Agent, body: dict[str, Any], details: dict[str, list[str]]
) -> None:
    path = f"/api/v1/agents/{worker.agent_id}/credentials"
    response = client.post(path, json=body, headers=cast.acme.bearer())
    assert (response.status_code, response.json["details"]) == (400, details)
    assert len(all_of(client, cast, worker)) == 1


@pytest.mark.parametrize("type_", ["secret", "key"])
def test_the_other_types_may_be_named(client: FlaskClient, cast: Cast, worker: Agent, type_: str) -> None:
    keys = {"jwk": PUBLIC_KEY} if type_ == "key" else {}
    made = add(client, cast, worker, type=type_, **keys)
    assert (made["type"], "clientSecret" in made) == (type_, type_ == "secret")
