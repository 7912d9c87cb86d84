"""The OpenAPI document describes exactly the service's routes, bodies and headers."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jsonschema_rs
import jwt
import marshmallow as ma
import pytest
import schemathesis
from cryptography.hazmat.primitives.asymmetric import ec
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.exceptions import HTTPException
from werkzeug.test import TestResponse

from agentidp import create_app
from agentidp.http.resource_identifier import MAX_RESOURCE_LENGTH, is_resource_identifier
from agentidp.http.schemas import ScopeList, Text
from agentidp.operations import api_docs
from agentidp.registry.agents import NewAgentSchema
from agentidp.registry.resource_servers import add_resource_server
from agentidp.scopes import SCOPES
from tests.conftest import Cast, settings_for
from tests.factories import ROOT, Clock, Server, database_of, make_agent, make_organization, usage_sums
from tests.routes import NOWHERE, PROTECTED, ROUTES, Route

DOCUMENT = "/api/v1/openapi.json"
OPERATIONS = ("get", "put", "post", "delete", "options", "head", "patch", "trace")


def resolved(document: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    """Return the object that *schema* refers to, or *schema* itself."""
    for name in schema.get("$ref", "#").split("/")[1:]:
        document = document[name]
    return document if "$ref" in schema else schema


def test_describes_every_route_and_no_other(document: dict[str, Any]) -> None:
    described = {
        (path, method.upper())
        for path, methods in document["paths"].items()
        for method in methods
        if method in OPERATIONS
    }
    assert described == {(route.address, route.method) for route in ROUTES}


@pytest.mark.slow
def test_is_valid_openapi_of_this_version_and_issuer(document: dict[str, Any]) -> None:
    schemathesis.openapi.from_dict(document).validate()
    assert document["openapi"] == "3.1.0"
    assert document["info"]["version"] == version("agentidp")
    assert document["servers"] == [{"url": "http://localhost:3000"}]


def test_every_operation_has_a_name_of_its_own_a_summary_and_a_described_tag(document: dict[str, Any]) -> None:
    operations = [route.described(document) for route in ROUTES]
    assert len({operation["operationId"] for operation in operations}) == len(operations)
    assert all(operation["summary"].endswith(".") for operation in operations)
    tags = {tag["name"] for tag in document["tags"] if tag["description"]}
    assert {tag for operation in operations for tag in operation["tags"]} == tags


def test_every_operation_says_how_its_route_authenticates(document: dict[str, Any]) -> None:
    security = {"client": [{"clientSecretBasic": []}, {}], "public": []}
    for route in ROUTES:
        of_agents = [{"oauth2": [route.authentication]}, {"bearer": []}, {"dpop": []}]
        assert route.described(document)["security"] == security.get(str(route.authentication), of_agents), str(route)


def test_every_operation_has_the_errors_that_follow_from_its_route(document: dict[str, Any]) -> None:
    for route in PROTECTED:
        statuses = {"400", "401", "403", "503"} | ({"404"} if route.ids else set())
        statuses |= {"413", "415"} if route.takes_json else set()
        assert statuses <= route.described(document)["responses"].keys(), str(route)


def test_the_scopes_are_those_of_the_code(document: dict[str, Any]) -> None:
    [flow] = document["components"]["securitySchemes"]["oauth2"]["flows"].values()
    assert flow == {"tokenUrl": "http://localhost:3000/api/v1/token", "scopes": SCOPES}


@pytest.mark.parametrize("route", ROUTES, ids=str)
def test_every_answer_is_named_and_has_its_headers_and_a_schema(document: dict[str, Any], route: Route) -> None:
    responses = route.described(document)["responses"]
    assert "default" not in responses
    for status, reference in responses.items():
        response = resolved(document, reference)
        headers = {"X-Request-Id"}
        if status in ("429", "503"):
            headers.add("Retry-After")
        if status in ("401", "403"):
            headers.add("WWW-Authenticate")
        if status in ("201", "303"):
            headers.add("Location")
        if route.endpoint == "oauth-token.issue_token" and status in ("200", "429"):
            headers |= {"RateLimit-Policy", "RateLimit"}
        is_analytics = route.rule.startswith("/api/v1/analytics/") and "finding_id" not in route.rule
        assert "304" in responses or not is_analytics
        if "304" in responses and status in ("200", "304"):
            headers |= {"ETag", "Cache-Control", "Vary", "AgentIdP-Staleness"}
            # The list has several pages.
            headers |= {"Link"} if "cursor" in str(route.described(document).get("parameters")) else set()
            headers |= {"Content-Disposition"} if status == "200" else set()
        assert set(response["headers"]) == headers
        if status >= "400":
            schema = str(response["content"]["application/json"]["schema"])
            is_oauth = route.endpoint.startswith("oauth-")
            assert ("#/components/schemas/OAuthError" in schema) == is_oauth
            assert ("#/components/schemas/Error" in schema) != is_oauth


def test_objects_are_closed_but_for_what_is_ignored(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]
    opened = {name for name, schema in schemas.items() if schema["additionalProperties"] is not False}
    assert opened == {"TokenRequest", "TokenForm"}


TEXTS = (
    *("a", "a b", "é", "😀", "a\tb", "a\nb", " a", "a ", "\u00a0a", "a\u3000", "\ufeffa", "a\x00b", "\x7f"),
    *("a\x85", ""),
)


def accepts(field: ma.fields.Field[Any], value: object) -> bool:
    try:
        field.deserialize(value)
    except ma.ValidationError:
        return False
    return True


@pytest.mark.parametrize(
    ("name", "field"), [item for item in NewAgentSchema().fields.items() if isinstance(item[1], (Text, ScopeList))]
)
def test_the_rules_of_text_are_those_of_the_code(
    document: dict[str, Any], name: str, field: ma.fields.Field[Any]
) -> None:
    described = document["components"]["schemas"]["NewAgent"]["properties"][name]
    for text in TEXTS:
        value = [text] if described["type"] == "array" else text
        assert jsonschema_rs.is_valid(described, value) == accepts(field, value), text


RESOURCES = (
    *("https://api.example", "https://api.example:8443/mcp?x=1", "https://[::1]:3000/", "urn:example:thing"),
    *("custom://x", "https://api.example#f", "https://", "/relative", "mailto:x@example.org", "https://[bad"),
    *("https://api.example:port", "https://ü.example", "https://api.example/a b", "https://api.example\n"),
    *("https://".ljust(MAX_RESOURCE_LENGTH, "x"), "https://".ljust(MAX_RESOURCE_LENGTH + 1, "x")),
)


@pytest.mark.parametrize("schema", ["NewResourceServer", "TokenRequest"])
def test_the_rules_of_a_resource_are_those_of_the_code(document: dict[str, Any], schema: str) -> None:
    described = document["components"]["schemas"][schema]["properties"]["resource"]
    for resource in RESOURCES:
        assert jsonschema_rs.is_valid(described, resource) == is_resource_identifier(resource), resource


def test_reading_the_document_with_a_token_counts_as_a_request(
    client: FlaskClient, cast: Cast, database_url: str
) -> None:
    for headers in ({}, {"Authorization": "Bearer x.y.z"}, cast.acme.bearer()):
        assert client.get(DOCUMENT, headers=headers).status_code == 200
    counted = usage_sums(database_url, cast.acme.organization_id)
    assert {n for name, n in counted.items() if "requests" in name} == {1}
    assert {n for name, n in counted.items() if "requests" not in name} == {0}


def test_the_page_has_all_that_it_needs_from_here(shared_client: FlaskClient) -> None:
    page = shared_client.get("/docs")
    assert (page.status_code, page.mimetype) == (200, "text/html")
    assert re.findall(r"<style|<script>|\b(?:style|on\w+)=", page.text) == []
    named_here = re.findall(r'\b(?:src|href)="([^"]*)"', page.text)
    assert set(named_here) == {DOCUMENT.removeprefix("/")} | {f"docs/{asset}" for asset in api_docs.ASSETS.names}
    for address in named_here:
        assert shared_client.get(f"/{address}").status_code == 200


def test_the_page_may_reach_no_other_origin(shared_client: FlaskClient) -> None:
    headers = shared_client.get("/docs").headers
    policy = dict(directive.strip().split(" ", 1) for directive in headers["Content-Security-Policy"].split(";"))
    assert policy == {
        "default-src": "'none'",
        "script-src": "'self'",
        "style-src": "'self'",
        "img-src": "'self' data:",
        "connect-src": "'self'",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
    }
    assert headers["Referrer-Policy"] == "no-referrer"


@pytest.mark.parametrize("asset", api_docs.ASSETS.names)
def test_an_asset_is_what_it_is_called(shared_client: FlaskClient, asset: str) -> None:
    response = shared_client.get(f"/docs/{asset}")
    kinds = {".js": "text/javascript", ".css": "text/css", ".png": "image/png"}
    assert (response.status_code, response.mimetype) == (200, kinds[Path(asset).suffix])
    assert response.headers["Cache-Control"] == "public, max-age=3600"
    directory = api_docs.PAGE_DIRECTORY if asset == "start.js" else api_docs.SWAGGER_UI
    assert response.data == (directory / asset).read_bytes()


def test_nothing_else_is_served_as_an_asset(shared_client: FlaskClient) -> None:
    for asset in ("index.html", "swagger-ui.js", "VERSION", "..%2f..%2f__init__.py", "%2e%2e", "x", "start.js%00"):
        assert shared_client.get(f"/docs/{asset}").status_code == 404, asset


def assert_described(document: dict[str, Any], route: Route, response: TestResponse) -> None:
    """Check that the operation describes the status, the body and the headers of a response."""
    described = resolved(document, route.described(document)["responses"][str(response.status_code)])
    schema = described["content"]["application/json"]["schema"]
    jsonschema_rs.validate(schema | {"components": document["components"]}, response.json)
    headers = {name: resolved(document, header) for name, header in described["headers"].items()}
    assert {name for name, header in headers.items() if header["required"]} <= set(response.headers.keys())
    for name in headers.keys() & response.headers.keys():
        kind = {"integer": int, "number": float}.get(headers[name]["schema"]["type"], str)
        jsonschema_rs.validate(headers[name]["schema"], kind(response.headers[name]))


@pytest.mark.parametrize("route", ROUTES, ids=str)
def test_describes_a_database_that_cannot_be_reached_where_it_is_needed(
    document: dict[str, Any], dead_client: FlaskClient, route: Route
) -> None:
    # The token has the right form, so that only the keys show that we did not sign it.
    key = ec.generate_private_key(ec.SECP256R1())
    token = jwt.encode({}, key, "ES256", headers={"typ": "at+jwt", "kid": "x"})
    form = {"grant_type": "client_credentials", "token": "x", "client_id": NOWHERE, "client_secret": "x"}
    arguments = (
        {"data": form} if route.authentication == "client" else {"headers": {"Authorization": f"Bearer {token}"}}
    )
    response = dead_client.open(route.path(), method=route.method, **arguments)
    assert (response.status_code == 503) == ("503" in route.described(document)["responses"])
    if response.status_code == 503:
        assert_described(document, route, response)


@pytest.fixture
def beside(database_url: str, server: Server) -> Iterator[Flask]:
    """An application on the server's database, which creates the objects for schemathesis."""
    app = create_app(settings_for(database_url, issuer=server.url), clock=Clock(None))
    yield app
    app.extensions["agentidp"].close()


