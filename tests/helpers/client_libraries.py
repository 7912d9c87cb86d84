"""Requests tokens with unmodified OAuth client libraries."""

from __future__ import annotations

from typing import Any

import jwt
import requests
from authlib.integrations.requests_client import OAuth2Session as AuthlibSession
from oauthlib.oauth2 import BackendApplicationClient
from requests.auth import HTTPBasicAuth
from requests_oauthlib import OAuth2Session

from tests.factories import PATIENCE


def by_authlib_basic(url: str, who: dict[str, str]) -> dict[str, Any]:
    with AuthlibSession(who["client_id"], who["client_secret"]) as session:
        return dict(session.fetch_token(f"{url}/api/v1/token", grant_type="client_credentials"))


def by_authlib_post(url: str, who: dict[str, str]) -> dict[str, Any]:
    with AuthlibSession(
        who["client_id"], who["client_secret"], token_endpoint_auth_method="client_secret_post"
    ) as session:
        return dict(session.fetch_token(f"{url}/api/v1/token", grant_type="client_credentials"))


def by_requests_oauthlib_basic(url: str, who: dict[str, str]) -> dict[str, Any]:
    with OAuth2Session(client=BackendApplicationClient(client_id=who["client_id"])) as session:
        auth = HTTPBasicAuth(who["client_id"], who["client_secret"])
        return dict(session.fetch_token(f"{url}/api/v1/token", auth=auth))


def by_requests_oauthlib_post(url: str, who: dict[str, str]) -> dict[str, Any]:
    with OAuth2Session(client=BackendApplicationClient(client_id=who["client_id"])) as session:
        return dict(
            session.fetch_token(f"{url}/api/v1/token", client_secret=who["client_secret"], include_client_id=True)
        )


def read(url: str, path: str, token: str) -> Any:
    response = requests.get(url + path, headers={"Authorization": f"Bearer {token}"}, timeout=PATIENCE)
    assert response.status_code == 200, response.text
    return response.json()


def verified_by_discovery_only(url: str, token: str) -> dict[str, Any]:
    """Verify a token like a resource server that knows only the issuer (RFC 8414, 7517 and 9068). Return the claims."""
    metadata = requests.get(f"{url}/.well-known/oauth-authorization-server", timeout=PATIENCE).json()
    assert metadata["issuer"] == url
    key = jwt.PyJWKClient(metadata["jwks_uri"]).get_signing_key_from_jwt(token)
    assert jwt.get_unverified_header(token)["typ"] == "at+jwt"
    return jwt.decode(
        token,
        key.key,
        algorithms=["ES256"],
        audience=f"{url}/api/v1",
        issuer=metadata["issuer"],
        options={"require": ["exp", "iat", "jti", "sub", "client_id"]},
    )
