"""The company's OpenID Connect provider, by Authlib's client for Flask.

Imported only if people sign in at a provider: Authlib and requests are optional.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

import flask
from authlib.integrations.base_client import MismatchingStateError, OAuthError
from authlib.integrations.flask_client import FlaskIntegration, FlaskOAuth2App, OAuth
from authlib.integrations.requests_client import OAuth2Session
from authlib.oidc.core import CodeIDToken
from flask import Flask, Response
from joserfc.errors import JoseError
from requests import RequestException
from requests.exceptions import InvalidJSONError

from agentidp.config_values import LOOPBACK_HOSTS
from agentidp.dashboard.oidc_claims import merged, values_of
from agentidp.dashboard.oidc_http import bound, conversation
from agentidp.oidc_settings import OidcSettings

__all__ = [
    "MismatchingStateError",
    "begin",
    "complete",
    "conversation",
    "end_session_endpoint",
    "has_begun",
    "has_metadata",
    "is_unavailable",
    "new_client",
    "read_metadata",
    "reason",
]

ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA", "Ed25519")
"""Of ID tokens: signatures with a key of the provider's, never ``none`` or a shared secret."""

METADATA_LIFETIME = 3600.0
"""Seconds for which the provider's metadata and keys are used. An unknown key is looked for at once."""

CLOCK_DIFFERENCE = 60
"""Seconds by which the provider's clock may differ from ours."""

MAX_FLOWS = 4
"""Sign-ins that a browser may have begun at a time, in several windows."""

_ENDPOINTS = ("authorization_endpoint", "token_endpoint", "jwks_uri", "userinfo_endpoint", "end_session_endpoint")


class BadProvider(Exception):
    """The provider's metadata or response cannot be used. The message is for the log."""


class _IdToken(CodeIDToken):
    """Compares times with the request's instant."""

    def validate(self, now: int | None = None, leeway: int = 0) -> None:
        super().validate(int(flask.g.at.timestamp()), leeway)


class _Integration(FlaskIntegration):
    """Keeps of a sign-in what the callback needs, so that the cookie stays small."""

    def set_state_data(self, session: Any, state: str, data: dict[str, Any]) -> None:
        self._clear_session_state(session)
        begun = [key for key in session if key.startswith("_state_")]
        for key in begun[: max(0, len(begun) - MAX_FLOWS + 1)]:
            session.pop(key)
        super().set_state_data(session, state, {name: value for name, value in data.items() if name != "url"})


class _Client(FlaskOAuth2App):
    """The client of one provider."""

    server_metadata: dict[str, Any]

    def load_server_metadata(self) -> dict[str, Any]:
        """The provider's metadata, with what is used of it alone. The keys are stored in it, and expire with it."""
        if not self.has_metadata:
            url = f"{self.issuer.removesuffix('/')}/.well-known/openid-configuration"
            with self._get_session() as session:
                response = session.request("GET", url, withhold_token=True)
                response.raise_for_status()
                metadata = response.json()
            self.server_metadata = _used(metadata, self.issuer) | {"_loaded_at": time.monotonic()}
        return self.server_metadata

    @property
    def has_metadata(self) -> bool:
        """Whether the metadata was read and has not expired."""
        loaded_at = self.server_metadata.get("_loaded_at")
        return loaded_at is not None and 0 <= time.monotonic() - loaded_at < METADATA_LIFETIME

    @property
    def issuer(self) -> str:
        """The provider's, as the settings name it."""
        return str(self.client_kwargs["issuer"])


class _Session(OAuth2Session):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        bound(self)


_Client.client_cls = _Session


class _OAuth(OAuth):
    oauth2_client_cls = _Client
    framework_integration_cls = _Integration


def new_client(app: Flask, settings: OidcSettings) -> Any:
    """The client of the provider that *settings* name. Nothing is connected yet."""
    return _OAuth(app).register(
        "agentidp_oidc",
        client_id=settings.client_id,
        client_secret=settings.client_secret,
        client_kwargs={"scope": settings.scopes, "code_challenge_method": "S256", "issuer": settings.issuer},
    )


def has_metadata(client: Any) -> bool:
    """Whether the provider's metadata is known, so that :func:`begin` asks it for nothing."""
    return bool(client.has_metadata)


def read_metadata(client: Any) -> None:
    """Read the provider's metadata.

    :raises Exception: of requests, or :class:`BadProvider`.
    """
    client.load_server_metadata()


def begin(client: Any, redirect_uri: str, return_to: str) -> Response:
    """Send the browser to the provider. *return_to* stays in the cookie of the sign-in, for :func:`complete`."""
    begun = client.create_authorization_url(redirect_uri)
    client.save_authorize_data(redirect_uri=redirect_uri, return_to=return_to, **begun)
    response: Response = flask.redirect(begun["url"])  # type: ignore[assignment]
    return response


