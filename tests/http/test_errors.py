"""Every error has its status, its whole body and its headers; no request makes a 500."""

from __future__ import annotations

import http.client
import json
import logging
import re
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from agentidp import create_app
from agentidp.alerts.addresses import MAX_URL_LENGTH
from agentidp.alerts.target_routes import MAX_OWNERS
from agentidp.analytics.token_trend import TokenTrendArguments
from agentidp.analytics.usage_by_day import UsageByDayArguments
from agentidp.clock import utc_now
from agentidp.db.embedded_postgres import temporary
from agentidp.db.migrations import migrate
from agentidp.findings.actions import MAX_NOTE
from agentidp.http.errors import RateLimited, ValidationError
from agentidp.http.openapi import camel_case
from agentidp.http.parser import MAX_BODY, Parser
from agentidp.http.resource_identifier import MAX_AUDIENCE_LENGTH, MAX_RESOURCE_LENGTH
from agentidp.http.schemas import MAX_DAYS, MAX_NAME, MAX_OWNER
from agentidp.jose.jwk import MAX_KEYS
from agentidp.jose.key_rotation import ensure_signing_key
from agentidp.registry.agents import MAX_DESCRIPTION, MAX_REPLICAS
from agentidp.registry.credentials import MAX_LABEL
from agentidp.registry.organizations import MAX_BUDGET, MAX_DORMANCY, MIN_DORMANCY
from agentidp.registry.provisioning import MAX_AGENTS, MAX_EXPIRY
from agentidp.registry.quotas import MAX_TOKENS
from agentidp.services import Services
from tests.conftest import Cast, _fresh_database, settings_for
from tests.factories import (
    PATIENCE,
    RESOURCE_METADATA,
    SECRET_KEY,
    Agent,
    Clock,
    Server,
    database_of,
    make_agent,
    make_organization,
    usage_sums,
    wait_until,
)
from tests.machine import within
from tests.routes import JSON_ROUTES, PROTECTED, ROUTES, WITHOUT_BODY, Route

UNAVAILABLE = "The service is temporarily unavailable; try again."
UNEXPECTED = "The server met an unexpected condition."
INVALID = "The request is not valid."
NOT_JSON = "The body is not JSON."


def assert_error(
    response: TestResponse,
    status: int,
    code: str,
    message: str,
    details: dict[str, Any] | None = None,
    **headers: str,
) -> None:
    """The response is this error, whole, with the headers of every error and *headers*."""
    assert (response.status_code, response.json) == (
        status,
        {"code": code, "message": message, "details": details or {}},
    )
    assert_headers(response, headers)


def assert_oauth_error(response: TestResponse, status: int, error: str, description: str, **headers: str) -> None:
    """The response is this error as RFC 6749 section 5.2 renders it."""
    assert (response.status_code, response.json) == (status, {"error": error, "error_description": description})
    assert_headers(response, headers)


def assert_headers(response: TestResponse, headers: dict[str, str]) -> None:
    """The headers of every error, and further ones with - written as _."""
    assert re.fullmatch(r"[0-9a-f]{32}", response.headers["X-Request-Id"])
    expected = {
        "Content-Type": "application/json",
        "Cache-Control": "no-store",
        "X-Content-Type-Options": "nosniff",
    } | {name.replace("_", "-"): value for name, value in headers.items()}
    assert {name: response.headers.get(name) for name in expected} == expected


def token_form(agent: Agent) -> dict[str, str]:
    """The form of a token request that succeeds."""
    return {
        "grant_type": "client_credentials",
        "client_id": agent.client_id,
        "client_secret": agent.client_secret,
    }


