"""The consent form, which asks a person to allow an agent's access. A form is accepted only once."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

import psycopg

from agentidp import audit
from agentidp.authorization.requests import AuthorizationRequest, check_registration
from agentidp.authorization.sealed_form import SealedForm
from agentidp.config import LEEWAY
from agentidp.db.organization import Transaction
from agentidp.http.errors import Conflict
from agentidp.oauth import grants
from agentidp.openid.flows import LIFETIME
from agentidp.services import services


@dataclass(frozen=True, slots=True)
class Consent(SealedForm):
    """The form that asks a person whether an agent may act for the person.

    :param parameters: the parameters of the authorization request, as in :class:`AuthorizationRequest`.
    :param days: the number of days for which the agent may act.
    :param form_id: a random string, so that the form is accepted only once.
    """

    agent_id: str
    redirect_uri: str
    parameters: dict[str, str]
    rule_id: str
    scopes: list[str]
    days: int
    form_id: str

    @property
    def requested(self) -> AuthorizationRequest:
        """The authorization request."""
        return AuthorizationRequest(
            self.organization_id, UUID(self.agent_id), self.redirect_uri, self.parameters, frozenset()
        )


def allow_access(consent: Consent, at: datetime) -> str:
    """Store the grant of the person, and return the authorization code."""
    authorization_request = consent.requested
    permission = grants.Permission(
        authorization_request.agent_id,
        UUID(consent.rule_id),
        consent.issuer,
        consent.person,
        authorization_request.resource,
        consent.scopes,
        consent.days,
        authorization_request.parameters["code_challenge"],
        authorization_request.redirect_uri,
        authorization_request.parameters.get("dpop_jkt"),
    )
    with _submit_form(consent, at) as transaction:
        return grants.add_grant(transaction, permission).text


def refuse_access(consent: Consent, at: datetime) -> None:
    """Record in the audit trail that the person has refused the access."""
    with _submit_form(consent, at) as transaction:
        refusal_details = {"agentId": consent.agent_id, "delegationRuleId": consent.rule_id, "scopes": consent.scopes}
        audit.record(transaction, "grant.refused", UUID(consent.agent_id), after=refusal_details)


@contextlib.contextmanager
def _submit_form(consent: Consent, at: datetime) -> Iterator[Transaction]:
    """Open a transaction that accepts the form.

    :raises Conflict: the form was accepted before.
    :raises ValidationError: the organization's provider has changed, or the agent has lost the redirect URI.
    """
    form_digest = hashlib.sha256(json.dumps(["consent", consent.form_id]).encode()).digest()
    # The digest is stored until no server accepts the form. The clocks of two servers may differ by twice LEEWAY.
    digest_expires_at = datetime.fromtimestamp(consent.asked_at, UTC) + LIFETIME + timedelta(seconds=2 * LEEWAY)
    try:
        with services().database.of(consent.organization_id, at).transaction(consent.actor) as transaction:
            # The lock keeps other requests from replacing the app's redirect URIs, which ends its grants. The
            # organization is locked before its provider, because agentidp apply locks both in this order.
            transaction.fetch("organizations/lock_organization")
            consent.check_provider(transaction)
            agent_rows = transaction.fetch("agents/get_agent", agent_id=consent.agent_id)
            check_registration(agent_rows, consent.redirect_uri)
            transaction.fetch("oauth/use_identifier", digest=form_digest, expires_at=digest_expires_at)
            yield transaction
    except psycopg.errors.UniqueViolation:
        raise Conflict(
            f"You have already answered. Your first answer counts, and it goes to {consent.requested.destination}. "
            "If the app still asks you to sign in, start again in the app."
        ) from None
