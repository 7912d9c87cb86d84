"""Applies a file to the database, in one transaction of the operator, and exports organizations as a file."""

from __future__ import annotations

import contextlib
import copy
import json
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from operator import itemgetter
from typing import Any
from uuid import UUID

import marshmallow as ma
import psycopg

from agentidp.actor import find_operator
from agentidp.alerts import targets
from agentidp.alerts.target_fields import AlertTargetChangeSchema, NewAlertTargetSchema
from agentidp.alerts.target_secrets import TargetSealer
from agentidp.config import ConfigurationError, Settings
from agentidp.config.values import read_secret
from agentidp.db.citus import enter_organization
from agentidp.db.database import connect
from agentidp.db.organization import Transaction, operator_transaction
from agentidp.db.sql import run_statement
from agentidp.declarative.document import DeclaredOrganization, Path
from agentidp.declarative.plan import (
    ORGANIZATION,
    Change,
    Plan,
    fill_omissions,
    list_changes,
    list_conflicts,
    list_omissions,
    resolve_ids,
    select_members,
    to_json,
)
from agentidp.declarative.schemas import (
    AGENT,
    ALERT_TARGET,
    DELEGATION_RULE,
    KINDS,
    OPENID_PROVIDER,
    ORGANIZATION_MEMBERS,
    PROVISIONING_RULE,
    RESOURCE_SERVER,
)
from agentidp.federation.rule_checks import check_delegation_rule, check_provisioning_rule, check_rule
from agentidp.http.errors import ApiError, NotFound, ValidationError
from agentidp.jose.sealing import Unreadable
from agentidp.registry import (
    agents,
    credentials,
    delegation_rules,
    openid_providers,
    organizations,
    provisioning,
    quotas,
    resource_servers,
)

LOCK = 0x_A9E7_DEC1
"""Key of the advisory lock that a command holds while it applies a file, so that two commands do not create the same
organization."""

NEW_AGENTS = "The new agents have no credential yet. These commands create their credentials:"
NEW_WEBHOOKS = "The new webhooks sign their messages. These commands print the keys:"

_ADVICE = "Run the command again: it prints the new plan first."


@dataclass(frozen=True)
class ApplyResult:
    """The changes that a file makes. With a dry run, they were rolled back.

    :param next_commands: by heading, the commands that the user needs for new agents and webhooks.
    """

    plans: list[Plan] = field(default_factory=list)
    next_commands: dict[str, list[str]] = field(default_factory=dict)

    @property
    def changes(self) -> list[Change]:
        """The changes of all plans, in the order in which they were made."""
        return [change for plan in self.plans for change in plan.changes]

    def add_next_command(self, heading: str, command: str, change: Change) -> None:
        """Add a command that the user must run because of a change, such as a new agent, below a heading."""
        comment = f"# {to_json(change.name)} of {to_json(change.organization)}"
        self.next_commands.setdefault(heading, []).append(f"agentidp {command}  {comment}")


