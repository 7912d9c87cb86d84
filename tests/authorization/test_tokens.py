"""Tokens for codes and refresh tokens: what they may do, that they are counted, and until when they are valid."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from werkzeug.test import TestResponse

from agentidp.maintenance.erasure import delete_organization
from agentidp.oauth.grants import CODE_LIFETIME, MAX_GRANTS_PER_PERSON, create_token, read_token
from tests.authorization.conftest import LOOPBACK_URI, Editor, error_of, returned
from tests.citus import WATCHES_THE_COORDINATOR
from tests.conftest import ON_CITUS_TOO, Cast
from tests.dashboard.company import Company
from tests.factories import NOON, Agent, Clock, execute, wait_until
from tests.helpers.dpop import TOKEN_URL, Holder
from tests.helpers.introspection import INACTIVE, introspect
from tests.oauth.clients import ask, ask_as, claims_of, rejections

INVALID_GRANT = (400, "invalid_grant")


class TestTheWholeWay:
    """Nothing goes wrong."""

    @ON_CITUS_TOO
    def test_a_person_allows_and_the_client_gets_a_token_that_names_both(self, editor: Editor) -> None:
        response = editor.redeem(editor.code())
        claims, body = claims_of(response), response.json
        assert {name: body[name] for name in body if name not in ("access_token", "refresh_token")} == {
            "token_type": "Bearer",
            "expires_in": 3600,
            "scope": "tickets:read tickets:write",
        }
        assert claims["aud"] == editor.resource
        assert claims["client_id"] == editor.agent.client_id
        assert claims["act"] == {"sub": editor.agent.client_id}
        assert claims["sub_id"] == {"format": "iss_sub", "iss": editor.provider.issuer, "sub": "anna-1"}
        assert claims["delegation_rule_id"] == editor.rule_id
        assert claims["exchanged_from"] == []
        assert UUID(claims["grant_id"]) == read_token(body["refresh_token"]).grant_id
        active = introspect(editor.client, editor.admin, body["access_token"]).json
        assert active == {**active, "active": True, "grant_id": claims["grant_id"], "sub_id": claims["sub_id"]}

    def test_each_token_is_counted_for_agent_credential_resource_and_issuer(self, editor: Editor) -> None:
        first = editor.redeem(editor.code()).json
        assert editor.refresh(first["refresh_token"]).status_code == 200
        sums = editor.admin.sums()
        assert {count for name, count in sums.items() if "tokens" in name} == {2}
        assert {count for name, count in sums.items() if "rejected" in name} == {0}
        data = editor.client.get("/api/v1/analytics/delegations", headers=editor.admin.bearer()).json["data"]
        [row] = data
        assert (row["agentId"], row["issuer"], row["resource"], row["tokens"]) == (
            editor.agent.client_id,
            editor.provider.issuer,
            editor.resource,
            2,
        )
        usage = editor.client.get("/api/v1/analytics/credentials", headers=editor.admin.bearer()).json["data"]
        assert [used["tokens"] for used in usage if used["type"] == "public"] == [2]

    def test_what_a_person_has_allowed_is_recorded_and_the_person_is_not_stored(self, editor: Editor) -> None:
        editor.redeem(editor.code())
        after = {
            "agentId": editor.agent.client_id,
            "delegationRuleId": editor.rule_id,
            "resource": editor.resource,
            "scopes": ["tickets:read", "tickets:write"],
        }
        actor = f"anna-1 at {editor.provider.issuer} (Anna Berg)"
        assert editor.events() == [("grant.allowed", actor, after)]
        [row] = execute(
            editor.admin.database_url, "select grants::text from grants where agent_id = %s", editor.agent.agent_id
        )
        assert "anna" not in str(row).lower()
        assert b"anna-1".hex() not in str(row)

    def test_a_loopback_client_may_listen_at_any_port(self, editor: Editor) -> None:
        redirect_uri = LOOPBACK_URI.replace("127.0.0.1", "127.0.0.1:49152")
        response = editor.answer(editor.authorize(redirect_uri=redirect_uri))
        code = returned(response, redirect_uri)["code"]
        assert editor.redeem(code, redirect_uri=redirect_uri).status_code == 200

    def test_redirect_uri_may_be_left_out_because_of_pkce(self, editor: Editor) -> None:
        assert editor.redeem(editor.code(), redirect_uri=None).status_code == 200

    @pytest.mark.parametrize(
        ("registered", "requested"),
        [
            ("https://{}.example/mcp", "HTTPS://{}.Example/mcp"),
            ("https://{}.example", "https://{}.example/"),
            ("https://{}.example/", "https://{}.example"),
        ],
    )
    def test_an_equivalent_resource_is_the_registered_one(
        self, editor: Editor, registered: str, requested: str
    ) -> None:
        """The SDKs of MCP add the slash, and MCP asks servers to accept capital letters in scheme and host."""
        host = uuid4()
        resource, equivalent = registered.format(host), requested.format(host)
        editor.make("resource-servers", {"resource": resource, "name": "Root", "scopes": ["tickets:read"]})
        rule = {
            "name": "root",
            "trust": {"issuer": editor.provider.issuer, "claims": {"roles": "staff"}},
            "agentIds": [editor.agent.client_id],
            "resources": [{"resource": resource, "scopes": ["tickets:read"]}],
        }
        editor.make("delegation-rules", rule)
        token = editor.redeem(editor.code(resource=equivalent), resource=equivalent)
        assert claims_of(token)["aud"] == resource
        assert editor.refresh(token.json["refresh_token"], resource=equivalent).status_code == 200

    def test_a_confidential_client_authenticates(self, editor: Editor) -> None:
        agent = editor.agent
        code = editor.code()
        assert error_of(editor.redeem(code, auth=(agent.client_id, "wrong"))) == (401, "invalid_client")
        assert editor.redeem(code, auth=(agent.client_id, agent.client_secret)).status_code == 200


class TestCode:
    """A code is for one client, one redirect URI, one verifier, one resource and one minute, and for one use."""

    @pytest.mark.parametrize(
        "changes",
        [
            {"redirect_uri": LOOPBACK_URI},
            {"redirect_uri": "https://editor.example/callback/"},
            {"redirect_uri": "\0"},
            {"code_verifier": "w" * 43},
        ],
    )
    def test_is_not_redeemed_with_another_redirect_uri_or_verifier(
        self, editor: Editor, changes: dict[str, str]
    ) -> None:
        code = editor.code()
        assert error_of(editor.redeem(code, **changes)) == INVALID_GRANT
        # The right client can still redeem it.
        assert editor.redeem(code).status_code == 200

    def test_is_not_redeemed_for_another_resource(self, editor: Editor) -> None:
        code = editor.code()
        own_resource = editor.agent.services.settings.resource
        for resource in ("https://other.example", own_resource):
            assert error_of(editor.redeem(code, resource=resource)) == (400, "invalid_target")
        assert claims_of(editor.redeem(code, resource=editor.resource))["aud"] == editor.resource

    @pytest.mark.parametrize("changes", [{"code_verifier": None}, {"code_verifier": "short"}, {"code": ""}])
    def test_needs_a_verifier(self, editor: Editor, changes: dict[str, str | None]) -> None:
        assert error_of(editor.redeem(editor.code(), **changes)) == (400, "invalid_request")

    def test_is_not_a_refresh_token(self, editor: Editor) -> None:
        code = editor.code()
        assert error_of(editor.refresh(code)) == INVALID_GRANT
        assert editor.redeem(code).status_code == 200

    def test_is_not_redeemed_by_another_client(self, editor: Editor) -> None:
        thief = editor.admin.colleague("thief", ["tickets:read", "tickets:write"])
        let_act_by_the_same_rule(editor, thief)
        editor.make(f"agents/{thief.client_id}/credentials", {"type": "public"})
        code = editor.code()
        for auth in (None, (thief.client_id, thief.client_secret)):
            assert error_of(editor.redeem(code, client_id=thief.client_id, auth=auth)) == INVALID_GRANT
        assert editor.redeem(code).status_code == 200

    def test_is_not_redeemed_by_a_client_of_another_organization(self, editor: Editor, cast: Cast) -> None:
        outsider = cast.outsider
        code = editor.code()
        auth = (outsider.client_id, outsider.client_secret)
        assert error_of(editor.redeem(code, client_id=outsider.client_id, auth=auth)) == INVALID_GRANT
        assert editor.redeem(code).status_code == 200

    def test_expires(self, editor: Editor, clock: Clock) -> None:
        code = editor.code()
        clock.advance(seconds=CODE_LIFETIME.total_seconds())
        assert error_of(editor.redeem(code)) == INVALID_GRANT
        clock.advance(seconds=-1)
        assert editor.redeem(code).status_code == 200

    @ON_CITUS_TOO
    def test_a_second_use_ends_what_the_first_one_gave(self, editor: Editor) -> None:
        code = editor.code()
        body = editor.redeem(code).json
        assert error_of(editor.redeem(code)) == INVALID_GRANT
        assert error_of(editor.refresh(body["refresh_token"])) == INVALID_GRANT
        assert introspect(editor.client, editor.admin, body["access_token"]).json == INACTIVE
        assert [action for action, *_ in editor.events()] == ["grant.allowed", "grant.reused"]
        assert editor.stored_grants() == 0

    @WATCHES_THE_COORDINATOR
    def test_only_one_of_two_uses_at_the_same_time_gives_a_token(self, editor: Editor) -> None:
        code = editor.code()
        url = editor.admin.database_url
        waiting = (
            "select count(*) from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()"
        )
        with psycopg.connect(url) as other, ThreadPoolExecutor(2) as pool:
            lock = "select from grants where grant_id = %s for update"
            assert other.execute(lock, [read_token(code).grant_id]).rowcount == 1
            uses = [pool.submit(editor.redeem, code) for _ in range(2)]
            wait_until(lambda: execute(url, waiting) == [(2,)])
            other.rollback()
            assert sorted(use.result().status_code for use in uses) == [200, 400]
        assert {count for name, count in editor.admin.sums().items() if "tokens" in name} == {1}

    def test_an_unknown_one_stores_and_counts_nothing(self, editor: Editor) -> None:
        code = editor.code()
        unknown = ("x", "A" * len(code), create_token(editor.agent.agent_id).text, f"{code}A", code.swapcase())
        for text in unknown:
            assert error_of(editor.redeem(text)) == INVALID_GRANT
            assert error_of(editor.refresh(text)) == INVALID_GRANT
        query = """select last_used_at from credentials where agent_id = %s and jwks = '["none"]'"""
        assert execute(editor.admin.database_url, query, editor.agent.agent_id) == [(None,)]
        assert rejections(editor.agent) == []


def let_act_by_the_same_rule(editor: Editor, agent: Agent) -> None:
    """Replace the rule of the editor by one that also names another agent."""
    path, headers = f"/api/v1/delegation-rules/{editor.rule_id}", editor.admin.bearer()
    rule = editor.client.get(path, headers=headers).json
    assert editor.client.delete(path, headers=headers).status_code == 204
    members = {name: rule[name] for name in ("name", "trust", "resources")}
    agent_ids = [editor.agent.client_id, agent.client_id]
    editor.rule_id = editor.make("delegation-rules", members | {"agentIds": agent_ids})["delegationRuleId"]


class TestRefreshToken:
    """A refresh token is replaced at each use. It asks the rule, the agent and the organization each time."""

    @ON_CITUS_TOO
    def test_is_replaced_and_a_reuse_ends_the_family(self, editor: Editor) -> None:
        first = editor.redeem(editor.code()).json
        second = editor.refresh(first["refresh_token"]).json
        third = editor.refresh(second["refresh_token"]).json
        assert error_of(editor.refresh(first["refresh_token"])) == INVALID_GRANT
        assert error_of(editor.refresh(third["refresh_token"])) == INVALID_GRANT
        for body in (first, second, third):
            assert introspect(editor.client, editor.admin, body["access_token"]).json == INACTIVE
        [*_, (action, actor, before)] = editor.events()
        assert (action, actor) == ("grant.reused", editor.agent.client_id)
        assert before["resource"] == editor.resource
        assert rejections(editor.agent) == [("code or refresh token used before", 1)]

    def test_scopes_only_shrink(self, editor: Editor) -> None:
        token = editor.redeem(editor.code(scope="tickets:read")).json["refresh_token"]
        refused = editor.refresh(token, scope="tickets:read tickets:write agents:read")
        assert error_of(refused) == (400, "invalid_scope")
        assert refused.json["error_description"] == (
            "the grant does not have the scope tickets:write; the resource server does not have the scope agents:read"
        )
        # The agent, the rule and the resource server have this scope.
        assert error_of(editor.refresh(token, scope="tickets:write")) == (400, "invalid_scope")
        body = editor.refresh(token, scope="tickets:read offline_access").json
        assert body["scope"] == "tickets:read"
        assert editor.refresh(body["refresh_token"]).json["scope"] == "tickets:read"

    def test_a_smaller_token_leaves_the_grant_as_it_is(self, editor: Editor) -> None:
        token = editor.redeem(editor.code(), scope="tickets:read").json["refresh_token"]
        assert editor.refresh(token).json["scope"] == "tickets:read tickets:write"

    def test_a_scope_that_the_agent_has_lost_is_left_out(self, editor: Editor) -> None:
        token = editor.redeem(editor.code()).json["refresh_token"]
        path = f"/api/v1/agents/{editor.agent.client_id}"
        changed = editor.client.patch(path, json={"scopes": ["tickets:write"]}, headers=editor.admin.bearer())
        assert changed.status_code == 200
        body = editor.refresh(token).json
        assert body["scope"] == "tickets:write"
        changed = editor.client.patch(path, json={"scopes": []}, headers=editor.admin.bearer())
        assert changed.status_code == 200
        for scope in ({"scope": "tickets:read"}, {}):
            refused = editor.refresh(body["refresh_token"], **scope)
            assert error_of(refused) == (400, "invalid_scope")
            lost = scope.get("scope", "tickets:read, tickets:write")
            assert refused.json["error_description"] == f"the agent does not have the scope {lost}"

    def test_ends_at_the_greatest_age_of_the_rule(self, editor: Editor, clock: Clock) -> None:
        token = editor.redeem(editor.code()).json["refresh_token"]
        clock.advance(days=30, seconds=-60)
        body = editor.refresh(token).json
        assert body["expires_in"] == 60
        clock.advance(seconds=60)
        assert error_of(editor.refresh(body["refresh_token"])) == INVALID_GRANT

    def test_ends_after_90_days_without_a_token(self, editor: Editor, clock: Clock) -> None:
        path, headers = f"/api/v1/delegation-rules/{editor.rule_id}", editor.admin.bearer()
        rule = editor.client.get(path, headers=headers).json
        assert editor.client.delete(path, headers=headers).status_code == 204
        rule = {name: rule[name] for name in ("name", "trust", "agentIds", "resources")} | {"grantDays": 365}
        editor.make("delegation-rules", rule)
        token = editor.redeem(editor.code()).json["refresh_token"]
        for _ in range(2):
            clock.advance(days=90, seconds=-1)
            token = editor.refresh(token).json["refresh_token"]
        clock.advance(days=90)
        assert error_of(editor.refresh(token)) == INVALID_GRANT

    def test_ends_with_its_rule(self, editor: Editor) -> None:
        body = editor.redeem(editor.code()).json
        path = f"/api/v1/delegation-rules/{editor.rule_id}"
        assert editor.client.delete(path, headers=editor.admin.bearer()).status_code == 204
        assert error_of(editor.refresh(body["refresh_token"])) == INVALID_GRANT
        assert introspect(editor.client, editor.admin, body["access_token"]).json == INACTIVE
        assert editor.stored_grants() == 0

    def test_ends_with_its_agent(self, editor: Editor) -> None:
        body = editor.redeem(editor.code()).json
        path, headers = f"/api/v1/agents/{editor.agent.client_id}", editor.admin.bearer()
        assert editor.client.patch(path, json={"status": "suspended"}, headers=headers).status_code == 200
        assert editor.refresh(body["refresh_token"]).status_code in (400, 401)
        assert editor.client.patch(path, json={"status": "active"}, headers=headers).status_code == 200
        assert editor.client.delete(path, headers=headers).status_code == 204
        assert editor.refresh(body["refresh_token"]).status_code in (400, 401)
        assert editor.stored_grants() == 0

    def test_ends_with_its_organization(self, editor: Editor) -> None:
        token, code = editor.redeem(editor.code()).json["refresh_token"], editor.code()
        editor.suspend_organization()
        for response in (editor.refresh(token), editor.redeem(code)):
            assert error_of(response) == (401, "invalid_client")
        delete_organization(editor.admin.database_url, editor.admin.organization_id, at=NOON)
        assert error_of(editor.refresh(token)) == INVALID_GRANT
        assert editor.stored_grants() == 0

    def test_ends_with_all_tokens_of_its_agent(self, editor: Editor, clock: Clock) -> None:
        body, code = editor.redeem(editor.code()).json, editor.code()
        path = f"/api/v1/agents/{editor.agent.client_id}/tokens"
        assert editor.client.delete(path, headers=editor.admin.bearer()).status_code == 204
        assert error_of(editor.refresh(body["refresh_token"])) == INVALID_GRANT
        assert error_of(editor.redeem(code)) == INVALID_GRANT
        assert introspect(editor.client, editor.admin, body["access_token"]).json == INACTIVE
        clock.advance(seconds=1)
        assert editor.refresh(editor.redeem(editor.code()).json["refresh_token"]).status_code == 200

    def test_ends_with_the_public_credential(self, editor: Editor) -> None:
        token = editor.redeem(editor.code()).json["refresh_token"]
        path = f"/api/v1/agents/{editor.agent.client_id}/credentials"
        data = editor.client.get(path, headers=editor.admin.bearer()).json["data"]
        [credential_id] = [credential["credentialId"] for credential in data if credential["type"] == "public"]
        assert editor.client.delete(f"{path}/{credential_id}", headers=editor.admin.bearer()).status_code == 204
        assert error_of(editor.refresh(token)) == (401, "invalid_client")

    def test_a_quota_refuses_and_the_token_stays(self, editor: Editor, clock: Clock) -> None:
        path = f"/api/v1/agents/{editor.agent.client_id}/quotas/day"
        put = editor.client.put(path, json={"tokens": 1, "enforce": True}, headers=editor.admin.bearer())
        assert put.status_code == 200
        token = editor.redeem(editor.code()).json["refresh_token"]
        assert editor.refresh(token).status_code == 429
        clock.advance(days=1)
        assert editor.refresh(token).status_code == 200

    def test_a_person_has_a_limited_number_of_grants_to_an_agent(self, editor: Editor, clock: Clock) -> None:
        tokens = []
        for _ in range(MAX_GRANTS_PER_PERSON + 1):
            clock.advance(seconds=1)
            tokens.append(editor.redeem(editor.code()).json["refresh_token"])
        assert editor.stored_grants() == MAX_GRANTS_PER_PERSON
        assert error_of(editor.refresh(tokens[0])) == INVALID_GRANT
        assert editor.refresh(tokens[1]).status_code == 200

    @WATCHES_THE_COORDINATOR
    def test_a_further_grant_does_not_need_the_oldest(self, editor: Editor, clock: Clock) -> None:
        """The person can end the oldest grant at the same time."""
        oldest_code = editor.code()
        clock.advance(seconds=1)
        for _ in range(MAX_GRANTS_PER_PERSON - 1):
            editor.code()
        page, url = editor.authorize(), editor.admin.database_url
        waits = "select pid from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'"
        with ThreadPoolExecutor() as pool:
            with psycopg.connect(url) as ending:
                ending.execute("delete from grants where grant_id = %s", [read_token(oldest_code).grant_id])
                answer = pool.submit(editor.answer, page)
                wait_until(lambda: execute(url, waits))
            assert answer.result().status_code == 303
        assert editor.stored_grants() == MAX_GRANTS_PER_PERSON

    def test_grants_that_have_expired_do_not_count(
        self, editor: Editor, clock: Clock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("agentidp.oauth.grants.MAX_GRANTS", 1)
        editor.code()
        assert editor.answer(editor.authorize()).status_code == 429
        clock.advance(seconds=CODE_LIFETIME.total_seconds() + 1)
        assert editor.redeem(editor.code()).status_code == 200


class TestRevocation:
    """A client ends what a person has allowed (RFC 7009)."""

    def test_a_refresh_token_ends_its_grant(self, editor: Editor) -> None:
        body = editor.redeem(editor.code()).json
        assert revoked(editor, body["refresh_token"]).status_code == 200
        assert error_of(editor.refresh(body["refresh_token"])) == INVALID_GRANT
        assert introspect(editor.client, editor.admin, body["access_token"]).json == INACTIVE
        assert [action for action, *_ in editor.events()] == ["grant.allowed", "grant.ended"]

    def test_a_confidential_client_authenticates(self, editor: Editor) -> None:
        token = editor.redeem(editor.code()).json["refresh_token"]
        agent = editor.agent
        assert error_of(revoked(editor, token, auth=(agent.client_id, "wrong"))) == (401, "invalid_client")
        assert editor.stored_grants() == 1
        assert revoked(editor, token, auth=(agent.client_id, agent.client_secret)).status_code == 200
        assert editor.stored_grants() == 0

    def test_a_client_without_a_public_credential_must_authenticate(self, editor: Editor) -> None:
        token = editor.redeem(editor.code()).json["refresh_token"]
        query = "update credentials set revoked_at = created_at where agent_id = %s and jwks is not null"
        execute(editor.admin.database_url, query, editor.agent.agent_id)
        assert error_of(revoked(editor, token)) == (401, "invalid_client")
        assert editor.stored_grants() == 1

    def test_a_public_client_revokes_its_own_access_token_and_no_other(self, editor: Editor) -> None:
        """Anybody can send its client_id, so the scopes of its agent do not count."""
        own = editor.redeem(editor.code()).json["access_token"]
        path = f"/api/v1/agents/{editor.agent.client_id}"
        scopes = {"scopes": ["tickets:read", "agents:write"]}
        assert editor.client.patch(path, json=scopes, headers=editor.admin.bearer()).status_code == 200
        assert revoked(editor, own).status_code == 200
        assert introspect(editor.client, editor.admin, own).json == INACTIVE
        others = editor.admin.token()
        assert error_of(revoked(editor, others)) == (400, "unauthorized_client")
        assert introspect(editor.client, editor.admin, others).json["active"]

    def test_the_token_of_another_client_or_a_former_one_ends_nothing(self, editor: Editor) -> None:
        first = editor.redeem(editor.code()).json["refresh_token"]
        second = editor.refresh(first).json["refresh_token"]
        colleague = editor.admin.colleague("colleague")
        editor.make(f"agents/{colleague.client_id}/credentials", {"type": "public"})
        assert revoked(editor, second, client_id=colleague.client_id).status_code == 200
        assert revoked(editor, first).status_code == 200
        assert editor.refresh(second).status_code == 200


def revoked(editor: Editor, token: str, **form: Any) -> TestResponse:
    """Send a token to the revocation endpoint."""
    more = {"auth": form.pop("auth")} if "auth" in form else {}
    body = {"client_id": editor.agent.client_id, "token": token} | form
    return ask(editor.client, body, path="/api/v1/token/revoke", **more)


class TestDpop:
    """A key binds the code and the refresh token of a public client."""

    def test_a_refresh_token_is_bound_to_the_key_of_a_public_client(self, editor: Editor, clock: Clock) -> None:
        holder, thief = Holder(clock), Holder(clock)
        body = editor.redeem(editor.code(), proof=holder.proof("POST", TOKEN_URL)).json
        assert body["token_type"] == "DPoP"
        token = body["refresh_token"]
        for proof in ("", thief.proof("POST", TOKEN_URL)):
            assert error_of(editor.refresh(token, proof=proof)) == INVALID_GRANT
        assert editor.refresh(token, proof=holder.proof("POST", TOKEN_URL)).status_code == 200

    def test_a_code_is_bound_to_the_key_that_the_request_has_named(self, editor: Editor, clock: Clock) -> None:
        holder, thief = Holder(clock), Holder(clock)
        code = editor.code(dpop_jkt=holder.jkt)
        for proof in ("", thief.proof("POST", TOKEN_URL)):
            assert error_of(editor.redeem(code, proof=proof)) == INVALID_GRANT
        assert editor.redeem(code, proof=holder.proof("POST", TOKEN_URL)).status_code == 200

    def test_a_confidential_client_may_change_its_key(self, editor: Editor, clock: Clock) -> None:
        auth = (editor.agent.client_id, editor.agent.client_secret)
        first = editor.redeem(editor.code(), proof=Holder(clock).proof("POST", TOKEN_URL), auth=auth).json
        proof = Holder(clock).proof("POST", TOKEN_URL)
        assert editor.refresh(first["refresh_token"], proof=proof, auth=auth).status_code == 200


class TestPublicClient:
    """Without a secret, a client gets tokens only for what a person has allowed."""

    @pytest.mark.parametrize("grant_type", ["client_credentials", "urn:ietf:params:oauth:grant-type:token-exchange"])
    def test_gets_no_other_token(self, editor: Editor, grant_type: str) -> None:
        form = {"grant_type": grant_type, "resource": editor.resource, "subject_token": "x"}
        form |= {"subject_token_type": "urn:ietf:params:oauth:token-type:jwt"}
        assert error_of(editor.send(form)) == (401, "invalid_client")

    def test_an_agent_without_a_public_credential_must_authenticate(self, editor: Editor, provider: Company) -> None:
        query = "update credentials set revoked_at = created_at where agent_id = %s and jwks is not null"
        execute(editor.admin.database_url, query, editor.agent.agent_id)
        code = editor.code()
        assert error_of(editor.redeem(code)) == (401, "invalid_client")
        auth = (editor.agent.client_id, editor.agent.client_secret)
        refresh_token = editor.redeem(code, auth=auth).json["refresh_token"]
        # Whoever saw the code in an address can neither end the grant nor make the server count.
        assert error_of(editor.redeem(code)) == INVALID_GRANT
        assert editor.stored_grants() == 1
        assert editor.agent.sums()["rejected"] == 1
        assert editor.refresh(refresh_token, auth=auth).status_code == 200


def test_an_agents_own_tokens_are_as_before(editor: Editor) -> None:
    response = ask_as(editor.client, editor.agent, resource=editor.resource)
    assert "refresh_token" not in response.json
    assert "act" not in claims_of(response)
