"""``…/impact``: what breaks if a credential is revoked, an agent suspended or deleted, or a resource server deleted."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, NamedTuple
from uuid import UUID

import marshmallow as ma
from flask import Response

from agentidp.analytics.attribution import RESOURCE_SERVERS, build_delegations_call
from agentidp.analytics.period import Period
from agentidp.caller import Caller, bearer
from agentidp.config import MAX_TOKEN_TTL
from agentidp.db.sql import Call, Rows, Run
from agentidp.http.errors import require_row
from agentidp.http.openapi import Blueprint
from agentidp.http.responses import json_response
from agentidp.http.schemas import MAX_DAYS, Instant, ReturnedSchema, required
from agentidp.http.text import format_count

blueprint = Blueprint("impact", __name__, description="What breaks if something is revoked, suspended or deleted")

DAYS = MAX_DAYS  # days whose tokens are counted, today included
IN_USE = timedelta(days=30)  # maximum time since the last use of a credential that counts as in use
QUIET_HOURS = 3  # length, in hours, of the time of the week with the fewest tokens
MAX_LISTED = 5  # maximum number of agents that a sentence names
HOURS = 7 * 24
HOUR = timedelta(hours=1)
LAST_USE_PRECISION = timedelta(minutes=1)
WEEKDAYS = ("Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday")

Issued = Counter[tuple[datetime, int]]
"""The number of issued tokens, by the beginning of the hour and by lifetime in seconds."""


class AgentTokens(NamedTuple):
    """An agent, its number of tokens, and the last day on which the agent got a token."""

    agent_id: UUID
    name: str
    tokens: int
    last_day: date


@dataclass(frozen=True)
class Impact:
    """What stops working if a credential, an agent or a resource server is revoked, suspended or deleted."""

    issued: Issued  # tokens of the last ``days`` days
    at: datetime
    last_used_at: datetime | None = None  # last use of the credential to revoke, to the minute
    other_credentials: Rows | None = None  # the agent's other valid credentials; None if no credential is revoked
    acting_agents: Sequence[AgentTokens] = ()  # agents that can no longer act for the agent, most tokens first
    receiving_agents: Sequence[AgentTokens] = ()  # agents that got tokens for the resource server, most tokens first
    grants: int = 0  # number of grants of people for the agent or for the resource server
    days: int = DAYS

    @property
    def tokens(self) -> int:
        """The number of issued tokens."""
        return self.issued.total()

    @property
    def last_hour(self) -> datetime | None:
        """The beginning of the last hour with tokens, or ``None`` if there are no tokens."""
        return max((hour for (hour, _), tokens in self.issued.items() if tokens), default=None)

    @property
    def valid_tokens(self) -> dict[str, Any]:
        """The maximum number of valid tokens, and the last expiry if each token was issued at the end of its hour."""
        max_valid_tokens, valid_until = 0, None
        for (hour, lifetime), hour_tokens in self.issued.items():
            latest_issued_at = min(self.at, hour + HOUR)
            if self.last_used_at is not None:
                latest_issued_at = min(latest_issued_at, self.last_used_at + LAST_USE_PRECISION)
            expires_at = latest_issued_at + timedelta(seconds=lifetime)
            if hour_tokens > 0 and expires_at > self.at:
                max_valid_tokens += hour_tokens
                valid_until = max(valid_until or expires_at, expires_at)
        return {"atMost": max_valid_tokens, "until": valid_until}

    @property
    def quietest_hours(self) -> dict[str, int] | None:
        """The quietest hours of the week as JSON of the API, or ``None`` if there are no tokens."""
        if not self.tokens:
            return None
        tokens_by_hour_of_week = [0] * HOURS
        for (hour, _), tokens in self.issued.items():
            tokens_by_hour_of_week[hour.isoweekday() % 7 * 24 + hour.hour] += tokens
        first_hour = find_quietest_hours(tokens_by_hour_of_week)
        tokens = sum(tokens_by_hour_of_week[(first_hour + offset) % HOURS] for offset in range(QUIET_HOURS))
        return {"dow": first_hour // 24, "hour": first_hour % 24, "hours": QUIET_HOURS, "tokens": tokens}

    @property
    def summary(self) -> list[str]:
        """The impact in sentences, for people."""
        sentences = [_describe_use(self)]
        if self.receiving_agents:
            sentences.append(f"They were issued to {_list_agents(self.receiving_agents)}.")
        if self.acting_agents:
            sentences.append(f"Other agents can no longer act for it: {_list_agents(self.acting_agents)}.")
        if self.grants:
            sentences.append(describe_ended_grants(self.grants))
        if self.other_credentials is not None:
            sentences.append(_describe_other_credentials(self.other_credentials, self.at))
        valid_tokens = self.valid_tokens
        if valid_tokens["until"] is not None:
            tokens_phrase = f"At most {format_count(valid_tokens['atMost'], 'token')} may still be valid"
            sentences.append(f"{tokens_phrase}, until {_format_instant(valid_tokens['until'])}.")
            if self.other_credentials is not None:
                sentences.append("Revoking the credential does not end them. You can also end all tokens of the agent.")
        elif self.tokens:
            sentences.append("None of them is still valid.")
        if quietest_hours := self.quietest_hours:
            sentences.append(
                f"The quietest hours of the week begin on {WEEKDAYS[quietest_hours['dow']]} at "
                f"{quietest_hours['hour']:02}:00 UTC: {format_count(quietest_hours['tokens'], 'token')} "
                f"in {QUIET_HOURS} hours, in all weeks together."
            )
        return sentences


def find_quietest_hours(tokens_by_hour: Sequence[int]) -> int:
    """Return the first of the :data:`QUIET_HOURS` consecutive hours of a week with the fewest tokens.

    :param tokens_by_hour: tokens by the hour of the week, which begins on Sunday at midnight in UTC.
    """
    # If several spans of QUIET_HOURS hours have the fewest tokens, the five hours before and after each span decide.
    offset_ranges = (range(QUIET_HOURS), range(-5, QUIET_HOURS + 5))
    sums_by_hour = [
        [sum(tokens_by_hour[(first_hour + offset) % HOURS] for offset in offsets) for offsets in offset_ranges]
        for first_hour in range(HOURS)
    ]
    return sums_by_hour.index(min(sums_by_hour))


def find_lifetimes_by_resource(server_rows: Rows, ttl: int, at: datetime) -> defaultdict[str, int]:
    """Return the maximum lifetime of tokens in seconds, by resource. The empty resource is our own API.

    :param ttl: the lifetime in seconds of tokens for our own API and for resource servers without their own lifetime.
    """
    # The former token lifetime of a changed or deleted resource server is unknown, so the maximum is assumed.
    changed_since = at - timedelta(seconds=MAX_TOKEN_TTL)
    lifetimes_by_resource = defaultdict(lambda: MAX_TOKEN_TTL, {"": ttl})
    for server in server_rows:
        has_changed_recently = server.token_ttl_changed_at is not None and server.token_ttl_changed_at > changed_since
        lifetimes_by_resource[server.resource] = MAX_TOKEN_TTL if has_changed_recently else server.token_ttl or ttl
    return lifetimes_by_resource


def _add_tokens(issued: Issued, row: Any, lifetime: int, sign: int = 1) -> None:
    """Add the hourly tokens of a row, multiplied by *sign*, to *issued*."""
    midnight = datetime.combine(row.on_day, time(), UTC)
    for hour, tokens in enumerate(row.hours):
        if tokens:
            issued[midnight + timedelta(hours=hour), lifetime] += sign * tokens


def read_credential_impact(run: Run, agent_id: UUID, credential_id: UUID, at: datetime, ttl: int) -> Impact:
    """Return what breaks if a credential is revoked. *ttl* is the default lifetime of a token in seconds.

    :raises NotFound: the agent has no such credential, or the credential is revoked.
    """
    credential_rows, token_rows, server_rows = run(
        Call("agents/list_credentials", {"agent_id": agent_id}), _build_agent_use_call(agent_id, at), RESOURCE_SERVERS
    )
    credential_row = require_row(
        [credential for credential in credential_rows if credential.credential_id == credential_id]
    )
    lifetimes_by_resource, issued_tokens = find_lifetimes_by_resource(server_rows, ttl, at), Issued()
    for token_row in token_rows:
        if token_row.credential_id == credential_id:
            _add_tokens(issued_tokens, token_row, lifetimes_by_resource[token_row.resource])
    other_credentials = [
        credential
        for credential in credential_rows
        if credential.credential_id not in (None, credential_id)
        and (credential.expires_at is None or credential.expires_at > at)
    ]
    return Impact(issued_tokens, at, last_used_at=credential_row.last_used_at, other_credentials=other_credentials)


def read_agent_impact(run: Run, agent_id: UUID, at: datetime, ttl: int) -> Impact:
    """Return what breaks if an agent is suspended or deleted. *ttl* is the default lifetime of a token in seconds.

    :raises NotFound: there is no such agent.
    """
    period = Period.of(DAYS, at)
    agent_rows, token_rows, server_rows, delegation_rows, [grant_count] = run(
        Call("agents/get_agent", {"agent_id": agent_id}),
        _build_agent_use_call(agent_id, at),
        RESOURCE_SERVERS,
        build_delegations_call(period, agent_id),
        build_count_grants_call(agent_id=agent_id),
    )
    require_row(agent_rows)
    lifetimes_by_resource, issued_tokens = find_lifetimes_by_resource(server_rows, ttl, at), Issued()
    for token_row in token_rows:
        lifetime = ttl if token_row.credential_id is None else lifetimes_by_resource[token_row.resource]
        _add_tokens(issued_tokens, token_row, lifetime)
        if token_row.credential_id is not None:
            # Rows with None as credential_id count all tokens. The subtraction leaves tokens that no other row counts.
            _add_tokens(issued_tokens, token_row, ttl, -1)
    acting_agents = _sum_tokens_of_actors(agent_id, delegation_rows, period.first)
    return Impact(issued_tokens, at, acting_agents=acting_agents, grants=grant_count.grants)


def read_resource_server_impact(run: Run, server: Any, at: datetime, ttl: int) -> Impact:
    """Return what breaks if a resource server is deleted. *ttl* is the default lifetime of a token in seconds."""
    lifetime, issued_tokens = find_lifetimes_by_resource([server], ttl, at)[server.resource], Issued()
    token_rows, [grant_count] = run(
        Call("analytics/resource_use", {"resource": server.resource, **Period.of(DAYS, at).bounds}),
        build_count_grants_call(resource=server.resource),
    )
    agent_rows = [token_row for token_row in token_rows if token_row.agent_id is not None]
    [name_rows] = run(Call("audit/agent_names", {"agent_ids": [agent_row.agent_id for agent_row in agent_rows]}))
    for token_row in token_rows:
        if token_row.agent_id is None:
            _add_tokens(issued_tokens, token_row, lifetime)
    names_by_id = {name_row.agent_id: name_row.name for name_row in name_rows}
    agents = [
        AgentTokens(agent_row.agent_id, names_by_id[agent_row.agent_id], sum(agent_row.hours), agent_row.last_day)
        for agent_row in agent_rows
    ]
    return Impact(issued_tokens, at, receiving_agents=_sort_by_tokens(agents), grants=grant_count.grants)


def build_count_grants_call(
    agent_id: UUID | None = None, rule_id: UUID | None = None, resource: str | None = None, issuer: str | None = None
) -> Call:
    """Return the statement that counts the grants of people. ``None`` as a parameter matches all grants."""
    parameters = {"agent_id": agent_id, "delegation_rule_id": rule_id, "resource": resource, "issuer": issuer}
    return Call("grants/count_grants", {"grant_id": None, "subject": None} | parameters)


def describe_ended_grants(number: int) -> str:
    """Return a sentence that says that *number* grants give no more tokens."""
    return f"{number:,} {'grant of people gives' if number == 1 else 'grants of people give'} no more tokens."


def describe_ended_sign_ins(issuer: str, grants: int) -> str:
    """Return sentences about the sign-ins and the number of *grants* that a change of an OpenID provider ends."""
    sentence = f"The people who have signed in at {issuer} are signed out."
    return f"{sentence} {describe_ended_grants(grants)}" if grants else sentence


def _build_agent_use_call(agent_id: UUID, at: datetime) -> Call:
    return Call("analytics/agent_use", {"agent_id": agent_id, **Period.of(DAYS, at).bounds})


def _sum_tokens_of_actors(agent_id: UUID, delegation_rows: Rows, first_day: date) -> list[AgentTokens]:
    """Return the agents that got tokens to act for *agent_id*, and the number of these tokens, most tokens first.

    :param delegation_rows: rows of ``analytics/delegations`` for a period that begins on *first_day*.
    """
    tokens_by_actor: dict[UUID, AgentTokens] = {}
    for row in delegation_rows:
        if row.subject_agent_id == agent_id != row.agent_id:
            actor = tokens_by_actor.get(row.agent_id, AgentTokens(row.agent_id, row.agent_name, 0, first_day))
            last_day = max(actor.last_day, first_day + timedelta(days=row.days[-1]))
            tokens_by_actor[row.agent_id] = actor._replace(tokens=actor.tokens + sum(row.tokens), last_day=last_day)
    return _sort_by_tokens(tokens_by_actor.values())


def _sort_by_tokens(agents: Iterable[AgentTokens]) -> list[AgentTokens]:
    return sorted(agents, key=lambda agent: (-agent.tokens, agent.agent_id))


def _describe_use(impact: Impact) -> str:
    last_use_text = _format_instant(impact.last_used_at) if impact.last_used_at else None
    if impact.last_hour is None:
        last_use_clause = f", and the last use was at {last_use_text}" if last_use_text else ""
        return f"No token was counted in the last {DAYS} days{last_use_clause}."
    last_token_words = f"at {last_use_text}" if last_use_text else f"in the hour of {_format_instant(impact.last_hour)}"
    return f"{format_count(impact.tokens, 'token')} in the last {DAYS} days, the last one {last_token_words}."


def _describe_other_credentials(other_credentials: Rows, at: datetime) -> str:
    use_phrases = [
        f"{credential.label or credential.credential_id}, last used at {_format_instant(credential.last_used_at)}"
        for credential in other_credentials
        if credential.last_used_at is not None and credential.last_used_at > at - IN_USE
    ]
    if use_phrases:
        return f"The agent has another credential in use: {'; '.join(use_phrases)}."
    if other_credentials:
        return f"The agent has another credential, but none that was used in the last {IN_USE.days} days."
    return "The agent has no other credential, so it will get no further token."


def _list_agents(agents: Sequence[AgentTokens]) -> str:
    agent_phrases = [
        f"{agent.name} ({format_count(agent.tokens, 'token')}, the last on {agent.last_day})" for agent in agents
    ]
    listed_text, unlisted_count = ", ".join(agent_phrases[:MAX_LISTED]), len(agent_phrases) - MAX_LISTED
    return f"{listed_text} and {format_count(unlisted_count, 'more agent')}" if unlisted_count > 0 else listed_text


def _format_instant(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


class ValidTokensSchema(ReturnedSchema):
    """The maximum number of tokens that have not expired. It is a maximum, because only the hour of issue is known."""

    atMost = ma.fields.Integer(validate=ma.validate.Range(0))
    until = Instant(description="The latest instant at which the last token expires", allow_none=True)


class QuietestHoursSchema(ReturnedSchema):
    """The consecutive hours of the week (UTC) with the fewest tokens. ``tokens`` is the sum over all weeks."""

    dow = ma.fields.Integer(**required("0 is Sunday"), validate=ma.validate.Range(0, 6))
    hour = ma.fields.Integer(validate=ma.validate.Range(0, 23))
    hours = ma.fields.Integer(validate=ma.validate.Range(1))
    tokens = ma.fields.Integer(validate=ma.validate.Range(0))


class _ImpactSchema(ReturnedSchema):
    """The members that the responses of all ``…/impact`` endpoints have."""

    days = ma.fields.Integer(validate=ma.validate.Range(1))
    tokens = ma.fields.Integer(validate=ma.validate.Range(0))
    lastTokenHour = Instant(
        attribute="last_hour", description="The UTC hour in which the last token was issued", allow_none=True
    )
    validTokens = ma.fields.Nested(ValidTokensSchema, attribute="valid_tokens")
    quietestHours = ma.fields.Nested(
        QuietestHoursSchema, attribute="quietest_hours", **required("Null if there are no tokens", nullable=True)
    )
    summary = ma.fields.List(ma.fields.String(), **required("The impact in sentences, for people"))


class AgentOfImpactSchema(ReturnedSchema):
    """An affected agent: it got tokens for the deleted resource server, or acts for the suspended or deleted agent."""

    agentId = ma.fields.UUID(attribute="agent_id")
    agentName = ma.fields.String(attribute="name")
    tokens = ma.fields.Integer(validate=ma.validate.Range(1))
    lastTokenDay = ma.fields.Date(attribute="last_day")


GRANTS = ma.fields.Integer(**required("The number of grants of people that end too"), validate=ma.validate.Range(0))


class AgentImpactSchema(_ImpactSchema):
    """What breaks if an agent is suspended or deleted."""

    agentId = ma.fields.UUID()
    actingAgents = ma.fields.List(
        ma.fields.Nested(AgentOfImpactSchema),
        attribute="acting_agents",
        **required("Other agents that can no longer act for the agent, most tokens first"),
    )
    grants = GRANTS


class OtherCredentialSchema(ReturnedSchema):
    """Another valid credential of the same agent."""

    credentialId = ma.fields.UUID(attribute="credential_id")
    label = ma.fields.String(allow_none=True)
    lastUsedAt = Instant(attribute="last_used_at", allow_none=True)


class CredentialImpactSchema(_ImpactSchema):
    """What breaks if a credential is revoked."""

    agentId = ma.fields.UUID()
    credentialId = ma.fields.UUID()
    lastUsedAt = Instant(attribute="last_used_at", allow_none=True)
    otherCredentials = ma.fields.List(ma.fields.Nested(OtherCredentialSchema), attribute="other_credentials")


class ResourceServerImpactSchema(_ImpactSchema):
    """What breaks if a resource server is deleted."""

    resourceServerId = ma.fields.UUID()
    resource = ma.fields.String()
    agents = ma.fields.List(ma.fields.Nested(AgentOfImpactSchema), attribute="receiving_agents")
    grants = GRANTS


@blueprint.route("/api/v1/agents/<uuid:agent_id>/credentials/<uuid:credential_id>/impact")
@bearer("agents:read")
@blueprint.tool("impact_of_revoking")
@blueprint.response(200, CredentialImpactSchema)
def impact_of_revoking(caller: Caller, agent_id: UUID, credential_id: UUID) -> Response:
    """Return what breaks if the credential is revoked: its tokens of 90 days, and the agent's other credentials."""
    token_ttl = caller.settings.token_ttl
    impact = read_credential_impact(caller.read_together, agent_id, credential_id, caller.at, token_ttl)
    credential_members = {"credentialId": str(credential_id), "agentId": str(agent_id)}
    return json_response(credential_members | CredentialImpactSchema().as_json(impact))


