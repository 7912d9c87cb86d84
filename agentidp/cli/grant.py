"""``agentidp grant``."""

from __future__ import annotations

from uuid import UUID

import click

from agentidp.cli.confirmation import confirm, require_confirmation
from agentidp.cli.lookup import begin_transaction, find_agent, find_row, open_organization, refuse_missing
from agentidp.cli.options import as_json_option, name_option, organization_option
from agentidp.cli.output import show
from agentidp.db.organization import OrganizationDatabase
from agentidp.http.text import format_count
from agentidp.oauth.grants import MAX_GRANTS, end_grant
from agentidp.registry import grants
from agentidp.services import Services

_MEMBERS = ("grantId", "agentName", "delegationRuleName", "subject", "resource", "scopes", "createdAt", "lastUsedAt")

_agent_option = name_option("--agent", "Only grants to this agent.")
_rule_option = name_option("--rule", "Only grants by this delegation rule.")

commands = click.Group(
    "grant",
    help="""Grants: consents of people that an agent may act for them.

    Grants are printed as: id, agent, delegation rule, subject, resource, scopes, time of creation, time of the last
    token. The subject is the sub of the grant's tokens.
    """,
)


@commands.command("list")
@organization_option
@_agent_option
@_rule_option
@as_json_option
def list_grants(organization: str, agent: str | None, rule: str | None, as_json: bool) -> None:
    """List the grants of an organization, newest first."""
    with open_organization(organization) as (services, database):
        agent_id, rule_id = _find_agent_and_rule(services, database, agent, rule)
        [grant_rows] = database.run(grants.build_list_call(agent_id, rule_id, limit=MAX_GRANTS))
    show([grants.represent(grant_row) for grant_row in grant_rows], as_json, members=_MEMBERS)


@commands.command("end")
@require_confirmation
@click.argument("grant_id", type=click.UUID, metavar="[ID]", required=False)
@organization_option
@_agent_option
@_rule_option
def end_grants(grant_id: UUID | None, organization: str, agent: str | None, rule: str | None) -> None:
    """End a grant, or all grants to an agent or by a delegation rule. Tokens issued by the grants stop working."""
    if [grant_id, agent, rule].count(None) != 2:
        raise click.UsageError("give the ID of a grant, or --agent, or --rule, but only one of these")
    with open_organization(organization) as (services, database):
        agent_id, rule_id = _find_agent_and_rule(services, database, agent, rule)
        confirm(lambda: _describe_consequences(database, grant_id, agent_id, rule_id))
        object_phrase = f"grant {grant_id}" if grant_id else f"agent {agent}" if agent else f"delegation rule {rule}"
        with (
            refuse_missing(f"the organization has no {object_phrase}"),
            begin_transaction(services, database) as transaction,
        ):
            if grant_id is not None:
                end_grant(transaction, grant_id)
            elif agent_id is not None:
                grants.end_agent_grants(transaction, agent_id)
            elif rule_id is not None:
                grants.end_rule_grants(transaction, rule_id)


def _find_agent_and_rule(
    services: Services, database: OrganizationDatabase, agent: str | None, rule: str | None
) -> tuple[UUID | None, UUID | None]:
    """Return the IDs of the agent and of the delegation rule that the options name; None for an omitted option."""
    agent_id = find_agent(services, agent, organization_id=database.organization_id).agent_id if agent else None
    if rule is None:
        return agent_id, None
    rule_rows = database.fetch("delegation/list_rules")
    rule_row = find_row(rule, rule_rows, "delegation_rule_id", "name", kind="delegation rule")
    return agent_id, rule_row.delegation_rule_id


def _describe_consequences(
    database: OrganizationDatabase, grant_id: UUID | None, agent_id: UUID | None, rule_id: UUID | None
) -> str:
    [grant_rows] = database.run(grants.build_list_call(agent_id, rule_id, grant_id=grant_id, limit=MAX_GRANTS))
    return (
        f"This ends {format_count(len(grant_rows), 'grant')} of people. Before an agent can act for a person again, "
        "the person must consent again. Introspection reports the tokens of the grants as inactive."
    )
