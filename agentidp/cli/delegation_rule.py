"""``agentidp delegation-rule``."""

from __future__ import annotations

from typing import Any

import click

from agentidp.cli.confirmation import asks_first, confirm, count
from agentidp.cli.context import opened
from agentidp.cli.named import Candidate, agent_named, database_named, one_of
from agentidp.cli.options import as_json_option, given, member_options, organization_option
from agentidp.cli.output import say, show
from agentidp.cli.rule_options import rule_body, rule_options
from agentidp.registry import delegation_rules

_RULE = delegation_rules.NewDelegationRuleSchema(only=["agentIds"])


@click.group("delegation-rule")
def commands() -> None:
    """Rules by which agents may act for others.

    These are people and systems of other issuers; agents get tokens for them by token exchange.

    The rules are printed as: id, name, issuer, agents, resource servers, time of creation.
    """


@commands.command("create")
@click.argument("name")
@organization_option
@rule_options(default_audience="the client_id of the agent that acts")
@member_options(_RULE)
@click.option(
    "--resource",
    "resources",
    multiple=True,
    required=True,
    metavar="'RESOURCE SCOPE …'",
    help="A resource server, and its scopes that tokens may have at most. May be given several times.",
)
@as_json_option
def create(name: str, organization: str, resources: tuple[str, ...], as_json: bool, **options: Any) -> None:
    """Create the rule NAME and print it. Whom it means beside one subject is a warning."""
    body = {
        "name": name,
        "trust": rule_body(options),
        "resources": delegation_rules.resources_of(resources),
        **given(_RULE, options),
    }
    with opened() as services:
        database = database_named(services, organization)
        organization_id = database.organization_id
        named = (agent_named(services, one, organization_id=organization_id) for one in body.get("agentIds", []))
        body["agentIds"] = [str(agent.agent_id) for agent in named]
        new = delegation_rules.NewDelegationRuleSchema().load(body)
        with database.transaction() as transaction:
            row = delegation_rules.add_rule(transaction, services.settings, new)
    for warning in delegation_rules.represent(row)["warnings"]:
        say(f"Warning: {warning}", err=True)
    _show([row], as_json, one=True)


@commands.command("list")
@organization_option
@as_json_option
def list_(organization: str, as_json: bool) -> None:
    """List the rules of an organization, oldest first."""
    with opened() as services:
        rows = database_named(services, organization).fetch("delegation/list_rules")
    _show(rows, as_json)


@commands.command("delete")
@asks_first
@click.argument("rule", metavar="ID|NAME")
@organization_option
def delete(rule: str, organization: str) -> None:
    """Delete a rule, and so end the tokens that were issued by it."""
    with opened() as services:
        database = database_named(services, organization)
        rows = database.fetch("delegation/list_rules")
        known = [Candidate(str(row.delegation_rule_id), [row.name], row) for row in rows]
        found = one_of(rule, known, kind="delegation rule")
        confirm(
            lambda: (
                f"This deletes the delegation rule {found.name}, by which {count(len(found.agents), 'agent')} can act. "
                "Introspection then reports the tokens that were issued by it as inactive."
            )
        )
        with database.transaction() as transaction:
            delegation_rules.remove_rule(transaction, found.delegation_rule_id)


def _show(rows: Any, as_json: bool, *, one: bool = False) -> None:
    found = [delegation_rules.represent(row) for row in rows]
    if not as_json:
        found = [
            {
                "delegationRuleId": rule["delegationRuleId"],
                "name": rule["name"],
                "issuer": rule["trust"]["issuer"],
                "agents": ", ".join(row.agents),
                "resources": [one["resource"] for one in rule["resources"]],
                "createdAt": rule["createdAt"],
            }
            for rule, row in zip(found, rows, strict=True)
        ]
    show(found, as_json, one=one)
