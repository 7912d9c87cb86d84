"""Signing in to the dashboard, staying so, and signing out.

A session is an access token of ours in a cookie, so the server keeps nothing: one whose audience is
``Settings.dashboard``, which is of no use at the API, or one for the API that somebody has pasted.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from functools import wraps
from typing import Any, NamedTuple, TypeVar
from urllib.parse import urlsplit

from flask import Request, Response, g, request

from agentidp.caller import verified_token
from agentidp.config import LEEWAY, Settings
from agentidp.db.database import Call
from agentidp.http.errors import ApiError, OAuthError
from agentidp.jose.access_token import AccessToken, SigningKey, TokenRefused
from agentidp.oauth import client_authentication, issuance
from agentidp.oauth.token import read_form
from agentidp.services import Services, services
from agentidp.usage import record_rejection

SCOPE = "analytics:read"
"""What a session must have, and all that one has."""

LIFETIME = 12 * 60 * 60
"""Seconds that a session lives after signing in with a credential or a link: a day's work, and less than a signing key
stays published. One that was opened with a pasted token lives as long as that.
"""

CHALLENGE = 'Cookie realm="agentidp"'
"""A 401 must have a challenge (RFC 9110 section 15.5.2); at one that browsers know they would ask for a password."""

SAFE_METHODS = ("GET", "HEAD", "OPTIONS")

View = TypeVar("View", bound=Callable[..., Any])


class NotSignedIn(ApiError):
    """401: there is no session, or no longer; or whoever signs in is not who they say. Shown on the sign-in page."""

    status, code, message = 401, "UNAUTHORIZED", "Sign in to see your organization."

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message, headers={"WWW-Authenticate": CHALLENGE})


class SessionEnded(NotSignedIn):
    """401: the session in the cookie is not good any more, or never was."""

    message = "Your session has ended. Sign in again."


class SignInRefused(ApiError):
    """Signing in does not work; the sign-in page gives the reason."""

    code = "FORBIDDEN"

    def __init__(self, status: int, message: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(message, headers=headers)
        self.status = status


class CrossOrigin(ApiError):
    """403: the request comes from another site's page."""

    status, code = 403, "FORBIDDEN"
    message = "This request was not made by a page of the dashboard, so nothing was done."


class Viewer(NamedTuple):
    """Who looks, and at what."""

    organization_name: str
    agent_name: str


def base_path(settings: Settings) -> str:
    """The path of the dashboard as a browser sees it."""
    return urlsplit(settings.issuer).path + "/dashboard"


def session_token(s: Services, signing_key: SigningKey, client: issuance.Client, at: datetime) -> str:
    """Sign a session that begins at *at* for a client that was granted :data:`SCOPE` and whose token was counted."""
    body = issuance.token_response(s, signing_key, client, SCOPE, resource=s.settings.dashboard, at=at, ttl=LIFETIME)
    return str(body["access_token"])


def is_suitable(token: AccessToken) -> bool:
    """Whether a verified token is a bearer token with :data:`SCOPE`; the rest is for :func:`viewer_query` to say."""
    return token.jkt is None and SCOPE in token.scope


def viewer_query(token: AccessToken) -> Call:
    """The statement that names the organization and the agent of a verified token; no row if it is not good now.

    A credential that was revoked since a session or a link was made ends it, but not a token for the API.
    """
    is_for_api = token.audience == services().settings.resource
    return Call(
        "dashboard/viewer",
        {
            "organization_id": token.organization_id,
            "agent_id": token.agent_id,
            "jti": token.jti,
            "scope": SCOPE,
            "signed_in_at": None if is_for_api else datetime.fromtimestamp(token.issued_at, UTC),
        },
    )


def required(view: View) -> View:
    """Declare a page that needs a session. It finds the caller in ``g.caller`` and ``g.viewer``, and what it reads is
    not counted as a request.
    """

    @wraps(view)
    def guarded(*args: Any, **kwargs: Any) -> Any:
        resume(request.cookies.get(cookie_name(services().settings)))
        return view(*args, **kwargs)

    guarded.authentication = "session"  # type: ignore[attr-defined]
    return guarded  # type: ignore[return-value]


def refuse_cross_origin(request: Request) -> None:
    """Refuse what another site's page lets a browser send, signing in included: the rule of ``CrossOriginProtection``
    in Go's ``net/http`` (1.25), which needs no state.

    Browsers say in ``Sec-Fetch-Site`` where a request comes from, if the address is https or localhost. Those of
    before 2023 do not, and send ``Origin``; what sends neither is no browser, and has no cookie to be misused.

    :raises CrossOrigin: 403.
    """
    if request.method in SAFE_METHODS:
        return
    site, origin = request.environ.get("HTTP_SEC_FETCH_SITE", ""), request.environ.get("HTTP_ORIGIN", "")
    if site in ("same-origin", "none") or (not site and not origin):
        return
    # A proxy may have changed Host; then the page's origin is still the issuer's.
    own = (request.environ.get("HTTP_HOST", ""), urlsplit(services().settings.issuer).netloc)
    if site or "://" not in origin or origin.partition("://")[2] not in own:
        raise CrossOrigin


