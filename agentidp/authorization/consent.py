"""The consent form, which asks a person to allow an agent's access. A form is accepted only once."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

import psycopg

from agentidp import audit
from agentidp.authorization.sealed_form import INVALID, LIFETIME, SealedForm
from agentidp.config import LEEWAY
from agentidp.db.organization import Transaction
from agentidp.http.errors import ValidationError
from agentidp.oauth import grants
from agentidp.services import services


@dataclass(frozen=True, slots=True)
class Consent(SealedForm):
    """The form that asks a person whether an agent may act for the person.

    :param query: the query of the authorization request.
    :param days: the number of days for which the agent may act.
    :param form_id: a random string, so that the form is accepted only once.
    """

    query: str
    rule_id: str
    scopes: list[str]
    days: int
    form_id: str


def allow_access(consent: Consent, agent_id: UUID, parameters: dict[str, str], redirect_uri: str, at: datetime) -> str:
    """Store the grant of the person, and return the authorization code.

    :raises ValidationError: the form was sent before, or the organization's provider has changed.
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
        with services().database.of(consent.organization_id, at).transaction(consent.actor) as transaction:
            _mark_used(transaction, consent)
            return grants.add_grant(transaction, permission).text
    except psycopg.errors.UniqueViolation:
        raise ValidationError(INVALID) from None


def refuse_access(consent: Consent, agent_id: UUID, at: datetime) -> None:
    """Record in the audit trail that the person has refused the access.

    :raises ValidationError: the form was sent before, or the organization's provider has changed.
    """
    try:
        with services().database.of(consent.organization_id, at).transaction(consent.actor) as transaction:
            _mark_used(transaction, consent)
            refusal_details = {"agentId": str(agent_id), "delegationRuleId": consent.rule_id, "scopes": consent.scopes}
            audit.record(transaction, "grant.refused", agent_id, after=refusal_details)
    except psycopg.errors.UniqueViolation:
        raise ValidationError(INVALID) from None


def _mark_used(transaction: Transaction, consent: Consent) -> None:
    consent.check_provider(transaction)
    form_digest = hashlib.sha256(json.dumps(["consent", consent.form_id]).encode()).digest()
    # The clocks of two servers may differ by twice LEEWAY, so another server may accept the form for longer.
    expires_at = datetime.fromtimestamp(consent.asked_at, UTC) + LIFETIME + timedelta(seconds=2 * LEEWAY)
    transaction.fetch("oauth/use_identifier", digest=form_digest, expires_at=expires_at)
