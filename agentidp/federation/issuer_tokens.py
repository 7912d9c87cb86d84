"""Verify tokens of other issuers: find the rule that accepts a token, or the reason why no rule does.

A token may be used repeatedly until it expires, because a pod, for example, gets one token per hour. Anybody can send a
token, so the length of the compared rules and the number of verified signatures are limited.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from agentidp.federation.issuer_keys import IssuerKeys, KeysUnavailable
from agentidp.federation.rule import SPIFFE, Rule, TokenClaims, rule_selector, subject_selector
from agentidp.federation.rule_cache import RuleCache
from agentidp.federation.rule_checks import MAX_RULE, find_organization_id, list_rule_subjects
from agentidp.http.errors import OAuthError
from agentidp.http.request_context import current_context
from agentidp.jose.assertion import MAX_LENGTH, MAX_SIGNATURES, NOBODYS_KEYS, WRONG_SIGNATURE, find_wrong_time
from agentidp.jose.jwk import ALGORITHMS, normalize_algorithm
from agentidp.jose.jws import UnverifiedJwt, parse_jwt

TYPES = (None, "jwt", "jose", "at+jwt", "application/at+jwt", "client-authentication+jwt")
"""Accepted values of a token's header ``typ``, in lower case; ``None`` if the header is missing."""

MAX_LIFETIME = 86_400
"""Maximum seconds until a token expires. Platforms issue tokens for at most a day."""

MAX_CHARACTERS = MAX_RULE
"""Maximum number of characters of all rules with which a token is compared, the length of about sixty rules."""

NO_RULE, NO_MATCH, WRONG_AUDIENCE, UNKNOWN_KEY, TOO_MANY_RULES = REASONS = (
    "no rule of trust",
    "token matches no rule",
    "wrong audience",
    "unknown key",
    "too many rules for the token",
)
"""Reasons for the log why no rule accepts a token, from the least to the most specific."""

logger = logging.getLogger("agentidp")


@dataclass(frozen=True, slots=True)
class IssuerToken:
    """A token of another issuer. Its signature is not verified yet, so anybody may have written its claims."""

    jwt: UnverifiedJwt
    prepared_claims: TokenClaims
    issuers: tuple[str, ...]

    @property
    def claims(self) -> dict[str, Any]:
        """The unverified claims of the token."""
        return self.jwt.claims

    @property
    def organization_id(self) -> str | None:
        """The organization's id in the token's ``aud``, or ``None`` if ``aud`` contains no such id."""
        return find_organization_id(self.prepared_claims.audience)

    @property
    def rule_selectors(self) -> list[UUID]:
        """The ids, made of issuer and subject, under which the database stores the rules that may accept this token."""
        rule_subjects = list_rule_subjects(self.claims.get("sub"))
        return [rule_selector(issuer, rule_subject) for issuer in self.issuers for rule_subject in rule_subjects]

    @property
    def subject_selectors(self) -> list[bytes]:
        """Digests of issuer and subject by which the database finds the agent that a rule has created for the token."""
        return [subject_selector(issuer, str(self.claims.get("sub"))) for issuer in self.issuers]

    def is_signed_by(self, key: Any) -> bool | None:
        """Return whether a key made the token's signature, or ``None`` if too many other keys were tried before."""
        if len(self.jwt.tried) >= MAX_SIGNATURES[normalize_algorithm(self.jwt.alg)]:
            return next((is_valid for tried_key, is_valid in self.jwt.tried if tried_key == key), None)
        return self.jwt.is_signed_by(key)


class Candidate(NamedTuple):
    """A rule that may accept a token.

    :param rule: ``None`` if the rule was not read, because the rules before it have too many characters.
    :param agent_id: the agent that has the rule of trust or requests a token by the delegation rule. For a provisioning
        rule, the nil UUID.
    :param row: the database row of a delegation or provisioning rule.
    :param is_in_force: false for a rule that accepts no token, because it has expired or its agent is not active.
    :param resources: the resources of a delegation rule.
    """

    rule: Rule | None
    agent_id: UUID
    row: Any = None
    is_in_force: bool = True
    resources: Sequence[str] = ()

    @property
    def rule_json(self) -> str:
        """The rule as it is stored, in JSON, or an empty string if the rule was not read."""
        return self.rule.rule_json if self.rule is not None else ""

    @property
    def character_count(self) -> int:
        """The size of the rule in the cache, in characters."""
        # Each resource takes the memory of 100 characters in addition to its identifier.
        return len(self.rule_json) + sum(100 + len(resource) for resource in self.resources)


