"""``POST /api/v1/token/revoke``: end a token before it expires (RFC 7009)."""

from __future__ import annotations

import contextlib

from flask import Response, g

from agentidp import audit
from agentidp.db.organization import Transaction
from agentidp.db.sql import Call
from agentidp.http.errors import NotFound, OAuthError
from agentidp.http.openapi import Blueprint
from agentidp.http.request_context import current_request, request_actor
from agentidp.jose.access_token import AccessToken
from agentidp.oauth import authorization_grant, grants
from agentidp.oauth.client_authentication import PUBLIC, authenticates_client
from agentidp.oauth.client_form import NO_STORE, describe_client_endpoint
from agentidp.oauth.introspection import TokenFormSchema, inspect_token, read_token_form
from agentidp.services import services

blueprint = Blueprint("oauth-revocation", __name__, description="OAuth 2.0 token revocation")


@blueprint.route("/api/v1/token/revoke", methods=["POST"])
@authenticates_client
@blueprint.response(200)
@describe_client_endpoint(TokenFormSchema)
def revoke() -> Response:
    """Revoke a token of the client or, if the client has the scope `agents:write`, a token of another agent.

    Revoking a refresh token also ends the access tokens of its grant. A client with a public credential sends only its
    `client_id`, and can revoke only its own tokens.

    A malformed token, or a token of another organization, gets 200 too (RFC 7009 section 2.2). Another agent's token
    gets 400 `unauthorized_client` if the client lacks the scope `agents:write` (RFC 7009 section 2.1).
    """
    request = current_request()
    form = read_token_form(request)
    refresh_token = grants.read_token(form["token"])
    client = authorization_grant.identify_client(request, form, refresh_token, g.at)
    token_inspection = inspect_token(request, form["token"], client, g.at)
    client, token = token_inspection.client, token_inspection.token
    database, actor = services().database.of(client.organization_id, g.at), request_actor("agent", str(client.agent_id))
    if refresh_token.agent_id == client.agent_id:
        # NotFound means that a newer refresh token has replaced this refresh token, so the grant does not end.
        with contextlib.suppress(NotFound), database.transaction(actor) as transaction:
            grants.end_grant(transaction, refresh_token.grant_id, token_digest=refresh_token.digest)
    if token is None:
        return Response(status=200, headers=NO_STORE)
    # Anybody can send the client_id of a public client, so such a client revokes only its own tokens.
    is_administrator = client.key_or_rule != PUBLIC and "agents:write" in token_inspection.client_scopes
    if token.agent_id != client.agent_id and not is_administrator:
        # A response of 200 would make the client believe that the token is revoked.
        raise OAuthError("unauthorized_client", "the token was issued to another agent")
    if token.agent_id == client.agent_id:
        database.run(_build_revocation_call(token), durable=True)
    else:
        with database.transaction(actor) as transaction:
            transaction.run(_build_revocation_call(token))
            audit.record(transaction, "agent.token_revoked", token.agent_id, before={"jti": token.jti})
    return Response(status=200, headers=NO_STORE)


def end_session(transaction: Transaction, token: AccessToken, *, is_revoked: bool) -> None:
    """Record a sign-out from the dashboard. If *is_revoked*, also revoke the session's token."""
    if is_revoked:
        transaction.run(_build_revocation_call(token))
    audit.record(transaction, "agent.signed_out", token.agent_id)


def _build_revocation_call(token: AccessToken) -> Call:
    return Call("oauth/revoke_token", {"jti": token.jti, "expires_at": token.refused_from})
