"""Group findings into incidents: a finding about the whole organization, with the findings that explain it.

1. A finding about the whole is a budget, a quota of the organization, a spike of several agents, or dominance.
2. Its parts say that an agent which it names was issued many tokens: findings about this agent, and other findings
   about the whole that name this agent first.
3. All findings of an incident overlap in time, and all are ongoing or all have ended.
4. The most urgent finding about the whole has the parts. A finding is part of one incident at most.
5. An incident is as urgent as the most urgent of its findings, and has the place of that finding in the list.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from agentidp.findings.contributors import is_of_organization
from agentidp.findings.finding import KnownFinding, Severity
from agentidp.findings.kinds import kind_of


@dataclass(frozen=True)
class Incident:
    """A finding, and the findings that are part of it. Most incidents have no parts."""

    head: KnownFinding
    parts: tuple[KnownFinding, ...] = ()

    @property
    def findings(self) -> tuple[KnownFinding, ...]:
        """All findings of the incident, the head first."""
        return (self.head, *self.parts)

    @property
    def severity(self) -> Severity:
        """The severity of the most severe finding."""
        return max(finding.severity for finding in self.findings)

    @property
    def is_pressing(self) -> bool:
        """Whether somebody should look at it today: it is ongoing, a warning or critical, and not acknowledged."""
        return self.head.is_ongoing and self.severity >= Severity.warning and self.head.acknowledged_at is None


def incidents(findings: Sequence[KnownFinding]) -> list[Incident]:
    """Return the incidents of *findings*, which are sorted by urgency, the most urgent first."""
    incident_by_place: dict[int, Incident] = {}
    for place, finding in enumerate(findings):
        if place not in incident_by_place and (is_of_organization(finding) or finding.kind == "dominance"):
            parts = [
                other_place
                for other_place, other in enumerate(findings)
                if other_place != place and other_place not in incident_by_place and _is_part(other, finding)
            ]
            incident = Incident(finding, tuple(findings[part] for part in parts))
            incident_by_place |= dict.fromkeys((place, *parts), incident)
    in_order = (incident_by_place.get(place) or Incident(finding) for place, finding in enumerate(findings))
    return list({incident.head.finding_id: incident for incident in in_order}.values())


def _is_part(finding: KnownFinding, whole: KnownFinding) -> bool:
    """Return whether a finding is part of the incident of a finding about the whole."""
    return (
        kind_of(finding).is_about_tokens
        and not {*finding.agent_ids[:1]}.isdisjoint(whole.agent_ids)
        and finding.begins < whole.ends
        and whole.begins < finding.ends
        and finding.is_ongoing == whole.is_ongoing
    )