@dataclass(frozen=True, slots=True)
class Verdict:
    """The result of comparing a token with candidate rules.

    :param accepting: the candidates that accept the token, at most one per agent.
    :param refusals: the agent of each candidate that refuses the token, with the reason for the log.
    """

    accepting: list[Candidate] = field(default_factory=list)
    refusals: list[tuple[UUID, str]] = field(default_factory=list)

    @property
    def has_untried_keys(self) -> bool:
        """Whether some rules or keys were not tried, because there were too many."""
        return any(reason == TOO_MANY_RULES for _, reason in self.refusals)

    def find_most_specific_refusal(self, agent_id: UUID | None = None) -> str:
        """Return the most specific reason why no candidate of an agent (``None``: of any agent) accepts the token."""
        reasons = [reason for candidate_agent_id, reason in self.refusals if agent_id in (None, candidate_agent_id)]
        # REASONS begins with the least specific reason. Reasons that are not in REASONS (a wrong signature or time) are
        # the most specific.
        return max(reasons, key=lambda reason: (*REASONS, reason).index(reason), default=NO_RULE)


class TrustRulesKey(NamedTuple):
    """The key of an agent's cached rules of trust for the possible issuers of a token."""

    agent_id: UUID
    issuers: tuple[str, ...]


class DelegationRulesKey(NamedTuple):
    """The key of the cached delegation rules of an agent that has authenticated itself by a credential.

    :param audience: the ``aud`` that tokens must have; ``None`` for the audience of each rule.
    """

    agent_id: UUID
    credential: bytes | str | None
    audience: str | None


