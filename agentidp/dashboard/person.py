"""Sessions of people who sign in to the dashboard at an OpenID Connect provider.

The cookie contains the whole session, encrypted under the instance secret. The server stores a person only in the audit
trail. A session is not a JWT, so neither the API nor introspection can accept it as a token.
"""

from __future__ import annotations

import dataclasses
import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from agentidp.config import LEEWAY, Settings
from agentidp.db.sql import Call
from agentidp.jose.sealing import Sealer, Unreadable
from agentidp.openid.claims import ADMINISTRATOR, VIEWER, format_identity, list_actor_fields
from agentidp.scopes import SCOPES

ROLES = {VIEWER: frozenset({"analytics:read"}), ADMINISTRATOR: frozenset(SCOPES)}
"""The scopes of each role."""

PREFIX = "person."
"""The value of a person's cookie begins with this text. Every JWT begins with "e" instead."""

OWN_PREFIX = PREFIX + "own."
"""The value of a cookie begins with this text if the person has signed in at the organization's own provider."""

MAX_LENGTH = 4096
"""Maximum number of characters of a person's cookie. Browsers do not store longer cookies."""

_ROW = "session"


@dataclass(frozen=True, slots=True)
class Person:
    """The session of a person who is signed in to the dashboard.

    :param name: the person's name; ``None`` if the provider did not send it.
    :param session_id: a random id with which the session can be revoked.
    :param provider_version: the version of the organization's own provider; empty for the provider of the instance.
    """

    organization_id: str
    issuer: str
    subject: str
    name: str | None
    role: str
    session_id: str
    issued_at: int
    expires_at: int
    provider_version: str

    @property
    def identity(self) -> str:
        """The identity of the person: issuer and subject, but not the name."""
        return format_identity(self.issuer, self.subject)

    @property
    def display_name(self) -> str:
        """The name of the person, or the subject if there is no name."""
        return self.name or self.subject

    @property
    def actor(self) -> tuple[str, str, str]:
        """The person as arguments of :func:`agentidp.http.request_context.request_actor`."""
        return list_actor_fields(self.issuer, self.subject, self.name)

    @property
    def scopes(self) -> frozenset[str]:
        """The scopes of the person, which the role determines."""
        return ROLES[self.role]

    def build_query(self) -> Call:
        """Return the statement that returns the organization's name, or no row if the session has ended."""
        parameters = {"jti": self.session_id, "provider_version": self.provider_version or None}
        return Call("dashboard/person_session", parameters)

    def build_revocation(self) -> Call:
        """Return the statement that ends this session on all devices."""
        # The revocation is stored for longer than the session lasts, because a clock may be LEEWAY ahead or behind.
        forgotten_at = datetime.fromtimestamp(self.expires_at, UTC) + timedelta(seconds=2 * LEEWAY)
        return Call("oauth/revoke_token", {"jti": self.session_id, "expires_at": forgotten_at})

    def seal(self, settings: Settings) -> str:
        """Return the value of the person's cookie: the encrypted session, with a prefix."""
        prefix = OWN_PREFIX if self.provider_version else PREFIX
        return prefix + _build_sealer(settings, prefix).seal_json(_ROW, dataclasses.asdict(self))


def unseal(cookie: str, settings: Settings, at: datetime) -> Person | None:
    """Return the session in a person's cookie, or ``None`` if it has expired or was not sealed with these settings."""
    cookie_prefix = OWN_PREFIX if cookie.startswith(OWN_PREFIX) else PREFIX
    oidc = settings.oidc if cookie_prefix == PREFIX else None
    if (oidc is None and cookie_prefix == PREFIX) or len(cookie) > MAX_LENGTH:
        return None
    try:
        person = Person(**_build_sealer(settings, cookie_prefix).open_json(_ROW, cookie.removeprefix(cookie_prefix)))
    # The session of another release can have other members than Person, which raises TypeError.
    except (TypeError, Unreadable):
        return None
    if oidc and oidc.organizations and person.organization_id not in oidc.organizations.values():
        return None
    return person if person.issued_at - LEEWAY <= at.timestamp() < person.expires_at else None


def _build_sealer(settings: Settings, prefix: str) -> Sealer:
    """Return the sealer of cookies. A new client secret of the instance's provider ends the sessions of its people."""
    if prefix == OWN_PREFIX:
        return Sealer(settings, b"agentidp dashboard session of a person at an organization's provider")
    oidc = settings.oidc
    assert oidc is not None  # noqa: S101 - without these settings, nobody has a session of this kind
    provider_digest = hashlib.sha256("\0".join((oidc.issuer, oidc.client_id, oidc.client_secret)).encode()).digest()
    return Sealer(settings, b"agentidp dashboard session of a person" + provider_digest)
