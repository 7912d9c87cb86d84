"""Forms whose content is in a hidden field that only this server can write and read.

The field is bound to the browser in which the person has signed in, and accepted for ten minutes. So a form can be
neither forged nor shown to somebody else.
"""

from __future__ import annotations

import base64
import json
import secrets
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Self

import flask

from agentidp.actor import Actor
from agentidp.db.organization import Transaction
from agentidp.http.errors import ValidationError
from agentidp.http.request_context import request_actor
from agentidp.jose.sealing import Sealer, Unreadable
from agentidp.openid.claims import list_actor_fields, read_name, read_subject
from agentidp.openid.provider import Provider
from agentidp.services import services

LIFETIME = timedelta(minutes=10)
"""Maximum age at which a form is accepted."""

INVALID = "This page is not valid any more. Start again in the app."

_BROWSER = "browser"


@dataclass(frozen=True, slots=True)
class SealedForm:
    """The content of a form's encrypted hidden field: the person who has signed in.

    :param issuer: the issuer of the person's ID token.
    :param person: the ``sub`` of the ID token.
    :param asked_at: the time at which the form was shown, in seconds since the epoch.
    :param browser: a random string that is also in the browser's cookie.
    :param provider_version: the version of the organization's own provider; empty for the provider of the instance.
    """

    organization_id: str
    issuer: str
    person: str
    name: str | None
    asked_at: int
    browser: str
    provider_version: str

    @classmethod
    def create(
        cls, provider: Provider, claims: dict[str, Any], organization_id: str, at: datetime, **fields: Any
    ) -> Self:
        """Return a form for a person who has just signed in, with the fields of the subclass."""
        return cls(
            organization_id=organization_id,
            issuer=provider.settings.issuer,
            person=read_subject(claims),
            name=read_name(claims),
            asked_at=int(at.timestamp()),
            browser=_get_browser_id(),
            provider_version=provider.version,
            **fields,
        )

    @property
    def actor(self) -> Actor:
        """The person as the actor of audit events."""
        return request_actor(*list_actor_fields(self.issuer, self.person, self.name))

    def check_provider(self, transaction: Transaction) -> None:
        """Lock the organization's provider, and refuse the form if the provider has changed since then."""
        rows = transaction.fetch("openid/lock_provider")
        if self.provider_version != (str(rows[0].version) if rows else ""):
            raise ValidationError(INVALID)

    def seal(self) -> str:
        """Return the encrypted content of the hidden field."""
        content = json.dumps(asdict(self)).encode()
        return base64.urlsafe_b64encode(_sealer().seal(type(self).__name__, content)).decode()

    @classmethod
    def decrypt(cls, field: str, at: datetime) -> Self:
        """Decrypt the content of the hidden field. Refuse a field of another browser, and an old field."""
        try:
            form_json = _sealer().open(cls.__name__, base64.urlsafe_b64decode(field.encode("ascii", "replace")))
            form = cls(**json.loads(form_json))
        # The constructor raises TypeError if another release, with other fields, has made the form.
        except (ValueError, TypeError, Unreadable):
            raise ValidationError(INVALID) from None
        form_age = at - datetime.fromtimestamp(form.asked_at, UTC)
        is_same_browser = secrets.compare_digest(form.browser, str(flask.session.get(_BROWSER)))
        if not is_same_browser or not -LIFETIME < form_age < LIFETIME:
            raise ValidationError(INVALID)
        # Chromium removes a page with no-store from its back/forward cache only if the site sets a cookie.
        flask.session.modified = True
        return form


def _get_browser_id() -> str:
    """Return the random string in the browser's cookie, or a new string, which the response stores in the cookie."""
    browser_id: str = flask.session.setdefault(_BROWSER, secrets.token_urlsafe(32))
    return browser_id


def _sealer() -> Sealer:
    return Sealer(services().settings, b"agentidp consent of a person")
