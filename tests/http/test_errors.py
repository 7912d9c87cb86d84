"""Each error has its status, body and headers. No request causes a 500."""

from __future__ import annotations

import http.client
import json
import logging
import re
import socket
import struct
from collections.abc import Iterator
from typing import Any

import jsonschema_rs
import psycopg
import pytest
from flask import Flask
from flask.testing import FlaskClient
from psycopg import sql
from werkzeug.test import TestResponse

from agentidp.analytics.period import PeriodArguments
from agentidp.http.errors import OutcomeUnknown, RateLimited
from agentidp.http.parser import MAX_BODY, Parser
from agentidp.jose.jwk import MAX_KEYS
from agentidp.registry.provisioning import MAX_EXPIRY
from tests.citus import nodes_of
from tests.conftest import Cast
from tests.factories import (
    PATIENCE,
    RESOURCE_METADATA,
    Agent,
    Server,
    database_of,
    execute,
    make_agent,
    usage_sums,
    wait_until,
)
from tests.fast_path.echo import everything
from tests.helpers.error_responses import (
    UNAVAILABLE,
    assert_error,
    assert_oauth_error,
    assert_unavailable,
)
from tests.http.conftest import application
from tests.routes import CLIENT_PATHS, JSON_ROUTES, PROTECTED, ROUTES, Route

AGENTS = "/api/v1/agents"
UNEXPECTED = "The server met an unexpected condition."
INVALID = "The request is not valid."
TOO_LARGE = "The request body is too large."
WRONG_METHOD = "This address takes only {}."
FORM = "application/x-www-form-urlencoded"


class TestTable:
    """One test per error code. ``tests/test_routes.py`` tests 401 and 403 of each route."""

    def test_unauthorized(self, shared_client: FlaskClient) -> None:
        message = "The access token is invalid, expired or revoked"
        why = f'error="invalid_token", error_description="{message}"'
        challenge = f'Bearer realm="agentidp", {why}, {RESOURCE_METADATA}'
        response = shared_client.get(AGENTS, headers={"Authorization": "Bearer x.y.z"})
        assert_error(response, 401, "UNAUTHORIZED", message, WWW_Authenticate=challenge)

    @pytest.mark.parametrize(
        "path", ["/nothing", "/api/v1", f"{AGENTS}/", f"{AGENTS}/x", "//api//v1//agents", "/api/v1/token/"]
    )
    @pytest.mark.parametrize("method", ["GET", "POST", "FOO"])
    def test_not_found(self, shared_client: FlaskClient, path: str, method: str) -> None:
        response = shared_client.open(path, method=method)
        assert_error(response, 404, "NOT_FOUND", "There is nothing at this address.")

    @pytest.mark.parametrize(
        ("path", "allow"),
        [
            (AGENTS, "GET, HEAD, OPTIONS, POST"),
            (f"{AGENTS}/00000000-0000-4000-8000-000000000000", "DELETE, GET, HEAD, OPTIONS, PATCH"),
            ("/api/v1/analytics/tokens", "GET, HEAD, OPTIONS"),
        ],
    )
    @pytest.mark.parametrize("method", ["PUT", "TRACE", "CONNECT", "PROPFIND", "X" * 100])
    def test_method_not_allowed(self, shared_client: FlaskClient, path: str, method: str, allow: str) -> None:
        response = shared_client.open(path, method=method, headers={"Content-Type": "application/json"})
        assert_error(response, 405, "METHOD_NOT_ALLOWED", WRONG_METHOD.format(allow), Allow=allow)

    def test_conflict(self, shared_client: FlaskClient, shared_cast: Cast) -> None:
        for method, path in (("POST", AGENTS), ("PATCH", f"{AGENTS}/{shared_cast.acme.agent_id}")):
            agent = make_agent(shared_cast.acme.services, shared_cast.acme.organization_id, name=f"taken {method}")
            response = shared_client.open(path, method=method, json={"name": f"taken {method}"}, headers=agent.bearer())
            # An agent may be renamed to its present name.
            assert_error(response, 409, "CONFLICT", "Another agent has this name.", {"name": ["is taken"]})

    def test_payload_too_large(self, shared_client: FlaskClient, shared_cast: Cast) -> None:
        for body in (b"x" * (MAX_BODY + 1), b"[" * 100_000, b"[[[]]]" * 100_000):
            response = shared_client.post(AGENTS, data=body, headers=shared_cast.acme.bearer())
            assert_error(response, 413, "PAYLOAD_TOO_LARGE", TOO_LARGE)

    @pytest.mark.parametrize("kind", ["text/plain", "text/json", FORM, "application/jsonx", "application", "ÿ", ""])
    def test_unsupported_media_type(self, shared_client: FlaskClient, shared_cast: Cast, kind: str) -> None:
        headers = shared_cast.acme.bearer()
        response = shared_client.post(AGENTS, data='{"name":"x"}', content_type=kind, headers=headers)
        assert_error(response, 415, "UNSUPPORTED_MEDIA_TYPE", "The request body must be application/json.")

    def test_rate_limited(self, own_app: Flask) -> None:
        # tests/services/test_fair_queue.py tests the service's own 429, which needs several concurrent requests.
        @own_app.route("/api/v1/limited")
        def limited() -> None:
            raise RateLimited(headers={"Retry-After": "7"})

        response = own_app.test_client().get("/api/v1/limited")
        assert_error(response, 429, "RATE_LIMITED", "Too many requests.", Retry_After="7")


