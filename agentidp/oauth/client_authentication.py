"""Identify and authenticate the client of a request (RFC 6749 section 2.3, RFC 7523 section 2.2)."""

from __future__ import annotations

import binascii
import math
import re
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from functools import lru_cache
from typing import Any, NoReturn, TypeVar
from urllib.parse import unquote_to_bytes
from uuid import UUID

import psycopg
from flask import Request

from agentidp.counting import UNKNOWN_AGENT, UNKNOWN_ORGANIZATION, Rejection
from agentidp.db.sql import Call
from agentidp.federation.issuer_tokens import MAX_CHARACTERS
from agentidp.http.error_rendering import oauth_errors
from agentidp.http.errors import OAuthError
from agentidp.http.openapi import declarations_of
from agentidp.jose.assertion import EXPIRED, TOO_EARLY, TOO_LONG, WRONG_TIMES
from agentidp.jose.jws import MAX_JTI_LENGTH
from agentidp.oauth import client_assertion, federated_token, first_sight, throttle
from agentidp.oauth.client import Client
from agentidp.oauth.client_secret import hash_secret
from agentidp.services import services

CHALLENGE = 'Basic realm="agentidp", charset="UTF-8"'
PUBLIC = '["none"]'
"""The value stored instead of keys for a public client (method ``none``), which redeems codes and refresh tokens."""

METHODS = ("client_secret_basic", "client_secret_post", "private_key_jwt", "spiffe_jwt")
"""Methods of client authentication. ``spiffe_jwt`` is from draft-ietf-oauth-spiffe-client-auth-02 section 4."""

UNREADABLE = "unreadable assertion"
"""The logged reason for an assertion that is not a JWT of a supported form."""

OWNER_SEES = "the owner of the agent sees why on the page of the agent"
FAILED = f"client authentication failed; {OWNER_SEES}"
GRANT_FAILED = f"the assertion is not accepted; {OWNER_SEES}"
"""Error descriptions if neither a secret nor a signature was verified."""

_NO_CREDENTIAL = "the request has no credential: send client_id and client_secret, or a client_assertion"

ADVICE = {
    "expired credential": "the secret has expired: use another credential of the agent",
    "revoked credential": "the secret was revoked: use another credential of the agent",
    EXPIRED: "the assertion has expired: get or sign a new one, and check the clock of the client",
    TOO_EARLY: "iat or nbf of the assertion is in the future: check the clock of the client",
    TOO_LONG: "the assertion is valid for too long: at most an hour, or a day if another issuer has signed it",
    WRONG_TIMES: "the assertion must have exp, and exp, iat and nbf must be seconds since 1970",
}
"""Error descriptions by logged reason, for the holder of a secret or of a signed assertion."""

ADVICE_FOR_KEYS = {
    client_assertion.WRONG_AUDIENCE: "the audience of the assertion must be {issuer}",
    client_assertion.WRONG_JTI: f"the assertion must have a jti of 1 to {MAX_JTI_LENGTH} characters",
    client_assertion.USED_BEFORE: "the assertion was used before: sign a new one with a new jti for each request",
}
"""Error descriptions by logged reason, for an assertion that the client's own key has signed."""

_CREDENTIAL_PARAMETERS = ("client_secret", "client_assertion", "client_assertion_type")
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_uuid = lru_cache(maxsize=4096)(UUID)

View = TypeVar("View", bound=Callable[..., Any])
Result = TypeVar("Result")


def authenticates_client(view: View) -> View:
    """Declare a route at which a client authenticates by its credential (RFC 6749 section 2.3)."""
    declarations_of(view).authentication = "client"
    return oauth_errors(view)


def identify_client(request: Request, form: dict[str, str], at: datetime) -> Client:
    """Return the client that a request names. An assertion is verified here, and a secret later by the database.

    :raises OAuthError: ``invalid_request`` for two mechanisms at once or an incomplete mechanism, ``invalid_client``
        for a missing or unsupported mechanism.
    """
    authorization_header = request.environ.get("HTTP_AUTHORIZATION")
    mechanisms = (authorization_header is not None, "client_secret" in form, "client_assertion" in form)
    if sum(mechanisms) > 1:
        raise OAuthError("invalid_request", "the client uses more than one authentication mechanism")
    if "client_assertion" in form or "client_assertion_type" in form:
        return _verify_assertion(form, at)
    if authorization_header is not None:
        client_id, client_secret = _parse_basic_header(authorization_header)
        if form.get("client_id", client_id) != client_id:
            raise OAuthError("invalid_request", "client_id differs from the Authorization header")
    elif "client_secret" in form:
        if "client_id" not in form:
            raise OAuthError("invalid_request", "client_id is missing")
        client_id, client_secret = form["client_id"], form["client_secret"]
    else:
        raise invalid_client(_NO_CREDENTIAL)
    return _look_up_client(client_id, secret_hash=hash_secret(client_secret))


