"""Links that sign in to the dashboard. A link can be used once, within a few minutes, and opens a new session.

A link contains an access token, which only the sign-in page accepts (``Settings.dashboard_sign_in``).
"""

from __future__ import annotations

import hashlib
import json
from datetime import datetime
from uuid import UUID

import psycopg
from flask import Request, g

from agentidp.caller.token_verification import verify_token
from agentidp.dashboard import attempts, session
from agentidp.db.sql import Call
from agentidp.http.errors import ApiError
from agentidp.jose.access_token import AccessToken, TokenRefused
from agentidp.oauth import issuance
from agentidp.oauth.client import Client
from agentidp.registry import operator_token
from agentidp.services import Services, services

LIFETIME = 5 * 60
"""Seconds within which a sign-in link must be used."""


class UntypedLink(ApiError):
    """403: the sign-in link was followed from another page, whose author could choose the agent."""

    status, code = 403, "FORBIDDEN"
    message = "A sign-in link works only from the address bar: copy it, paste it there and press Enter."


class LinkRefused(session.NotSignedIn):
    """401: the sign-in link was used before, has expired or is invalid, or its agent can no longer sign in."""

    message = (
        f"This link is no longer valid: a link can be used once, within {LIFETIME // 60} minutes. "
        "Run agentidp dashboard --agent ID on the server to get a new one; for the demo, agentidp dashboard."
    )


def create_link(app_services: Services, organization_id: str, agent_id: UUID, at: datetime) -> str:
    """Return a new link that signs in as an agent. The link is a secret. Usage does not include the link's token."""
    # The signing key is read first, so that a link is recorded only if it can be signed.
    signing_key = app_services.keys.current().signing
    client, counted_token = operator_token.count_token(
        app_services,
        organization_id,
        agent_id,
        scope=[session.SCOPE],
        resource=None,
        at=at,
        action="agent.link_created",
        is_counted=False,
    )
    audience = app_services.settings.dashboard_sign_in
    link_token = issuance.CountedToken(counted_token.scope, resource=audience, token_ttl=LIFETIME)
    response_body = issuance.build_token_response(app_services, signing_key, client, link_token, at=at)
    return f"{audience}?token={response_body['access_token']}"


def follow_link(request: Request, at: datetime) -> tuple[str, AccessToken]:
    """Open a session by the link in a request, and use up the link.

    :returns: the session's token for the cookie, and its claims.
    :raises UntypedLink: the link was followed from another page.
    :raises LinkRefused: the link is not valid, or was used before.
    """
    if not _is_url_typed(request):
        raise UntypedLink
    app_services = services()
    try:
        link = verify_token(request.args.get("token", ""), audience=app_services.settings.dashboard_sign_in)
    except TokenRefused as error:
        if error.claims is not None:
            _record_refused_link(error.claims, at)
        raise LinkRefused from None
    if not session.is_suitable(link):
        raise LinkRefused
    # The signing key is read first, so that the link is used up only if its session can be signed.
    signing_key = app_services.keys.current().signing
    link_digest = hashlib.sha256(json.dumps(["dashboard link", link.jti]).encode()).digest()
    database, actor = app_services.database.of(link.organization_id, at), attempts.build_session_actor(link.agent_id)
    try:
        with database.transaction(actor) as transaction:
            # The lock waits for a transaction that is ending the agent's tokens, because the link ends with the tokens.
            transaction.fetch("agents/lock_agent", agent_id=link.agent_id)
            if not transaction.run(session.build_viewer_query(link)):
                raise LinkRefused
            # The second of two concurrent uses of a link waits here for the first, and then violates the unique index.
            transaction.run(Call("oauth/use_identifier", {"digest": link_digest, "expires_at": link.refused_from}))
            attempts.record_sign_in(transaction, link.agent_id, "link")
    except (LinkRefused, psycopg.errors.UniqueViolation):
        _record_refused_link(link, at)
        raise LinkRefused from None
    g.organization_id, g.agent_id = link.organization_id, link.agent_id
    session_token = session.sign_token(app_services, signing_key, Client(link.organization_id, link.agent_id), at)
    return session_token, verify_token(session_token, audience=app_services.settings.dashboard)


def _is_url_typed(request: Request) -> bool:
    """Return whether the URL was typed or pasted into the address bar, as far as the browser tells."""
    headers = request.headers
    fetch_site = headers.get("Sec-Fetch-Site")
    return fetch_site == "none" or not (fetch_site or headers.get("Origin") or headers.get("Referer"))


def _record_refused_link(link: AccessToken, at: datetime) -> None:
    attempts.record_refused_sign_in(link.organization_id, link.agent_id, at, by="link", reason="invalid_token")
