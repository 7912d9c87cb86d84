"""Signs and verifies access tokens, which are JWTs of RFC 9068, without Flask and a database."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any
from uuid import UUID

import jwt
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from agentidp.config import LEEWAY
from agentidp.jose.jws import COMPACT_SERIALIZATION, NUMERIC_DATE_LIMIT, base64url

TOKEN_TYPE = "at+jwt"  # noqa: S105 - RFC 9068 section 2.1
MAX_LENGTH = 16_384
"""Maximum number of characters of a token that is parsed. Our tokens without a delegation have at most 9,000."""

MAX_ACTORS = 4
"""Maximum number of actors in a token, including the client."""

MAX_DELEGATION = 5_000
"""Maximum number of characters of a :class:`Delegation`'s claims, as JSON."""

AGENT, ORGANIZATION_AGENT = SUBJECT_FORMS = ("agent", "organization-agent")
"""The two forms of ``sub``: the agent's id, or the ids of the organization and the agent. Clouds grant access by
``sub``. Therefore no client can influence ``sub``, and no id is used a second time."""

_encode = json.JSONEncoder(separators=(",", ":")).encode
_ES256 = ec.ECDSA(hashes.SHA256())
_KID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_DELEGATED = frozenset(("act", "sub_id", "exchanged_from", "exchanged_resources", "delegation_rule_id", "grant_id"))
_REQUIRED = ["iss", "sub", "client_id", "aud", "exp", "iat", "jti", "organization_id"]


class TokenRefused(Exception):
    """The token was not issued by us for this audience, or is not valid now. The message is the logged reason.

    :param claims: the claims, if we issued the token; ``None`` for any other token.
    :param client_message: tells the client why we refuse a token that we issued, and what the client can do.
    """

    def __init__(self, reason: str, claims: AccessToken | None = None, client_message: str | None = None) -> None:
        super().__init__(reason)
        self.claims, self.client_message = claims, client_message


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A private key that signs tokens (``private_key`` is an object of ``cryptography``)."""

    kid: str
    alg: str
    private_key: Any


@dataclass(frozen=True, slots=True)
class VerificationKey:
    """A public key that verifies tokens (``public_key`` is an object of ``cryptography``)."""

    kid: str
    alg: str
    public_key: Any


@dataclass(frozen=True, slots=True)
class Ancestor:
    """A token of this server that a client has exchanged for another token. ``scope`` is space-separated."""

    jti: str
    audience: str
    scope: str
    resource: str | None = None


@dataclass(frozen=True, slots=True)
class Delegation:
    """The subject on whose behalf a token's client acts, and the earlier tokens that were exchanged for the token.

    :param actors: the agents that act: first the token's client, then the actors of the exchanged tokens.
    :param ancestors: our tokens that were exchanged for the token, newest first.
    :param subject_agent_id: the subject, if it is an agent.
    :param subject_id: the issuer and ``sub`` of a subject that is not an agent (RFC 9493 section 3.2.3).
    :param rule_id: the delegation rule that accepted the token of ``subject_id``.
    :param grant_id: the grant by which the subject, a person, has let the first actor act.
    """

    actors: tuple[UUID, ...]
    ancestors: tuple[Ancestor, ...]
    subject_agent_id: UUID | None
    subject_id: tuple[str, str] | None = None
    rule_id: UUID | None = None
    grant_id: UUID | None = None

    def compute_subject(self, organization_id: str) -> str:
        """Return the ``sub`` of the token: the subject agent's id, or a digest for the subject of another issuer."""
        if self.subject_id is None:
            return str(self.subject_agent_id)
        # The digest includes the organization, because another organization can have a subject with the same issuer and
        # sub.
        subject_json = _encode([organization_id, *self.subject_id])
        return base64url(hashlib.sha256(subject_json.encode()).digest()).decode()

    def build_claims(self) -> dict[str, Any]:
        """Return the claims that only tokens with a delegation have (RFC 8693 section 4.1)."""
        act: dict[str, Any] = {}
        for actor_id in reversed(self.actors):
            act = {"sub": str(actor_id)} | ({"act": act} if act else {})
        claims: dict[str, Any] = {"act": act}
        if self.subject_id is not None:
            issuer, subject = self.subject_id
            claims["sub_id"] = {"format": "iss_sub", "iss": issuer, "sub": subject}
            claims["delegation_rule_id"] = str(self.rule_id)
        if self.grant_id is not None:
            claims["grant_id"] = str(self.grant_id)
        claims["exchanged_from"] = [
            {"jti": ancestor.jti, "aud": ancestor.audience, "scope": ancestor.scope} for ancestor in self.ancestors
        ]
        # exchanged_resources is a separate claim, because release 1.0.0 refuses unknown members of exchanged_from.
        if any(ancestor.resource is not None for ancestor in self.ancestors):
            claims["exchanged_resources"] = [ancestor.resource for ancestor in self.ancestors]
        return claims

    @property
    def agent_ids(self) -> list[UUID]:
        """The agents that must be active, without duplicates: the actors, and the subject if it is an agent."""
        return list(dict.fromkeys([*self.actors, *([self.subject_agent_id] if self.subject_agent_id else [])]))

    @property
    def jtis(self) -> list[str]:
        """The ids of the exchanged tokens and of the grant. If one of these ids is revoked, the token is refused."""
        return [ancestor.jti for ancestor in self.ancestors] + ([str(self.grant_id)] if self.grant_id else [])

    @property
    def audiences(self) -> list[str]:
        """The ``aud`` of the exchanged tokens, without duplicates. The organization must own all these audiences."""
        return list({ancestor.audience for ancestor in self.ancestors})

    @property
    def is_too_long(self) -> bool:
        """Whether a token with this delegation would have too many actors or too long claims."""
        return len(self.actors) > MAX_ACTORS or len(_encode(self.build_claims())) > MAX_DELEGATION


