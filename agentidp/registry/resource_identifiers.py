"""Give each resource identifier, and each audience, to one organization, which alone gets tokens for it (RFC 8707).

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
from agentidp.db.sql import load_sql
from agentidp.http.errors import Conflict
from agentidp.http.resource_identifier import is_audience, is_resource_identifier, owned_name
from agentidp.registry.resource_proof import verify_ownership

MAX_CLAIMS = 1000
"""Maximum identifiers per organization, because identifiers outlive resource servers."""


class ResourceTaken(Conflict):
    """409: another organization holds the identifier, or the caller's has registered it. The error hides which."""

    message = "The resource is registered already."

    def __init__(self, member: str = "resource") -> None:
        super().__init__(details={member: ["is taken"]})


class ResourceIdentifier(NamedTuple):
    """An identifier, for the operator.

    :param resource: the identifier in the normalized spelling.
    :param organization_id: the organization that holds the identifier.
    :param registered_by: the organizations with a resource server of the identifier, oldest first.
    """

    resource: str
    organization_id: str | None
    registered_by: tuple[str, ...]


def claim(transaction: Transaction, resource: str, *, member: str = "resource") -> None:
    """Claim an identifier for the transaction's organization, which may hold it already.

    If another organization claims the identifier at the same time, this call waits.

    :param member: the member of the body that an error names.
    :raises ResourceTaken: another organization holds the identifier.
    :raises Conflict: the organization holds :data:`MAX_CLAIMS` identifiers.
    """
    transaction.fetch("organizations/lock_organization")
    [claims] = transaction.fetch("oauth/resource_claims", resource=resource)
    if claims.is_held:
        return
    if claims.count >= MAX_CLAIMS:
        raise Conflict(
            f"The organization holds {MAX_CLAIMS} resource identifiers; only an operator can release one.",
            details={member: [f"at most {MAX_CLAIMS} for an organization"]},
        )
    try:
        transaction.fetch("oauth/claim_resource", resource=resource)
    except psycopg.errors.UniqueViolation:
        raise ResourceTaken(member) from None


def resource_identifiers(database_url: str, *, conflicts: bool = False) -> list[ResourceIdentifier]:
    """Return all identifiers of the instance that are held or registered, in order.

    :param database_url: for the operator's role.
    :param conflicts: return only registered identifiers that no organization holds, so that they get no tokens.
    """
    with connect(database_url) as connection:
        holders = dict(connection.execute(load_sql("oauth/all_resource_identifiers")).fetchall())
        registrations = connection.execute(load_sql("oauth/all_resource_servers")).fetchall()
    registered: defaultdict[str, list[str]] = defaultdict(list)
    for row in registrations:
        if row.organization_id not in registered[row.resource]:
            registered[row.resource].append(row.organization_id)
    identifiers = [
        ResourceIdentifier(resource, holders.get(resource), tuple(registered[resource]))
        for resource in sorted(holders.keys() | registered.keys())
    ]
    return [identifier for identifier in identifiers if not conflicts or identifier.organization_id is None]


def holder(database_url: str, resource: str, at: datetime) -> str | None:
    """Return the id of the organization that holds an identifier, in any spelling, or ``None``.

    :param database_url: for the operator's role.
    :raises ConfigurationError: the string is not a resource identifier.
    """
    resource = _checked(resource)
    with connect(database_url) as connection, operator_transaction(connection, audit.INSTANCE, at) as opened:
        holders = opened.fetch("oauth/resource_holder", resource=resource)
    return holders[0].organization_id if holders else None


def assign(
    settings: Settings, resource: str, organization_id: str, at: datetime, *, verify: bool = False
) -> str | None:
    """Assign an identifier to an organization, even if another one holds it.

    Other organizations keep their registrations, but get no tokens.

    :param settings: with the database URL of the operator's role.
    :param organization_id: the id of an existing organization.
    :param verify: first check that the metadata of the resource server names the organization.
    :returns: the previous holder, or ``None``.
    :raises ConfigurationError: the string is not a resource identifier, or is our own API's or dashboard's, or the
        metadata does not name this issuer and the organization.
    """
    resource = _checked(resource)
    if verify:
        verify_ownership(resource, organization_id, settings.issuer)
    with connect(str(settings.database_url)) as connection, connection.transaction():
        own = {"resource": resource, "own": list(settings.own_audiences)}
        [row] = connection.execute(load_sql("oauth/own_resource"), own).fetchall()
        if row.is_own:
            raise ConfigurationError("the resource must not be this server's own API or dashboard")
        with operator_transaction(connection, organization_id, at) as opened:
            holders = opened.fetch("oauth/resource_holder", resource=resource)
            previous: str | None = holders[0].organization_id if holders else None
            opened.fetch("oauth/assign_resource", resource=resource)
            if previous != organization_id:
                audit.record(opened, "resource.assigned", resource, after={"organizationId": organization_id})
        if previous is not None and previous != organization_id:
            with operator_transaction(connection, previous, at) as opened:
                audit.record(opened, "resource.released", resource, before={"organizationId": previous})
    return previous


def release(database_url: str, resource: str, at: datetime) -> str:
    """Take an identifier from the organization that holds it, and return this organization's id.

    The next organization that registers the identifier gets it.

    :param database_url: for the operator's role.
    :raises ConfigurationError: the string is not a resource identifier, or no organization holds it.
    """
    resource = _checked(resource)
    with connect(database_url) as connection, connection.transaction():
        rows = connection.execute(load_sql("oauth/release_resource"), {"resource": resource}).fetchall()
        if not rows:
            raise ConfigurationError(f"no organization holds the resource {resource!r}")
        organization_id: str = rows[0].organization_id
        with operator_transaction(connection, organization_id, at) as opened:
            audit.record(opened, "resource.released", resource, before={"organizationId": organization_id})
    return organization_id


def _checked(resource: str) -> str:
    claimed = owned_name(resource) if is_resource_identifier(resource) or is_audience(resource) else None
    if claimed is None:
        raise ConfigurationError(
            "the resource must be an absolute URI without fragment, or an audience that is not shared"
        )
    return claimed
