"""A rule of trust: which tokens of another issuer are an agent's (RFC 7523 section 3).

A rule is stored as JSON and never changes: who wants another one adds it and revokes the old one. Values are compared
exactly, with their types. A value may end in ``*`` behind a ``:`` or ``/``, so that ``repo:acme/app:*`` does not match
``repo:acme/app-evil:...``.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, NamedTuple
from uuid import UUID

from agentidp.federation.issuer_keys import KeySet, KeySource

SPIFFE = "spiffe://"
"""How the identifier of a SPIFFE trust domain begins, which stands in a rule where others have an issuer: a JWT-SVID
need not name an issuer (SPIFFE JWT-SVID section 3)."""

SEPARATORS = (":", "/")
"""What a pattern may end with before its ``*``."""

MAX_REMEMBERED = 1_000
"""Rules that a process remembers with their keys, which take longer to read than to try: about 10 MB, and 30 MB if
all are as long as they may be."""

_MISSING = object()


class Comparison(NamedTuple):
    """What a rule says of a member of a token, and what the token has.

    ``is_there`` is whether the token has it at all.
    """

    name: str
    expected: Any
    found: Any
    is_there: bool
    is_met: bool


@dataclass(frozen=True)
class Rule:
    """A rule of trust as it is stored, in the terms of the API.

    :param claims: expected values, by the name of the claim, or by a JSON Pointer (RFC 6901) to a member within one. A
        list has all values that are accepted. A claim that is itself a list, such as groups, must have one of them.
    :param audience: what ``aud`` must be, and nothing beside it.
    :param text: the rule as JSON. The statement that issues a token compares it with what is stored.
    """

    issuer: str
    subject: str | None
    claims: dict[str, Any]
    audience: str
    jwks: list[dict[str, Any]] | None
    jwks_uri: str | None
    text: str

    @classmethod
    def of(cls, stored: dict[str, Any]) -> Rule:
        """The rule that the database has."""
        return _read(json.dumps(stored))

    @cached_property
    def inline_keys(self) -> KeySet | None:
        """The keys that the rule itself has, if it does."""
        return None if self.jwks is None else KeySet(self.jwks)

    @property
    def key_source(self) -> KeySource:
        """Where the issuer's keys are, unless the rule has them. Keys from two addresses are never mixed, even if both
        are said to be those of one issuer.
        """
        return KeySource(self.issuer, self.jwks_uri)

    def compare(self, claims: dict[str, Any]) -> list[Comparison]:
        """Each member that the rule speaks of, in the order in which people read a rule."""
        return list(self._comparisons(claims))

    def is_met_by(self, claims: dict[str, Any]) -> bool:
        """Whether a token with these claims is one that the rule trusts, if its signature and times are right."""
        return all(comparison.is_met for comparison in self._comparisons(claims))

    def is_audience_met_by(self, claims: dict[str, Any]) -> bool:
        """Whether the token is for whom the rule says, and for nobody else."""
        return sole_audience(claims) == self.audience

    def _comparisons(self, claims: dict[str, Any]) -> Iterator[Comparison]:
        issuers = issuers_of(claims)
        found = next((one for one in issuers if one == self.issuer), claims.get("iss", _MISSING))
        yield _comparison("issuer", self.issuer, found, is_met=self.issuer in issuers)
        yield _comparison(
            "audience", self.audience, claims.get("aud", _MISSING), is_met=self.is_audience_met_by(claims)
        )
        if self.subject is not None:
            found = claims.get("sub", _MISSING)
            yield _comparison("subject", self.subject, found, is_met=is_met(self.subject, found))
        for name, expected in self.claims.items():
            found = member_of(claims, name)
            accepted = expected if isinstance(expected, list) else [expected]
            there = found if isinstance(found, list) else [found]
            met = any(is_met(value, one) for value in accepted for one in there)
            yield _comparison(name, expected, found, is_met=met)


@lru_cache(maxsize=MAX_REMEMBERED)
def _read(text: str) -> Rule:
    stored = json.loads(text)
    return Rule(
        issuer=stored["issuer"],
        subject=stored.get("subject"),
        claims=stored.get("claims", {}),
        audience=stored["audience"],
        jwks=stored["jwks"]["keys"] if "jwks" in stored else None,
        jwks_uri=stored.get("jwksUri"),
        text=text,
    )


def selector_of(issuer: str, subject: str | None) -> bytes:
    """The SHA-256 of an issuer and one of its subjects: two issuers never have a subject in common."""
    return hashlib.sha256(json.dumps([issuer, subject]).encode()).digest()


def found_by(issuer: str, subject: str | None) -> UUID:
    """By what a rule is found in its organization. It is then compared as a whole."""
    return UUID(bytes=selector_of(issuer, subject)[:16])


def _comparison(name: str, expected: Any, found: Any, *, is_met: bool) -> Comparison:
    is_there = found is not _MISSING
    return Comparison(name, expected, found if is_there else None, is_there, is_met)


def is_met(expected: object, found: object) -> bool:
    """Whether a value of a token is the expected one, of the same type: ``true`` is neither 1 nor ``"true"``."""
    if type(expected) is not type(found):
        return False
    if isinstance(expected, str) and isinstance(found, str) and is_pattern(expected):
        prefix = expected[:-1]
        return found.startswith(prefix) and found != prefix
    return expected == found


def is_pattern(expected: object) -> bool:
    """Whether a value stands for all that begin with what is before its ``*``."""
    return isinstance(expected, str) and expected.endswith("*")


def issuers_of(claims: dict[str, Any]) -> tuple[str, ...]:
    """Whose token it says it is: its issuer, and the trust domain of its subject, if that is a SPIFFE ID."""
    issuer, subject = claims.get("iss"), claims.get("sub")
    # A trust domain is known by its subjects alone, whatever the token says of its issuer.
    named = (issuer,) if isinstance(issuer, str) and not issuer.startswith(SPIFFE) and _is_printable(issuer) else ()
    if isinstance(subject, str) and subject.startswith(SPIFFE):
        domain, slash, path = subject.removeprefix(SPIFFE).partition("/")
        if domain and slash and path and _is_printable(domain):
            return (*named, SPIFFE + domain)
    return named


def sole_audience(claims: dict[str, Any]) -> object:
    """The audience of a token that has one only."""
    audience = claims.get("aud")
    return audience[0] if isinstance(audience, list) and len(audience) == 1 else audience


def _is_printable(issuer: str) -> bool:
    """Whether a rule can have the issuer. PostgreSQL does not take every other one."""
    return issuer.isascii() and issuer.isprintable()


def member_of(claims: dict[str, Any], name: str) -> Any:
    """The claim *name*, or the member that a JSON Pointer names. A list has no members here."""
    if not name.startswith("/"):
        return claims.get(name, _MISSING)
    found: Any = claims
    for part in name[1:].split("/"):
        if not isinstance(found, dict):
            return _MISSING
        found = found.get(part.replace("~1", "/").replace("~0", "~"), _MISSING)
    return found