def has_begun(client: Any) -> bool:
    """Whether the current browser has begun the sign-in that the current request names, and not completed it."""
    return bool(client.framework.get_state_data(flask.session, flask.request.args.get("state")))


def complete(client: Any, settings: OidcSettings, *, at: datetime) -> tuple[dict[str, Any], str]:
    """Validate the provider's response in the current request, and exchange its code for an ID token.

    :returns: the claims of the ID token, and what :func:`begin` got as *return_to*. Claims that the settings name and
        the ID token lacks are the userinfo endpoint's.
    :raises Exception: of Authlib, joserfc or requests; anything else if the provider sends what nobody expects.
    """
    # RFC 9207: the response of another provider.
    if flask.request.args.get("iss", settings.issuer) != settings.issuer:
        raise BadProvider("the response is of another issuer")
    # Authlib removes it, and refuses a response without it.
    begun = client.framework.get_state_data(flask.session, flask.request.args.get("state")) or {}
    token = client.authorize_access_token(
        claims_options={
            "iss": {"essential": True, "value": settings.issuer},
            "aud": {"essential": True, "value": settings.client_id},
        },
        claims_cls=_IdToken,
        leeway=CLOCK_DIFFERENCE,
    )
    if "userinfo" not in token:
        raise BadProvider("the response contains no ID token")
    claims = dict(token["userinfo"])
    named = [name for name in (settings.organization_claim, settings.role_claim) if name]
    if not all(values_of(claims, name) for name in named) and "userinfo_endpoint" in client.load_server_metadata():
        further = client.userinfo(token=token)
        if further.get("sub") != claims["sub"]:
            raise BadProvider("the userinfo is of another subject")
        claims = merged(claims, further)
    return claims, begun.get("return_to", "")


def end_session_endpoint(client: Any) -> str | None:
    """Where people sign out at the provider, if it offers that."""
    return client.load_server_metadata().get("end_session_endpoint")  # type: ignore[no-any-return]


def is_unavailable(error: Exception) -> bool:
    """Whether a sign-in failed because the provider did not respond, or with an error of its own.

    A response with another status, or with a body that is no JSON, may concern this one person.
    """
    if not isinstance(error, RequestException) or isinstance(error, InvalidJSONError):
        return False
    return error.response is None or error.response.status_code >= 500


def reason(error: Exception) -> str:
    """Why a sign-in failed, for the log: nothing of what was sent, but for the error codes of OAuth."""
    if isinstance(error, BadProvider):
        return str(error)
    if isinstance(error, OAuthError) and re.fullmatch(r"[a-z_]{1,40}", str(error.error)):
        return str(error.error)
    if isinstance(error, JoseError):
        return " ".join(["ID token:", str(error.error), str(getattr(error, "claim", None) or "")]).strip()
    if isinstance(error, RequestException) and error.response is not None:
        return f"status {error.response.status_code}"
    return type(error).__name__


def _used(metadata: Any, issuer: str) -> dict[str, Any]:
    """What is used of the provider's metadata.

    :raises BadProvider: it is another issuer's, or something is missing or insecure.
    """
    if not isinstance(metadata, Mapping) or metadata.get("issuer") != issuer:
        raise BadProvider("the metadata is of another issuer than AGENTIDP_OIDC_ISSUER")
    used: dict[str, Any] = {"issuer": issuer}
    used |= {name: metadata[name] for name in _ENDPOINTS if metadata.get(name) is not None}
    if missing := [name for name in _ENDPOINTS[:3] if name not in used]:
        raise BadProvider(f"the metadata lacks {missing[0]}")
    if insecure := [name for name in _ENDPOINTS if name in used and not _is_secure(used[name])]:
        raise BadProvider(f"{insecure[0]} is not an https URL")
    offered = metadata.get("id_token_signing_alg_values_supported", ["RS256"])
    used["id_token_signing_alg_values_supported"] = [name for name in ALGORITHMS if name in offered]
    if not used["id_token_signing_alg_values_supported"]:
        raise BadProvider("the provider signs ID tokens with no algorithm that is accepted")
    # In a form, because providers disagree about how a secret is encoded in the header.
    methods = metadata.get("token_endpoint_auth_methods_supported", ["client_secret_basic"])
    used["token_endpoint_auth_method"] = (
        "client_secret_post" if "client_secret_post" in methods else "client_secret_basic"
    )
    return used


def _is_secure(url: object) -> bool:
    if not isinstance(url, str):
        return False
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    return parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in LOOPBACK_HOSTS)
