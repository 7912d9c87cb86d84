"""One incident is one entry of a list: a finding about the whole organization, with those that explain it.

1. A finding about the whole is a budget, the organization's quota or spike, or dominance.
2. Its parts are about the tokens of an agent that it names: other kinds of the same agent, and other findings about the
   whole that name this agent first.
3. All of them overlap in time, and all go on or all have ended.
4. The most urgent finding about the whole has the parts; a finding is part of one incident at most.
5. An incident is as urgent as the most urgent of its findings, and stands where that one would.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from agentidp.findings.contributors import is_of_organization
from agentidp.findings.finding import KnownFinding, Severity
from agentidp.findings.kinds import kind_of


@dataclass(frozen=True)
class Incident:
    """A finding, and those that are part of it. Most have none."""

    head: KnownFinding
    parts: tuple[KnownFinding, ...] = ()

    @property
    def findings(self) -> tuple[KnownFinding, ...]:
        """All of them, the head first."""
        return (self.head, *self.parts)

    @property
    def severity(self) -> Severity:
        """That of the most severe."""
        return max(one.severity for one in self.findings)

    @property
    def is_pressing(self) -> bool:
        """Whether somebody should look at it today: it goes on, is more than listed, and nobody has acknowledged it."""
        return self.head.is_ongoing and self.severity >= Severity.warning and self.head.acknowledged_at is None


def incidents(listed: Sequence[KnownFinding]) -> list[Incident]:
    """The incidents of findings.

    :param listed: the most urgent first.
    """
    incident_of: dict[int, Incident] = {}
    for place, one in enumerate(listed):
        if place not in incident_of and (is_of_organization(one) or one.kind == "dominance"):
            parts = [
                other
                for other, part in enumerate(listed)
                if other != place and other not in incident_of and _is_part(part, one)
            ]
            incident = Incident(one, tuple(listed[part] for part in parts))
            incident_of |= dict.fromkeys((place, *parts), incident)
    found = (incident_of.get(place) or Incident(one) for place, one in enumerate(listed))
    return list({incident.head.finding_id: incident for incident in found}.values())


def _is_part(part: KnownFinding, whole: KnownFinding) -> bool:
    """Whether a finding is part of one about the whole."""
    return (
        kind_of(part).is_about_tokens
        and not {*part.agent_ids[:1]}.isdisjoint(whole.agent_ids)
        and part.begins < whole.ends
        and whole.begins < part.ends
        and part.is_ongoing == whole.is_ongoing
    )
