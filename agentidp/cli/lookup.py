"""Finds the object that an argument means, by its ID, or by its name if the name is unique.

All functions that get an ID or a name raise :class:`ConfigurationError` if there is no such object, or if several
objects have the name.
"""

from __future__ import annotations

import contextlib
import difflib
from collections.abc import Iterator, Sequence
from datetime import datetime
from functools import partial
from typing import Any, NamedTuple
from uuid import UUID

import click
import marshmallow as ma

from agentidp.cli.context import open_services
from agentidp.clock import utc_now
from agentidp.config import ConfigurationError
from agentidp.db.organization import OrganizationDatabase, Transaction
from agentidp.db.sql import Rows
from agentidp.demo import OPERATOR, ORGANIZATION_ID
from agentidp.http.errors import NotFound
from agentidp.http.schemas import AgentId, Items
from agentidp.registry import organizations
from agentidp.services import Services

MAX_CANDIDATES = 10
"""Maximum number of candidates that an error message lists."""

MAX_SEARCHED = 100
"""Maximum number of organizations whose agents are searched for a name that is similar to a misspelled name."""


class AgentReference(NamedTuple):
    """The ID of an agent, and the database limited to the rows of the agent's organization."""

    database: OrganizationDatabase
    agent_id: UUID


class Candidate(NamedTuple):
    """An object that the user may mean by an argument."""

    id: str
    names: Sequence[str]
    """Names that the user may type for the object. Error messages show the first name."""

    row: Any = None
    owner: str = ""
    """The name of the object's owner. Empty if all candidates have the same owner."""


@contextlib.contextmanager
def open_organization(id_or_name: str) -> Iterator[tuple[Services, OrganizationDatabase]]:
    """Yield the services, and the database limited to the organization with this ID or name."""
    with open_services() as services:
        yield services, find_database(services, id_or_name)


@contextlib.contextmanager
def find_and_open_agent(
    id_or_name: str, organization: str | None = None, *, is_deleted: bool = False
) -> Iterator[tuple[Services, OrganizationDatabase, UUID]]:
    """Yield the services, the database limited to the organization of an agent, and the agent's ID.

    :param organization: the ID or the name of the only organization to search. None means all organizations.
    """
    with open_services() as services:
        organization_id = find_database(services, organization).organization_id if organization else None
        yield services, *find_agent(services, id_or_name, organization_id=organization_id, is_deleted=is_deleted)


@contextlib.contextmanager
def open_agent_or_organization(
    agent: str | None, organization: str | None
) -> Iterator[tuple[Services, OrganizationDatabase, UUID | None]]:
    """Yield the services, the database limited to the organization, and the agent's ID, or None if *agent* is None."""
    if agent is not None:
        with find_and_open_agent(agent, organization) as services_database_and_id:
            yield services_database_and_id
    elif organization is not None:
        with open_organization(organization) as (services, database):
            yield services, database, None
    else:
        raise click.UsageError("give --agent or --organization")


def begin_transaction(
    services: Services, database: OrganizationDatabase
) -> contextlib.AbstractContextManager[Transaction]:
    """Begin a transaction at the current time. *database* has the time before the user confirmed the change."""
    return services.database.of(database.organization_id, utc_now()).transaction()


@contextlib.contextmanager
def refuse_missing(message: str) -> Iterator[None]:
    """End the command with a message if the object that it reads or changes does not exist."""
    try:
        yield
    except NotFound:
        raise ConfigurationError(message) from None


def find_candidate(
    id_or_name: str, candidates: Sequence[Candidate], *, kind: str, owner: str = "the organization"
) -> Any:
    """Return the row of the only candidate whose ID or name is *id_or_name*.

    :param kind: a singular noun for the candidates, for error messages.
    :param owner: the owner of the candidates, for error messages. Empty if they belong to the instance.
    """
    matching_candidates = [candidate for candidate in candidates if candidate.id == id_or_name]
    if not matching_candidates:
        matching_candidates = [candidate for candidate in candidates if id_or_name in candidate.names]
    if len(matching_candidates) == 1:
        return matching_candidates[0].row
    if matching_candidates:
        raise _build_ambiguity_error(id_or_name, matching_candidates, kind)
    object_id = _parse_uuid(id_or_name)
    shown_name = str(object_id) if object_id else repr(id_or_name)
    unknown_message = f"{owner} has no {kind} {shown_name}" if owner else f"there is no {kind} {shown_name}"
    candidate_names = [candidate_name for candidate in candidates for candidate_name in candidate.names]
    raise ConfigurationError(unknown_message + _suggest_names(id_or_name, candidate_names))


def find_row(
    id_or_name: str, rows: Rows, id_column: str, *name_columns: str, kind: str, owner: str = "the organization"
) -> Any:
    """Return the row with this ID or name. The parameters *kind* and *owner* are those of :func:`find_candidate`."""
    candidates = [
        Candidate(str(getattr(row, id_column)), [*filter(None, (getattr(row, column) for column in name_columns))], row)
        for row in rows
    ]
    return find_candidate(id_or_name, candidates, kind=kind, owner=owner)


def find_organization(services: Services, id_or_name: str) -> Any:
    """Return the row of the organization with this ID or name."""
    organization_row = organizations.find_organization(services.database, id_or_name, utc_now())
    if organization_row is not None:
        return organization_row
    organization_rows = organizations.list_organizations(str(services.settings.database_url))
    return find_row(id_or_name, organization_rows, "organization_id", "name", kind="organization", owner="")