@pytest.mark.parametrize("path", CLIENT_PATHS)
class TestWhereClientsAuthenticate:
    """The same errors in the form of RFC 6749 section 5.2. No response may be cached (section 5.1)."""

    ASKED = {"grant_type": "client_credentials", "token": "x"}

    def test_unauthorized(self, shared_client: FlaskClient, path: str) -> None:
        challenge = 'Basic realm="agentidp", charset="UTF-8"'
        response = shared_client.post(path, data=self.ASKED)
        description = "the request has no credential: send client_id and client_secret, or a client_assertion"
        assert_oauth_error(response, 401, "invalid_client", description, WWW_Authenticate=challenge)

    @pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH", "FOO"])
    def test_method_not_allowed(self, shared_client: FlaskClient, path: str, method: str) -> None:
        response = shared_client.open(path, method=method)
        assert_oauth_error(
            response, 405, "invalid_request", WRONG_METHOD.format("OPTIONS, POST"), Allow="OPTIONS, POST"
        )

    def test_payload_too_large(self, shared_client: FlaskClient, path: str) -> None:
        response = shared_client.post(path, data={"padding": "x" * MAX_BODY})
        assert_oauth_error(response, 413, "invalid_request", TOO_LARGE)

    def test_another_content_type(self, shared_client: FlaskClient, shared_cast: Cast, path: str) -> None:
        response = shared_client.post(path, json=self.ASKED | shared_cast.acme.form)
        assert_oauth_error(response, 400, "invalid_request", f"the body must be {FORM}")

    def test_unexpected(self, client: FlaskClient, cast: Cast, database_url: str, path: str) -> None:
        execute(database_url, "drop table credentials cascade")
        response = client.post(path, data=self.ASKED | cast.acme.form)
        assert_oauth_error(response, 500, "server_error", UNEXPECTED)

    def test_unavailable(self, dead_client: FlaskClient, path: str) -> None:
        response = dead_client.post(path, data=self.ASKED | {"client_id": "x", "client_secret": "y"})
        assert_unavailable(response, is_oauth=True)


