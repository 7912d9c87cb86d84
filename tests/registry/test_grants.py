"""``/api/v1/grants``: what people let agents do, by agent and by rule."""

from __future__ import annotations

import uuid
from uuid import UUID

from agentidp.analytics.impact import build_count_grants_call
from agentidp.clock import utc_now
from agentidp.registry.grants import MAX_PAGE, build_list_call
from tests.audit.conftest import events_of
from tests.citus import READS_A_PLAN
from tests.factories import IDS, Api, execute, make_grant
from tests.plans import explain, pages, prepare, service_connection


def test_lists_pages_by_agent_and_rule_newest_first(acme: Api, outsider: Api) -> None:
    agent = acme.agent
    colleague = agent.colleague("editor")
    for own in (agent, colleague, outsider.agent):
        IDS["resource_server_id"](acme.client, own)
    rule_id = UUID(str(IDS["delegation_rule_id"](acme.client, agent)))
    first = make_grant(agent, rule_id, "anna")
    second = make_grant(colleague, rule_id)
    third = make_grant(agent)
    make_grant(outsider.agent)
    [oldest] = acme.get(f"grants?delegationRule={rule_id}&agent={agent.client_id}").json["data"]
    assert oldest | {"createdAt": None, "lastUsedAt": None, "expiresAt": None} == {
        "grantId": str(first),
        "agentId": agent.client_id,
        "agentName": acme.get(f"agents/{agent.client_id}").json["name"],
        "delegationRuleId": str(rule_id),
        "delegationRuleName": agent.client_id,
        "issuer": "https://issuer.example",
        "subject": "anna",
        "resource": f"https://{agent.client_id}.example",
        "scopes": ["a"],
        "createdAt": None,
        "lastUsedAt": None,
        "expiresAt": None,
    }

    def listed(query: str) -> list[str]:
        return [grant["grantId"] for grant in acme.get(f"grants{query}").json["data"]]

    assert listed("") == [str(third), str(second), str(first)]
    assert listed(f"?delegationRule={rule_id}") == [str(second), str(first)]
    assert listed(f"?agent={agent.client_id}") == [str(third), str(first)]
    assert listed(f"?agent={outsider.agent.client_id}") == []
    page = acme.get("grants?limit=2").json
    assert [grant["grantId"] for grant in page["data"]] == [str(third), str(second)]
    last = acme.get(f"grants?limit=2&cursor={page['nextCursor']}").json
    assert ([grant["grantId"] for grant in last["data"]], last["nextCursor"]) == ([str(first)], None)


def test_a_grant_from_before_all_tokens_of_the_agent_were_ended_is_not_in_use(acme: Api) -> None:
    agent = acme.agent
    make_grant(agent.colleague("ended"))
    in_use = make_grant(agent)
    set_instant = "update agents set tokens_not_before = '2998-01-01' where organization_id = %s and name = 'ended'"
    execute(agent.database_url, set_instant, agent.organization_id)
    assert [grant["grantId"] for grant in acme.get("grants").json["data"]] == [str(in_use)]
    [[counted]] = agent.database.run(build_count_grants_call())
    assert counted.grants == 1


@READS_A_PLAN
def test_a_filter_reads_only_its_grants(acme: Api) -> None:
    agent = acme.agent
    rule_id, grant_id = uuid.uuid4(), make_grant(agent)
    execute(
        agent.database_url,
        "insert into grants select organization_id, gen_random_uuid(), agent_id, delegation_rule_id, issuer, "
        "'person ' || n, subject_encrypted, resource, scopes, token_digest, challenge, redirect_uri, jkt, days, "
        "created_at, last_used_at, expires_at from grants, generate_series(1, 3000) as n where grant_id = %s",
        grant_id,
    )
    colleague = agent.colleague("editor")
    make_grant(colleague, rule_id)
    filters = {"agent_id": colleague.agent_id, "rule_id": rule_id, "subject": "person 7", "grant_id": grant_id}
    calls = [build_list_call(**{name: value}) for name, value in filters.items()]
    calls += [build_count_grants_call(agent_id=colleague.agent_id), build_count_grants_call(rule_id=rule_id)]
    with service_connection(agent.database_url, agent.organization_id) as connection:
        for call in calls:
            parameters = {"organization_id": agent.organization_id, "at": utc_now()} | call.parameters
            plan = explain(connection, prepare(connection, call.name, **parameters))
            assert pages(plan) < 30, call


def test_refuses_what_is_no_id_cursor_or_limit(acme: Api) -> None:
    for query in ("agent=editor", "delegationRule=staff", "cursor=x", f"limit={MAX_PAGE + 1}", "limit=0"):
        response = acme.get(f"grants?{query}")
        assert (response.status_code, [*response.json["details"]]) == (400, [query.split("=")[0]])


def test_ends_one_or_all_with_their_tokens(acme: Api) -> None:
    agent = acme.agent
    colleague = agent.colleague("editor")
    IDS["resource_server_id"](acme.client, agent)
    rule_id = UUID(str(IDS["delegation_rule_id"](acme.client, agent)))
    grant_id, by_rule = make_grant(agent), make_grant(agent, rule_id)
    to_colleague = make_grant(colleague)
    assert acme.delete(f"grants/{grant_id}").status_code == 204
    assert acme.delete(f"grants/{grant_id}").status_code == 404
    assert acme.delete(f"delegation-rules/{rule_id}/grants").json == {"ended": 1}
    assert acme.delete(f"delegation-rules/{rule_id}/grants").json == {"ended": 0}
    assert [grant["grantId"] for grant in acme.get("grants").json["data"]] == [str(to_colleague)]
    assert acme.delete(f"agents/{colleague.client_id}/grants").json == {"ended": 1}
    for path in (f"delegation-rules/{uuid.uuid4()}/grants", f"agents/{uuid.uuid4()}/grants"):
        assert acme.delete(path).status_code == 404
    query = "select jti from revoked_tokens where organization_id = %s"
    revoked = {jti for [jti] in execute(agent.database_url, query, agent.organization_id)}
    assert revoked == {str(grant_id), str(by_rule), str(to_colleague)}
    events = [
        (event["action"], event["subject"], event["after"])
        for event in events_of(agent.database_url, agent.organization_id)
        if "grant" in event["action"]
    ]
    assert events == [
        ("grant.ended", str(grant_id), None),
        ("delegation_rule.grants_ended", str(rule_id), {"name": agent.client_id, "grants": 1}),
        ("delegation_rule.grants_ended", str(rule_id), {"name": agent.client_id, "grants": 0}),
        ("agent.grants_ended", colleague.client_id, {"grants": 1}),
    ]