def find_database(services: Services, id_or_name: str) -> OrganizationDatabase:
    """Return the database limited to the organization with this ID or name."""
    return services.database.of(find_organization(services, id_or_name).organization_id, utc_now())


def find_agent(
    services: Services, id_or_name: str, *, organization_id: str | None = None, is_deleted: bool = False
) -> AgentReference:
    """Return a reference to the agent with this ID or name.

    The function does not check whether the agent exists if *id_or_name* is an ID and *organization_id* is given.

    :param organization_id: the ID of the only organization to search. None means all organizations.
    :param is_deleted: whether to search only the names of deleted agents. By default, these are not searched.
    """
    now = utc_now()
    if agent_id := _parse_uuid(id_or_name):
        owner_id = organization_id or services.directory.find_organization(agent_id)
        if owner_id is None:
            raise ConfigurationError(f"there is no agent {agent_id}")
        return AgentReference(services.database.of(owner_id, now), agent_id)
    organization_rows = organizations.list_organizations(str(services.settings.database_url))
    if organization_id is not None:
        organization_rows = [row for row in organization_rows if row.organization_id == organization_id]
    list_candidates = partial(_list_agent_candidates, services, organization_rows, now, is_deleted=is_deleted)
    # Surrogates and null characters are replaced, because PostgreSQL refuses them. No agent's name contains them.
    candidates = list_candidates(id_or_name.encode(errors="replace").decode().replace("\0", "\ufffd"))
    if not candidates and len(organization_rows) <= MAX_SEARCHED:
        candidates = list_candidates(None)
    agent_noun = "deleted agent" if is_deleted else "agent"
    agent_reference: AgentReference = find_candidate(
        id_or_name, candidates, kind=agent_noun, owner="the organization" if organization_id else ""
    )
    return agent_reference


def _list_agent_candidates(
    services: Services, organization_rows: Rows, at: datetime, name: str | None, *, is_deleted: bool
) -> list[Candidate]:
    """Return the agents of some organizations as candidates.

    :param name: selects the agents with this name. None selects all agents.
    """
    candidates = []
    for organization_row in organization_rows:
        database = services.database.of(organization_row.organization_id, at)
        for agent_row in database.fetch("agents/agents_named", name=name, is_deleted=is_deleted):
            reference = AgentReference(database, agent_row.agent_id)
            candidates.append(Candidate(str(agent_row.agent_id), [agent_row.name], reference, organization_row.name))
    return candidates


def replace_agent_names(
    services: Services, database: OrganizationDatabase, schema: ma.Schema, body: dict[str, Any]
) -> dict[str, Any]:
    """Return a request body in which the names of agents are replaced by their IDs."""

    def find_id(id_or_name: str) -> str:
        return str(find_agent(services, id_or_name, organization_id=database.organization_id).agent_id)

    ids_by_member: dict[str, Any] = {}
    for member_name, field in schema.fields.items():
        if isinstance(field, AgentId) and body.get(member_name):
            ids_by_member[member_name] = find_id(body[member_name])
        elif isinstance(field, Items) and isinstance(field.item, AgentId) and member_name in body:
            ids_by_member[member_name] = [find_id(id_or_name) for id_or_name in body[member_name]]
    return body | ids_by_member


def find_agent_or_operator(services: Services, id_or_name: str | None) -> tuple[str, UUID]:
    """Return the ID of an agent's organization and the agent's ID.

    :param id_or_name: the agent's ID or name; ``None`` for the operator of the demo organization.
    :raises ConfigurationError: if *id_or_name* is ``None``, and the database has no demo organization.
    """
    if id_or_name is not None:
        database, agent_id = find_agent(services, id_or_name)
        return database.organization_id, agent_id
    demo_database = services.database.of(ORGANIZATION_ID, utc_now())
    operator_rows = demo_database.fetch("agents/agents_named", name=OPERATOR.name, is_deleted=False)
    if not operator_rows:
        raise ConfigurationError(
            f"the database has no demo organization with the agent {OPERATOR.name}, so give --agent ID"
        )
    return ORGANIZATION_ID, operator_rows[0].agent_id


def _parse_uuid(id_or_name: str) -> UUID | None:
    try:
        return UUID(id_or_name)
    except ValueError:
        return None


def _build_ambiguity_error(id_or_name: str, matching_candidates: list[Candidate], kind: str) -> ConfigurationError:
    lines = [f"{len(matching_candidates)} {kind}s have the name {id_or_name!r}, so give an id:"]
    for candidate in matching_candidates[:MAX_CANDIDATES]:
        lines.append(f"  {candidate.id}  {candidate.names[0]}{f' of {candidate.owner}' if candidate.owner else ''}")
    if len(matching_candidates) > MAX_CANDIDATES:
        lines.append(f"  and {len(matching_candidates) - MAX_CANDIDATES} more")
    return ConfigurationError("\n".join(lines))


def _suggest_names(id_or_name: str, known_names: list[str]) -> str:
    names_by_lower_case = {known_name.lower(): known_name for known_name in known_names}
    close_matches = difflib.get_close_matches(id_or_name.lower(), names_by_lower_case, n=3)
    similar_names = " or ".join(repr(names_by_lower_case[close_match]) for close_match in close_matches)
    return f": did you mean {similar_names}?" if similar_names else ""
