"""What schemathesis cannot know of our data: loaded by schemathesis itself, in a process of its own."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import schemathesis

from agentidp.registry.cursor import encode_cursor
from agentidp.scopes import SCOPES

KEY = {
    "kty": "EC",
    "crv": "P-256",
    "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
    "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
}
"""The key of RFC 7515 appendix A.3.1. Random text of the right form is rarely a point of the curve."""

CURSORS = {
    "/api/v1/agents": encode_cursor(datetime(2026, 1, 1, tzinfo=UTC), UUID(int=0)),
    "/api/v1/grants": encode_cursor(datetime(2026, 1, 1, tzinfo=UTC), UUID(int=0)),
    "/api/v1/agents/quotas": f"{UUID(int=0)}.day",
}
CREDENTIALS = {"client_id", "client_secret", "client_assertion", "client_assertion_type"}

GRANTS = {"assertion", "subject_token", "code", "refresh_token"}
"""The parameters of a token request that only grant types other than client_credentials need."""


@schemathesis.hook
def filter_case(context: Any, case: Any) -> bool:
    """Return whether to send a request. No request may change the agent whose token the run uses, because all later
    responses would be 401, or the resource server that delegation rules name.
    """
    unchanged_ids = {os.environ["SCHEMATHESIS_CLIENT_ID"], os.environ["SCHEMATHESIS_RESOURCE_SERVER_ID"]}
    return unchanged_ids.isdisjoint(map(str, (case.path_parameters or {}).values())) or case.method == "GET"


@schemathesis.hook
def map_case(context: Any, case: Any) -> Any:
    """Return a request that should be accepted with valid values for members that depend on stored objects, the time or
    a header, which no schema can describe. Return a request that should be refused unchanged.
    """
    for name in ("Content-Length", "Transfer-Encoding"):
        # These headers belong to the connection: gunicorn refuses wrong values before our code runs.
        (case.headers or {}).pop(name, None)
    if not case.meta.generation.mode.is_positive:
        return case
    if "cursor" in (case.query or {}) and case.path in CURSORS:
        case.query["cursor"] = CURSORS[case.path]
    if "after" in (case.query or {}) and case.path == "/api/v1/audit":
        # Only limit may be combined with after.
        case.query = {name: value for name, value in case.query.items() if name in ("after", "limit")}
    if case.path.endswith("/tokens") and case.method == "DELETE":
        # Random sequences of requests rarely name an agent that exists.
        case.path_parameters = dict.fromkeys(case.path_parameters, os.environ["SCHEMATHESIS_OTHER_AGENT_ID"])
    # A period has one of three forms, which a list of parameters cannot express, and is in the past.
    past = {"from": "2026-01-01", "to": "2026-01-31", "month": "2026-01"}
    period_names = [name for name in ("days", "month", "from", "to") if name in (case.query or {})]
    if period_names:
        valid_names = {"from", "to"} if period_names[0] in ("from", "to") else {period_names[0]}
        case.query = {name: value for name, value in case.query.items() if name not in past or name in valid_names}
        case.query |= {name: past[name] for name in valid_names & past.keys()}
    # A proof is valid for one request at one moment, so none can be generated.
    (case.headers or {}).pop("DPoP", None)
    body = case.body
    if not isinstance(body, dict):
        return case
    if "scopes" in body and not case.path.startswith("/api/v1/resource-servers"):
        body["scopes"] = list(SCOPES)[: len(body["scopes"])]
    if "jwk" in body:
        body["jwk"] = KEY
    if "jwks" in body:
        body["jwks"] = {"keys": [KEY]}
    if body.get("type") == "federated":
        # A rule that matches every token is refused.
        values = {"subject": "job:7", "claims": {"team": "a"}, "jwksUri": "https://issuer.example/keys"}
        body |= {name: value for name, value in values.items() if name in body}
        body |= {"issuer": "https://issuer.example", "audience": "here", "subject": "job:7"}
        body.pop("jwksUri" if "jwks" in body else "", None)
    if "trust" in body:
        body["trust"] = {"issuer": "https://issuer.example", "claims": {"namespace": "shop"}}
        body.get("agentTemplate", {})["scopes"] = []
    if case.path == "/api/v1/openid-providers":
        body["issuer"] = "https://issuer.example"
    if "clientHosts" in body:
        body["clientHosts"] = list(dict.fromkeys(body["clientHosts"]))
    if "agentIds" in body or case.path == "/api/v1/delegation-rules":
        body["agentIds"] = [os.environ["SCHEMATHESIS_CLIENT_ID"]]
        body["resources"] = [{"resource": "https://delegated.example", "scopes": ["delegated"]}]
    if body.get("agentId") and case.path.startswith("/api/v1/resource-servers"):
        body["agentId"] = os.environ["SCHEMATHESIS_CLIENT_ID"]
    case.body = body = _with_whole_numbers(body)
    if "url" in body:
        # The accepted addresses depend on the type of the target, which is unknown here for a change.
        body["url"] = {"apprise": "slack://a/b/c"}.get(body.get("type"), "https://hooks.example")
        if case.method == "PATCH":
            del body["url"]
            body["enabled"] = True
    if body.get("expiresAt"):
        body["expiresAt"] = "9999-01-01T00:00:00Z"
    if body.get("until"):
        body["until"] = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    if case.path == "/api/v1/resource-servers" and str(body.get("resource")).startswith("http://"):
        # This is the identifier of our own API, which schemathesis has taken from a response.
        body["resource"] = "https://api.example"
    if case.path == "/api/v1/markers":
        # A marker must be recent, its agent must exist, and its end must be after its start. A holiday has no agent,
        # although a sequence of requests may add one later.
        body |= {"startsAt": datetime.now(UTC).isoformat(), "kind": "deployment"}
        body.pop("agentId", None)
        body.pop("endsAt", None)
    if case.path.startswith("/api/v1/token"):
        # The client authenticates in the header, and must not authenticate twice.
        case.body = {name: value for name, value in body.items() if name not in {*CREDENTIALS, "scope", "resource"}}
    if case.path == "/api/v1/token" and case.body.keys().isdisjoint(GRANTS):
        # The other grant types need what an issuer, a subject or a person has given to the client.
        case.body["grant_type"] = "client_credentials"
    return case


def _with_whole_numbers(value: Any) -> Any:
    """Return a value with integers in place of numbers such as 2.0, which only JSON Schema accepts as integers."""
    if isinstance(value, dict):
        return {name: _with_whole_numbers(inner_value) for name, inner_value in value.items()}
    if isinstance(value, list):
        return [_with_whole_numbers(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value
