"""``agentidp provisioning-rule``."""

from __future__ import annotations

from typing import Any

import click

from agentidp.cli.confirmation import asks_first, confirm, count
from agentidp.cli.context import opened
from agentidp.cli.named import Candidate, database_named, one_of
from agentidp.cli.options import as_json_option, given, member_options, organization_option
from agentidp.cli.output import say, show
from agentidp.cli.rule_options import rule_body, rule_options
from agentidp.oauth.quota_windows import WINDOWS
from agentidp.registry import provisioning

SHOWN = ("provisioningRuleId", "name", "issuer", "audience", "agents", "maxAgents", "createdAt")
"""What is shown of a rule, unless it is JSON."""


_TEMPLATE = provisioning.AgentTemplateSchema(exclude=["name", "quotas"])
_RULE = provisioning.NewProvisioningRuleSchema(only=["maxAgents"])


def _quota(_context: click.Context, _option: click.Parameter, texts: tuple[str, ...]) -> dict[str, Any]:
    found = {}
    for text in texts:
        window, _, tokens = text.partition("=")
        if window not in WINDOWS or not (tokens.isascii() and tokens.isdecimal() and len(tokens) < 16):
            raise click.BadParameter(f"must be WINDOW=TOKENS, and the window one of {', '.join(WINDOWS)}")
        found[window] = {"tokens": int(tokens), "enforce": True}
    return found


@click.group("provisioning-rule")
def commands() -> None:
    """Rules that create agents at first sight.

    They create them for subjects of other issuers that have none. agentidp organization provisioning switches all of an
    organization's rules on and off.

    They are printed as: id, name, issuer, audience, how many agents there are, and may be, time of creation.
    """


@commands.command("create")
@click.argument("name")
@organization_option
@rule_options(default_audience="the issuer of this server, / and the organization's id")
@click.option(
    "--agent-name",
    metavar="TEMPLATE",
    help="What agents are called. {claim} stands for a claim of the token. Default: {sub}.",
)
@click.option(
    "--quota", "quotas", multiple=True, metavar="WINDOW=TOKENS", callback=_quota, help="Of each agent: day=1000."
)
@member_options(_TEMPLATE)
@member_options(_RULE)
@as_json_option
def create(name: str, organization: str, agent_name: str | None, quotas: Any, as_json: bool, **options: Any) -> None:
    """Create the rule NAME and print it. By what names it can be met is a warning."""
    template = given(_TEMPLATE, options) | {"quotas": quotas} | ({"name": agent_name} if agent_name else {})
    body = {"name": name, "trust": rule_body(options), "agentTemplate": template} | given(_RULE, options)
    with opened() as services:
        database = database_named(services, organization)
        new = provisioning.NewProvisioningRuleSchema().load(body)
        with database.transaction() as transaction:
            row = provisioning.add_rule(transaction, services.settings, new)
    for warning in provisioning.represent(row)["warnings"]:
        say(f"Warning: {warning}", err=True)
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
    """Delete a rule: it creates no further agent. Those that it has created stay."""
    with opened() as services:
        database = database_named(services, organization)
        rows = database.fetch("provisioning/list_rules")
        known = [Candidate(str(row.provisioning_rule_id), [row.name], row) for row in rows]
        found = one_of(rule, known, kind="provisioning rule")
        confirm(
            lambda: (
                f"This deletes the provisioning rule {found.name}, which creates no further agent. "
                f"{count(found.agents, 'agent')} that it has created will stay."
            )
        )
        with database.transaction() as transaction:
            provisioning.remove_rule(transaction, found.provisioning_rule_id)


def _show(rows: Any, as_json: bool, *, one: bool = False) -> None:
    found = [provisioning.represent(row) for row in rows]
    if not as_json:
        found = [{name: (rule | rule["trust"])[name] for name in SHOWN} for rule in found]
    show(found, as_json, one=one)
