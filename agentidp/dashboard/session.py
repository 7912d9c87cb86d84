"""Sessions of the dashboard. The cookie contains the whole session, and the server stores nothing.

The session of an agent is an access token of ours. Its audience is ``Settings.dashboard``, which the API refuses, or
the API, if a token was pasted into the sign-in form. For sessions of people see :mod:`agentidp.dashboard.person`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from datetime import datetime
from functools import wraps
from typing import Any, NamedTuple, TypeVar
from urllib.parse import urlsplit

from flask import Response, g, request

from agentidp import audit
from agentidp.caller import Caller, wait_for_turn
from agentidp.caller.token_verification import verify_token
from agentidp.config import Settings
from agentidp.dashboard import person
from agentidp.dashboard.person import Person
from agentidp.db.errors import DatabaseUnavailable
from agentidp.db.organization import Transaction
from agentidp.db.sql import Call
from agentidp.http.errors import ApiError
from agentidp.http.openapi import declarations_of
from agentidp.jose.access_token import AccessToken, SigningKey, TokenRefused
from agentidp.oauth import issuance
from agentidp.oauth.client import Client
from agentidp.oauth.revocation import end_session
from agentidp.openid.flows import build_cookie_prefix
from agentidp.services import Services, services

SCOPE = "analytics:read"
"""The only scope for which an agent's session token is issued."""

LIFETIME = 12 * 60 * 60
"""Seconds until a session expires, about a working day. Signing keys stay published for longer. A session with a pasted
token expires with the token."""

CHALLENGE = 'Cookie realm="agentidp"'
"""The challenge of a 401 (RFC 9110 section 15.5.2). Browsers do not know the scheme, and so ask for no password."""

View = TypeVar("View", bound=Callable[..., Any])

Session = AccessToken | Person


class NotSignedIn(ApiError):
    """401: there is no session, or the sign-in failed. The sign-in page shows the error."""

    status, code, message = 401, "UNAUTHORIZED", "Sign in to see your organization."

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message, headers={"WWW-Authenticate": CHALLENGE})


class SessionEnded(NotSignedIn):
    """401: the session in the cookie is not valid, or not valid any more."""

    message = "Your session has ended. Sign in again."


class NotAllowed(ApiError):
    """403: the session lacks a scope. *role* is the role of the person, or ``None`` for an agent."""

    status, code = 403, "FORBIDDEN"

    def __init__(self, scope: str, role: str | None) -> None:
        as_agent = f"You are signed in as an agent without the scope {scope}, which this needs."
        super().__init__(f"You are signed in as a {role}, and only an administrator may do this." if role else as_agent)


class Viewer(NamedTuple):
    """The agent or person who is signed in. *role* is the role of the person, or ``None`` for an agent."""

    organization_name: str
    name: str
    scopes: frozenset[str]
    role: str | None = None

    def may(self, scope: str) -> bool:
        """Return whether the session has a scope."""
        return scope in self.scopes

    def require(self, *scopes: str) -> None:
        """Raise :exc:`NotAllowed` unless the session has at least one of *scopes*."""
        if not any(self.may(scope) for scope in scopes):
            raise NotAllowed(scopes[0], self.role)


def base_path(settings: Settings) -> str:
    """Return the path of the dashboard in the URL that browsers use."""
    return urlsplit(settings.issuer).path + "/dashboard"


def sign_token(app_services: Services, signing_key: SigningKey, client: Client, at: datetime) -> str:
    """Return the token of a session that begins at *at*, for a client to whom :data:`SCOPE` was granted."""
    session_token = issuance.CountedToken(SCOPE, resource=app_services.settings.dashboard, token_ttl=LIFETIME)
    response_body = issuance.build_token_response(app_services, signing_key, client, session_token, at=at)
    return str(response_body["access_token"])


def is_suitable(token: AccessToken) -> bool:
    """Return whether a token has :data:`SCOPE` and is not bound to a key. Revocation is not checked here."""
    return token.jkt is None and SCOPE in token.scope


def build_viewer_query(session: Session) -> Call:
    """Return the statement that reads the :class:`Viewer` of a session. For an invalid session it returns no row.

    Revoking a credential ends its agent's earlier sessions and sign-in links, but not a session with a pasted API
    token, because revoking a credential does not end its tokens.
    """
    if isinstance(session, Person):
        return session.build_query()
    token = session
    is_for_api = token.audience == services().settings.resource
    return Call(
        "dashboard/viewer",
        {
            "agent_id": token.agent_id,
            "jti": token.jti,
            "issued_at": token.issue_instant,
            "scope": SCOPE,
            "signed_in_at": None if is_for_api else token.issue_instant,
        },
    )


def required(view: View) -> View:
    """Declare a page that needs a session. The view gets the :class:`Caller` as its first argument."""

    @wraps(view)
    def guarded(*args: Any, **kwargs: Any) -> Any:
        return view(resume_session(request.cookies.get(cookie_name(services().settings))), *args, **kwargs)

    declarations_of(guarded).authentication = "session"
    return guarded  # type: ignore[return-value]