def apply_file(
    settings: Settings,
    declared: list[DeclaredOrganization],
    at: datetime,
    *,
    is_pruning: bool = False,
    is_strict: bool = False,
    is_dry_run: bool = False,
    agreed_plans: list[Plan] | None = None,
) -> ApplyResult:
    """Apply a whole file, or nothing if a part of the file is refused.

    :param is_pruning: also delete objects that are missing from a list in the file.
    :param is_strict: set omitted members to their defaults, and delete all objects that the file does not contain.
    :param is_dry_run: make all changes, so that the database checks them, and roll them back.
    :param agreed_plans: the plans for the same file that a person has confirmed, or None.
    :raises ConfigurationError: the file is refused, or the plans are no longer those that the person has confirmed.
        Nothing was changed.
    """
    apply_result, transactions = ApplyResult(), []
    with connect(str(settings.database_url)) as connection, connection.transaction():
        run_statement(connection, "database/lock_transaction", key=LOCK)
        organization_rows = run_statement(connection, "organizations/all_organizations")
        existing_ids = resolve_ids(declared, list(map(organizations.represent, organization_rows)))
        # A new organization keeps the id in the agreed plan, because audiences of its rules may contain the id.
        new_ids = [plan.organization_id for plan in agreed_plans or []] or [
            organizations.generate_organization_id() for _ in declared
        ]
        for organization, existing_id, new_id in zip(declared, existing_ids, new_ids, strict=True):
            transaction = Transaction(connection, existing_id or new_id, at, find_operator())
            enter_organization(connection, transaction.organization_id, durable=True)
            current_content = read_current_content(transaction) if existing_id else None
            plan = _plan_changes(
                organization, transaction, settings, current_content, is_pruning=is_pruning, is_strict=is_strict
            )
            apply_result.plans.append(plan)
            transactions.append(transaction)
        if agreed_plans is not None:
            _refuse_conflicts(agreed_plans, apply_result.plans)
        # This loop blocks token requests of organizations whose quotas change, so all reading was done before the loop.
        for organization, transaction, plan in zip(declared, transactions, apply_result.plans, strict=True):
            enter_organization(connection, transaction.organization_id, durable=True)
            if any("quotas" in change.after for change in plan.changes) and not is_dry_run:
                # Quotas are locked before rows, because token requests that wait for rows would block quotas.lock().
                quotas.lock(transaction)
            _make_changes(organization, transaction, settings, plan.changes, apply_result)
        if is_dry_run:
            raise psycopg.Rollback
        # Audit events are written last, because they block other writers of audit events until the commit.
        for transaction in transactions:
            enter_organization(connection, transaction.organization_id, durable=True)
            transaction.write_before_commit()
    return apply_result


def _refuse_conflicts(agreed_plans: list[Plan], new_plans: list[Plan]) -> None:
    if conflicting_changes := list_conflicts(agreed_plans, new_plans):
        conflict_lines = "".join(f"  {conflicting_change}\n" for conflicting_change in conflicting_changes)
        refusal_sentence = "nothing was applied, because others have changed this since the plan was printed"
        raise ConfigurationError(f"{refusal_sentence}:\n{conflict_lines}{_ADVICE}")


def _plan_changes(
    declared: DeclaredOrganization,
    transaction: Transaction,
    settings: Settings,
    current: dict[str, Any] | None,
    *,
    is_pruning: bool,
    is_strict: bool,
) -> Plan:
    """Return the plan that makes an organization match a file. *current* is None if the organization is new."""
    content = _check_rules_of_trust(declared, settings, transaction.organization_id)
    _copy_unchanged_addresses(declared, transaction, settings, current)
    all_changes = list_changes(fill_omissions(content), current, is_pruning=True)
    planned_changes = all_changes if is_strict else list_changes(content, current, is_pruning=is_pruning)
    _refuse_deleted_agents(declared, planned_changes)
    omissions = [] if current is None else list_omissions(planned_changes, all_changes)
    return Plan(transaction.organization_id, planned_changes, omissions)


def _make_changes(
    declared: DeclaredOrganization,
    transaction: Transaction,
    settings: Settings,
    changes: list[Change],
    result: ApplyResult,
) -> None:
    # The organization is locked before its provider, because the answer to a consent page locks both in this order.
    transaction.fetch("organizations/lock_organization")
    for change in changes:
        with _name_place_in_errors(declared, change.path, change):
            _CHANGE_FUNCTIONS[change.type](transaction, settings, change, result)
    # An agent that runs a resource server needs this server's scopes, which exist only after the server is created. So
    # the agent of a resource server is set last.
    for change in changes:
        must_set_agent = "agent" in change.after and (change.action == "change" or change.after["agent"])
        if change.type == RESOURCE_SERVER.type and must_set_agent:
            with _name_place_in_errors(declared, change.path, change):
                _set_agent_of_server(transaction, settings, change)


