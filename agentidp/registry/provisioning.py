"""``/api/v1/provisioning-rules``: rules that create agents for new subjects of other issuers.

A provisioning rule has a rule of trust and a template for agents. The rule of trust of a new agent accepts only the
agent's subject.
"""

from __future__ import annotations

import json
import logging
from typing import Any
from uuid import UUID

import marshmallow as ma
from flask import Flask

from agentidp.config import Settings
from agentidp.db.organization import OrganizationDatabase, Transaction
from agentidp.federation.agent_name import MAX_NAME_TEMPLATE, add_subject_suffix, build_agent_name
from agentidp.federation.issuer_tokens import MAX_CHARACTERS
from agentidp.federation.rule import subject_selector
from agentidp.federation.rule_checks import RuleRefused, check_provisioning_rule, narrow_to_subject
from agentidp.http import schemas
from agentidp.http.errors import Conflict, ValidationError
from agentidp.http.openapi import Blueprint
from agentidp.http.request_context import request_actor
from agentidp.metrics import AGENTS_PROVISIONED
from agentidp.oauth import first_sight
from agentidp.oauth.quota_windows import WINDOWS
from agentidp.registry import quotas
from agentidp.registry.agents import OWNER, add_agent, refuse_unknown_scopes, remove_agent
from agentidp.registry.credentials import RuleSchema, add_credential, check_trust
from agentidp.registry.organization_rules import OrganizationRules
from agentidp.scopes import SCOPES

blueprint = Blueprint("provisioning-rules", __name__, description="Rules that create agents at first sight")

MIN_AGENTS, MAX_AGENTS, DEFAULT_AGENTS = 1, 10_000, 100
"""Minimum, maximum and default of ``maxAgents``, the maximum number of a rule's agents that are not deleted."""

MIN_EXPIRY, MAX_EXPIRY = 1, 3650
"""Minimum and maximum of ``expiresAfterDays``: the days without a token request until a rule's agent is deleted."""

MAX_EXPIRED = 100
"""Maximum number of expired agents that one transaction deletes. The organization gets no tokens meanwhile."""

_SUBJECT = "{sub}"
FORBIDDEN = {scope for scope in SCOPES if scope.endswith(":write")}
"""Scopes that a provisioning rule must not give to the agents that it creates."""

logger = logging.getLogger("agentidp")


class Quotas(schemas.Member, ma.fields.Nested):
    """A field for the quotas of each agent that a provisioning rule creates."""

    kind = "items"
    typed_as = "The quota of each agent in an hour, a day or a month, such as day=1000"

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(nested=quotas.QuotasSchema, **kwargs)

    def parse_input(self, user_input: Any) -> Any:
        """Parse lines such as ``day=1000``. Return an enforced quota per window."""
        quotas_by_window = {}
        for quota_text in user_input:
            window, _, tokens_text = quota_text.partition("=")
            if window not in WINDOWS or isinstance(schemas.parse_number(tokens_text), str):
                raise ma.ValidationError(f"must be WINDOW=TOKENS, and the window one of {', '.join(WINDOWS)}")
            quotas_by_window[window] = {"tokens": schemas.parse_number(tokens_text), "enforce": True}
        return quotas_by_window


class AgentTemplateSchema(ma.Schema):
    """The settings of each agent that a provisioning rule creates."""

    name = schemas.Text(
        1,
        MAX_NAME_TEMPLATE,
        load_default=_SUBJECT,
        words="name of an agent",
        option="--agent-name",
        typed_name="agentName",
        metavar="TEMPLATE",
        description="The agent's name, in which `{claim}` stands for a claim of the token",
    )
    owner = schemas.Text(0, schemas.MAX_OWNER, load_default="", description=OWNER)
    scopes = schemas.ScopeList(
        load_default=list, description="What the agent's tokens may do. Scopes for changes are refused"
    )
    quotas = Quotas(
        load_default=dict,
        option="--quota",
        metavar="WINDOW=TOKENS",
        description="The agent's quotas by window, as the API sets them",
    )
    expiresAfterDays = schemas.Number(
        MIN_EXPIRY,
        MAX_EXPIRY,
        load_default=None,
        words="days until it expires",
        option="--expires-after",
        description="Days without a token request after which the agent is deleted",
        nothing="never",
    )

    @ma.validates("scopes")
    def refuse_scopes_for_changes(self, scopes: list[str], data_key: str) -> None:
        """Refuse scopes that end in ``:write``, so that starting a workload makes nobody an administrator."""
        if not FORBIDDEN.isdisjoint(scopes):
            raise ma.ValidationError(f"must not contain {', '.join(sorted(FORBIDDEN))}: give it to the agent itself")