def answered(app: Flask, server: Server) -> dict[str, set[int]]:
    """Return endpoint -> the statuses in the server's log."""
    statuses: dict[str, set[int]] = {}
    for line in server.logs().splitlines():
        record = json.loads(line) if line.startswith("{") else {}
        if record.get("message") == "request":
            with contextlib.suppress(HTTPException):
                endpoint, _ = app.url_map.bind("").match(record["path"], record["method"])
                statuses.setdefault(endpoint, set()).add(record["status"])
    return statuses


@pytest.mark.very_slow
def test_schemathesis_finds_nothing(beside: Flask, server: Server, tmp_path: Path) -> None:
    """Run all checks on all operations against gunicorn: valid and invalid data, coverage, fuzzing, sequences."""
    services = beside.extensions["agentidp"]
    agent = make_agent(services, make_organization(services))
    with database_of(services, agent.organization_id).transaction() as opened:
        resource_server = add_resource_server(
            opened, services.settings, resource="https://delegated.example", name="delegated", scopes=["delegated"]
        )
    # Read from a file, because schemathesis skips the operation from which it fetched the document.
    document = tmp_path / "openapi.json"
    document.write_bytes(server.get(DOCUMENT))
    run = subprocess.run(
        [
            Path(sys.executable).with_name("schemathesis"),
            *("--config-file", ROOT / "tests" / "schemathesis.toml"),
            *("run", document, "--url", f"http://127.0.0.1:{server.port}", "--checks", "all", "--no-color"),
        ],
        env=os.environ
        | {
            "SCHEMATHESIS_HOOKS": str(ROOT / "tests" / "schemathesis_hooks.py"),
            "SCHEMATHESIS_TOKEN": agent.token(),
            "SCHEMATHESIS_CLIENT_ID": agent.client_id,
            "SCHEMATHESIS_CLIENT_SECRET": agent.client_secret,
            "SCHEMATHESIS_OTHER_AGENT_ID": make_agent(services, agent.organization_id, "other").client_id,
            "SCHEMATHESIS_RESOURCE_SERVER_ID": str(resource_server.resource_server_id),
        },
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout[-20_000:] + run.stderr
    assert re.search(rf"Tested: {len(ROUTES)}\n", run.stdout), run.stdout
    assert '"ERROR"' not in server.logs()
    # It would prove little if every answer were a refusal. Which sequences are tried changes with each new operation,
    # so one may not be reached.
    statuses = answered(beside, server)
    refused = [str(route) for route in ROUTES if not statuses[route.endpoint] & {200, 201, 204}]
    assert len(refused) <= 1, refused
