"""oauth4webapi, unmodified, against a running provider: what a TypeScript developer does."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jwt
import pytest

from agentidp.config import Settings
from agentidp.oauth import client_assertion
from agentidp.oauth.federated_token import SPIFFE_TYPE
from agentidp.oauth.issuance import ISSUED_TOKEN_TYPE
from tests.federation.issuer import Issuer
from tests.oauth.conftest import KEYS, Provider, acting, install, play

pytestmark = pytest.mark.node

METHODS = ["basic", "post", "ES256", "ES384", "RS256", "PS256", "Ed25519"]
SOURCE = Path(__file__).parent / "oauth4webapi"

Run = Callable[..., Any]


@pytest.fixture(scope="module")
def run(provider: Provider, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A function that runs a scenario of client.mjs and returns its output."""
    directory = install(SOURCE, tmp_path_factory.mktemp("oauth4webapi"))
    return lambda scenario, **given: play(directory, "client.mjs", {"scenario": scenario, "url": provider.url, **given})


def with_key(provider: Provider, alg: str) -> dict[str, str]:
    """Return a new agent that authenticates with a key."""
    client_id, key = provider.register()["client_id"], KEYS[alg]()
    provider.register_key(client_id, jwk=key.as_dict(private=False, kid="mine", alg=alg))
    pem = key.as_pem(private=True).decode()
    return {"client_id": client_id, "method": alg, "private_key": pem, "kid": "mine"}


@pytest.mark.parametrize("discovery", ["oauth2", "oidc"])
def test_discovers_the_provider_and_its_api(provider: Provider, run: Run, discovery: str) -> None:
    output = run("discovery", client_id="any", discovery=discovery)
    assert output["as"]["issuer"] == provider.url
    assert output["as"]["token_endpoint"] == f"{provider.url}/api/v1/token"
    assert output["resource"]["resource"] == f"{provider.url}/api/v1"
    assert output["resource"]["authorization_servers"] == [provider.url]


@pytest.mark.parametrize("method", METHODS)
def test_gets_a_token_and_validates_it_after_rfc_9068(provider: Provider, run: Run, method: str) -> None:
    who = with_key(provider, method) if method in KEYS else provider.register() | {"method": method}
    output = run("token", **who)
    token = output["issued"].pop("access_token")
    # The library writes token_type in lower case.
    assert output["issued"] == {"token_type": "bearer", "expires_in": Settings.token_ttl, "scope": "agents:read"}
    assert output["claims"] == jwt.decode(token, options={"verify_signature": False})
    assert output["claims"]["sub"] == who["client_id"]


@pytest.mark.parametrize("as_a", [client_assertion.TYPE, SPIFFE_TYPE, "grant"])
def test_gets_a_token_with_the_token_of_its_platform(provider: Provider, run: Run, as_a: str) -> None:
    platform, subject = Issuer.with_curve(), "spiffe://acme.example/ns/shop/sa/builder"
    of = "spiffe://acme.example" if as_a == SPIFFE_TYPE else platform.url
    client_id = provider.register()["client_id"]
    rule = {"type": "federated", "issuer": of, "subject": subject, "jwks": platform.jwks()}
    provider.register_key(client_id, **rule)
    scenario, options = ("grant", {}) if as_a == "grant" else ("token", {"assertion_type": as_a})
    token = platform.token(provider.url, int(time.time()), sub=subject)
    output = run(scenario, client_id=client_id, assertion=token, **options)
    assert output["claims"]["sub"] == client_id
    assert output["issued"]["scope"] == "agents:read"
    other = platform.token(provider.url, int(time.time()), sub=subject + "2")
    refused = run(scenario, client_id=client_id, assertion=other, **options)
    assert refused["status"] == (400 if as_a == "grant" else 401)


def test_gets_a_token_to_act_for_another_agent_also_by_openid_client(provider: Provider, run: Run) -> None:
    scene = acting(provider)
    output = run("exchange", **scene.actor, method="basic", parameters=scene.form, audience=scene.form["resource"])
    assert output["claims"]["act"] == {"sub": scene.actor["client_id"]}
    assert output["claims"]["sub"] == scene.subject["client_id"]
    for issued in (output["issued"], output["other"]):
        assert (issued["issued_token_type"], issued["scope"]) == (ISSUED_TOKEN_TYPE, scene.scope)
    refused = run("exchange", **scene.subject, method="basic", parameters=scene.form)
    assert refused == {"status": 400, "error": "invalid_request"}