def sign_in(request: Request, at: datetime) -> tuple[str, AccessToken]:
    """Open a session with what the sign-in form holds: an agent's credential, or an access token.

    :returns: the token for the cookie, and its claims.
    :raises NotSignedIn: 401: neither is good. It was counted as a rejection, like at the API.
    :raises SignInRefused: it is good, and does not suffice; or 429, too many attempts.
    """
    try:
        form = read_form(request)
        if "token" in form:
            return form["token"], _by_token(form["token"], at)
        token = _by_credential(request, form, at)
    except OAuthError as refused:
        raise _explained(refused) from None
    return token, verified_token(token, audience=services().settings.dashboard)


def resume(unverified_token: str | None) -> None:
    """Take up the session in a cookie: set ``g.caller`` and ``g.viewer``.

    :raises NotSignedIn: there is none.
    :raises SessionEnded: it is not good any more.
    """
    if unverified_token is None:
        raise NotSignedIn
    try:
        token = verified_token(unverified_token, audience=None)
        if token.audience not in (services().settings.dashboard, services().settings.resource):
            raise TokenRefused("for another audience", token)
    except TokenRefused:
        token = None
    if token is None or not _is_good(token):
        raise SessionEnded


def sign_out() -> None:
    """End the session that was taken up: its token is revoked, unless it is one for the API that somebody pasted."""
    s, token = services(), g.caller
    if token.audience == s.settings.dashboard:
        s.database.fetch_durably(
            "oauth/revoke_token",
            organization_id=token.organization_id,
            jti=token.jti,
            # As at the revocation endpoint: one leeway for the clock of each server.
            expires_at=datetime.fromtimestamp(token.expires_at + 2 * LEEWAY, UTC),
            at=g.at,
        )


def cookie_name(settings: Settings) -> str:
    """With the prefix that browsers hold to ``Secure``, where the issuer is https."""
    return ("__Secure-" if _is_secure(settings) else "") + "agentidp_session"


def set_cookie(response: Response, unverified_token: str, token: AccessToken) -> None:
    """Keep a session in the browser for as long as its token lives."""
    settings = services().settings
    response.set_cookie(
        cookie_name(settings),
        unverified_token,
        max_age=token.expires_at - int(g.at.timestamp()),
        path=base_path(settings),
        secure=_is_secure(settings),
        httponly=True,
        samesite="Strict",
    )


def delete_cookie(response: Response) -> None:
    """Let the browser forget its session."""
    settings = services().settings
    response.delete_cookie(
        cookie_name(settings),
        path=base_path(settings),
        secure=_is_secure(settings),
        httponly=True,
        samesite="Strict",
    )


def _is_secure(settings: Settings) -> bool:
    return settings.issuer.startswith("https://")


def _is_good(token: AccessToken) -> bool:
    """Whether a verified token opens the dashboard now; then ``g.caller`` and ``g.viewer`` are set."""
    if not is_suitable(token):
        return False
    [rows] = services().database.run(token.organization_id, viewer_query(token))
    if not rows:
        return False
    g.caller, g.viewer = token, Viewer(*rows[0])
    # A page that refreshes itself must not colour the heatmap: nothing here is counted as a request.
    g.admitted = True
    return True


def _by_credential(request: Request, form: dict[str, str], at: datetime) -> str:
    s = services()
    client = client_authentication.presented_client(request, form, at)
    signing_key = s.keys.current().signing
    granted = issuance.record(s.database, client, scope=[SCOPE], resource=None, proof=None, at=at)
    if granted is None:
        client_authentication.refuse(request, client, at)
    g.organization_id, g.agent_id = client.organization_id, client.agent_id
    return session_token(s, signing_key, client, at)


def _by_token(unverified_token: str, at: datetime) -> AccessToken:
    s = services()
    token: AccessToken | None
    try:
        token = verified_token(unverified_token, audience=s.settings.resource)
    except TokenRefused as refused:
        token = refused.claims
        is_known = False
    else:
        if token.jkt is not None:
            raise SignInRefused(
                403, "This token is bound to a key, whose proof a browser cannot send. Use a bearer token."
            )
        if SCOPE not in token.scope:
            raise SignInRefused(403, f"This token lacks the scope {SCOPE}.")
        is_known = _is_good(token)
    if token is not None and not is_known:
        record_rejection(s.database, token.organization_id, token.agent_id, at)
    if token is None or not is_known:
        raise NotSignedIn("This token is invalid, expired or revoked.")
    return token


def _explained(refused: OAuthError) -> ApiError:
    """An OAuth error in words for a person."""
    if refused.error == "invalid_client":
        return NotSignedIn("The client id or the secret is wrong, or the agent is not active.")
    if refused.status == 429:
        wait = refused.headers["Retry-After"]
        return SignInRefused(429, f"Too many failed attempts. Try again in {wait} s.", {"Retry-After": wait})
    if refused.error == "invalid_scope":
        return SignInRefused(403, f"This agent lacks the scope {SCOPE}, so it may not see the dashboard.")
    if refused.error == "invalid_dpop_proof":
        return SignInRefused(
            403,
            "The tokens of this agent must be bound to a key, whose proof a browser cannot send. Use another agent.",
        )
    return SignInRefused(refused.status, f"That cannot be read: {refused.description}.")
