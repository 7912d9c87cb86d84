"""``agentidp provisioning-rule``."""

from __future__ import annotations

from typing import Any

import click

from agentidp.cli.confirmation import asks_first, confirm, count
from agentidp.cli.context import opened
from agentidp.cli.named import Candidate, database_named, one_of
from agentidp.cli.options import as_json_option, given, listed, member_options, organization_option
from agentidp.cli.output import show, warn
from agentidp.registry import provisioning

SHOWN = (
    *("provisioningRuleId", "name", "issuer", "audience", "agents", "maxAgents"),
    *listed(provisioning.ProvisioningRuleSchema),
    "createdAt",
)
"""The printed fields of a rule, except with --json."""

_RULE = provisioning.NewProvisioningRuleSchema(exclude=["name"])


@click.group("provisioning-rule")
def commands() -> None:
    """Rules that create agents at first sight.

    A rule creates an agent for a subject of another issuer that has no agent yet. To switch all rules of an
    organization on or off, use agentidp organization provisioning.

    The rules are printed as: id, name, issuer, audience, number of agents, maximum number of agents, time of creation.
    """


@commands.command("create")
@click.argument("name")
@organization_option
@member_options(_RULE)
@as_json_option
def create(name: str, organization: str, as_json: bool, **options: Any) -> None:
    """Create the rule NAME and print it. Warns which subject names can match the rule."""
    new = provisioning.NewProvisioningRuleSchema().load(given(_RULE, options) | {"name": name})
    with opened() as services, database_named(services, organization).transaction() as transaction:
        row = provisioning.add_rule(transaction, services.settings, new)
    warn(provisioning.represent(row)["warnings"])
    _show([row], as_json, one=True)


@commands.command("list")
@organization_option
@as_json_option
def list_(organization: str, as_json: bool) -> None:
    """List the rules of an organization, oldest first."""
    with opened() as services:
        rows = database_named(services, organization).fetch("provisioning/list_rules")
    _show(rows, as_json)


@commands.command("delete")
@asks_first
@click.argument("rule", metavar="ID|NAME")
@organization_option
def delete(rule: str, organization: str) -> None:
    """Delete a rule. It creates no further agents, and the agents that it has created stay."""
    with opened() as services:
        database = database_named(services, organization)
        rows = database.fetch("provisioning/list_rules")
        candidates = [Candidate(str(row.provisioning_rule_id), [row.name], row) for row in rows]
        row = one_of(rule, candidates, kind="provisioning rule")
        confirm(
            lambda: (
                f"This deletes the provisioning rule {row.name}, which creates no further agent. "
                f"{count(row.agents, 'agent')} that it has created will stay."
            )
        )
        with database.transaction() as transaction:
            provisioning.remove_rule(transaction, row.provisioning_rule_id)


def _show(rows: Any, as_json: bool, *, one: bool = False) -> None:
    rules = [provisioning.represent(row) for row in rows]
    if not as_json:
        rules = [{name: (rule | rule["trust"])[name] for name in SHOWN} for rule in rules]
    show(rules, as_json, one=one)