@blueprint.route("/api/v1/agents/<uuid:agent_id>/impact")
@bearer("agents:read")
@blueprint.tool("impact_of_suspending")
@blueprint.response(200, AgentImpactSchema)
def impact_of_suspending(caller: Caller, agent_id: UUID) -> Response:
    """Return what breaks if the agent is suspended or deleted: its tokens of 90 days, and agents that act for it."""
    impact = read_agent_impact(caller.read_together, agent_id, caller.at, caller.settings.token_ttl)
    return json_response({"agentId": str(agent_id)} | AgentImpactSchema().as_json(impact))


@blueprint.route("/api/v1/resource-servers/<uuid:resource_server_id>/impact")
@bearer("agents:read")
@blueprint.tool("impact_of_deleting")
@blueprint.response(200, ResourceServerImpactSchema)
def impact_of_deleting(caller: Caller, resource_server_id: UUID) -> Response:
    """Return what breaks if the resource server is deleted: its tokens of 90 days, and the agents that got them."""
    server = require_row(caller.read("oauth/get_resource_server", resource_server_id=resource_server_id))
    impact = read_resource_server_impact(caller.read_together, server, caller.at, caller.settings.token_ttl)
    server_members = {"resourceServerId": str(resource_server_id), "resource": server.resource}
    return json_response(server_members | ResourceServerImpactSchema().as_json(impact))
