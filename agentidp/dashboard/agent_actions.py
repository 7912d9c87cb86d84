"""What an operator does to an agent on its page: suspend, resume, rotate and revoke a credential.

A GET shows what will happen and asks for confirmation, a POST does it. Both need a session whose agent has the scope
``agents:write`` now, which the transaction of the POST checks again. A POST from another site's page is refused
(:mod:`agentidp.dashboard.cross_origin`).
"""

from __future__ import annotations

from typing import Any
from uuid import UUID

from flask import Response

from agentidp.caller import Caller
from agentidp.dashboard import pages, session
from agentidp.dashboard.form_key import new_form_key, sent_before, sent_form_key
from agentidp.http.errors import AlreadyExists, existing
from agentidp.registry.agents import update_agent
from agentidp.registry.credentials import add_credential, end_credential

SCOPE = "agents:write"

STATUS_AFTER = {"suspend": "suspended", "resume": "active"}

blueprint = pages.new_blueprint("dashboard-agent-actions", __name__)


@blueprint.get("/dashboard/agents/<uuid:agent_id>/<any(suspend, resume, rotate):action>")
@session.required_to(SCOPE)
def confirm(caller: Caller, agent_id: UUID, action: str) -> Response:
    """Say what the action does, and ask for confirmation."""
    return _confirmation(caller, agent_id, action, form_key=new_form_key() if action == "rotate" else None)


@blueprint.get("/dashboard/agents/<uuid:agent_id>/credentials/<uuid:credential_id>/revoke")
@session.required_to(SCOPE)
def confirm_revocation(caller: Caller, agent_id: UUID, credential_id: UUID) -> Response:
    """Say what revoking the credential does, and ask for confirmation."""
    rows = caller.read("agents/list_credentials", agent_id=agent_id)
    credential = existing([row for row in rows if row.credential_id == credential_id])
    is_last = sum(row.credential_id is not None for row in rows) == 1
    return _confirmation(caller, agent_id, "revoke", credential=credential, is_last=is_last)


@blueprint.post("/dashboard/agents/<uuid:agent_id>/<any(suspend, resume):action>")
@session.required_to(SCOPE)
def change_status(caller: Caller, agent_id: UUID, action: str) -> Response:
    """Suspend or resume the agent."""
    with session.changing(caller, SCOPE) as opened:
        update_agent(opened, agent_id, {"status": STATUS_AFTER[action]})
    return pages.see_other(f"/agents/{agent_id}")


@blueprint.post("/dashboard/agents/<uuid:agent_id>/rotate")
@session.required_to(SCOPE)
def rotate(caller: Caller, agent_id: UUID) -> Response:
    """Create another credential, and show its secret this once."""
    credential_id = sent_form_key()
    try:
        with session.changing(caller, SCOPE) as opened:
            credential, secret = add_credential(opened, agent_id, expires_at=None, credential_id=credential_id)
            [agent] = opened.fetch("agents/get_agent", agent_id=agent_id)
    except AlreadyExists:
        return sent_before(
            f"It created the credential {credential_id}, whose secret was shown that one time. If you did not copy it, "
            "revoke this credential and create another one.",
            path=f"/agents/{agent_id}",
            label="The page of the agent",
        )
    return pages.page("new_credential.html", agent=agent, credential=credential, secret=secret)


@blueprint.post("/dashboard/agents/<uuid:agent_id>/credentials/<uuid:credential_id>/revoke")
@session.required_to(SCOPE)
def revoke(caller: Caller, agent_id: UUID, credential_id: UUID) -> Response:
    """Revoke the credential."""
    with session.changing(caller, SCOPE) as opened:
        end_credential(opened, agent_id, credential_id)
    return pages.see_other(f"/agents/{agent_id}")


def _confirmation(caller: Caller, agent_id: UUID, action: str, **context: Any) -> Response:
    agent = existing(caller.read("agents/get_agent", agent_id=agent_id))
    return pages.page("confirm.html", action=action, agent=agent, is_own=agent_id == caller.agent_id, **context)
