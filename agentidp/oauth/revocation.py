"""``POST /api/v1/token/revoke``: end a token before it expires (RFC 7009)."""

from __future__ import annotations

from flask import Response, g

from agentidp.http.errors import OAuthError
from agentidp.http.openapi import Blueprint
from agentidp.http.request_context import request_actor
from agentidp.oauth.client_authentication import authenticates_client
from agentidp.oauth.client_form import NO_STORE, describe_client_endpoint
from agentidp.oauth.token_inspection import TokenFormSchema, inspect_token
from agentidp.oauth.token_revocation import revoke_token, revoke_token_of_another
from agentidp.services import services

blueprint = Blueprint("oauth-revocation", __name__, description="OAuth 2.0 token revocation")


@blueprint.route("/api/v1/token/revoke", methods=["POST"])
@authenticates_client
@blueprint.response(200)
@describe_client_endpoint(TokenFormSchema)
def revoke() -> Response:
    """Revoke a token of the client, or of another agent if the client has `agents:write`.

    The response is also 200 for a malformed token or one of another organization (section 2.2). It is 400
    `unauthorized_client` for another agent's token without that scope (section 2.1).
    """
    inspected = inspect_token(g.at)
    token = inspected.token
    if token is not None:
        if token.agent_id != inspected.client.agent_id and "agents:write" not in inspected.client_scopes:
            # With 200, the client would believe that the token is revoked.
            raise OAuthError("unauthorized_client", "the token was issued to another agent")
        database = services().database.of(token.organization_id, g.at)
        if token.agent_id == inspected.client.agent_id:
            revoke_token(database, token)
        else:
            revoke_token_of_another(database, token, by=request_actor("agent", str(inspected.client.agent_id)))
    return Response(status=200, headers=NO_STORE)
