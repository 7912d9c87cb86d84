"""``/dashboard/findings``: the organization's findings, with filters for state, kind, agent and owner."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from flask import Response, request

from agentidp.alerts.state_change import kind_label
from agentidp.caller import Caller
from agentidp.dashboard import pages, session
from agentidp.dashboard.agents import PAGE_SIZE, read_page_number, select_page
from agentidp.dashboard.page_findings import build_finding_rows, read_listing
from agentidp.db.sql import Call
from agentidp.findings.finding import STATES, StoredFinding
from agentidp.findings.incidents import group_into_incidents
from agentidp.findings.kinds import KINDS
from agentidp.findings.listing import STORED_KINDS, filter_findings
from agentidp.http.errors import ValidationError
from agentidp.http.schemas import MAX_DAYS, MAX_NAME


@dataclass(frozen=True, slots=True)
class Selection:
    """The filters of a request: state, kind, an agent's id or part of an agent's name, and an agent's owner."""

    state: str = ""
    kind: str = ""
    agent: str = ""
    owner: str = ""

    def build_query(self, **changes: Any) -> str:
        """Return the URL query for these filters. *changes* replace values of the filters."""
        return urlencode({parameter: value for parameter, value in (asdict(self) | changes).items() if value})

    def selects(self, finding: StoredFinding, owners_by_agent: dict[UUID, str]) -> bool:
        """Return whether a finding is about an agent with the selected owner, and with the selected ID or name."""
        has_owner = not self.owner or self.owner in map(owners_by_agent.get, finding.agent_ids)
        search_text = self.agent.casefold()
        agent_names = [finding.agent_name or "", *(contributor.agent_name for contributor in finding.agents)]
        has_agent = search_text in map(str, finding.agent_ids) or any(
            search_text in agent_name.casefold() for agent_name in agent_names
        )
        return has_owner and has_agent


@pages.blueprint.get("/dashboard/findings")
@session.required
def list_findings(caller: Caller) -> Response:
    """Show a page of the findings of the last 90 days that the filters select, ongoing and urgent findings first."""
    selection, page_number = _read_selection(), read_page_number()
    return pages.page(
        "findings.html",
        slow_part=lambda: _read_slow_part(caller, selection, page_number),
        here="findings",
        selection=selection,
    )


def _read_slow_part(caller: Caller, selection: Selection, page_number: int) -> dict[str, Any]:
    findings_listing = read_listing(caller, MAX_DAYS)
    findings = findings_listing.findings if findings_listing else []
    agent_ids = {agent_id for finding in findings for agent_id in finding.agent_ids}
    [agent_rows] = caller.read_together(Call("audit/agent_names", {"agent_ids": list(agent_ids)}))
    owners_by_agent = {agent_row.agent_id: agent_row.owner for agent_row in agent_rows}
    findings = filter_findings(findings, state=selection.state or None, kind=selection.kind or None, agent=None)
    incidents = group_into_incidents([finding for finding in findings if selection.selects(finding, owners_by_agent)])
    rows_on_page, page_links = select_page(build_finding_rows(incidents), page_number)
    return {
        "listing": findings_listing,
        "listed": rows_on_page,
        "selected": incidents,
        "states": STATES,
        "kinds": {kind: kind_label(kind) for kind in KINDS},
        "owners": sorted({owner for owner in owners_by_agent.values() if owner}, key=str.casefold),
        "page_size": PAGE_SIZE,
        **page_links,
    }


def _read_selection() -> Selection:
    selection = Selection(**{parameter: request.args.get(parameter, "").strip() for parameter in Selection.__slots__})
    if selection.state not in ("", *STATES) or selection.kind not in ("", *STORED_KINDS):
        raise ValidationError("The findings cannot be filtered by this.")
    if any(len(typed_name) > MAX_NAME or "\0" in typed_name for typed_name in (selection.agent, selection.owner)):
        raise ValidationError(f"The name of an agent or an owner has at most {MAX_NAME} characters.")
    return selection
