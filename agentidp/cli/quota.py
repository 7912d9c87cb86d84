"""``agentidp quota``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any
from uuid import UUID

import click

from agentidp.cli.confirmation import confirm, require_confirmation
from agentidp.cli.lookup import begin_transaction, open_agent_or_organization, refuse_missing
from agentidp.cli.options import add_member_options, as_json_option, list_column_names, read_options
from agentidp.cli.output import show
from agentidp.config import ConfigurationError
from agentidp.db.organization import OrganizationDatabase
from agentidp.http.text import format_count
from agentidp.oauth.quota_windows import WINDOWS, find_window_bounds
from agentidp.registry import quotas

PAGE_SIZE = 500
"""Maximum number of quotas that ``agentidp quota list`` reads per statement."""

_MISSING = "there is no such agent or quota"
_QUOTA = quotas.NewQuotaSchema(partial=["enforce"])
"""The members of a quota that options set. If ``enforce`` is omitted, :func:`set_quota` sets it to false."""


def _add_holder_options(command: Callable[..., None]) -> Callable[..., None]:
    help_text = "Organization that has the quota, or with --agent, the organization of the agent."
    command = click.option("--organization", metavar="ID|NAME", help=help_text)(command)
    return click.option("--agent", metavar="ID|NAME", help="Agent that has the quota.")(command)


_window_option = click.option(
    "--per",
    "window",
    type=click.Choice(WINDOWS),
    required=True,
    help="Window of the quota: a UTC hour, day or calendar month.",
)


commands = click.Group(
    "quota",
    help="""Quotas: how many tokens may be issued in a window.

    The quotas are printed as: the agent's id and name, window, tokens, whether the quota is enforced, used, left,
    refused, observed, begin and end of the window. Observed tokens would have been refused by an enforced quota.
    """,
)


@commands.command("set")
@require_confirmation
@_add_holder_options
@_window_option
@add_member_options(_QUOTA)
def set_quota(agent: str | None, organization: str | None, window: str, **options: Any) -> None:
    """Set or change a quota. The quota applies as soon as the command ends.

    If the quota would refuse all further tokens in the current window, asks first.
    """
    new_quota = _QUOTA.load({"enforce": False} | read_options(_QUOTA, options))
    with open_agent_or_organization(agent, organization) as (services, database, agent_id):
        if new_quota["is_enforced"]:
            quota_key = {"agent_id": agent_id or quotas.ORGANIZATION, "quota_window": window}
            usage_rows = database.fetch("quotas/used_tokens", **quota_key)
            used_tokens = sum(usage_row.used for usage_row in usage_rows)
            if used_tokens >= new_quota["tokens"]:
                confirm(lambda: _describe_refusals(window, new_quota["tokens"], used_tokens, database.at))
        with refuse_missing(_MISSING), begin_transaction(services, database) as transaction:
            quotas.lock(transaction)
            quotas.set_quota(transaction, agent_id, window, **new_quota)


def _describe_refusals(window: str, quota_tokens: int, used_tokens: int, at: datetime) -> str:
    starts_at, ends_at = find_window_bounds(window, at)
    expected_refusals = round(used_tokens * ((ends_at - at) / (at - starts_at))) if at > starts_at else used_tokens
    return (
        f"This quota refuses every token from now until {ends_at:%Y-%m-%dT%H:%M:%SZ}. "
        f"{format_count(used_tokens, 'token')} {'was' if used_tokens == 1 else 'were'} already issued in this "
        f"{window}, and the quota allows {quota_tokens:,}. If requests continue at the same rate, about "
        f"{expected_refusals:,} tokens will be refused."
    )


@commands.command("list")
@_add_holder_options
@as_json_option
def list_quotas(agent: str | None, organization: str | None, as_json: bool) -> None:
    """List quotas, with the tokens used and left.

    Lists the quotas of an agent, or of an organization and all its agents.
    """
    with open_agent_or_organization(agent, organization) as (_, database, agent_id):
        [quota_rows] = (
            [list(_read_all_quotas(database))] if agent_id is None else database.run(quotas.build_usage_call(agent_id))
        )
    quota_objects = [
        {"agentId": None if quota_row.agent_id is None else str(quota_row.agent_id), "agentName": quota_row.agent_name}
        | quotas.represent(quota_row, database.at)
        for quota_row in quota_rows
    ]
    show(quota_objects, as_json, columns=("agentId", "agentName", "window", *list_column_names(quotas.QuotaSchema)))


def _read_all_quotas(database: OrganizationDatabase) -> Iterator[Any]:
    """Yield the quotas of an organization and its agents. Read at most :data:`PAGE_SIZE` quotas per statement."""
    last_position: tuple[UUID | None, int | None] = (None, None)
    while True:
        [quota_rows] = database.run(quotas.build_page_call(last_position, PAGE_SIZE))
        yield from quota_rows
        if len(quota_rows) < PAGE_SIZE:
            return
        last_position = (quota_rows[-1].agent_id or quotas.ORGANIZATION, WINDOWS.index(quota_rows[-1].quota_window) + 1)


@commands.command("remove")
@require_confirmation
@_add_holder_options
@_window_option
def remove_quota(agent: str | None, organization: str | None, window: str) -> None:
    """Remove a quota."""
    with open_agent_or_organization(agent, organization) as (services, database, agent_id):
        [quota_rows] = database.run(quotas.build_usage_call(agent_id))
        quota = next((quota for quota in quota_rows if quota.quota_window == window), None)
        if quota is None:
            raise ConfigurationError(_MISSING)
        holder_name = quota.agent_name or "the organization"
        confirm(
            lambda: (
                f"This removes the quota of {holder_name}: {quota.tokens:,} tokens per {window}, {quota.used:,} used. "
                "After the removal, this quota no longer refuses tokens."
            )
        )
        with refuse_missing(_MISSING), begin_transaction(services, database) as transaction:
            quotas.lock(transaction)
            quotas.remove_quota(transaction, agent_id, window)
