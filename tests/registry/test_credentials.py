"""``/api/v1/agents/{agentId}/credentials``."""

from __future__ import annotations

import re
import uuid
from typing import Any

import pytest
from flask.testing import FlaskClient

from tests.factories import Agent, Api, Clock, execute
from tests.registry.conftest import NOT_FOUND

PUBLIC_KEY = {
    "kty": "EC",
    "crv": "P-256",
    "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
    "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
}


class Credentials:
    """The worker's credentials, managed by Acme."""

    def __init__(self, acme: Api, worker: Agent) -> None:
        self.acme, self.path, self.worker = acme, f"agents/{worker.agent_id}/credentials", Api(acme.client, worker)

    def add(self, **body: Any) -> dict[str, Any]:
        response = self.acme.post(self.path, body)
        assert response.status_code == 201, response.text
        credential: dict[str, Any] = response.json
        return credential

    def all(self) -> list[dict[str, Any]]:
        listed: dict[str, list[dict[str, Any]]] = self.acme.get(self.path).json
        return listed["data"]

    def revoke(self, credential: dict[str, Any]) -> int:
        status: int = self.acme.delete(f"{self.path}/{credential['credentialId']}").status_code
        return status

    def works(self, client_secret: str | None = None) -> bool:
        """Return whether the worker gets a token with a secret. Default: the worker's first secret."""
        response = self.worker.token(**({"client_secret": client_secret} if client_secret else {}))
        assert response.status_code == 200 or (response.status_code, response.json["error"]) == (401, "invalid_client")
        return bool(response.status_code == 200)


@pytest.fixture
def credentials(acme: Api, worker: Agent) -> Credentials:
    """The credentials of the worker, which has one secret."""
    return Credentials(acme, worker)


def test_shows_its_secret_once(credentials: Credentials, worker: Agent, database_url: str) -> None:
    response = credentials.acme.post(credentials.path)
    credential_id, client_secret = response.json["credentialId"], response.json["clientSecret"]
    assert (response.status_code, response.json) == (
        201,
        {
            "credentialId": credential_id,
            "type": "secret",
            "label": None,
            "jwks": None,
            "createdAt": "2026-04-15T12:00:00.000000Z",
            "expiresAt": None,
            "lastUsedAt": None,
            "clientId": worker.client_id,
            "clientSecret": client_secret,
        },
    )
    assert re.fullmatch(r"aidp_[0-9A-Za-z]{49}", client_secret)
    assert response.headers["Location"] == f"/api/v1/{credentials.path}/{credential_id}"
    assert response.headers["Cache-Control"] == "no-store"
    assert client_secret not in credentials.acme.get(credentials.path).text
    whose = worker.organization_id
    stored = execute(database_url, "select c::text from credentials c where organization_id = %s", whose)
    assert len(stored) == 3
    assert not any(client_secret in row or client_secret.encode().hex() in row for (row,) in stored)


def test_lists_all_that_are_not_revoked_oldest_first(credentials: Credentials, clock: Clock) -> None:
    listed = credentials.all()
    for label in ("CI of the shop", None, None):
        clock.advance(seconds=1)
        credential = credentials.add(label=label)
        del credential["clientId"], credential["clientSecret"]
        assert credential["label"] == label
        listed.append(credential)
    assert credentials.all() == listed
    revoked = listed.pop(2)
    assert credentials.revoke(revoked) == 204
    event = credentials.acme.last_event()
    settings = {name: revoked[name] for name in ("type", "label", "jwks", "expiresAt")}
    assert (event["action"], event["subject"]) == ("credential.revoked", revoked["credentialId"])
    assert (event["before"], event["after"]) == (settings | {"agentId": credentials.worker.agent.client_id}, None)
    assert credentials.all() == listed
    assert [credentials.revoke(credential) for credential in listed] == [204] * 3
    assert credentials.all() == []


def test_revoking_ends_the_tokens_of_the_agent_too_if_asked(credentials: Credentials, worker: Agent) -> None:
    [old] = credentials.all()
    bearer = worker.bearer()
    path = f"{credentials.path}/{old['credentialId']}"
    response = credentials.acme.send("DELETE", path, endTokens="1")
    assert response.json["details"] == {"endTokens": ["must be true or false"]}
    assert credentials.acme.client.get("/api/v1/agents", headers=bearer).status_code == 200
    assert credentials.acme.send("DELETE", path, endTokens="true").status_code == 204
    assert credentials.acme.client.get("/api/v1/agents", headers=bearer).status_code == 401
    assert credentials.all() == []
    # The agent has other tokens that ended, so nothing ends twice.
    assert credentials.acme.send("DELETE", path, endTokens="true").status_code == 404


def test_several_work_at_a_time_so_that_one_is_replaced_without_downtime(
    client: FlaskClient, credentials: Credentials
) -> None:
    [old] = credentials.all()
    new = credentials.add()["clientSecret"]
    assert credentials.works(new)
    live = credentials.worker.token().json["access_token"]
    assert credentials.revoke(old) == 204
    assert (credentials.works(), credentials.works(new)) == (False, True)
    # Its issued token works until it expires.
    assert client.get("/api/v1/agents", headers={"Authorization": f"Bearer {live}"}).status_code == 200
    assert credentials.revoke(old) == 404


