"""``agentidp delegation-rule`` and ``agentidp provisioning-rule``, whose commands are the same."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import click

from agentidp.analytics.impact import build_count_grants_call, describe_ended_grants
from agentidp.cli.confirmation import confirm, require_confirmation
from agentidp.cli.lookup import begin_transaction, find_row, open_organization, replace_agent_names
from agentidp.cli.options import (
    add_member_options,
    as_json_option,
    list_column_names,
    organization_option,
    read_options,
)
from agentidp.cli.output import show, show_object, warn
from agentidp.db.organization import OrganizationDatabase
from agentidp.http.text import format_count
from agentidp.registry import delegation_rules, provisioning


class RuleKind(NamedTuple):
    """The differences between the commands for delegation rules and for provisioning rules.

    :param registry: the module that creates and deletes the rules.
    :param columns: the members of a rule and of its ``trust`` that are printed without ``--json``.
    :param describe_deletion: returns the consequences of deleting a rule, in sentences, from its row and the database.
    """

    name: str
    registry: Any
    columns: tuple[str, ...]
    help: str
    delete_help: str
    describe_deletion: Callable[[Any, OrganizationDatabase], str]


def _describe_delegation_rule_deletion(rule_row: Any, database: OrganizationDatabase) -> str:
    [[grant_count_row]] = database.run(build_count_grants_call(rule_id=rule_row.delegation_rule_id))
    agents_phrase = format_count(len(rule_row.agents), "agent")
    apps_phrase = f" and the apps of {', '.join(rule_row.client_hosts)}" if rule_row.client_hosts else ""
    sentences = [
        f"This deletes the delegation rule {rule_row.name} of {agents_phrase}{apps_phrase}.",
        "Introspection then reports the tokens that were issued under the rule as inactive.",
        describe_ended_grants(grant_count_row.grants) if grant_count_row.grants else "",
    ]
    return " ".join(filter(None, sentences))


_DELEGATION = RuleKind(
    "delegation",
    delegation_rules,
    (
        *("delegationRuleId", "name", "issuer", "agents", "resources"),
        *list_column_names(delegation_rules.DelegationRuleSchema),
        "createdAt",
    ),
    help="""Rules by which agents may act for people and systems of other issuers.

    An agent gets a token for such a person or system by token exchange.

    The rules are printed as: id, name, issuer, agents, resource servers, time of creation.
    """,
    delete_help="Delete a rule. Tokens that were issued under the rule stop working.",
    describe_deletion=_describe_delegation_rule_deletion,
)
_PROVISIONING = RuleKind(
    "provisioning",
    provisioning,
    (
        *("provisioningRuleId", "name", "issuer", "audience", "agents", "maxAgents"),
        *list_column_names(provisioning.ProvisioningRuleSchema),
        "createdAt",
    ),
    help="""Rules that create agents for subjects of other issuers.

    A rule creates an agent when a subject that has no agent yet asks for a token. To switch all rules of an
    organization on or off, use agentidp organization provisioning.

    The rules are printed as: id, name, issuer, audience, number of agents, maximum number of agents, time of creation.
    """,
    delete_help="Delete a rule. The rule creates no further agents. The agents that it created are not deleted.",
    describe_deletion=lambda rule_row, _: (
        f"This deletes the provisioning rule {rule_row.name}. The rule creates no further agents. "
        f"{format_count(rule_row.agents, 'agent')} of the rule will not be deleted."
    ),
)


def _make_rule_commands(kind: RuleKind) -> click.Group:
    command_group = click.Group(f"{kind.name}-rule", help=kind.help)
    list_statement, make_schema = f"{kind.name}/list_rules", kind.registry.RULES.new_schema
    schema = make_schema(exclude=["name"])

    @command_group.command("create")
    @click.argument("name")
    @organization_option
    @add_member_options(schema)
    @as_json_option
    def create_rule(name: str, organization: str, as_json: bool, **options: Any) -> None:
        """Create the rule NAME and print it. Warns if the rule accepts tokens of more than one subject."""
        request_body = read_options(schema, options) | {"name": name}
        with open_organization(organization) as (services, database):
            new_rule = make_schema().load(replace_agent_names(services, database, schema, request_body))
            with database.transaction() as transaction:
                rule_row = kind.registry.add_rule(transaction, services.settings, new_rule)
        response_body = kind.registry.represent(rule_row)
        warn(response_body["warnings"])
        show_object(response_body if as_json else _summarize_rule(kind, rule_row), as_json)

    @command_group.command("list")
    @organization_option
    @as_json_option
    def list_rules(organization: str, as_json: bool) -> None:
        """List an organization's rules, oldest first."""
        with open_organization(organization) as (_, database):
            rule_rows = database.fetch(list_statement)
        represent_rule = kind.registry.represent if as_json else partial(_summarize_rule, kind)
        show([represent_rule(rule_row) for rule_row in rule_rows], as_json)

    @command_group.command("delete", help=kind.delete_help)
    @require_confirmation
    @click.argument("rule", metavar="ID|NAME")
    @organization_option
    def delete_rule(rule: str, organization: str) -> None:
        with open_organization(organization) as (services, database):
            id_column = f"{kind.name}_rule_id"
            rule_row = find_row(rule, database.fetch(list_statement), id_column, "name", kind=f"{kind.name} rule")
            confirm(lambda: kind.describe_deletion(rule_row, database))
            with begin_transaction(services, database) as transaction:
                kind.registry.remove_rule(transaction, getattr(rule_row, id_column))

    return command_group


def _summarize_rule(kind: RuleKind, rule_row: Any) -> dict[str, Any]:
    rule_members = kind.registry.represent(rule_row)
    shown_members = rule_members | rule_members["trust"]
    if kind is _DELEGATION:
        shown_members["agents"] = ", ".join([*rule_row.agents, *(f"apps of {host}" for host in rule_row.client_hosts)])
        shown_members["resources"] = [resource_access["resource"] for resource_access in rule_members["resources"]]
    return {column: shown_members[column] for column in kind.columns}


delegation_commands, provisioning_commands = map(_make_rule_commands, (_DELEGATION, _PROVISIONING))
