"""Templates of subjects: no two agents can have the same."""

from __future__ import annotations

import itertools
from uuid import UUID

import pytest

from agentidp.jose.subject import MAX_SUBJECT_LENGTH, MAX_TEMPLATE_LENGTH, rule_broken_by, subject_of

AGENT, OTHER = UUID("0a1b2c3d-0000-4000-8000-000000000001"), UUID("0a1b2c3d-0000-4000-8000-000000000002")
ORGANIZATION = "org-0a1b2c3d-0000-4000-8000-00000000000a"

TEMPLATES = [
    "{agentId}",
    "agent:{agentId}",
    "org:{organizationId}:agent:{agentId}",
    "{agentId}{organizationId}",
    "{organizationId}{agentId}",
    "a{organizationId}b{agentId}c",
    "a.b_c~d:e/f@g|h=i+j,k-{agentId}",
]


@pytest.mark.parametrize("template", TEMPLATES)
def test_a_template_is_filled_in(template: str) -> None:
    assert rule_broken_by(template) is None
    filled = template.replace("{agentId}", str(AGENT)).replace("{organizationId}", ORGANIZATION)
    assert subject_of(template, ORGANIZATION, AGENT) == filled


def test_no_two_agents_have_the_same_subject_whatever_the_templates_are() -> None:
    """An administrator can choose the id of an agent, so even the id of another organization."""
    agents = [(ORGANIZATION, AGENT), (ORGANIZATION, OTHER), (f"org-{OTHER}", UUID(ORGANIZATION[4:]))]
    hostile = [*TEMPLATES, "org:org-{agentId}:agent:", "org-{agentId}{organizationId}", "org:org-{agentId}:agent:x"]
    found = {
        (subject_of(template, *agent), agent)
        for template, agent in itertools.product(hostile, agents)
        if rule_broken_by(template) is None
    }
    assert len({subject for subject, _ in found}) == len(found)
    # This is what would make them equal.
    forged = f"org:org-{{agentId}}:agent:{AGENT}"
    assert subject_of(forged, f"org-{OTHER}", UUID(ORGANIZATION[4:])) == subject_of(
        "org:{organizationId}:agent:{agentId}", ORGANIZATION, AGENT
    )
    assert rule_broken_by(forged) == "must not have an id: it could be the subject of another agent"


@pytest.mark.parametrize("template", ["", "agent", "{organizationId}", "org:{organizationId}"])
def test_a_template_has_the_agent(template: str) -> None:
    assert rule_broken_by(template) == "must have {agentId}, because no two agents may have the same subject"


@pytest.mark.parametrize(
    "template",
    [
        "{agentId}{name}",
        "{agentId}\n",
        "{agentId} ",
        "{agentId}\u00e9",
        "{{agentId}}",
        "{agentId}*",
        "{agentId}{agentId}",
        "{organizationId}{agentId}{organizationId}",
    ],
)
def test_a_template_has_nothing_else(template: str) -> None:
    rule = "may have {agentId} and {organizationId} once each, letters, digits and ._~:/@|=+,-"
    assert rule_broken_by(template) == rule


def test_a_subject_is_not_longer_than_the_strictest_cloud_takes() -> None:
    longest = "{agentId}{organizationId}".ljust(MAX_TEMPLATE_LENGTH, "x")
    assert rule_broken_by(longest) is None
    assert len(subject_of(longest, ORGANIZATION, AGENT)) == MAX_SUBJECT_LENGTH
    assert rule_broken_by(f"x{longest}") == "must have at most 76 characters"
