"""Admit apps that a client ID metadata document describes, after a person has signed in.

A delegation rule of the person's organization must name the host of the document and accept the person. Before that,
nothing is requested, stored or counted. The row of the app's agent is also the cache of the document: it has the
redirect URIs, and the instant until which they may be used according to HTTP.
"""

from __future__ import annotations

import contextlib
import logging
import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

from agentidp.authorization import decision
from agentidp.authorization.requests import AuthorizationRequest, check_registration
from agentidp.caller import TURN
from agentidp.db.organization import Transaction
from agentidp.db.sql import Call
from agentidp.federation.agent_name import add_subject_suffix
from agentidp.federation.issuer_documents import ACCEPT, parse_json_object, parse_max_age
from agentidp.http.errors import Conflict, RateLimited, ValidationError
from agentidp.http.request_context import current_request, request_actor
from agentidp.oauth import throttle
from agentidp.oauth.client_document import DocumentRefused, agent_id_of, host_of, read_redirect_uris
from agentidp.outbound.client import RequestFailed, Response, request
from agentidp.outbound.places import Places
from agentidp.registry.agents import add_agent, update_agent
from agentidp.registry.credentials import PUBLIC_JWKS, add_credential
from agentidp.registry.grants import end_agent_grants
from agentidp.services import services

MAX_BODY = 5 * 1024
"""Maximum number of bytes of a client ID metadata document (section 8.7 of the draft)."""

TIMEOUT = 5.0
"""Maximum seconds to fetch a client ID metadata document, not counting the DNS lookup of its host."""

MAX_READINGS = 4
"""Maximum number of client documents that a process fetches at the same time. An organization fetches one at a time."""

MAX_DOCUMENTS = 100
"""Maximum number of an organization's agents, including deleted agents, that have a client ID metadata document."""

_JSON = re.compile(r"application/(?:[a-z0-9.-]+\+)?json\s*(?:;|$)", re.IGNORECASE)

logger = logging.getLogger("agentidp")

_places = Places(MAX_READINGS, 1)


def admit_app(
    requested: AuthorizationRequest, organization_id: str, claims: dict[str, Any], at: datetime
) -> AuthorizationRequest:
    """Create or update the agent of an app from the app's document, and complete the request of the app.

    :param organization_id: the organization of the person.
    :param claims: the claims of a verified ID token of the organization's provider.
    :raises RateLimited: too many documents are being fetched, or too many fetches for the person have failed.
    """
    client_uri = requested.client_uri or ""
    agent_id, host = agent_id_of(organization_id, client_uri), host_of(client_uri)
    database = services().database.of(organization_id, at)
    rules, agent_rows = database.run(
        Call("grants/authorizing_rules", {"agent_id": agent_id, "client_host": host}),
        Call("agents/get_agent", {"agent_id": agent_id}),
    )
    if not any(decision.authorizes(rule, requested.resource, claims) for rule in rules):
        raise ValidationError(
            f"No rule of your organization lets apps of {host} act for you at the server that the app wants to use. "
            "Nothing was sent to the app. Ask an administrator for a delegation rule with this host."
        )
    if not agent_rows or agent_rows[0].document_fresh_until <= at:
        scopes_of_rules = dict.fromkeys(
            scope for rule in rules for permission in rule.resources for scope in permission["scopes"]
        )
        with _throttle_failures(organization_id, claims["sub"], at):
            redirect_uris, fresh_until = _read_document(client_uri, organization_id, at)
            _store_agent(organization_id, client_uri, redirect_uris, list(scopes_of_rules), fresh_until, at)
        agent_rows = database.fetch("agents/get_agent", agent_id=agent_id)
    check_registration(agent_rows, requested.redirect_uri)
    return replace(requested, organization_id=organization_id, agent_id=agent_id)


@contextlib.contextmanager
def _throttle_failures(organization_id: str, person: str, at: datetime) -> Iterator[None]:
    """Count a failure of the ``with`` block for the person, or raise :exc:`RateLimited` after too many failures."""
    # Failures are counted per person, because a count per host would let one person block an app for all people.
    app_services = services()
    throttle_subject = f"apps of {person} in {organization_id}"
    throttle_cell = throttle.compute_throttle_cell(app_services.settings.instance_secret, throttle_subject, None)
    if throttle.is_throttled(app_services.database, [throttle_cell], at):
        raise RateLimited("Too many apps that you have used could not be looked up.")
    try:
        yield
    except ValidationError:
        throttle.admit_event(app_services.database, throttle_cell, at)
        raise