def test_may_expire(credentials: Credentials) -> None:
    new = credentials.add(expiresAt="2026-04-16T00:00:00+05:30")
    assert new["expiresAt"] == "2026-04-15T18:30:00.000000Z"
    assert {credential["expiresAt"] for credential in credentials.all()} == {None, new["expiresAt"]}


def test_last_used_is_right_to_the_minute(credentials: Credentials, clock: Clock) -> None:
    assert not credentials.works("wrong")
    last_used = [credentials.all()[0]["lastUsedAt"]]
    for seconds in (0, 59, 2, 30):
        clock.advance(seconds=seconds)
        assert credentials.works()
        last_used.append(credentials.all()[0]["lastUsedAt"])
    first, second = "2026-04-15T12:00:00.000000Z", "2026-04-15T12:01:01.000000Z"
    assert last_used == [None, first, first, second, second]


def test_an_agent_has_at_most_so_many(credentials: Credentials, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agentidp.registry.credentials.MAX_CREDENTIALS", 1)
    response = credentials.acme.post(credentials.path)
    assert (response.status_code, response.json) == (
        409,
        {
            "code": "CONFLICT",
            "message": "The agent has 1 credentials; revoke one first.",
            "details": {"credentials": ["at most 1 at a time"]},
        },
    )
    credentials.revoke(*credentials.all())
    credentials.add()


def test_of_an_agent_that_is_not_there(credentials: Credentials, acme: Api, worker: Agent) -> None:
    [credential] = credentials.all()
    acme.delete(f"agents/{worker.agent_id}")
    for path in (credentials.path, f"agents/{uuid.uuid4()}/credentials"):
        credential_path = f"{path}/{credential['credentialId']}"
        for response in (acme.get(path), acme.post(path), acme.delete(credential_path)):
            assert (response.status_code, response.json) == (404, NOT_FOUND)


RULE = {
    "type": "federated",
    "issuer": "https://token.actions.githubusercontent.com",
    "subject": "repo:acme/app:ref:refs/heads/main",
    "claims": {"repository_id": "7", "ref_protected": ["true"]},
    "audience": "https://idp.example",
    "jwksUri": "https://issuer.example/keys",
}


def test_a_rule_of_trust_is_shown_as_it_was_made(credentials: Credentials, worker: Agent) -> None:
    credential = credentials.add(**RULE, label="CI")
    shown = {
        **RULE,
        "credentialId": credential["credentialId"],
        "label": "CI",
        "jwks": None,
        "createdAt": "2026-04-15T12:00:00.000000Z",
        "expiresAt": None,
        "lastUsedAt": None,
        "warnings": [],
    }
    assert credential == shown | {"clientId": worker.client_id}
    assert shown in credentials.all()
    event = credentials.acme.last_event()
    recorded = {name: shown[name] for name in ("label", "jwks", "expiresAt", *RULE)}
    assert (event["action"], event["after"]) == ("credential.created", recorded | {"agentId": worker.client_id})


def test_a_rule_without_more_is_for_this_server_and_the_issuers_published_keys(credentials: Credentials) -> None:
    credential = credentials.add(type="federated", issuer="https://issuer.example", claims={"team": "a"})
    assert (credential["audience"], credential["jwks"]) == (credentials.acme.agent.services.settings.issuer, None)
    assert not {"subject", "jwksUri", "clientSecret"} & set(credential)
    assert credential["warnings"] == [
        "there is no subject, so whoever has a token of the issuer with these claims is trusted"
    ]


@pytest.mark.parametrize(
    ("body", "member", "rule"),
    [
        ({"expiresAt": "2026-04-15T12:00:00Z"}, "expiresAt", "must be in the future"),
        ({"type": "federated"}, "issuer", "must be there for the type federated"),
        ({"type": "x"}, "type", "must be one of secret, key, federated, public"),
        ({"issuer": "https://issuer.example"}, "issuer", "is allowed only for the type federated"),
        ({"type": "key"}, "type", "must be key if there is a jwk or jwks, and otherwise secret or public"),
        (
            {"type": "federated", "issuer": "https://issuer.example"},
            "subject",
            "must be there, or claims: otherwise every token of the issuer would be trusted",
        ),
        (RULE | {"jwk": {}}, "jwk", "is not allowed for the type federated, whose keys are in jwks"),
        (RULE | {"issuer": 7}, "issuer", "Not a valid string."),
    ],
    ids=str,
)
def test_a_wrong_one_is_refused_by_the_name_of_the_member(
    credentials: Credentials, body: dict[str, Any], member: str, rule: str
) -> None:
    response = credentials.acme.post(credentials.path, body)
    assert (response.status_code, response.json["details"]) == (400, {member: [rule]})
    assert len(credentials.all()) == 1


@pytest.mark.parametrize(("type_", "keys"), [("secret", {}), ("key", {"jwk": PUBLIC_KEY})])
def test_the_other_types_may_be_named(credentials: Credentials, type_: str, keys: dict[str, Any]) -> None:
    credential = credentials.add(type=type_, **keys)
    assert (credential["type"], "clientSecret" in credential) == (type_, type_ == "secret")
