"""OpenTelemetry spans, which a collector on the loopback receives."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import pytest
from flask import Flask
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, Span

from agentidp import create_app
from agentidp.config import ConfigurationError
from agentidp.http import tracing
from tests.alerts.receiver import Receiver
from tests.conftest import settings_for
from tests.factories import Clock, make_agent, make_organization

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


class Collector(Receiver):
    """A collector for OTLP over HTTP."""

    def processes(self) -> list[ResourceSpans]:
        """Return the received spans by the process that sent them."""
        parsed = (ExportTraceServiceRequest.FromString(request.body) for request in self.received)
        return [process for message in parsed for process in message.resource_spans]

    def spans(self) -> list[Span]:
        """Flush the provider, and return the spans."""
        assert tracing.create_tracer_provider().force_flush()
        return [span for process in self.processes() for scope in process.scope_spans for span in scope.spans]

    def services(self) -> set[str]:
        attributes = (attribute for process in self.processes() for attribute in process.resource.attributes)
        return {attribute.value.string_value for attribute in attributes if attribute.key == "service.name"}

    def sent(self) -> bytes:
        return b"".join(request.body for request in self.received)


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    with Collector() as collector:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
        tracing.create_tracer_provider.cache_clear()
        yield collector
        tracing.create_tracer_provider().shutdown()
        tracing.create_tracer_provider.cache_clear()


@pytest.fixture
def traced(database_url: str, clock: Clock, collector: Collector) -> Iterator[Flask]:
    app = create_app(settings_for(database_url, traces="on"), clock=clock)
    yield app
    app.extensions["agentidp"].close()


def test_a_request_is_a_span_below_the_callers_without_a_secret(traced: Flask, collector: Collector) -> None:
    services = traced.extensions["agentidp"]
    agent = make_agent(services, make_organization(services))
    client = traced.test_client()
    headers = {"traceparent": f"00-{TRACE}-{PARENT}-01", "X-Request-Id": "of-this-test"}
    token = client.post("/api/v1/token?secret=hush", data=agent.form, headers=headers).json["access_token"]
    bearer = {"Authorization": f"Bearer {token}"}
    assert client.get(f"/api/v1/agents/{agent.agent_id}", headers=bearer).status_code == 200
    client.open("/nowhere/hush", method="INVENTED")
    first, second, third = collector.spans()
    assert (first.name, first.trace_id.hex(), first.parent_span_id.hex()) == ("POST /api/v1/token", TRACE, PARENT)
    assert first.kind == Span.SPAN_KIND_SERVER
    assert {
        attribute.key: attribute.value.string_value or attribute.value.int_value for attribute in first.attributes
    } == {
        "http.request.method": "POST",
        "http.route": "/api/v1/token",
        "http.response.status_code": 200,
        "agentidp.request_id": "of-this-test",
    }
    assert (second.name, second.parent_span_id) == ("GET /api/v1/agents/{agent_id}", b"")
    assert second.trace_id != first.trace_id
    assert third.name == "HTTP unknown"
    assert collector.services() == {"agentidp"}
    content = collector.sent()
    for secret in (agent.client_secret, token, "hush", agent.client_id):
        assert secret.encode() not in content


def test_a_failure_is_an_error_and_a_refusal_is_none(
    traced: Flask, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = traced.test_client()
    assert client.get("/api/v1/agents").status_code == 401

    def broken(*_: object) -> None:
        raise RuntimeError("hush")

    [endpoint] = [rule.endpoint for rule in traced.url_map.iter_rules() if rule.rule == "/readyz"]
    monkeypatch.setitem(traced.view_functions, endpoint, broken)
    assert client.get("/readyz").status_code == 500
    refused, failed = collector.spans()
    assert (refused.status.code, failed.status.code) == (0, 2)
    assert b"hush" not in collector.sent()


def test_settings_that_opentelemetry_refuses_end_the_start(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # Smaller than a batch.
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "10")
    with pytest.raises(ConfigurationError, match=r"^OpenTelemetry refuses its settings \(OTEL_…\): "):
        create_app(settings_for(database_url, traces="on"))


def test_without_the_extra_one_sentence_says_what_to_install(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "agentidp.http.tracing")
    monkeypatch.delattr("agentidp.http.tracing")
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    with pytest.raises(ConfigurationError, match=r"needs the extra otel: pip install 'agentidp\[otel\]'"):
        create_app(settings_for(database_url, traces="on"))


@pytest.mark.slow
def test_nothing_of_it_is_imported_if_it_is_off() -> None:
    program = (
        "import sys; from agentidp import create_app; from agentidp.config import Settings;"
        "environment = {'AGENTIDP_DATABASE_URL': 'postgresql:///x', 'AGENTIDP_SECRET_KEY': 'x' * 64};"
        "create_app(Settings.from_environment(environment));"
        "print([name for name in sys.modules if name.startswith('opentelemetry')])"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ran.stdout == "[]\n"
