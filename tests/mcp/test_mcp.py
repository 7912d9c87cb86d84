"""``POST /api/v1/mcp`` follows the protocol, and returns the same as the API."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any
from uuid import UUID

import jsonschema_rs
import psycopg
import pytest
from flask import Flask
from flask.testing import FlaskClient

from agentidp.http.openapi import to_camel_case
from agentidp.mcp.tools import Tool, _build_result
from agentidp.services import Services
from tests.factories import Agent, count_usage, make_agent, make_one_of_each, make_organization, usage_sums
from tests.sharing import acme, app

__all__ = ["acme", "app"]
PATH = "/api/v1/mcp"
LATEST = "2026-07-28"
META = {"io.modelcontextprotocol/protocolVersion": LATEST, "io.modelcontextprotocol/clientCapabilities": {}}
JSON = {"content_type": "application/json"}
REVISIONS = [LATEST, "2025-11-25", "2025-06-18", None]


def message(method: str, revision: str | None = LATEST, /, **params: Any) -> dict[str, Any]:
    """Return the arguments of a client's ``post`` for a request in a revision of the protocol."""
    headers = {"MCP-Protocol-Version": revision} if revision else {}
    if revision == LATEST:
        params["_meta"] = META
        headers |= {"Mcp-Method": method} | ({"Mcp-Name": params["name"]} if "name" in params else {})
    return {"json": {"jsonrpc": "2.0", "id": 7, "method": method, "params": params}, "headers": headers}


def send(client: FlaskClient, agent: Agent, request: dict[str, Any], **token: Any) -> Any:
    return client.post(PATH, **request | {"headers": request.get("headers", {}) | agent.bearer(**token)})


def called(client: FlaskClient, agent: Agent, name: str, arguments: Any = None, **token: Any) -> Any:
    answer = send(client, agent, message("tools/call", name=name, arguments=arguments), **token)
    assert answer.status_code == 200, answer.text
    return answer.json["result"]


def forget_today(services: Services) -> None:
    """Delete today's counts, because each request counts itself and would change the next response."""
    with psycopg.connect(str(services.settings.database_url), autocommit=True) as connection:
        for table in ("usage_daily", "agent_usage_daily"):
            connection.execute(f"delete from {table} where day = %s", [services.clock().date()])


@pytest.mark.parametrize("revision", REVISIONS)
def test_every_tool_is_listed_and_gives_what_its_route_does(
    shared_app: Flask, shared_client: FlaskClient, acme: Agent, revision: str | None
) -> None:
    services = acme.services
    ids = make_one_of_each(shared_client, acme) | {"agent_id": acme.client_id}
    count_usage(services, acme.organization_id, acme.agent_id, services.clock() - timedelta(1), tokens=2, rejected=3)
    listed = send(shared_client, acme, message("tools/list", revision)).json["result"]["tools"]
    tools: dict[str, Tool] = shared_app.extensions["agentidp-mcp-tools"]
    assert [tool["name"] for tool in listed] == [*tools]
    assert len(tools) >= 16
    for tool in listed:
        rule = tools[tool["name"]].rule
        address = {name: ids[name] for name in rule.arguments}
        path = rule.rule.replace("<uuid:", "{").replace(">", "}").format(**address)
        arguments = {to_camel_case(name): value for name, value in address.items()}
        assert jsonschema_rs.is_valid(tool["inputSchema"], arguments)
        call = message("tools/call", revision, name=tool["name"], arguments=arguments)
        forget_today(services)
        result = send(shared_client, acme, call).json["result"]
        forget_today(services)
        [content] = result["content"]
        assert content["text"] == shared_client.get(path, headers=acme.bearer()).text, tool["name"]
        assert result["structuredContent"] == json.loads(content["text"])
        assert jsonschema_rs.is_valid(tool["outputSchema"], result["structuredContent"]), tool["name"]


