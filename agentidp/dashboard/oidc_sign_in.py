"""``/dashboard/sign-in/oidc`` and its callbacks: people sign in at the OpenID Connect provider of their company.

The parameter ``organization`` names an organization whose own provider takes the place of the instance's.
"""

from __future__ import annotations

import logging
import secrets
from datetime import datetime
from urllib.parse import urlencode, urlsplit

import flask
from flask import Response, g, request

from agentidp import audit
from agentidp.audit import INSTANCE
from agentidp.caller import public
from agentidp.config import Settings
from agentidp.dashboard import attempts, pages, return_page, session
from agentidp.dashboard.person import Person
from agentidp.http.request_context import request_actor
from agentidp.openid import claims as person_claims
from agentidp.openid.claims import NoAccess, SignInRefused, format_identity, list_actor_fields
from agentidp.openid.flows import DASHBOARD as PATH
from agentidp.openid.organization_provider import get_callback_provider, get_provider
from agentidp.openid.provider import Provider
from agentidp.registry.organizations import find_organization
from agentidp.services import services

logger = logging.getLogger("agentidp")


@pages.blueprint.get(PATH)
@public
def begin() -> Response:
    """Begin a sign-in at the provider of the organization in the query or, without one, of the instance."""
    provider = get_provider(request.args.get("organization"), g.at)
    return send_to_provider(provider, provider.begin_sign_in(PATH, return_page.find_page(request), g.at))


def send_to_provider(provider: Provider, address: str) -> Response:
    """Redirect the browser to the provider of the instance, or show a page with a link to an organization's provider.

    An organization chooses the address of its provider. Without the page, it could lead strangers from this server to
    any address (RFC 9700 section 4.11.2).
    """
    if provider.organization_id is not None:
        return pages.page("sign_in_elsewhere.html", address=address, host=urlsplit(address).netloc)
    response: Response = flask.redirect(address)  # type: ignore[assignment]
    response.headers["Cache-Control"] = "no-store"
    return response


@pages.blueprint.get(f"{PATH}/callback")
@pages.blueprint.get(f"{PATH}/callback/<organization_id>", endpoint="callback_of_organization")
@public
def receive_code(organization_id: str | None = None) -> Response:
    """Open a session for the person whom the provider of an organization, or of the instance, has signed in."""
    provider = get_callback_provider(organization_id, g.at)
    # A program that checks with HEAD whether the address exists must not use up the code.
    if request.method == "HEAD":
        return pages.page("sign_in.html")
    claims, return_to = provider.complete_sign_in(PATH, g.at)
    subject, person_name = person_claims.read_subject(claims), person_claims.read_name(claims)
    try:
        organization_id = _check_organization(provider.find_organization_id(claims), g.at)
        role = person_claims.read_role(claims, provider.settings)
        person = _build_person(organization_id, provider, subject, person_name, role, g.at)
        _record_sign_in(person, g.at)
    except NoAccess as refused:
        log_refusal(organization_id or INSTANCE, provider.settings.issuer, subject, person_name, refused.reason, g.at)
        raise
    g.organization_id = person.organization_id
    # The response is a page and not a redirect, because the navigation began at another site. The browser would follow
    # a redirect without the new cookie, which is SameSite=Strict.
    response = pages.page("signed_in.html", return_to=return_page.check_page(return_to))
    session.set_cookie(response, person.seal(services().settings), person)
    return response


def _check_organization(organization_id: str, at: datetime) -> str:
    """Return the organization's ID, or raise :exc:`NoAccess` if the organization does not exist."""
    if find_organization(services().database, organization_id, at) is None:
        raise NoAccess("unknown organization", "Your account belongs to no organization here.")
    return organization_id


def _build_person(
    organization_id: str, provider: Provider, subject: str, name: str | None, role: str, at: datetime
) -> Person:
    now = int(at.timestamp())
    return Person(
        organization_id=organization_id,
        issuer=provider.settings.issuer,
        subject=subject,
        name=name,
        role=role,
        session_id=secrets.token_urlsafe(16),
        issued_at=now,
        expires_at=now + session.LIFETIME,
        provider_version=provider.version,
    )


def _record_sign_in(person: Person, at: datetime) -> None:
    """Record a person's sign-in in the audit trail, or raise :exc:`NoAccess` if the organization is suspended."""
    database = services().database.of(person.organization_id, at)
    with database.transaction(request_actor(*person.actor)) as transaction:
        if not transaction.run(person.build_query()):
            raise NoAccess("suspended organization", "Your organization is suspended.")
        audit.record(transaction, "person.signed_in", person.identity, after={"role": person.role})


def log_refusal(organization_id: str, issuer: str, subject: str, name: str | None, reason: str, at: datetime) -> None:
    """Log a refused sign-in. Also record it in the audit trail, unless the person was refused too often lately."""
    person_identity = format_identity(issuer, subject)
    log_fields = {"reason": reason, "person": person_identity, "address": request.remote_addr}
    logger.warning("sign-in of a person refused", extra={"fields": log_fields})
    actor = request_actor(*list_actor_fields(issuer, subject, name))
    attempts.record_rate_limited_event(
        organization_id, actor, "person.sign_in_refused", person_identity, {"reason": reason}, at
    )


def build_sign_out_url(settings: Settings, person: Person) -> str | None:
    """Return the address at which a person who has signed out here can also sign out at the provider, or ``None``."""
    try:
        provider = get_provider(person.organization_id if person.provider_version else None, g.at)
    except SignInRefused:
        return None
    end_session_endpoint = provider.client.find_end_session_endpoint()
    if end_session_endpoint is None:
        return None
    parameters = {
        "client_id": provider.settings.client_id,
        "post_logout_redirect_uri": f"{settings.dashboard_sign_in}?signed-out",
    }
    return f"{end_session_endpoint}{'&' if '?' in end_session_endpoint else '?'}{urlencode(parameters)}"