class TestTable:
    """The table of errors."""

    def test_validation_error(self, shared_client: FlaskClient, shared_cast: Cast) -> None:
        response = shared_client.get("/api/v1/analytics/tokens?days=0", headers=shared_cast.acme.bearer())
        rule = "must be a whole number from 1 to 90"
        assert_error(response, 400, "VALIDATION_ERROR", INVALID, {"days": [rule]})

    def test_unauthorized_without_a_token(self, shared_client: FlaskClient) -> None:
        assert_error(
            shared_client.get("/api/v1/agents"),
            401,
            "UNAUTHORIZED",
            "A valid bearer token is required.",
            WWW_Authenticate=f'Bearer realm="agentidp", {RESOURCE_METADATA}',
        )

    def test_unauthorized_with_a_token_that_is_refused(self, shared_client: FlaskClient) -> None:
        message = "The access token is invalid, expired or revoked"
        assert_error(
            shared_client.get("/api/v1/agents", headers={"Authorization": "Bearer x.y.z"}),
            401,
            "UNAUTHORIZED",
            message,
            WWW_Authenticate=f'Bearer realm="agentidp", error="invalid_token", error_description="{message}", '
            + RESOURCE_METADATA,
        )

    def test_forbidden(self, shared_client: FlaskClient, shared_cast: Cast) -> None:
        message = "The access token lacks the scope agents:write"
        assert_error(
            shared_client.post("/api/v1/agents", headers=shared_cast.acme.bearer(scope="agents:read")),
            403,
            "FORBIDDEN",
            message,
            WWW_Authenticate='Bearer realm="agentidp", error="insufficient_scope", '
            f'error_description="{message}", scope="agents:write"',
        )

    @pytest.mark.parametrize(
        "path",
        ["/nothing", "/api/v1", "/api/v1/agents/", "/api/v1/agents/x", "//api//v1//agents", "/api/v1/token/"],
    )
    @pytest.mark.parametrize("method", ["GET", "POST", "FOO"])
    def test_not_found(self, shared_client: FlaskClient, path: str, method: str) -> None:
        response = shared_client.open(path, method=method)
        assert_error(response, 404, "NOT_FOUND", "There is nothing at this address.")

    @pytest.mark.parametrize(
        ("path", "allow"),
        [
            ("/api/v1/agents", "GET, HEAD, OPTIONS, POST"),
            ("/api/v1/agents/00000000-0000-4000-8000-000000000000", "DELETE, GET, HEAD, OPTIONS, PATCH"),
            ("/api/v1/analytics/tokens", "GET, HEAD, OPTIONS"),
        ],
    )
    @pytest.mark.parametrize("method", ["PUT", "TRACE", "CONNECT", "PROPFIND", "X" * 100])
    def test_method_not_allowed(self, shared_client: FlaskClient, path: str, method: str, allow: str) -> None:
        assert_error(
            shared_client.open(path, method=method, headers={"Content-Type": "application/json"}),
            405,
            "METHOD_NOT_ALLOWED",
            "This address does not take this method.",
            Allow=allow,
        )

    def test_conflict(self, shared_client: FlaskClient, shared_cast: Cast) -> None:
        for method, path in (("POST", "/api/v1/agents"), ("PATCH", f"/api/v1/agents/{shared_cast.acme.agent_id}")):
            made = make_agent(shared_cast.acme.services, shared_cast.acme.organization_id, name=f"taken {method}")
            response = shared_client.open(path, method=method, json={"name": f"taken {method}"}, headers=made.bearer())
            # An agent's own name is not taken by itself.
            assert_error(response, 409, "CONFLICT", "Another agent has this name.", {"name": ["is taken"]})

    def test_payload_too_large(self, shared_client: FlaskClient, shared_cast: Cast) -> None:
        body = {"name": "x" * MAX_BODY}
        response = shared_client.post("/api/v1/agents", json=body, headers=shared_cast.acme.bearer())
        assert_error(response, 413, "PAYLOAD_TOO_LARGE", "The request body is too large.")

    @pytest.mark.parametrize(
        "content_type", ["text/plain", "application/x-www-form-urlencoded", "application/jsonx", ""]
    )
    def test_unsupported_media_type(self, shared_client: FlaskClient, shared_cast: Cast, content_type: str) -> None:
        response = shared_client.post(
            "/api/v1/agents", data='{"name":"x"}', content_type=content_type, headers=shared_cast.acme.bearer()
        )
        message = "The request body must be application/json."
        assert_error(response, 415, "UNSUPPORTED_MEDIA_TYPE", message)

    def test_rate_limited(self, own_app: Flask) -> None:
        # That of the findings needs several requests at once (tests/services/test_expensive_reads.py).
        @own_app.route("/api/v1/limited")
        def limited() -> None:
            raise RateLimited(headers={"Retry-After": "7"})

        response = own_app.test_client().get("/api/v1/limited")
        assert_error(response, 429, "RATE_LIMITED", "Too many requests.", Retry_After="7")


class TestOAuthEndpoint:
    """The same at the token endpoint, as RFC 6749 section 5.2 renders it."""

    @pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH", "HEAD", "FOO"])
    def test_method_not_allowed(self, shared_client: FlaskClient, method: str) -> None:
        response = shared_client.open("/api/v1/token", method=method)
        assert response.status_code == 405
        if method != "HEAD":
            description = "This address does not take this method."
            assert response.json == {"error": "invalid_request", "error_description": description}
        assert_headers(response, {"Allow": "OPTIONS, POST"})

    def test_payload_too_large(self, shared_client: FlaskClient, shared_cast: Cast) -> None:
        form = token_form(shared_cast.acme) | {"padding": "x" * MAX_BODY}
        response = shared_client.post("/api/v1/token", data=form)
        assert_oauth_error(response, 413, "invalid_request", "The request body is too large.")

    def test_another_content_type(self, shared_client: FlaskClient, shared_cast: Cast) -> None:
        response = shared_client.post("/api/v1/token", json=token_form(shared_cast.acme))
        description = "the body must be application/x-www-form-urlencoded"
        assert_oauth_error(response, 400, "invalid_request", description)

    def test_unexpected(self, client: FlaskClient, cast: Cast, database_url: str) -> None:
        execute(database_url, "drop table usage_daily cascade")
        response = client.post("/api/v1/token", data=token_form(cast.acme))
        assert_oauth_error(response, 500, "server_error", UNEXPECTED)

    @pytest.mark.parametrize("path", ["/api/v1/token", "/api/v1/token/introspect", "/api/v1/token/revoke"])
    def test_unavailable(self, dead_client: FlaskClient, path: str) -> None:
        form = {"grant_type": "client_credentials", "client_id": "x", "client_secret": "y", "token": "z"}
        response = dead_client.post(path, data=form)
        assert_oauth_error(response, 503, "temporarily_unavailable", UNAVAILABLE, Retry_After="1")


