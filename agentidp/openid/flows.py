"""Unfinished sign-ins, each of which is in a cookie of the browser until the provider redirects the browser back.

Each sign-in has its own cookie. If sign-ins that begin at the same time in several tabs shared a cookie, the last
response would replace the others. A cookie is ``SameSite=Lax``, because the redirect back comes from another site.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from datetime import UTC, datetime, timedelta
from typing import NamedTuple
from urllib.parse import urlsplit

from flask import Response, after_this_request, request

from agentidp.config import Settings
from agentidp.jose.sealing import Sealer, Unreadable
from agentidp.services import services

DASHBOARD, AUTHORIZATION = PATHS = ("/dashboard/sign-in/oidc", "/authorize")
"""Paths at which a sign-in begins. The provider later redirects the browser to the path plus ``/callback``."""

LIFETIME = timedelta(minutes=10)
"""Maximum time that a person may take to sign in at the OpenID Connect provider."""

MAX_CHARACTERS = 3_500
"""Maximum length of all cookies of sign-ins and forms together, which is enough for about four sign-ins. The longest
session of the dashboard has 4,096 characters, and nginx accepts 8 KB. Sign-ins that begin at the same time can exceed
this maximum, because no response knows the cookies that the other responses set."""

FORM_CHARACTERS = 43
"""Length of the random string in the cookie of a form (:mod:`agentidp.authorization.sealed_form`)."""

_COMMON_NAME = "agentidp_sign_in_"


class Flow(NamedTuple):
    """An unfinished sign-in.

    :param return_to: a string that the cookie keeps until the sign-in is completed.
    :param provider_version: the version of the organization's own provider; empty for the provider of the instance.
    :param began_at: seconds since the epoch.
    """

    state: str
    nonce: str
    verifier: str
    return_to: str
    provider_version: str
    began_at: int


def create_flow(return_to: str, provider_version: str, at: datetime) -> Flow:
    """Return a new sign-in."""
    state, nonce, code_verifier = (secrets.token_urlsafe(32) for _ in range(3))
    return Flow(state, nonce, code_verifier, return_to, provider_version, int(at.timestamp()))


def store_flow(path: str, flow: Flow) -> None:
    """Store a sign-in in a cookie, and delete old cookies if all cookies together would be too long.

    :param path: one of :data:`PATHS`. Only :func:`find_flow` for the same path finds the sign-in.
    """
    cookie_name, sealed_flow = build_cookie_name(flow.state), build_sealer().seal_json(f"{path} {flow.state}", flow[1:])
    _delete_oldest_cookies(MAX_CHARACTERS - len(f"{cookie_name}={sealed_flow}; "))
    set_cookie(cookie_name, sealed_flow)


def delete_flow(flow: Flow) -> None:
    """Delete the cookie of a sign-in."""
    set_cookie(build_cookie_name(flow.state), "")


def find_flow(path: str, at: datetime) -> Flow | None:
    """Return the unfinished sign-in whose ``state`` is in the request's query, or ``None`` if this browser has none."""
    state = request.args.get("state", "")
    sealed_flow = request.cookies.get(build_cookie_name(state), "")
    try:
        flow = Flow(state, *build_sealer().open_json(f"{path} {state}", sealed_flow))
    # The constructor raises TypeError if another release, with other fields, has stored the sign-in.
    except (TypeError, Unreadable):
        return None
    return flow if is_recent(flow.began_at, at) else None


def is_recent(began_at: int, at: datetime) -> bool:
    """Return whether two instants, of servers whose clocks may differ, are less than :data:`LIFETIME` apart."""
    return abs(at - datetime.fromtimestamp(began_at, UTC)) < LIFETIME


def build_sealer() -> Sealer:
    """Return the object that encrypts and decrypts cookies of unfinished sign-ins, and hidden fields of forms."""
    return Sealer(services().settings, b"agentidp sign-in of a person")


def build_cookie_prefix(settings: Settings) -> str:
    """Return the prefix of the names of our cookies, which makes browsers restrict who can set the cookies.

    Only our own host can set a cookie with the prefix ``__Host-``, but the cookie is sent to all paths of the host. If
    our issuer has a path, other services may share the host, so the prefix is ``__Secure-``, which requires only https.
    """
    issuer = urlsplit(settings.issuer)
    if issuer.scheme != "https":
        return ""
    return "__Secure-" if issuer.path else "__Host-"


def build_cookie_name(key: str) -> str:
    """Return the name of the cookie for a secret string. The name ends with a hash of the string."""
    digest = hashlib.sha256(key.encode()).hexdigest()[:16]
    return f"{build_cookie_prefix(services().settings)}{_COMMON_NAME}{digest}"


def find_form_key() -> str | None:
    """Return the random string in the cookie of an open form of this browser, or ``None`` if no form is open."""
    # Browsers send older cookies first (RFC 6265 section 5.4). The newest cookie is the last that is deleted for space.
    for cookie_name, cookie_value in reversed(list(request.cookies.items())):
        if len(cookie_value) == FORM_CHARACTERS and cookie_name == build_cookie_name(cookie_value):
            return cookie_value
    return None


def set_cookie(name: str, value: str) -> None:
    """Set a cookie for :data:`LIFETIME` in the response to the current request. An empty value deletes the cookie."""
    issuer_url = urlsplit(services().settings.issuer)
    cookie_path, is_secure = issuer_url.path or "/", issuer_url.scheme == "https"
    max_age = LIFETIME if value else timedelta()

    @after_this_request
    def add_cookie(response: Response) -> Response:
        response.set_cookie(name, value, max_age, path=cookie_path, secure=is_secure, httponly=True, samesite="Lax")
        return response


def _delete_oldest_cookies(max_characters: int) -> None:
    """Delete the oldest cookies, so that the remaining cookies have at most *max_characters* together."""
    # A sibling subdomain can set cookies with other names, which must not displace our cookies.
    cookie_name_pattern = re.compile(f"{build_cookie_prefix(services().settings)}{_COMMON_NAME}[0-9a-f]{{16}}")
    # Browsers send older cookies first (RFC 6265 section 5.4), so the reversed list begins with the newest.
    cookies = [cookie for cookie in reversed(list(request.cookies.items())) if cookie_name_pattern.fullmatch(cookie[0])]
    # The cookies of forms, which are short, are deleted last, because a page of another site can begin many sign-ins.
    cookies.sort(key=lambda cookie: len(cookie[1]) > FORM_CHARACTERS)
    for cookie_name, cookie_value in cookies:
        max_characters -= len(f"{cookie_name}={cookie_value}; ")
        if max_characters < 0:
            set_cookie(cookie_name, "")
