"""From an access token to the caller, and which scope a route needs (RFC 6750, RFC 9449 section 7)."""

from __future__ import annotations

import contextlib
import hashlib
import re
from collections.abc import Callable, Iterator
from functools import wraps
from typing import Any, TypeVar

import psycopg
from flask import Flask, Response, g, request

from agentidp.config import LEEWAY
from agentidp.db.database import Call, Rows, Transaction
from agentidp.http.errors import (
    ApiError,
    InsufficientScope,
    InvalidProof,
    InvalidToken,
    SecondToken,
    ServiceUnavailable,
    Unauthorized,
)
from agentidp.jose import dpop
from agentidp.jose.access_token import AccessToken, TokenRefused, verify_access_token
from agentidp.jose.jwk import ALGORITHMS
from agentidp.scopes import SCOPES
from agentidp.services import services
from agentidp.usage import record_rejection, request_made

API_PREFIX = "/api/v1/"
MAXIMUM_CACHED = 10_000
"""Verified tokens that a process remembers, about 10 MB."""

_WRONG_PLACE = "A valid bearer token is required. It belongs in the Authorization header, not in the query."
_CREDENTIALS = re.compile(r"(bearer|dpop) +(\S+)", re.IGNORECASE)

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
                refuse_second_token()
                if scope not in g.caller.scope:
                    raise InsufficientScope(scope)
                response = view(*args, **kwargs)
            except (Unauthorized, ServiceUnavailable):
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
    """Verify the request's access token, and the proof that comes with one that is bound to a key.

    :returns: its claims; whether the agent is still active and the proof new is for :func:`admit` to say.
    :raises Unauthorized: no token, or one that is refused.
    """
    header = request.environ.get("HTTP_AUTHORIZATION", "")
    sent = _CREDENTIALS.fullmatch(header)
    if sent is None:
        if header.partition(" ")[0].lower() in ("bearer", "dpop"):
            raise InvalidToken
        raise Unauthorized(_WRONG_PLACE if _has_token_in_query() else None)
    scheme, unverified_token = sent[1].lower(), sent[2]
    s = services()
    try:
        token = verified_token(unverified_token, audience=s.settings.resource)
        # RFC 9449 section 7.2: a token that is bound to a key is no bearer token, and the reverse.
        if (token.jkt is not None) != (scheme == "dpop"):
            raise TokenRefused("sent by the wrong scheme", token)
        if token.jkt is not None:
            g.proof = _verified_proof(unverified_token, token)
    except TokenRefused as refused:
        if refused.claims is not None:
            record_rejection(s.database, refused.claims.organization_id, refused.claims.agent_id, g.at)
        raise InvalidToken from None
    return token


def refuse_second_token() -> None:
    """Refuse a request that sends an access token beside the one in its header (RFC 6750 section 2).

    :raises SecondToken: the query, or a body that is a form, has a parameter ``access_token``.
    """
    if _has_token_in_query() or (request.environ.get("CONTENT_TYPE") and _has_token_in_form()):
        raise SecondToken


def _has_token_in_query() -> bool:
    query = request.environ.get("QUERY_STRING", "")
    # Parsing costs more than most requests need: a name with a percent sign may still spell it.
    return ("access_token" in query or "%" in query) and "access_token" in request.args


def _has_token_in_form() -> bool:
    if request.mimetype != "application/x-www-form-urlencoded":
        return False
    # Keeps the body: the view that refuses a form looks whether there is one.
    request.get_data()
    return "access_token" in request.form


def _verified_proof(access_token: str, token: AccessToken) -> dpop.Proof:
    url = services().settings.issuer + request.path
    try:
        proof = dpop.verify_proof(
            request.environ.get("HTTP_DPOP", ""), method=request.method, url=url, at=g.at, access_token=access_token
        )
    except dpop.ProofRefused as refused:
        record_rejection(services().database, token.organization_id, token.agent_id, g.at)
        raise InvalidProof(str(refused), ALGORITHMS) from None
    if proof.jkt != token.jkt:
        raise TokenRefused("bound to another key", token)
    return proof


def verified_token(unverified_token: str, *, audience: str | None) -> AccessToken:
    """Verify a token, or remember having done so; whether it is revoked and its agent active is in the database.

    :param audience: who must be the one in ``aud``; any resource server when ``None``.
    :raises TokenRefused: for every reason alike.
    """
    s = services()
    verified = s.verified_tokens
    # Of another generation of keys, so that nothing is remembered of a key that is revoked.
    generation = s.keys.current().generation
    key = generation, audience, hashlib.sha256(unverified_token.encode("utf-8", "surrogateescape")).digest()
    token = verified.get(key)
    if token is None or token.expires_at <= g.at.timestamp() - LEEWAY:
        token = verify_access_token(unverified_token, s.keys.find, issuer=s.settings.issuer, audience=audience, at=g.at)
        if len(verified) >= MAXIMUM_CACHED:
            verified.clear()
        verified[key] = token
    return token


