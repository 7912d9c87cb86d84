"""Grants, by which people let agents act for them, and the codes and refresh tokens by which agents get tokens.

A code or refresh token consists of the agent's id, a handle that all tokens of the grant have, and a secret. Only the
digest of the current token is stored. Another token with the handle of the grant was used before.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import hashlib
import os
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from agentidp import audit
from agentidp.config import LEEWAY, MAX_TOKEN_TTL
from agentidp.counting import UNKNOWN_AGENT
from agentidp.db.organization import Transaction
from agentidp.http.errors import NotFound, RateLimited, require_row
from agentidp.jose.access_token import Delegation
from agentidp.jose.jws import base64url

CODE_LIFETIME = timedelta(seconds=60)
"""Time until an authorization code expires."""

MAX_GRANTS = 100_000
"""Maximum number of grants per organization."""

MAX_GRANTS_PER_PERSON = 20
"""Maximum number of grants per person and agent, for several devices. A further grant ends the oldest."""

_ID_BYTES, _HANDLE_BYTES, _SECRET_BYTES = 16, 32, 32
_TEXT_LENGTH = 107
_NONCE_BYTES = 12


@dataclass(frozen=True, slots=True)
class GrantToken:
    """An authorization code or a refresh token, whose handle is the same in all tokens of its grant."""

    text: str
    agent_id: UUID
    handle: bytes

    @property
    def grant_id(self) -> UUID:
        """The id of the grant, a digest from which the handle cannot be computed."""
        return UUID(bytes=hashlib.sha256(self.handle).digest()[:_ID_BYTES])

    @property
    def digest(self) -> bytes:
        """The SHA-256 of the token, which is stored instead of the token."""
        return hashlib.sha256(self.text.encode()).digest()

    def encrypt(self, person: str) -> bytes:
        """Encrypt the ``sub`` of a person. Decryption needs a token of the grant."""
        nonce = os.urandom(_NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, person.encode(), None)

    def decrypt(self, encrypted: bytes) -> str:
        """Return the ``sub`` that :meth:`encrypt` has encrypted."""
        return self._cipher.decrypt(encrypted[:_NONCE_BYTES], encrypted[_NONCE_BYTES:], None).decode()

    @property
    def _cipher(self) -> AESGCM:
        # The key is derived from the handle (256 random bits), because the instance secret can be replaced.
        return AESGCM(hashlib.sha256(b"agentidp person of a grant" + self.handle).digest())


def create_token(agent_id: UUID, grant_handle: bytes | None = None) -> GrantToken:
    """Return a new code or refresh token for the grant with *grant_handle*, which is ``None`` for a new grant."""
    grant_handle = grant_handle or secrets.token_bytes(_HANDLE_BYTES)
    token_text = base64url(agent_id.bytes + grant_handle + secrets.token_bytes(_SECRET_BYTES)).decode()
    return GrantToken(token_text, agent_id, grant_handle)


def read_token(token_text: str) -> GrantToken:
    """Parse a code or refresh token. A malformed string gives a token that belongs to no grant."""
    try:
        if len(token_text) != _TEXT_LENGTH:
            raise ValueError
        token_bytes = base64.b64decode(token_text + "=", altchars=b"-_", validate=True)
    except (ValueError, binascii.Error):
        return GrantToken("", UNKNOWN_AGENT, b"")
    grant_handle = token_bytes[_ID_BYTES : _ID_BYTES + _HANDLE_BYTES]
    return GrantToken(token_text, UUID(bytes=token_bytes[:_ID_BYTES]), grant_handle)


class Permission(NamedTuple):
    """The access that a person allows an agent. The fields except *person* are parameters of ``grants/add_grant``.

    :param person: the person's ``sub`` at the issuer.
    :param days: the maximum age of the grant, in days.
    :param challenge: the PKCE challenge (RFC 7636 section 4.2).
    :param jkt: the thumbprint of the key that the client has named (RFC 9449 section 10), or ``None``.
    """

    agent_id: UUID
    delegation_rule_id: UUID
    issuer: str
    person: str
    resource: str
    scopes: list[str]
    days: int
    challenge: str
    redirect_uri: str
    jkt: str | None


def compute_person_subject(organization_id: str, issuer: str, person: str) -> str:
    """Return the ``sub`` of access tokens that act for a person, under which the person's grants are stored."""
    return Delegation((), (), None, (issuer, person)).compute_subject(organization_id)


def add_grant(transaction: Transaction, permission: Permission) -> GrantToken:
    """Store a grant of a person, and return the authorization code for the client."""
    authorization_code = create_token(permission.agent_id)
    person_subject = compute_person_subject(transaction.organization_id, permission.issuer, permission.person)
    earlier_grants = transaction.fetch("grants/person_grants", subject=person_subject, agent_id=permission.agent_id)
    for earlier_grant in earlier_grants[: max(0, len(earlier_grants) - MAX_GRANTS_PER_PERSON + 1)]:
        # NotFound means that another request has ended the earlier grant meanwhile.
        with contextlib.suppress(NotFound):
            end_grant(transaction, earlier_grant.grant_id)
    grant_columns = permission._asdict()
    grant_rows = transaction.fetch(
        "grants/add_grant",
        grant_id=authorization_code.grant_id,
        subject=person_subject,
        subject_encrypted=authorization_code.encrypt(grant_columns.pop("person")),
        token_digest=authorization_code.digest,
        expires_at=transaction.at + CODE_LIFETIME,
        max_grants=MAX_GRANTS,
        **grant_columns,
    )
    if not grant_rows:
        raise RateLimited(
            f"People of your organization have the maximum of {MAX_GRANTS} grants. Ask an administrator to end some."
        )
    audit.record(transaction, "grant.allowed", authorization_code.grant_id, after=describe_grant(grant_rows[0]))
    return authorization_code


def end_grant(
    transaction: Transaction, grant_id: UUID, action: str = "grant.ended", *, token_digest: bytes | None = None
) -> None:
    """End a grant and all its tokens.

    :param token_digest: ends the grant only if its current token has this digest; ``None`` ends it in any case.
    :raises NotFound: there is no such grant.
    """
    grant_row = require_row(transaction.fetch("grants/end_grant", grant_id=grant_id, token_digest=token_digest))
    revocation_expiry = compute_revocation_expiry(transaction.at)
    transaction.fetch("oauth/revoke_token", jti=str(grant_id), expires_at=revocation_expiry)
    audit.record(transaction, action, grant_id, before=describe_grant(grant_row))


def compute_revocation_expiry(at: datetime) -> datetime:
    """Return the instant at which all access tokens of a grant that ends at *at* have expired."""
    # A server accepts a token until LEEWAY after exp, and its clock may be another LEEWAY behind our clock.
    return at + timedelta(seconds=MAX_TOKEN_TTL + 2 * LEEWAY)


def describe_grant(row: Any) -> dict[str, Any]:
    """Return the fields of a grant that the audit trail records."""
    return {
        "agentId": str(row.agent_id),
        "delegationRuleId": str(row.delegation_rule_id),
        "resource": row.resource,
        "scopes": list(row.scopes),
    }
