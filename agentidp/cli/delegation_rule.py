"""``agentidp delegation-rule``."""

from __future__ import annotations

from typing import Any

import click

from agentidp.cli.confirmation import asks_first, confirm, count
from agentidp.cli.context import opened
from agentidp.cli.named import Candidate, database_named, one_of, with_agent_ids
from agentidp.cli.options import as_json_option, given, listed, member_options, organization_option
from agentidp.cli.output import show, warn
from agentidp.registry import delegation_rules

_RULE = delegation_rules.NewDelegationRuleSchema(exclude=["name"])


@click.group("delegation-rule")
def commands() -> None:
    """Rules by which agents may act for people and systems of other issuers.

    Agents get tokens for them by token exchange.

    The rules are printed as: id, name, issuer, agents, resource servers, time of creation.
    """


@commands.command("create")
@click.argument("name")
@organization_option
@member_options(_RULE)
@as_json_option
def create(name: str, organization: str, as_json: bool, **options: Any) -> None:
    """Create the rule NAME and print it. Warns if the rule matches more than one subject."""
    body = given(_RULE, options) | {"name": name}
    with opened() as services:
        database = database_named(services, organization)
        body = with_agent_ids(services, database.organization_id, _RULE, body)
        new = delegation_rules.NewDelegationRuleSchema().load(body)
        with database.transaction() as transaction:
            row = delegation_rules.add_rule(transaction, services.settings, new)
    warn(delegation_rules.represent(row)["warnings"])
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
    """Delete a rule. Tokens that were issued by the rule stop working."""
    with opened() as services:
        database = database_named(services, organization)
        rows = database.fetch("delegation/list_rules")
        candidates = [Candidate(str(row.delegation_rule_id), [row.name], row) for row in rows]
        row = one_of(rule, candidates, kind="delegation rule")
        confirm(
            lambda: (
                f"This deletes the delegation rule {row.name}, by which {count(len(row.agents), 'agent')} can act. "
                "Introspection then reports the tokens that were issued by it as inactive."
            )
        )
        with database.transaction() as transaction:
            delegation_rules.remove_rule(transaction, row.delegation_rule_id)


def _show(rows: Any, as_json: bool, *, one: bool = False) -> None:
    rules = [delegation_rules.represent(row) for row in rows]
    if not as_json:
        rules = [
            {
                "delegationRuleId": rule["delegationRuleId"],
                "name": rule["name"],
                "issuer": rule["trust"]["issuer"],
                "agents": ", ".join(row.agents),
                "resources": [entry["resource"] for entry in rule["resources"]],
                **{name: rule[name] for name in listed(delegation_rules.DelegationRuleSchema)},
                "createdAt": rule["createdAt"],
            }
            for rule, row in zip(rules, rows, strict=True)
        ]
    show(rules, as_json, one=one)
