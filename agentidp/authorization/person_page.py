"""``/authorize/grants``: the page on which a person who has signed in sees and ends the person's own grants."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from flask import Response

from agentidp.authorization.sealed_form import SealedForm
from agentidp.dashboard import pages
from agentidp.db.sql import Call
from agentidp.http.errors import require_row
from agentidp.oauth.grants import compute_person_subject, end_grant
from agentidp.registry.grants import build_list_call
from agentidp.services import services

PATH = "/authorize/grants"


@dataclass(frozen=True, slots=True)
class Visit(SealedForm):
    """The form on the page where a signed-in person ends the person's own grants."""

    @property
    def subject(self) -> str:
        """The digest that identifies the person in stored grants."""
        return compute_person_subject(self.organization_id, self.issuer, self.person)


def show_grants(visit_form: Visit, at: datetime, *, notice: str | None = None) -> Response:
    """Return the page with a notice and the person's grants, or raise ``NotFound`` for a deleted organization."""
    database = services().database.of(visit_form.organization_id, at)
    grant_rows, server_rows, organization_rows = database.run(
        build_list_call(subject=visit_form.subject),
        Call("oauth/list_resource_servers", {}),
        Call("organizations/get_organization", {}),
    )
    return pages.page(
        "authorization_grants.html",
        grants=grant_rows,
        names={server_row.resource: server_row.name for server_row in server_rows},
        organization=require_row(organization_rows),
        person=visit_form.name or visit_form.person,
        visit=visit_form.seal(),
        notice=notice,
        at=at,
        action=f"{services().settings.issuer}{PATH}",
    )


def end_own_grant(visit_form: Visit, grant_id: UUID, at: datetime) -> None:
    """End a grant of the person, or raise ``NotFound`` if the person has no such grant."""
    with services().database.of(visit_form.organization_id, at).transaction(visit_form.actor) as transaction:
        # An empty provider_version means the instance's provider. Its people may still end grants after the
        # organization has added its own provider.
        if visit_form.provider_version:
            visit_form.check_provider(transaction)
        require_row(transaction.run(build_list_call(grant_id=grant_id, subject=visit_form.subject)))
        end_grant(transaction, grant_id)
