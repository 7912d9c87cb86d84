"""``/api/v1/provisioning-rules``. tests/oauth/test_first_sight.py tests what the rules do."""

from __future__ import annotations

from tests.factories import Api


def test_creates_shows_and_deletes_a_rule(acme: Api) -> None:
    trust = {"issuer": "https://issuer.example", "claims": {"namespace": "shop"}}
    created = acme.post("provisioning-rules", {"name": "shop", "trust": trust})
    rule = created.json
    path = f"provisioning-rules/{rule['provisioningRuleId']}"
    assert (created.status_code, rule["name"], rule["trust"]["claims"]) == (201, "shop", trust["claims"])
    assert created.headers["Location"].endswith(f"/api/v1/{path}")
    assert acme.get(path).json == rule
    assert acme.get("provisioning-rules").json == {"data": [rule]}
    assert acme.delete(path).status_code == 204
    event = acme.last_event()
    assert (event["action"], event["subject"]) == ("provisioning_rule.deleted", rule["provisioningRuleId"])
    assert acme.get(path).status_code == 404
