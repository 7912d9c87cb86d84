"""``make members``: write the tables of members in ``docs/`` from the fields that describe them.

A table stands between ``<!-- members: agent -->`` and ``<!-- end of members -->``. A thing has one table; other pages
link to it.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import click
import marshmallow as ma

from agentidp.alerts.target_fields import AlertTargetFields
from agentidp.cli import cli
from agentidp.http.schemas import AgentId, Choice, Items, Member, Number, Text
from agentidp.registry.agents import AgentFields
from agentidp.registry.credentials import CredentialFields, RuleSchema
from agentidp.registry.delegation_rules import DelegatedResourceSchema, DelegationRuleFields
from agentidp.registry.markers import MarkerFields
from agentidp.registry.openid_providers import OpenidProviderFields
from agentidp.registry.organizations import OrganizationFields
from agentidp.registry.provisioning import AgentTemplateSchema, ProvisioningRuleFields
from agentidp.registry.quotas import QuotaFields
from agentidp.registry.resource_servers import ResourceServerFields

DOCS = Path(__file__).resolve().parent.parent / "docs"

THINGS: dict[str, tuple[ma.Schema, str]] = {
    "agent": (AgentFields(), "agent"),
    "agent template": (AgentTemplateSchema(), "provisioning-rule"),
    "alert target": (AlertTargetFields(), "alerts target"),
    "credential": (CredentialFields(exclude=list(RuleSchema().fields)), "credential"),
    "delegation rule": (DelegationRuleFields(), "delegation-rule"),
    "entry of resources": (DelegatedResourceSchema(), ""),
    "marker": (MarkerFields(), "marker"),
    "openid provider": (OpenidProviderFields(), "openid-provider"),
    "organization": (OrganizationFields(), ""),
    "provisioning rule": (ProvisioningRuleFields(), "provisioning-rule"),
    "quota": (QuotaFields(), "quota"),
    "resource server": (ResourceServerFields(), "resource-server"),
    "rule of trust": (RuleSchema(), "credential"),
}
"""Thing -> its members, and the group of commands that have options for them. An organization's members have a command
each.
"""

IN_FILES = ("delegation rule", "resource server")
"""Things that name agents in a file of ``agentidp apply``."""

TABLE = re.compile(r"(<!-- members: ([a-z ]+) -->\n)(.*?)(<!-- end of members -->)", re.DOTALL)
"""A table with its marks: the opening mark, the thing, the table, the closing mark."""


def with_tables(text: str) -> str:
    """Return a page with the tables that its marks ask for."""
    return TABLE.sub(lambda mark: mark[1] + table_of(mark[2]) + mark[4], text)


def table_of(thing: str) -> str:
    """Return the table of a thing: a row per member, and a sentence about the others that are only returned."""
    schema, group = THINGS[thing]
    options = _options(group) if group else {}
    heads = ["member", "option", "meaning"] if options else ["member", "meaning"]
    rows, returned = [heads, ["---"] * len(heads)], []
    for name, field in schema.fields.items():
        if field.dump_only and "description" not in field.metadata:
            returned.append(f"`{name}`")
            continue
        typed_name = field.typed_name if isinstance(field, Member) and not field.dump_only else None
        option = ", ".join(options.get(typed_name, ()))
        rows.append([f"`{name}`", *([option] if options else []), _meaning(field, in_file=thing in IN_FILES)])
    table = "".join(f"| {' | '.join(row)} |\n" for row in rows).replace("|  |", "| |").replace(" --- ", "---")
    return table + (f"\nOnly returned: {', '.join(returned)}.\n" if returned else "")


def _options(group: str) -> dict[str | None, list[str]]:
    """Return the options of a group's commands by the name of the member that they set."""
    commands: Any = cli
    for name in group.split():
        commands = commands.commands[name]
    options: dict[str | None, list[str]] = {}
    for command in commands.commands.values():
        for option in command.params:
            if isinstance(option, click.Option):
                member = options.setdefault((option.name or "").removeprefix("no_"), [])
                member += [f"`{text}`" for text in (*option.opts, *option.secondary_opts) if f"`{text}`" not in member]
    return options


def _meaning(field: ma.fields.Field[Any], *, in_file: bool) -> str:
    facts = [field.markdown if isinstance(field, Member) else field.metadata.get("description")]
    if isinstance(field, Choice):
        *values, last = [f"`{value}`" for value in field.values]
        facts.append(f"{', '.join(values)} or {last}")
    elif isinstance(field, Items) and isinstance(field.item, Choice):
        facts.append("values: " + ", ".join(f"`{value}`" for value in field.item.values))
    elif isinstance(field, Text):
        least = next(rule.min for rule in field.validators if isinstance(rule, ma.validate.Length))
        facts.append(f"{least} to {field.maximum} characters" if least else f"up to {field.maximum} characters")
    elif isinstance(field, Number):
        facts.append(f"{field.minimum} to {field.maximum}")
    if isinstance(field, Member) and field.nothing:
        facts.append(f"`null`: {field.nothing}")
    facts.append("only returned" if field.dump_only else "required" if field.required else _default(field))
    is_agent, are_agents = isinstance(field, AgentId), isinstance(field, Items) and isinstance(field.item, AgentId)
    if in_file and (is_agent or are_agents):
        facts.append("a file has `agent`, its name" if is_agent else "a file has `agents`, their names")
    return ". ".join(fact[:1].upper() + fact[1:] for fact in facts if fact).replace("|", "\\|")


def _default(field: ma.fields.Field[Any]) -> str | None:
    default = field.default if isinstance(field, Member) else None
    if isinstance(default, list):
        return f"default: `{', '.join(default)}`" if default else None
    if isinstance(default, bool) or (isinstance(default, str | int) and default != ""):
        return f"default: `{str(default).lower()}`"
    return None


if __name__ == "__main__":
    for page in sorted(DOCS.glob("*.md")):
        page.write_text(with_tables(page.read_text(encoding="utf-8")), encoding="utf-8")