@dataclass(frozen=True, slots=True)
class AccessToken:
    """The claims of an access token that we issued. Times are in seconds since the epoch.

    :param jkt: the thumbprint of the key to which the token is bound (RFC 9449 section 6.1); ``None``: not bound.
    :param delegation: the subject for whom the agent acts; ``None`` if the agent acts for itself.
    :param resource: the identifier of the resource server; ``None`` if this identifier is the ``aud``.
    """

    organization_id: str
    agent_id: UUID
    subject: str
    scope: frozenset[str]
    jti: str
    audience: str
    issued_at: int
    expires_at: int
    jkt: str | None = None
    delegation: Delegation | None = None
    resource: str | None = None

    @property
    def issue_instant(self) -> datetime:
        """The claim ``iat`` as a datetime."""
        return datetime.fromtimestamp(self.issued_at, UTC)

    @property
    def refused_from(self) -> datetime:
        """The time from which every server refuses the token as expired, whatever the server's clock."""
        # A server accepts a token until LEEWAY after exp, and its clock may be another LEEWAY behind our clock.
        return datetime.fromtimestamp(self.expires_at + 2 * LEEWAY, UTC)


def sign_access_token(
    key: SigningKey,
    *,
    issuer: str,
    audience: str,
    organization_id: str,
    agent_id: UUID,
    scope: str,
    jti: str,
    at: datetime,
    ttl: int,
    jkt: str | None = None,
    subject_form: str = AGENT,
    delegation: Delegation | None = None,
    resource: str | None = None,
) -> str:
    """Sign an access token (RFC 9068 section 2).

    :param at: becomes ``iat``, in whole seconds.
    :param ttl: seconds until ``exp``.
    :param scope: space-separated. An empty scope is omitted from the token (RFC 6749 appendix A.4).
    :param subject_form: one of ``SUBJECT_FORMS``; ignored if there is a *delegation*.
    :param resource: the identifier of the resource server; ``None`` if this identifier is the *audience*.
    """
    issued_at, client_id = int(at.timestamp()), str(agent_id)
    claims: dict[str, Any] = {
        "iss": issuer,
        "sub": _build_subjects(organization_id, client_id)[subject_form],
        "client_id": client_id,
        "aud": audience,
        "exp": issued_at + ttl,
        "iat": issued_at,
        "jti": jti,
        "organization_id": organization_id,
    }
    if scope:
        claims["scope"] = scope
    if resource is not None:
        claims["resource"] = resource
    if jkt is not None:
        claims["cnf"] = {"jkt": jkt}
    if delegation is not None:
        claims |= {"sub": delegation.compute_subject(organization_id), **delegation.build_claims()}
    signing_input = b".".join((_encode_header(key.kid, key.alg), base64url(_encode(claims).encode())))
    return b".".join((signing_input, base64url(_sign(key, signing_input)))).decode()


