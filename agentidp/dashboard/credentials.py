"""``/dashboard/credentials``: the credentials of all agents, with their use and expiry, and a page per credential."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from flask import Response, request

from agentidp.analytics.attribution import Attribution, read_attribution
from agentidp.analytics.credential_usage import CredentialUsage, list_used_credentials
from agentidp.analytics.impact import IN_USE
from agentidp.caller import Caller
from agentidp.dashboard import charts, pages, session
from agentidp.dashboard.agents import read_page_number, select_page
from agentidp.dashboard.navigation import AGENTS
from agentidp.dashboard.period import DAY, Period, parse_period
from agentidp.dashboard.usage_filter import UsageFilter, read_usage_filter
from agentidp.db.sql import Call
from agentidp.http.errors import ValidationError, require_row

SOON = timedelta(days=30)
"""Maximum remaining lifetime of a credential that the page lists as expiring."""

FILTERS = {
    "": "all",
    "never": "never used",
    "idle": f"not used for {IN_USE.days} days",
    "ending": f"expires within {SOON.days} days",
    "several": "more than one in use",
}
"""The labels of the filters, by value of the parameter ``show``."""


@pages.blueprint.get("/dashboard/credentials")
@session.required_to(*AGENTS)
def list_credentials(caller: Caller) -> Response:
    """Show a page of the credentials that the filter selects, credentials with most tokens first."""
    filter_name, page_number = request.args.get("show", ""), read_page_number()
    if filter_name not in FILTERS:
        raise ValidationError("The credentials cannot be filtered by this.")
    period = parse_period(caller.at)
    usage_filter = read_usage_filter(caller, period)
    return pages.page(
        "credentials.html",
        slow_part=lambda: _read_slow_part(caller, period, usage_filter, filter_name, page_number),
        here="credentials",
        kind="credentials",
        show=filter_name,
        filters=FILTERS,
        usage_filter=usage_filter,
        own_resource=caller.settings.resource,
        period=period,
    )


def _read_slow_part(
    caller: Caller, period: Period, usage_filter: UsageFilter, filter_name: str, page_number: int
) -> dict[str, Any]:
    attribution, _ = usage_filter.read_attribution(caller, period)
    # The usage without a credential has no created_at, and is left out. Expired credentials are included.
    unrevoked_usages = [
        usage for usage in list_used_credentials(attribution) if usage.created_at and not usage.revoked_at
    ]
    selectors = build_selectors(unrevoked_usages, caller.at)
    usages_by_filter = {name: list(filter(is_selected, unrevoked_usages)) for name, is_selected in selectors.items()}
    counts_by_filter = {name: len(selected_usages) for name, selected_usages in usages_by_filter.items()}
    listed_credentials, page_links = select_page(usages_by_filter[filter_name], page_number)
    url_query = usage_filter.add_to_query(period.query)
    return {"credentials": listed_credentials, "counts": counts_by_filter, "query": url_query, **page_links}


@pages.blueprint.get("/dashboard/agents/<uuid:agent_id>/credentials/<uuid:credential_id>")
@session.required_to(*AGENTS)
def show_credential(caller: Caller, agent_id: UUID, credential_id: UUID) -> Response:
    """Show a credential that was not revoked before the period, its tokens by day, and the resources of the tokens."""
    period = parse_period(caller.at)
    credentials_call = Call("agents/list_credentials", {"agent_id": agent_id})
    attribution, [credential_rows] = read_attribution(caller, period, agent_id, credentials_call)
    agent_credentials = list_credential_usages(attribution)
    credential = require_row([usage for usage in agent_credentials if usage.credential_id == credential_id])
    tokens_by_day = [(period.first + day_index * DAY, tokens) for day_index, tokens in enumerate(credential.by_day)]
    created_on = credential.created_at.astimezone(UTC).date()
    chart = charts.draw_chart(tokens_by_day, {}, period.today, created=created_on)
    return pages.page(
        "credential.html",
        here="agents",
        credential=credential,
        rule=next((row.trust for row in credential_rows if row.credential_id == credential_id), None),
        tokens_chart=replace(chart, path=f"/agents/{agent_id}/days/{{bar}}", shows_empty=True),
        own_resource=caller.settings.resource,
        period=period,
    )


def list_credential_usages(attribution: Attribution) -> list[CredentialUsage]:
    """Return the credentials by their tokens, most tokens first. Credentials created after the period are last."""
    credentials_of_period = [usage for usage in list_used_credentials(attribution) if usage.created_at]
    credential_ids_of_period = {usage.credential_id for usage in credentials_of_period}
    newer_credentials = [
        CredentialUsage(**row._asdict(), agent_name=attribution.names_by_id[row.agent_id], days=attribution.period.days)
        for row in attribution.credentials
        if row.credential_id not in credential_ids_of_period
    ]
    return credentials_of_period + newer_credentials


def build_selectors(unrevoked: list[CredentialUsage], at: datetime) -> dict[str, Callable[[CredentialUsage], bool]]:
    """Return, for each filter of :data:`FILTERS`, a function that decides whether the filter selects a credential."""

    def is_in_use(usage: CredentialUsage) -> bool:
        is_expired = usage.expires_at is not None and usage.expires_at <= at
        return not is_expired and usage.last_used_at is not None and usage.last_used_at > at - IN_USE

    credential_count_by_agent = Counter(usage.agent_id for usage in unrevoked if is_in_use(usage))
    return {
        "": lambda usage: True,
        "never": lambda usage: usage.last_used_at is None,
        "idle": lambda usage: usage.last_used_at is not None and usage.last_used_at <= at - IN_USE,
        "ending": lambda usage: usage.expires_at is not None and at < usage.expires_at <= at + SOON,
        "several": lambda usage: credential_count_by_agent[usage.agent_id] > 1 and is_in_use(usage),
    }
