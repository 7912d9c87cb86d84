"""``/api/v1/provisioning-rules``: rules that create agents at first sight, for subjects of other issuers.

A provisioning rule is a rule of trust of the organization, with a template for the agents that it creates. A new agent
gets its own rule of trust for exactly its subject, and is then an agent like any other.
``agentidp/oauth/first_sight.py`` finds the rule that accepts a token.
"""

from __future__ import annotations

import json
import logging
import uuid
from typing import Any
from uuid import UUID

import marshmallow as ma
import psycopg
from flask import Flask, Response

from agentidp import audit
from agentidp.caller import Caller, bearer
from agentidp.config import Settings
from agentidp.db.organization import OrganizationDatabase, Transaction
from agentidp.db.sql import Rows
from agentidp.federation.agent_name import MAX_NAME_TEMPLATE, name_from, other_name
from agentidp.federation.issuer_tokens import MAX_CHARACTERS
from agentidp.federation.rule import subject_selector
from agentidp.federation.rule_checks import RuleRefused, check_provisioning_rule, narrow_to_subject, warnings
from agentidp.http.errors import Conflict, ValidationError, existing
from agentidp.http.openapi import Blueprint
from agentidp.http.request_context import request_actor
from agentidp.http.responses import json_response
from agentidp.http.schemas import (
    MAX_NAME,
    MAX_OWNER,
    Group,
    Instant,
    Member,
    Number,
    ReturnedSchema,
    ScopeList,
    Text,
    list_of,
    number,
    read_only,
)
from agentidp.metrics import AGENTS_PROVISIONED
from agentidp.oauth import first_sight
from agentidp.oauth.quota_windows import WINDOWS
from agentidp.registry import quotas
from agentidp.registry.agents import OWNER, add_agent, refuse_unknown_scopes, remove_agent
from agentidp.registry.credentials import RuleSchema, add_credential, trusted
from agentidp.scopes import SCOPES

blueprint = Blueprint("provisioning-rules", __name__, description="Rules that create agents at first sight")

MAX_RULES = 20
"""Maximum number of provisioning rules of an organization."""

MIN_AGENTS, MAX_AGENTS, DEFAULT_AGENTS = 1, 10_000, 100
"""Minimum, maximum and default of the number of agents that a rule may have at a time."""

MIN_EXPIRY, MAX_EXPIRY = 1, 3650
"""Minimum and maximum number of days without a token request after which an agent expires."""

MAX_EXPIRED = 100
"""Maximum number of agents that one transaction deletes. The organization gets no token until the transaction ends."""

_SUBJECT = "{sub}"
FORBIDDEN = {scope for scope in SCOPES if scope.endswith(":write")}
"""Scopes that no agent gets at first sight."""

logger = logging.getLogger("agentidp")


class Quotas(Member, ma.fields.Nested):
    """The quotas of a new agent. Commands take a line per window; the form has a field per window."""

    kind = "items"
    typed_as = "The quota of each agent in an hour, a day or a month, such as day=1000"

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(nested=quotas.QuotasSchema, **kwargs)

    def from_typed(self, typed: Any) -> Any:
        """Return the enforced quotas by their windows."""
        quota_of = {}
        for text in typed:
            window, _, tokens = text.partition("=")
            if window not in WINDOWS or isinstance(number(tokens), str):
                raise ma.ValidationError(f"must be WINDOW=TOKENS, and the window one of {', '.join(WINDOWS)}")
            quota_of[window] = {"tokens": number(tokens), "enforce": True}
        return quota_of


class AgentTemplateSchema(ma.Schema):
    """The members of the agents that a rule creates."""

    name = Text(
        1,
        MAX_NAME_TEMPLATE,
        load_default=_SUBJECT,
        words="name of an agent",
        option="--agent-name",
        typed_name="agentName",
        metavar="TEMPLATE",
        description="Its name, in which `{claim}` stands for a claim of the token. Default: the subject",
    )
    owner = Text(0, MAX_OWNER, load_default="", description=OWNER)
    scopes = ScopeList(load_default=list, description="What its tokens may do: nothing that changes anything here")
    quotas = Quotas(
        load_default=dict,
        option="--quota",
        metavar="WINDOW=TOKENS",
        description="Its quotas by window, as the API sets them",
    )
    expiresAfterDays = Number(
        MIN_EXPIRY,
        MAX_EXPIRY,
        allow_none=True,
        load_default=None,
        words="days until it expires",
        option="--expires-after",
        description="Days without a token request after which it is deleted",
        nothing="never",
    )

    @ma.validates("scopes")
    def must_change_nothing(self, scopes: list[str], data_key: str) -> None:
        """Refuse scopes for changes, so that nobody becomes an administrator by starting a workload."""
        if not FORBIDDEN.isdisjoint(scopes):
            raise ma.ValidationError(f"must not contain {', '.join(sorted(FORBIDDEN))}: give it to the agent itself")