def execute(url: str, statement: str) -> None:
    """Run a statement past the application."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(statement.encode())


class TestUnexpected:
    """A 500 reveals nothing, and the log says where it was but quotes no parameter."""

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
            assert set(fields) == {"error", "sqlstate", "at", "request_id"}
            assert (fields["error"], fields["sqlstate"]) == ("UndefinedColumn", "42703")
            assert fields["request_id"] == response.headers["X-Request-Id"]
            assert any("database.py:" in frame for frame in fields["at"])

    def test_quotes_no_parameter(
        self, client: FlaskClient, cast: Cast, database_url: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        # PostgreSQL's message of this one quotes the whole row.
        execute(database_url, "alter table agents add check (name <> 'hush-hush')")
        with caplog.at_level(logging.DEBUG):
            response = client.post("/api/v1/agents", json={"name": "hush-hush"}, headers=cast.acme.bearer())
        assert_error(response, 500, "INTERNAL_ERROR", UNEXPECTED)
        logged = "\n".join(f"{record.getMessage()} {record.__dict__}" for record in caplog.records)
        assert "CheckViolation" in logged
        assert "hush-hush" not in logged
        assert cast.acme.client_secret not in logged


@contextmanager
def application(url: str, **settings: Any) -> Iterator[Flask]:
    """The application on the database *url*."""
    app = create_app(settings_for(url, **settings), clock=Clock())
    yield app
    app.extensions["agentidp"].close()


@pytest.fixture(scope="module")
def dead_client() -> Iterator[FlaskClient]:
    """A client of an application whose database was never there."""
    with application("postgresql://nobody@127.0.0.1:1/nothing", pool_timeout=0.3) as app:
        yield app.test_client()


def assert_unavailable(response: TestResponse) -> None:
    """The response is a 503, whole."""
    assert_error(response, 503, "SERVICE_UNAVAILABLE", UNAVAILABLE, Retry_After="1")


class TestUnavailable:
    """The database does not answer: 503 with Retry-After, and nothing is done."""

    def test_the_database_was_never_there(self, dead_client: FlaskClient, shared_cast: Cast) -> None:
        for path in ("/api/v1/agents", "/readyz"):
            assert_unavailable(dead_client.get(path, headers=shared_cast.acme.bearer()))
        assert dead_client.get("/healthz").status_code == 200

    def test_jwks_without_a_database(self, dead_client: FlaskClient) -> None:
        response = dead_client.get("/.well-known/jwks.json")
        assert_oauth_error(response, 503, "temporarily_unavailable", UNAVAILABLE, Retry_After="1")

    @pytest.mark.slow
    def test_the_server_stops_and_starts_again(self) -> None:
        with temporary() as postgres:
            migrate(postgres.url)
            ensure_signing_key(settings_for(postgres.url), at=utc_now())
            with application(postgres.url) as app:
                client = app.test_client()
                agent = make_agent(app.extensions["agentidp"], make_organization(app.extensions["agentidp"]))
                assert client.post("/api/v1/token", data=token_form(agent)).status_code == 200
                assert client.get("/api/v1/agents", headers=agent.bearer()).status_code == 200
                postgres.stop()
                for route in PROTECTED:
                    path = route.path(agent.agent_id)
                    assert_unavailable(client.open(path, method=route.method, json=route.body, headers=agent.bearer()))
                assert_oauth_error(
                    client.post("/api/v1/token", data=token_form(agent)),
                    503,
                    "temporarily_unavailable",
                    UNAVAILABLE,
                    Retry_After="1",
                )
                postgres.start()
                # A server that has come back is noticed at once.
                with within(2):
                    wait_until(lambda: client.get("/api/v1/agents", headers=agent.bearer()).status_code == 200)
                assert client.post("/api/v1/token", data=token_form(agent)).status_code == 200

    def test_the_request_after_a_terminated_connection_succeeds(
        self, client: FlaskClient, cast: Cast, database_url: str
    ) -> None:
        for _ in range(3):
            assert client.get("/api/v1/agents", headers=cast.acme.bearer()).status_code == 200
            assert client.post("/api/v1/token", data=token_form(cast.acme)).status_code == 200
            with psycopg.connect(database_url, autocommit=True) as connection:
                ended = connection.execute(
                    "select pg_terminate_backend(pid, %s::bigint) from pg_stat_activity "
                    "where datname = current_database() and application_name = 'agentidp'",
                    [PATIENCE * 1000],
                ).fetchall()
            assert ended
            assert set(ended) == {(True,)}
        assert client.get("/api/v1/agents", headers=cast.acme.bearer()).status_code == 200

    def test_no_connection_is_free(self, database_url: str, cast: Cast) -> None:
        headers = cast.acme.bearer()
        with application(database_url, pool_max_size=1, pool_timeout=0.2) as app:
            client = app.test_client()
            # To open the connection and to read the keys may take longer than a request waits.
            wait_until(lambda: client.get("/api/v1/agents", headers=headers).status_code == 200)
            with database_of(app.extensions["agentidp"], cast.acme.organization_id).transaction():
                assert_unavailable(client.get("/api/v1/agents", headers=headers))
            assert client.get("/api/v1/agents", headers=headers).status_code == 200

    def test_too_many_wait_for_a_connection(self, database_url: str) -> None:
        with application(database_url, pool_max_size=1, pool_timeout=PATIENCE, pool_max_waiting=1) as app:
            services: Services = app.extensions["agentidp"]
            agent = make_agent(services, make_organization(services))
            headers = agent.bearer()
            answers: list[TestResponse] = []
            waiting = threading.Thread(
                target=lambda: answers.append(app.test_client().get("/api/v1/agents", headers=headers))
            )
            with database_of(services, agent.organization_id).transaction():
                waiting.start()
                pool = services.database.pool
                while pool.statistics()["requests_waiting"] != 1:
                    assert waiting.is_alive()
                assert_unavailable(app.test_client().get("/api/v1/agents", headers=headers))
            waiting.join(PATIENCE)
            assert [answer.status_code for answer in answers] == [200]

    def test_a_statement_takes_too_long(self, client: FlaskClient, cast: Cast, database_url: str) -> None:
        acme = cast.acme
        agents = client.get("/api/v1/agents", headers=acme.bearer()).json["data"]
        with application(database_url, statement_timeout=0.2) as app, psycopg.connect(database_url) as connection:
            hurried = app.test_client()
            connection.execute("lock table usage_daily in access exclusive mode")
            assert_unavailable(hurried.get("/api/v1/agents", headers=acme.bearer()))
            assert_unavailable(hurried.post("/api/v1/agents", json={"name": "late"}, headers=acme.bearer()))
            assert_oauth_error(
                hurried.post("/api/v1/token", data=token_form(acme)),
                503,
                "temporarily_unavailable",
                UNAVAILABLE,
                Retry_After="1",
            )
        assert client.get("/api/v1/agents", headers=acme.bearer()).json["data"] == agents

    def test_the_server_has_no_connection_left(self, postgres_url: str, template: str) -> None:
        with contextmanager(_fresh_database)(postgres_url, template) as url, psycopg.connect(url) as connection:
            # 53300; a superuser is not held to the limit, so the role is an ordinary one.
            name = connection.info.dbname
            execute(url, f"create role {name} login password 'x' connection limit 0")
            try:
                limited = f"postgresql://{name}:x@/{name}?host={connection.info.host}&port={connection.info.port}"
                with application(limited, pool_timeout=0.3) as app:
                    assert_unavailable(app.test_client().get("/readyz"))
            finally:
                execute(url, f"drop role {name}")


INVALID_JSON = {
    "nothing but a bracket": b"{",
    "a word": b"nope",
    "single quotes": b"{'name': 'x'}",
    "a closing comma": b'{"name": "x",}',
    "a comment": b'{"name": "x"} // y',
    "two values": b"{} {}",
    "a NUL": b"\x00",
    "a NUL after": b"{}\x00",
    "a bare control character": b'{"name": "a\nb"}',
    "NaN": b'{"name": NaN}',
    "Infinity": b'{"name": -Infinity}',
    "a repeated name": b'{"name": "x", "name": "y"}',
    "a repeated name inside": b'{"name": {"x": 1, "x": 1}}',
    "invalid UTF-8": b'{"name": "\xff"}',
    "overlong UTF-8": b'{"name": "\xc0\x80"}',
    "an encoded surrogate": b'{"name": "\xed\xa0\x80"}',
    "UTF-16": '{"name": "x"}'.encode("utf-16"),
    "UTF-32": '{"name": "x"}'.encode("utf-32-be"),
    "Latin-1": '{"name": "é"}'.encode("latin-1"),
    "a byte order mark": b'\xef\xbb\xbf{"name": "x"}',
    "60,000 brackets": b"[" * 60_000,
    "30,000 objects": b'{"a":' * 12_000 + b"1" + b"}" * 100,
    "a number of 5,000 digits": b'{"name": ' + b"9" * 5000 + b"}",
    "blanks only": b" \n\t",
    "form data": b"name=x",
}

WRONG_TYPES: dict[str, Any] = {
    "null": None,
    "a list": [],
    "a list of bodies": [{"name": "x"}],
    "a string": "name",
    "a number": 1,
    "a huge number": 10**400,
    "a boolean": True,
    "an unknown field": {"name": "x", "unknown": 1},
    "an unknown field that is a lone surrogate": {"name": "x", "\ud800": 1},
    "an unknown field that is a NUL": {"name": "x", "\x00": "\x00"},
    "an unknown field without a name": {"name": "x", "": 1},
    "a prototype": {"__proto__": {}, "__class__": {}},
    "a schema": {"_schema": 1},
}

WRONG_VALUES: dict[str, list[Any]] = {
    "tokens": [None, 0, -1, MAX_TOKENS + 1, 1.5, 2.0, True, "1", [], {}],
    "enforce": [None, 0, 1, "true", [], {}],
    "name": [
        None,
        "",
        " ",
        "x" * (MAX_NAME + 1),
        1,
        True,
        [],
        {},
        "a\x00b",
        "a\nb",
        "\ud800",
        "a\udfffb",
        " x",
        "x ",
        "\x7f",
        0.5,
    ],
    "label": ["", "x" * (MAX_LABEL + 1), 1, [], {}, "a\x00b", "a\nb", "\ud800", " x"],
    "owner": [None, "x" * (MAX_OWNER + 1), 1, [], "a\nb", "\ud800", " x"],
    "description": [None, "x" * (MAX_DESCRIPTION + 1), 1, [], "a\x00b", "\ud800", " x", "\x1b[31m"],
    "scopes": [
        None,
        "agents:read",
        {},
        [None],
        [1],
        [[]],
        ["unknown"],
        ["agents:read", "agents:read"],
        ["\ud800"],
        ["\x00"],
        ["agents:read\x00"],
        ["agents:read"] * 1000,
    ],
    "dpopBoundAccessTokens": [None, "true", 1, 0, [], {}, "\ud800"],
    "tokenPerCall": [None, "true", 1, 0, [], {}, "\ud800"],
    "tokenTtl": [0, -1, 59, 86_401, 300.0, "300", True, [], {}, 2**63],
    "resource": [
        *(None, "", 1, [], {}, "api", "/path", "https://x.example/#part", "https://x\x00", "\ud800"),
        "https://x.example/".ljust(MAX_RESOURCE_LENGTH + 1, "x"),
        # Our own audiences.
        *("http://localhost:3000/api/v1", "http://localhost:3000/dashboard"),
    ],
    "jwk": [None, "", 1, [], {}, {"kty": "oct", "k": "AAAA"}, {"kty": "EC"}, {"kty": []}, {"kty": "\ud800"}],
    "jwks": [None, "", 1, [], {}, {"keys": []}, {"keys": None}, {"keys": [None]}, {"keys": [{}] * (MAX_KEYS + 1)}],
    "status": [None, "", "deleted", "ACTIVE", 1, [], {}, "active\x00", "\ud800"],
    "type": [None, "", "pigeon", "WEBHOOK", 1, [], {}, "\ud800"],
    "url": [
        *(None, "", 1, [], {}, "hooks.example", "https://", "https://a b", "https://\x00", "\ud800", "https://é"),
        "https://hooks.example/".ljust(MAX_URL_LENGTH + 1, "x"),
    ],
    "kinds": ["spike", 1, {}, [], [None], [1], ["unknown"], ["spike"] * 1000],
    "owners": ["Ada", 1, {}, [], [None], [1], [""], ["x" * (MAX_OWNER + 1)], ["Ada"] * (MAX_OWNERS + 1)],
    "minimumSeverity": [None, "", "urgent", "WARNING", 1, [], {}],
    "enabled": [None, "true", 1, 0, [], {}],
    "expectedReplicas": [0, -1, MAX_REPLICAS + 1, 10**400, 1.0, 0.5, True, "", "1", "none", [], {}, "\ud800"],
    "monthlyTokenBudget": [0, -1, MAX_BUDGET + 1, 10**400, 1.0, 0.5, True, "", "1", [], {}, "\ud800"],
    "suspendDormantAfterDays": [
        MIN_DORMANCY - 1,
        MAX_DORMANCY + 1,
        0,
        -1,
        10**400,
        100.0,
        True,
        "",
        "100",
        [],
        {},
        "\ud800",
    ],
    "agentProvisioning": [None, "true", 1, 0, [], {}, "\ud800"],
    "trust": [None, "", 1, [], {}, {"issuer": "https://issuer.example"}, {"issuer": "https://issuer.example", "x": 1}],
    "agentTemplate": [
        *(None, "", 1, [], {"x": 1}, {"name": ""}, {"name": None}, {"owner": 1}, {"scopes": ["agents:write"]}),
        *({"scopes": ["unknown"]}, {"quotas": {"year": {}}}, {"quotas": {"day": {"tokens": 0, "enforce": True}}}),
        *({"expiresAfterDays": 0}, {"expiresAfterDays": MAX_EXPIRY + 1}, {"expiresAfterDays": True}),
    ],
    "maxAgents": [None, 0, -1, MAX_AGENTS + 1, 10**400, 1.0, True, "", "1", [], {}],
    "expiresAt": [
        "",
        "tomorrow",
        1,
        0.5,
        True,
        [],
        {},
        "2026-04-15",
        "2999-01-01T00:00:00",
        "2026-04-15T12:00:00Z",
        "2020-01-01T00:00:00Z",
        "0001-01-01T00:00:00+23:59",
        "9999-12-31T23:59:59-23:59",
        "9999-12-31T23:59:59.999999-00:01",
        "99999-01-01T00:00:00Z",
        "2999-02-30T00:00:00Z",
        "2999-01-01T24:01:00Z",
        "2999-01-01T00:00:00+99:99",
        "٢٩٩٩-01-01T00:00:00Z",
        "2999-01-01T00:00:00Z\x00",
        "\ud800",
    ],
    "note": ["", "x" * (MAX_NOTE + 1), 1, [], {}, "a\x00b", "\ud800", " x"],
    "kind": [None, "", "spike", "HOLIDAY", 1, [], {}, "\ud800"],
    "startsAt": [None, "", "tomorrow", 1, True, [], {}, "2026-04-15", "2999-01-01T00:00:00", "2999-02-30T00:00:00Z"],
    "endsAt": ["", "tomorrow", 1, True, [], {}, "2026-04-15", "2999-01-01T00:00:00", "2020-01-01T00:00:00Z"],
    "agentId": ["", "builder", 1, True, [], {}, "\ud800", "00000000-0000-4000-8000-000000000000"],
    "wholeOrganization": [None, "true", 1, 0, [], {}],
}
# Of a rule of trust: without the type these are refused in any case.
for _name in ("issuer", "subject", "claims", "audience", "jwksUri"):
    WRONG_VALUES[_name] = [None, "", "https://x.example", 1, True, [], {}, "a\x00", "\ud800"]
WRONG_VALUES["until"] = [None, *WRONG_VALUES["expiresAt"], "9999-01-01T00:00:00Z"]
"""Field of a request body -> values that every route refuses."""

OF_TOKENS: dict[str, list[Any]] = {
    "audience": [
        "",
        1,
        True,
        [],
        {},
        "two words",
        'a"',
        "a\\b",
        "é",
        "a\x00",
        "\ud800",
        "x" * (MAX_AUDIENCE_LENGTH + 1),
    ],
    "subject": [None, "", "Agent", "organization-agent ", "{agentId}", 1, True, [], {}, "agent\x00", "\ud800"],
}
"""The same for a resource server, whose members with these names are others than those of a rule of trust."""


def fields_of(client: FlaskClient, route: Route) -> list[str]:
    """The fields of a route's request body, as the OpenAPI document has them."""
    document = client.get("/api/v1/openapi.json").json
    path = re.sub(r"<(?:\w+:)?(\w+)>", lambda name: f"{{{camel_case(name[1])}}}", route.rule)
    body = document["paths"][path][route.method.lower()]["requestBody"]["content"]["application/json"]["schema"]
    schema = document["components"]["schemas"][body["$ref"].rpartition("/")[2]]
    return list(schema["properties"])


