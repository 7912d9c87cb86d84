"""``agentidp findings``."""

from __future__ import annotations

import click

from agentidp import findings
from agentidp.cli.context import opened
from agentidp.cli.options import as_json_option, organization_named, organization_option
from agentidp.cli.output import cell, show
from agentidp.clock import utc_now
from agentidp.http.schemas import MAX_DAYS


@click.command("findings")
@organization_option
@click.option(
    "--days",
    type=click.IntRange(1, MAX_DAYS),
    default=findings.DEFAULT_DAYS,
    show_default=True,
    help="How many days back, today included.",
)
@click.option(
    "--dominance-percent",
    type=click.IntRange(1, 99),
    default=findings.DEFAULT_DOMINANCE_PERCENT,
    show_default=True,
    help="The share of the month above which an agent dominates.",
)
@as_json_option
def command(organization_id: str, days: int, dominance_percent: int, as_json: bool) -> None:
    """List an organization's unusual usage: severity, kind, agent, window, summary, possible causes, what to check."""
    at = utc_now()
    with opened() as services:
        organization_named(services, organization_id)
        run = services.database.of(organization_id, at).run
        query = findings.findings_query(at, services.settings, days=days, dominance_percent=dominance_percent)
        result = findings.findings(run, query)
    found = [finding.represent() for finding in result.findings]
    if result.not_computed:
        click.echo(f"not computed, because the database was too slow: {', '.join(result.not_computed)}", err=True)
    if as_json:
        show(found, as_json)
        return
    for one in found:
        window = f"{one['window']['from'][:16]}Z/{one['window']['to'][:16]}Z"
        cells = (one["severity"], one["kind"], one["agentName"], window, one["summary"], one["causes"], one["next"])
        click.echo("\t".join(cell(value) for value in cells))
