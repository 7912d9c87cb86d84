"""``…/impact``: what breaks if a credential is revoked, an agent suspended or deleted, or a resource server deleted.

The counts of the last 90 days say what would break, and in which hours the fewest tokens are issued.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from uuid import UUID

import marshmallow as ma
from flask import Response

from agentidp.analytics.attribution import delegations_in
from agentidp.analytics.period import Period
from agentidp.caller import Caller, bearer
from agentidp.config import MAX_TOKEN_TTL
from agentidp.db.sql import Call, Rows
from agentidp.http.errors import NotFound, existing
from agentidp.http.openapi import Blueprint
from agentidp.http.responses import json_response
from agentidp.http.schemas import MAX_DAYS, timestamp

blueprint = Blueprint("impact", __name__, description="What breaks if something is revoked, suspended or deleted")

DAYS = MAX_DAYS
"""Whose tokens are counted, today included."""

IN_USE = timedelta(days=30)
"""A credential is in use if it was used since so long."""

QUIET_HOURS = 3
"""How many hours in a row the quietest hours of the week are."""

HOURS = 7 * 24
LAST_USE_IS_EXACT_TO = timedelta(minutes=1)
WEEKDAYS = ("Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday")


@dataclass
class Use:
    """Tokens of the last :data:`DAYS` days.

    :param week: by the hour of the week; the first one is that of Sunday at midnight, in UTC.
    :param by_hour: of the hours with tokens, by their first instants.
    """

    week: list[int] = field(default_factory=lambda: [0] * HOURS)
    by_hour: dict[datetime, int] = field(default_factory=dict)

    def add(self, day: date, hours: Sequence[int]) -> None:
        """Add the tokens of each hour of a UTC day."""
        midnight = datetime.combine(day, time(), UTC)
        first = day.isoweekday() % 7 * 24
        for hour, tokens in enumerate(hours):
            if tokens:
                self.week[first + hour] += tokens
                began = midnight + timedelta(hours=hour)
                self.by_hour[began] = self.by_hour.get(began, 0) + tokens

    @property
    def tokens(self) -> int:
        """All of them."""
        return sum(self.week)

    @property
    def last_hour(self) -> datetime | None:
        """The last hour with tokens, by its first instant."""
        return max(self.by_hour, default=None)


@dataclass(frozen=True)
class Valid:
    """Tokens that may not have expired.

    :param at_most: how many: those of all hours in which one was issued that is still valid.
    :param until: when the last one has expired at the latest; ``None`` if there is none.
    """

    at_most: int
    until: datetime | None


@dataclass(frozen=True)
class Impact:
    """What would break.

    :param use: the tokens.
    :param last_used: when the credential was last used, to the minute; the last one was issued before.
    :param resources: what they are for, most tokens first: the resource (``None``: not attributed) and the tokens.
    :param valid: those that may not have expired.
    :param others: other credentials of the agent that are in force, with their tokens; ``None`` if that is not asked.
    :param agents: who got them, most tokens first, if a resource server is deleted: ``agent_id``, ``name``, ``tokens``,
        ``last_day``.
    :param acting: likewise who got tokens to act for the agent, if one is suspended or deleted.
    """

    use: Use
    last_used: datetime | None
    resources: list[tuple[str | None, int]]
    valid: Valid
    others: list[tuple[Any, int]] | None = None
    agents: list[dict[str, Any]] | None = None
    acting: list[dict[str, Any]] = field(default_factory=list)
    in_use: list[Any] = field(default_factory=list)


RESOURCE_SERVERS = Call("oauth/list_resource_servers", {})
"""What reads the rows of :class:`Lifetimes`."""


class Lifetimes:
    """The longest time that tokens for a resource may be valid, in seconds.

    Tokens that were issued before the lifetime of a resource server changed, or before it was deleted, are valid for as
    long as it said then. That is not known, so for a day it is the longest that there can be.

    :param servers: the organization's resource servers.
    :param ttl: for those that name no lifetime, and for our own API.
    """

    def __init__(self, servers: Rows, ttl: int, at: datetime) -> None:
        self.ttl = ttl
        changed_since = at - timedelta(seconds=MAX_TOKEN_TTL)
        self._by_resource = {
            row.resource: MAX_TOKEN_TTL
            if row.token_ttl_changed_at is not None and row.token_ttl_changed_at > changed_since
            else row.token_ttl or ttl
            for row in servers
        }

    def of(self, resource: str) -> int:
        """For a resource; empty for our own API."""
        return self._by_resource.get(resource, MAX_TOKEN_TTL) if resource else self.ttl


def quietest_hours(week: Sequence[int]) -> int:
    """The first of the :data:`QUIET_HOURS` hours in a row with the fewest tokens; of several, the one in the middle of
    the quietest half day.

    :param week: tokens by the hour of the week.
    """

    def tokens(first: int, length: int) -> int:
        return sum(week[(first + hour) % HOURS] for hour in range(length))

    return min(range(HOURS), key=lambda first: (tokens(first, QUIET_HOURS), tokens(first - 5, QUIET_HOURS + 10), first))


def valid_tokens(use: Use, at: datetime, ttl: int, last_used: datetime | None) -> Valid:
    """The tokens that may be valid at an instant, of which only the hours of issue are known.

    :param ttl: seconds that a token is valid.
    :param last_used: to the minute, if it is known.
    """
    lifetime = timedelta(seconds=ttl)
    # Those that were issued in an hour which had not ended so long ago.
    hours = {began: n for began, n in use.by_hour.items() if n and began + timedelta(hours=1) > at - lifetime}
    if not hours:
        return Valid(0, None)
    last = min(at, max(hours) + timedelta(hours=1))
    if last_used is not None:
        last = min(last, last_used + LAST_USE_IS_EXACT_TO)
    if last + lifetime <= at:
        return Valid(0, None)
    return Valid(sum(hours.values()), last + lifetime)


def _valid_of_all(uses: dict[int, Use], at: datetime, last_used: datetime | None = None) -> Valid:
    """The tokens of several lifetimes that may be valid.

    :param uses: lifetime -> the tokens.
    """
    found = [valid_tokens(use, at, ttl, last_used) for ttl, use in uses.items()]
    return Valid(sum(one.at_most for one in found), max((one.until for one in found if one.until), default=None))


def use_of_agent(at: datetime, agent_id: UUID) -> Call:
    """What reads the tokens of an agent."""
    period = Period.of(DAYS, at)
    return Call("analytics/agent_use", {"agent_id": agent_id, **period.bounds})


def about_agent(at: datetime, agent_id: UUID) -> tuple[Call, Call, Call]:
    """What reads the rows that :func:`agent_impact` takes."""
    return use_of_agent(at, agent_id), RESOURCE_SERVERS, delegations_in(Period.of(DAYS, at), agent_id)


def use_of_resource(at: datetime, resource: str) -> Call:
    """What reads the tokens for a resource."""
    period = Period.of(DAYS, at)
    return Call("analytics/resource_use", {"resource": resource, **period.bounds})


def _sorted(by_resource: dict[str | None, int]) -> list[tuple[str | None, int]]:
    return sorted(by_resource.items(), key=lambda pair: (-pair[1], pair[0] is None, pair[0] or ""))


def credential_impact(rows: Rows, credentials: Rows, credential_id: UUID, at: datetime, lifetimes: Lifetimes) -> Impact:
    """What breaks if a credential is revoked.

    :param rows: of :func:`use_of_agent`.
    :param credentials: of ``agents/list_credentials``.
    :raises NotFound: the agent has no such credential, or it is revoked.
    """
    known = {row.credential_id: row for row in credentials if row.credential_id is not None}
    if credential_id not in known:
        raise NotFound
    use = Use()
    by_lifetime: defaultdict[int, Use] = defaultdict(Use)
    by_resource: dict[str | None, int] = {}
    tokens = dict.fromkeys(known, 0)
    for row in rows:
        if row.credential_id in tokens:
            tokens[row.credential_id] += sum(row.hours)
        if row.credential_id == credential_id:
            use.add(row.on_day, row.hours)
            by_lifetime[lifetimes.of(row.resource)].add(row.on_day, row.hours)
            by_resource[row.resource] = by_resource.get(row.resource, 0) + sum(row.hours)
    last_used = known[credential_id].last_used_at
    others = [
        (row, tokens[row.credential_id])
        for row in known.values()
        if row.credential_id != credential_id and (row.expires_at is None or row.expires_at > at)
    ]
    return Impact(
        use,
        last_used,
        _sorted(by_resource),
        _valid_of_all(by_lifetime, at, last_used),
        others=others,
        in_use=[row for row, _ in others if is_in_use(row, at)],
    )


def is_in_use(credential: Any, at: datetime) -> bool:
    """Whether a credential was used lately.

    :param credential: its row, with ``last_used_at``.
    """
    return credential.last_used_at is not None and credential.last_used_at > at - IN_USE


def agent_impact(agent_id: UUID, at: datetime, ttl: int, rows: Rows, servers: Rows, delegated: Rows) -> Impact:
    """What breaks if an agent is suspended or deleted.

    :param ttl: as :class:`Lifetimes` has it.
    :param rows: the tokens; like the other rows, of :func:`about_agent`.
    """
    lifetimes, use = Lifetimes(servers, ttl, at), Use()
    by_lifetime: defaultdict[int, Use] = defaultdict(Use)
    by_resource: dict[str | None, int] = {}
    for row in rows:
        if row.credential_id is None:
            use.add(row.on_day, row.hours)
            # With those that are not attributed, and less those that are, if they are valid for another time.
            by_lifetime[lifetimes.ttl].add(row.on_day, row.hours)
        else:
            by_lifetime[lifetimes.of(row.resource)].add(row.on_day, row.hours)
            by_lifetime[lifetimes.ttl].add(row.on_day, [-tokens for tokens in row.hours])
            by_resource[row.resource] = by_resource.get(row.resource, 0) + sum(row.hours)
    if rest := use.tokens - sum(by_resource.values()):
        by_resource[None] = rest
    valid, acting = _valid_of_all(by_lifetime, at), _acting_for(agent_id, delegated, Period.of(DAYS, at).first)
    return Impact(use, None, _sorted(by_resource), valid, acting=acting)


def _acting_for(agent_id: UUID, delegated: Rows, first: date) -> list[dict[str, Any]]:
    """The other agents that act for an agent.

    :param delegated: rows of ``analytics/delegations``, from *first* on.
    """
    found: dict[UUID, dict[str, Any]] = {}
    for row in delegated:
        if row.subject_agent_id == agent_id != row.agent_id:
            agent = found.setdefault(row.agent_id, _taker(row.agent_id, row.agent_name, 0, first))
            agent["tokens"] += sum(row.tokens)
            agent["last_day"] = max(agent["last_day"], first + timedelta(days=row.days[-1]))
    return _most_first(found.values())


def _taker(agent_id: UUID, name: str, tokens: int, last_day: date) -> dict[str, Any]:
    return {"agent_id": agent_id, "name": name, "tokens": tokens, "last_day": last_day}


def _most_first(agents: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(agents, key=lambda agent: (-agent["tokens"], agent["agent_id"]))


def resource_impact(rows: Rows, names: Rows, resource: str, at: datetime, lifetimes: Lifetimes) -> Impact:
    """What breaks if a resource server is deleted.

    :param rows: of :func:`use_of_resource`.
    :param names: of ``audit/agent_names``.
    """
    use = Use()
    named = {row.agent_id: row.name for row in names}
    agents = []
    for row in rows:
        if row.agent_id is None:
            use.add(row.on_day, row.hours)
        else:
            agents.append(_taker(row.agent_id, named[row.agent_id], sum(row.hours), row.last_day))
    resources: list[tuple[str | None, int]] = [(resource, use.tokens)] if use.tokens else []
    return Impact(use, None, resources, valid_tokens(use, at, lifetimes.of(resource), None), agents=_most_first(agents))


def sentences(impact: Impact, own_resource: str) -> list[str]:
    """What would break, for people.

    :param own_resource: the identifier of our own API.
    """
    found = [_use_sentence(impact)]
    if impact.agents is not None and impact.agents:
        found.append(f"They were issued to {_listed(_agent_phrases(impact.agents), 'agents')}.")
    elif impact.resources and impact.agents is None:
        phrases = [
            f"{_tokens(tokens)} {'that are not attributed' if resource is None else f'for {resource or own_resource}'}"
            for resource, tokens in impact.resources
        ]
        found.append(f"These are {_listed(phrases, 'resources')}.")
    if impact.acting:
        found.append(f"What other agents do for it ends too: {_listed(_agent_phrases(impact.acting), 'agents')}.")
    if impact.others is not None:
        found.append(_others_sentence(impact))
    if impact.valid.until is not None:
        until = impact.valid.until.astimezone(UTC)
        found.append(f"At most {_tokens(impact.valid.at_most)} may still be valid, until {until:%Y-%m-%d %H:%M} UTC.")
    elif impact.use.tokens:
        found.append("None of them is still valid.")
    if impact.use.tokens:
        first = quietest_hours(impact.use.week)
        tokens = sum(impact.use.week[(first + hour) % HOURS] for hour in range(QUIET_HOURS))
        found.append(
            f"The quietest hours of the week begin on {WEEKDAYS[first // 24]} at {first % 24:02}:00 UTC: "
            f"{_tokens(tokens)} in {QUIET_HOURS} hours, on all weeks together."
        )
    return found


def _use_sentence(impact: Impact) -> str:
    if not impact.use.tokens:
        last = f", and the last use was on {_instant(impact.last_used)}" if impact.last_used else ""
        return f"No token was counted in the last {DAYS} days{last}."
    if impact.last_used is not None:
        last = f"at {_instant(impact.last_used)}"
    else:
        last = f"in the hour of {_instant(impact.use.last_hour)}"
    return f"{_tokens(impact.use.tokens)} in the last {DAYS} days, the last one {last}."


def _others_sentence(impact: Impact) -> str:
    if impact.in_use:
        used = [f"{row.label or row.credential_id}, last used at {_instant(row.last_used_at)}" for row in impact.in_use]
        return f"The agent has another credential in use: {'; '.join(used)}."
    if impact.others:
        return f"The agent has another credential, but none that was used in the last {IN_USE.days} days."
    return "The agent has no other credential: it will get no further token."


def _agent_phrases(agents: Iterable[dict[str, Any]]) -> list[str]:
    return [f"{agent['name']} ({_tokens(agent['tokens'])}, the last on {agent['last_day']})" for agent in agents]


def _listed(phrases: list[str], noun: str) -> str:
    """The first of many."""
    most = 5
    more = f" and {len(phrases) - most:,} more {noun}" if len(phrases) > most else ""
    return ", ".join(phrases[:most]) + more


def _tokens(number: int) -> str:
    return f"{number:,} token{'' if number == 1 else 's'}"


def _instant(at: datetime | None) -> str:
    return "" if at is None else f"{at.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


class ResourceOfImpactSchema(ma.Schema):
    """Tokens for a resource."""

    resource = ma.fields.String(
        required=True, allow_none=True, metadata={"description": "Null for tokens that are not attributed"}
    )
    tokens = ma.fields.Integer(required=True, validate=ma.validate.Range(1))


class ValidTokensSchema(ma.Schema):
    """Tokens that may not have expired. Of a token only the hour is counted, so there can be fewer."""

    atMost = ma.fields.Integer(required=True, validate=ma.validate.Range(0))
    until = ma.fields.AwareDateTime(
        required=True, allow_none=True, metadata={"description": "Then the last one has expired, at the latest"}
    )


class QuietestHoursSchema(ma.Schema):
    """Hours of the week (UTC) in a row with the fewest tokens: their first one, and the tokens in all weeks."""

    dow = ma.fields.Integer(required=True, validate=ma.validate.Range(0, 6), metadata={"description": "0 is Sunday"})
    hour = ma.fields.Integer(required=True, validate=ma.validate.Range(0, 23))
    hours = ma.fields.Integer(required=True, validate=ma.validate.Range(1))
    tokens = ma.fields.Integer(required=True, validate=ma.validate.Range(0))


class _ImpactSchema(ma.Schema):
    """What all have in common."""

    days = ma.fields.Integer(required=True, validate=ma.validate.Range(1))
    tokens = ma.fields.Integer(required=True, validate=ma.validate.Range(0))
    lastTokenHour = ma.fields.AwareDateTime(
        required=True, allow_none=True, metadata={"description": "The UTC hour in which the last of them was issued"}
    )
    validTokens = ma.fields.Nested(ValidTokensSchema, required=True)
    quietestHours = ma.fields.Nested(
        QuietestHoursSchema, required=True, allow_none=True, metadata={"description": "Null if there are no tokens"}
    )
    summary = ma.fields.List(
        ma.fields.String(), required=True, metadata={"description": "The same in sentences, for people"}
    )


class _OfAgentSchema(_ImpactSchema):
    """What an agent and a credential have in common."""

    agentId = ma.fields.UUID(required=True)
    resources = ma.fields.List(ma.fields.Nested(ResourceOfImpactSchema), required=True)


class AgentOfImpactSchema(ma.Schema):
    """An agent that got tokens: for the resource server, or to act for the agent."""

    agentId = ma.fields.UUID(required=True)
    agentName = ma.fields.String(required=True)
    tokens = ma.fields.Integer(required=True, validate=ma.validate.Range(1))
    lastTokenDay = ma.fields.Date(required=True)


class AgentImpactSchema(_OfAgentSchema):
    """What breaks if an agent is suspended or deleted."""

    actingAgents = ma.fields.List(
        ma.fields.Nested(AgentOfImpactSchema),
        required=True,
        metadata={"description": "Other agents that act for it, most tokens first. They can no longer do so"},
    )


class OtherCredentialSchema(ma.Schema):
    """Another credential of the agent that is in force."""

    credentialId = ma.fields.UUID(required=True)
    label = ma.fields.String(required=True, allow_none=True)
    tokens = ma.fields.Integer(required=True, validate=ma.validate.Range(0))
    lastUsedAt = ma.fields.AwareDateTime(required=True, allow_none=True)
    isInUse = ma.fields.Boolean(
        required=True, metadata={"description": f"Whether it was used in the last {IN_USE.days} days"}
    )


class CredentialImpactSchema(_OfAgentSchema):
    """What breaks if a credential is revoked."""

    credentialId = ma.fields.UUID(required=True)
    lastUsedAt = ma.fields.AwareDateTime(required=True, allow_none=True)
    otherCredentials = ma.fields.List(ma.fields.Nested(OtherCredentialSchema), required=True)


class ResourceServerImpactSchema(_ImpactSchema):
    """What breaks if a resource server is deleted."""

    resourceServerId = ma.fields.UUID(required=True)
    resource = ma.fields.String(required=True)
    agents = ma.fields.List(ma.fields.Nested(AgentOfImpactSchema), required=True)


@blueprint.route("/api/v1/agents/<uuid:agent_id>/credentials/<uuid:credential_id>/impact")
@bearer("agents:read")
@blueprint.tool("impact_of_revoking")
@blueprint.response(200, CredentialImpactSchema)
def impact_of_revoking(caller: Caller, agent_id: UUID, credential_id: UUID) -> Response:
    """Say what breaks if the credential is revoked: its tokens of the last 90 days, what they are for, and what else
    the agent has.
    """
    impact = read_credential_impact(caller, agent_id, credential_id)
    body = {
        "credentialId": str(credential_id),
        "agentId": str(agent_id),
        **_represent(impact, caller),
        "lastUsedAt": timestamp(impact.last_used),
        "resources": _resources(impact, caller),
        "otherCredentials": [
            {
                "credentialId": str(row.credential_id),
                "label": row.label,
                "tokens": tokens,
                "lastUsedAt": timestamp(row.last_used_at),
                "isInUse": is_in_use(row, caller.at),
            }
            for row, tokens in impact.others or []
        ],
    }
    return json_response(body)


@blueprint.route("/api/v1/agents/<uuid:agent_id>/impact")
@bearer("agents:read")
@blueprint.tool("impact_of_suspending")
@blueprint.response(200, AgentImpactSchema)
def impact_of_suspending(caller: Caller, agent_id: UUID) -> Response:
    """Say what breaks if the agent is suspended or deleted: its tokens of the last 90 days, what for, and who acts for
    it.
    """
    impact = read_agent_impact(caller, agent_id)
    body = {
        "agentId": str(agent_id),
        **_represent(impact, caller),
        "resources": _resources(impact, caller),
        "actingAgents": _agents(impact.acting),
    }
    return json_response(body)


@blueprint.route("/api/v1/resource-servers/<uuid:resource_server_id>/impact")
@bearer("agents:read")
@blueprint.tool("impact_of_deleting")
@blueprint.response(200, ResourceServerImpactSchema)
@blueprint.alt_response(429, "RATE_LIMITED")
def impact_of_deleting(caller: Caller, resource_server_id: UUID) -> Response:
    """Say what breaks if the resource server is deleted: the tokens for it of the last 90 days, and who got them."""
    server, impact = read_resource_impact(caller, resource_server_id)
    body = {
        "resourceServerId": str(resource_server_id),
        "resource": server.resource,
        **_represent(impact, caller),
        "agents": _agents(impact.agents or []),
    }
    return json_response(body)


def read_credential_impact(caller: Caller, agent_id: UUID, credential_id: UUID) -> Impact:
    """What breaks if a credential is revoked.

    :raises NotFound: there is no such agent, or it has no such credential.
    """
    credentials, rows, servers = caller.read_together(
        Call("agents/list_credentials", {"agent_id": agent_id}), use_of_agent(caller.at, agent_id), RESOURCE_SERVERS
    )
    lifetimes = Lifetimes(servers, caller.settings.token_ttl, caller.at)
    return credential_impact(rows, credentials, credential_id, caller.at, lifetimes)


def read_agent_impact(caller: Caller, agent_id: UUID) -> Impact:
    """What breaks if an agent is suspended or deleted.

    :raises NotFound: there is no such agent.
    """
    agents, *rows = caller.read_together(
        Call("agents/get_agent", {"agent_id": agent_id}), *about_agent(caller.at, agent_id)
    )
    existing(agents)
    return agent_impact(agent_id, caller.at, caller.settings.token_ttl, *rows)


def read_resource_impact(caller: Caller, resource_server_id: UUID) -> tuple[Any, Impact]:
    """The row of a resource server, and what breaks if it is deleted.

    :raises NotFound: there is no such resource server.
    """
    servers = caller.read("oauth/get_resource_server", resource_server_id=resource_server_id)
    if not servers:
        raise NotFound
    [server] = servers
    with caller.expensive_read():
        rows = caller.read_together(use_of_resource(caller.at, server.resource))[0]
    names = caller.read("audit/agent_names", agent_ids=[row.agent_id for row in rows if row.agent_id is not None])
    lifetimes = Lifetimes(servers, caller.settings.token_ttl, caller.at)
    return server, resource_impact(rows, names, server.resource, caller.at, lifetimes)


def _represent(impact: Impact, caller: Caller) -> dict[str, Any]:
    first = quietest_hours(impact.use.week)
    quietest = {
        "dow": first // 24,
        "hour": first % 24,
        "hours": QUIET_HOURS,
        "tokens": sum(impact.use.week[(first + hour) % HOURS] for hour in range(QUIET_HOURS)),
    }
    return {
        "days": DAYS,
        "tokens": impact.use.tokens,
        "lastTokenHour": timestamp(impact.use.last_hour),
        "validTokens": {"atMost": impact.valid.at_most, "until": timestamp(impact.valid.until)},
        "quietestHours": quietest if impact.use.tokens else None,
        "summary": sentences(impact, caller.settings.resource),
    }


def _resources(impact: Impact, caller: Caller) -> list[dict[str, Any]]:
    return [
        {"resource": caller.settings.resource if resource == "" else resource, "tokens": tokens}
        for resource, tokens in impact.resources
    ]


def _agents(agents: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    return [
        {
            "agentId": str(agent["agent_id"]),
            "agentName": agent["name"],
            "tokens": agent["tokens"],
            "lastTokenDay": agent["last_day"].isoformat(),
        }
        for agent in agents
    ]
