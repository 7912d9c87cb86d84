"""What a token costs in round trips and statements."""

from __future__ import annotations

from flask.testing import FlaskClient

from agentidp.services import Services
from tests.citus import COMPARES_STATEMENTS
from tests.conftest import Cast
from tests.factories import make_agent
from tests.federation.issuer import Issuer, trust
from tests.oauth import test_first_sight as first_sight
from tests.oauth.test_token_endpoint import KeyHolder
from tests.wire import overheard


@COMPARES_STATEMENTS
def test_a_token_by_secret_is_one_statement(client: FlaskClient, services: Services, cast: Cast) -> None:
    form = {
        "grant_type": "client_credentials",
        "client_id": cast.acme.client_id,
        "client_secret": cast.acme.client_secret,
    }
    assert client.post("/api/v1/token", data=form).status_code == 200
    with overheard(services.database) as conversation:
        assert client.post("/api/v1/token", data=form).status_code == 200
    assert (conversation.statements, conversation.round_trips) == (["oauth/issue_access_token"], 1)


@COMPARES_STATEMENTS
def test_a_token_by_assertion_is_one_statement_once_the_key_is_remembered(
    client: FlaskClient, services: Services, cast: Cast
) -> None:
    holder = KeyHolder.make(services, cast.acme)
    services.directory.look_up(cast.acme.agent_id)
    services.keys.current()
    said = []
    for _ in range(2):
        with overheard(services.database) as conversation:
            assert client.post("/api/v1/token", data=holder.form()).status_code == 200
        said.append((conversation.statements, conversation.round_trips))
    first, second = said
    assert first == (["database/enter_organization", "oauth/client_keys", "oauth/issue_access_token"], 2)
    assert second == (["oauth/issue_access_token"], 1)


@COMPARES_STATEMENTS
def test_introspection_by_assertion_is_one_round_trip_once_the_key_is_remembered(
    client: FlaskClient, services: Services, cast: Cast
) -> None:
    holder = KeyHolder.make(services, cast.acme)
    token = cast.acme.token()
    for _ in range(2):
        with overheard(services.database) as conversation:
            response = client.post("/api/v1/token/introspect", data=holder.form() | {"token": token})
            assert (response.status_code, response.json["active"]) == (200, True)
    assert conversation.statements == ["oauth/introspect_token"]
    assert conversation.round_trips == 1


@COMPARES_STATEMENTS
def test_an_agent_of_a_provisioning_rule_costs_what_any_trusted_one_does(client: FlaskClient, cast: Cast) -> None:
    issuer, acme = Issuer.with_curve(), cast.acme
    first_sight.make_rule(acme, issuer)
    first_sight.switch(acme, is_on=True)
    audience = first_sight.audience(acme)
    other = make_agent(acme.services, acme.organization_id, "by hand", ["analytics:read"])
    trust(other, issuer=issuer.url, subject="job:7", audience=audience, jwks=issuer.jwks())
    for token in (issuer.token(audience), issuer.token(audience, sub="job:7")):
        assert first_sight.ask(client, token).status_code == 200
        with overheard(acme.services.database) as conversation:
            assert first_sight.ask(client, token).status_code == 200
        looked_up = ["database/enter_organization", "oauth/trusting_rules", "oauth/provisioning_rules"]
        assert conversation.statements == [*looked_up, "oauth/issue_access_token"]
        assert conversation.round_trips == 2