@pytest.mark.parametrize("route", JSON_ROUTES, ids=str)
class TestBodies:
    """Whatever a body holds, the answer is an error that names it."""

    def send(self, client: FlaskClient, route: Route, agent: Agent, body: bytes, **options: Any) -> TestResponse:
        return client.open(
            route.path(agent.agent_id),
            method=route.method,
            data=body,
            headers=agent.bearer(),
            content_type=options.get("content_type", "application/json"),
        )

    @pytest.mark.parametrize("case", INVALID_JSON)
    def test_that_is_not_json(self, shared_client: FlaskClient, shared_cast: Cast, route: Route, case: str) -> None:
        response = self.send(shared_client, route, shared_cast.acme, INVALID_JSON[case])
        assert_error(response, 400, "VALIDATION_ERROR", NOT_JSON, {"body": ["must be valid JSON"]})

    @pytest.mark.parametrize("case", WRONG_TYPES)
    def test_that_is_not_what_the_route_takes(
        self, shared_client: FlaskClient, shared_cast: Cast, route: Route, case: str
    ) -> None:
        response = self.send(shared_client, route, shared_cast.acme, json.dumps(WRONG_TYPES[case]).encode())
        assert response.status_code == 400
        assert response.json is not None
        assert response.json["code"] == "VALIDATION_ERROR"
        assert_details(response.json["details"])

    def test_with_a_wrong_value(self, shared_client: FlaskClient, shared_cast: Cast, route: Route) -> None:
        fields = fields_of(shared_client, route)
        assert set(fields) <= set(WRONG_VALUES), "add values that the field refuses to WRONG_VALUES"
        for field in fields:
            is_server = route.endpoint.startswith("resource-servers.")
            for value in (OF_TOKENS if is_server else {}).get(field, WRONG_VALUES[field]):
                if value == ["unknown"] and is_server:
                    continue  # These routes make a scope known.
                body = {**(route.body or {}), field: value}
                response = self.send(shared_client, route, shared_cast.acme, json.dumps(body).encode())
                assert response.status_code == 400, (field, value, response.json)
                assert response.json is not None
                assert (response.json["code"], response.json["message"]) == ("VALIDATION_ERROR", INVALID)
                assert list(response.json["details"]) == [field], value
                assert_details(response.json["details"])

    def test_of_100_000_brackets(self, shared_client: FlaskClient, shared_cast: Cast, route: Route) -> None:
        for bracket in (b"[", b'{"a":', b"[[[]]]"):
            response = self.send(shared_client, route, shared_cast.acme, bracket * 100_000)
            assert_error(response, 413, "PAYLOAD_TOO_LARGE", "The request body is too large.")

    def test_of_another_type(self, shared_client: FlaskClient, shared_cast: Cast, route: Route) -> None:
        body = json.dumps(route.body).encode()
        for content_type in (
            "text/json",
            "application/x-www-form-urlencoded",
            "multipart/form-data",
            "application",
            "ÿ",
        ):
            response = self.send(shared_client, route, shared_cast.acme, body, content_type=content_type)
            assert response.status_code == 415, content_type

    def test_with_a_charset_is_utf_8_all_the_same(
        self, shared_client: FlaskClient, shared_cast: Cast, route: Route
    ) -> None:
        latin = '{"name": "é"}'.encode("latin-1")
        for charset in ("latin-1", "utf-16", "nonsense", '"'):
            content_type = f"application/json; charset={charset}"
            response = self.send(shared_client, route, shared_cast.acme, latin, content_type=content_type)
            assert_error(response, 400, "VALIDATION_ERROR", NOT_JSON, {"body": ["must be valid JSON"]})

    def test_that_is_missing(self, shared_client: FlaskClient, shared_cast: Cast, route: Route) -> None:
        response = self.send(shared_client, route, shared_cast.acme, b"")
        if route.endpoint == "credentials.create_credential":
            assert response.status_code == 201
        elif route.endpoint in ("finding-actions.acknowledge_finding", "finding-actions.unmute_finding"):
            # A note is optional; the finding is not there.
            assert response.status_code == 404
        else:
            assert (response.status_code, response.json and response.json["code"]) == (400, "VALIDATION_ERROR")
            assert list(response.json["details"]) == ["body"]


