"""A client of OpenID Connect's authorization code flow, with state, nonce and PKCE (RFC 7636)."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import re
import time
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import SplitResult, urlencode

import flask

from agentidp.config.oidc import OidcSettings
from agentidp.federation.issuer_documents import ACCEPT, MAX_BODY, TIMEOUT, check_url, parse_json_object
from agentidp.federation.issuer_keys import IssuerKeys, KeysUnavailable
from agentidp.federation.key_set import KeySource
from agentidp.jose.jws import NUMERIC_DATE_LIMIT, UnverifiedJwt, base64url, parse_jwt
from agentidp.openid.claims import merge_claims, read_strings
from agentidp.openid.flows import Flow
from agentidp.outbound.client import RequestFailed, request

ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA", "Ed25519")
"""Accepted signature algorithms of ID tokens."""

TYPES = (None, "jwt", "jose")
"""Accepted values of the header ``typ`` of an ID token, in lower case; ``None`` if the header is missing."""

CLOCK_DIFFERENCE = 60
"""Maximum seconds by which the provider's clock may differ from ours."""

_ERROR_CODE = re.compile(r"[a-z_]{1,40}")


class Unavailable(Exception):
    """The OpenID Connect provider did not respond, or reported an internal error. The message is for the log."""


class BadResponse(Exception):
    """The OpenID Connect provider refused the request, or its response is unusable. The message is for the log."""


@dataclass(frozen=True)
class Client:
    """The client of a provider.

    :param keys: fetches the provider's metadata and keys. All requests use the networks and proxy of *keys*.
    :param organization_id: the organization for which the metadata and keys are fetched.
    """

    settings: OidcSettings
    keys: IssuerKeys
    organization_id: str

    @property
    def key_source(self) -> KeySource:
        """The issuer, whose metadata names the address of its keys."""
        return KeySource(self.settings.issuer, None)

    def get_metadata(self) -> dict[str, Any]:
        """Return the provider's metadata, or raise :exc:`KeysUnavailable`."""
        return self.keys.get_metadata(self.key_source, organization_id=self.organization_id)

    def build_authorization_url(self, redirect_uri: str, flow: Flow) -> str:
        """Return the provider's address at which the person signs in."""
        authorization_endpoint = self._read_endpoint(self.get_metadata(), "authorization_endpoint").geturl()
        query_parameters = {
            "response_type": "code",
            "client_id": self.settings.client_id,
            "redirect_uri": redirect_uri,
            "scope": self.settings.scopes,
            "state": flow.state,
            "nonce": flow.nonce,
            "code_challenge": base64url(hashlib.sha256(flow.verifier.encode()).digest()).decode(),
            "code_challenge_method": "S256",
        }
        return f"{authorization_endpoint}{'&' if '?' in authorization_endpoint else '?'}{urlencode(query_parameters)}"

    def complete_flow(self, metadata: dict[str, Any], flow: Flow, redirect_uri: str, at: datetime) -> dict[str, Any]:
        """Validate the provider's response in the current request, and exchange its code for an ID token.

        :returns: the claims of the ID token, completed by the userinfo endpoint if they lack a claim of the settings.
        :raises BadResponse: the provider refused the sign-in, or one of its responses is not valid.
        :raises KeysUnavailable, Unavailable: the provider cannot be reached, or had an internal error.
        """
        _check_response(metadata, self.settings.issuer)
        error_code = flask.request.args.get("error")
        if error_code is not None:
            # Anyone can send this parameter, so only an OAuth error code is logged.
            raise BadResponse(error_code if _ERROR_CODE.fullmatch(error_code) else "unreadable error")
        deadline = time.monotonic() + TIMEOUT
        token_response = self._request_tokens(metadata, flow, redirect_uri, deadline)
        access_token = str(token_response.get("access_token", ""))
        claims = self._verify_id_token(token_response.get("id_token"), flow.nonce, access_token, at)
        claim_names = (self.settings.organization_claim, self.settings.role_claim)
        is_claim_missing = any(claim_name and not read_strings(claims, claim_name) for claim_name in claim_names)
        if not is_claim_missing or metadata.get("userinfo_endpoint") is None:
            return claims
        userinfo_url = self._read_endpoint(metadata, "userinfo_endpoint")
        userinfo = self._request_json("GET", userinfo_url, deadline, {"Authorization": f"Bearer {access_token}"})
        if userinfo.get("sub") != claims["sub"]:
            raise BadResponse("the userinfo is of another subject")
        return merge_claims(claims, userinfo)

    def find_end_session_endpoint(self) -> str | None:
        """Return the provider's URL for signing out, or ``None`` if the metadata has no URL or cannot be read."""
        with contextlib.suppress(KeysUnavailable, Unavailable):
            return self._read_endpoint(self.get_metadata(), "end_session_endpoint").geturl()
        return None

    def _read_endpoint(self, metadata: dict[str, Any], name: str) -> SplitResult:
        try:
            return check_url(metadata.get(name), self.keys.networks)
        except RequestFailed:
            raise Unavailable(f"{name} of the metadata is not an https URL") from None

    def _request_tokens(
        self, metadata: dict[str, Any], flow: Flow, redirect_uri: str, deadline: float
    ) -> dict[str, Any]:
        """Exchange the code in the current request, and return the token response (RFC 6749 section 5.1)."""
        client_id, client_secret = self.settings.client_id, self.settings.client_secret
        form = {
            "grant_type": "authorization_code",
            "code": flask.request.args.get("code", ""),
            "redirect_uri": redirect_uri,
            "code_verifier": flow.verifier,
        }
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        auth_methods = metadata.get("token_endpoint_auth_methods_supported")
        if not client_secret:
            form["client_id"] = client_id
        # The secret is sent in the form rather than in the header, because providers disagree about a secret's encoding
        # in the header.
        elif isinstance(auth_methods, list) and "client_secret_post" in auth_methods:
            form |= {"client_id": client_id, "client_secret": client_secret}
        else:
            credentials = f"{client_id}:{client_secret}".encode()
            headers["Authorization"] = f"Basic {base64.b64encode(credentials).decode()}"
        token_url = self._read_endpoint(metadata, "token_endpoint")
        return self._request_json("POST", token_url, deadline, headers, urlencode(form).encode())

    def _verify_id_token(self, id_token: object, nonce: str, access_token: str, at: datetime) -> dict[str, Any]:
        """Verify the ID token in a token response, and return its claims (OpenID Connect Core section 3.1.3.7)."""
        if not isinstance(id_token, str):
            raise BadResponse("the response contains no ID token")
        unverified_jwt = parse_jwt(id_token, max_length=MAX_BODY, types=TYPES, algorithms=ALGORITHMS)
        if unverified_jwt is None:
            raise BadResponse("ID token: not a JWT with an algorithm that is accepted")
        kid, alg = unverified_jwt.kid, unverified_jwt.alg
        keys = self.keys.find_keys(self.key_source, kid, alg, organization_id=self.organization_id)
        if not keys:
            raise BadResponse("ID token: unknown key")
        if not any(unverified_jwt.is_signed_by(key) for key in keys):
            raise BadResponse("ID token: wrong signature")
        wrong_claim = _find_wrong_claim(unverified_jwt, self.settings, nonce, access_token, at.timestamp())
        if wrong_claim is not None:
            raise BadResponse(f"ID token: wrong {wrong_claim}")
        return unverified_jwt.claims

    def _request_json(
        self, method: str, url: SplitResult, deadline: float, headers: dict[str, str], body: bytes | None = None
    ) -> dict[str, Any]:
        """Send a request with a deadline to the provider, and return the JSON object in the response."""
        try:
            response = request(
                method,
                url,
                networks=self.keys.networks,
                timeout=max(deadline - time.monotonic(), 0.001),
                max_body=MAX_BODY,
                headers=ACCEPT | headers,
                body=body,
                proxy=self.keys.proxy(url),
            )
        except RequestFailed as failed:
            raise Unavailable(str(failed)) from None
        response_object = parse_json_object(response.body)
        if response.status >= 500:
            raise Unavailable(f"status {response.status}")
        if response.status != 200:
            # Only an OAuth error code is logged, because the provider could send any text.
            error_code = str((response_object or {}).get("error", ""))
            raise BadResponse(error_code if _ERROR_CODE.fullmatch(error_code) else f"status {response.status}")
        if response_object is None:
            raise BadResponse("the response is not a JSON object")
        return response_object