def _build_subjects(organization_id: str, client_id: str) -> dict[str, str]:
    return {AGENT: client_id, ORGANIZATION_AGENT: f"org:{organization_id}:agent:{client_id}"}


def _sign(key: SigningKey, signing_input: bytes) -> bytes:
    if key.alg == "ES256":
        # This branch does not use PyJWT, which would make three times as many function calls.
        r_and_s = decode_dss_signature(key.private_key.sign(signing_input, _ES256))
        return b"".join([integer.to_bytes(32) for integer in r_and_s])
    signature: bytes = jwt.get_algorithm_by_name(key.alg).sign(signing_input, key.private_key)
    return signature


@lru_cache(maxsize=16)
def _encode_header(kid: str, alg: str) -> bytes:
    """Return the first part of the tokens that a key signs (RFC 7515 section 7.1)."""
    return base64url(_encode({"alg": alg, "kid": kid, "typ": TOKEN_TYPE}).encode())


def verify_access_token(
    unverified_token: str,
    find_key: Callable[[str], VerificationKey | None],
    *,
    issuer: str,
    audience: str | None,
    at: datetime,
) -> AccessToken:
    """Verify a token and return its claims (RFC 9068 section 4, RFC 8725 section 3).

    :param audience: the required ``aud``; ``None`` accepts a token for any resource server.
    """
    if len(unverified_token) > MAX_LENGTH or not COMPACT_SERIALIZATION.fullmatch(unverified_token):
        raise TokenRefused("not a compact JWS")
    # The checks are one flat list, so that a reader can compare them with the RFC.
    try:
        header = jwt.get_unverified_header(unverified_token)
        kid, token_type = header.get("kid"), header.get("typ")
        if not isinstance(token_type, str) or token_type.lower() not in (TOKEN_TYPE, f"application/{TOKEN_TYPE}"):
            raise TokenRefused("typ is not at+jwt")
        if "crit" in header:
            raise TokenRefused("no critical extension is understood")
        if not isinstance(kid, str) or not _KID.fullmatch(kid):
            raise TokenRefused("kid is not one of ours")
        verification_key = find_key(kid)
        # A key has only one algorithm, which the header must name.
        if verification_key is None or header.get("alg") != verification_key.alg:
            raise TokenRefused("no such key")
        claims = jwt.decode(
            unverified_token,
            verification_key.public_key,
            algorithms=[verification_key.alg],
            issuer=issuer,
            options={
                "require": _REQUIRED,
                "verify_signature": True,
                "verify_iss": True,
                # The audience is checked below, so that the error can name the token's audience.
                "verify_aud": False,
                # The times are checked below. PyJWT would use its own clock and accept strings of digits.
                "verify_exp": False,
                "verify_iat": False,
                "verify_nbf": False,
            },
        )
    except (jwt.PyJWTError, ValueError, TypeError, KeyError, RecursionError, OverflowError) as error:
        raise TokenRefused(type(error).__name__) from error
    token = _parse_access_token(claims)
    if audience not in (None, token.audience):
        client_message = (
            f"The access token is for {token.audience}, not for {audience}. Leave out the parameter resource."
        )
        raise TokenRefused("for another audience", token, client_message)
    if audience is not None and (token.subject != str(token.agent_id) or token.delegation is not None):
        # Our own API refuses tokens with a delegation, and tokens whose sub is not the agent's id.
        raise TokenRefused("sub is not client_id")
    now = at.timestamp()
    if token.issued_at > now + LEEWAY or _read_time(claims.get("nbf", token.issued_at)) > now + LEEWAY:
        valid_from = _describe_instant(max(token.issued_at, claims.get("nbf", 0)))
        client_message = f"The access token is not valid before {valid_from}. Send it later."
        raise TokenRefused("not yet valid", token, client_message)
    if token.expires_at <= now - LEEWAY:
        client_message = f"The access token expired at {_describe_instant(token.expires_at)}. Request a new one."
        raise TokenRefused("expired", token, client_message)
    return token


