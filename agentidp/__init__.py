"""AgentIdP: an identity provider for AI agents that counts every token it issues, exactly."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime

from flask import Flask
from werkzeug.middleware.proxy_fix import ProxyFix

from agentidp import caller
from agentidp.alerts import targets as alert_targets
from agentidp.analytics import (
    activity_heatmap,
    agent_activity,
    agent_rejections,
    agent_usage,
    agent_usage_by_day,
    credential_usage,
    delegations,
    impact,
    owner_usage,
    resource_usage,
    token_trend,
    usage_by_day,
    usage_by_hour,
)
from agentidp.authorization import routes as authorization
from agentidp.clock import utc_now
from agentidp.config import ConfigurationError, Settings
from agentidp.dashboard import mount as dashboard
from agentidp.findings import actions as finding_actions
from agentidp.findings import listing as finding_listing
from agentidp.http import error_rendering, request_context, request_metrics
from agentidp.mcp import routes as mcp
from agentidp.oauth import introspection, metadata, revocation, token
from agentidp.openid import provider
from agentidp.operations import api_docs, audit_trail, health, index
from agentidp.registry import (
    agents,
    credentials,
    delegation_rules,
    grants,
    markers,
    openid_providers,
    provisioning,
    quotas,
    resource_servers,
)
from agentidp.registry import organizations as organization
from agentidp.server import sending, wiring
from agentidp.services import Services

ROUTES = (
    *(token, introspection, revocation, metadata),
    *(agents, credentials, resource_servers, delegation_rules, grants, provisioning, organization),
    openid_providers,
    *(token_trend, activity_heatmap, agent_usage, agent_usage_by_day, agent_activity, agent_rejections),
    *(usage_by_day, usage_by_hour),
    *(credential_usage, resource_usage, owner_usage, delegations, impact),
    *(finding_listing, finding_actions, markers, quotas, alert_targets),
    *(health, audit_trail, index, mcp, api_docs),
)
"""The modules that define the blueprints of the API. The dashboard registers its own blueprints."""

logger = logging.getLogger("agentidp")


def create_app(config: Settings | None = None, *, clock: Callable[[], datetime] = utc_now) -> Flask:
    """Return the application, which connects to the database at its first request, and therefore after a fork.

    :param config: the settings; None to read them from the environment.
    :param clock: returns the current time, as a datetime with a time zone.
    :raises ConfigurationError: a setting is missing or wrong.
    """
    settings = config or Settings.from_environment()
    if settings.is_insecure:
        logger.warning("the issuer is http: everyone on the way can read secrets and tokens")
    app = wiring.choose_classes(settings).application("agentidp", static_folder=None)
    app.extensions["agentidp"] = Services.of(settings, clock)
    if settings.trusted_proxies:
        # ProxyFix takes only the client's address from the headers, because no response depends on host or scheme.
        app.wsgi_app = ProxyFix(app.wsgi_app, x_for=settings.trusted_proxies, x_proto=0)  # type: ignore[method-assign]
    # The order of the lines below matters: Flask runs before-request hooks in this order and after-request hooks in the
    # opposite order. provisioning, provider and authorization register no hook of the application, so they may stand on
    # any line.
    if settings.metrics_address:
        request_metrics.init_app(app)
    request_context.init_app(app)
    if settings.traces == "on":
        _trace(app)
    error_rendering.init_app(app)
    sending.init_app(app)
    caller.init_app(app)
    provisioning.init_app(app)
    provider.init_app(app, settings)
    dashboard.init_app(app)
    authorization.init_app(app)
    for route_module in ROUTES:
        app.register_blueprint(route_module.blueprint)
    return app


def _trace(app: Flask) -> None:
    try:
        from agentidp.http import tracing
    except ImportError:
        raise ConfigurationError("AGENTIDP_TRACES=on needs the extra otel: pip install 'agentidp[otel]'") from None
    tracing.init_app(app)