def test_arguments_are_the_parameters_of_the_route(shared_client: FlaskClient, acme: Agent) -> None:
    assert len(called(shared_client, acme, "token_trend", {"days": 3})["structuredContent"]["data"]) == 3
    for name, arguments, text in (
        ("token_trend", {"days": 91}, "The request is not valid. days must be a whole number from 1 to 90"),
        ("token_trend", {"days": "3&x=y"}, "The request is not valid. days must be a whole number from 1 to 90"),
        ("token_trend", {"days": [[3]]}, "The request is not valid. days must be a string, a number or a boolean"),
        ("findings", {"agent": "\ud800"}, "The request is not valid. agent must be"),
        ("token_trend", {"day": 3}, "This operation accepts these query parameters: days, month, from, to."),
        ("token_trend", {"days": "3" * 5000}, "The request is not valid. arguments must have at most 4096 characters"),
        ("quotas", {"agentId": "x"}, "This operation accepts no query parameters. agentId is no parameter"),
        ("agent_activity", {}, "The request is not valid. agentId must be a UUID"),
        ("agent_activity", {"agentId": 7}, "The request is not valid. agentId must be a UUID"),
        ("agent_activity", {"agentId": "activity"}, "The request is not valid. agentId must be a UUID"),
        ("agent_activity", {"agentId": str(UUID(int=1))}, "There is nothing at this address."),
    ):
        result = called(shared_client, acme, name, arguments)
        assert result["isError"] is True
        assert result["content"][0]["text"].startswith(text), (name, arguments)


def test_each_request_is_counted_once_and_a_refused_token_is_a_401(
    shared_client: FlaskClient, services: Services, acme: Agent
) -> None:
    for request in (
        message("tools/list"),
        message("tools/call", name="token_trend", arguments={}),
        message("tools/call", name="token_trend", arguments={"days": 0}),
        message("no/such"),
        {"data": "{", **JSON},
    ):
        send(shared_client, acme, request)
    sums = usage_sums(str(services.settings.database_url), acme.organization_id)
    assert {count for name, count in sums.items() if "requests" in name} == {5}
    refused = shared_client.post(PATH, **message("tools/list"))
    metadata = f"{services.settings.issuer}/.well-known/oauth-protected-resource/api/v1/mcp"
    assert refused.status_code == 401
    assert f'resource_metadata="{metadata}"' in refused.headers["WWW-Authenticate"]
    described = shared_client.get(metadata.removeprefix(services.settings.issuer)).json
    assert described["resource"] == services.settings.resource
    assert described["scopes_supported"] == ["analytics:read", "agents:read"]


def test_a_tool_whose_scope_the_token_lacks_is_not_there(shared_client: FlaskClient, acme: Agent) -> None:
    token = {"scope": "analytics:read"}
    names = {tool["name"] for tool in send(shared_client, acme, message("tools/list"), **token).json["result"]["tools"]}
    assert "token_trend" in names
    assert names.isdisjoint({"agents", "quotas", "impact_of_suspending"})
    refused = send(shared_client, acme, message("tools/call", name="agents"), **token)
    assert (refused.status_code, refused.json["error"]["code"]) == (400, -32602)


def test_another_organization_is_nowhere(shared_client: FlaskClient, services: Services, acme: Agent) -> None:
    ids = make_one_of_each(shared_client, acme)
    outsider = make_agent(services, make_organization(services, "Outsider"))
    for name, arguments in (
        ("agent_activity", {"agentId": acme.client_id}),
        ("finding", {"findingId": ids["finding_id"]}),
        ("impact_of_suspending", {"agentId": acme.client_id}),
    ):
        assert (
            called(shared_client, outsider, name, arguments)["content"][0]["text"]
            == "There is nothing at this address."
        )


