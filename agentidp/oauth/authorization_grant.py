"""Redeem codes and refresh tokens at the token endpoint (RFC 6749 sections 4.1.3 and 6, RFC 7636).

A grant replaces a subject token: redeeming its code or refresh token is a token exchange, with the grant's subject and
rule. ``sql/functions/redeem_grant.sql`` decides, counts the token and replaces the code or refresh token.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
from datetime import datetime
from typing import Any, NamedTuple

from flask import Request

from agentidp.counting import Rejection
from agentidp.db.organization import OrganizationDatabase
from agentidp.db.sql import Call
from agentidp.http.errors import NotFound, OAuthError
from agentidp.http.redirect_uri import is_redirect_uri
from agentidp.http.request_context import request_actor
from agentidp.jose.access_token import Delegation
from agentidp.jose.dpop import Proof
from agentidp.jose.jws import base64url
from agentidp.oauth import client_authentication, grants, issuance
from agentidp.oauth.client_document import agent_id_of, is_client_uri
from agentidp.oauth.issuance import AUTHORIZATION_CODE, REFRESH_TOKEN, Client, Grant
from agentidp.oauth.token_exchange import Subject

OFFLINE_ACCESS = "offline_access"
"""The OpenID Connect scope that asks for a refresh token. It is ignored, because every client gets a refresh token."""

UNKNOWN, USED, WRONG_GRANT_TYPE, WRONG_VERIFIER, WRONG_REDIRECT_URI, OTHER_KEY, WRONG_RESOURCE = REASONS = (
    "unknown code or refresh token",
    "code or refresh token used before",
    "wrong grant type",
    "wrong code verifier",
    "wrong redirect URI",
    "code or refresh token of another key",
    "wrong resource",
)
"""Logged reasons why the database does not accept a code or refresh token, in addition to the reasons of a token
exchange."""

_VERIFIER = re.compile(r"[A-Za-z0-9._~-]{43,128}")


class Redemption(NamedTuple):
    """The result of redeeming a code or refresh token: the counted access token and the next refresh token."""

    grant: Grant
    subject: Subject
    resource: str
    refresh_token: str


def check_form(form: dict[str, str]) -> grants.GrantToken:
    """Check the form without reading the grant, and return the code or refresh token in the form.

    :raises OAuthError: ``invalid_request`` for a missing or wrong parameter.
    """
    name = "code" if form["grant_type"] == AUTHORIZATION_CODE else REFRESH_TOKEN
    if name not in form:
        raise OAuthError("invalid_request", f"{name} is missing")
    if name == "code" and not _VERIFIER.fullmatch(form.get("code_verifier", "")):
        raise OAuthError("invalid_request", "code_verifier must have 43 to 128 unreserved characters")
    return grants.read_token(form[name])


def read_client(request: Request, form: dict[str, str], token: grants.GrantToken, at: datetime) -> Client:
    """Return the client whose credential a request has or, without a credential, the public client that it names.

    :param token: the code or refresh token, which contains the id of the agent of an app.
    :raises OAuthError: as :func:`client_authentication.read_client`.
    """
    if client_authentication.has_credential(request, form) or "client_id" not in form:
        return client_authentication.read_client(request, form, at)
    if not is_client_uri(form["client_id"]):
        return client_authentication.public_client(form["client_id"])
    client = client_authentication.public_client(str(token.agent_id))
    if agent_id_of(client.organization_id, form["client_id"]) != client.agent_id:
        raise client_authentication.invalid_client()
    return client


def remove_offline_access(scope: list[str] | None) -> list[str] | None:
    """Return the requested scopes except ``offline_access``, or ``None`` if no other scope is requested."""
    return [name for name in scope or [] if name != OFFLINE_ACCESS] or None


def record_redemption(
    database: OrganizationDatabase,
    form: dict[str, str],
    token: grants.GrantToken,
    client: Client,
    issuance_call: Call,
    proof: Proof | None,
) -> Redemption | None:
    """Authenticate the client, check its code or refresh token, and count the new access token.

    :param issuance_call: the statement that issues a token without a subject.
    :returns: ``None`` if authentication failed.
    :raises OAuthError: also ``invalid_grant`` for a code or refresh token that is not acceptable.
    """
    next_token = grants.create_token(token.agent_id, token.handle)
    redirect_uri = form.get("redirect_uri")
    code_verifier = form.get("code_verifier") if form["grant_type"] == AUTHORIZATION_CODE else None
    redeem_parameters: dict[str, Any] = {
        "scope": remove_offline_access(issuance_call.parameters["scope"]),
        # Takes the resource from the form, because null in the issuance call can also mean our own API.
        "resource": form.get("resource"),
        "jkt": proof and proof.jkt,
        "grant_id": token.grant_id,
        "token_digest": token.digest,
        "next_digest": next_token.digest,
        "challenge": code_verifier and base64url(hashlib.sha256(code_verifier.encode()).digest()).decode(),
        "redirect_uri": redirect_uri if redirect_uri is None or is_redirect_uri(redirect_uri) else "",
    }
    redeem_call = Call("grants/redeem_grant", issuance_call.parameters | redeem_parameters)
    try:
        grant = issuance.record_issuance(database, client, redeem_call, proof)
    except issuance.SubjectRefused as refused:
        raise _reject_token(database, token, client, str(refused)) from None
    if grant is None:
        return None
    row = grant.row
    person_id = token.decrypt(bytes(row.subject_encrypted))
    delegation = Delegation(
        (client.agent_id,),
        (),
        None,
        (row.issuer, person_id),
        row.delegation_rule_id,
        grant_id=token.grant_id,
    )
    return Redemption(grant, Subject(delegation, int(row.ends_at.timestamp()), False), row.resource, next_token.text)


def _reject_token(database: OrganizationDatabase, token: grants.GrantToken, client: Client, reason: str) -> OAuthError:
    """Return the error for a refused code or refresh token. End its grant if the reason is :data:`USED`.

    A reason other than :data:`UNKNOWN` proves that the client has a token of the grant, so only such a client can make
    the server store or count something.
    """
    if reason == USED:
        # A code or refresh token that is used twice may be stolen, so the whole grant ends (RFC 9700 section 4.14.2).
        actor = request_actor("agent", str(client.agent_id))
        with contextlib.suppress(NotFound), database.transaction(actor) as transaction:
            grants.end_grant(transaction, token.grant_id, "grant.reused")
    if reason != UNKNOWN:
        rejection = Rejection(client.organization_id, client.agent_id, "grant", reason)
        [[reason_row], _] = database.run(*rejection.build_calls())
        rejection.report(reason_row.reason)
    if reason == WRONG_RESOURCE:
        return OAuthError("invalid_target", "resource must be the one that the person has allowed")
    return OAuthError("invalid_grant", "the code or refresh token is not valid for this client: authorize again")
