"""Forms whose content is in a hidden field that only this server can write and read.

The field is bound to the browser in which the person has signed in, and accepted for ten minutes. So a form can be
neither forged nor shown to somebody else.
"""

from __future__ import annotations

import secrets
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Self

from flask import request

from agentidp.actor import Actor
from agentidp.db.organization import Transaction
from agentidp.http.errors import ValidationError
from agentidp.http.request_context import request_actor
from agentidp.jose.sealing import Unreadable
from agentidp.openid.claims import list_actor_fields, read_name, read_subject
from agentidp.openid.flows import build_cookie_name, build_sealer, find_form_key, is_recent, set_cookie
from agentidp.openid.provider import Provider

INVALID = "This page is not valid any more. Start again in the app."


@dataclass(frozen=True, slots=True)
class SealedForm:
    """The content of a form's encrypted hidden field: the person who has signed in.

    :param issuer: the issuer of the person's ID token.
    :param person: the ``sub`` of the ID token.
    :param asked_at: the time at which the form was shown, in seconds since the epoch.
    :param browser: a random string that is also in a cookie of the browser.
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
        """Return a form for a person who has just signed in. *fields*: the fields that only the subclass has."""
        form = cls(
            organization_id=organization_id,
            issuer=provider.settings.issuer,
            person=read_subject(claims),
            name=read_name(claims),
            asked_at=int(at.timestamp()),
            # All forms of a browser share a cookie. If each form had its own cookie, a page of another site could
            # complete so many sign-ins that the cookies of open forms would be deleted.
            browser=find_form_key() or secrets.token_urlsafe(32),
            provider_version=provider.version,
            **fields,
        )
        set_cookie(form.cookie_name, form.browser)
        return form

    @property
    def cookie_name(self) -> str:
        """The name of the cookie that binds the form to the browser."""
        return build_cookie_name(self.browser)

    @property
    def actor(self) -> Actor:
        """The person as the actor of audit events."""
        return request_actor(*list_actor_fields(self.issuer, self.person, self.name))

    def check_provider(self, transaction: Transaction) -> None:
        """Lock the organization's provider, and refuse the form if the provider has changed since the sign-in."""
        rows = transaction.fetch("openid/lock_provider")
        if self.provider_version != (str(rows[0].version) if rows else ""):
            raise ValidationError(INVALID)

    def seal(self) -> str:
        """Return the encrypted content of the hidden field."""
        return build_sealer().seal_json(type(self).__name__, asdict(self))

    @classmethod
    def decrypt(cls, field: str, at: datetime) -> Self:
        """Decrypt the content of the hidden field, or refuse a field that has expired or is from another browser."""
        try:
            form = cls(**build_sealer().open_json(cls.__name__, field))
        # The constructor raises TypeError if another release, with other fields, has made the form.
        except (TypeError, Unreadable):
            raise ValidationError(INVALID) from None
        is_same_browser = request.cookies.get(form.cookie_name) == form.browser
        if not is_same_browser or not is_recent(form.asked_at, at):
            raise ValidationError(INVALID)
        # The cookie is set again, because Chromium keeps a page in its back/forward cache in spite of no-store until
        # the site sets a cookie.
        set_cookie(form.cookie_name, form.browser)
        return form
