"""A person who is signed in to the dashboard by the company's OpenID Connect provider.

The session is in the cookie, encrypted under the instance secret, so the server stores of the person only what the
audit trail says. It is no token: neither the API nor introspection can take it for one.
"""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from agentidp.config import LEEWAY, Settings
from agentidp.config.oidc import OidcSettings
from agentidp.db.sql import Call
from agentidp.jose.sealing import Sealer, Unreadable
from agentidp.scopes import SCOPES

VIEWER, ADMINISTRATOR = "viewer", "administrator"
ROLES = {VIEWER: frozenset({"analytics:read"}), ADMINISTRATOR: frozenset(SCOPES)}
"""Role -> what it may do, in the words of the API."""

PREFIX = "person."
"""What the cookie begins with. No JWT contains it: it begins with the encoding of a brace."""

MAX_LENGTH = 4096
"""Characters of the cookie, which is what browsers keep."""

_ROW = "session"


@dataclass(frozen=True, slots=True)
class Person:
    """A session of a person.

    :param organization_id: whose pages the person sees.
    :param issuer: of the ID token, with ``subject``: who the person is.
    :param name: what people call the person, if the provider says so.
    :param role: one of :data:`ROLES`.
    :param session_id: random, to revoke the session by.
    :param issued_at: seconds since the epoch, like ``expires_at``.
    """

    organization_id: str
    issuer: str
    subject: str
    name: str | None
    role: str
    session_id: str
    issued_at: int
    expires_at: int

    @property
    def identity(self) -> str:
        """Who the person is, whatever their name."""
        return identity_of(self.issuer, self.subject)

    @property
    def display_name(self) -> str:
        """What people call the person."""
        return self.name or self.subject

    @property
    def actor(self) -> tuple[str, str, str]:
        """The arguments of :func:`agentidp.http.request_context.request_actor`."""
        return actor_of(self.issuer, self.subject, self.name)

    @property
    def scopes(self) -> frozenset[str]:
        """What the person may do."""
        return ROLES[self.role]

    def query(self) -> Call:
        """The statement that returns the organization's name, or no row if the session has ended."""
        return Call("dashboard/person_session", {"jti": self.session_id})

    def revocation(self) -> Call:
        """The statement that ends the session on every device."""
        # As for an access token: a server whose clock is behind takes the session for one leeway longer.
        forgotten_at = datetime.fromtimestamp(self.expires_at, UTC) + timedelta(seconds=2 * LEEWAY)
        return Call("oauth/revoke_token", {"jti": self.session_id, "expires_at": forgotten_at})

    def sealed(self, settings: Settings) -> str:
        """The session as it is in the cookie."""
        plain = json.dumps(dataclasses.asdict(self), separators=(",", ":")).encode()
        assert settings.oidc is not None  # noqa: S101 - by which the person has signed in
        return PREFIX + base64.urlsafe_b64encode(_sealer(settings, settings.oidc).seal(_ROW, plain)).decode()


def identity_of(issuer: str, subject: str) -> str:
    """Who a person is at a provider: the issuer and the subject together never change."""
    return f"{subject} at {issuer}"


def actor_of(issuer: str, subject: str, name: str | None) -> tuple[str, str, str]:
    """A person as the audit trail names them. The name is last, because people can choose their own."""
    identity = identity_of(issuer, subject)
    return "person", f"{identity} ({name})" if name else identity, name or subject


def unsealed(cookie: str, settings: Settings, at: datetime) -> Person | None:
    """The session in a cookie that begins with :data:`PREFIX`.

    :returns: ``None`` if it is not one of ours, has expired, or was opened by settings that are no longer in force.
    """
    oidc, now = settings.oidc, at.timestamp()
    if oidc is None or len(cookie) > MAX_LENGTH:
        return None
    try:
        sealed = base64.urlsafe_b64decode(cookie.removeprefix(PREFIX).encode("ascii"))
        person = Person(**json.loads(_sealer(settings, oidc).open(_ROW, sealed)))
    # A TypeError if another release has written it.
    except (ValueError, TypeError, Unreadable):
        return None
    if oidc.organizations and person.organization_id not in oidc.organizations.values():
        return None
    return person if person.issued_at <= now + LEEWAY and now < person.expires_at else None


def _sealer(settings: Settings, oidc: OidcSettings) -> Sealer:
    """Its key depends on the provider and on our secret there: with a new one, all sessions of people end."""
    provider = hashlib.sha256("\0".join((oidc.issuer, oidc.client_id, oidc.client_secret)).encode()).digest()
    return Sealer(settings, b"agentidp dashboard session of a person" + provider)
