"""The consent form: what a person is asked, in a hidden field that only this server can write and read.

The field is encrypted under the instance secret, bound to the browser in which the person has signed in, and accepted
once. So a form cannot be forged, shown to somebody else or sent again.
"""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

import flask
import psycopg

from agentidp import audit
from agentidp.actor import Actor
from agentidp.db.organization import Transaction
from agentidp.http.errors import ValidationError
from agentidp.http.request_context import request_actor
from agentidp.jose.sealing import Sealer, Unreadable
from agentidp.oauth import grants
from agentidp.openid.claims import actor_of
from agentidp.services import services

LIFETIME = timedelta(minutes=10)
"""Age at which the form is refused."""

_BROWSER, _ROW = "browser", "consent"
_INVALID = "This page is not valid any more. Start again in the app."


@dataclass(frozen=True, slots=True)
class Consent:
    """What a person is asked.

    :param query: the authorization request.
    :param issuer: the issuer of the person's ID token; ``person`` is the ``sub``, ``name`` the name.
    :param asked_at: seconds since the epoch.
    :param browser: a random string that is also in the browser's cookie.
    :param form_id: a random string by which the form is accepted once.
    """

    query: str
    organization_id: str
    issuer: str
    person: str
    name: str | None
    rule_id: str
    scopes: list[str]
    days: int
    asked_at: int
    browser: str
    form_id: str

    def sealed(self) -> str:
        """Return the content of the hidden field."""
        return base64.urlsafe_b64encode(_sealer().seal(_ROW, json.dumps(asdict(self)).encode())).decode()


def browser() -> str:
    """Return the random string in the browser's cookie, which the response sets if there is none."""
    text: str = flask.session.setdefault(_BROWSER, secrets.token_urlsafe(32))
    return text


def read_consent(field: str, at: datetime) -> Consent:
    """Return the content of the hidden field.

    :raises ValidationError: the field is not ours, too old, or of another browser.
    """
    try:
        content = _sealer().open(_ROW, base64.urlsafe_b64decode(field.encode("ascii", "replace")))
        consent = Consent(**json.loads(content))
    # A form that another release has written raises TypeError.
    except (ValueError, TypeError, Unreadable):
        raise ValidationError(_INVALID) from None
    age = at - datetime.fromtimestamp(consent.asked_at, UTC)
    is_same_browser = secrets.compare_digest(consent.browser, str(flask.session.get(_BROWSER)))
    if not is_same_browser or not -LIFETIME < age < LIFETIME:
        raise ValidationError(_INVALID)
    return consent


def allow(consent: Consent, agent_id: UUID, parameters: dict[str, str], redirect_uri: str, at: datetime) -> str:
    """Store what the person allows, and return the code.

    :raises ValidationError: the form was sent before.
    """
    permission = grants.Permission(
        agent_id,
        UUID(consent.rule_id),
        consent.issuer,
        consent.person,
        parameters["resource"],
        consent.scopes,
        consent.days,
        parameters["code_challenge"],
        redirect_uri,
        parameters.get("dpop_jkt"),
    )
    try:
        with services().database.of(consent.organization_id, at).transaction(_actor(consent)) as opened:
            _use(opened, consent)
            return grants.add_grant(opened, permission).text
    except psycopg.errors.UniqueViolation:
        raise ValidationError(_INVALID) from None


def refuse(consent: Consent, agent_id: UUID, at: datetime) -> None:
    """Record that the person does not allow it.

    :raises ValidationError: the form was sent before.
    """
    try:
        with services().database.of(consent.organization_id, at).transaction(_actor(consent)) as opened:
            _use(opened, consent)
            after = {"agentId": str(agent_id), "delegationRuleId": consent.rule_id, "scopes": consent.scopes}
            audit.record(opened, "grant.refused", agent_id, after=after)
    except psycopg.errors.UniqueViolation:
        raise ValidationError(_INVALID) from None


def _use(opened: Transaction, consent: Consent) -> None:
    digest = hashlib.sha256(json.dumps(["consent", consent.form_id]).encode()).digest()
    expires_at = datetime.fromtimestamp(consent.asked_at, UTC) + LIFETIME
    opened.fetch("oauth/use_identifier", digest=digest, expires_at=expires_at)


def _actor(consent: Consent) -> Actor:
    return request_actor(*actor_of(consent.issuer, consent.person, consent.name))


def _sealer() -> Sealer:
    return Sealer(services().settings, b"agentidp consent of a person")
