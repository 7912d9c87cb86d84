"""Actions on an agent's page: suspend, resume and delete the agent, create and revoke a credential.

A GET shows the consequences and asks for confirmation or input; a POST acts.
"""

from __future__ import annotations

from typing import Any
from uuid import UUID

from flask import Response

from agentidp.analytics import impact
from agentidp.caller import Caller
from agentidp.dashboard import forms, pages, session
from agentidp.dashboard.form_key import (
    SentBefore,
    begin_creation,
    new_form_key,
    read_form_key,
    sent_before,
    store_created_id,
)
from agentidp.dashboard.forms import Form
from agentidp.http.errors import Conflict, ValidationError, existing
from agentidp.registry.agents import remove_agent, update_agent
from agentidp.registry.credentials import (
    NewCredentialSchema,
    add_credential,
    end_credential,
    present,
    refuse_past_expiry,
)

SCOPE = "agents:write"

MEMBERS = forms.members(NewCredentialSchema(only=["label", "expiresAt"]))
"""Fields of the form for a credential with a secret."""

STATUS_AFTER = {"suspend": "suspended", "resume": "active"}

blueprint = pages.new_blueprint("dashboard-agent-actions", __name__)


@blueprint.get("/dashboard/agents/<uuid:agent_id>/<any(suspend, resume, delete):action>")
@session.required_to(SCOPE)
def confirm(caller: Caller, agent_id: UUID, action: str) -> Response:
    """Show the consequences of the action, and ask for confirmation."""
    credentials = present(caller.read("agents/list_credentials", agent_id=agent_id))
    sentences = []
    if action != "resume":
        broken = impact.read_agent_impact(caller.read_together, agent_id, caller.at, caller.settings.token_ttl)
        sentences = impact.sentences(broken)
    return _confirmation(caller, agent_id, action, credential_count=len(credentials), sentences=sentences)


@blueprint.get("/dashboard/agents/<uuid:agent_id>/credentials/<uuid:credential_id>/revoke")
@session.required_to(SCOPE)
def confirm_revocation(caller: Caller, agent_id: UUID, credential_id: UUID) -> Response:
    """Show the consequences of revoking the credential, and ask for confirmation."""
    rows = caller.read("agents/list_credentials", agent_id=agent_id)
    credential = existing([row for row in rows if row.credential_id == credential_id])
    is_last = sum(row.credential_id is not None for row in rows) == 1
    ttl = caller.settings.token_ttl
    broken = impact.read_credential_impact(caller.read_together, agent_id, credential_id, caller.at, ttl)
    return _confirmation(
        caller, agent_id, "revoke", credential=credential, is_last=is_last, sentences=impact.sentences(broken)
    )


@blueprint.post("/dashboard/agents/<uuid:agent_id>/<any(suspend, resume):action>")
@session.required_to(SCOPE)
def change_status(caller: Caller, agent_id: UUID, action: str) -> Response:
    """Suspend or resume the agent."""
    with session.begin_change(caller, SCOPE) as transaction:
        update_agent(transaction, agent_id, {"status": STATUS_AFTER[action]})
    return pages.see_other(f"/agents/{agent_id}")


@blueprint.post("/dashboard/agents/<uuid:agent_id>/delete")
@session.required_to(SCOPE)
def delete(caller: Caller, agent_id: UUID) -> Response:
    """Delete the agent, and redirect to the list of agents."""
    with session.begin_change(caller, SCOPE) as transaction:
        remove_agent(transaction, agent_id)
    return pages.see_other("/agents")


@blueprint.get("/dashboard/agents/<uuid:agent_id>/rotate")
@session.required_to(SCOPE)
def new_credential(caller: Caller, agent_id: UUID) -> Response:
    """Show the form for another credential."""
    return _credential_form(caller, agent_id, Form(forms.default_values(MEMBERS), form_key=new_form_key(caller.at)))


@blueprint.post("/dashboard/agents/<uuid:agent_id>/rotate")
@session.required_to(SCOPE)
def rotate(caller: Caller, agent_id: UUID) -> Response:
    """Create another credential, and show its secret for the only time."""
    key, typed = read_form_key(), forms.read_fields(MEMBERS)
    try:
        new = forms.load(NewCredentialSchema(), forms.build_body(MEMBERS, typed))
        refuse_past_expiry(new["expires_at"], caller.at)
        with begin_creation(caller, SCOPE, key) as transaction:
            credential, secret = add_credential(transaction, agent_id, **new)
            store_created_id(transaction, key, credential.credential_id)
            [agent] = transaction.fetch("agents/get_agent", agent_id=agent_id)
    except SentBefore as before:
        return sent_before(
            f"It created the credential {before.created_id}, whose secret was shown that one time. "
            "If you did not copy it, revoke this credential and create another one.",
            path=f"/agents/{agent_id}",
            label="The page of the agent",
        )
    except (ValidationError, Conflict) as refused:
        form = Form(typed, forms.errors(refused, forms.labels(MEMBERS)), key.text)
        return _credential_form(caller, agent_id, form, refused.status)
    return pages.page("new_credential.html", agent=agent, credential=credential, secret=secret)


@blueprint.post("/dashboard/agents/<uuid:agent_id>/credentials/<uuid:credential_id>/revoke")
@session.required_to(SCOPE)
def revoke(caller: Caller, agent_id: UUID, credential_id: UUID) -> Response:
    """Revoke the credential."""
    with session.begin_change(caller, SCOPE) as transaction:
        end_credential(transaction, agent_id, credential_id)
    return pages.see_other(f"/agents/{agent_id}")


def _credential_form(caller: Caller, agent_id: UUID, form: Form, status: int = 200) -> Response:
    agent = existing(caller.read("agents/get_agent", agent_id=agent_id))
    return pages.page("credential_form.html", status, here="agents", form=form, agent=agent, members=MEMBERS)


def _confirmation(caller: Caller, agent_id: UUID, action: str, **context: Any) -> Response:
    agent = existing(caller.read("agents/get_agent", agent_id=agent_id))
    is_own = agent_id == caller.agent_id
    return pages.page("confirm.html", here="agents", action=action, agent=agent, is_own=is_own, **context)
