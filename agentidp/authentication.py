"""From a bearer token to the caller, and which scope a route needs (RFC 6750).

Every route declares its authentication where it is registered: :func:`bearer` or :func:`public`.

The caller of a protected route is *admitted* by the database: the agent is active, and its request is counted.
That happens in the round trip of the route's own query wherever there is one (:func:`read`,
:func:`transaction`), and on its own otherwise, so that a request is counted whatever its status.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
from collections.abc import Callable, Iterator
from functools import wraps
from typing import Any, TypeVar

from flask import Flask, g, request

from .database import Call, Rows, Transaction
from .errors import ApiError, InsufficientScope, InvalidToken, ServiceUnavailable, Unauthorized
from .services import services
from .tokens import LEEWAY, AccessToken, TokenRefused, verify_access_token
from .usage import record_rejection, request_made

SCOPES = {
    "analytics:read": "Read the organization's usage",
    "agents:read": "List and read agents and their credentials",
    "agents:write": "Create, change and delete agents and their credentials",
}
DEFAULT_SCOPES = ("analytics:read", "agents:read")
API_PREFIX = "/api/v1/"
MAXIMUM_CACHED = 10_000
"""Verified tokens that a process remembers, about 10 MB."""

_BEARER = re.compile(r"bearer +(\S+)", re.IGNORECASE)

View = TypeVar("View", bound=Callable[..., Any])


def public(view: View) -> View:
    """Declare a route that anyone may call, or that authenticates its client by other means."""
    view.authentication = "public"  # type: ignore[attr-defined]
    return view


def bearer(scope: str) -> Callable[[View], View]:
    """Declare a route that needs a bearer token with *scope*."""
    if scope not in SCOPES:
        raise ValueError(f"unknown scope {scope}")

    def decorate(view: View) -> View:
        @wraps(view)
        def guarded(*args: Any, **kwargs: Any) -> Any:
            g.caller = authenticate()
            try:
                if scope not in g.caller.scope:
                    raise InsufficientScope(scope)
                response = view(*args, **kwargs)
            except (InvalidToken, ServiceUnavailable):
                raise
            except Exception:
                # A refused token is a 401 before it is anything else, and a bad request is still a request.
                admit()
                raise
            admit()
            return response

        guarded.authentication = scope  # type: ignore[attr-defined]
        return guarded  # type: ignore[return-value]

    return decorate


def authenticate() -> AccessToken:
    """Verify the request's bearer token.

    :returns: its claims; whether the agent is still active is for :func:`admit` to say.
    :raises Unauthorized: no token, or one that is refused.
    """
    header = request.environ.get("HTTP_AUTHORIZATION", "")
    sent = _BEARER.fullmatch(header)
    if sent is None:
        if header[:7].lower() == "bearer ":
            raise InvalidToken
        raise Unauthorized
    unverified_token = sent[1]
    s = services()
    verified: dict[bytes, AccessToken] = s.verified_tokens
    digest = hashlib.sha256(unverified_token.encode("utf-8", "surrogateescape")).digest()
    token = verified.get(digest)
    if token is not None and token.expires_at > g.at.timestamp() - LEEWAY:
        return token
    try:
        token = verify_access_token(
            unverified_token, s.keys.find, issuer=s.settings.issuer, audience=s.settings.resource, at=g.at
        )
    except TokenRefused as refused:
        if refused.claims is not None:
            record_rejection(s.database, refused.claims.organization_id, refused.claims.agent_id, g.at)
        raise InvalidToken from None
    if len(verified) >= MAXIMUM_CACHED:
        verified.clear()
    verified[digest] = token
    return token


def admit() -> None:
    """Admit the caller and count its request, unless that is done.

    :raises InvalidToken: the agent is suspended or deleted.
    """
    if not g.get("admitted", False):
        [rows] = services().database.run(g.caller.organization_id, _admission())
        _settle(rows)


def read(statement: str, /, **parameters: Any) -> Rows:
    """Run the reading ``sql/<statement>.sql`` for the caller, who is admitted in the same round trip.

    The statement gets ``organization_id`` and ``at`` beside *parameters*. It runs before the request is counted,
    so that a hot counter row is held for as short as can be.
    """
    s = services()
    organization_id = g.caller.organization_id
    call = Call(statement, {"organization_id": organization_id, "at": g.at, **parameters})
    if s.read_database is not None:
        admit()
        [rows] = s.read_database.run(organization_id, call)
    else:
        rows, admitted = s.database.run(organization_id, call, _admission())
        _settle(admitted)
    return rows


@contextlib.contextmanager
def transaction() -> Iterator[Transaction]:
    """A durable transaction of the caller's organization, which begins by admitting the caller."""
    with services().database.transaction(g.caller.organization_id) as opened:
        admission = _admission()
        admitted = opened.fetch(admission.name, **admission.parameters)
        if admitted:
            yield opened
    _settle(admitted)


def _admission() -> Call:
    return request_made(g.caller.organization_id, g.caller.agent_id, g.at)


def _settle(rows: Rows) -> None:
    if not rows:
        record_rejection(services().database, g.caller.organization_id, g.caller.agent_id, g.at)
        raise InvalidToken
    g.admitted = True


def init_app(app: Flask) -> None:
    """Count requests to addresses and methods that no route takes, where they carry a valid token."""

    @app.before_request
    def count_unrouted_request() -> None:
        if request.routing_exception is not None and request.path.startswith(API_PREFIX):
            with contextlib.suppress(ApiError):
                g.caller = authenticate()
                admit()