class ProvisioningRuleFields(ma.Schema):
    provisioningRuleId = ma.fields.UUID(attribute="provisioning_rule_id", dump_only=True)
    name = schemas.Text(
        1,
        schemas.MAX_NAME,
        required=True,
        description="The rule's name. Agents of earlier rules with the same name count towards `maxAgents`",
    )
    trust = schemas.Group(
        RuleSchema,
        required=True,
        description="The tokens that the rule accepts. The token's audience contains the organization's id",
    )
    agentTemplate = schemas.Group(
        AgentTemplateSchema,
        attribute="agent_template",
        load_default=lambda: AgentTemplateSchema().load({}),
        description="The properties of the agents that the rule creates",
    )
    maxAgents = schemas.Number(
        MIN_AGENTS,
        MAX_AGENTS,
        attribute="max_agents",
        load_default=DEFAULT_AGENTS,
        words="maximum of agents",
        option="--max-agents",
        description="Maximum number of agents of the rule at a time",
    )
    agents = ma.fields.Integer(
        dump_only=True,
        validate=ma.validate.Range(0),
        metadata={"description": "Number of agents that the rule, or an earlier rule of this name, created"},
    )
    createdAt = schemas.Instant(attribute="created_at", dump_only=True)
    warnings = ma.fields.List(
        ma.fields.String(), dump_only=True, metadata={"description": "Warnings about the accepted subjects"}
    )


RULES = OrganizationRules(
    "provisioning_rule",
    blueprint,
    ProvisioningRuleFields,
    add_statement="provisioning/add_rule",
    list_statement="provisioning/list_rules",
    delete_statement="provisioning/delete_rule",
)
NewProvisioningRuleSchema, ProvisioningRuleSchema = RULES.new_schema, RULES.returned_schema
represent, represent_settings = RULES.represent, RULES.represent_settings
find_rule, remove_rule = RULES.find, RULES.remove


def init_app(app: Flask) -> None:
    """Register :func:`create_agent_at_first_sight` for the token endpoint, which must not import this module."""
    app.extensions[first_sight.PROVISION] = create_agent_at_first_sight


def add_rule(transaction: Transaction, settings: Settings, members: dict[str, Any]) -> Any:
    """Create a provisioning rule from members that :class:`NewProvisioningRuleSchema` loads, and return its row.

    :raises ValidationError: the rule is refused.
    :raises Conflict: another rule has the name, or the organization has the maximum number of rules.
    """
    trust_rule = check_trust(
        members["trust"], settings, transaction.organization_id, check=check_provisioning_rule, within="trust"
    )
    agent_template = members["agent_template"]
    try:
        refuse_unknown_scopes(transaction, agent_template["scopes"])
    except ValidationError as error:
        error_messages = [f"scopes {message}" for message in error.details["scopes"]]
        raise ValidationError(details={"agentTemplate": error_messages}) from None
    template_json = json.dumps(AgentTemplateSchema().dump(agent_template))
    return RULES.add_rule(transaction, **members | {"trust": trust_rule, "agent_template": template_json})


RULES.add_create_route(
    NewProvisioningRuleSchema,
    add_rule,
    """Create a rule that creates an agent when a subject sends its first token. It works only while `agentProvisioning`
    of the organization is true.
    """,
)
RULES.add_list_route("provisioning/list_rules", "List the provisioning rules, oldest first.")
RULES.add_get_route("provisioning/list_rules", "Return one provisioning rule.")
RULES.add_delete_route(
    "Delete a provisioning rule. The rule creates no further agent. The agents that it created stay."
)


