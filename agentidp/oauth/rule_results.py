"""Explain to people who set up rules, claim by claim, why a rule accepts a token of another issuer or not."""

from __future__ import annotations

import itertools
import json
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from agentidp.config import ConfigurationError
from agentidp.db.organization import OrganizationDatabase
from agentidp.db.sql import Call
from agentidp.federation.agent_name import build_agent_name
from agentidp.federation.issuer_keys import KeysUnavailable
from agentidp.federation.issuer_tokens import MAX_LIFETIME, TYPES, UNKNOWN_KEY, IssuerToken
from agentidp.federation.rule import Comparison, Rule
from agentidp.federation.rule_checks import RuleRefused, narrow_to_subject
from agentidp.http.resource_identifier import owned_name
from agentidp.jose.access_token import AGENT, AccessToken, TokenRefused, verify_access_token
from agentidp.jose.assertion import MAX_LENGTH, WRONG_SIGNATURE, find_wrong_time
from agentidp.jose.jwk import ALGORITHMS
from agentidp.oauth import first_sight, id_jag
from agentidp.oauth.missing_scopes import describe_missing_scopes, find_missing_scopes
from agentidp.oauth.token_exchange import Subject, build_exchange_call, build_subject, find_subject_refusal
from agentidp.services import Services

MAX_RULES = 1_000
"""Maximum number of rules of trust that are compared with a token."""

MAX_KEYS = 200
"""Maximum number of keys that are tried for a token. A thousand rules with ten keys each would take ten seconds."""

MAX_DEPTH = 100
"""Maximum depth of objects and lists in a token, because Python can parse deeper JSON but may fail to write it."""

_CLIENT_ID = (
    "The workload must send client_id with this token: its audience does not contain the id of the organization, or "
    "several agents trust it."
)

_FOR_RESOURCE = "Not a credential: the agent sends this token as subject_token of a token exchange for this resource."

_EXCHANGE = "Not a credential: an agent that may act by this rule sends the token as subject_token of a token exchange."
_ID_JAG = "This token is an ID-JAG: the agent in its client_id sends it as assertion with the grant type jwt-bearer."


@dataclass(frozen=True)
class RuleResult:
    """The comparison of a token with a rule, or of a token of this server with what an exchange requires.

    :param rule: the rule or the exchange, in words.
    :param agent_id: the agent that has the rule of trust ``credential_id``, or that wants to exchange a token.
    :param provisioning_rule: the name of a provisioning rule. ``delegation_rule`` is the name of a delegation rule.
    :param needs_client_id: whether the client must send ``client_id`` with the token.
    :param instruction: the instruction for the token's sender if the rule accepts the token.
    :param resource: the resource for which the agent might exchange a token of this server; otherwise ``None``.
    """

    rule: str
    comparisons: list[Comparison]
    agent_id: UUID | None = None
    credential_id: UUID | None = None
    provisioning_rule: str | None = None
    delegation_rule: str | None = None
    needs_client_id: bool = False
    resource: str | None = None
    instruction: str | None = None

    @property
    def is_accepted(self) -> bool:
        """Whether the rule accepts the token: all comparisons are passed."""
        return all(comparison.is_met for comparison in self.comparisons)

    @property
    def met_count(self) -> int:
        """The number of comparisons that the token passes."""
        return sum(comparison.is_met for comparison in self.comparisons)

    @property
    def note(self) -> str | None:
        """The instruction for the sender of the token; ``None`` if the rule does not accept the token."""
        return self.instruction if self.is_accepted else None


