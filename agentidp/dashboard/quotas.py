"""``/dashboard/quotas``: the quotas of the organization and of its agents, with their use."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from flask import Response, request

from agentidp.caller import Caller
from agentidp.dashboard import forms, pages, session
from agentidp.dashboard.agents import PAGE_SIZE, count_pages, read_page_number
from agentidp.dashboard.forms import Form
from agentidp.db.sql import Call, Rows
from agentidp.findings.quota import severity_of
from agentidp.findings.thresholds import QUOTA_NEAR_PERCENT
from agentidp.http.errors import NotFound, ValidationError, require_row
from agentidp.oauth.quota_windows import WINDOWS, find_window_bounds, predict_exhaustion
from agentidp.registry.quotas import NewQuotaSchema, build_share_call, build_usage_call, lock, remove_quota, set_quota

SCOPE = "quotas:write"

FILTERS: dict[str, tuple[str, dict[str, Any]]] = {
    "": ("all", {}),
    "refusing": ("refusing tokens", {"min_percent": 100, "is_enforced": True}),
    "near": (f"at least {QUOTA_NEAR_PERCENT} % used", {"min_percent": QUOTA_NEAR_PERCENT}),
}
"""The filters, each with its label and the arguments of :func:`agentidp.registry.quotas.build_share_call`."""

MEMBERS = forms.members(NewQuotaSchema())

REFUSAL_CALLS = {"quotas": build_usage_call(None), "refusals": Call("dashboard/first_refusals", {})}
"""The statements that read the organization's own quotas and their refusals, for :func:`find_refusing_quotas`."""

OF_ORGANIZATION, OF_AGENT = "/dashboard/quotas", "/dashboard/agents/<uuid:agent_id>/quotas"
WINDOW = f"<any({', '.join(WINDOWS)}):window>"


def compute_used_quotas(rows: Iterable[Any], at: datetime) -> list[dict[str, Any]]:
    """Return the rows of ``sql/quotas/quota_usage.sql`` with further members, by used share, the greatest first.

    The members are ``percent``, the used share, rounded down; ``left``, the unused tokens; ``ends``, the first instant
    of the next window; ``exhausted``, when no token will be left at this rate, or ``None`` if the window ends first;
    ``severity``, the severity of the quota's finding, or ``None``. The organization's own quotas have no ``agent_id``.
    """
    return sorted((_compute_used_quota(row, at) for row in rows), key=lambda quota: -quota["used"] / quota["tokens"])


def _compute_used_quota(quota_row: Any, at: datetime) -> dict[str, Any]:
    window_begin, window_end = find_window_bounds(quota_row.quota_window, at)
    return {
        **quota_row._asdict(),
        "window": quota_row.quota_window,
        "percent": 100 * quota_row.used // quota_row.tokens,
        "left": max(quota_row.tokens - quota_row.used, 0),
        "ends": window_end,
        "exhausted": predict_exhaustion(quota_row.used, quota_row.tokens, window_begin, window_end, at),
        "severity": severity_of(quota_row.used, quota_row.tokens, is_enforced=quota_row.is_enforced),
    }


def find_refusing_quotas(rows_by_name: Mapping[str, Rows], at: datetime) -> list[dict[str, Any]]:
    """Return the organization's own enforced quotas that are used up, in the form of :func:`compute_used_quotas`.

    Each quota has a further member ``since``: the hour of the first refused token, or ``None`` if none was refused yet.
    """
    refused_since_by_window = {refusal.quota_window: refusal.began_at for refusal in rows_by_name["refusals"]}
    return [
        quota | {"since": refused_since_by_window.get(quota["window"])}
        for quota in compute_used_quotas(rows_by_name["quotas"], at)
        if quota["is_enforced"] and not quota["left"]
    ]


def find_windows_without(quotas: Iterable[dict[str, Any]], agent_id: UUID | None) -> list[str]:
    """Return the windows in which an agent, or the organization if ``None``, has no quota."""
    windows_with_quota = {quota["window"] for quota in quotas if quota["agent_id"] == agent_id}
    return [window for window in WINDOWS if window not in windows_with_quota]


