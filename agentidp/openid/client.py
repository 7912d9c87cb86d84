"""A client of OpenID Connect's authorization code flow, with state, nonce and PKCE (RFC 7636).

Flask's session, which is a signed cookie, keeps the state of a sign-in between the first request and the callback.
"""

from __future__ import annotations

import base64
import hashlib
import re
import secrets
import time
from collections.abc import Callable
from datetime import datetime
from typing import Any, NamedTuple
from urllib.parse import SplitResult, urlencode

import flask

from agentidp.config.oidc import OidcSettings
from agentidp.federation.issuer_keys import ACCEPT, MAX_BODY, TIMEOUT, IssuerKeys, check_url, parse_json_object
from agentidp.jose.jws import NUMERIC_DATE_LIMIT, UnverifiedJwt, base64url, parse_jwt
from agentidp.openid.claims import merged, values_of
from agentidp.outbound.client import RequestFailed, request
from agentidp.outbound.networks import AllowedNetworks

ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA", "Ed25519")
"""Accepted signature algorithms of ID tokens. All use a key pair, so ``none`` and shared secrets are refused."""

TYPES = (None, "jwt", "jose")
"""Accepted values of the header ``typ`` of an ID token, in lower case; ``None`` if the header is missing."""

CLOCK_DIFFERENCE = 60
"""Maximum seconds by which the provider's clock may differ from ours."""

MAX_FLOWS = 4
"""Maximum number of unfinished sign-ins per browser, for example in several windows. A new one replaces the oldest."""

MAX_CHARACTERS = 2_600
"""Maximum number of characters of a browser's unfinished sign-ins, which share a cookie of at most 4 KB."""

_FLOWS = "flows"
_ERROR = re.compile(r"[a-z_]{1,40}")


class Unavailable(Exception):
    """The OpenID Connect provider did not respond, or reported an internal error. The message is for the log."""


class BadResponse(Exception):
    """The OpenID Connect provider refused the request, or its response is unusable. The message is for the log."""


class Flow(NamedTuple):
    """An unfinished sign-in, which is stored in the browser's cookie. For the last two fields, see :func:`begin`."""

    state: str
    nonce: str
    verifier: str
    return_to: str
    provider_version: str = ""


def begin(
    metadata: dict[str, Any],
    settings: OidcSettings,
    redirect_uri: str,
    return_to: str,
    *,
    provider_version: str,
    networks: AllowedNetworks,
) -> str:
    """Store a new sign-in in the browser's cookie, and return the provider's address at which the person signs in.

    :param metadata: the metadata of the provider.
    :param return_to: a string that the cookie keeps until the sign-in is completed.
    :param provider_version: the version of an organization's own provider; empty for the provider of the instance.
    :param networks: the networks in which the provider may be.
    :raises Unavailable: the metadata lack a usable authorization endpoint.
    """
    endpoint = _endpoint(metadata, "authorization_endpoint", networks).geturl()
    state, nonce, verifier = (secrets.token_urlsafe(32) for _ in range(3))
    flow = Flow(state, nonce, verifier, return_to, provider_version)
    # Leaves out an empty version, because the previous release cannot read a flow with a version.
    flows = [*flask.session.get(_FLOWS, []), flow if provider_version else flow[:-1]][-MAX_FLOWS:]
    while len(flows) > 1 and sum(len(text) for begun in flows for text in begun) > MAX_CHARACTERS:
        del flows[0]
    flask.session[_FLOWS] = flows
    challenge = base64url(hashlib.sha256(flow.verifier.encode()).digest()).decode()
    query = {
        "response_type": "code",
        "client_id": settings.client_id,
        "redirect_uri": redirect_uri,
        "scope": settings.scopes,
        "state": flow.state,
        "nonce": flow.nonce,
        "code_challenge": challenge,
        "code_challenge_method": "S256",
    }
    return f"{endpoint}{'&' if '?' in endpoint else '?'}{urlencode(query)}"