def has_credential(request: Request, form: dict[str, str]) -> bool:
    """Return whether a request contains a credential of its client."""
    return request.environ.get("HTTP_AUTHORIZATION") is not None or not form.keys().isdisjoint(_CREDENTIAL_PARAMETERS)


def look_up_public_client(client_id: str) -> Client:
    """Return the public client with a ``client_id``, for a request without a credential."""
    return _look_up_client(client_id, key_or_rule=PUBLIC)


def identify_client_by_assertion(request: Request, form: dict[str, str], at: datetime) -> Client:
    """Return the client whose rule trusts the token in the form's ``assertion`` (RFC 7523 section 2.1)."""
    if "assertion" not in form:
        raise OAuthError("invalid_request", "assertion is missing")
    if has_credential(request, form):
        raise OAuthError("invalid_request", "the assertion says who the client is: send no other authentication")
    return _verify_federated_token(form["assertion"], form.get("client_id"), at)


def _parse_basic_header(header: str) -> tuple[str, str]:
    scheme, _, encoded_pair = header.partition(" ")
    if scheme.lower() != "basic":
        raise invalid_client("the scheme of the Authorization header must be Basic")
    if "," in encoded_pair:
        # A comma shows that the header is repeated (RFC 9110 section 5.2), because base64 contains no comma.
        raise OAuthError("invalid_request", "there is more than one Authorization header")
    try:
        decoded_pair = binascii.a2b_base64(encoded_pair.strip(" "), strict_mode=True)
        client_id, colon, client_secret = decoded_pair.partition(b":")
        if not colon:
            raise ValueError
        # Clients form-encode both values (RFC 6749 section 2.3.1). Without % and +, there is nothing to decode.
        if b"%" in decoded_pair or b"+" in decoded_pair:
            client_id, client_secret = (
                unquote_to_bytes(encoded_value.replace(b"+", b" ")) for encoded_value in (client_id, client_secret)
            )
        return client_id.decode(), client_secret.decode()
    except (binascii.Error, UnicodeError, ValueError):
        raise invalid_client("the Authorization header must be the base64 of client_id:client_secret") from None


def _look_up_client(client_id: str, **credential: Any) -> Client:
    """Return the client with a ``client_id`` and a credential; for an unknown ``client_id``, ids that match no row."""
    app_services = services()
    agent_id = _uuid(client_id) if _UUID.fullmatch(client_id) else UNKNOWN_AGENT
    organization_id = app_services.directory.get_cached_organization(agent_id)
    is_remembered = organization_id is not None
    organization_id = organization_id or app_services.directory.read_organization(agent_id)
    if organization_id is None:
        organization_id, agent_id = UNKNOWN_ORGANIZATION, UNKNOWN_AGENT
    return Client(organization_id, agent_id, client_id=client_id, is_remembered=is_remembered, **credential)


def _verify_assertion(form: dict[str, str], at: datetime) -> Client:
    if "client_assertion" not in form:
        raise OAuthError("invalid_request", "client_assertion is missing")
    assertion, assertion_type = form["client_assertion"], form.get("client_assertion_type")
    if assertion_type not in federated_token.ASSERTION_TYPES:
        raise OAuthError(
            "invalid_request", f"client_assertion_type must be {' or '.join(federated_token.ASSERTION_TYPES)}"
        )
    if assertion_type == federated_token.SPIFFE_TYPE:
        return _verify_federated_token(assertion, form.get("client_id"), at, is_svid=True)
    unverified_jwt = client_assertion.read_assertion(assertion)
    if unverified_jwt is None:
        return _verify_federated_token(assertion, form.get("client_id"), at)
    client_id = unverified_jwt.claims["sub"]
    if form.get("client_id", client_id) != client_id:
        raise OAuthError("invalid_request", "client_id differs from the client assertion")
    return client_assertion.verify_assertion(services(), unverified_jwt, _look_up_client(client_id), at)


