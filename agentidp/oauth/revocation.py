"""``POST /api/v1/token/revoke``: a token stops working before it expires (RFC 7009)."""

from __future__ import annotations

from flask import Response, g

from agentidp.http.errors import OAuthError
from agentidp.http.openapi import Blueprint
from agentidp.oauth.client_authentication import authenticates_client
from agentidp.oauth.client_form import NO_STORE, described
from agentidp.oauth.token_inspection import TokenFormSchema, inspect_token, revoke_token
from agentidp.services import services

blueprint = Blueprint("oauth-revocation", __name__, description="OAuth 2.0 token revocation")


@blueprint.route("/api/v1/token/revoke", methods=["POST"])
@authenticates_client
@blueprint.response(200)
@described(TokenFormSchema)
def revoke() -> Response:
    """Revoke a token of the client, or of another agent where the client may change agents.

    Also 200 for what is no token, or another organization's: the client need not care, and learns nothing
    (section 2.2).

    :raises OAuthError: ``unauthorized_client`` for another agent's token (section 2.1). A silent 200 would leave the
        client believing that the token is dead.
    """
    inspected = inspect_token(g.at)
    token = inspected.token
    if token is not None:
        if token.agent_id != inspected.client.agent_id and "agents:write" not in inspected.client_scopes:
            raise OAuthError("unauthorized_client", "the token was issued to another agent")
        revoke_token(services().database.of(token.organization_id, g.at), token)
    return Response(status=200, headers=NO_STORE)