def export_organizations(database_url: str, organization_ids: Iterable[str], at: datetime) -> list[dict[str, Any]]:
    """Return the content of a file that describes existing organizations, sorted by name.

    An organization's id is included only if another organization has the same name.
    """
    exported_organizations = []
    with connect(database_url) as connection:
        organization_rows = run_statement(connection, "organizations/all_organizations")
        organization_names = [organization_row.name for organization_row in organization_rows]
        for organization_id in organization_ids:
            with operator_transaction(connection, organization_id, at) as transaction:
                current_content = read_current_content(transaction)
            is_ambiguous = organization_names.count(current_content["name"]) > 1
            exported_organization: dict[str, Any] = {"organizationId": organization_id} if is_ambiguous else {}
            exported_organization |= select_members(current_content, ORGANIZATION_MEMBERS)
            for kind in KINDS:
                # The file omits agents of provisioning rules, because their next token request creates them again. The
                # file omits delegation rules whose agents are all deleted, because nobody can use these rules.
                exported_objects = [
                    select_members(members, (kind.key, *kind.members))
                    for members in current_content[kind.section]
                    if not members.get("provisioned") and members.get("agents") != []
                ]
                exported_organization[kind.section] = sorted(exported_objects, key=itemgetter(kind.key))
            exported_organizations.append(exported_organization)
    return sorted(exported_organizations, key=lambda members: (members["name"], members.get("organizationId", "")))


def read_current_content(transaction: Transaction) -> dict[str, Any]:
    """Return the organization of a transaction, including its agents and other objects, as JSON of the API."""
    [organization_row] = transaction.fetch("organizations/get_organization")
    agent_rows = transaction.fetch(
        "agents/list_agents", after_at=None, after_id=None, name=None, owner=None, limit=None
    )
    agent_names_by_id = {agent.agent_id: agent.name for agent in agent_rows}
    server_rows = transaction.fetch("oauth/list_resource_servers")
    quotas_by_agent: dict[UUID | None, dict[str, Any]] = {}
    for quota in transaction.fetch("quotas/list_quotas"):
        quotas_by_agent.setdefault(quota.agent_id, {})[quota.quota_window] = quotas.represent_settings(quota)
    rules_by_agent: dict[UUID, list[dict[str, Any]]] = {}
    for rule_row in transaction.fetch("oauth/list_rules_of_trust", agent_id=None):
        rules_by_agent.setdefault(rule_row.agent_id, []).append(rule_row.trust)
    for agent_rules in rules_by_agent.values():
        agent_rules.sort(key=partial(json.dumps, sort_keys=True))
    return organizations.represent(organization_row) | {
        "quotas": quotas_by_agent.get(None, {}),
        "agents": [
            agents.represent(agent)
            | {"quotas": quotas_by_agent.get(agent.agent_id, {}), "trust": rules_by_agent.get(agent.agent_id, [])}
            for agent in agent_rows
        ],
        "provisioningRules": [
            provisioning.represent(rule_row) for rule_row in transaction.fetch("provisioning/list_rules")
        ],
        # rule_row.agents contains the names of the rule's agents that are not deleted.
        "delegationRules": [
            delegation_rules.represent(rule_row) | {"agents": rule_row.agents}
            for rule_row in transaction.fetch("delegation/list_rules")
        ],
        "resourceServers": [
            resource_servers.represent(server_row) | {"agent": agent_names_by_id.get(server_row.agent_id)}
            for server_row in server_rows
        ],
        # The address of a target is secret, so the file names an environment variable instead.
        "alertTargets": [
            targets.represent(target_row) | {"url": f"$ALERT_URL_{target_row.target_id.hex.upper()}"}
            for target_row in transaction.fetch("alerts/list_targets")
        ],
        "openidProviders": list(map(openid_providers.represent, transaction.fetch("openid/get_provider"))),
    }


