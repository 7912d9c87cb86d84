"""Authlib and requests-oauthlib get tokens, unmodified, from a running provider."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import jwt
import pytest
import requests
from authlib.common.urls import add_params_to_qs
from authlib.integrations.base_client import OAuthError
from authlib.integrations.requests_client import OAuth2Session as AuthlibSession
from authlib.oauth2.rfc7523 import PrivateKeyJWT
from oauthlib.oauth2 import InvalidClientError

from agentidp.config import Settings
from agentidp.oauth import client_assertion
from agentidp.oauth.issuance import JWT_BEARER, TOKEN_EXCHANGE
from tests.federation.issuer import SUBJECT, Issuer
from tests.helpers.client_libraries import (
    by_authlib_basic,
    by_authlib_post,
    by_requests_oauthlib_basic,
    by_requests_oauthlib_post,
    read,
    verified_by_discovery_only,
)
from tests.oauth.conftest import KEYS, Provider, acting

CLIENTS = [by_authlib_basic, by_authlib_post, by_requests_oauthlib_basic, by_requests_oauthlib_post]

# RFC 9864 has a new name for it; Authlib takes both and warns of the old one.
pytestmark = pytest.mark.filterwarnings("ignore:EdDSA is deprecated:joserfc.errors.SecurityWarning")


@pytest.fixture(autouse=True)
def insecure_transport(monkeypatch: pytest.MonkeyPatch) -> None:
    """Allow plain HTTP, which oauthlib otherwise refuses even for localhost."""
    monkeypatch.setenv("OAUTHLIB_INSECURE_TRANSPORT", "1")


def by_authlib_key(
    url: str, client_id: str, key: Any, alg: str, audience: str | None = None, tokens: int = 1
) -> list[str]:
    """Return access tokens by ``private_key_jwt``, from a single session.

    :param audience: the audience of the assertions; the issuer by default. Authlib calls it ``token_endpoint``. With
        ``claims`` instead, Authlib would send the first ``jti`` again.
    """
    method = PrivateKeyJWT(token_endpoint=audience or url, alg=alg)
    with AuthlibSession(client_id, key, token_endpoint_auth_method=method) as session:
        return [
            session.fetch_token(f"{url}/api/v1/token", grant_type="client_credentials")["access_token"]
            for _ in range(tokens)
        ]


@pytest.mark.parametrize("client", CLIENTS)
def test_a_client_gets_a_token_with_its_secret_and_uses_it(
    provider: Provider, client: Callable[[str, dict[str, str]], dict[str, Any]]
) -> None:
    who = provider.register()
    issued = client(provider.url, who)
    token = issued.pop("access_token")
    del issued["expires_at"]
    scope = issued.pop("scope")
    assert (" ".join(scope) if isinstance(scope, list) else scope) == "agents:read"
    assert issued == {"token_type": "Bearer", "expires_in": Settings.token_ttl}
    assert verified_by_discovery_only(provider.url, token)["sub"] == who["client_id"]
    assert read(provider.url, f"/api/v1/agents/{who['client_id']}", token)["agentId"] == who["client_id"]


@pytest.mark.parametrize("client", CLIENTS)
def test_a_client_with_a_wrong_secret_learns_that_in_its_own_words(
    provider: Provider, client: Callable[[str, dict[str, str]], dict[str, Any]]
) -> None:
    who = provider.register() | {"client_secret": "wrong"}
    with pytest.raises((OAuthError, InvalidClientError), match="client authentication failed") as refused:
        client(provider.url, who)
    assert refused.value.error == "invalid_client"


@pytest.mark.parametrize("form", ["jwk", "jwks"])
@pytest.mark.parametrize("alg", KEYS)
def test_authlib_gets_tokens_with_a_key(provider: Provider, alg: str, form: str) -> None:
    who, key = provider.register(), KEYS[alg]()
    jwk = key.as_dict(private=False, kid="mine", alg=alg)
    provider.register_key(who["client_id"], **{form: jwk if form == "jwk" else {"keys": [jwk]}})
    tokens = by_authlib_key(provider.url, who["client_id"], key, alg, tokens=2)
    assert len(set(tokens)) == 2
    for token in tokens:
        assert verified_by_discovery_only(provider.url, token)["sub"] == who["client_id"]


def test_authlib_gets_none_with_its_default_audience(provider: Provider) -> None:
    """The token endpoint, which draft-ietf-oauth-rfc7523bis forbids."""
    who, key = provider.register(), KEYS["ES256"]()
    provider.register_key(who["client_id"], jwk=key.as_dict(private=False))
    with pytest.raises(OAuthError, match=f"invalid_client: the audience of the assertion must be {provider.url}"):
        by_authlib_key(provider.url, who["client_id"], key, "ES256", audience=f"{provider.url}/api/v1/token")
    assert by_authlib_key(provider.url, who["client_id"], key, "ES256")


def as_assertion(url: str, client_id: str, token: str) -> dict[str, Any]:
    """Return the response to Authlib's session with an authentication method that Authlib lacks."""

    def authenticate(auth: Any, _method: str, uri: str, headers: Any, body: str) -> tuple[str, Any, str]:
        parameters = {
            "client_id": auth.client_id,
            "client_assertion_type": client_assertion.TYPE,
            "client_assertion": token,
        }
        return uri, headers, add_params_to_qs(body, list(parameters.items()))

    with AuthlibSession(client_id, token_endpoint_auth_method="platform") as session:
        session.register_client_auth_method(("platform", authenticate))
        return dict(session.fetch_token(f"{url}/api/v1/token", grant_type="client_credentials"))


