"""``/api/v1/organization``: the organization itself, and its budget of tokens."""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

import marshmallow as ma
from flask import Response

from agentidp import audit
from agentidp.caller import Caller, bearer
from agentidp.config.oidc import ORGANIZATION_ID
from agentidp.db.database import Database, connect
from agentidp.db.organization import Transaction, operator_transaction
from agentidp.db.sql import run_statement
from agentidp.http import schemas
from agentidp.http.openapi import Blueprint
from agentidp.http.responses import json_response
from agentidp.registry.agents import add_agent
from agentidp.registry.credentials import add_credential
from agentidp.scopes import SCOPES

blueprint = Blueprint("organization", __name__, description="The organization and its budget")

MIN_BUDGET, MAX_BUDGET = 1, 1_000_000_000_000
"""Minimum and maximum budget of an organization, in tokens per calendar month."""

MIN_DORMANCY, MAX_DORMANCY = 30, 3650
"""Minimum and maximum of the setting ``suspendDormantAfterDays``, in days without a token."""


ADMINISTRATOR_NAME = "administrator"


class Administrator(NamedTuple):
    """The first agent of a new organization, with its client secret."""

    organization_id: str
    agent_id: UUID
    client_secret: str


class _Status(ma.fields.String):
    """A field for the organization's status: ``active`` if ``suspended_at`` is null, ``suspended`` if it is a time."""

    def _serialize(self, value: Any, attr: str | None, obj: Any, **kwargs: Any) -> str:
        return "active" if value is None else "suspended"


class OrganizationFields(ma.Schema):
    organizationId = ma.fields.String(attribute="organization_id", dump_only=True)
    name = schemas.Text(1, schemas.MAX_NAME, required=True)
    monthlyTokenBudget = schemas.Number(
        MIN_BUDGET,
        MAX_BUDGET,
        allow_none=True,
        attribute="monthly_token_budget",
        description="Tokens per UTC calendar month",
        nothing="no budget",
    )
    createdAt = schemas.Instant(attribute="created_at", dump_only=True)
    status: ma.fields.String = _Status(
        attribute="suspended_at", dump_only=True, validate=ma.validate.OneOf(["active", "suspended"])
    )
    suspendDormantAfterDays = schemas.Number(
        MIN_DORMANCY,
        MAX_DORMANCY,
        allow_none=True,
        attribute="suspend_dormant_after_days",
        words="number of days",
        description="Days without a token after which an active agent is suspended. A finding warns two weeks before",
        nothing="no agent is suspended",
    )
    agentProvisioning = schemas.Flag(attribute="provisions_agents", description="Whether rules create agents")


OrganizationChangeSchema = schemas.change_schema(OrganizationFields)
OrganizationSchema = schemas.returned_schema(OrganizationFields)

_CHANGEABLE = OrganizationChangeSchema()

represent = OrganizationSchema().as_json
_represent_settings = OrganizationSchema(only=["status", *_CHANGEABLE.fields]).as_json


@blueprint.route("/api/v1/organization")
@bearer("agents:read")
@blueprint.response(200, OrganizationSchema)
def get_organization(caller: Caller) -> Response:
    """Return the caller's organization."""
    [row] = caller.read("organizations/get_organization")
    return json_response(represent(row))


@blueprint.route("/api/v1/organization", methods=["PATCH"])
@bearer("agents:write")
@blueprint.arguments(OrganizationChangeSchema)
@blueprint.response(200, OrganizationSchema)
def change_organization(caller: Caller, change: dict[str, Any]) -> Response:
    """Rename the organization, set or remove its monthly budget of tokens, let dormant agents be suspended, or let
    provisioning rules create agents. Tokens beyond a budget are still issued.
    """
    with caller.transaction() as transaction:
        organization_row = update_organization(transaction, change)
    return json_response(represent(organization_row))


def add_organization(database_url: str, *, name: str, at: datetime) -> str:
    """Create an organization, and return its id.

    :param database_url: the database's URL with the operator's role.
    """
    organization_id = generate_organization_id()
    with connect(database_url) as connection, operator_transaction(connection, organization_id, at) as transaction:
        insert_organization(transaction, name=name)
    return organization_id


def add_administered_organization(database_url: str, *, name: str, at: datetime) -> Administrator:
    """Create an organization, an agent that has every scope of our own API, and a client secret for the agent.

    :param database_url: the database's URL with the operator's role.
    """
    organization_id = generate_organization_id()
    agent_members: dict[str, Any] = {"name": ADMINISTRATOR_NAME, "description": "Administers the organization."}
    with connect(database_url) as connection, operator_transaction(connection, organization_id, at) as transaction:
        insert_organization(transaction, name=name)
        agent_row = add_agent(transaction, scopes=list(SCOPES), max_agents=1, **agent_members)
        _, client_secret = add_credential(transaction, agent_row.agent_id, expires_at=None)
    assert client_secret is not None  # noqa: S101 - no keys were given
    return Administrator(organization_id, agent_row.agent_id, client_secret)


def generate_organization_id() -> str:
    """Return an id for a new organization."""
    return f"org-{uuid.uuid4()}"


def insert_organization(transaction: Transaction, *, name: str) -> None:
    """Create an organization with the id ``transaction.organization_id``, and audit its creation."""
    transaction.fetch("organizations/add_organization", name=name)
    audit.record(transaction, "organization.created", transaction.organization_id, after={"name": name})


def list_organizations(database_url: str) -> list[Any]:
    """Return the rows of all organizations, oldest first.

    :param database_url: the database's URL with the operator's role.
    """
    with connect(database_url) as connection:
        return run_statement(connection, "organizations/all_organizations")


def is_organization_id(text: str) -> bool:
    """Return whether a string has the form of an organization's id."""
    return ORGANIZATION_ID.fullmatch(text) is not None


def find_organization(database: Database, organization_id: str, at: datetime) -> Any | None:
    """Return the row of an organization, or ``None`` if no organization has the id. Accept any string as the id."""
    if not is_organization_id(organization_id):
        return None
    rows = database.of(organization_id, at).fetch("organizations/get_organization")
    return rows[0] if rows else None


def update_organization(transaction: Transaction, change: dict[str, Any]) -> Any:
    """Change an existing organization, and return its row.

    :param change: members that :class:`OrganizationChangeSchema` loads. An operator can add ``suspended_at``: a time
        suspends the organization, and ``None`` resumes it.
    """
    [earlier_row] = transaction.fetch("organizations/lock_organization")
    new_columns = schemas.merge_changed_columns(_CHANGEABLE, earlier_row, change)
    [new_row] = transaction.fetch("organizations/change_organization", **new_columns)
    if new_row.suspend_dormant_after_days != earlier_row.suspend_dormant_after_days:
        # All announced suspensions are withdrawn, because they depend on the earlier number of days.
        transaction.fetch("agents/withdraw_suspensions", agent_ids=[])
    if "suspended_at" in change:
        [new_row] = transaction.fetch("organizations/suspend_organization", suspended_at=change["suspended_at"])
    earlier_settings, new_settings = _represent_settings(earlier_row), _represent_settings(new_row)
    audit.record(
        transaction, "organization.changed", transaction.organization_id, before=earlier_settings, after=new_settings
    )
    return new_row