@pages.blueprint.get("/dashboard/quotas")
@session.required
def list_quotas(caller: Caller) -> Response:
    """Show a page of the quotas of the organization and of its agents."""
    page_number, filter_name = read_page_number(), request.args.get("show", "")
    if filter_name not in FILTERS:
        raise ValidationError("The quotas cannot be filtered by this.")
    quota_rows, organization_quota_rows = caller.read_together(
        build_share_call(PAGE_SIZE, PAGE_SIZE * (page_number - 1), **FILTERS[filter_name][1]), build_usage_call(None)
    )
    if not quota_rows and page_number != 1:
        raise NotFound
    quota_count = quota_rows[0].count if quota_rows else 0
    return pages.page(
        "quotas.html",
        here="quotas",
        quotas=compute_used_quotas(quota_rows, caller.at),
        counts={filter_name: quota_count},
        filters={filter_name: filter_label for filter_name, (filter_label, _) in FILTERS.items()},
        show=filter_name,
        unset=find_windows_without(compute_used_quotas(organization_quota_rows, caller.at), None),
        number=page_number,
        pages=count_pages(quota_count),
    )


@pages.blueprint.route(f"{OF_ORGANIZATION}/new", methods=["GET", "POST"])
@pages.blueprint.route(f"{OF_AGENT}/new", methods=["GET", "POST"])
@pages.blueprint.route(f"{OF_ORGANIZATION}/{WINDOW}/edit", methods=["GET", "POST"])
@pages.blueprint.route(f"{OF_AGENT}/{WINDOW}/edit", methods=["GET", "POST"])
@session.required_to(SCOPE)
def edit_quota(caller: Caller, window: str | None = None, agent_id: UUID | None = None) -> Response:
    """Show the form for a quota, which asks for the window if *window* is ``None``, or set the quota."""
    if request.method != "POST":
        return _show_quota(caller, "quota_form.html", window, agent_id)
    form = Form(forms.read_fields(MEMBERS) | {"window": window or forms.read_texts("window")["window"]})
    with form.catch_refusal(forms.labels(MEMBERS) | {"window": "The window"}):
        if form.values["window"] not in WINDOWS:
            raise ValidationError(details={"window": [f"must be one of {', '.join(WINDOWS)}"]})
        quota_values = forms.load(NewQuotaSchema(), forms.build_body(MEMBERS, form.values))
        with session.begin_change(caller, SCOPE) as transaction:
            lock(transaction)
            set_quota(transaction, agent_id, form.values["window"], **quota_values)
        return pages.see_other(_path(agent_id))
    return _show_quota(caller, "quota_form.html", window, agent_id, form)


@pages.blueprint.route(f"{OF_ORGANIZATION}/{WINDOW}/delete", methods=["GET", "POST"])
@pages.blueprint.route(f"{OF_AGENT}/{WINDOW}/delete", methods=["GET", "POST"])
@session.required_to(SCOPE)
def delete_quota(caller: Caller, window: str, agent_id: UUID | None = None) -> Response:
    """Show what removing a quota would do and ask for confirmation, or remove it."""
    if request.method != "POST":
        return _show_quota(caller, "confirm_quota.html", window, agent_id)
    with session.begin_change(caller, SCOPE) as transaction:
        lock(transaction)
        remove_quota(transaction, agent_id, window)
    return pages.see_other(_path(agent_id))


def _path(agent_id: UUID | None) -> str:
    """Return the path of the page with the quotas of an agent, or (``None``) of the organization."""
    return f"/agents/{agent_id}" if agent_id else "/quotas"


def _show_quota(
    caller: Caller, template: str, window: str | None, agent_id: UUID | None, form: Form | None = None
) -> Response:
    """Return the form of a quota or the confirmation of its removal. Without *form*, the form has the current quota."""
    # The nil UUID would select the organization's quotas, but get_agent returns no row for it, so the response is 404.
    agent_queries = [Call("agents/get_agent", {"agent_id": agent_id})] if agent_id is not None else []
    quota_rows, *agent_rows = caller.read_together(build_usage_call(agent_id), *agent_queries)
    agent = require_row(agent_rows[0]) if agent_rows else None
    quotas = compute_used_quotas(quota_rows, caller.at)
    quota = next((quota for quota in quotas if quota["window"] == window), None)
    if quota is None and template == "confirm_quota.html":
        raise NotFound
    if form is None:
        current_values = {"tokens": quota["tokens"], "enforce": quota["is_enforced"]} if quota else {}
        form = Form(forms.default_values(MEMBERS) | current_values)
    return pages.page(
        template,
        form.status,
        here="agents" if agent else "quotas",
        form=form,
        quota=quota,
        agent=agent,
        window=window,
        unset=find_windows_without(quotas, agent_id),
        path=_path(agent_id),
        members=MEMBERS,
    )
