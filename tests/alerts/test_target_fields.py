"""What is refused of an alert target, by whatever way it comes."""

from __future__ import annotations

import marshmallow as ma
import pytest

from agentidp.alerts.addresses import MAX_URL_LENGTH
from agentidp.alerts.state_change import KINDS
from agentidp.alerts.target_fields import MAX_OWNERS, AlertTargetChangeSchema

OWNERS = f"must name 1 to {MAX_OWNERS} owners"
URL = "must be a URL with a scheme and a host, in printable ASCII characters"


@pytest.mark.parametrize(
    ("member", "value", "rule"),
    [
        ("name", "", "must have 1 to 100 characters"),
        ("type", "webhook", "Unknown field."),
        ("url", "hooks.example", URL),
        ("url", "https://hooks.example/a b", URL),
        ("url", "https://x/" + "x" * MAX_URL_LENGTH, f"must have 1 to {MAX_URL_LENGTH} characters"),
        ("kinds", [], f"must name 1 to {len(KINDS)} kinds"),
        ("kinds", ["nothing"], "must be one of budget, dominance"),
        ("owners", [], OWNERS),
        ("owners", [f"{number}" for number in range(MAX_OWNERS + 1)], OWNERS),
        ("owners", [""], "must have 1 to 200 characters"),
        ("minimumSeverity", "bad", "must be one of info, warning, critical"),
        ("enabled", "true", "must be true or false"),
        ("createdAt", "2026-04-15T12:00:00Z", "Unknown field."),
    ],
)
def test_refuses(member: str, value: object, rule: str) -> None:
    with pytest.raises(ma.ValidationError) as refused:
        AlertTargetChangeSchema().load({member: value})
    assert rule in str(refused.value.messages_dict[member])