@pytest.mark.parametrize("method", ["basic", "post"])
def test_gets_none_with_a_wrong_secret(provider: Provider, run: Run, method: str) -> None:
    who = provider.register() | {"method": method, "client_secret": "wrong"}
    output = run("token", **who)
    assert output["status"] == 401
    # A challenge of any scheme comes before the body, for this library.
    assert output["error"] == [{"scheme": "basic", "parameters": {"realm": "agentidp", "charset": "UTF-8"}}]


def test_learns_which_quota_refuses_a_token_and_when_to_try_again(provider: Provider, run: Run) -> None:
    who = provider.register()
    provider.call("PUT", f"/api/v1/agents/{who['client_id']}/quotas/month", tokens=1, enforce=True)
    assert run("token", **who, method="basic")["issued"]["access_token"]
    output = run("token", **who, method="basic")
    retry_after = output.pop("retry_after")
    assert 0 < int(retry_after) <= 31 * 86_400
    assert output.pop("description").startswith("the agent's quota of 1 tokens per month has been used; ")
    assert output == {"status": 429, "error": "temporarily_unavailable"}


@pytest.mark.parametrize("method", ["basic", "ES256"])
def test_introspects_a_token(provider: Provider, run: Run, method: str) -> None:
    who = with_key(provider, method) if method in KEYS else provider.register() | {"method": method}
    output = run("introspection", **who)
    assert {name: output[name] for name in ("active", "client_id", "scope", "token_type", "iss")} == {
        "active": True,
        "client_id": who["client_id"],
        "scope": "agents:read",
        "token_type": "Bearer",
        "iss": provider.url,
    }


def test_revokes_a_token(provider: Provider, run: Run) -> None:
    output = run("revocation", **provider.register(), method="post")
    assert output == {"before": True, "after": {"active": False}}


@pytest.mark.parametrize(("alg", "is_required"), [("ES256", False), *((alg, True) for alg in METHODS[2:])])
def test_binds_a_token_to_a_key_and_uses_it(provider: Provider, run: Run, alg: str, is_required: bool) -> None:
    who = provider.register(dpopBoundAccessTokens=is_required)
    output = run("dpop", **who, method="basic", alg=alg)
    assert output["issued"]["token_type"] == "dpop"
    assert (output["answers"], output["as_bearer"]) == ([200, 200], 401)
    assert output["is_bound"] is True
    assert (output["introspected"]["token_type"], list(output["introspected"]["cnf"])) == ("DPoP", ["jkt"])


def test_gets_no_bearer_token_where_the_agent_must_bind_it(provider: Provider, run: Run) -> None:
    who = provider.register(dpopBoundAccessTokens=True)
    assert run("token", **who, method="basic") == {"status": 400, "error": "invalid_dpop_proof"}


def test_a_rotation_under_load_loses_nothing_and_shows_that_the_traffic_has_moved(provider: Provider, run: Run) -> None:
    who = provider.register()
    client_id, old_secret = who["client_id"], who["client_secret"]
    path = f"/api/v1/agents/{client_id}/credentials"
    [old] = provider.call("GET", path)["data"]

    def load(*secrets: str) -> list[int]:
        issued = run("load", client_id=client_id, secrets=list(secrets), instances=8, each=20)
        assert sum(issued) == 8 * 20
        return list(issued)

    def counted() -> dict[str, int]:
        items = provider.call("GET", f"/api/v1/analytics/credentials?days=2&agent={client_id}")["data"]
        return {item["credentialId"]: item["tokens"] for item in items}

    assert load(old_secret) == [160]
    assert counted() == {old["credentialId"]: 160}

    new = provider.call("POST", path, label="new")
    by_old, by_new = load(old_secret, new["clientSecret"])
    assert min(by_old, by_new) > 0
    assert counted() == {old["credentialId"]: 160 + by_old, new["credentialId"]: by_new}

    assert load(new["clientSecret"]) == [160]
    stands_still = {old["credentialId"]: 160 + by_old, new["credentialId"]: by_new + 160}
    assert counted() == stands_still
    impact = provider.call("GET", f"{path}/{old['credentialId']}/impact")
    assert impact["tokens"] == 160 + by_old
    assert any("The agent has another credential in use: new, last used at" in line for line in impact["summary"])

    provider.call("DELETE", f"{path}/{old['credentialId']}")
    assert load(new["clientSecret"]) == [160]
    assert counted() == stands_still | {new["credentialId"]: by_new + 320}
    refused = run("token", client_id=client_id, client_secret=old_secret, method="basic")
    assert refused["status"] == 401
