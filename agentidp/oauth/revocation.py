"""``POST /api/v1/token/revoke``: a token stops working before it expires (RFC 7009)."""

from __future__ import annotations

from datetime import UTC, datetime

from flask import Response, g

from agentidp.caller import public
from agentidp.config import LEEWAY
from agentidp.http.errors import OAuthError
from agentidp.http.openapi import Blueprint
from agentidp.oauth.introspection import TokenFormSchema, examine
from agentidp.oauth.token import NO_STORE, described
from agentidp.services import services

blueprint = Blueprint("oauth-revocation", __name__, description="OAuth 2.0 token revocation")


@blueprint.route("/api/v1/token/revoke", methods=["POST"])
@public
@blueprint.response(200)
@described(TokenFormSchema)
def revoke() -> Response:
    """Revoke a token of the client, or of another agent where the client may change agents.

    Also 200 for what is no token, or another organization's: the client need not care, and learns nothing
    (section 2.2).

    :raises OAuthError: ``unauthorized_client`` for another agent's token (section 2.1). A silent 200 would leave the
        client believing that the token is dead.
    """
    examined = examine(g.at)
    token = examined.token
    if token is not None:
        if token.agent_id != examined.client.agent_id and "agents:write" not in examined.client_scopes:
            raise OAuthError("unauthorized_client", "the token was issued to another agent")
        services().database.fetch_durably(
            "oauth/revoke_token",
            organization_id=token.organization_id,
            jti=token.jti,
            # A server whose clock is behind takes the token for one LEEWAY after exp by its own clock, and another
            # by the clock of the server that deletes the row.
            expires_at=datetime.fromtimestamp(token.expires_at + 2 * LEEWAY, UTC),
            at=g.at,
        )
    return Response(status=200, headers=NO_STORE)
