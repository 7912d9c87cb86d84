"""Registration of the dashboard's pages and error pages at ``/dashboard``."""

from __future__ import annotations

from flask import Flask

from agentidp.dashboard import (  # noqa: F401 - importing a page adds its routes to pages.blueprint
    agent,
    agent_actions,
    agent_form,
    agent_trust,
    agents,
    alert_targets,
    audit,
    credentials,
    day,
    delegation_rules,
    export,
    filters,
    finding,
    findings,
    form_key,
    grants,
    markers,
    month,
    oidc_sign_in,
    openid_provider,
    organization_settings,
    overview,
    pages,
    provisioning_rules,
    quotas,
    resource_servers,
    sign_in,
    usage,
)
from agentidp.http.error_rendering import register_error_pages


def init_app(app: Flask) -> None:
    """Register the dashboard's pages, template filters and error pages."""
    app.register_blueprint(pages.blueprint)
    filters.init_app(app)
    form_key.init_app(app)
    # These settings keep a template's line that contains only a statement from becoming an empty line of the page.
    app.jinja_env.trim_blocks = app.jinja_env.lstrip_blocks = True
    register_error_pages(app, "/dashboard", pages.render_error)