def compare_token(
    services: Services, database: OrganizationDatabase, unverified_token: str, *, agent_id: UUID | None, at: datetime
) -> list[RuleResult]:
    """Compare a token with an organization's valid rules. Return the results, the best match first.

    :param agent_id: the agent whose rules are compared; ``None`` for all rules.
    :raises ConfigurationError: no rule could accept the token, or its claims cannot be shown.
    """
    id_jag_token = services.issuer_tokens.read_token(unverified_token.strip(), types=(id_jag.TYPE,))
    token = id_jag_token or services.issuer_tokens.read_token(unverified_token.strip())
    if token is None:
        raise ConfigurationError(
            f"this is not a token that any rule could accept: it must be a JWT of at most {MAX_LENGTH} characters, "
            f"signed with {', '.join(ALGORITHMS)}, and its typ one of "
            f"{', '.join(token_type for token_type in (*TYPES, id_jag.TYPE) if token_type)}"
        )
    if services.settings.issuer in token.prepared_claims.issuers:
        if agent_id is None:
            raise ConfigurationError("this is a token of this server: name the agent that exchanges it")
        return _compare_own_token(services, database, unverified_token.strip(), agent_id, at)
    if _measure_nesting_depth(token.claims) > MAX_DEPTH:
        raise ConfigurationError(f"the claims of this token are nested more than {MAX_DEPTH} times")
    comparer = _Comparer(services, database, token, at, is_id_jag=id_jag_token is not None)
    rule_results = [] if id_jag_token else comparer.compare_with_rules_of_trust(agent_id)
    if agent_id is None and not id_jag_token:
        rule_results += comparer.compare_with_provisioning_rules()
    rule_results += comparer.compare_with_delegation_rules(agent_id)
    return sorted(rule_results, key=lambda result: (not result.is_accepted, -result.met_count))


def _compare_own_token(
    services: Services, database: OrganizationDatabase, unverified_token: str, actor_id: UUID, at: datetime
) -> list[RuleResult]:
    """Return a result per resource for which an agent might exchange a token of this server."""
    token = _verify_own_token(services, unverified_token, at)
    subject, is_same_organization = build_subject(token, actor_id), token.organization_id == database.organization_id
    resource_servers, [chain_row], agent_rows = database.run(
        Call("oauth/list_resource_servers", {}),
        _build_chain_call(subject),
        Call("agents/get_agent", {"agent_id": actor_id}),
    )
    # Resource servers whose audience is shared by all customers of a cloud provider are left out, because such servers
    # do not support delegation.
    resource_servers = [
        server for server in resource_servers if server.audience is None or owned_name(server.audience) is not None
    ]
    own_audiences = [server.audience or server.resource for server in resource_servers if server.agent_id == actor_id]
    comparisons = [
        Comparison("organization", database.organization_id, token.organization_id, is_same_organization),
        Comparison("audience", own_audiences, token.audience, token.audience in own_audiences),
        Comparison("token and its agents", "in force", chain_row.refusal or "in force", chain_row.refusal is None),
    ]
    exchange_results = [
        RuleResult(
            f"the exchange for {server.resource}",
            [*comparisons, _compare_scopes(database, server, actor_id, subject)],
            actor_id,
            resource=server.resource,
            instruction=_FOR_RESOURCE,
        )
        for server in resource_servers
        if server.subject == AGENT and agent_rows and not set(server.scopes).isdisjoint(agent_rows[0].scopes)
    ]
    if not exchange_results:
        comparison = Comparison("scopes", "those of a resource server", "the agent has none", is_met=False)
        exchange_results = [RuleResult("the exchange", [*comparisons, comparison], actor_id)]
    return sorted(exchange_results, key=lambda result: (not result.is_accepted, -result.met_count))


def _build_chain_call(subject: Subject) -> Call:
    delegation = subject.delegation
    chain_parameters = {
        "agent_ids": delegation.agent_ids,
        "issued_at": subject.list_issue_instants(),
        "jtis": delegation.jtis,
        # The audience of the exchanged token is left out, because _compare_own_token() compares it.
        "audiences": [ancestor.audience for ancestor in delegation.ancestors[1:]],
        "rule_id": delegation.rule_id,
    }
    return Call("oauth/chain_refusal", chain_parameters)


def _verify_own_token(services: Services, unverified_token: str, at: datetime) -> AccessToken:
    issuer, find_key = services.settings.issuer, services.keys.find_key
    try:
        return verify_access_token(unverified_token, find_key, issuer=issuer, audience=None, at=at)
    except TokenRefused as refused:
        refusal_reason = refused.client_message or refused
        raise ConfigurationError(f"this is a token of this server, which refuses it: {refusal_reason}") from None


def _compare_scopes(database: OrganizationDatabase, server: Any, actor_id: UUID, subject: Subject) -> Comparison:
    """Compare the scopes of a resource server with the scopes that an agent would get there for a subject."""
    call = Call("oauth/exchange_token", {"agent_id": actor_id, "resource": server.resource, "scope": None})
    missing_by_party = find_missing_scopes(database, build_exchange_call(call, subject).parameters)
    refused_scopes = {*itertools.chain(*missing_by_party.values())}
    granted_scopes = [scope for scope in server.scopes if scope not in refused_scopes]
    sentences = [" ".join(granted_scopes)] if granted_scopes else []
    sentences += [describe_missing_scopes(missing_by_party)] if missing_by_party else []
    return Comparison("scopes", " ".join(server.scopes), "; ".join(sentences), bool(granted_scopes))