def required_to(*scopes: str) -> Callable[[View], View]:
    """Declare a page that needs a session with at least one of *scopes*. Other sessions get :exc:`NotAllowed`."""

    def decorate(view: View) -> View:
        @wraps(view)
        def guarded(caller: Caller, *args: Any, **kwargs: Any) -> Any:
            g.viewer.require(*scopes)
            return view(caller, *args, **kwargs)

        declarations_of(guarded).session_scopes = scopes
        return required(guarded)  # type: ignore[return-value]

    return decorate


@contextlib.contextmanager
def begin_change(caller: Caller, scope: str) -> Iterator[Transaction]:
    """Open a transaction, or raise :exc:`SessionEnded` or :exc:`NotAllowed` if the session no longer has *scope*."""
    with caller.transaction() as transaction:
        viewer_rows = transaction.run(build_viewer_query(g.session))
        if not viewer_rows:
            raise SessionEnded
        _build_viewer(g.session, viewer_rows[0]).require(scope)
        yield transaction


def resume_session(cookie: str | None) -> Caller:
    """Return the caller to whom the session in a cookie belongs.

    :raises NotSignedIn: there is no cookie, or (:exc:`SessionEnded`) the session is not valid.
    :raises RateLimited: too many requests of the organization are running or waiting.
    """
    if cookie is None:
        raise NotSignedIn
    is_person = cookie.startswith(person.PREFIX)
    session = person.unseal(cookie, services().settings, g.at) if is_person else _verify_cookie(cookie)
    if session is None:
        raise SessionEnded
    wait_for_turn(session.organization_id)
    if not enter_session(session):
        raise SessionEnded
    caller: Caller = g.caller
    return caller


def resume_session_if_valid() -> None:
    """Set ``g.viewer`` if the request has a valid session, unless it is already set."""
    cookie = request.cookies.get(cookie_name(services().settings))
    if cookie is not None and g.get("viewer") is None:
        with contextlib.suppress(ApiError, DatabaseUnavailable):
            resume_session(cookie)


def _verify_cookie(cookie: str) -> AccessToken | None:
    try:
        token = verify_token(cookie, audience=None)
    except TokenRefused:
        return None
    settings = services().settings
    return token if token.audience in (settings.dashboard, settings.resource) and is_suitable(token) else None


def enter_session(session: Session) -> bool:
    """Return whether a session is valid now. If it is, set ``g.session``, ``g.caller`` and ``g.viewer``."""
    [viewer_rows] = services().database.of(session.organization_id, g.at).run(build_viewer_query(session))
    if not viewer_rows:
        return False
    agent_id = None if isinstance(session, Person) else session.agent_id
    actor = session.actor if isinstance(session, Person) else ("session", str(agent_id))
    # Caller does not count requests without a token, so pages that refresh themselves add nothing to the heatmap.
    g.caller = Caller(session.organization_id, agent_id, g.at, token=None, actor=actor)
    g.session, g.viewer = session, _build_viewer(session, viewer_rows[0])
    return True


def end_dashboard_session(caller: Caller) -> None:
    """End the session on all devices. If it was opened with a token for the API, this token stays valid for the API."""
    session: Session = g.session
    with caller.transaction() as transaction:
        if isinstance(session, Person):
            transaction.run(session.build_revocation())
            audit.record(transaction, "person.signed_out", session.identity)
        else:
            end_session(transaction, session, is_revoked=session.audience == caller.settings.dashboard)


def cookie_name(settings: Settings) -> str:
    """Return the name of the session cookie."""
    return f"{build_cookie_prefix(settings)}agentidp_session"


def set_cookie(response: Response, cookie: str, session: Session) -> None:
    """Set the session cookie, which browsers delete when the session expires."""
    max_age = session.expires_at - int(g.at.timestamp())
    response.set_cookie(cookie_name(services().settings), cookie, max_age, **_build_cookie_attributes())


def delete_cookie(response: Response) -> None:
    """Delete the session cookie from the browser."""
    response.delete_cookie(cookie_name(services().settings), **_build_cookie_attributes())


def _build_cookie_attributes() -> dict[str, Any]:
    settings = services().settings
    name_prefix = build_cookie_prefix(settings)
    # A cookie with the prefix __Host- must be sent to all paths. The other endpoints do not read the session's cookie.
    cookie_path = "/" if name_prefix == "__Host-" else base_path(settings)
    return {"path": cookie_path, "secure": bool(name_prefix), "httponly": True, "samesite": "Strict"}


def _build_viewer(session: Session, viewer_row: Any) -> Viewer:
    if isinstance(session, Person):
        return Viewer(viewer_row.organization_name, session.display_name, session.scopes, session.role)
    # The agent's current scopes apply. A session opened by pasting an API token is also limited to the token's scopes.
    is_for_api = session.audience == services().settings.resource
    scopes = frozenset(viewer_row.scopes)
    return Viewer(viewer_row.organization_name, viewer_row.agent_name, scopes & session.scope if is_for_api else scopes)