def _parse_access_token(claims: dict[str, Any]) -> AccessToken:
    organization_id, client_id, subject = claims["organization_id"], claims["client_id"], claims["sub"]
    scope = claims.get("scope", "")
    _require_strings(
        organization_id, client_id, subject, scope, claims["jti"], claims["aud"], claims.get("resource", "")
    )
    try:
        agent_id = UUID(client_id)
    except ValueError:
        raise TokenRefused("client_id is not an agent") from None
    delegation = None if _DELEGATED.isdisjoint(claims) else _parse_delegation(claims)
    if delegation is None:
        allowed_subjects = list(_build_subjects(organization_id, client_id).values())
    else:
        allowed_subjects = [delegation.compute_subject(organization_id)]
        if delegation.actors[0] != agent_id:
            raise TokenRefused("act is not the client")
    if subject not in allowed_subjects:
        raise TokenRefused("sub is not the agent's, or not whom it acts for")
    return AccessToken(
        organization_id=organization_id,
        agent_id=agent_id,
        subject=subject,
        scope=frozenset(scope.split()),
        jti=claims["jti"],
        audience=claims["aud"],
        issued_at=_read_time(claims["iat"]),
        expires_at=_read_time(claims["exp"]),
        jkt=_read_thumbprint(claims),
        delegation=delegation,
        resource=claims.get("resource"),
    )


def _parse_delegation(claims: dict[str, Any]) -> Delegation:
    """Return the delegation in a token's claims. Refuse claims that differ from those that this server writes."""
    delegation_claims = {claim_name: claims[claim_name] for claim_name in _DELEGATED if claim_name in claims}
    try:
        actors, ancestors = _parse_actors(claims.get("act")), _parse_ancestors(claims)
        if "sub_id" in claims:
            subject_id = claims["sub_id"]["iss"], claims["sub_id"]["sub"]
            _require_strings(*subject_id)
            grant_id = UUID(claims["grant_id"]) if "grant_id" in claims else None
            rule_id = UUID(claims["delegation_rule_id"])
            delegation = Delegation(actors, ancestors, None, subject_id, rule_id, grant_id)
        else:
            delegation = Delegation(actors, ancestors, UUID(claims["sub"]))
    except (AttributeError, KeyError, TypeError, ValueError):
        raise TokenRefused("not a delegation of ours") from None
    # Each actor exchanged one ancestor, but the earliest actor may have used another issuer's token or a grant instead.
    exchanged_token_count = len(actors) - (delegation.subject_agent_id is None)
    is_complete = 1 <= len(actors) <= MAX_ACTORS and len(ancestors) == exchanged_token_count
    if not is_complete or delegation.build_claims() != delegation_claims:
        raise TokenRefused("not a delegation of ours")
    return delegation


def _parse_actors(act: Any) -> tuple[UUID, ...]:
    actors: list[UUID] = []
    while act is not None and len(actors) <= MAX_ACTORS:
        actors.append(UUID(act["sub"]))
        act = act.get("act")
    return tuple(actors)


def _parse_ancestors(claims: dict[str, Any]) -> tuple[Ancestor, ...]:
    exchanged_tokens = claims["exchanged_from"]
    # Release 1.0.0 issues tokens without exchanged_resources.
    resources = claims.get("exchanged_resources", [None] * len(exchanged_tokens))
    ancestors = []
    for exchanged_token, resource in zip(exchanged_tokens, resources, strict=True):
        _require_strings(exchanged_token["jti"], exchanged_token["aud"], exchanged_token["scope"], resource or "")
        ancestors.append(Ancestor(exchanged_token["jti"], exchanged_token["aud"], exchanged_token["scope"], resource))
    return tuple(ancestors)


def _require_strings(*values: object) -> None:
    if not all(isinstance(value, str) for value in values):
        raise TokenRefused("a claim is not a string")


def _read_thumbprint(claims: dict[str, Any]) -> str | None:
    if "cnf" not in claims:
        return None
    match claims["cnf"]:
        case {"jkt": str(jkt), **other_members} if not other_members:
            return jkt
    # A cnf that is not a key's thumbprint binds the token in a way that this server cannot check, so the token must not
    # pass as a bearer token.
    raise TokenRefused("cnf is not a key's thumbprint")


def _describe_instant(seconds: int) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%SZ}"


def _read_time(value: object) -> int:
    if type(value) is not int or not 0 <= value <= NUMERIC_DATE_LIMIT:
        raise TokenRefused("a time is not a number of seconds")
    return value
