"""Explain rule by rule and claim by claim why a token of another issuer is accepted or not.

People who set up rules see the results; clients never do.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from agentidp.config import ConfigurationError
from agentidp.db.organization import OrganizationDatabase
from agentidp.federation.agent_name import name_from
from agentidp.federation.issuer_keys import KeysUnavailable
from agentidp.federation.issuer_tokens import MAX_LIFETIME, TYPES, UNKNOWN_KEY, IssuerToken
from agentidp.federation.rule import Comparison, Rule
from agentidp.federation.rule_checks import RuleRefused, of_subject
from agentidp.jose.assertion import MAX_LENGTH, WRONG_SIGNATURE, wrong_time
from agentidp.jose.jwk import ALGORITHMS
from agentidp.oauth import first_sight
from agentidp.oauth.token_exchange import refusal_of_subject
from agentidp.services import Services

MAX_RULES = 1_000
"""Maximum rules of trust that a token is compared with."""

MAX_KEYS = 200
"""Maximum keys that verify a signature. A thousand rules with ten keys each would take ten seconds."""

MAX_DEPTH = 100
"""Maximum depth of objects and lists in a token, because deeper JSON can be read but not always shown."""

_CLIENT_ID = (
    "The workload must send client_id with this token: its audience does not contain the id of the organization, or "
    "several agents trust it."
)

_EXCHANGE = "It is no credential: an agent that may act by this rule sends it as subject_token of a token exchange."


@dataclass(frozen=True)
class RuleResult:
    """The result for a token and a rule.

    :param agent_id: the agent of a rule of trust; ``None`` for an organization's rule, likewise ``credential_id``.
    :param rule: the rule in words.
    :param provisioning_rule: the name of a provisioning rule; likewise ``delegation_rule``.
    :param needs_client_id: whether the token alone does not name one agent.
    """

    agent_id: UUID | None
    credential_id: UUID | None
    rule: str
    comparisons: list[Comparison]
    provisioning_rule: str | None = None
    delegation_rule: str | None = None
    needs_client_id: bool = False

    @property
    def is_accepted(self) -> bool:
        """Whether the rule accepts the token."""
        return all(comparison.is_met for comparison in self.comparisons)

    @property
    def met(self) -> int:
        """The number of comparisons that are met."""
        return sum(comparison.is_met for comparison in self.comparisons)

    @property
    def note(self) -> str | None:
        """An instruction for the sender of an accepted token, or ``None``."""
        if not self.is_accepted:
            return None
        return _EXCHANGE if self.delegation_rule else _CLIENT_ID if self.needs_client_id else None


def compare_token(
    s: Services, database: OrganizationDatabase, text: str, *, agent_id: UUID | None, at: datetime
) -> list[RuleResult]:
    """Compare a token with an organization's rules that are in force, and return the best result first.

    :param agent_id: the agent whose rules are compared; ``None`` for all rules.
    :param at: the time at which the token's times are judged.
    :raises ConfigurationError: no rule could accept the token, or it cannot be shown.
    """
    token = s.issuer_tokens.read(text.strip())
    if token is None:
        raise ConfigurationError(
            f"this is not a token that any rule could accept: it must be a JWT of at most {MAX_LENGTH} characters, "
            f"signed with {', '.join(ALGORITHMS)}, and its typ one of "
            f"{', '.join(typ for typ in TYPES if typ)}"
        )
    if s.settings.issuer in token.compared.issuers:
        raise ConfigurationError("this is a token of this server, which is no credential")
    if _depth(token.claims) > MAX_DEPTH:
        raise ConfigurationError(f"the claims of this token are nested more than {MAX_DEPTH} times")
    rows = database.fetch("oauth/organization_rules", agent_id=agent_id, most=MAX_RULES)
    found = [
        RuleResult(
            row.agent_id,
            row.credential_id,
            f"the rule {row.label or row.credential_id} of the agent {row.agent_name}",
            _comparisons(s, database, Rule.of(row.trust), token, at),
        )
        for row in rows
    ]
    is_named = token.organization_id == database.organization_id
    if not is_named or len({one.agent_id for one in found if one.is_accepted}) > 1:
        found = [replace(one, needs_client_id=True) for one in found]
    if agent_id is None:
        found += _provisioning(s, database, token, at)
    found += _delegation(s, database, token, agent_id, at)
    return sorted(found, key=lambda result: (not result.is_accepted, -result.met))


def _depth(claims: dict[str, Any]) -> int:
    depth = 0
    level: list[Any] = [claims]
    while nested := [one for one in level if isinstance(one, dict | list)]:
        depth += 1
        level = [inner for one in nested for inner in (one.values() if isinstance(one, dict) else one)]
    return depth


def _provisioning(s: Services, database: OrganizationDatabase, token: IssuerToken, at: datetime) -> list[RuleResult]:
    found, subject = [], token.claims.get("sub")
    [known] = database.run(first_sight.provisioning_rules_call(token))
    agents = {row.provisioning_rule_id: row.agent_id for row in known}
    ended = first_sight.ended_agent(database, token)
    [organization] = database.fetch("organizations/get_organization")
    for row in database.fetch("provisioning/list_rules"):
        compared = _comparisons(s, database, Rule.of(row.trust), token, at)
        template, agent_id = row.agent_template["name"], agents.get(row.provisioning_rule_id) or ended
        name = name_from(template, token.claims)
        is_on, has_place = organization.provisions_agents, row.agents < row.max_agents
        own_rule = "can be made"
        try:
            of_subject(row.trust, subject, own_issuer=s.settings.issuer, organization_id=database.organization_id)
        except RuleRefused as refused:
            own_rule = f"{refused.member} {refused}"
        compared += [
            Comparison("name of the agent", template, name, name is not None, name is not None),
            Comparison("rule of the agent", "can be made", own_rule, True, own_rule == "can be made"),
            Comparison("agent of the subject", "none yet", str(agent_id or "none yet"), True, agent_id is None),
            Comparison("agents", f"fewer than {row.max_agents}", str(row.agents), True, has_place),
            Comparison("provisioning", "on", "on" if is_on else "off", True, is_on),
        ]
        found.append(RuleResult(None, None, f"the provisioning rule {row.name}", compared, row.name))
    return found


def _delegation(
    s: Services, database: OrganizationDatabase, token: IssuerToken, agent_id: UUID | None, at: datetime
) -> list[RuleResult]:
    found, claims = [], token.claims
    for row in database.fetch("delegation/list_rules"):
        agent_ids = [one for one in row.agent_ids if agent_id in (None, one)]
        if not agent_ids:
            continue
        # A rule without an audience demands a token for the agent that acts.
        meant = next((one for one in agent_ids if str(one) == token.compared.audience), agent_ids[0])
        compared = _comparisons(s, database, Rule.of({"audience": str(meant)} | row.trust), token, at)
        wrong = {refusal_of_subject(claims, one, s.settings.issuer) for one in agent_ids}
        can_act = None in wrong
        said = "can act" if can_act else str(wrong.pop())
        compared.append(Comparison("agent for the subject", "can act", said, True, can_act))
        found.append(RuleResult(None, None, f"the delegation rule {row.name}", compared, delegation_rule=row.name))
    return found


def _comparisons(
    s: Services, database: OrganizationDatabase, rule: Rule, token: IssuerToken, at: datetime
) -> list[Comparison]:
    compared = rule.compare(token.compared)
    late = wrong_time(token.claims, at.timestamp(), MAX_LIFETIME)
    times = [f"{name} {_instant(token.claims[name])}" for name in ("nbf", "iat", "exp") if name in token.claims]
    found = ", ".join([late, *times] if late else times)
    compared.append(Comparison("times", _instant(at.timestamp()), found, True, late is None))
    if all(one.is_met for one in compared if one.name != "times"):
        found = _signature(s, database, rule, token)
        compared.append(Comparison("signature", "by a key of the issuer", found, True, found == "right"))
    return compared


def _instant(seconds: Any) -> str:
    try:
        return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    except (TypeError, ValueError, OverflowError, OSError):
        return json.dumps(seconds)


def _signature(s: Services, database: OrganizationDatabase, rule: Rule, token: IssuerToken) -> str:
    if len(token.jwt.tried) >= MAX_KEYS:
        return f"not verified: other rules have {MAX_KEYS} keys already"
    try:
        keys = s.issuer_tokens.keys_of(rule, token, database.organization_id)
    except KeysUnavailable as unavailable:
        return f"no keys of the issuer: {unavailable}"
    if not keys:
        return UNKNOWN_KEY
    return "right" if any(token.jwt.is_signed_by(key) for key in keys) else WRONG_SIGNATURE


def describe_result(result: RuleResult) -> dict[str, Any]:
    """Return a result as JSON."""
    return {
        "agentId": None if result.agent_id is None else str(result.agent_id),
        "credentialId": None if result.credential_id is None else str(result.credential_id),
        "provisioningRule": result.provisioning_rule,
        "delegationRule": result.delegation_rule,
        "accepted": result.is_accepted,
        "needsClientId": result.needs_client_id,
        "comparisons": [
            {"name": one.name, "expected": one.expected, "found": one.found, "met": one.is_met}
            for one in result.comparisons
        ],
    }
