"""Assigns each resource identifier to one organization. Only the owner gets tokens for the identifier (RFC 8707).

The SQL function ``resource_key()`` decides which spellings are the same identifier.
"""

from __future__ import annotations

from collections import defaultdict
from datetime import datetime
from typing import NamedTuple

import psycopg

from agentidp import audit
from agentidp.config import ConfigurationError, Settings
from agentidp.db.database import connect
from agentidp.db.organization import Transaction, operator_transaction
from agentidp.db.sql import run_statement
from agentidp.http.errors import Conflict
from agentidp.http.resource_identifier import is_audience, is_resource_identifier, owned_name
from agentidp.registry.resource_proof import verify_ownership

MAX_CLAIMS = 1000
"""Maximum number of identifiers that an organization owns, including those of deleted resource servers."""


class ResourceTaken(Conflict):
    """409: another organization owns the identifier, or the caller's organization has already registered it.

    The response does not tell the two cases apart, so it does not reveal which identifiers other organizations own.
    """

    message = "The resource is registered already."

    def __init__(self, member: str = "resource") -> None:
        super().__init__(details={member: ["is taken"]})


class ResourceIdentifier(NamedTuple):
    """A resource identifier in its normalized spelling.

    :param organization_id: the organization that owns the identifier; ``None`` if no organization owns it.
    :param registered_by: the organizations that have a resource server with the identifier, earliest first.
    """

    resource: str
    organization_id: str | None
    registered_by: tuple[str, ...]


def claim_identifier(transaction: Transaction, resource: str, *, member: str = "resource") -> None:
    """Make the transaction's organization the owner of an identifier.

    :param member: the member of the request's body that an error names.
    :raises ResourceTaken: another organization owns the identifier.
    :raises Conflict: the organization owns :data:`MAX_CLAIMS` identifiers.
    """
    transaction.fetch("organizations/lock_organization")
    [claims] = transaction.fetch("oauth/resource_claims", resource=resource)
    if claims.is_held:
        return
    if claims.count >= MAX_CLAIMS:
        raise Conflict(
            f"The organization owns {MAX_CLAIMS} resource identifiers; only an operator can release one.",
            details={member: [f"at most {MAX_CLAIMS} for an organization"]},
        )
    try:
        transaction.fetch("oauth/claim_resource", resource=resource)
    except psycopg.errors.UniqueViolation:
        raise ResourceTaken(member) from None


def list_resource_identifiers(database_url: str, *, only_unowned: bool = False) -> list[ResourceIdentifier]:
    """Return all resource identifiers that an organization of the instance owns or has registered, sorted.

    :param database_url: the database's URL with the operator's role.
    :param only_unowned: whether to return only the identifiers that no organization owns.
    """
    with connect(database_url) as connection:
        owner_ids_by_resource = dict(run_statement(connection, "oauth/all_resource_identifiers"))
        registration_rows = run_statement(connection, "oauth/all_resource_servers")
    # Each inner dictionary is an ordered set of organization ids.
    registrant_ids_by_resource: defaultdict[str, dict[str, None]] = defaultdict(dict)
    for registration_row in registration_rows:
        registrant_ids_by_resource[registration_row.resource][registration_row.organization_id] = None
    identifiers = [
        ResourceIdentifier(resource, owner_ids_by_resource.get(resource), tuple(registrant_ids_by_resource[resource]))
        for resource in sorted(owner_ids_by_resource.keys() | registrant_ids_by_resource.keys())
    ]
    return [identifier for identifier in identifiers if not only_unowned or identifier.organization_id is None]


def find_owner(database_url: str, resource: str, at: datetime) -> str | None:
    """Return the id of the organization that owns an identifier, or ``None`` if no organization owns it.

    :param database_url: the database's URL with the operator's role.
    :param resource: the identifier in any spelling.
    """
    resource = _normalize(resource)
    with connect(database_url) as connection, operator_transaction(connection, audit.INSTANCE, at) as transaction:
        return _fetch_owner_id(transaction, resource)


def _fetch_owner_id(transaction: Transaction, resource: str) -> str | None:
    rows = transaction.fetch("oauth/resource_holder", resource=resource)
    return rows[0].organization_id if rows else None


def assign_identifier(
    settings: Settings, resource: str, organization_id: str, at: datetime, *, verify: bool = False
) -> str | None:
    """Make an existing organization the owner of an identifier, even if another organization owns it.

    :param settings: the settings with the database URL of the operator's role.
    :param verify: whether to require that the metadata of the resource server names the organization.
    :returns: the previous owner, or ``None`` if there was none.
    :raises ConfigurationError: the identifier is that of our own API or dashboard, or the metadata does not name this
        issuer and the organization.
    """
    resource = _normalize(resource)
    if verify:
        verify_ownership(resource, organization_id, settings.issuer)
    with connect(str(settings.database_url)) as connection, connection.transaction():
        own_identifiers = list(settings.own_audiences)
        [resource_row] = run_statement(
            connection, "oauth/own_resource", resource=resource, own_identifiers=own_identifiers
        )
        if resource_row.is_own:
            raise ConfigurationError("the resource must not be this server's own API or dashboard")
        with operator_transaction(connection, organization_id, at) as transaction:
            previous_owner_id = _fetch_owner_id(transaction, resource)
            transaction.fetch("oauth/assign_resource", resource=resource)
            if previous_owner_id != organization_id:
                audit.record(transaction, "resource.assigned", resource, after={"organizationId": organization_id})
        if previous_owner_id not in (None, organization_id):
            with operator_transaction(connection, str(previous_owner_id), at) as transaction:
                audit.record(transaction, "resource.released", resource, before={"organizationId": previous_owner_id})
    return previous_owner_id


def release_identifier(database_url: str, resource: str, at: datetime) -> str:
    """End an organization's ownership of an identifier, and return the organization's id.

    :param database_url: the database's URL with the operator's role.
    :raises ConfigurationError: no organization owns the identifier.
    """
    resource = _normalize(resource)
    with connect(database_url) as connection, connection.transaction():
        released_rows = run_statement(connection, "oauth/release_resource", resource=resource)
        if not released_rows:
            raise ConfigurationError(f"no organization owns the resource {resource!r}")
        organization_id: str = released_rows[0].organization_id
        with operator_transaction(connection, organization_id, at) as transaction:
            audit.record(transaction, "resource.released", resource, before={"organizationId": organization_id})
    return organization_id


def _normalize(resource: str) -> str:
    identifier = owned_name(resource) if is_resource_identifier(resource) or is_audience(resource) else None
    if identifier is None:
        raise ConfigurationError("the resource must be an absolute URI without fragment, or an unshared audience")
    return identifier