class TestUnexpected:
    """A 500 reveals nothing. The log has the place of the error, but no parameter."""

    def test_of_every_route(
        self, client: FlaskClient, cast: Cast, database_url: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        acme = cast.acme
        execute(database_url, "alter table usage_daily rename column requests_by_hour to gone")
        for route in PROTECTED:
            caplog.clear()
            response = client.open(
                route.path(acme.agent_id), method=route.method, json=route.body, headers=acme.bearer()
            )
            assert_error(response, 500, "INTERNAL_ERROR", UNEXPECTED)
            [record] = [record for record in caplog.records if record.levelname == "ERROR"]
            fields = record.fields  # type: ignore[attr-defined]
            assert record.getMessage() == "unexpected error"
            assert any("database.py:" in frame for frame in fields.pop("at"))
            expected = {"error": "UndefinedColumn", "sqlstate": "42703", "request_id": response.headers["X-Request-Id"]}
            assert fields == expected

    def test_quotes_no_parameter(
        self, client: FlaskClient, cast: Cast, database_url: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        # PostgreSQL's message about this error quotes the whole row.
        execute(database_url, "alter table agents add check (name <> 'hush-hush')")
        with caplog.at_level(logging.DEBUG):
            response = client.post(AGENTS, json={"name": "hush-hush"}, headers=cast.acme.bearer())
        assert_error(response, 500, "INTERNAL_ERROR", UNEXPECTED)
        logged = "\n".join(f"{record.getMessage()} {record.__dict__}" for record in caplog.records)
        assert "CheckViolation" in logged
        assert "hush-hush" not in logged
        assert cast.acme.client_secret not in logged


class TestUnavailable:
    """The database does not answer: 503 with Retry-After, and nothing is done. tests/db/test_unreachable.py has what
    takes long, and tests/http/test_openapi.py every route.
    """

    def test_the_database_was_never_there(self, dead_client: FlaskClient, shared_cast: Cast) -> None:
        for path in (AGENTS, "/readyz"):
            assert_unavailable(dead_client.get(path, headers=shared_cast.acme.bearer()))
        assert_unavailable(dead_client.get("/.well-known/jwks.json"), is_oauth=True)
        assert dead_client.get("/healthz").status_code == 200

    def test_a_statement_takes_too_long(
        self, client: FlaskClient, cast: Cast, database_url: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        acme = cast.acme
        agents = client.get(AGENTS, headers=acme.bearer()).json["data"]
        with application(database_url, statement_timeout=0.5) as app, psycopg.connect(database_url) as connection:
            hurried = app.test_client()
            connection.execute("lock table usage_daily in access exclusive mode")
            response = hurried.get(AGENTS, headers=acme.bearer())
            assert_unavailable(response)
            [record] = [record for record in caplog.records if record.getMessage() == "database unavailable"]
            assert record.fields == {  # type: ignore[attr-defined]
                "reason": "canceling statement due to statement timeout",
                "sqlstate": "57014",
                "organization": acme.organization_id,
                "request_id": response.headers["X-Request-Id"],
            }
            assert_unavailable(hurried.post(AGENTS, json={"name": "late"}, headers=acme.bearer()))
            # On Citus, the worker may complete a call that the coordinator has cancelled.
            message = OutcomeUnknown.message if nodes_of(database_url) else UNAVAILABLE
            assert_unavailable(hurried.post("/api/v1/token", data=acme.form), message, is_oauth=True)
            # Requests without the lock are served. On a slow machine, such a request may time out as well.
            wait_until(lambda: hurried.get("/readyz").status_code == 200)
        assert client.get(AGENTS, headers=acme.bearer()).json["data"] == agents

    def test_the_server_has_no_connection_left(self, database_url: str) -> None:
        with psycopg.connect(database_url, autocommit=True) as connection:
            name = connection.info.dbname
            role = sql.Identifier(name)
            # The limit does not apply to superusers, so the test uses an ordinary role.
            connection.execute(sql.SQL("create role {} login password 'x' connection limit 1").format(role))
            connection.execute(sql.SQL("grant agentidp_service to {}").format(role))
            try:
                limited = f"postgresql://{name}:x@/{name}?host={connection.info.host}&port={connection.info.port}"
                with application(limited, pool_timeout=0.5) as app:
                    client = app.test_client()
                    wait_until(lambda: client.get("/readyz").status_code == 200)
                    with database_of(app.extensions["agentidp"], "org-a").transaction():
                        assert_unavailable(client.get("/readyz"))
                    assert client.get("/readyz").status_code == 200
            finally:
                open_connections = sql.SQL("select from pg_stat_activity where usename = {}").format(sql.Literal(name))
                wait_until(lambda: not connection.execute(open_connections).fetchall())
                connection.execute(sql.SQL("drop owned by {}").format(role))
                connection.execute(sql.SQL("drop role {}").format(role))


INVALID_JSON = {
    "nothing but a bracket": b"{",
    "two values": b"{} {}",
    "a NUL": b"\x00",
    "a bare control character": b'{"name": "a\nb"}',
    "NaN": b'{"name": NaN}',
    "Infinity": b'{"name": -Infinity}',
    "a repeated name": b'{"name": "x", "name": "y"}',
    "a repeated name inside": b'{"name": {"x": 1, "x": 1}}',
    "invalid UTF-8": b'{"name": "\xff"}',
    "an encoded surrogate": b'{"name": "\xed\xa0\x80"}',
    "UTF-16": '{"name": "x"}'.encode("utf-16"),
    "Latin-1": '{"name": "é"}'.encode("latin-1"),
    "a byte order mark": b'\xef\xbb\xbf{"name": "x"}',
    "60,000 brackets": b"[" * 60_000,
    "a number of 5,000 digits": b'{"name": ' + b"9" * 5000 + b"}",
}

WRONG_BODIES: tuple[Any, ...] = (
    *(None, [], [{"name": "x"}], "name", 1, 10**400, True),
    {"name": "x", "unknown": 1},
    {"name": "x", "\ud800": 1},
    {"name": "x", "\x00": "\x00"},
    {"name": "x", "": 1},
    {"__proto__": {}, "__class__": {}},
    {"_schema": 1},
)

NO_INSTANTS = (
    *("", "tomorrow", "2026-04-15", "2999-01-01T00:00:00", "2999-02-30T00:00:00Z", "0001-01-01T00:00:00+23:59"),
    *("9999-12-31T23:59:59-23:59", "9999-12-31T23:59:59.999999-00:01", "99999-01-01T00:00:00Z"),
    *("2999-01-01T24:01:00Z", "2999-01-01T00:00:00+99:99", "٢٩٩٩-01-01T00:00:00Z"),
)
IN_NO_FIELD: tuple[Any, ...] = (
    *(0, -1, 2**63, 10**400, 0.5, 1.0, 1.5, " ", " x", "x ", "a\x00b", "\x7f", "\x1b[31m", "active\x00", "\ud800"),
    *("https://x\x00", "a\udfffb", "x" * 2001, [None], [1], [[]], [""], ["\x00"], ["\ud800"], ["x" * 1000]),
    *(["agents:read"] * 1000, ["spike"] * 1000, {"x": 1}, {"kty": "EC"}, {"kty": []}, {"kty": "\ud800"}),
    *({"kty": "oct", "k": "AAAA"}, {"keys": []}, {"keys": None}, {"keys": [None]}, {"keys": [{}] * (MAX_KEYS + 1)}),
    *({"name": ""}, {"name": None}, {"owner": 1}, {"scopes": ["unknown"]}),
    *({"scopes": ["agents:write"]}, {"quotas": {"year": {}}}, {"quotas": {"day": {"tokens": 0, "enforce": True}}}),
    *({"expiresAfterDays": 0}, {"expiresAfterDays": True}, {"expiresAfterDays": MAX_EXPIRY + 1}),
)
"""Values that every field refuses."""

IN_SOME_FIELDS: tuple[Any, ...] = (
    *(None, True, False, 1, "", "1", "none", "true", "builder", "a\nb", "a\\b", "é", "/path", "https://", "WARNING"),
    *("organization-agent ", "https://x.example", "https://a b", "https://x.example/#part", *NO_INSTANTS),
    *([], ["a b"], ["agents:read"] * 2, {}, {"issuer": "https://issuer.example"}),
)
"""Values that a field refuses, unless the OpenAPI document allows them."""

PAST = ["2026-04-15T12:00:00Z", "2020-01-01T00:00:00Z"]
ALSO_WRONG: dict[str, list[Any]] = {
    "resource": ["http://localhost:3000/api/v1", "http://localhost:3000/dashboard"],
    "expiresAt": PAST,
    "until": [*PAST, "9999-01-01T00:00:00Z"],
    "endsAt": ["2020-01-01T00:00:00Z"],
    # Members of a rule of trust, which also needs a type.
    "issuer": ["https://x.example"],
    "jwksUri": ["https://x.example"],
}
"""Field -> values that every route refuses, although the document's schema allows them."""


def wrong_values(document: dict[str, Any], route: Route, field: str, described: dict[str, Any]) -> Iterator[Any]:
    """Return values that a field of a route's body refuses. *described*: its schema in the document."""
    allowed = jsonschema_rs.validator_for(described | {"components": document["components"]}, validate_formats=True)
    beyond = [described[bound] + step for bound, step in (("minimum", -1), ("maximum", 1)) if bound in described]
    beyond += ["x" * (described["maxLength"] + 1)] if "maxLength" in described else []
    yield from (value for value in (*IN_SOME_FIELDS, *beyond) if not allowed.is_valid(value))
    yield from IN_NO_FIELD
    # The issuer of an OpenID provider needs no type.
    if not route.endpoint.startswith("openid-providers."):
        yield from ALSO_WRONG.get(field, ())
    if described.get("format") == "date-time":
        yield from NO_INSTANTS


def body_of(document: dict[str, Any], route: Route) -> dict[str, Any]:
    """Return the fields of a route's request body in the document."""
    body = route.described(document)["requestBody"]["content"]["application/json"]["schema"]
    fields: dict[str, Any] = document["components"]["schemas"][body["$ref"].rpartition("/")[2]]["properties"]
    return fields


def send(client: FlaskClient, route: Route, agent: Agent, body: bytes, kind: str = "application/json") -> TestResponse:
    path = route.path(agent.agent_id)
    return client.open(path, method=route.method, data=body, headers=agent.bearer(), content_type=kind)


def invalid_members(response: TestResponse) -> list[str]:
    """Return the members in the details of a 400, each of which has at least one rule."""
    assert response.status_code == 400
    assert response.json is not None
    assert (response.json["code"], response.json["message"]) == ("VALIDATION_ERROR", INVALID)
    for rules in response.json["details"].values():
        assert rules
        assert isinstance(rules, list)
        assert all(isinstance(rule, str) for rule in rules)
    return list(response.json["details"])


@pytest.mark.parametrize("case", INVALID_JSON)
def test_a_body_that_is_not_json(shared_client: FlaskClient, shared_cast: Cast, case: str) -> None:
    for charset in ("", "; charset=latin-1", "; charset=utf-16", "; charset=nonsense", '; charset="'):
        kind = f"application/json{charset}"
        response = shared_client.post(
            AGENTS, data=INVALID_JSON[case], content_type=kind, headers=shared_cast.acme.bearer()
        )
        details = {"body": ["must be valid JSON"]}
        assert_error(response, 400, "VALIDATION_ERROR", "The body is not JSON.", details)


@pytest.mark.parametrize("route", JSON_ROUTES, ids=str)
class TestBodies:
    """At every route, an error about the body names the member."""

    def test_that_is_not_what_the_route_takes(
        self, shared_client: FlaskClient, shared_cast: Cast, route: Route
    ) -> None:
        for body in (INVALID_JSON["a repeated name"], INVALID_JSON["Latin-1"]):
            response = send(shared_client, route, shared_cast.acme, body)
            assert (response.status_code, response.json["message"]) == (400, "The body is not JSON.")  # type: ignore[index]
        for wrong in WRONG_BODIES:
            response = send(shared_client, route, shared_cast.acme, json.dumps(wrong).encode())
            assert invalid_members(response), wrong

    def test_with_a_wrong_value(
        self, shared_client: FlaskClient, shared_cast: Cast, document: dict[str, Any], route: Route
    ) -> None:
        acme = shared_cast.acme
        right = route.body_for(acme.agent_id) or {}

        def refused(members: dict[str, Any]) -> list[str]:
            response = send(shared_client, route, acme, json.dumps(right | members).encode())
            assert response.status_code == 400, (members, response.json)
            return invalid_members(response)

        values = {
            name: [*wrong_values(document, route, name, schema)] for name, schema in body_of(document, route).items()
        }
        for number in range(max(map(len, values.values()))):
            members = {name: rest[number] for name, rest in values.items() if number < len(rest)}
            # One request tests many members. A rule that compares members applies only if each is right by itself.
            if sorted(refused(members)) != sorted(members):
                for name, value in members.items():
                    assert refused({name: value}) == [name], value

    def test_that_is_missing(self, shared_client: FlaskClient, shared_cast: Cast, route: Route) -> None:
        response = send(shared_client, route, shared_cast.acme, b"")
        if route.endpoint == "credentials.create_credential":
            assert response.status_code == 201
        elif route.endpoint in ("finding-actions.acknowledge_finding", "finding-actions.unmute_finding"):
            # A note is optional, but the finding does not exist.
            assert response.status_code == 404
        else:
            assert (response.status_code, list(response.json["details"])) == (400, ["body"])  # type: ignore[index]


def test_an_unknown_field_is_named_and_a_list_has_the_rules_of_its_items_each_once(
    shared_client: FlaskClient, shared_cast: Cast
) -> None:
    rule = "must be 1 to 100 printable ASCII characters without blank, quote and backslash"
    for body, details in (
        ({"nam": "x"}, {"name": ["Missing data for required field."], "nam": ["Unknown field."]}),
        ({"name": "x", "scopes": ["agents:read", "a b", 1, "c d"]}, {"scopes": [rule, "must be a string"]}),
    ):
        response = shared_client.post(AGENTS, json=body, headers=shared_cast.acme.bearer())
        assert_error(response, 400, "VALIDATION_ERROR", INVALID, details)


HOSTILE_PATHS = (
    *("%00", "%zz", "%", "%f", "%ff%fe", "%ed%a0%80", "%0d%0aX-Injected:%20yes", "..%2f..%2fetc%2fpasswd"),
    *("../../../etc/passwd", "x" * 3000, "%2e%2e", "'%20or%201=1--", "%F0%9F%98%80", "{agent_id}", ";x=y"),
    *("00000000-0000-4000-8000-000000000000%00", "00000000000040008000000000000000"),
)


@pytest.mark.parametrize("prefix", ["/", "/api/v1/", "/api/v1/agents/", "/.well-known/"])
@pytest.mark.parametrize("method", ["GET", "PATCH", "OPTIONS"])
def test_a_hostile_path_is_not_found(shared_client: FlaskClient, shared_cast: Cast, prefix: str, method: str) -> None:
    for path in HOSTILE_PATHS:
        for headers in ({}, shared_cast.acme.bearer()):
            response = shared_client.open(prefix + path, method=method, json={}, headers=headers)
            assert_error(response, 404, "NOT_FOUND", "There is nothing at this address.")


@pytest.mark.parametrize(
    ("path", "status"),
    [("/api/v1/analytics/tokens", 400), ("/api/v1/agents", 400), ("/dashboard/agents", 401), ("/nothing", 404)],
)
def test_a_query_that_is_not_utf_8_is_no_fault(
    shared_client: FlaskClient, shared_cast: Cast, path: str, status: int
) -> None:
    query = {"QUERY_STRING": "days=\xff"}
    response = shared_client.get(path, headers=shared_cast.acme.bearer(), environ_overrides=query)
    assert response.status_code == status
    if status == 400:
        assert response.json["details"].keys() == {"days"}  # type: ignore[index]


class TestRememberedQueries:
    """A process caches the parsed queries of its clients."""

    def test_requests_do_not_share_their_arguments(self, app: Flask) -> None:
        parser, schema = Parser(), PeriodArguments()
        for query, days in (("", 30), ("?days=7", 7)):
            with app.test_request_context(f"/{query}"):
                first = parser.parse(schema, location="query")
                first["days"] = 1
                assert parser.parse(schema, location="query") == {"days": days}

    def test_they_are_few(self, app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("agentidp.http.parser.MAX_CACHED_QUERIES", 2)
        parser, schema = Parser(), PeriodArguments()
        for days in (1, 2, 3, 1, 2, 3):
            with app.test_request_context(f"/?days={days}"):
                assert parser.parse(schema, location="query") == {"days": days}
            assert 1 <= len(parser._parsed) <= 2


HOSTILE_VALUES = (
    *("", " ", "\x00", "\xff\xfe", "x" * 10_000, ",,,", "[::1", "a b", "bytes=9-1", "é", "Bearer", "Basic ", "="),
)


@pytest.mark.slow
@pytest.mark.parametrize(
    "names", ["Host", "Authorization", "Cookie Accept If-Match If-None-Match Range Expect Origin X-Forwarded-For"]
)
def test_no_header_makes_a_500(shared_client: FlaskClient, shared_cast: Cast, names: str) -> None:
    for value in HOSTILE_VALUES:
        headers = shared_cast.acme.bearer() | dict.fromkeys(names.split(), value)
        for route in ROUTES:
            path, method = route.path(shared_cast.acme.agent_id), "GET" if route.method == "DELETE" else route.method
            response = shared_client.open(path, method=method, data=b"!", headers=headers)
            response.close()
            assert response.status_code < 500, (str(route), value)


@pytest.mark.parametrize("path", ["/healthz", "/nothing"])
def test_a_request_id_is_the_one_that_was_sent_if_it_is_plain(shared_client: FlaskClient, path: str) -> None:
    for request_id in ("abc", "A-1_b.2", "x" * 64, "0"):
        assert shared_client.get(path, headers={"X-Request-Id": request_id}).headers.getlist("X-Request-Id") == [
            request_id
        ]
    for request_id in ("", "x" * 65, "x" * 10_240, "a b", "a,b", "é", "a\x00", "<script>", '"', "a\tb"):
        [new_id] = shared_client.get(path, headers={"X-Request-Id": request_id}).headers.getlist("X-Request-Id")
        assert re.fullmatch(r"[0-9a-f]{32}", new_id)


def exchange(server: Server, *parts: bytes) -> bytes:
    """Send *parts*, unless the server closes the connection earlier, and return its response."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE) as connection:
        try:
            for part in parts:
                connection.sendall(part)
            connection.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # It has answered and closed before it received everything.
        return everything(connection)


def post(agent: Agent, path: str, kind: str) -> bytes:
    """Return the head of a request, without the length of its body."""
    return (
        f"POST {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {agent.token()}\r\nConnection: close\r\n"
        f"Content-Type: {kind}\r\n"
    ).encode()


@pytest.mark.slow
class TestThroughGunicorn:
    """Cases that need a real server, because they depend on the bytes of the connection."""

    @pytest.mark.parametrize("is_chunked", [False, True], ids=["with a length", "chunked"])
    def test_a_body_of_one_megabyte(self, running: tuple[Server, Agent], is_chunked: bool) -> None:
        server, agent = running
        chunk = b"x" * 10_000
        for path, kind, body in (
            (AGENTS, "application/json", {"code": "PAYLOAD_TOO_LARGE", "message": TOO_LARGE, "details": {}}),
            ("/api/v1/token", FORM, {"error": "invalid_request", "error_description": TOO_LARGE}),
        ):
            length = "Transfer-Encoding: chunked" if is_chunked else "Content-Length: 1000000"
            parts = [b"2710\r\n" + chunk + b"\r\n"] * 100 + [b"0\r\n\r\n"] if is_chunked else [chunk] * 100
            head = post(agent, path, kind) + f"{length}\r\n\r\n".encode()
            answered, _, answer = exchange(server, head, *parts).partition(b"\r\n\r\n")
            assert answered.startswith(b"HTTP/1.1 413 ")
            assert b"\r\nCache-Control: no-store\r\n" in answered + b"\r\n"
            assert json.loads(answer) == body

    def test_a_chunked_body_that_fits(self, running: tuple[Server, Agent]) -> None:
        server, agent = running
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE)
        headers = agent.bearer() | {"Content-Type": "application/json"}
        connection.request("POST", "/api/v1/agents", iter([b'{"name":', b'"in parts"}']), headers, encode_chunked=True)
        response = connection.getresponse()
        assert (response.status, json.loads(response.read())["name"]) == (201, "in parts")
        connection.close()

    def test_a_body_that_ends_early_is_a_bad_request(self, running: tuple[Server, Agent]) -> None:
        server, agent = running
        for path, kind in ((AGENTS, "application/json"), ("/api/v1/token", FORM)):
            for body in (
                b"Content-Length: 100\r\n\r\n{",
                b"Content-Length: -1\r\n\r\n{",
                b"Content-Length: x\r\n\r\n{",
                b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n{}",
                b"Transfer-Encoding: chunked\r\n\r\nzz\r\n{",
                b"Transfer-Encoding: chunked\r\n\r\n5\r\n{",
                b"Transfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n{}",
                b"Transfer-Encoding: nonsense\r\n\r\n{}",
                b"Content-Encoding: gzip\r\nContent-Length: 2\r\n\r\n\x1f\x8b",
            ):
                answer = exchange(server, post(agent, path, kind) + body)
                assert answer == b"" or re.match(rb"HTTP/1\.[01] (4\d\d|501) ", answer), (body, answer)

    @pytest.mark.parametrize("end", ["reset", "half-close"])
    def test_a_form_that_is_cut_off_issues_no_token(self, running: tuple[Server, Agent], end: str) -> None:
        """The received beginning of the body is also a valid form, which requests all scopes."""
        server, agent = running
        url = server.environment["AGENTIDP_DATABASE_URL"]
        sums = usage_sums(url, agent.organization_id)
        form = f"grant_type=client_credentials&client_id={agent.client_id}&client_secret={agent.client_secret}"
        head = (
            f"POST /api/v1/token HTTP/1.1\r\nHost: x\r\nContent-Type: {FORM}\r\n"
            f"X-Request-Id: cut-off-{end}\r\nExpect: 100-continue\r\nContent-Length: {len(form) + 17}\r\n\r\n"
        )
        with socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE) as connection:
            connection.sendall(head.encode())
            # The server has read the head, and waits for the body.
            assert connection.recv(25, socket.MSG_WAITALL) == b"HTTP/1.1 100 Continue\r\n\r\n"
            connection.sendall(form.encode())
            if end == "reset":
                # With SO_LINGER at 0, close() sends RST.
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            else:
                connection.shutdown(socket.SHUT_WR)
                assert connection.recv(13, socket.MSG_WAITALL) == b"HTTP/1.1 400 "
        wait_until(lambda: f"cut-off-{end}" in server.logs())
        assert "Traceback" not in server.logs()
        assert '"ERROR"' not in server.logs()
        [line] = [json.loads(line) for line in server.logs().splitlines() if f"cut-off-{end}" in line]
        assert (line["level"], line["message"], line["status"]) == ("INFO", "request", 400)
        assert usage_sums(url, agent.organization_id) == sums