class ProvisioningRuleFields(ma.Schema):
    provisioningRuleId = ma.fields.UUID(attribute="provisioning_rule_id", dump_only=True)
    name = Text(1, MAX_NAME, required=True, description="The rule's name. The rule counts its agents by this name")
    trust = Group(
        RuleSchema, required=True, description="Whose tokens. The audience contains the id of the organization"
    )
    agentTemplate = Group(
        AgentTemplateSchema,
        attribute="agent_template",
        load_default=lambda: AgentTemplateSchema().load({}),
        description="What an agent that the rule creates is given",
    )
    maxAgents = Number(
        MIN_AGENTS,
        MAX_AGENTS,
        attribute="max_agents",
        load_default=DEFAULT_AGENTS,
        words="maximum of agents",
        option="--max-agents",
        description="How many agents of the rule there may be at a time",
    )
    agents = ma.fields.Integer(
        dump_only=True,
        validate=ma.validate.Range(0),
        metadata={"description": "How many there are that it, or one of its name before it, has created"},
    )
    createdAt = Instant(attribute="created_at", dump_only=True)
    warnings = ma.fields.List(ma.fields.String(), dump_only=True, metadata={"description": "By what names it is met"})


class NewProvisioningRuleSchema(ProvisioningRuleFields):
    class Meta:
        exclude = read_only(ProvisioningRuleFields)


class ProvisioningRuleSchema(ReturnedSchema, ProvisioningRuleFields):
    """A provisioning rule. It never changes."""


recorded = ProvisioningRuleSchema(only=list(NewProvisioningRuleSchema().fields)).as_json
"""Return the members of a rule in the audit trail and in a file."""
_returned = ProvisioningRuleSchema(exclude=["warnings"]).as_json


@blueprint.route("/api/v1/provisioning-rules", methods=["POST"])
@bearer("agents:write")
@blueprint.arguments(NewProvisioningRuleSchema)
@blueprint.response(201, ProvisioningRuleSchema, headers={"Location": "Location"})
@blueprint.alt_response(409, "CONFLICT")
def create_provisioning_rule(caller: Caller, new: dict[str, Any]) -> Response:
    """Create a rule that creates agents at first sight. `agentProvisioning` of the organization switches all rules."""
    with caller.transaction() as opened:
        row = add_rule(opened, caller.settings, new)
    body = represent(row)
    return json_response(body, 201, {"Location": f"/api/v1/provisioning-rules/{body['provisioningRuleId']}"})


@blueprint.route("/api/v1/provisioning-rules")
@bearer("agents:read")
@blueprint.response(200, list_of(ProvisioningRuleSchema))
def list_provisioning_rules(caller: Caller) -> Response:
    """List the provisioning rules, oldest first."""
    return json_response({"data": [represent(row) for row in caller.read("provisioning/list_rules")]})


@blueprint.route("/api/v1/provisioning-rules/<uuid:provisioning_rule_id>")
@bearer("agents:read")
@blueprint.response(200, ProvisioningRuleSchema)
def get_provisioning_rule(caller: Caller, provisioning_rule_id: UUID) -> Response:
    """Return one provisioning rule."""
    return json_response(represent(rule_with(caller.read("provisioning/list_rules"), provisioning_rule_id)))


@blueprint.route("/api/v1/provisioning-rules/<uuid:provisioning_rule_id>", methods=["DELETE"])
@bearer("agents:write")
@blueprint.response(204)
def delete_provisioning_rule(caller: Caller, provisioning_rule_id: UUID) -> Response:
    """Delete a provisioning rule. It creates no further agent; those that it has created stay."""
    with caller.transaction() as opened:
        remove_rule(opened, provisioning_rule_id)
    return Response(status=204)


def init_app(app: Flask) -> None:
    """Let the token endpoint create agents."""
    app.extensions[first_sight.PROVISION] = provision


def add_rule(opened: Transaction, settings: Settings, new: dict[str, Any]) -> Any:
    """Create a provisioning rule.

    :param new: members that :class:`NewProvisioningRuleSchema` loads.
    :returns: the row of the rule.
    :raises ValidationError: the rule is refused.
    :raises Conflict: another rule has the name, or the organization has the maximum number of rules.
    """
    trust = trusted(new["trust"], settings, opened.organization_id, check=check_provisioning_rule, within="trust")
    template = new["agent_template"]
    try:
        refuse_unknown_scopes(opened, template["scopes"])
    except ValidationError as refused:
        raise ValidationError(
            details={"agentTemplate": [f"scopes {rule}" for rule in refused.details["scopes"]]}
        ) from None
    opened.fetch("organizations/lock_organization")
    try:
        rows = opened.fetch(
            "provisioning/add_rule",
            provisioning_rule_id=uuid.uuid4(),
            most=MAX_RULES,
            **new | {"trust": json.dumps(trust), "agent_template": json.dumps(AgentTemplateSchema().dump(template))},
        )
    except psycopg.errors.UniqueViolation:
        raise Conflict("Another provisioning rule has this name.", details={"name": ["is taken"]}) from None
    if not rows:
        raise Conflict(f"The organization has {MAX_RULES} provisioning rules; delete one first.")
    [row] = rows
    audit.record(opened, "provisioning_rule.created", row.provisioning_rule_id, after=recorded(row))
    return rule_with(opened.fetch("provisioning/list_rules"), row.provisioning_rule_id)