def create_agent_at_first_sight(
    database: OrganizationDatabase, settings: Settings, rule: Any, claims: dict[str, Any]
) -> UUID:
    """Create an agent for a token's subject, by the provisioning rule that has accepted the token.

    :param rule: the rule's row.
    :param claims: the verified claims of the token.
    :returns: the id of the new agent, or of the agent that a concurrent request has created.
    :raises first_sight.ProvisioningRefused: the agent cannot be created.
    """
    rule_trust = json.loads(rule.trust)
    issuer, subject = rule_trust["issuer"], claims["sub"]
    plain_name = build_agent_name(rule.agent_template["name"], claims)
    if plain_name is None:
        raise first_sight.ProvisioningRefused(first_sight.NOT_CREATED)
    try:
        agent_trust = narrow_to_subject(
            rule_trust, subject, own_issuer=settings.issuer, organization_id=database.organization_id
        )
    except RuleRefused:
        raise first_sight.ProvisioningRefused(first_sight.NOT_CREATED) from None
    # The second name, with a suffix, is used if another agent has the first name.
    for agent_name in (plain_name, add_subject_suffix(plain_name, issuer, subject)):
        try:
            return _create_agent_by_rule(database, rule, agent_trust, name=agent_name, max_agents=settings.max_agents)
        except (Conflict, ValidationError):
            continue
    raise first_sight.ProvisioningRefused(first_sight.NOT_CREATED)


def _create_agent_by_rule(
    database: OrganizationDatabase, rule: Any, trust: dict[str, Any], *, name: str, max_agents: int
) -> UUID:
    subject_digest = subject_selector(trust["issuer"], trust["subject"])
    with database.transaction(request_actor("system", "agentidp")) as transaction:
        # The lock keeps a concurrent request from adding an agent for the subject or exceeding a maximum.
        transaction.fetch("organizations/lock_organization")
        if existing_agent_id := _find_agent_of_subject(transaction, rule, trust["issuer"], subject_digest):
            return existing_agent_id
        _refuse_too_many_agents(transaction, rule, max_agents)
        agent_template = rule.agent_template
        provisioned_subject = {"rule": rule.name, "issuer": trust["issuer"], "subject": trust["subject"]}
        agent_row = add_agent(
            transaction,
            name=name,
            owner=agent_template["owner"],
            scopes=agent_template["scopes"],
            max_agents=max_agents,
            provisioned=provisioned_subject | {"expiresAfterDays": agent_template["expiresAfterDays"]},
            provisioned_selector=subject_digest,
        )
        add_credential(transaction, agent_row.agent_id, expires_at=None, label="first sight", rule=trust)
        # No lock of the quotas is needed, because other transactions cannot see the new agent yet.
        quotas.replace_quotas(transaction, agent_row.agent_id, agent_template["quotas"])
    AGENTS_PROVISIONED.inc()
    log_fields = {"organization": database.organization_id, "agent": str(agent_row.agent_id), "rule": rule.name}
    logger.info("agent created at first sight", extra={"fields": log_fields})
    agent_id: UUID = agent_row.agent_id
    return agent_id


def _find_agent_of_subject(transaction: Transaction, rule: Any, issuer: str, subject_digest: bytes) -> UUID | None:
    """Return the id of the agent that the subject already has, or ``None``. Refuse a rule that is switched off."""
    statement_parameters = {"issuers": [issuer], "selectors": [subject_digest], "max_characters": MAX_CHARACTERS}
    for rule_row in transaction.fetch("oauth/provisioning_rules", **statement_parameters):
        if rule_row.provisioning_rule_id == rule.provisioning_rule_id and (
            rule_row.agent_id is not None or rule_row.is_on
        ):
            agent_id: UUID | None = rule_row.agent_id
            return agent_id
    raise first_sight.ProvisioningRefused(first_sight.SWITCHED_OFF)


def _refuse_too_many_agents(transaction: Transaction, rule: Any, max_agents: int) -> None:
    if transaction.fetch("provisioning/count_agents", name=rule.name)[0].count >= rule.max_agents:
        raise first_sight.ProvisioningRefused(first_sight.RULE_FULL)
    if transaction.fetch("agents/count_agents")[0].count >= max_agents:
        raise first_sight.ProvisioningRefused(first_sight.AGENTS_FULL)


def delete_expired_agents(database: OrganizationDatabase) -> list[UUID]:
    """Delete agents that have requested no token for the days in their provisioning rule, and return their ids."""
    if not database.fetch("provisioning/expired_agents", max_rows=1):
        return []
    with database.transaction() as transaction:
        # The lock keeps an agent from getting a token while it is deleted.
        quotas.lock(transaction)
        agent_rows = transaction.fetch("provisioning/expired_agents", max_rows=MAX_EXPIRED)
        for agent_row in agent_rows:
            event_details = {"lastSeenAt": agent_row.last_seen_at, "expiresAfterDays": agent_row.expires_after_days}
            remove_agent(transaction, agent_row.agent_id, **event_details)
            transaction.fetch("provisioning/forget_subject", agent_id=agent_row.agent_id)
    return [agent_row.agent_id for agent_row in agent_rows]