def _check_rules_of_trust(declared: DeclaredOrganization, settings: Settings, organization_id: str) -> dict[str, Any]:
    """Check the rules of trust in a file, and return the file's content with the rules in the form that is stored."""

    def check_at_place(trust: dict[str, Any], check: Callable[..., Any], *path: str | int) -> dict[str, Any]:
        with _name_place_in_errors(declared, path):
            return credentials.check_trust(trust, settings, organization_id, check=check)

    content = copy.deepcopy(declared.content)
    for section, check in (
        ("provisioningRules", check_provisioning_rule),
        ("delegationRules", check_delegation_rule),
    ):
        for rule_index, rule in enumerate(content.get(section, [])):
            rule["trust"] = check_at_place(rule["trust"], check, section, rule_index, "trust")
            if "agentTemplate" in rule:
                # Members that the file omits get their defaults, because stored templates have all members.
                template_schema = provisioning.AgentTemplateSchema()
                rule["agentTemplate"] = template_schema.dump(template_schema.load(rule["agentTemplate"]))
    for agent_index, agent in enumerate(content.get("agents", [])):
        for trust_index, trust in enumerate(agent.get("trust", [])):
            agent["trust"][trust_index] = check_at_place(trust, check_rule, "agents", agent_index, "trust", trust_index)
    return content


def _copy_unchanged_addresses(
    declared: DeclaredOrganization, transaction: Transaction, settings: Settings, current: dict[str, Any] | None
) -> None:
    """Set the ``url`` of each target in *current* to the file's ``url``, unless the file changes the target's address.

    The address does not change if the variable that the file names is not set.

    :raises ConfigurationError: a new target has no address.
    """
    targets_by_name = {target["name"]: target for target in (current or {}).get(ALERT_TARGET.section, [])}
    problems = []
    for target_index, declared_target in enumerate(declared.content.get(ALERT_TARGET.section, [])):
        declared_url, existing_target = declared_target.get("url"), targets_by_name.get(declared_target["name"])
        target_url = _read_target_url(declared_url) if declared_url else None
        if existing_target is None and target_url is None:
            place = declared.describe_place(ALERT_TARGET.section, target_index, "url")
            variable = (declared_url or "$").removeprefix("$")
            advice = f"set {variable} or {variable}_FILE" if variable else "name a variable, such as $ON_CALL_URL"
            problems.append(f"{place}: a new alert target needs an address: {advice}")
        elif existing_target is not None and declared_url:
            stored_url = _read_stored_url(transaction, settings, UUID(existing_target["targetId"]))
            existing_target["url"] = (
                declared_url if target_url in (None, stored_url) else existing_target["destination"]
            )
    if problems:
        raise ConfigurationError("\n".join(problems))


def _read_stored_url(transaction: Transaction, settings: Settings, target_id: UUID) -> str | None:
    [target_row] = transaction.fetch("alerts/get_target", target_id=target_id)
    try:
        return TargetSealer(settings).open(target_id, bytes(target_row.sealed)).url
    except Unreadable:
        return None


def _read_target_url(declared_url: str) -> str | None:
    """Return the address for the text ``$NAME``: the variable's value, or the content of the file in ``NAME_FILE``."""
    variable_name = declared_url.removeprefix("$")
    return read_secret(os.environ, variable_name, f"{variable_name}_FILE")[1]


def _refuse_deleted_agents(declared: DeclaredOrganization, changes: list[Change]) -> None:
    """Refuse a file whose resource servers or delegation rules name an agent that the file deletes."""
    deleted_names = {change.name for change in changes if (change.action, change.type) == ("delete", AGENT.type)}
    for section, member_name in ((RESOURCE_SERVER.section, "agent"), (DELEGATION_RULE.section, "agents")):
        for index, declared_object in enumerate(declared.content.get(section, [])):
            agent_names = declared_object.get(member_name) or []
            refused_names = deleted_names.intersection([agent_names] if isinstance(agent_names, str) else agent_names)
            if refused_names:
                raise ConfigurationError(
                    f"{declared.describe_place(section, index, member_name)}: names the agent {min(refused_names)!r}, "
                    "which would be deleted because agents does not name it\n"
                    "Add the agent to agents, or remove its name here."
                )