def admit() -> None:
    """Admit the caller and count its request, unless that is done.

    :raises InvalidToken: the agent is suspended or deleted, or the token is revoked.
    :raises InvalidProof: the DPoP proof was used before.
    """
    if not g.get("admitted", False):
        with _unused_proof():
            *_, rows = services().database.run(g.caller.organization_id, *_admission(), durable="proof" in g)
        _settle(rows)


def read(statement: str, /, **parameters: Any) -> Rows:
    """Run the reading ``sql/<statement>.sql`` for the caller, as :func:`read_together` does."""
    [rows] = read_together(Call(statement, parameters))
    return rows


def read_together(*calls: Call) -> list[Rows]:
    """Run reading statements for the caller, who is admitted in the same round trip unless that is done.

    Each gets ``organization_id`` and ``at`` beside its own parameters. They run before the request is counted, so that
    a hot counter row is held for as short as can be.

    :returns: the rows of each call.
    """
    s = services()
    organization_id = g.caller.organization_id
    own = {"organization_id": organization_id, "at": g.at}
    calls = tuple(Call(call.name, own | call.parameters) for call in calls)
    if s.read_database is not None or g.get("admitted", False):
        admit()
        return (s.read_database or s.database).run(organization_id, *calls)
    admission = _admission()
    with _unused_proof():
        rows = s.database.run(organization_id, *calls, *admission, durable="proof" in g)
    _settle(rows[-1])
    return rows[: -len(admission)]


@contextlib.contextmanager
def transaction() -> Iterator[Transaction]:
    """A durable transaction of the caller's organization, which begins by admitting the caller."""
    with services().database.transaction(g.caller.organization_id) as opened:
        with _unused_proof():
            *_, admitted = [opened.fetch(call.name, **call.parameters) for call in _admission()]
        if admitted:
            yield opened
    _settle(admitted)


def _admission() -> list[Call]:
    """The proof is used up, if there is one; last, the agent is admitted and its request counted.

    With a proof the commit must be durable: after a crash of the database the proof must not be good again.
    """
    caller = g.caller
    calls = [request_made(caller.organization_id, caller.agent_id, caller.jti, g.at)]
    if "proof" in g:
        calls.insert(0, g.proof.spend(caller.organization_id, g.at))
    return calls


@contextlib.contextmanager
def _unused_proof() -> Iterator[None]:
    try:
        yield
    except psycopg.errors.UniqueViolation:
        if "proof" not in g:
            raise
        record_rejection(services().database, g.caller.organization_id, g.caller.agent_id, g.at)
        raise InvalidProof("the DPoP proof was used before", ALGORITHMS) from None


def _settle(rows: Rows) -> None:
    if not rows:
        record_rejection(services().database, g.caller.organization_id, g.caller.agent_id, g.at)
        raise InvalidToken
    g.admitted = True


def init_app(app: Flask) -> None:
    """Count requests that carry a valid token where no view asks for it: to addresses and methods that no route takes,
    and to public routes, but for OAuth's own endpoints. And tell a client that is refused how to do better.
    """

    @app.before_request
    def count_unguarded_request() -> None:
        endpoint = request.endpoint or ""
        # Flask answers OPTIONS without the view. An OAuth endpoint counts by what it does.
        is_unguarded = request.method == "OPTIONS" or (
            getattr(app.view_functions.get(endpoint), "authentication", "public") == "public"
            and not endpoint.startswith("oauth-")
        )
        if is_unguarded and request.path.startswith(API_PREFIX):
            with contextlib.suppress(ApiError):
                g.caller = authenticate()
                admit()

    @app.after_request
    def complete_challenge(response: Response) -> Response:
        challenge = response.headers.get("WWW-Authenticate", "")
        if response.status_code == 401 and challenge.startswith("Bearer"):
            issuer = services().settings.issuer
            # RFC 9728 section 5.1, RFC 9449 section 7.1.
            metadata = f'resource_metadata="{issuer}/.well-known/oauth-protected-resource/api/v1"'
            response.headers["WWW-Authenticate"] = f"{challenge}, {metadata}"
            response.headers.add("WWW-Authenticate", f'DPoP algs="{" ".join(ALGORITHMS)}"')
        return response
