"""``agentidp quota``."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

import click

from agentidp.cli.confirmation import asks_first, confirm, count
from agentidp.cli.context import opened
from agentidp.cli.named import agent_named, organization_named
from agentidp.cli.options import as_json_option, given, listed, member_options
from agentidp.cli.output import show
from agentidp.clock import utc_now
from agentidp.config import ConfigurationError
from agentidp.db.organization import OrganizationDatabase, Transaction
from agentidp.http.errors import NotFound
from agentidp.oauth.quota_windows import WINDOWS, bounds
from agentidp.registry import quotas
from agentidp.services import Services

PAGE_SIZE = 500
"""Number of quotas per statement."""

_QUOTA = quotas.NewQuotaSchema(partial=["enforce"])
"""The fields of a quota. Without an option, a quota is not enforced."""


class _Holder(NamedTuple):
    """The organization or the agent that a quota limits."""

    organization_id: str
    agent_id: UUID | None


def _holder_options(command: Callable[..., None]) -> Callable[..., None]:
    for option in (
        click.option(
            "--organization",
            metavar="ID|NAME",
            help="The organization's own quota; beside --agent, the organization that has the agent.",
        ),
        click.option("--agent", metavar="ID|NAME", help="The agent's quota."),
    ):
        command = option(command)
    return command


_window_option = click.option(
    "--per", "window", type=click.Choice(WINDOWS), required=True, help="The UTC hour, day or calendar month."
)


def _holder_named(services: Services, agent: str | None, organization: str | None) -> _Holder:
    if agent is None and organization is None:
        raise click.UsageError("name an --agent or an --organization")
    organization_id = None if organization is None else organization_named(services, organization).organization_id
    if agent is None:
        return _Holder(str(organization_id), None)
    return _Holder(*agent_named(services, agent, organization_id=organization_id))


@contextlib.contextmanager
def _changing(services: Services, holder: _Holder) -> Iterator[Transaction]:
    try:
        with services.database.of(holder.organization_id, utc_now()).transaction() as transaction:
            quotas.lock(transaction)
            yield transaction
    except NotFound:
        raise ConfigurationError("there is no such agent or quota") from None


@click.group("quota")
def commands() -> None:
    """Quotas: how many tokens may be issued in a window.

    The quotas are printed as: the agent's id and name, window, tokens, whether the quota is enforced, used, left,
    refused, observed, begin and end of the window. Observed tokens would have been refused by an enforced quota.
    """


@commands.command("set")
@asks_first
@_holder_options
@_window_option
@member_options(_QUOTA)
def set_(agent: str | None, organization: str | None, window: str, **options: Any) -> None:
    """Set or change a quota. The quota applies as soon as the command ends.

    Asks first if the quota would refuse all further tokens in the current window.
    """
    new = _QUOTA.load({"enforce": False} | given(_QUOTA, options))
    with opened() as services:
        holder = _holder_named(services, agent, organization)
        at = utc_now()
        if new["is_enforced"]:
            used = _used(services, holder, window, at)
            if used >= new["tokens"]:
                confirm(lambda: _refusing(window, new["tokens"], used, at))
        with _changing(services, holder) as transaction:
            quotas.set_quota(transaction, holder.agent_id, window, **new)


def _used(services: Services, holder: _Holder, window: str, at: datetime) -> int:
    """Return the number of tokens that were issued in the current window, even if the window has no quota."""
    parameters = {"agent_id": holder.agent_id or quotas.ORGANIZATION, "quota_window": window}
    return sum(
        row.used for row in services.database.of(holder.organization_id, at).fetch("quotas/used_tokens", **parameters)
    )


def _refusing(window: str, tokens: int, used: int, at: datetime) -> str:
    begins, ends = bounds(window, at)
    more = round(used * ((ends - at) / (at - begins))) if at > begins else used
    return (
        f"{count(used, 'token')} of the {window} {'was' if used == 1 else 'were'} issued already, and this quota "
        f"allows {tokens:,}: every token is refused from now until {ends:%Y-%m-%dT%H:%M:%SZ}, about {more:,} if as "
        "many are asked for as until now."
    )


@commands.command("list")
@_holder_options
@as_json_option
def list_(agent: str | None, organization: str | None, as_json: bool) -> None:
    """List quotas, with the tokens used and left.

    Lists the quotas of an agent, or of an organization and all its agents.
    """
    with opened() as services:
        organization_id, agent_id = _holder_named(services, agent, organization)
        at = utc_now()
        database = services.database.of(organization_id, at)
        if agent_id is None:
            rows = list(_pages(database))
        else:
            [rows] = database.run(quotas.usage_of(agent_id))
    usage = [
        {
            "agentId": None if row.agent_id is None else str(row.agent_id),
            "agentName": row.agent_name,
            **quotas.represent(row, at),
        }
        for row in rows
    ]
    columns = ("agentId", "agentName", "window", *listed(quotas.QuotaSchema))
    show(usage, as_json, columns=columns)


def _pages(database: OrganizationDatabase) -> Iterator[Any]:
    """Yield the quotas of an organization and its agents, with one statement per page."""
    after: tuple[UUID | None, int | None] = (None, None)
    while True:
        [rows] = database.run(quotas.usage_page(after, PAGE_SIZE))
        yield from rows
        if len(rows) < PAGE_SIZE:
            return
        after = (rows[-1].agent_id or quotas.ORGANIZATION, WINDOWS.index(rows[-1].quota_window) + 1)


@commands.command("remove")
@asks_first
@_holder_options
@_window_option
def remove(agent: str | None, organization: str | None, window: str) -> None:
    """Remove a quota."""
    with opened() as services:
        holder = _holder_named(services, agent, organization)
        database = services.database.of(holder.organization_id, utc_now())
        [rows] = database.run(quotas.usage_of(holder.agent_id))
        quota = next((row for row in rows if row.quota_window == window), None)
        if quota is None:
            raise ConfigurationError("there is no such agent or quota")
        whose = f"of {quota.agent_name}" if quota.agent_name else "of the organization"
        confirm(
            lambda: (
                f"This removes the quota {whose} of {quota.tokens:,} tokens per {window}, of which {quota.used:,} are "
                "used. Tokens beyond it are issued then."
            )
        )
        with _changing(services, holder) as transaction:
            quotas.remove_quota(transaction, holder.agent_id, window)
