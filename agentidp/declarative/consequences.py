"""Describes in sentences what the changes of a plan end."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from agentidp.analytics import impact
from agentidp.db.database import Database
from agentidp.db.organization import OrganizationDatabase
from agentidp.declarative.plan import Change, Plan, to_json
from agentidp.declarative.schemas import AGENT, ALERT_TARGET, DELEGATION_RULE, OPENID_PROVIDER, RESOURCE_SERVER


def list_consequences(database: Database, plan: Plan, at: datetime, ttl: int) -> list[list[str]]:
    """Return a list per change of a plan, with sentences about what the change ends.

    :param ttl: the default lifetime of tokens in seconds.
    """
    organization_database = database.of(plan.organization_id, at)
    return [_describe_change(organization_database, plan, change, ttl) for change in plan.changes]


def _describe_change(database: OrganizationDatabase, plan: Plan, change: Change, ttl: int) -> list[str]:
    match change.action, change.type:
        case "delete", AGENT.type:
            return _describe_deleted_agent(database, plan, change, ttl)
        case "delete", RESOURCE_SERVER.type:
            server_rows = database.fetch("oauth/list_resource_servers")
            [server_row] = [row for row in server_rows if str(row.resource_server_id) == change.id]
            server_impact = impact.read_resource_server_impact(database.run, server_row, database.at, ttl)
            return impact.describe_impact(server_impact)
        case "delete" | "change", DELEGATION_RULE.type:
            return ["All tokens that were issued by the rule end."]
        case "delete", ALERT_TARGET.type:
            return ["Its messages that are not sent yet are deleted. Nobody else is sent them."]
        case "create", OPENID_PROVIDER.type:
            return ["It has no client secret: agentidp openid-provider update sets one if the provider needs it."]
        case "change", OPENID_PROVIDER.type:
            return [impact.describe_ended_sign_ins(change.name, 0)]
        case "delete", OPENID_PROVIDER.type:
            [[count_row]] = database.run(impact.build_count_grants_call(issuer=change.name))
            return [impact.describe_ended_sign_ins(change.name, count_row.grants)]
    return []


def _describe_deleted_agent(database: OrganizationDatabase, plan: Plan, change: Change, ttl: int) -> list[str]:
    agent_id = UUID(change.id)
    credential_rows = database.fetch("agents/list_credentials", agent_id=agent_id)
    credential_count = sum(credential_row.credential_id is not None for credential_row in credential_rows)
    return [
        *(
            f"The new agent {to_json(new_agent.name)} has the same description. To rename the agent instead, first "
            f"run agentidp agent update {agent_id} --name {to_json(new_agent.name)}."
            for new_agent in plan.changes
            if (new_agent.action, new_agent.type) == ("create", AGENT.type)
            and new_agent.after["description"] == change.before["description"] != ""
        ),
        f"Its credentials are revoked ({credential_count}), and its tokens stop working at once.",
        *impact.describe_impact(impact.read_agent_impact(database.run, agent_id, database.at, ttl)),
    ]
