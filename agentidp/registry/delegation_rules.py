"""``/api/v1/delegation-rules``: rules by which agents act for subjects of other issuers (RFC 8693).

A delegation rule has a rule of trust, the agents that may act by it, and the maximum scopes of their tokens.
"""

from __future__ import annotations

import json
from typing import Any

import marshmallow as ma

from agentidp.config import Settings
from agentidp.db.organization import Transaction
from agentidp.federation.rule_checks import check_delegation_rule
from agentidp.http import schemas
from agentidp.http.errors import ValidationError
from agentidp.http.openapi import Blueprint
from agentidp.http.resource_identifier import MAX_RESOURCE_LENGTH, RESOURCE_IDENTIFIER
from agentidp.oauth.client_document import CLIENT_HOST
from agentidp.registry.credentials import RuleSchema, check_trust
from agentidp.registry.organization_rules import OrganizationRules

blueprint = Blueprint("delegation-rules", __name__, description="For whom agents may act")

MAX_AGENTS = 100
"""Maximum number of agents that a delegation rule names."""

MAX_GRANT_DAYS = 365
"""Maximum number of days after which a grant by a delegation rule ends."""

MAX_HOSTS = 20
"""Maximum number of hosts in a delegation rule. Apps with a client ID metadata document on a host may use the rule."""

MAX_HOST = 255
"""Maximum number of characters of a host in a delegation rule."""

MAX_RESOURCES = 100
"""Maximum number of resource servers that a delegation rule names."""


class DelegatedResourceSchema(ma.Schema):
    """A resource server in a delegation rule."""

    resource = schemas.Exact(
        MAX_RESOURCE_LENGTH,
        RESOURCE_IDENTIFIER,
        "must be the identifier of a resource server",
        required=True,
        description="The identifier of a resource server of the organization",
    )
    scopes = schemas.ScopeList(required=True, description="Scopes of the resource server that tokens may have")

    @ma.validates("scopes")
    def refuse_empty_list(self, scopes: list[str], data_key: str) -> None:
        """Refuse an empty list of scopes."""
        if not scopes:
            raise ma.ValidationError("must name at least one scope")


class Resources(schemas.Member, ma.fields.List[Any]):
    """A field for the resource servers of a delegation rule, typed as lines like ``https://api.example read write``."""

    kind = "items"
    typed_as = "A resource server, and its scopes that tokens may have at most"
    default_error_messages = {"invalid": "must be a list"}

    def __init__(self, **kwargs: Any) -> None:
        length_rule = ma.validate.Length(1, MAX_RESOURCES, error=f"must name 1 to {MAX_RESOURCES} resource servers")
        item_field = ma.fields.Nested(DelegatedResourceSchema)
        super().__init__(cls_or_instance=item_field, validate=[length_rule, _refuse_repeated_resources], **kwargs)

    def parse_input(self, user_input: Any) -> Any:
        """Return one object per resource server, with the scopes of all lines that name the server."""
        scopes_by_resource: dict[str, list[str]] = {}
        for resource, *scopes in filter(None, map(str.split, user_input)):
            scopes_by_resource.setdefault(resource, []).extend(scopes)
        return [{"resource": resource, "scopes": scopes} for resource, scopes in scopes_by_resource.items()]


def _refuse_repeated_resources(resources: list[dict[str, Any]]) -> None:
    schemas.validate_unique("a resource server")([permission["resource"] for permission in resources])


