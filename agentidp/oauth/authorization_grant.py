"""Redeem codes and refresh tokens at the token endpoint (RFC 6749 sections 4.1.3 and 6, RFC 7636).

The redemption is a token exchange with the subject and the rule of the grant instead of a subject token.
``sql/functions/redeem_grant.sql`` decides, counts the token and replaces the code or refresh token.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
from dataclasses import replace
from datetime import datetime
from enum import StrEnum
from typing import Any

from flask import Request

from agentidp.counting import Rejection
from agentidp.db.organization import OrganizationDatabase
from agentidp.http.errors import NotFound, OAuthError
from agentidp.http.redirect_uri import is_redirect_uri
from agentidp.http.request_context import request_actor
from agentidp.jose.access_token import Delegation
from agentidp.jose.jws import base64url
from agentidp.oauth import client_authentication, grants, issuance
from agentidp.oauth.client import Client
from agentidp.oauth.client_document import agent_id_of, is_client_uri
from agentidp.oauth.issuance import AUTHORIZATION_CODE, REFRESH_TOKEN, CountedToken, IssuanceCall, TokenRequest

OFFLINE_ACCESS = "offline_access"
"""The OpenID Connect scope that asks for a refresh token. It is ignored, because every client gets a refresh token."""

_VERIFIER = re.compile(r"[A-Za-z0-9._~-]{43,128}")


class Reason(StrEnum):
    """A logged reason to which this module reacts. ``grants/redeem_grant`` returns further reasons."""

    UNKNOWN = "unknown code or refresh token"
    USED = "code or refresh token used before"
    WRONG_RESOURCE = "wrong resource"


class RedemptionCall(IssuanceCall):
    """A call of ``grants/redeem_grant``, by which a client acts for the person of a grant."""

    __slots__ = ()
    has_subject = True

    def find_scope_parameters(self, row: Any) -> dict[str, Any]:
        """Return the parameters of this call, with the resource and the rule of the grant."""
        return self.parameters | {"resource": row.resource, "rule_id": row.delegation_rule_id}


def check_form(form: dict[str, str]) -> grants.GrantToken:
    """Return the code or refresh token in a form, or raise ``invalid_request`` for a missing or wrong parameter."""
    name = "code" if form["grant_type"] == AUTHORIZATION_CODE else REFRESH_TOKEN
    if name not in form:
        raise OAuthError("invalid_request", f"{name} is missing")
    if name == "code" and not _VERIFIER.fullmatch(form.get("code_verifier", "")):
        raise OAuthError("invalid_request", "code_verifier must have 43 to 128 unreserved characters")
    return grants.read_token(form[name])


def identify_client(request: Request, form: dict[str, str], token: grants.GrantToken, at: datetime) -> Client:
    """Return the client whose credential a request has or, without a credential, the public client that it names.

    :param token: the code or refresh token, which contains the id of an app's agent.
    """
    if client_authentication.has_credential(request, form) or "client_id" not in form:
        return client_authentication.identify_client(request, form, at)
    if not is_client_uri(form["client_id"]):
        return client_authentication.look_up_public_client(form["client_id"])
    client = client_authentication.look_up_public_client(str(token.agent_id))
    if agent_id_of(client.organization_id, form["client_id"]) != client.agent_id:
        raise client_authentication.invalid_client()
    return client


def count_token_by_grant(
    token: grants.GrantToken, token_request: TokenRequest, database: OrganizationDatabase, client: Client
) -> CountedToken | None:
    """Authenticate a client and count a token for the person of a grant, or return ``None`` if authentication failed.

    :param token: the grant's code or refresh token.
    :raises OAuthError: also ``invalid_grant`` for a code or refresh token that is not acceptable.
    """
    next_token = grants.create_token(token.agent_id, token.handle)
    redemption_call = _build_redemption_call(token, next_token, token_request, client)
    try:
        counted_token = issuance.record_issuance(database, client, redemption_call, token_request.proof)
    except issuance.SubjectRefused as refused:
        raise _reject_token(database, token, client, str(refused)) from None
    if counted_token is None:
        return None
    grant_row = counted_token.row
    subject_id = grant_row.issuer, token.decrypt(bytes(grant_row.subject_encrypted))
    return replace(
        counted_token,
        resource=grant_row.resource,
        delegation=Delegation((client.agent_id,), (), None, subject_id, grant_row.delegation_rule_id, token.grant_id),
        ends_at=int(grant_row.ends_at.timestamp()),
        members={"refresh_token": next_token.text},
    )


def _build_redemption_call(
    token: grants.GrantToken, next_token: grants.GrantToken, token_request: TokenRequest, client: Client
) -> RedemptionCall:
    form, proof = token_request.form, token_request.proof
    redirect_uri = form.get("redirect_uri")
    code_verifier = form.get("code_verifier") if form["grant_type"] == AUTHORIZATION_CODE else None
    redemption_parameters: dict[str, Any] = {
        "scope": [scope for scope in token_request.scope or [] if scope != OFFLINE_ACCESS] or None,
        # The form lacks a resource only if the client sent none. token_request.resource is also None for our own API.
        "resource": form.get("resource"),
        "jkt": proof and proof.jkt,
        "grant_id": token.grant_id,
        "token_digest": token.digest,
        "next_digest": next_token.digest,
        "challenge": code_verifier and base64url(hashlib.sha256(code_verifier.encode()).digest()).decode(),
        "redirect_uri": redirect_uri if redirect_uri is None or is_redirect_uri(redirect_uri) else "",
    }
    issuance_parameters = issuance.build_request_call(token_request, client).parameters
    return RedemptionCall("grants/redeem_grant", issuance_parameters | redemption_parameters)


def _reject_token(database: OrganizationDatabase, token: grants.GrantToken, client: Client, reason: str) -> OAuthError:
    """Return the error for a refused code or refresh token. End its grant if the token was used before."""
    if reason == Reason.USED:
        # A code or refresh token that is used twice may be stolen, so the whole grant ends (RFC 9700 section 4.14.2).
        actor = request_actor("agent", str(client.agent_id))
        with contextlib.suppress(NotFound), database.transaction(actor) as transaction:
            grants.end_grant(transaction, token.grant_id, "grant.reused")
    if reason != Reason.UNKNOWN:
        # Only a client that has a token of the grant can make the server store or count something.
        Rejection(client.organization_id, client.agent_id, "grant", reason).record(database)
    if reason == Reason.WRONG_RESOURCE:
        return OAuthError("invalid_target", "resource must be the one that the person has allowed")
    return OAuthError("invalid_grant", "the code or refresh token is not valid for this client: authorize again")
