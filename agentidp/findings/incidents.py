"""Group findings into incidents: a finding about the whole organization, with the findings that explain it.

1. A finding about the whole organization is a budget, a quota of the organization, a spike of several agents, or
   dominance.
2. Its parts report many tokens of an agent that it names, overlap it in time, and are ongoing if it is ongoing.
3. If several findings can have a part, the most urgent one has it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from agentidp.findings.contributors import is_about_organization
from agentidp.findings.finding import Severity, StoredFinding
from agentidp.findings.kinds import kind_of


@dataclass(frozen=True)
class Incident:
    """A finding (the head) and the findings that are its parts, if there are any."""

    head: StoredFinding
    parts: tuple[StoredFinding, ...] = ()

    @property
    def findings(self) -> tuple[StoredFinding, ...]:
        """All findings of the incident, the head first."""
        return (self.head, *self.parts)

    @property
    def severity(self) -> Severity:
        """The highest severity among the incident's findings."""
        return max(finding.severity for finding in self.findings)

    @property
    def is_pressing(self) -> bool:
        """Whether somebody should look at the incident today: ongoing, at least a warning, and not acknowledged."""
        return self.head.is_ongoing and self.severity >= Severity.warning and self.head.acknowledged_at is None


def group_into_incidents(findings: Sequence[StoredFinding]) -> list[Incident]:
    """Group findings into incidents. Both lists begin with the most urgent item."""
    incidents_by_index: dict[int, Incident] = {}
    for index, finding in enumerate(findings):
        if index not in incidents_by_index and (is_about_organization(finding) or finding.kind == "dominance"):
            part_indexes = [
                other_index
                for other_index, other_finding in enumerate(findings)
                if other_index not in (index, *incidents_by_index) and _is_part(other_finding, finding)
            ]
            incident = Incident(finding, tuple(findings[part_index] for part_index in part_indexes))
            incidents_by_index |= dict.fromkeys((index, *part_indexes), incident)
    incidents = (incidents_by_index.get(index) or Incident(finding) for index, finding in enumerate(findings))
    # The generator yields an incident once per finding. The dictionary keeps the first occurrence of each incident.
    return list({incident.head.finding_id: incident for incident in incidents}.values())


def _is_part(finding: StoredFinding, whole: StoredFinding) -> bool:
    """Return whether a finding is a part of the incident with the head *whole* (rule 2 of the module's docstring)."""
    return (
        kind_of(finding).is_about_tokens
        and not {*finding.agent_ids[:1]}.isdisjoint(whole.agent_ids)
        and finding.overlaps(whole)
        and finding.is_ongoing == whole.is_ongoing
    )