def _check_response(metadata: dict[str, Any], issuer: str) -> None:
    # The response comes from another provider if iss is wrong, or missing although the provider always sends it
    # (RFC 9207 section 2.4).
    default_iss = None if metadata.get("authorization_response_iss_parameter_supported") is True else issuer
    if flask.request.args.get("iss", default_iss) != issuer:
        raise BadResponse("the response is of another issuer")


def _find_wrong_claim(
    unverified_jwt: UnverifiedJwt, settings: OidcSettings, nonce: str, access_token: str, now: float
) -> str | None:
    claims = unverified_jwt.claims
    audience_claim = claims.get("aud")
    audiences = audience_claim if isinstance(audience_claim, list) else [audience_claim]
    # A missing azp is accepted only if the token has a single audience.
    azp = claims.get("azp", settings.client_id if len(audiences) == 1 else None)
    min_time, max_time = now - CLOCK_DIFFERENCE, now + CLOCK_DIFFERENCE
    validity_by_claim = {
        "iss": claims.get("iss") == settings.issuer,
        "sub": "sub" in claims,
        "aud": settings.client_id in audiences,
        "azp": azp == settings.client_id,
        "nonce": claims.get("nonce") == nonce,
        "exp": _is_time(claims.get("exp"), min_time, NUMERIC_DATE_LIMIT),
        "iat": _is_time(claims.get("iat"), 0, max_time),
        "nbf": _is_time(claims.get("nbf", now), 0, max_time),
        "at_hash": claims.get("at_hash") in (None, _hash_access_token(unverified_jwt.alg, access_token)),
    }
    return next((claim_name for claim_name, is_valid in validity_by_claim.items() if not is_valid), None)


def _is_time(value: object, earliest: float, latest: float) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and earliest <= value <= latest


def _hash_access_token(alg: str, access_token: str) -> str:
    """Return the correct ``at_hash`` of an access token (OpenID Connect Core section 3.1.3.6). Ed25519 uses SHA-512."""
    hash_bits = alg[-3:] if alg[-3:] in ("256", "384") else "512"
    digest = hashlib.new(f"sha{hash_bits}", access_token.encode(errors="replace")).digest()
    return base64url(digest[: len(digest) // 2]).decode()
