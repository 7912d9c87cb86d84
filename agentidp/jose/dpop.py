"""Verifies DPoP proofs, by which a client proves that it has the key to which its token is bound (RFC 9449)."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import jwt

from agentidp.config import LEEWAY
from agentidp.db.sql import Call
from agentidp.jose.jwk import ALGORITHMS, check_public_jwk, normalize_algorithm
from agentidp.jose.jws import COMPACT_SERIALIZATION, MAX_JTI_LENGTH, base64url

TYPE = "dpop+jwt"
MAX_AGE = 60
"""Maximum seconds by which the ``iat`` of a proof may be before or after the current time."""

MAX_LENGTH = 4096
"""Maximum number of characters of a proof."""

# The thumbprint of a JWK is computed from these members in this order (RFC 7638 section 3.2, RFC 8037 appendix A.3).
_THUMBPRINT_MEMBERS = {"EC": ("crv", "kty", "x", "y"), "RSA": ("e", "kty", "n"), "OKP": ("crv", "kty", "x")}
_DEFAULT_PORTS = {"http": 80, "https": 443}


class ProofRefused(Exception):
    """The DPoP proof is not valid for the request. The message is for the client."""


@dataclass(frozen=True, slots=True)
class Proof:
    """A verified DPoP proof: the thumbprint of its key, its ``jti`` and its ``iat``. A proof is accepted only once."""

    jkt: str
    jti: str
    issued_at: float

    def build_consumption_call(self) -> Call:
        """Return the call that records the use of the proof. Running the call again raises ``UniqueViolation``."""
        proof_digest = hashlib.sha256(json.dumps(["dpop", self.jkt, self.jti]).encode()).digest()
        # The digest is kept for twice LEEWAY longer, because the clocks of two servers may differ by this time.
        digest_expires_at = datetime.fromtimestamp(self.issued_at, UTC) + timedelta(seconds=MAX_AGE + 2 * LEEWAY)
        return Call("oauth/use_identifier", {"digest": proof_digest, "expires_at": digest_expires_at})


def verify_proof(
    unverified_proof: str, *, method: str, url: str, at: datetime, access_token: str | None = None
) -> Proof:
    """Verify a DPoP proof (RFC 9449 section 4.3). The caller must refuse a proof that was used before.

    :param unverified_proof: the ``DPoP`` header. Two headers, joined by a comma, are refused.
    :param url: the URL of the request, without query and fragment.
    :param access_token: the request's access token; ``None`` at the token endpoint.
    """
    if not unverified_proof:
        raise ProofRefused("the header DPoP with a proof is missing")
    if len(unverified_proof) > MAX_LENGTH or not COMPACT_SERIALIZATION.fullmatch(unverified_proof):
        raise ProofRefused("the DPoP proof must be a single JWT")
    # The checks are one flat list, so that a reader can compare them with the RFC.
    try:
        header = jwt.get_unverified_header(unverified_proof)
        if header.get("typ") != TYPE or "crit" in header or header.get("alg") not in ALGORITHMS:
            raise ProofRefused(f"the DPoP proof must have typ {TYPE} and alg {', '.join(ALGORITHMS)}")
        jwk = _read_key(header)
        claims: dict[str, Any] = jwt.decode(
            unverified_proof,
            jwt.PyJWK.from_dict(jwk).key,
            algorithms=[header["alg"]],
            options={
                "require": ["jti", "htm", "htu", "iat"],
                "verify_iat": False,
                "verify_exp": False,
                "verify_nbf": False,
                "verify_aud": False,
            },
        )
    except ProofRefused:
        raise
    except (jwt.PyJWTError, ValueError, TypeError, KeyError, RecursionError, OverflowError):
        raise ProofRefused("the DPoP proof is not signed by the public key that it names") from None
    jti, issued_at = claims["jti"], claims["iat"]
    if not isinstance(jti, str) or not 1 <= len(jti) <= MAX_JTI_LENGTH:
        raise ProofRefused(f"jti of the DPoP proof must have 1 to {MAX_JTI_LENGTH} characters")
    if claims["htm"] != method:
        raise ProofRefused("htm of the DPoP proof is not the method of the request")
    if not isinstance(claims["htu"], str) or _normalize_url(claims["htu"]) != _normalize_url(url):
        raise ProofRefused("htu of the DPoP proof is not the address of the request")
    if type(issued_at) not in (int, float) or not abs(at.timestamp() - issued_at) <= MAX_AGE:
        raise ProofRefused("iat of the DPoP proof is more than a minute before or after now")
    if access_token is not None and claims.get("ath") != _digest(access_token):
        raise ProofRefused("ath of the DPoP proof is not the hash of the access token")
    return Proof(compute_thumbprint(jwk), jti, float(issued_at))


def _read_key(header: dict[str, Any]) -> dict[str, Any]:
    try:
        jwk = check_public_jwk(header.get("jwk"), header["alg"])
    except ValueError as error:
        raise ProofRefused(f"the key of the DPoP proof is refused: {error}") from None
    if jwk["alg"] != normalize_algorithm(header["alg"]):
        raise ProofRefused("the key of the DPoP proof does not fit its alg")
    return jwk


def compute_thumbprint(jwk: dict[str, Any]) -> str:
    """Return the JWK SHA-256 thumbprint of a public key (RFC 7638)."""
    thumbprint_members = {member_name: jwk[member_name] for member_name in _THUMBPRINT_MEMBERS[jwk["kty"]]}
    return _digest(json.dumps(thumbprint_members, separators=(",", ":")))


def _digest(text: str) -> str:
    return base64url(hashlib.sha256(text.encode()).digest()).decode()


def _normalize_url(url: str) -> tuple[str, str | None, int | None, str] | None:
    """Return the scheme, host, port and path of a URL (RFC 3986 section 6.2.3), or ``None`` if it is not a URL."""
    try:
        url_parts = urlsplit(url)
        scheme = url_parts.scheme.lower()
        return scheme, url_parts.hostname, url_parts.port or _DEFAULT_PORTS.get(scheme), url_parts.path or "/"
    except ValueError:
        return None
