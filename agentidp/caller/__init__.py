"""Authenticates requests by access token, checks the route's scope, and admits callers (RFC 6750, RFC 9449 section 7).

A protected view gets a :class:`Caller`, which is its only access to the database. Its first read or transaction admits
the agent and counts the request. If the view neither reads nor writes, ``bearer`` admits the agent after the view.
"""

from __future__ import annotations

import contextlib
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from functools import wraps
from typing import Any, TypeVar
from uuid import UUID

import psycopg
from flask import Flask, Response
from werkzeug.exceptions import HTTPException

from agentidp.caller.token_verification import verify_token
from agentidp.counting import build_admission_call, record_rejection
from agentidp.db.errors import DatabaseUnavailable
from agentidp.db.organization import Transaction
from agentidp.db.read_replica import POSITION
from agentidp.db.sql import Call, Rows, only_reads
from agentidp.http.errors import ApiError, InsufficientScope, InvalidProof, InvalidToken, SecondToken, Unauthorized
from agentidp.http.openapi import declarations_of
from agentidp.http.parser import check_parameters
from agentidp.http.request_context import current_context, current_request, request_actor
from agentidp.jose import dpop
from agentidp.jose.access_token import AccessToken, TokenRefused
from agentidp.jose.jwk import ALGORITHMS
from agentidp.scopes import SCOPES
from agentidp.services import services
from agentidp.services.fair_queue import SMALL

API_PREFIX = "/api/v1/"
TURN = "agentidp.turn"
"""Key of the request's :class:`~agentidp.services.fair_queue.Turn` in its WSGI environment.

:func:`wait_for_turn` sets the turn. The first lines of ``fair_queue.py`` say which modules pause and end the turn.
"""

STALENESS = "AgentIdP-Staleness"
"""Response header with the maximum age in seconds of the read replica's data, as a Decimal of RFC 9651."""

ADVICE = {
    "suspended organization": "The organization of the access token is suspended. Ask the operator of this server.",
    "suspended agent": "The agent of the access token is suspended. Ask an administrator of its organization.",
    "deleted agent": "The agent of the access token was deleted. Use another agent.",
    "revoked token": "The access token was revoked. Request a new one.",
}
"""Advice to a client whose authentic access token is refused, by the reason that ``record_rejection`` returns."""

_USE_DPOP = "The access token is bound to a key. Send it with the scheme DPoP, and a proof in the header DPoP."
_USE_BEARER = "The access token is not bound to a key. Send it with the scheme Bearer."
_USE_BOUND_KEY = "The access token is bound to another key. Sign the DPoP proof with the key of the token request."
_CREDENTIALS = re.compile(r"(bearer|dpop) +(\S+)", re.IGNORECASE)
View = TypeVar("View", bound=Callable[..., Any])