@pytest.mark.parametrize(
    ("arguments", "status", "code"),
    [
        ({"data": "{", **JSON}, 400, -32700),
        ({"data": "[" * 50_000, **JSON}, 400, -32700),
        ({"data": '{"jsonrpc":"2.0","id":1e999,"method":"ping"}', **JSON}, 400, -32700),
        ({"data": '{"jsonrpc":"2.0","id":1,"method":"ping","method":"x"}', **JSON}, 400, -32700),
        # A gateway that reads only the headers would accept the request.
        ({"json": message("tools/call", name="quotas")["json"]}, 400, -32020),
        ({"json": [message("ping")["json"]]}, 400, -32600),
        ({"json": {"jsonrpc": "1.0", "id": 1, "method": "ping"}}, 400, -32600),
        ({"json": {"jsonrpc": "2.0", "id": None, "method": "ping"}}, 400, -32600),
        ({"json": {"jsonrpc": "2.0", "id": 1, "method": "ping", "params": []}}, 400, -32602),
        (message("ping", "2024-11-05"), 400, -32022),
        (message("no/such"), 404, -32601),
        (message("no/such", "2025-06-18"), 200, -32601),
        (message("tools/call", "2025-11-25", name="\ud800"), 200, -32602),
        ({"json": {"jsonrpc": "2.0", "id": "\ud800", "method": "\ud800"}}, 200, -32601),
        (message("tools/call", name="no_such_tool"), 400, -32602),
        (message("tools/call", name="token_trend", arguments=[1]), 400, -32602),
        (message("tools/call", name=7), 400, -32020),
        (message("tools/call", "2025-11-25", name=7), 200, -32602),
        (message("ping") | {"headers": {"MCP-Protocol-Version": LATEST}}, 400, -32020),
        ({**message("ping"), "json": {"jsonrpc": "2.0", "id": 7, "method": "ping"}}, 400, -32602),
    ],
)
def test_what_is_no_request(
    shared_client: FlaskClient, acme: Agent, arguments: dict[str, Any], status: int, code: int
) -> None:
    answer = send(shared_client, acme, arguments)
    assert (answer.status_code, answer.json["error"]["code"]) == (status, code), answer.text


def test_begins_in_every_revision(shared_client: FlaskClient, acme: Agent) -> None:
    description = send(shared_client, acme, message("server/discover")).json["result"]
    assert description["supportedVersions"] == [LATEST, "2025-11-25", "2025-06-18"]
    for requested, agreed in (("2025-06-18", "2025-06-18"), ("2025-11-25", "2025-11-25"), ("1999-01-01", "2025-11-25")):
        begun = send(shared_client, acme, message("initialize", None, protocolVersion=requested)).json["result"]
        assert (begun["protocolVersion"], begun["capabilities"]) == (agreed, {"tools": {}})
    notification = {"json": {"jsonrpc": "2.0", "method": "notifications/initialized"}}
    assert (send(shared_client, acme, notification).status_code, shared_client.get(PATH).status_code) == (202, 405)


def test_a_page_of_another_site_is_refused(shared_client: FlaskClient, services: Services, acme: Agent) -> None:
    for origin, status in (("https://evil.example", 403), ("null", 403), (services.settings.issuer, 200)):
        request = message("ping")
        answer = send(shared_client, acme, request | {"headers": request["headers"] | {"Origin": origin}})
        assert answer.status_code == status


def test_a_long_result_is_cut_off_and_says_so() -> None:
    whole = {"days": 1, "data": [{"n": n} for n in range(101)]}
    cut = _build_result(whole, json.dumps(whole), 100)
    assert cut["structuredContent"] == {"days": 1, "data": whole["data"][:100]}
    assert json.loads(cut["content"][0]["text"]) == cut["structuredContent"]
    assert cut["content"][1]["text"].startswith("These are the first 100 of 101 items of data.")
    assert cut["_meta"] == {"agentidp/items": {"returned": 100, "of": 101}}


def test_the_host_of_a_request_decides_nothing(shared_client: FlaskClient, acme: Agent) -> None:
    request = message("tools/call", name="agent_activity", arguments={"agentId": acme.client_id})
    for host in (f"{'a' * 64}.example", "a..b"):
        answer = send(shared_client, acme, request | {"headers": request["headers"] | {"Host": host}})
        assert answer.status_code in (200, 400), host