class DelegationRuleFields(ma.Schema):
    delegationRuleId = ma.fields.UUID(attribute="delegation_rule_id", dump_only=True)
    name = schemas.Text(1, schemas.MAX_NAME, required=True, description="The rule's name, unique in the organization")
    trust = schemas.Group(
        RuleSchema,
        required=True,
        description="The tokens that the rule accepts. The token's audience contains the organization's id or, if the "
        "rule has no audience, is the acting agent's `client_id`. A rule without subject and claims accepts every "
        "subject",
    )
    agentIds = schemas.Items(
        schemas.AgentId(),
        load_default=list,
        attribute="agent_ids",
        validate=schemas.list_rules(MAX_AGENTS, "an agent"),
        words="agents",
        description="The agents that may act by the rule. Deleted agents stay in the list, but cannot act",
    )
    resources = Resources(
        required=True,
        option="--resource",
        metavar="'RESOURCE SCOPE …'",
        description="The resource servers that the agents may reach, and the scopes for each",
    )
    createdAt = schemas.Instant(attribute="created_at", dump_only=True)
    clientHosts = schemas.Items(
        schemas.Exact(MAX_HOST, CLIENT_HOST, "must be a host in lower case, such as app.example"),
        load_default=list,
        attribute="client_hosts",
        words="hosts of apps",
        option="--client-host",
        metavar="HOST",
        validate=schemas.list_rules(MAX_HOSTS, "a host"),
        description="Hosts of client ID metadata documents, whose apps may act by the rule. An app gets an agent when "
        "the first person uses the app",
    )
    grantDays = schemas.Number(
        1,
        MAX_GRANT_DAYS,
        attribute="grant_days",
        load_default=30,
        words="days of a grant",
        option="--grant-days",
        description="Days after which an agent needs the permission of a person again",
    )
    warnings = ma.fields.List(
        ma.fields.String(), dump_only=True, metadata={"description": "Warnings about the accepted subjects"}
    )

    @ma.validates_schema(skip_on_field_errors=True)
    def refuse_rule_for_nobody(self, members: dict[str, Any], **_: Any) -> None:
        """Refuse a delegation rule that names neither agents nor hosts of apps."""
        # "agents" is in this list, because a file for agentidp apply has "agents" with names instead of "agentIds".
        if not any(members.get(name) for name in ("agent_ids", "agents", "client_hosts")):
            raise ma.ValidationError("must name at least one, unless the rule names hosts of apps", "agentIds")


RULES = OrganizationRules(
    "delegation_rule",
    blueprint,
    DelegationRuleFields,
    add_statement="delegation/add_rule",
    list_statement="delegation/list_rules",
    delete_statement="delegation/delete_rule",
)
NewDelegationRuleSchema, DelegationRuleSchema = RULES.new_schema, RULES.returned_schema
represent, represent_settings = RULES.represent, RULES.represent_settings
find_rule, remove_rule = RULES.find, RULES.remove


def add_rule(transaction: Transaction, settings: Settings, members: dict[str, Any]) -> Any:
    """Create a delegation rule from members that :class:`NewDelegationRuleSchema` loads, and return its row.

    :raises ValidationError: the rule is refused.
    :raises Conflict: another rule has the name, or the organization has the maximum number of rules.
    """
    trust_rule = check_trust(
        members["trust"], settings, transaction.organization_id, check=check_delegation_rule, within="trust"
    )
    agent_rows = transaction.fetch("agents/agents_with_ids", agent_ids=members["agent_ids"])
    existing_ids = {agent_row.agent_id for agent_row in agent_rows}
    if unknown_ids := [str(agent_id) for agent_id in members["agent_ids"] if agent_id not in existing_ids]:
        message = f"must be agents of the organization, not {', '.join(unknown_ids)}"
        raise ValidationError(details={"agentIds": [message]})
    _refuse_unknown_resources(transaction, members["resources"])
    return RULES.add_rule(transaction, **members | {"trust": trust_rule, "resources": json.dumps(members["resources"])})


def _refuse_unknown_resources(transaction: Transaction, resources: list[dict[str, Any]]) -> None:
    scopes_by_resource = {
        server_row.resource: server_row.scopes for server_row in transaction.fetch("oauth/list_resource_servers")
    }
    for resource_access in resources:
        resource = resource_access["resource"]
        if resource not in scopes_by_resource:
            message = f"must be resource servers of the organization, not {resource}"
            raise ValidationError(details={"resources": [message]})
        if unknown_scopes := sorted({*resource_access["scopes"]} - {*scopes_by_resource[resource]}):
            message = f"must have scopes of the resource server {resource}, not {', '.join(unknown_scopes)}"
            raise ValidationError(details={"resources": [message]})


RULES.add_create_route(
    NewDelegationRuleSchema,
    add_rule,
    "Create a rule by which agents may act for people and systems of another issuer.",
)
RULES.add_list_route("delegation/list_rules", "List the delegation rules, oldest first.")
RULES.add_get_route("delegation/list_rules", "Return one delegation rule.")
RULES.add_delete_route(
    """Delete a delegation rule. No further token is issued under the rule, and introspection reports the rule's
    tokens as inactive. Resource servers that verify only the signature accept these tokens until they expire.
    """
)