class Caller:
    """The client of a request, with access to the data of its organization.

    :param agent_id: the agent, or ``None`` if a person is signed in to the dashboard.
    :param token: the verified access token of the request. ``None`` in the dashboard, which checks its sessions itself
        and whose requests are not counted.
    :param proof: the DPoP proof, if the token is bound to a key.
    :param actor: arguments of :func:`request_actor` for the audit trail. Default: the agent.
    """

    def __init__(
        self,
        organization_id: str,
        agent_id: UUID | None,
        at: datetime,
        *,
        token: AccessToken | None,
        proof: dpop.Proof | None = None,
        actor: tuple[str, ...] | None = None,
    ) -> None:
        app_services = services()
        self.organization_id, self.agent_id, self.at = organization_id, agent_id, at
        self.scopes: frozenset[str] = frozenset() if token is None else token.scope
        self.settings, self.clock = app_services.settings, app_services.clock
        self._database = app_services.database.of(self.organization_id, at)
        read_replica = app_services.read_replica
        self.replica = read_replica.of(self._database) if read_replica else None
        self._proof, self._actor = proof, actor or ("agent", str(agent_id))
        # None if the caller has been admitted, or has no token: requests without a token are not counted.
        self._token_to_admit = token
        self._is_in_transaction = False

    def read(self, statement: str, /, **parameters: Any) -> Rows:
        """Run ``sql/<statement>.sql``, which must not write, by :meth:`read_together`, and return its rows."""
        [rows] = self.read_together(Call(statement, parameters))
        return rows

    def read_together(self, *calls: Call) -> list[Rows]:
        """Run calls that only read, and return the rows of each. Admit the caller at the first call of a request.

        Without a read replica, the calls and the admission take one round trip. The admission runs last, so that it
        locks the rows that count the request only briefly. With a replica, the primary admits the caller first.
        """
        self._check_no_transaction()
        for call in calls:
            if not only_reads(call.name):
                raise ValueError(f"sql/{call.name}.sql does not only read: run it in a caller's transaction")
        if self.replica and self.replica.is_usable():
            self.admit()
            if (rows_by_call := self.replica.read(*calls)) is not None:
                return rows_by_call
        token = self._token_to_admit
        if token is None:
            return self._database.run(*calls)
        return self._run_and_admit(token, calls)[: len(calls)]

    def read_by_name(self, calls: Mapping[str, Call]) -> dict[str, Rows]:
        """Run *calls* by :meth:`read_together`, and return the rows of each call under the key of the call."""
        return dict(zip(calls, self.read_together(*calls.values()), strict=True))

    def leave_replica(self) -> bool:
        """Read only from the primary database from now on. Return whether this request has read the replica before."""
        if self.replica:
            self.replica.leave()
        return self.replica is not None and self.replica.staleness is not None

    @contextlib.contextmanager
    def transaction(self) -> Iterator[Transaction]:
        """Open a durable transaction. First admit the caller (:meth:`admit`), unless this request has been admitted."""
        self._check_no_transaction()
        self.leave_replica()
        actor, token, admitted_rows = request_actor(*self._actor), self._token_to_admit, []
        self._is_in_transaction = True
        try:
            with self._database.transaction(actor) as transaction:
                if token is not None:
                    with self._refuse_used_proof(token):
                        *_, admitted_rows = [transaction.run(call) for call in self._build_admission_calls(token)]
                # A rejected caller gets no transaction, because _finish_admission() below raises InvalidToken.
                if token is None or admitted_rows:
                    yield transaction
        finally:
            self._is_in_transaction = False
        if token is not None:
            # This call follows the transaction, because it counts a rejected request in a separate transaction.
            self._finish_admission(token, admitted_rows)

    def admit(self) -> None:
        """Check that the caller's agent and token are valid, and count the request, both once per request.

        :raises Unauthorized: the agent is not active, the token was revoked, or the DPoP proof was used before.
        """
        self._check_no_transaction()
        token = self._token_to_admit
        if token is not None:
            # The primary's log position is read too, because later reads check that the replica has reached this
            # position. The calls of POSITION run before the admission, so their rows are the first two.
            rows_by_call = self._run_and_admit(token, POSITION if self.replica else ())
            if self.replica:
                self.replica.store_position(*rows_by_call[:2])

    def _check_no_transaction(self) -> None:
        if self._is_in_transaction:
            raise RuntimeError("a transaction of the caller is open: use it")

    def _run_and_admit(self, token: AccessToken, calls: Iterable[Call]) -> list[Rows]:
        """Run calls, then the calls that admit the caller, in one round trip. Return the rows of each call."""
        with self._refuse_used_proof(token):
            # If there is a DPoP proof, the commit waits for the disk, so that the proof stays used even after a crash.
            rows_by_call = self._database.run(
                *calls, *self._build_admission_calls(token), durable=self._proof is not None
            )
        self._finish_admission(token, rows_by_call[-1])
        return rows_by_call

    def _build_admission_calls(self, token: AccessToken) -> list[Call]:
        calls = [build_admission_call(token.agent_id, token.jti, token.issue_instant)]
        if self._proof is not None:
            calls.insert(0, self._proof.build_consumption_call())
        return calls

    @contextlib.contextmanager
    def _refuse_used_proof(self, token: AccessToken) -> Iterator[None]:
        try:
            yield
        except psycopg.errors.UniqueViolation:
            if self._proof is None:
                raise
            record_rejection(self._database, token.agent_id, "DPoP proof used before")
            raise InvalidProof("the DPoP proof was used before", ALGORITHMS) from None

    def _finish_admission(self, token: AccessToken, rows: Rows) -> None:
        if not rows:
            # "revoked token" is only the default reason. The statement that records the rejection replaces this reason
            # if the organization or the agent is suspended, or the agent was deleted.
            logged_reason = record_rejection(self._database, token.agent_id, "revoked token")
            raise InvalidToken(ADVICE.get(logged_reason))
        self._token_to_admit = None


