"""``/dashboard/findings``: the organization's findings, with filters for state, kind, agent and owner."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from flask import Response, request

from agentidp.caller import Caller
from agentidp.dashboard import pages, session
from agentidp.dashboard.agents import PAGE_SIZE, requested_page
from agentidp.dashboard.page_findings import listing
from agentidp.db.sql import Call
from agentidp.findings.finding import STATES, StoredFinding
from agentidp.findings.incidents import incidents
from agentidp.findings.kinds import KINDS
from agentidp.findings.listing import STORED_KINDS, filter_findings
from agentidp.http.errors import ValidationError
from agentidp.http.schemas import MAX_DAYS, MAX_NAME

blueprint = pages.new_blueprint("dashboard-findings", __name__)


@dataclass(frozen=True, slots=True)
class Chosen:
    """The filters: state, kind, part of the name or the whole id of an agent, and owner of an agent."""

    state: str = ""
    kind: str = ""
    agent: str = ""
    owner: str = ""

    def query(self, **further: Any) -> str:
        """Return the query of an address with these filters and *further* parameters."""
        return urlencode({name: value for name, value in (asdict(self) | further).items() if value})


@blueprint.get("/dashboard/findings")
@session.required
def findings(caller: Caller) -> Response:
    """Show a page of the findings of the last 90 days that the filters select, ongoing and urgent ones first."""
    chosen, number = _requested(), requested_page()
    return pages.page(
        "findings.html", slow_part=lambda: _listed(caller, chosen, number), here="findings", chosen=chosen
    )


def _listed(caller: Caller, chosen: Chosen, number: int) -> dict[str, Any]:
    """Return the context of the slow part. A page number after the last page means the last page."""
    found = listing(caller, MAX_DAYS)
    known = found.findings if found else []
    [agents] = caller.read_together(
        Call("audit/agent_names", {"agent_ids": list({each for one in known for each in one.agent_ids})})
    )
    owners = {row.agent_id: row.owner for row in agents}
    of_state = filter_findings(known, state=chosen.state or None, kind=chosen.kind or None, agent=None)
    shown = incidents(_chosen(of_state, chosen, owners))
    last = max(1, -(-len(shown) // PAGE_SIZE))
    number = min(number, last)
    return {
        "found": found,
        "listed": shown[PAGE_SIZE * (number - 1) : PAGE_SIZE * number],
        "shown": shown,
        "states": STATES,
        "kinds": KINDS,
        "owners": sorted({owner for owner in owners.values() if owner}, key=str.casefold),
        "number": number,
        "pages": last,
    }


def _requested() -> Chosen:
    chosen = Chosen(**{name: request.args.get(name, "").strip() for name in Chosen.__slots__})
    if chosen.state not in ("", *STATES) or chosen.kind not in ("", *STORED_KINDS):
        raise ValidationError("The findings cannot be filter_findings by this.")
    if any(len(text) > MAX_NAME or "\0" in text for text in (chosen.agent, chosen.owner)):
        raise ValidationError(f"The name of an agent or an owner has at most {MAX_NAME} characters.")
    return chosen


def _chosen(known: list[StoredFinding], chosen: Chosen, owners: dict[UUID, str]) -> list[StoredFinding]:
    """Return the findings that match the filters for agent and owner."""
    return [one for one in known if _names(one, chosen.agent) and (not chosen.owner or _is_of(one, chosen, owners))]


def _names(one: StoredFinding, agent: str) -> bool:
    """Return whether a finding names an agent with this id, or with this text in its name."""
    wanted = agent.casefold()
    names = [one.agent_name or "", *(each.agent_name for each in one.agents)]
    return wanted in map(str, one.agent_ids) or any(wanted in name.casefold() for name in names)


def _is_of(one: StoredFinding, chosen: Chosen, owners: dict[UUID, str]) -> bool:
    return any(owners.get(agent_id) == chosen.owner for agent_id in one.agent_ids)