def assert_details(details: dict[str, Any]) -> None:
    """Each field has a list of rules in words, and at least one."""
    assert details
    for rules in details.values():
        assert isinstance(rules, list), details
        assert rules, details
        assert all(isinstance(rule, str) for rule in rules), details


def test_an_unknown_field_is_named(shared_client: FlaskClient, shared_cast: Cast) -> None:
    response = shared_client.post("/api/v1/agents", json={"nam": "x"}, headers=shared_cast.acme.bearer())
    details = {"name": ["Missing data for required field."], "nam": ["Unknown field."]}
    assert_error(response, 400, "VALIDATION_ERROR", INVALID, details)


def test_a_list_has_the_rules_of_its_items_each_once(shared_client: FlaskClient, shared_cast: Cast) -> None:
    body = {"name": "x", "scopes": ["agents:read", "a b", 1, "c d"]}
    response = shared_client.post("/api/v1/agents", json=body, headers=shared_cast.acme.bearer())
    rule = "must be 1 to 100 printable ASCII characters without blank, quote and backslash"
    assert_error(response, 400, "VALIDATION_ERROR", INVALID, {"scopes": [rule, "must be a string"]})


HOSTILE_PATHS = [
    "%00",
    "%zz",
    "%",
    "%f",
    "%ff%fe",
    "%ed%a0%80",
    "%0d%0aX-Injected:%20yes",
    "..%2f..%2fetc%2fpasswd",
    "../../../etc/passwd",
    "x" * 3000,
    "%2e%2e",
    "'%20or%201=1--",
    "%F0%9F%98%80",
    "{agent_id}",
    "00000000-0000-4000-8000-000000000000%00",
    "00000000000040008000000000000000",
    ";x=y",
]