class IssuerTokens:
    """Reads and verifies tokens of other issuers. Caches rules and keys for this process."""

    def __init__(self, keys: IssuerKeys, own_issuer: str) -> None:
        self.keys, self._own_issuer = keys, own_issuer
        self.rule_cache: RuleCache[TrustRulesKey | DelegationRulesKey, Candidate] = RuleCache()
        self._parsed_rules: RuleCache[str, Rule] = RuleCache()

    def read_token(
        self, unverified_token: str, *, is_svid: bool = False, types: tuple[str | None, ...] = TYPES
    ) -> IssuerToken | None:
        """Read a token without verifying it, or return ``None`` if no rule could accept the token.

        :param is_svid: whether the token was sent as a JWT-SVID, for which only the trust domain counts as issuer.
        :param types: accepted values of the header ``typ``, in lower case; ``None`` accepts a missing header.
        """
        unverified_jwt = parse_jwt(unverified_token, max_length=MAX_LENGTH, types=types, algorithms=ALGORITHMS)
        # Security event tokens (RFC 8417 section 2.2) are recognized by the claim "events", because some issuers omit
        # "typ".
        if unverified_jwt is None or "events" in unverified_jwt.claims:
            return None
        claims = TokenClaims(unverified_jwt.claims)
        issuers = () if self._own_issuer in claims.issuers else claims.issuers
        if is_svid:
            issuers = tuple(issuer for issuer in issuers if issuer.startswith(SPIFFE))
        return IssuerToken(unverified_jwt, claims, issuers)

    def parse_rule(self, organization_id: str, rule_json: str) -> Rule:
        """Return the rule that a JSON text describes. Cache it, so that the keys in the rule are parsed only once."""
        rules = self._parsed_rules.get(organization_id, rule_json)
        if not rules:
            rules = [Rule.parse(rule_json)]
            self._parsed_rules.put(organization_id, rule_json, rules, characters=2 * len(rule_json))
        return rules[0]

    def verify_token(
        self,
        token: IssuerToken,
        candidates: Iterable[Candidate],
        at: datetime,
        *,
        organization_id: str,
        tries_every_agent: bool = False,
        is_last: bool = True,
    ) -> Verdict:
        """Try candidate rules in their order, by default until a rule accepts the token.

        :param tries_every_agent: whether rules of other agents are tried after a rule has accepted.
        :param is_last: whether the caller tries no further rules. A last failure must take as long as all failures.
        :raises OAuthError: ``temporarily_unavailable`` with 503 if no rule accepts the token, but keys are missing with
            which a rule might accept it. Nothing is counted or throttled.
        """
        verdict = Verdict()
        missing_keys: tuple[KeysUnavailable, UUID] | None = None
        for candidate in candidates:
            if candidate.agent_id in [accepting_candidate.agent_id for accepting_candidate in verdict.accepting]:
                continue
            try:
                refusal_reason = self._find_candidate_refusal(token, candidate, at, organization_id)
            except KeysUnavailable as error:
                missing_keys = error, candidate.agent_id
                continue
            if refusal_reason is not None:
                verdict.refusals.append((candidate.agent_id, refusal_reason))
                continue
            verdict.accepting.append(candidate)
            if not tries_every_agent:
                break
        if not verdict.accepting and missing_keys is not None:
            raise _report_missing_keys(organization_id, *missing_keys)
        if not verdict.accepting and is_last and not token.jwt.tried:
            token.jwt.is_signed_by(NOBODYS_KEYS[normalize_algorithm(token.jwt.alg)])
        return verdict

    def verify_by_remembered_rules(
        self,
        token: IssuerToken,
        at: datetime,
        *,
        organization_id: str,
        key: TrustRulesKey | DelegationRulesKey,
        read_rules: Callable[[], list[Candidate]],
        is_preferred: Callable[[Candidate], bool] = lambda _: True,
    ) -> tuple[Verdict, bool]:
        """Verify a token by the rules in memory or, if none of them accepts the token, by the stored rules.

        :param key: the key of the rules in memory.
        :param read_rules: returns the stored rules, the oldest first.
        :param is_preferred: whether a rule is tried before the others. Only preferred rules are tried from memory.
        :returns: the verdict, and whether only rules in memory were tried.
        :raises OAuthError: as in :meth:`verify_token`.
        """
        stored_rules: list[Candidate] = []

        def list_candidates() -> Iterator[Candidate]:
            remembered_rules = [rule for rule in self.rule_cache.get(organization_id, key) if is_preferred(rule)]
            yield from remembered_rules
            stored_rules.extend(read_rules())
            other_rules = [rule for rule in stored_rules if rule not in remembered_rules]
            yield from sorted(other_rules, key=lambda rule: not is_preferred(rule))

        verdict = self.verify_token(token, list_candidates(), at, organization_id=organization_id)
        if verdict.accepting and stored_rules:
            # Rules are remembered only for an accepted token, so that rejected tokens cannot fill the memory.
            character_count = len(repr(key)) + sum(rule.character_count for rule in stored_rules)
            self.rule_cache.put(organization_id, key, stored_rules, characters=character_count)
        return verdict, not stored_rules

    def _find_candidate_refusal(
        self, token: IssuerToken, candidate: Candidate, at: datetime, organization_id: str
    ) -> str | None:
        """Return why a candidate rule does not accept a token, ``None`` if it does, or raise ``KeysUnavailable``."""
        rule = candidate.rule
        if rule is None:
            return TOO_MANY_RULES
        if not candidate.is_in_force or rule.issuer not in token.issuers:
            return NO_RULE
        if not rule.is_met_by(token.prepared_claims):
            return WRONG_AUDIENCE if rule.is_met_by(token.prepared_claims, ignores_audience=True) else NO_MATCH
        key_refusal = UNKNOWN_KEY
        for key in self.find_keys(rule, token, organization_id):
            is_signature_valid = token.is_signed_by(key)
            if is_signature_valid:
                time_refusal = find_wrong_time(token.claims, at.timestamp(), MAX_LIFETIME)
                if time_refusal is None and rule.inline_keys is None:
                    self.keys.mark_proven(rule.key_source, organization_id=organization_id)
                return time_refusal
            key_refusal = TOO_MANY_RULES if is_signature_valid is None else WRONG_SIGNATURE
        return key_refusal

    def find_keys(self, rule: Rule, token: IssuerToken, organization_id: str) -> list[Any]:
        """Return the keys of a rule's issuer that may have signed a token, or raise ``KeysUnavailable``."""
        kid, alg = token.jwt.kid, token.jwt.alg
        if rule.inline_keys is not None:
            return rule.inline_keys.find_keys(kid, alg)
        return self.keys.find_keys(rule.key_source, kid, alg, organization_id=organization_id)


def _report_missing_keys(organization_id: str, error: KeysUnavailable, agent_id: UUID) -> OAuthError:
    """Log that a token cannot be judged, and return the error for its sender. *agent_id* is the rule's agent."""
    agent_label = str(agent_id) if agent_id.int != 0 else None
    request_context = current_context()
    # The log line of the whole request also shows these two ids.
    request_context.organization_id, request_context.agent_id = organization_id, agent_label
    log_fields = {"organization": organization_id, "agent": agent_label, "issuer": error.issuer, "reason": str(error)}
    logger.warning("token not judged", extra={"fields": log_fields})
    return OAuthError(
        "temporarily_unavailable",
        "the keys of the token's issuer cannot be read now; try again",
        status=503,
        headers={"Retry-After": str(math.ceil(error.retry_after))},
    )