@contextlib.contextmanager
def _name_place_in_errors(declared: DeclaredOrganization, path: Path, change: Change | None = None) -> Iterator[None]:
    """Replace an error in the block by an error with the place in the file, one line per member that breaks a rule."""
    try:
        yield
    except NotFound:
        raise ConfigurationError(f"{declared.describe_place(*path)}: {change} no longer exists\n{_ADVICE}") from None
    except (ApiError, ma.ValidationError) as error:
        rules_by_member = error.details if isinstance(error, ApiError) else error.messages_dict
        problem_lines = [
            f"{declared.describe_place(*path, member_name)}: {', '.join(broken_rules)}"
            for member_name, broken_rules in rules_by_member.items()
        ]
        raise ConfigurationError("\n".join(problem_lines) or f"{declared.describe_place(*path)}: {error}") from None


def _change_organization(transaction: Transaction, settings: Settings, change: Change, result: ApplyResult) -> None:
    if change.action == "create":
        organizations.insert_organization(transaction, name=change.name)
    changed_members = dict(change.after)
    if "quotas" in changed_members:
        quotas.replace_quotas(transaction, None, changed_members.pop("quotas"))
    status = changed_members.pop("status", None)
    loaded_values = organizations.OrganizationChangeSchema().load(changed_members) if changed_members else {}
    if status is not None:
        loaded_values["suspended_at"] = transaction.at if status == "suspended" else None
    if loaded_values:
        organizations.update_organization(transaction, loaded_values)


def _change_agent(transaction: Transaction, settings: Settings, change: Change, result: ApplyResult) -> None:
    if change.action == "delete":
        agents.remove_agent(transaction, UUID(change.id))
        return
    changed_members = dict(change.after)
    new_quotas, new_rules = changed_members.pop("quotas", None), changed_members.pop("trust", None)
    agent_id = UUID(change.id) if change.id else None
    if agent_id is None:
        schema = agents.NewAgentSchema()
        new_members = select_members(changed_members, schema.fields)
        agent_id = agents.add_agent(
            transaction, **schema.load({"name": change.name} | new_members), max_agents=settings.max_agents
        ).agent_id
        if not new_rules:
            result.add_next_command(NEW_AGENTS, f"credential create --agent {agent_id}", change)
        # Some members, such as the status, cannot be set when an agent is created, but can be changed afterwards.
        changed_members = {member: value for member, value in changed_members.items() if member not in new_members}
    if changed_members:
        agents.update_agent(transaction, agent_id, agents.AgentChangeSchema().load(changed_members))
    if new_quotas is not None:
        quotas.replace_quotas(transaction, agent_id, new_quotas)
    if new_rules is not None:
        credentials.replace_rules(transaction, agent_id, new_rules)


def _change_rule(transaction: Transaction, settings: Settings, change: Change, result: ApplyResult) -> None:
    """Delete the existing rule, and create the new rule. A change does both, because rules cannot be changed."""
    is_delegation = change.type == DELEGATION_RULE.type
    rule_registry: Any = delegation_rules if is_delegation else provisioning
    new_members = {"name": change.name} | change.after
    if change.id is not None:
        rule_rows = transaction.fetch("delegation/list_rules" if is_delegation else "provisioning/list_rules")
        rule_row = rule_registry.find_rule(rule_rows, UUID(change.id))
        delegation_members = {"agents": rule_row.agents} if is_delegation else {}
        new_members = rule_registry.represent_settings(rule_row) | delegation_members | change.after
        rule_registry.remove_rule(transaction, UUID(change.id))
    if change.action != "delete":
        if is_delegation:
            agent_names = new_members.pop("agents")
            new_members["agentIds"] = [_find_agent_id(transaction, "agents", agent_name) for agent_name in agent_names]
        schema = delegation_rules.NewDelegationRuleSchema if is_delegation else provisioning.NewProvisioningRuleSchema
        rule_registry.add_rule(transaction, settings, schema().load(new_members))