def as_grant(url: str, client_id: str, token: str) -> dict[str, Any]:
    """Return the response to Authlib's session without client authentication."""
    with AuthlibSession(client_id, token_endpoint_auth_method="none") as session:
        return dict(session.fetch_token(f"{url}/api/v1/token", grant_type=JWT_BEARER, assertion=token))


@pytest.mark.parametrize(("get", "error"), [(as_assertion, "invalid_client"), (as_grant, "invalid_grant")])
def test_authlib_gets_a_token_with_the_token_of_a_platform(
    provider: Provider, get: Callable[[str, str, str], dict[str, Any]], error: str
) -> None:
    who, issuer = provider.register(), Issuer.with_curve()
    rule = {"type": "federated", "issuer": issuer.url, "subject": SUBJECT, "jwks": issuer.jwks()}
    provider.register_key(who["client_id"], **rule)
    token = issuer.token(provider.url, int(time.time()))
    # A platform's token may be used again.
    for _ in range(2):
        issued = get(provider.url, who["client_id"], token)
        assert verified_by_discovery_only(provider.url, issued["access_token"])["sub"] == who["client_id"]
    with pytest.raises(OAuthError) as refused:
        get(provider.url, who["client_id"], issuer.token(provider.url, int(time.time()), sub="somebody else"))
    assert refused.value.error == error


def test_authlib_exchanges_a_token_to_act_for_another_agent(provider: Provider) -> None:
    scene = acting(provider)
    with AuthlibSession(**scene.actor) as session:
        issued = session.fetch_token(f"{provider.url}/api/v1/token", grant_type=TOKEN_EXCHANGE, **scene.form)
    claims = jwt.decode(issued["access_token"], options={"verify_signature": False})
    assert (claims["sub"], claims["act"]) == (scene.subject["client_id"], {"sub": scene.actor["client_id"]})
    assert issued["issued_token_type"] == scene.form["subject_token_type"]
    with AuthlibSession(**scene.subject) as session, pytest.raises(OAuthError, match="not acceptable") as refused:
        session.fetch_token(f"{provider.url}/api/v1/token", grant_type=TOKEN_EXCHANGE, **scene.form)
    assert refused.value.error == "invalid_request"


def test_authlib_reads_which_quota_refuses_a_token_and_when_to_try_again(provider: Provider) -> None:
    who = provider.register()
    provider.call("PUT", f"/api/v1/agents/{who['client_id']}/quotas/month", tokens=1, enforce=True)
    assert by_authlib_basic(provider.url, who)["access_token"]
    with AuthlibSession(who["client_id"], who["client_secret"]) as session:
        responses: list[requests.Response] = []
        session.register_compliance_hook("access_token_response", lambda found: responses.append(found) or found)
        with pytest.raises(OAuthError, match="the agent's quota of 1 tokens per month has been used") as refused:
            session.fetch_token(f"{provider.url}/api/v1/token", grant_type="client_credentials")
    assert refused.value.error == "temporarily_unavailable"
    [response] = responses
    assert response.status_code == 429
    assert 0 < int(response.headers["Retry-After"]) <= 31 * 86_400
    assert response.headers["RateLimit"].startswith('"agent-month";r=0;t=')