def _verify_federated_token(assertion: str, client_id: str | None, at: datetime, *, is_svid: bool = False) -> Client:
    """Return the client whose rule trusts a token. Without *client_id*, the token's audience names the organization."""
    app_services = services()
    token = app_services.issuer_tokens.read_token(assertion, is_svid=is_svid)
    if token is None:
        if client_id is None:
            raise invalid_client()
        return _look_up_client(client_id, refusal=UNREADABLE)
    if client_id is not None:
        client = _look_up_client(client_id, is_federated=True)
        return federated_token.verify_for_client(app_services, token, client, at)
    organization_id = token.organization_id
    if organization_id is None:
        raise OAuthError(
            "invalid_request", "client_id is missing, and the token has no audience that contains an organization's id"
        )
    trusting_rows, provisioning_rows = app_services.database.of(organization_id, at).run(
        Call("oauth/trusting_rules", {"selectors": token.rule_selectors, "max_characters": MAX_CHARACTERS}),
        first_sight.build_provisioning_rules_call(token),
    )
    client = federated_token.find_client(app_services, token, organization_id, trusting_rows, at)
    if client.key_or_rule is not None or client.refusal in federated_token.UNCLEAR:
        return client
    return first_sight.match_provisioning_rule(app_services, token, client, organization_id, provisioning_rows, at)


def authenticate(
    request: Request, client: Client, at: datetime, run_client_statement: Callable[[Client], Result | None]
) -> tuple[Client, Result]:
    """Authenticate a client by a database statement. Return the authenticated client and the statement's result.

    If authentication by a rule in memory fails, the rule may have been deleted, so the statement runs once more with
    the stored rule that accepts the assertion.

    :param run_client_statement: runs the statement, which may also do more, such as count a token. Returns ``None`` if
        authentication failed, or raises ``UniqueViolation`` if the assertion was used before.
    """
    try:
        statement_result = run_client_statement(client)
        if statement_result is None and client.verify_again is not None:
            accepted_client = client.verify_again()
            if accepted_client.key_or_rule not in (None, client.key_or_rule):
                client, statement_result = accepted_client, run_client_statement(accepted_client)
    except psycopg.errors.UniqueViolation:
        refuse_client(request, replace(client, refusal=client_assertion.USED_BEFORE), at)
    if statement_result is None:
        refuse_client(request, client, at)
    return client, statement_result


def refuse_client(request: Request, client: Client, at: datetime) -> NoReturn:
    """Count a failed authentication and raise its error, with status 429 after too many failures from an address.

    All failures take the same time. Only the holder of the secret or of a signed assertion learns the reason.
    """
    app_services = services()
    # A remembered client is looked up too, because the lookup of an unknown client costs a query, and the time must not
    # reveal which clients exist. If the organization was deleted, the failure is counted for no organization.
    if client.is_remembered and app_services.directory.read_organization(client.agent_id) is None:
        client = replace(client, organization_id=UNKNOWN_ORGANIZATION, agent_id=UNKNOWN_AGENT)
    ip_address = request.remote_addr or ""
    throttle_cell = throttle.compute_throttle_cell(app_services.settings.instance_secret, client.client_id, ip_address)
    reason, retry_after = throttle.record_failure(app_services.database, throttle_cell, _build_rejection(client), at)
    if retry_after is not None:
        raise OAuthError(
            "temporarily_unavailable",
            "too many failed authentications; try again later",
            status=429,
            headers={"Retry-After": str(math.ceil(retry_after.total_seconds()))},
        )
    if client.refusal in federated_token.UNCLEAR and client.agent_id == UNKNOWN_AGENT:
        raise OAuthError("invalid_request", f"{client.refusal}: choose an agent by client_id")
    advice = (ADVICE | ({} if client.is_federated else ADVICE_FOR_KEYS)).get(reason, FAILED)
    raise invalid_client(advice.format(issuer=app_services.settings.issuer))


def _build_rejection(client: Client) -> Rejection:
    # If there is no client.refusal, the signature was right, and the database refused the key.
    credential_kind, logged_reason = "assertion", client.refusal or "revoked or expired key"
    if client.secret_hash is not None:
        credential_kind, logged_reason = "secret", "wrong secret"
    elif client.is_federated:
        credential_kind, logged_reason = "federated token", client.refusal or federated_token.REVOKED_RULE
    if client.organization_id == UNKNOWN_ORGANIZATION and logged_reason not in federated_token.UNCLEAR:
        logged_reason = "unknown client"
    return Rejection(client.organization_id, client.agent_id, credential_kind, logged_reason, client.secret_hash)


def invalid_client(description: str = FAILED) -> OAuthError:
    """Return the error for a failed client authentication."""
    return OAuthError("invalid_client", description, status=401, headers={"WWW-Authenticate": CHALLENGE})


def invalid_grant(description: str = FAILED) -> OAuthError:
    """Return the error for a token that is not accepted as a grant (RFC 7523 section 3.1)."""
    return OAuthError("invalid_grant", GRANT_FAILED if description == FAILED else description)
