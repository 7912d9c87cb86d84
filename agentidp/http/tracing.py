"""Sends an OpenTelemetry span per request by OTLP over HTTP. Imported only if AGENTIDP_TRACES is on.

A span contains no secret, because it has the route, but no address, header and body. OpenTelemetry's own variables,
such as ``OTEL_EXPORTER_OTLP_ENDPOINT``, set the destination and the sampling.
"""

from __future__ import annotations

from functools import lru_cache

from flask import Flask, Response
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Span, SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from agentidp.config import ConfigurationError
from agentidp.http.request_context import current_context, current_request
from agentidp.http.request_metrics import METHODS, route_of

_PROPAGATOR = TraceContextTextMapPropagator()


@lru_cache(maxsize=1)
def create_tracer_provider() -> TracerProvider:
    """Return the tracer provider, created by the first call. Its thread must start after gunicorn has forked."""
    # The environment variables OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES override this service name.
    otel_resource = Resource.create({SERVICE_NAME: "agentidp"}).merge(OTELResourceDetector().detect())
    tracer_provider = TracerProvider(resource=otel_resource)
    tracer_provider.add_span_processor(_create_processor())
    return tracer_provider


def _create_processor() -> BatchSpanProcessor:
    return BatchSpanProcessor(OTLPSpanExporter())


def _start_span() -> Span:
    request = current_request()
    method = request.method if request.method in METHODS else "HTTP"
    url_rule = request.url_rule
    route = route_of(url_rule.rule if url_rule is not None else None)
    span_attributes = {
        "http.request.method": method,
        "http.route": route,
        "agentidp.request_id": current_context().request_id,
    }
    # The client's span becomes the parent of this request's span (W3C Trace Context).
    parent_context = _PROPAGATOR.extract(request.headers)
    tracer = create_tracer_provider().get_tracer("agentidp")
    return tracer.start_span(f"{method} {route}", parent_context, SpanKind.SERVER, span_attributes)


def init_app(app: Flask) -> None:
    """Trace every request to *app*. Call this after ``request_context.init_app``, which sets the request's id."""
    try:
        # This processor only shows whether the settings are valid. Its thread must end before gunicorn forks.
        _create_processor().shutdown()  # type: ignore[no-untyped-call]
    except ValueError as error:
        raise ConfigurationError(f"OpenTelemetry refuses its settings (OTEL_…): {error}") from None

    @app.before_request
    def begin_span() -> None:
        current_context().span = _start_span()

    @app.after_request
    def end_span(response: Response) -> Response:
        span = current_context().span
        span.set_attribute("http.response.status_code", response.status_code)
        if response.status_code >= 500:
            span.set_status(Status(StatusCode.ERROR))
        span.end()
        return response
