"""Finds the object that an argument means, by its ID, or by its name if the name is unique.

A command calls :func:`organization_named`, :func:`database_named`, :func:`agent_named` or :func:`one_of` with the text
of the argument, inside ``opened()``.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple
from uuid import UUID

import marshmallow as ma

from agentidp.clock import utc_now
from agentidp.config import ConfigurationError
from agentidp.db.organization import OrganizationDatabase
from agentidp.demo import OPERATOR, ORGANIZATION_ID, operator_id
from agentidp.http.schemas import AgentId, Items
from agentidp.registry import organizations
from agentidp.services import Services

MAX_CANDIDATES = 10
"""Maximum number of candidates in an error message."""

MAX_SEARCHED = 100
"""Maximum number of organizations whose agents are searched for a similar name."""


class AgentOf(NamedTuple):
    """The ID of an agent, and the ID of its organization."""

    organization_id: str
    agent_id: UUID


class Candidate(NamedTuple):
    """An object that an argument may mean."""

    id: str
    names: Sequence[str]
    """The object's names. Error messages contain the first name."""

    row: Any = None
    of: str = ""
    """The name of the object's owner, if the candidates have different owners."""


def one_of(text: str, candidates: Iterable[Candidate], *, kind: str, owner: str = "the organization") -> Any:
    """Return the row of the candidate with the ID or the unique name *text*.

    :param kind: the type of the candidates, as a singular noun.
    :param owner: the owner of the candidates, for error messages. Empty if they belong to the instance.
    :raises ConfigurationError: no candidate matches, or several do. The message lists them.
    """
    known = list(candidates)
    found = [one for one in known if one.id == text] or [one for one in known if text in one.names]
    if len(found) == 1:
        return found[0].row
    if found:
        raise _ambiguous(text, found, kind)
    as_uuid = _uuid(text)
    shown = str(as_uuid) if as_uuid else repr(text)
    unknown = f"{owner} has no {kind} {shown}" if owner else f"there is no {kind} {shown}"
    raise ConfigurationError(unknown + _similar(text, [name for one in known for name in one.names]))


def organization_named(services: Services, text: str) -> Any:
    """Return the row of the organization with an ID or a name.

    :raises ConfigurationError: there is no such organization, or several have the name.
    """
    row = organizations.find_organization(services.database, text, utc_now())
    if row is not None:
        return row
    rows = organizations.all_organizations(str(services.settings.database_url))
    known = [Candidate(one.organization_id, [one.name], one) for one in rows]
    return one_of(text, known, kind="organization", owner="")


def database_named(services: Services, text: str) -> OrganizationDatabase:
    """Return the database for the organization with an ID or a name, at the current time.

    :raises ConfigurationError: there is no such organization, or several have the name.
    """
    return services.database.of(organization_named(services, text).organization_id, utc_now())


def agent_named(
    services: Services, text: str, *, organization_id: str | None = None, is_deleted: bool = False
) -> AgentOf:
    """Return the agent with an ID or a name. If *organization_id* is set, an ID is returned without a check.

    :param organization_id: the ID of the only organization to search. None means all organizations.
    :param is_deleted: whether a name means deleted agents, instead of agents that are not deleted.
    :raises ConfigurationError: there is no such agent, or several have the name.
    """
    agent_id = _uuid(text)
    if agent_id is not None:
        return AgentOf(organization_id or organization_of(services, agent_id), agent_id)
    rows = organizations.all_organizations(str(services.settings.database_url))
    if organization_id is not None:
        rows = [row for row in rows if row.organization_id == organization_id]

    def named(name: str | None) -> Iterable[Candidate]:
        for row in rows:
            database = services.database.of(row.organization_id, utc_now())
            for agent in database.fetch("agents/agents_named", name=name, is_deleted=is_deleted):
                found = AgentOf(row.organization_id, agent.agent_id)
                yield Candidate(str(agent.agent_id), [agent.name], found, row.name)

    # Names contain neither surrogates nor null characters, which PostgreSQL would refuse.
    found = list(named(text.encode(errors="replace").decode().replace("\0", "\ufffd")))
    if not found and len(rows) <= MAX_SEARCHED:
        found = list(named(None))
    kind = "deleted agent" if is_deleted else "agent"
    agent: AgentOf = one_of(text, found, kind=kind, owner="the organization" if organization_id else "")
    return agent


def with_agent_ids(services: Services, organization_id: str, schema: ma.Schema, body: dict[str, Any]) -> dict[str, Any]:
    """Return a body of :func:`agentidp.cli.options.given` with agents' names replaced by their IDs.

    :raises ConfigurationError: the organization has no such agent.
    """
    ids: dict[str, Any] = {}
    for name, field in schema.fields.items():
        if isinstance(field, AgentId) and body.get(name):
            ids[name] = str(agent_named(services, body[name], organization_id=organization_id).agent_id)
        elif isinstance(field, Items) and isinstance(field.item, AgentId) and name in body:
            agents = [agent_named(services, text, organization_id=organization_id) for text in body[name]]
            ids[name] = [str(agent.agent_id) for agent in agents]
    return body | ids


def organization_of(services: Services, agent_id: UUID) -> str:
    """Return the ID of the agent's organization.

    :raises ConfigurationError: there is no such agent.
    """
    organization_id = services.directory.organization_of(agent_id)
    if organization_id is None:
        raise ConfigurationError(f"there is no agent {agent_id}")
    return organization_id


def agent_or_operator(services: Services, text: str | None) -> AgentOf:
    """Return the agent with an ID or a name. None means the demo's operator.

    :raises ConfigurationError: there is no such agent, or several have the name.
    """
    if text is not None:
        return agent_named(services, text)
    agent_id = operator_id(services.database, utc_now())
    if agent_id is None:
        raise ConfigurationError(
            f"there is no demo organization with the agent {OPERATOR.name} here, so name an agent: --agent ID"
        )
    return AgentOf(ORGANIZATION_ID, agent_id)


def _uuid(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None


def _ambiguous(text: str, found: list[Candidate], kind: str) -> ConfigurationError:
    lines = [f"  {one.id}  {one.names[0]}{f' of {one.of}' if one.of else ''}" for one in found[:MAX_CANDIDATES]]
    if len(found) > MAX_CANDIDATES:
        lines.append(f"  and {len(found) - MAX_CANDIDATES} more")
    return ConfigurationError("\n".join([f"{len(found)} {kind}s have the name {text!r}, so give an id:", *lines]))


def _similar(text: str, names: list[str]) -> str:
    by_lower_case = {name.lower(): name for name in names}
    close = difflib.get_close_matches(text.lower(), by_lower_case, n=3)
    return f": did you mean {' or '.join(repr(by_lower_case[name]) for name in close)}?" if close else ""