def rule_with(rows: Rows, provisioning_rule_id: UUID) -> Any:
    """Return the row of ``provisioning/list_rules`` with an id, or raise ``NotFound``."""
    return existing([row for row in rows if row.provisioning_rule_id == provisioning_rule_id])


def remove_rule(opened: Transaction, provisioning_rule_id: UUID) -> None:
    """Delete a provisioning rule, whose agents stay, or raise ``NotFound``."""
    row = existing(opened.fetch("provisioning/delete_rule", provisioning_rule_id=provisioning_rule_id))
    audit.record(opened, "provisioning_rule.deleted", provisioning_rule_id, before=recorded(row))


def provision(database: OrganizationDatabase, settings: Settings, rule: Any, claims: dict[str, Any]) -> UUID:
    """Create the agent of a subject whose token a rule has accepted.

    :param rule: the row of the rule.
    :param claims: the claims of the token, whose signature and times are verified.
    :returns: the id of the agent, which another request may have created meanwhile.
    :raises first_sight.ProvisioningRefused: no agent is created.
    """
    accepting = json.loads(rule.trust)
    issuer, subject = accepting["issuer"], claims["sub"]
    name = name_from(rule.agent_template["name"], claims)
    if name is None:
        raise first_sight.ProvisioningRefused(first_sight.NOT_CREATED)
    try:
        trust = narrow_to_subject(
            accepting, subject, own_issuer=settings.issuer, organization_id=database.organization_id
        )
    except RuleRefused:
        raise first_sight.ProvisioningRefused(first_sight.NOT_CREATED) from None
    # Another agent may have the first name.
    for possible_name in (name, other_name(name, issuer, subject)):
        try:
            return _provision(database, rule, trust, name=possible_name, max_agents=settings.max_agents)
        except (Conflict, ValidationError):
            continue
    raise first_sight.ProvisioningRefused(first_sight.NOT_CREATED)


def _provision(database: OrganizationDatabase, rule: Any, trust: dict[str, Any], *, name: str, max_agents: int) -> UUID:
    selector = subject_selector(trust["issuer"], trust["subject"])
    with database.transaction(request_actor("system", "agentidp")) as opened:
        # The lock lets a subject get one agent only, and keeps the maximums.
        opened.fetch("organizations/lock_organization")
        rows = opened.fetch(
            "oauth/provisioning_rules",
            issuers=[trust["issuer"]],
            selectors=[selector],
            max_characters=MAX_CHARACTERS,
        )
        now = next((row for row in rows if row.provisioning_rule_id == rule.provisioning_rule_id), None)
        if now is not None and now.agent_id is not None:
            existing_id: UUID = now.agent_id
            return existing_id
        if now is None or not now.is_on:
            raise first_sight.ProvisioningRefused(first_sight.SWITCHED_OFF)
        if opened.fetch("provisioning/count_agents", name=rule.name)[0].count >= rule.max_agents:
            raise first_sight.ProvisioningRefused(first_sight.RULE_FULL)
        if opened.fetch("agents/count_agents")[0].count >= max_agents:
            raise first_sight.ProvisioningRefused(first_sight.AGENTS_FULL)
        template = rule.agent_template
        provisioned = {"rule": rule.name, "issuer": trust["issuer"], "subject": trust["subject"]}
        agent = add_agent(
            opened,
            name=name,
            owner=template["owner"],
            scopes=template["scopes"],
            most=max_agents,
            provisioned=provisioned | {"expiresAfterDays": template["expiresAfterDays"]},
            provisioned_selector=selector,
        )
        add_credential(opened, agent.agent_id, expires_at=None, label="first sight", rule=trust)
        # No other transaction sees the agent yet, so the quotas need no lock.
        quotas.replace_quotas(opened, agent.agent_id, template["quotas"])
    AGENTS_PROVISIONED.inc()
    fields = {"organization": database.organization_id, "agent": str(agent.agent_id), "rule": rule.name}
    logger.info("agent created at first sight", extra={"fields": fields})
    agent_id: UUID = agent.agent_id
    return agent_id


def expire(database: OrganizationDatabase) -> list[UUID]:
    """Delete the agents that have requested no token for the number of days in their rule, and return their ids.

    Their subjects get new agents at their next token.
    """
    if not database.fetch("provisioning/expired_agents", most=1):
        return []
    with database.transaction() as opened:
        # No agent may be deleted while it gets a token.
        quotas.lock(opened)
        rows = opened.fetch("provisioning/expired_agents", most=MAX_EXPIRED)
        for row in rows:
            reason = {"lastSeenAt": row.last_seen_at, "expiresAfterDays": row.expires_after_days}
            remove_agent(opened, row.agent_id, reason=reason)
            opened.fetch("provisioning/forget_subject", agent_id=row.agent_id)
    return [row.agent_id for row in rows]


def represent(row: Any) -> dict[str, Any]:
    """Return a row of ``provisioning/list_rules`` as our JSON."""
    return _returned(row) | {"warnings": warnings(row.trust)}