def _measure_nesting_depth(claims: dict[str, Any]) -> int:
    depth = 0
    nested_values: list[Any] = [claims]
    while containers := [nested_value for nested_value in nested_values if isinstance(nested_value, dict | list)]:
        depth += 1
        nested_values = [
            nested_value
            for container in containers
            for nested_value in (container.values() if isinstance(container, dict) else container)
        ]
    return depth


@dataclass(frozen=True)
class _Comparer:
    app_services: Services
    database: OrganizationDatabase
    token: IssuerToken
    at: datetime
    is_id_jag: bool

    def compare_with_rules_of_trust(self, agent_id: UUID | None) -> list[RuleResult]:
        """Compare the token with the rules of trust of an agent; ``None`` for the rules of all agents."""
        rule_results = [
            RuleResult(
                f"the rule {rule_row.label or rule_row.credential_id} of the agent {rule_row.agent_name}",
                self._compare_with_rule(rule_row.trust),
                rule_row.agent_id,
                rule_row.credential_id,
            )
            for rule_row in self.database.fetch("oauth/valid_rules_of_trust", agent_id=agent_id, max_rules=MAX_RULES)
        ]
        is_token_for_organization = self.token.organization_id == self.database.organization_id
        accepting_agent_ids = {result.agent_id for result in rule_results if result.is_accepted}
        if not is_token_for_organization or len(accepting_agent_ids) > 1:
            rule_results = [replace(result, needs_client_id=True, instruction=_CLIENT_ID) for result in rule_results]
        return rule_results

    def compare_with_provisioning_rules(self) -> list[RuleResult]:
        """Compare the token with the provisioning rules."""
        [accepting_rules] = self.database.run(first_sight.build_provisioning_rules_call(self.token))
        agent_ids_by_rule = {rule.provisioning_rule_id: rule.agent_id for rule in accepting_rules}
        ended_agent_id = first_sight.find_ended_agent(self.database, self.token)
        [organization] = self.database.fetch("organizations/get_organization")
        is_provisioning_on = organization.provisions_agents
        return [
            RuleResult(
                f"the provisioning rule {rule.name}",
                [
                    *self._compare_with_rule(rule.trust),
                    *self._compare_agents(rule, agent_ids_by_rule.get(rule.provisioning_rule_id) or ended_agent_id),
                    Comparison("provisioning", "on", "on" if is_provisioning_on else "off", is_provisioning_on),
                ],
                provisioning_rule=rule.name,
            )
            for rule in self.database.fetch("provisioning/list_rules")
        ]

    def _compare_agents(self, rule: Any, subject_agent_id: UUID | None) -> list[Comparison]:
        """Compare the agent that a provisioning rule would create, and the existing agents, with what the rule allows.

        :param subject_agent_id: the existing agent of the token's subject; ``None`` if the subject has no agent.
        """
        name_template = rule.agent_template["name"]
        agent_name = build_agent_name(name_template, self.token.claims)
        has_agent_name, rule_refusal = agent_name is not None, self._find_own_rule_refusal(rule.trust)
        existing_agent = str(subject_agent_id or "none yet")
        return [
            Comparison("name of the agent", name_template, agent_name, has_agent_name, has_agent_name),
            Comparison("rule of the agent", "can be made", rule_refusal or "can be made", rule_refusal is None),
            Comparison("agent of the subject", "none yet", existing_agent, subject_agent_id is None),
            Comparison("agents", f"fewer than {rule.max_agents}", str(rule.agents), rule.agents < rule.max_agents),
        ]

    def _find_own_rule_refusal(self, trust: dict[str, Any]) -> str | None:
        issuer, organization_id = self.app_services.settings.issuer, self.database.organization_id
        try:
            narrow_to_subject(trust, self.token.claims.get("sub"), own_issuer=issuer, organization_id=organization_id)
        except RuleRefused as error:
            return f"{error.member} {error}"
        return None

    def compare_with_delegation_rules(self, agent_id: UUID | None) -> list[RuleResult]:
        """Compare the token with the delegation rules by which an agent may act; ``None`` for all delegation rules."""
        instruction = _ID_JAG if self.is_id_jag else _EXCHANGE
        rule_results = []
        for rule in self.database.fetch("delegation/list_rules"):
            actor_ids = [actor_id for actor_id in rule.agent_ids if agent_id in (None, actor_id)]
            if actor_ids:
                title, comparisons = f"the delegation rule {rule.name}", self._compare_actors(rule.trust, actor_ids)
                rule_results.append(RuleResult(title, comparisons, delegation_rule=rule.name, instruction=instruction))
        return rule_results

    def _compare_actors(self, trust: dict[str, Any], actor_ids: list[UUID]) -> list[Comparison]:
        """Compare the token with a delegation rule by which the agents *actor_ids* may act."""
        # By default, a token must name the acting agent: an ID-JAG in client_id, other tokens in the audience.
        issuer, prepared_claims = self.app_services.settings.issuer, self.token.prepared_claims
        id_in_token = prepared_claims.claims.get("client_id") if self.is_id_jag else prepared_claims.audience
        expected_id = next((str(actor_id) for actor_id in actor_ids if str(actor_id) == id_in_token), str(actor_ids[0]))
        id_jag_audience = {"audience": issuer} if self.is_id_jag else {}
        comparisons = self._compare_with_rule({"audience": expected_id} | trust | id_jag_audience)
        if self.is_id_jag:
            comparisons.append(Comparison("client_id", expected_id, id_in_token, id_in_token == expected_id))
        subject_refusals = {find_subject_refusal(self.token.claims, actor_id, issuer) for actor_id in actor_ids}
        may_act = None in subject_refusals
        verdict_text = "can act" if may_act else str(subject_refusals.pop())
        return [*comparisons, Comparison("agent for the subject", "can act", verdict_text, may_act)]

    def _compare_with_rule(self, trust: dict[str, Any]) -> list[Comparison]:
        """Compare the token's claims and times with a rule, and also the signature if the claims match."""
        rule, claims = Rule.from_trust(trust), self.token.claims
        comparisons = rule.compare(self.token.prepared_claims)
        are_claims_met = all(comparison.is_met for comparison in comparisons)
        time_refusal = find_wrong_time(claims, self.at.timestamp(), MAX_LIFETIME)
        time_claims = [
            f"{claim_name} {_format_time(claims[claim_name])}"
            for claim_name in ("nbf", "iat", "exp")
            if claim_name in claims
        ]
        times_text = ", ".join([time_refusal, *time_claims] if time_refusal else time_claims)
        comparisons.append(Comparison("times", _format_time(self.at.timestamp()), times_text, time_refusal is None))
        if are_claims_met:
            signature_verdict = self._judge_signature(rule)
            comparisons.append(
                Comparison("signature", "by a key of the issuer", signature_verdict, signature_verdict == "right")
            )
        return comparisons

    def _judge_signature(self, rule: Rule) -> str:
        """Return ``right`` if a key of the rule's issuer made the token's signature, otherwise the reason why not."""
        if len(self.token.jwt.tried) >= MAX_KEYS:
            return f"not verified: {MAX_KEYS} keys of other rules were tried before"
        try:
            issuer_keys = self.app_services.issuer_tokens.find_keys(rule, self.token, self.database.organization_id)
        except KeysUnavailable as unavailable:
            return f"no keys of the issuer: {unavailable}"
        if not issuer_keys:
            return UNKNOWN_KEY
        return "right" if any(self.token.jwt.is_signed_by(key) for key in issuer_keys) else WRONG_SIGNATURE


def _format_time(seconds: Any) -> str:
    try:
        return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    except (TypeError, ValueError, OverflowError, OSError):
        return json.dumps(seconds)


def describe_result(result: RuleResult) -> dict[str, Any]:
    """Return the comparison of a token with a rule as JSON."""
    return {
        "agentId": result.agent_id and str(result.agent_id),
        "credentialId": result.credential_id and str(result.credential_id),
        "provisioningRule": result.provisioning_rule,
        "delegationRule": result.delegation_rule,
        "accepted": result.is_accepted,
        "needsClientId": result.needs_client_id,
        "resource": result.resource,
        "comparisons": [
            {"name": compared.name, "expected": compared.expected, "found": compared.actual, "met": compared.is_met}
            for compared in result.comparisons
        ],
    }
