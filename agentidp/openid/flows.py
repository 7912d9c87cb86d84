"""Unfinished sign-ins, each of which is in a cookie of the browser until the provider redirects the browser back.

Each sign-in has its own cookie. If sign-ins that begin at the same time in several tabs shared a cookie, the last
response would replace the others. A cookie is ``SameSite=Lax``, because the redirect back comes from another site.
"""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from flask import Response, after_this_request, request

from agentidp.jose.sealing import Sealer, Unreadable
from agentidp.services import services

DASHBOARD, AUTHORIZATION = PATHS = ("/dashboard/sign-in/oidc", "/authorize")
"""Paths at which a sign-in begins. After it, the provider redirects the browser to the path plus ``/callback``."""

LIFETIME = timedelta(minutes=10)
"""Maximum time that a person may take to sign in at the OpenID Connect provider."""

MAX_CHARACTERS = 4_000
"""Maximum length of all cookies of a path together, which is enough for about four sign-ins. This is about half of
the 8 KB that nginx accepts per header. Sign-ins that begin at the same time can exceed this maximum, because no
response knows the cookies that the other responses set."""

FORM_CHARACTERS = 43
"""Length of the random string in the cookie of a form (:mod:`agentidp.authorization.sealed_form`)."""


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
    state, nonce, verifier = (secrets.token_urlsafe(32) for _ in range(3))
    return Flow(state, nonce, verifier, return_to, provider_version, int(at.timestamp()))


def store_flow(path: str, flow: Flow) -> None:
    """Store a sign-in in a cookie, and delete old cookies of the path if all of them would be too long together."""
    name, sealed_flow = build_cookie_name(path, flow.state), seal_json(f"{path} {flow.state}", flow[1:])
    _delete_oldest_cookies(path, MAX_CHARACTERS - len(name + sealed_flow))
    set_cookie(path, name, sealed_flow)


def delete_flow(path: str, flow: Flow) -> None:
    """Delete the cookie of a sign-in."""
    set_cookie(path, build_cookie_name(path, flow.state), "")


def find_flow(path: str, at: datetime) -> Flow | None:
    """Return the unfinished sign-in whose ``state`` is in the request's query, or ``None`` if this browser has none."""
    state = request.args.get("state", "")
    sealed_flow = request.cookies.get(build_cookie_name(path, state), "")
    try:
        flow = Flow(state, *open_json(f"{path} {state}", sealed_flow))
    # The constructor raises TypeError if another release, with other fields, has stored the sign-in.
    except (TypeError, Unreadable):
        return None
    return flow if is_recent(flow.began_at, at) else None


def is_recent(began_at: int, at: datetime) -> bool:
    """Return whether two instants, of servers whose clocks may differ, are less than :data:`LIFETIME` apart."""
    return abs(at - datetime.fromtimestamp(began_at, UTC)) < LIFETIME


def seal_json(label: str, content: Any) -> str:
    """Return a JSON value encrypted, as a text that only :func:`open_json` with the same label can read."""
    return base64.urlsafe_b64encode(_sealer().seal(label, json.dumps(content).encode())).decode()


def open_json(label: str, sealed_text: str) -> Any:
    """Return the JSON value that :func:`seal_json` has encrypted, or raise :exc:`Unreadable`."""
    try:
        sealed = base64.urlsafe_b64decode(sealed_text.encode("ascii", "replace"))
    except ValueError:
        raise Unreadable(label) from None
    return json.loads(_sealer().open(label, sealed))


def build_cookie_name(path: str, key: str | None = None) -> str:
    """Return the name of a path's cookie for a secret string, or the common beginning of the path's names.

    :param path: one of :data:`PATHS`. Only requests below the path need the cookie.
    :param key: the secret string, whose hash is the end of the name; ``None`` for the beginning.
    """
    if _is_host_only(path):
        prefix = "__Host-agentidp_authorization_"
    else:
        prefix = ("__Secure-" if services().settings.issuer.startswith("https://") else "") + "agentidp_sign_in_"
    return prefix if key is None else prefix + hashlib.sha256(key.encode()).hexdigest()[:16]


def set_cookie(path: str, name: str, value: str) -> None:
    """Set a cookie for :data:`LIFETIME` in the response to the current request. An empty value deletes the cookie."""
    issuer = urlsplit(services().settings.issuer)
    cookie_path = "/" if _is_host_only(path) else f"{issuer.path}{path}"
    lifetime = LIFETIME if value else timedelta()

    @after_this_request
    def add_cookie(response: Response) -> Response:
        response.set_cookie(
            name, value, lifetime, path=cookie_path, secure=issuer.scheme == "https", httponly=True, samesite="Lax"
        )
        return response


def _delete_oldest_cookies(path: str, max_characters: int) -> None:
    """Delete the oldest cookies of a path, so that the remaining cookies have at most *max_characters* together."""
    prefix = build_cookie_name(path)
    # Browsers send older cookies first (RFC 6265 section 5.4).
    cookies = [cookie for cookie in reversed(list(request.cookies.items())) if cookie[0].startswith(prefix)]
    # A page of another site can begin sign-ins, whose cookies are long, but must not delete the short cookies of forms.
    cookies.sort(key=lambda cookie: len(cookie[1]) > FORM_CHARACTERS)
    for name, value in cookies:
        max_characters -= len(name + value)
        if max_characters < 0:
            set_cookie(path, name, "")


def _is_host_only(path: str) -> bool:
    """Return whether a path's cookies have the prefix ``__Host-``, so that no sibling subdomain can set them."""
    # A cookie with this prefix is sent to all paths of the host. If our issuer has a path, other services may share the
    # host and would get the cookie.
    issuer = urlsplit(services().settings.issuer)
    return path == AUTHORIZATION and (issuer.scheme, issuer.path) == ("https", "")


def _sealer() -> Sealer:
    return Sealer(services().settings, b"agentidp sign-in of a person")