@pytest.mark.parametrize("prefix", ["/", "/api/v1/", "/api/v1/agents/", "/.well-known/"])
@pytest.mark.parametrize("method", ["GET", "PATCH", "OPTIONS"])
def test_a_hostile_path_is_not_found(shared_client: FlaskClient, shared_cast: Cast, prefix: str, method: str) -> None:
    for path in HOSTILE_PATHS:
        for headers in ({}, shared_cast.acme.bearer()):
            response = shared_client.open(prefix + path, method=method, json={}, headers=headers)
            assert_error(response, 404, "NOT_FOUND", "There is nothing at this address.")


@pytest.mark.parametrize(
    ("path", "status"),
    [("/api/v1/analytics/tokens", 400), ("/api/v1/agents", 200), ("/dashboard/agents", 401), ("/nothing", 404)],
)
def test_a_query_that_is_not_utf_8_is_no_fault(
    shared_client: FlaskClient, shared_cast: Cast, path: str, status: int
) -> None:
    query = {"QUERY_STRING": "days=\xff"}
    response = shared_client.get(path, headers=shared_cast.acme.bearer(), environ_overrides=query)
    assert response.status_code == status
    if status == 400:
        assert response.json["details"] == {"days": ["must be a whole number from 1 to 90"]}  # type: ignore[index]


