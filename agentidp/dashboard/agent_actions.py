"""Actions on an agent's page. A GET shows the consequences and asks for confirmation or input. A POST acts."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from flask import Response, request

from agentidp.analytics import impact
from agentidp.caller import Caller
from agentidp.dashboard import forms, pages, session
from agentidp.dashboard.form_key import AlreadySent, begin_creation, open_form, store_created_id
from agentidp.http.errors import require_row
from agentidp.registry import credentials
from agentidp.registry.agents import end_tokens, remove_agent, update_agent

SCOPE = "agents:write"

MEMBERS = forms.members(credentials.NewCredentialSchema(only=["label", "expiresAt"]))
"""Fields of the form that creates a credential with a secret."""

STATUS_AFTER = {"suspend": "suspended", "resume": "active"}

ACTIONS = "suspend, resume, delete, 'end-tokens'"


@pages.blueprint.route(f"/dashboard/agents/<uuid:agent_id>/<any({ACTIONS}):action>", methods=["GET", "POST"])
@session.required_to(SCOPE)
def act_on_agent(caller: Caller, agent_id: UUID, action: str) -> Response:
    """Show what an action on an agent would do and ask for confirmation, or do it."""
    if request.method == "POST":
        with session.begin_change(caller, SCOPE) as transaction:
            if action == "delete":
                remove_agent(transaction, agent_id)
            elif action == "end-tokens":
                end_tokens(transaction, agent_id, caller.clock)
            else:
                update_agent(transaction, agent_id, {"status": STATUS_AFTER[action]})
        return pages.see_other("/agents" if action == "delete" else f"/agents/{agent_id}")
    credential_rows = credentials.select_credentials(caller.read("agents/list_credentials", agent_id=agent_id))
    impact_sentences = []
    if action != "resume":
        token_ttl = caller.settings.token_ttl
        impact_sentences = impact.read_agent_impact(caller.read_together, agent_id, caller.at, token_ttl).summary
    return _confirm_action(caller, agent_id, action, credential_count=len(credential_rows), sentences=impact_sentences)


@pages.blueprint.route(
    "/dashboard/agents/<uuid:agent_id>/credentials/<uuid:credential_id>/revoke", methods=["GET", "POST"]
)
@session.required_to(SCOPE)
def revoke_credential_of_agent(caller: Caller, agent_id: UUID, credential_id: UUID) -> Response:
    """Show what revoking a credential would do and ask for confirmation, or revoke it."""
    if request.method == "POST":
        with session.begin_change(caller, SCOPE) as transaction:
            if "endTokens" in request.form:
                end_tokens(transaction, agent_id, caller.clock)
            credentials.end_credential(transaction, agent_id, credential_id)
        return pages.see_other(f"/agents/{agent_id}")
    credential_rows = caller.read("agents/list_credentials", agent_id=agent_id)
    credential = require_row([row for row in credential_rows if row.credential_id == credential_id])
    is_only_credential = sum(row.credential_id is not None for row in credential_rows) == 1
    token_ttl = caller.settings.token_ttl
    consequences = impact.read_credential_impact(caller.read_together, agent_id, credential_id, caller.at, token_ttl)
    context = {"credential": credential, "is_last": is_only_credential, "sentences": consequences.summary}
    return _confirm_action(caller, agent_id, "revoke", **context)


@pages.blueprint.route("/dashboard/agents/<uuid:agent_id>/rotate", methods=["GET", "POST"])
@session.required_to(SCOPE)
def add_secret(caller: Caller, agent_id: UUID) -> Response:
    """Show the form for another credential, or create the credential and show its secret for the only time."""
    form = open_form(caller, MEMBERS)
    if request.method == "POST":
        repeat_error = AlreadySent(
            "The form created the credential {id}. Its secret was shown only once. If you did not copy the secret, "
            "revoke this credential and create another one.",
            f"/agents/{agent_id}",
            "The page of the agent",
        )
        with form.catch_refusal(forms.labels(MEMBERS)):
            credential_values = forms.load(credentials.NewCredentialSchema(), forms.build_body(MEMBERS, form.values))
            credentials.refuse_past_expiry(credential_values["expires_at"], caller.at)
            with begin_creation(caller, SCOPE, form, repeat_error) as transaction:
                credential, client_secret = credentials.add_credential(transaction, agent_id, **credential_values)
                store_created_id(transaction, form, credential.credential_id)
                [agent] = transaction.fetch("agents/get_agent", agent_id=agent_id)
            return pages.page("new_credential.html", agent=agent, credential=credential, secret=client_secret)
    agent = require_row(caller.read("agents/get_agent", agent_id=agent_id))
    return pages.page("credential_form.html", form.status, here="agents", form=form, agent=agent, members=MEMBERS)


def _confirm_action(caller: Caller, agent_id: UUID, action: str, **context: Any) -> Response:
    agent = require_row(caller.read("agents/get_agent", agent_id=agent_id))
    is_own_agent = agent_id == caller.agent_id
    return pages.page("confirm.html", here="agents", action=action, agent=agent, is_own=is_own_agent, **context)
