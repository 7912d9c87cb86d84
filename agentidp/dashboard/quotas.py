"""``/dashboard/quotas``: the quotas of the organization and of its agents, with their use."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any
from uuid import UUID

from flask import Response

from agentidp.caller import Caller
from agentidp.dashboard import forms, pages, session
from agentidp.dashboard.agents import requested_page
from agentidp.dashboard.forms import Form
from agentidp.db.organization import Transaction
from agentidp.db.sql import Call
from agentidp.findings.quota import severity_of
from agentidp.http.errors import NotFound, ValidationError, existing
from agentidp.oauth.quota_windows import WINDOWS, bounds, exhausted_at
from agentidp.registry.quotas import (
    NewQuotaSchema,
    lock,
    remove_quota,
    set_quota,
    usage_by_share,
    usage_of,
)

SCOPE = "quotas:write"

PAGE_SIZE = 50
"""Maximum number of quotas on a page."""

MEMBERS = forms.members(NewQuotaSchema())

NEW_OF_ORGANIZATION, NEW_OF_AGENT = "/dashboard/quotas/new", "/dashboard/agents/<uuid:agent_id>/quotas/new"
OF_ORGANIZATION, OF_AGENT = "/dashboard/quotas/<window>", "/dashboard/agents/<uuid:agent_id>/quotas/<window>"

blueprint = pages.new_blueprint("dashboard-quotas", __name__)


def used_quotas(rows: Iterable[Any], at: datetime) -> list[dict[str, Any]]:
    """Return the rows of ``sql/quotas/quota_usage.sql`` with further members, by their used share, greatest first.

    The members are ``percent``, the used share, rounded down; ``left``, the unused tokens; ``ends``, the first instant
    of the next window; ``exhausted``, when no token will be left at this pace, or ``None`` if the window ends first;
    ``severity``, that of the finding about the quota, or ``None``. The organization's own quotas have no ``agent_id``.
    """
    return sorted((_used(row, at) for row in rows), key=lambda quota: -quota["used"] / quota["tokens"])


def _used(row: Any, at: datetime) -> dict[str, Any]:
    begins, ends = bounds(row.quota_window, at)
    columns: dict[str, Any] = row._asdict()
    return columns | {
        "window": row.quota_window,
        "percent": 100 * row.used // row.tokens,
        "left": max(row.tokens - row.used, 0),
        "ends": ends,
        "exhausted": exhausted_at(row.used, row.tokens, begins, ends, at),
        "severity": severity_of(row.used, row.tokens, is_enforced=row.is_enforced),
    }


def windows_without(quotas: Iterable[dict[str, Any]], agent_id: UUID | None) -> list[str]:
    """Return the windows for which an agent, or the organization itself if ``None``, has no quota."""
    taken = {quota["window"] for quota in quotas if quota["agent_id"] == agent_id}
    return [window for window in WINDOWS if window not in taken]


@blueprint.get("/dashboard/quotas")
@session.required
def quotas(caller: Caller) -> Response:
    """Show a page of the quotas of the organization and of its agents."""
    number = requested_page()
    rows, own = caller.read_together(usage_by_share(PAGE_SIZE, PAGE_SIZE * (number - 1)), usage_of(None))
    if not rows and number != 1:
        raise NotFound
    count = rows[0].count if rows else 0
    return pages.page(
        "quotas.html",
        here="quotas",
        quotas=used_quotas(rows, caller.at),
        count=count,
        unset=windows_without(used_quotas(own, caller.at), None),
        number=number,
        pages=max(1, -(-count // PAGE_SIZE)),
    )


@blueprint.get(NEW_OF_ORGANIZATION)
@blueprint.get(NEW_OF_AGENT)
@session.required_to(SCOPE)
def new_quota(caller: Caller, agent_id: UUID | None = None) -> Response:
    """Show the form for a new quota, in which its window is chosen."""
    return _page(caller, "quota_form.html", None, agent_id)


@blueprint.post(NEW_OF_ORGANIZATION)
@blueprint.post(NEW_OF_AGENT)
@session.required_to(SCOPE)
def create_quota(caller: Caller, agent_id: UUID | None = None) -> Response:
    """Set the quota of the chosen window, and redirect to the quotas."""
    return _set(caller, None, agent_id)


@blueprint.get(f"{OF_ORGANIZATION}/edit")
@blueprint.get(f"{OF_AGENT}/edit")
@session.required_to(SCOPE)
def edit_quota(caller: Caller, window: str, agent_id: UUID | None = None) -> Response:
    """Show the form with the current quota of the window, or with the defaults if there is none."""
    return _page(caller, "quota_form.html", window, agent_id)


@blueprint.post(f"{OF_ORGANIZATION}/edit")
@blueprint.post(f"{OF_AGENT}/edit")
@session.required_to(SCOPE)
def change_quota(caller: Caller, window: str, agent_id: UUID | None = None) -> Response:
    """Set the quota of the window, and redirect to the quotas."""
    return _set(caller, window, agent_id)


def _set(caller: Caller, window: str | None, agent_id: UUID | None) -> Response:
    """Set a quota, and redirect to the quotas.

    :param window: the window of the quota; ``None`` if it is a field of the form.
    """
    sent = forms.read_fields(MEMBERS)
    chosen = forms.read_texts("window")["window"] if window is None else window
    try:
        if window is None and chosen not in WINDOWS:
            raise ValidationError(details={"window": [f"must be one of {', '.join(WINDOWS)}"]})
        new = forms.load(NewQuotaSchema(), forms.build_body(MEMBERS, sent))
    except ValidationError as refused:
        labels = forms.labels(MEMBERS) | {"window": "The window"}
        form = Form(sent | {"window": chosen}, forms.errors(refused, labels))
        return _page(caller, "quota_form.html", window, agent_id, form, refused.status)
    with _locked(caller, chosen) as transaction:
        set_quota(transaction, agent_id, chosen, **new)
    return pages.see_other(_path(agent_id))


@blueprint.get(f"{OF_ORGANIZATION}/delete")
@blueprint.get(f"{OF_AGENT}/delete")
@session.required_to(SCOPE)
def confirm_removal(caller: Caller, window: str, agent_id: UUID | None = None) -> Response:
    """Show the consequences of removing the quota, and ask for confirmation."""
    return _page(caller, "confirm_quota.html", window, agent_id)


@blueprint.post(f"{OF_ORGANIZATION}/delete")
@blueprint.post(f"{OF_AGENT}/delete")
@session.required_to(SCOPE)
def delete_quota(caller: Caller, window: str, agent_id: UUID | None = None) -> Response:
    """Remove the quota, and redirect to the quotas."""
    with _locked(caller, window) as transaction:
        remove_quota(transaction, agent_id, window)
    return pages.see_other(_path(agent_id))


@contextlib.contextmanager
def _locked(caller: Caller, window: str) -> Iterator[Transaction]:
    """Open a transaction under the lock of quotas. The check of the session precedes the lock, as it locks no row.

    :raises NotFound: the window does not exist.
    """
    if window not in WINDOWS:
        raise NotFound
    with session.begin_change(caller, SCOPE) as transaction:
        lock(transaction)
        yield transaction


def _path(agent_id: UUID | None) -> str:
    """Return the path of the page that shows the quotas of an agent, or of the organization if ``None``."""
    return f"/agents/{agent_id}" if agent_id else "/quotas"


def _page(
    caller: Caller,
    template: str,
    window: str | None,
    agent_id: UUID | None,
    form: Form | None = None,
    status: int = 200,
) -> Response:
    """Return the page with the form of a quota, or with the confirmation of its removal.

    :param window: the window of the quota; ``None`` if it is a field of the form.
    :param form: the content of the form; ``None`` for the current quota.
    :raises NotFound: the window or the agent does not exist, or the quota to remove does not.
    """
    if window not in (None, *WINDOWS):
        raise NotFound
    # Look for the agent, because its id may be the nil UUID, which stands for the organization.
    calls = [Call("agents/get_agent", {"agent_id": agent_id})] if agent_id is not None else []
    rows, *agents = caller.read_together(usage_of(agent_id), *calls)
    agent = existing(agents[0]) if agents else None
    quotas = used_quotas(rows, caller.at)
    quota = next((quota for quota in quotas if quota["window"] == window), None)
    if quota is None and template == "confirm_quota.html":
        raise NotFound
    if form is None:
        now = {"tokens": quota["tokens"], "enforce": quota["is_enforced"]} if quota else {}
        form = Form(forms.default_values(MEMBERS) | now)
    return pages.page(
        template,
        status,
        here="agents" if agent else "quotas",
        form=form,
        quota=quota,
        agent=agent,
        window=window,
        unset=windows_without(quotas, agent_id),
        path=_path(agent_id),
        members=MEMBERS,
    )