@pytest.mark.parametrize(("query", "days"), [("", 30), ("?days=7", 7)])
def test_requests_with_the_same_query_do_not_share_their_arguments(app: Flask, query: str, days: int) -> None:
    parser, schema = Parser(), TokenTrendArguments()
    with app.test_request_context(f"/{query}"):
        first = parser.parse(schema, location="query")
        first["days"] = 1
        assert parser.parse(schema, location="query") == {"days": days}


def test_a_query_that_was_refused_is_refused_again(app: Flask) -> None:
    parser, schema = Parser(), TokenTrendArguments()
    for _ in range(2):
        with app.test_request_context("/?days=91"), pytest.raises(ValidationError):
            parser.parse(schema, location="query")


def test_a_query_means_what_its_own_endpoint_says(app: Flask) -> None:
    parser = Parser()
    with app.test_request_context(f"/?days={MAX_DAYS + 1}"):
        assert parser.parse(UsageByDayArguments(), location="query")["days"] == MAX_DAYS + 1
        with pytest.raises(ValidationError):
            parser.parse(TokenTrendArguments(), location="query")


def test_few_queries_are_remembered(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agentidp.http.parser.MAX_REMEMBERED", 2)
    parser, schema = Parser(), TokenTrendArguments()
    for days in (1, 2, 3, 1, 2, 3):
        with app.test_request_context(f"/?days={days}"):
            assert parser.parse(schema, location="query") == {"days": days}
        assert 1 <= len(parser._parsed) <= 2


@pytest.mark.slow
@pytest.mark.parametrize(
    "header", ["Host", "Authorization", "Cookie", "Accept", "If-Match", "Range", "Expect", "Origin"]
)
def test_no_header_makes_a_500(shared_client: FlaskClient, shared_cast: Cast, header: str) -> None:
    values = [
        "",
        " ",
        "\x00",
        "\xff\xfe",
        "x" * 10_000,
        ",,,",
        "[::1",
        "a b",
        "bytes=9-1",
        "é",
        "Bearer",
        "Basic ",
        "=",
    ]
    for value in values:
        for route in ROUTES:
            headers = shared_cast.acme.bearer() | {header: value}
            response = shared_client.open(
                route.path(shared_cast.acme.agent_id),
                method="GET" if route.method == "DELETE" else route.method,
                data=b"!",
                headers=headers,
            )
            response.close()
            assert response.status_code < 500, (str(route), value)


@pytest.mark.parametrize("sent", ["abc", "A-1_b.2", "x" * 64, "0"])
def test_echoes_a_request_id(shared_client: FlaskClient, sent: str) -> None:
    for path in ("/healthz", "/nothing"):
        assert shared_client.get(path, headers={"X-Request-Id": sent}).headers.getlist("X-Request-Id") == [sent]


@pytest.mark.parametrize("sent", ["", "x" * 65, "x" * 10_240, "a b", "a,b", "é", "a\x00", "<script>", '"', "a\tb"])
def test_makes_a_request_id_where_the_one_sent_is_not_plain(shared_client: FlaskClient, sent: str) -> None:
    answered = shared_client.get("/healthz", headers={"X-Request-Id": sent}).headers.getlist("X-Request-Id")
    assert len(answered) == 1
    assert re.fullmatch(r"[0-9a-f]{32}", answered[0])


@pytest.fixture(scope="module")
def running(postgres_url: str, template: str) -> Iterator[tuple[Server, Agent]]:
    """gunicorn, and an agent that it serves."""
    with (
        contextmanager(_fresh_database)(postgres_url, template) as url,
        Server({"AGENTIDP_DATABASE_URL": url, "AGENTIDP_SECRET_KEY": SECRET_KEY}) as server,
        application(url, issuer=server.url) as app,
    ):
        app.extensions["agentidp"].clock.now = None
        services: Services = app.extensions["agentidp"]
        yield server, make_agent(services, make_organization(services))
        assert "Traceback" not in server.logs()
        assert '"ERROR"' not in server.logs()


def exchange(server: Server, *parts: bytes) -> bytes:
    """What comes back for *parts*, which are sent until the server wants no more."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE) as connection:
        try:
            for part in parts:
                connection.sendall(part)
            connection.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # It has answered and closed before it received everything.
        answer = b""
        try:
            while chunk := connection.recv(65_536):
                answer += chunk
        except ConnectionResetError:
            pass
    return answer


@pytest.mark.slow
class TestThroughGunicorn:
    """What only a real server can show: bytes on the wire."""

    @pytest.mark.parametrize("chunked", [False, True], ids=["with a length", "chunked"])
    @pytest.mark.parametrize(
        "route", [r for r in ROUTES if r.method in ("POST", "PATCH") and r.endpoint not in WITHOUT_BODY], ids=str
    )
    def test_a_body_of_one_megabyte(self, running: tuple[Server, Agent], route: Route, chunked: bool) -> None:
        server, agent = running
        body = json.dumps({"name": "x" * 1_000_000}).encode()
        is_oauth = route.authentication in ("public", "client")
        kind = "application/x-www-form-urlencoded" if is_oauth else "application/json"
        headers = agent.bearer() | {"Content-Type": kind}
        head = f"{route.method} {route.path(agent.agent_id)} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
        head += "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        if chunked:
            head += "Transfer-Encoding: chunked\r\n\r\n"
            parts = [body[n : n + 10_000] for n in range(0, len(body), 10_000)]
            sent = [f"{len(part):x}\r\n".encode() + part + b"\r\n" for part in parts] + [b"0\r\n\r\n"]
        else:
            head += f"Content-Length: {len(body)}\r\n\r\n"
            sent = [body]
        answered, _, answer = exchange(server, head.encode(), *sent).partition(b"\r\n\r\n")
        message = "The request body is too large."
        assert answered.startswith(b"HTTP/1.1 413 ")
        if not is_oauth:
            assert json.loads(answer) == {"code": "PAYLOAD_TOO_LARGE", "message": message, "details": {}}
        else:
            assert json.loads(answer) == {"error": "invalid_request", "error_description": message}
            assert b"\r\nCache-Control: no-store\r\n" in answered + b"\r\n"

    def test_a_chunked_body_that_fits(self, running: tuple[Server, Agent]) -> None:
        server, agent = running
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE)
        headers = agent.bearer() | {"Content-Type": "application/json"}
        connection.request("POST", "/api/v1/agents", iter([b'{"name":', b'"in parts"}']), headers, encode_chunked=True)
        response = connection.getresponse()
        assert (response.status, json.loads(response.read())["name"]) == (201, "in parts")
        connection.close()

    @pytest.mark.parametrize(
        "line",
        [
            b"GET /" + b"x" * 10_000 + b" HTTP/1.1",
            b"GET /api/v1/agents/%zz HTTP/1.1",
            b"GET /api/v1/agents/%00 HTTP/1.1",
            b"GET /api/v1/agents/\xff\xfe HTTP/1.1",
            b"GET http://[::1/api HTTP/1.1",
            b"GET //api/v1//agents HTTP/1.1",
            b"GET /api/v1/agents?days=%zz&cursor=%ff&limit=%00 HTTP/1.1",
            b"FOO /api/v1/agents HTTP/1.1",
            b"get /api/v1/agents HTTP/1.1",
            b"TRACE /api/v1/agents HTTP/1.1",
            b"CONNECT /api/v1/agents HTTP/1.1",
            b"X" * 200 + b" / HTTP/1.1",
            b"G\x00T / HTTP/1.1",
            b"GET / HTTP/9.9",
            b"GET",
            b"\x16\x03\x01\x02\x00\x01\x00\x01",
        ],
    )
    def test_a_hostile_request_line(self, running: tuple[Server, Agent], line: bytes) -> None:
        server, agent = running
        headers = f"\r\nHost: x\r\nAuthorization: Bearer {agent.token()}\r\nConnection: close\r\n\r\n".encode()
        answer = exchange(server, line + headers)
        # gunicorn closes the connection on what is not HTTP at all.
        assert re.match(rb"HTTP/1\.[01] (4\d\d|505) ", answer) or (answer == b"" and line.startswith(b"\x16")), answer
        assert b"Traceback" not in answer
        assert b"INTERNAL_ERROR" not in answer

    @pytest.mark.parametrize(
        "line", [b"a\r\nX-Injected: yes", b"a\nX-Injected: yes", b"a\rX-Injected: yes", b"y" * 10_240]
    )
    def test_a_request_id_injects_no_header(self, running: tuple[Server, Agent], line: bytes) -> None:
        server, _ = running
        answer = exchange(
            server, b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\nX-Request-Id: " + line + b"\r\n\r\n"
        )
        head, _, _ = answer.partition(b"\r\n\r\n")
        assert re.match(rb"HTTP/1.1 (200|4\d\d) ", answer)
        assert b"Injected" not in head
        assert b"yyyy" not in head

    def test_a_body_that_ends_early_is_a_bad_request(self, running: tuple[Server, Agent]) -> None:
        server, agent = running
        for path, kind in (
            ("/api/v1/agents", "application/json"),
            ("/api/v1/token", "application/x-www-form-urlencoded"),
        ):
            head = (
                f"POST {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {agent.token()}\r\nConnection: close\r\n"
                f"Content-Type: {kind}\r\n"
            ).encode()
            for rest in (
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
                answer = exchange(server, head + rest)
                assert answer == b"" or re.match(rb"HTTP/1\.[01] (4\d\d|501) ", answer), (rest, answer)

    @pytest.mark.parametrize("end", ["reset", "half-close"])
    def test_a_form_that_is_cut_off_issues_no_token(self, running: tuple[Server, Agent], end: str) -> None:
        """What has arrived is a whole form as well, and asks for all scopes."""
        server, agent = running
        url = server.environment["AGENTIDP_DATABASE_URL"]
        before = usage_sums(url, agent.organization_id)
        form = f"grant_type=client_credentials&client_id={agent.client_id}&client_secret={agent.client_secret}"
        head = (
            "POST /api/v1/token HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded\r\n"
            f"X-Request-Id: cut-off-{end}\r\nExpect: 100-continue\r\nContent-Length: {len(form) + 17}\r\n\r\n"
        )
        with socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE) as connection:
            connection.sendall(head.encode())
            # The server has read the head by now, and waits for the body.
            assert connection.recv(65_536) == b"HTTP/1.1 100 Continue\r\n\r\n"
            connection.sendall(form.encode())
            if end == "reset":
                # Without lingering, closing sends RST.
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            else:
                connection.shutdown(socket.SHUT_WR)
                assert connection.recv(65_536).startswith(b"HTTP/1.1 400 ")
        wait_until(lambda: f"cut-off-{end}" in server.logs())
        [line] = [json.loads(line) for line in server.logs().splitlines() if f"cut-off-{end}" in line]
        assert (line["level"], line["message"], line["status"]) == ("INFO", "request", 400)
        assert usage_sums(url, agent.organization_id) == before