def begun_flow() -> Flow | None:
    """Return the unfinished sign-in whose ``state`` is in the request's query, or ``None`` if this browser has none."""
    state = flask.request.args.get("state")
    return next((Flow(*flow) for flow in flask.session.get(_FLOWS, []) if flow[0] == state), None)


def complete(
    metadata: dict[str, Any],
    settings: OidcSettings,
    flow: Flow,
    redirect_uri: str,
    *,
    keys: IssuerKeys,
    keys_of: Callable[[str | None, str], list[Any]],
    at: datetime,
) -> dict[str, Any]:
    """Validate the provider's response in the current request, and exchange its code for an ID token.

    :param keys: the cache of keys, whose networks and proxy are used for requests to the provider.
    :param keys_of: returns the provider's keys for a ``kid`` and an ``alg``.
    :returns: the claims of the ID token. If the ID token lacks a claim that the settings name, the claims of the
        userinfo endpoint are added.
    :raises BadResponse: the provider refused, or one of its responses is not valid.
    :raises Unavailable: the provider cannot be reached, or had an internal error.
    """
    # A wrong iss (RFC 9207) shows that the response comes from another provider.
    if flask.request.args.get("iss", settings.issuer) != settings.issuer:
        raise BadResponse("the response is of another issuer")
    flask.session[_FLOWS] = [begun for begun in flask.session[_FLOWS] if begun[0] != flow.state]
    until = time.monotonic() + TIMEOUT
    token = _token(metadata, settings, flow, redirect_uri, until, keys)
    access_token = str(token.get("access_token", ""))
    claims = _id_token(token.get("id_token"), settings, flow.nonce, access_token, keys_of, at)
    needed = [name for name in (settings.organization_claim, settings.role_claim) if name]
    if not all(values_of(claims, name) for name in needed) and metadata.get("userinfo_endpoint") is not None:
        headers = {"Authorization": f"Bearer {access_token}"}
        userinfo = _ask("GET", _endpoint(metadata, "userinfo_endpoint", keys.networks), until, headers, keys)
        if userinfo.get("sub") != claims["sub"]:
            raise BadResponse("the userinfo is of another subject")
        claims = merged(claims, userinfo)
    return claims


def end_session_endpoint(metadata: dict[str, Any], networks: AllowedNetworks) -> str | None:
    """Return the address at which people sign out at the provider, or ``None`` if its metadata have none.

    :raises Unavailable: the address in the metadata is not allowed.
    """
    name = "end_session_endpoint"
    return _endpoint(metadata, name, networks).geturl() if name in metadata else None


def _endpoint(metadata: dict[str, Any], name: str, networks: AllowedNetworks) -> SplitResult:
    try:
        return check_url(metadata.get(name), networks)
    except RequestFailed:
        raise Unavailable(f"{name} of the metadata is not an https URL") from None


def _token(
    metadata: dict[str, Any], settings: OidcSettings, flow: Flow, redirect_uri: str, until: float, keys: IssuerKeys
) -> dict[str, Any]:
    """Exchange the code in the current request, and return the token response (RFC 6749 section 5.1)."""
    form = {
        "grant_type": "authorization_code",
        "code": flask.request.args.get("code", ""),
        "redirect_uri": redirect_uri,
        "code_verifier": flow.verifier,
    }
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    methods = metadata.get("token_endpoint_auth_methods_supported")
    if not settings.client_secret:
        form["client_id"] = settings.client_id
    # Sends the secret in the form if possible, because providers disagree about a secret's encoding in the header.
    elif isinstance(methods, list) and "client_secret_post" in methods:
        form |= {"client_id": settings.client_id, "client_secret": settings.client_secret}
    else:
        credentials = f"{settings.client_id}:{settings.client_secret}".encode()
        headers["Authorization"] = f"Basic {base64.b64encode(credentials).decode()}"
    url = _endpoint(metadata, "token_endpoint", keys.networks)
    return _ask("POST", url, until, headers, keys, urlencode(form).encode())