def _read_document(client_uri: str, organization_id: str, at: datetime) -> tuple[list[str], datetime]:
    """Fetch an app's document. Return the redirect URIs in it, and the instant until which they may be used."""
    # This request does not count as running while it waits for the app's host, because few requests may run at once.
    queue_turn = current_request().environ[TURN]
    queue_turn.pause()
    try:
        response = _fetch_document(client_uri, organization_id)
        redirect_uris = read_redirect_uris(client_uri, _parse_document(response))
    except (RequestFailed, DocumentRefused) as failed:
        log_fields = {"organization": organization_id, "host": host_of(client_uri), "reason": str(failed)}
        logger.warning("client ID metadata document not read", extra={"fields": log_fields})
        raise ValidationError(f"The document of this app at {host_of(client_uri)} cannot be used: {failed}.") from None
    finally:
        queue_turn.resume()
    return redirect_uris, at + timedelta(seconds=parse_max_age(response.headers))


def _fetch_document(client_uri: str, organization_id: str) -> Response:
    with _places.reserve(organization_id) as may_fetch:
        if not may_fetch:
            raise RateLimited("Other apps are being looked up.")
        allowed_networks = services().issuer_tokens.keys.networks
        app_url = urlsplit(client_uri)
        return request("GET", app_url, networks=allowed_networks, timeout=TIMEOUT, max_body=MAX_BODY, headers=ACCEPT)


def _parse_document(response: Response) -> dict[str, Any]:
    # A file that a user uploads to the app's host must not pass for the app's document
    # (draft-ietf-oauth-client-id-metadata-document section 4), so the content type must be JSON.
    is_json = any(
        header_name.lower() == "content-type" and _JSON.match(header_value)
        for header_name, header_value in response.headers
    )
    document = parse_json_object(response.body) if response.status == 200 and is_json else None
    if document is None:
        raise DocumentRefused(
            "the response is not a JSON object with the status 200 and the type application/json, "
            f"but has the status {response.status}"
        )
    return document


def _store_agent(
    organization_id: str,
    client_uri: str,
    redirect_uris: list[str],
    scopes: list[str],
    fresh_until: datetime,
    at: datetime,
) -> None:
    """Create an app's agent, or update its redirect URIs. If the URIs change, end all grants of people to the agent."""
    agent_id, host = agent_id_of(organization_id, client_uri), host_of(client_uri)
    database = services().database.of(organization_id, at)
    for agent_name in (host, add_subject_suffix(host, "", client_uri)):
        try:
            with database.transaction(request_actor("system", "agentidp")) as transaction:
                transaction.fetch("organizations/lock_organization")
                agent_rows = transaction.fetch("agents/get_agent", agent_id=agent_id)
                if not agent_rows:
                    _add_agent(transaction, client_uri, agent_name, redirect_uris, scopes)
                elif set(agent_rows[0].redirect_uris) != set(redirect_uris):
                    end_agent_grants(transaction, agent_id)
                    change_reason = {"clientUri": client_uri}
                    update_agent(transaction, agent_id, {"redirect_uris": redirect_uris}, reason=change_reason)
                transaction.fetch("agents/refresh_document", agent_id=agent_id, fresh_until=fresh_until)
                return
        except Conflict:
            # The name may belong to another agent, so the next name is tried.
            continue
    raise ValidationError(
        f"Your organization cannot add the app of {host}: it has too many agents, or an administrator has deleted the "
        "agent of this app. Ask an administrator."
    )


def _add_agent(
    transaction: Transaction, client_uri: str, name: str, redirect_uris: list[str], scopes: list[str]
) -> None:
    if transaction.fetch("agents/count_documents")[0].count >= MAX_DOCUMENTS:
        raise Conflict(f"The organization has {MAX_DOCUMENTS} apps with documents, which is the maximum.")
    agent = add_agent(
        transaction,
        agent_id=agent_id_of(transaction.organization_id, client_uri),
        client_uri=client_uri,
        name=name,
        scopes=scopes,
        redirect_uris=redirect_uris,
        max_agents=services().settings.max_agents,
    )
    add_credential(transaction, agent.agent_id, expires_at=None, label="first sight", jwks=PUBLIC_JWKS)
