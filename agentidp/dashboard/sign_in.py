"""``/dashboard/sign-in`` and ``/dashboard/sign-out``."""

from __future__ import annotations

from datetime import datetime
from functools import partial
from typing import Any

from flask import Request, Response, g, request

from agentidp.caller import ADVICE, Caller, public
from agentidp.caller.token_verification import verify_token
from agentidp.counting import record_rejection
from agentidp.dashboard import attempts, link, oidc_sign_in, pages, return_page, session
from agentidp.dashboard.person import Person
from agentidp.dashboard.session import SCOPE, NotSignedIn
from agentidp.http.errors import ApiError, OAuthError
from agentidp.jose.access_token import AccessToken, TokenRefused
from agentidp.oauth import client_authentication, issuance
from agentidp.oauth.client import Client
from agentidp.oauth.client_form import read_form
from agentidp.openid.claims import SignInRefused
from agentidp.services import services

NOTICES = {
    "ended": session.SessionEnded.message,
    "signed-out": "You are signed out. A link that signed you in cannot be used again.",
}
"""Notices that the sign-in page shows, by parameter of its query."""


@pages.blueprint.get("/dashboard/sign-in")
@public
def show_sign_in_form() -> Response:
    """Show the sign-in form, or sign in if the query contains the token of a link."""
    # A program may send HEAD to find out whether the address exists, and must not use up the link.
    if "token" not in request.args or request.method == "HEAD":
        notices = [notice for parameter_name, notice in NOTICES.items() if parameter_name in request.args]
        return pages.page("sign_in.html", message=notices[0] if notices else None)
    return _start_session(*link.follow_link(request, g.at))


@pages.blueprint.post("/dashboard/sign-in")
@public
def sign_in() -> Response:
    """Sign in with an agent's credential or with an access token."""
    return _start_session(*open_session(request, g.at))


@pages.blueprint.post("/dashboard/sign-out")
@session.required
def sign_out(caller: Caller) -> Response:
    """End the session on all devices. Show a person a link for signing out at the provider too."""
    session.end_dashboard_session(caller)
    is_person = isinstance(g.session, Person)
    sign_out_url = oidc_sign_in.build_sign_out_url(services().settings, g.session) if is_person else None
    # A redirect to the provider would fail, because our Content-Security-Policy (form-action) keeps forms on this site.
    response = (
        pages.page("signed_out.html", address=sign_out_url) if sign_out_url else pages.see_other("/sign-in?signed-out")
    )
    session.delete_cookie(response)
    # The browser's cache is cleared, because its back button must not show the pages of the ended session.
    response.headers["Clear-Site-Data"] = '"cache"'
    return response


def open_session(request: Request, at: datetime) -> tuple[str, AccessToken]:
    """Open a session by the credential or the access token in the sign-in form.

    :returns: the token for the cookie, and its claims.
    :raises NotSignedIn: the credential or token is not valid. The failure is counted as a rejection, as at the API.
    :raises SignInRefused: the credential or token is valid but not sufficient, or there were too many attempts.
    """
    try:
        form = read_form(request)
        if "token" in form:
            return form["token"], _sign_in_with_token(form["token"], at)
        token = _sign_in_with_credential(request, form, at)
    except OAuthError as error:
        raise _explain(error) from None
    return token, verify_token(token, audience=services().settings.dashboard)


def _sign_in_with_credential(request: Request, form: dict[str, str], at: datetime) -> str:
    app_services = services()
    client = client_authentication.identify_client(request, form, at)
    signing_key = app_services.keys.current().signing
    try:
        client, _ = client_authentication.authenticate(request, client, at, partial(_grant_session, at=at))
    except OAuthError as error:
        attempts.record_refused_sign_in(
            client.organization_id, client.agent_id, at, by="credential", reason=error.error
        )
        raise
    g.organization_id, g.agent_id = client.organization_id, client.agent_id
    return session.sign_token(app_services, signing_key, client, at)


def _grant_session(client: Client, at: datetime) -> issuance.CountedToken | None:
    """Grant :data:`SCOPE` to the client and record the sign-in. A used assertion raises ``UniqueViolation``."""
    session_call = issuance.build_call(client, scope=[SCOPE], is_counted=False)
    database = services().database.of(client.organization_id, at)
    with database.transaction(attempts.build_session_actor(client.agent_id)) as transaction:
        session_rows = transaction.run(session_call)
        if session_rows and session_rows[0].scope is not None:
            attempts.record_sign_in(transaction, client.agent_id, "credential")
    return issuance.check_issuance(client, session_call, session_rows, at=at)


def _sign_in_with_token(unverified_token: str, at: datetime) -> AccessToken:
    app_services = services()
    token: AccessToken | None
    is_valid, reason, refusal_message = False, "revoked token", None
    try:
        token = verify_token(unverified_token, audience=app_services.settings.resource)
    except TokenRefused as error:
        token, reason, refusal_message = error.claims, f"token {error}", error.client_message
    else:
        if token.jkt is not None:
            raise SignInRefused(403, "This token is bound to a key, and a browser cannot prove that it has the key.")
        if SCOPE not in token.scope:
            raise SignInRefused(403, f"This token lacks the scope {SCOPE}.")
        is_valid = session.enter_session(token)
    if token is not None and not is_valid:
        reason = record_rejection(app_services.database.of(token.organization_id, at), token.agent_id, reason)
        attempts.record_refused_sign_in(token.organization_id, token.agent_id, at, by="token", reason="invalid_token")
    if token is None or not is_valid:
        raise NotSignedIn(refusal_message or ADVICE.get(reason, "This token is invalid, expired or revoked."))
    actor = attempts.build_session_actor(token.agent_id)
    with app_services.database.of(token.organization_id, at).transaction(actor) as transaction:
        attempts.record_sign_in(transaction, token.agent_id, "token")
    return token


def _explain(error: OAuthError) -> ApiError:
    if error.error == "invalid_client":
        return NotSignedIn("The client ID or the secret is wrong, or the agent is not active.")
    if error.status == 429:
        wait = error.headers["Retry-After"]
        return SignInRefused(429, f"Too many failed attempts. Try again in {wait} s.", {"Retry-After": wait})
    if error.error == "invalid_scope":
        return SignInRefused(403, f"This agent lacks the scope {SCOPE}, so it cannot sign in to the dashboard.")
    if error.error == "invalid_dpop_proof":
        return SignInRefused(
            403,
            "This agent gets only tokens that are bound to a key, and a browser cannot prove that it has the key. "
            "Use another agent.",
        )
    return SignInRefused(error.status, f"The form cannot be read: {error.description}.")


def _start_session(unverified_token: str, token: Any) -> Response:
    response = pages.see_other(return_page.find_page(request))
    session.set_cookie(response, unverified_token, token)
    return response