def _id_token(
    text: object,
    settings: OidcSettings,
    nonce: str,
    access_token: str,
    keys_of: Callable[[str | None, str], list[Any]],
    at: datetime,
) -> dict[str, Any]:
    """Verify the ID token in a token response, and return its claims (OpenID Connect Core section 3.1.3.7).

    :raises BadResponse: the ID token is not valid.
    """
    if not isinstance(text, str):
        raise BadResponse("the response contains no ID token")
    unverified = parse_jwt(text, max_length=MAX_BODY, types=TYPES, algorithms=ALGORITHMS)
    if unverified is None:
        raise BadResponse("ID token: not a JWT with an algorithm that is accepted")
    keys = keys_of(unverified.kid, unverified.alg)
    if not keys:
        raise BadResponse("ID token: unknown key")
    if not any(unverified.is_signed_by(key) for key in keys):
        raise BadResponse("ID token: wrong signature")
    wrong = _wrong_claim(unverified, settings, nonce, access_token, at.timestamp())
    if wrong is not None:
        raise BadResponse(f"ID token: wrong {wrong}")
    return unverified.claims


def _wrong_claim(
    unverified: UnverifiedJwt, settings: OidcSettings, nonce: str, access_token: str, now: float
) -> str | None:
    claims = unverified.claims
    audience = claims.get("aud")
    audiences = audience if isinstance(audience, list) else [audience]
    # A missing azp is accepted only if the token has a single audience.
    azp = claims.get("azp", settings.client_id if len(audiences) == 1 else None)
    earliest, latest = now - CLOCK_DIFFERENCE, now + CLOCK_DIFFERENCE
    checks = {
        "iss": claims.get("iss") == settings.issuer,
        "sub": "sub" in claims,
        "aud": settings.client_id in audiences,
        "azp": azp == settings.client_id,
        "nonce": claims.get("nonce") == nonce,
        "exp": _is_time(claims.get("exp"), earliest, NUMERIC_DATE_LIMIT),
        "iat": _is_time(claims.get("iat"), 0, latest),
        "nbf": _is_time(claims.get("nbf", now), 0, latest),
        "at_hash": claims.get("at_hash") in (None, _half_hash(unverified.alg, access_token)),
    }
    return next((name for name, is_right in checks.items() if not is_right), None)


def _is_time(value: object, earliest: float, latest: float) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and earliest <= value <= latest


def _half_hash(alg: str, access_token: str) -> str:
    """Return the correct ``at_hash`` of an access token (OpenID Connect Core section 3.1.3.6). Ed25519 uses SHA-512."""
    size = alg[-3:] if alg[-3:] in ("256", "384") else "512"
    digest = hashlib.new(f"sha{size}", access_token.encode(errors="replace")).digest()
    return base64url(digest[: len(digest) // 2]).decode()


def _ask(
    method: str, url: SplitResult, until: float, headers: dict[str, str], keys: IssuerKeys, body: bytes | None = None
) -> dict[str, Any]:
    """Send a request to the provider, and return the JSON object in the response.

    :param until: the time of the monotonic clock by which the response must be complete.
    :raises Unavailable: the provider does not respond, or responds with an internal error.
    :raises BadResponse: the provider refuses, or the response is not a JSON object.
    """
    try:
        response = request(
            method,
            url,
            networks=keys.networks,
            timeout=max(until - time.monotonic(), 0.001),
            max_body=MAX_BODY,
            headers=ACCEPT | headers,
            body=body,
            proxy=keys.proxy(url),
        )
    except RequestFailed as failed:
        raise Unavailable(str(failed)) from None
    body_object = parse_json_object(response.body)
    if response.status >= 500:
        raise Unavailable(f"status {response.status}")
    if response.status != 200:
        # Logs only a well-formed OAuth error code, because the provider could send any text.
        error = str((body_object or {}).get("error"))
        raise BadResponse(error if body_object and _ERROR.fullmatch(error) else f"status {response.status}")
    if body_object is None:
        raise BadResponse("the response is not a JSON object")
    return body_object
