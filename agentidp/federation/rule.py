"""Compare tokens of other issuers with rules of trust (RFC 7523 section 3).

A rule is stored as JSON and never changes. Values of different types are never equal. A pattern, which ends in ``:*``
or ``/*``, matches longer strings.

Anybody can send a token, and any organization can store rules. So the time of a comparison grows with the sum of the
lengths of the token and the rules, and never with the product.
"""

from __future__ import annotations

import hashlib
import json
from bisect import bisect_right
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple
from uuid import UUID

from agentidp.federation.key_set import KeySet, KeySource

SPIFFE = "spiffe://"
"""Prefix of a SPIFFE trust domain's id. A rule for JWT-SVIDs has this id as its issuer."""

SEPARATORS = (":", "/")
"""Separators in subjects, one of which precedes the ``*`` of a pattern."""

MAX_POINTER = 20
"""Maximum depth of the nested claim to which a JSON Pointer in a rule points."""

_MISSING = object()


class Comparison(NamedTuple):
    """The comparison of a rule's member with a token.

    :param actual: the token's value, or ``None`` if the token lacks the member (*is_there* is then false).
    :param is_met: whether the token's value satisfies the rule.
    """

    name: str
    expected: Any
    actual: Any
    is_met: bool
    is_there: bool = True

    @property
    def texts(self) -> tuple[str, str]:
        """The expected and the actual value for people, in JSON if they differ but look equal, such as 7 and "7"."""
        expected_text, actual_text = (
            compared_value if isinstance(compared_value, str) else json.dumps(compared_value)
            for compared_value in (self.expected, self.actual)
        )
        if expected_text == actual_text and not self.is_met:
            return json.dumps(self.expected), json.dumps(self.actual)
        return expected_text, actual_text


class TokenClaims:
    """The claims of a token, prepared for comparisons with many rules.

    :ivar issuers: the possible issuers of the token. The issuer of a matching rule equals one of them.
    :ivar audience: the value of ``aud``, or a list if ``aud`` has several values.
    """

    def __init__(self, claims: dict[str, Any]) -> None:
        self.claims = claims
        self.issuers = _find_issuers(claims)
        audiences = as_list(claims.get("aud"))
        self.audience = audiences[0] if len(audiences) == 1 else audiences
        self._values: dict[str, tuple[set[tuple[type, Any]], list[str]]] = {}

    def has_claim_value(self, name: str, expected: Any) -> bool:
        """Return whether a claim is or contains an expected value, or matches an expected pattern."""
        if name not in self._values:
            scalars = [scalar for scalar in as_list(read_claim(self.claims, name)) if type(scalar) in (str, int, bool)]
            sorted_strings = sorted(scalar for scalar in scalars if type(scalar) is str)
            self._values[name] = {(type(scalar), scalar) for scalar in scalars}, sorted_strings
        typed_scalars, sorted_strings = self._values[name]
        for value_or_pattern in as_list(expected):
            if not is_pattern(value_or_pattern):
                if (type(value_or_pattern), value_or_pattern) in typed_scalars:
                    return True
                continue
            prefix = value_or_pattern[:-1]
            # In a sorted list, strings with a prefix begin at the index at which the prefix would be inserted.
            prefix_index = bisect_right(sorted_strings, prefix)
            if prefix_index < len(sorted_strings) and sorted_strings[prefix_index].startswith(prefix):
                return True
        return False