def wait_for_turn(organization_id: str) -> None:
    """Read the body of the current request, and wait in the fair queue until the request may run.

    :raises RateLimited: too many requests of the organization are running or waiting.
    """
    request = current_request()
    if request.environ.get("CONTENT_LENGTH") or "HTTP_TRANSFER_ENCODING" in request.environ:
        # The body is read first, so that a slow client occupies no place in the queue. The view reports reading errors.
        with contextlib.suppress(HTTPException):
            request.get_data()
    request.environ[TURN] = services().fair_queue.enter(organization_id)


def refuse_second_token() -> None:
    """Raise ``SecondToken`` if the query or the form contains an ``access_token`` (RFC 6750 section 2)."""
    request = current_request()
    query_string = request.environ.get("QUERY_STRING", "")
    # The query is parsed only if it may contain access_token, perhaps percent-encoded, because parsing takes time.
    is_in_query = ("access_token" in query_string or "%" in query_string) and "access_token" in request.args
    # The view can still read the body after request.form, because wait_for_turn() has cached the body.
    has_form = request.environ.get("CONTENT_TYPE") and request.mimetype == "application/x-www-form-urlencoded"
    if is_in_query or (has_form and "access_token" in request.form):
        raise SecondToken


def public(view: View) -> View:
    """Declare a route that anyone may call."""
    declarations_of(view).authentication = "public"
    return view


def bearer(scope: str) -> Callable[[View], View]:
    """Declare a route that needs a bearer token with *scope*. Its view gets the :class:`Caller` as first argument."""
    if scope not in SCOPES:
        raise ValueError(f"unknown scope {scope}")

    def decorate(view: View) -> View:
        # arguments() must stand below bearer(), because bearer() reads here what arguments() has declared.
        has_no_parameters = "query" not in declarations_of(view).reads

        # MCP calls the view without this decorator, by the attribute __wrapped__ (agentidp/mcp/tools.py).
        @wraps(view)
        def call_view(*args: Any, **kwargs: Any) -> Any:
            request_context = current_context()
            caller = request_context.caller = authenticate(request_context.at)
            try:
                # The request waits before the checks, because a refused request also needs a connection: it is counted.
                wait_for_turn(caller.organization_id)
                refuse_second_token()
                if scope not in caller.scopes:
                    raise InsufficientScope(scope)
                if has_no_parameters and current_request().query_string:
                    # A view without parameters has no parser that would refuse unknown parameters.
                    check_parameters(current_request().args)
                response = view(caller, *args, **kwargs)
            except (Unauthorized, DatabaseUnavailable):
                raise
            except Exception:
                # The failed request is counted too. If admit() refuses the token, the client gets the error of admit().
                caller.admit()
                raise
            caller.admit()
            return response

        declarations_of(call_view).authentication = scope
        return call_view  # type: ignore[return-value]

    return decorate