def _change_resource_server(transaction: Transaction, settings: Settings, change: Change, result: ApplyResult) -> None:
    changed_members = {member_name: value for member_name, value in change.after.items() if member_name != "agent"}
    if change.action == "create":
        new_members = resource_servers.NewResourceServerSchema().load({"resource": change.name} | changed_members)
        resource_servers.add_resource_server(transaction, settings, **new_members)
    elif change.action == "change":
        if changed_members:
            loaded_values = resource_servers.ResourceServerChangeSchema().load(changed_members)
            resource_servers.update_resource_server(transaction, settings, UUID(change.id), loaded_values)
    else:
        resource_servers.remove_resource_server(transaction, UUID(change.id))


def _change_openid_provider(transaction: Transaction, settings: Settings, change: Change, result: ApplyResult) -> None:
    if change.action == "create":
        new_provider = openid_providers.NewOpenidProviderSchema().load({"issuer": change.name} | change.after)
        openid_providers.add_provider(transaction, settings, **new_provider)
    elif change.action == "change":
        loaded_values = openid_providers.OpenidProviderChangeSchema().load(change.after)
        openid_providers.update_provider(transaction, settings, UUID(change.id), loaded_values)
    else:
        openid_providers.remove_provider(transaction, UUID(change.id))


def _set_agent_of_server(transaction: Transaction, settings: Settings, change: Change) -> None:
    agent_name = change.after["agent"]
    agent_id = None if agent_name is None else UUID(_find_agent_id(transaction, "agent", agent_name))
    server_rows = transaction.fetch("oauth/list_resource_servers")
    [server_row] = [server_row for server_row in server_rows if server_row.resource == change.name]
    resource_servers.update_resource_server(
        transaction, settings, server_row.resource_server_id, {"agent_id": agent_id}
    )


def _change_alert_target(transaction: Transaction, settings: Settings, change: Change, result: ApplyResult) -> None:
    if change.action == "delete":
        targets.remove_target(transaction, UUID(change.id))
        return
    changed_members = dict(change.after)
    if "url" in changed_members:
        changed_members["url"] = _read_target_url(changed_members["url"])
    if change.id is None:
        new_target = NewAlertTargetSchema().load({"name": change.name} | changed_members)
        target_row, signing_secret = targets.add_target(transaction, settings, new_target)
        if signing_secret is not None:
            command_arguments = f"{target_row.target_id} --organization {transaction.organization_id}"
            result.add_next_command(NEW_WEBHOOKS, f"alerts target key {command_arguments}", change)
    elif "type" in changed_members:
        raise ValidationError(details={"type": ["cannot be changed: give a target of another type another name"]})
    else:
        loaded_values = AlertTargetChangeSchema().load(changed_members)
        targets.update_target(transaction, settings, UUID(change.id), loaded_values)


def _find_agent_id(transaction: Transaction, member: str, name: str) -> str:
    rows = transaction.fetch("agents/agents_named", name=name, is_deleted=False)
    if not rows:
        raise ValidationError(details={member: [f"the organization has no agent {name!r}"]})
    return str(rows[0].agent_id)


_CHANGE_FUNCTIONS: dict[str, Callable[[Transaction, Settings, Change, ApplyResult], None]] = {
    ORGANIZATION: _change_organization,
    AGENT.type: _change_agent,
    PROVISIONING_RULE.type: _change_rule,
    DELEGATION_RULE.type: _change_rule,
    RESOURCE_SERVER.type: _change_resource_server,
    ALERT_TARGET.type: _change_alert_target,
    OPENID_PROVIDER.type: _change_openid_provider,
}
"""For each type of object, the function that creates, changes or deletes an object of this type."""