@dataclass(frozen=True)
class Rule:
    """A rule of trust: the tokens that it accepts, and the keys that must have signed them.

    :param subject: the accepted ``sub`` or pattern; ``None`` for any subject.
    :param claims: the accepted value, or a list of accepted values, by the name of a claim or by JSON Pointer (RFC
        6901). A claim that is itself a list, such as groups, must contain an accepted value.
    :param audience: the only accepted ``aud``.
    :param jwks: the issuer's keys as JWKs; ``None`` if they must be fetched.
    :param jwks_uri: the address of the issuer's keys; ``None`` if the issuer's metadata names it.
    :param rule_json: the rule as it is stored.
    """

    issuer: str
    subject: str | None
    claims: dict[str, Any]
    audience: str
    jwks: list[dict[str, Any]] | None
    jwks_uri: str | None
    rule_json: str

    @classmethod
    def from_trust(cls, trust: dict[str, Any]) -> Rule:
        """Return the rule that a JSON object describes."""
        return cls.parse(json.dumps(trust))

    @classmethod
    def parse(cls, rule_json: str) -> Rule:
        """Return the rule that a JSON text describes."""
        rule_members = json.loads(rule_json)
        claims = rule_members.get("claims", {})
        if not claims.keys().isdisjoint(("email", "/email")):
            # A rule for an email address requires that the address is verified, because at some providers anyone can
            # enter another person's address.
            claims = {"email_verified": True} | claims
        return cls(
            issuer=rule_members["issuer"],
            subject=rule_members.get("subject"),
            claims=claims,
            audience=rule_members["audience"],
            jwks=rule_members["jwks"]["keys"] if "jwks" in rule_members else None,
            jwks_uri=rule_members.get("jwksUri"),
            rule_json=rule_json,
        )

    @cached_property
    def inline_keys(self) -> KeySet | None:
        """The issuer's keys that the rule contains, or ``None`` if the keys must be fetched."""
        return None if self.jwks is None else KeySet(self.jwks)

    @property
    def key_source(self) -> KeySource:
        """The issuer and the address of its keys."""
        return KeySource(self.issuer, self.jwks_uri)

    def is_met_by(self, claims: TokenClaims, *, ignores_audience: bool = False) -> bool:
        """Return whether the rule accepts a token's claims. The token's signature and times are not checked."""
        return (
            self.issuer in claims.issuers
            and (ignores_audience or claims.audience == self.audience)
            and self._has_subject(claims)
            and all(claims.has_claim_value(claim_name, expected) for claim_name, expected in self.claims.items())
        )

    def compare(self, claims: TokenClaims) -> list[Comparison]:
        """Compare the rule's members with a token's claims: issuer, audience, subject and claims, in this order."""
        claim_values = claims.claims
        has_issuer = self.issuer in claims.issuers
        actual_issuer = self.issuer if has_issuer else claim_values.get("iss", _MISSING)
        comparisons = [
            _compare("issuer", self.issuer, actual_issuer, has_issuer),
            _compare("audience", self.audience, claim_values.get("aud", _MISSING), claims.audience == self.audience),
        ]
        if self.subject is not None:
            actual_subject = claim_values.get("sub", _MISSING)
            comparisons.append(_compare("subject", self.subject, actual_subject, self._has_subject(claims)))
        for claim_name, expected_value in self.claims.items():
            has_expected_value = claims.has_claim_value(claim_name, expected_value)
            actual_value = read_claim(claim_values, claim_name)
            comparisons.append(_compare(claim_name, expected_value, actual_value, has_expected_value))
        return comparisons

    def _has_subject(self, claims: TokenClaims) -> bool:
        # A list as sub is refused here, because has_claim_value() would accept a list.
        return self.subject is None or (
            isinstance(claims.claims.get("sub"), str) and claims.has_claim_value("sub", self.subject)
        )


def _compare(name: str, expected: Any, actual: Any, is_met: bool) -> Comparison:
    is_there = actual is not _MISSING
    return Comparison(name, expected, actual if is_there else None, is_met, is_there)


def subject_selector(issuer: str, subject: str | None) -> bytes:
    """Return the SHA-256 of an issuer and a subject, which is ``None`` for a rule that accepts any subject."""
    return hashlib.sha256(json.dumps([issuer, subject]).encode()).digest()


def rule_selector(issuer: str, subject: str | None) -> UUID:
    """Return the id under which the database stores rules for an issuer and a subject, which may be a pattern."""
    return UUID(bytes=subject_selector(issuer, subject)[:16])


def is_pattern(expected: object) -> bool:
    """Return whether an expected value is a pattern: a string that ends in ``*``."""
    return isinstance(expected, str) and expected.endswith("*")


def as_list(value: Any) -> list[Any]:
    """Return a list unchanged, and another value as the only item of a list."""
    return value if isinstance(value, list) else [value]


def _find_issuers(claims: dict[str, Any]) -> tuple[str, ...]:
    """Return the possible issuers of a token: ``iss``, and the trust domain of a SPIFFE ID in ``sub``."""
    issuer, subject = claims.get("iss"), claims.get("sub")
    # A trust domain in iss is ignored, because only the SPIFFE ID in sub names the trust domain of a JWT-SVID.
    issuers = (issuer,) if isinstance(issuer, str) and not issuer.startswith(SPIFFE) and _is_printable(issuer) else ()
    if isinstance(subject, str) and subject.startswith(SPIFFE):
        trust_domain, slash_or_empty, workload_path = subject.removeprefix(SPIFFE).partition("/")
        if trust_domain and slash_or_empty and workload_path and _is_printable(trust_domain):
            return (*issuers, SPIFFE + trust_domain)
    return issuers


def _is_printable(issuer: str) -> bool:
    # The issuers in rules are printable ASCII. PostgreSQL might refuse other characters as a parameter.
    return issuer.isascii() and issuer.isprintable()


def read_claim(claims: dict[str, Any], name: str) -> Any:
    """Return the value of a claim or, for a JSON Pointer, of a nested claim. A missing claim gives ``_MISSING``."""
    if not name.startswith("/"):
        return claims.get(name, _MISSING)
    pointer_members = name[1:].split("/", MAX_POINTER)
    claim_value: Any = _MISSING if len(pointer_members) > MAX_POINTER else claims
    for pointer_member in pointer_members:
        if not isinstance(claim_value, dict):
            return _MISSING
        claim_value = claim_value.get(pointer_member.replace("~1", "/").replace("~0", "~"), _MISSING)
    return claim_value