def authenticate(at: datetime) -> Caller:
    """Verify the request's access token and, if the token is bound to a key, its DPoP proof.

    :raises Unauthorized: the request has no token, or its token or proof is refused.
    """
    authorization_header = current_request().environ.get("HTTP_AUTHORIZATION", "")
    header_match = _CREDENTIALS.fullmatch(authorization_header)
    if header_match is None:
        if authorization_header.partition(" ")[0].lower() in ("bearer", "dpop"):
            raise InvalidToken
        raise Unauthorized
    scheme, unverified_token = header_match[1].lower(), header_match[2]
    app_services = services()
    proof = None
    try:
        token = verify_token(unverified_token, audience=app_services.settings.resource)
        # RFC 9449 section 7.2: a token that is bound to a key needs the scheme DPoP, and any other token Bearer.
        if (token.jkt is not None) != (scheme == "dpop"):
            raise TokenRefused("sent by the wrong scheme", token, _USE_BEARER if token.jkt is None else _USE_DPOP)
        if token.jkt is not None:
            proof = _verify_proof(unverified_token, token, at)
    except TokenRefused as error:
        if error.claims is not None:
            database = app_services.database.of(error.claims.organization_id, at)
            record_rejection(database, error.claims.agent_id, f"token {error}")
        raise InvalidToken(error.client_message) from None
    return Caller(token.organization_id, token.agent_id, at, token=token, proof=proof)


def _verify_proof(access_token: str, token: AccessToken, at: datetime) -> dpop.Proof:
    request, app_services = current_request(), services()
    try:
        proof = dpop.verify_proof(
            request.environ.get("HTTP_DPOP", ""),
            method=request.method,
            url=app_services.settings.issuer + request.path,
            at=at,
            access_token=access_token,
        )
    except dpop.ProofRefused as error:
        record_rejection(app_services.database.of(token.organization_id, at), token.agent_id, "wrong DPoP proof")
        raise InvalidProof(str(error), ALGORITHMS) from None
    if proof.jkt != token.jkt:
        raise TokenRefused("bound to another key", token, _USE_BOUND_KEY)
    return proof


def init_app(app: Flask) -> None:
    """Register hooks that count requests to public routes, end turns in the fair queue, and complete responses."""

    @app.before_request
    def count_unguarded_request() -> None:
        # Requests with a valid token are counted even if no protected view runs: public routes, unknown paths, OPTIONS.
        request = current_request()
        view = app.view_functions.get(request.endpoint or "")
        is_public = view is None or declarations_of(view).authentication in (None, "public")
        if (is_public or request.method == "OPTIONS") and request.path.startswith(API_PREFIX):
            with contextlib.suppress(ApiError, DatabaseUnavailable):
                request_context = current_context()
                request_context.caller = authenticate(request_context.at)
                request_context.caller.admit()

    app.after_request(_end_turn)
    app.after_request(_complete_challenge)
    if app.extensions["agentidp"].read_replica is not None:
        app.after_request(_add_staleness)


def _end_turn(response: Response) -> Response:
    environ = current_request().environ
    # The turn of a small response ends now, so that the next request in the fair queue may run. The turn of a larger or
    # streamed response ends after it was sent (agentidp/server/sending.py).
    if TURN in environ and not response.is_streamed and (response.content_length or 0) <= SMALL:
        environ.pop(TURN).leave()
    return response


def _complete_challenge(response: Response) -> Response:
    challenge = response.headers.get("WWW-Authenticate", "")
    if response.status_code == 401 and challenge.startswith("Bearer"):
        # RFC 9728 section 5.1 defines the link to the metadata. MCP has metadata of its own.
        request_path = current_request().path
        resource_path = request_path if request_path == f"{API_PREFIX}mcp" else "/api/v1"
        metadata_url = f"{services().settings.issuer}/.well-known/oauth-protected-resource{resource_path}"
        response.headers["WWW-Authenticate"] = f'{challenge}, resource_metadata="{metadata_url}"'
        response.headers.add("WWW-Authenticate", f'DPoP algs="{" ".join(ALGORITHMS)}"')
    return response


def _add_staleness(response: Response) -> Response:
    caller = current_context().caller
    if caller is not None and caller.replica is not None and caller.replica.staleness is not None:
        # The value is rounded up, because the header gives an upper bound.
        response.headers[STALENESS] = f"{math.ceil(caller.replica.staleness * 10) / 10:.1f}"
    return response
