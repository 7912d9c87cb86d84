"""The number of round trips and statements per request of a client."""

from __future__ import annotations

import pytest
from flask.testing import FlaskClient

from agentidp.services import Services
from tests.citus import COMPARES_STATEMENTS
from tests.conftest import Cast
from tests.federation.issuer import Issuer
from tests.oauth.clients import ISSUER, PATH, KeyHolder, ask
from tests.oauth.test_first_sight import Fleet
from tests.wire import overheard

READ_FIRST = {"key": "oauth/client_keys", "rule": "oauth/client_rules"}
"""The statement that reads a key or rule if the process has not cached it, by the kind of authentication."""


@COMPARES_STATEMENTS
@pytest.mark.parametrize("kind", ["secret", "key", "rule"])
def test_a_client_that_is_remembered_is_one_statement(
    client: FlaskClient, services: Services, cast: Cast, kind: str
) -> None:
    holder, issuer = KeyHolder.make(cast.acme), Issuer.with_curve()
    issuer.trusted_by(cast.acme)
    services.directory.read_organization(cast.acme.agent_id)
    services.keys.current()
    conversations = []
    for path in (PATH, PATH, f"{PATH}/introspect"):
        by_rule = holder.form(issuer.token(ISSUER)) | {"client_id": cast.acme.client_id}
        form = {"secret": cast.acme.form, "key": holder.form(), "rule": by_rule}[kind]
        with overheard(services.database) as conversation:
            response = ask(client, form | {"token": cast.acme.token()}, path=path)
            assert (response.status_code, response.json.get("active", True)) == (200, True)
        conversations.append((conversation.statements, conversation.round_trips))
    read = ["database/enter_organization", READ_FIRST[kind]] if kind in READ_FIRST else []
    assert conversations == [
        ([*read, "oauth/issue_access_token"], 2 if read else 1),
        (["oauth/issue_access_token"], 1),
        (["oauth/introspect_token"], 1),
    ]


@COMPARES_STATEMENTS
def test_an_agent_of_a_provisioning_rule_costs_what_any_trusted_one_does(client: FlaskClient, cast: Cast) -> None:
    acme = Fleet(cast.acme, Issuer.with_curve(), client).on()
    acme.register("job:7")
    for token in (acme.token(), acme.token(sub="job:7")):
        assert acme.ask(token).status_code == 200
        with overheard(cast.acme.services.database) as conversation:
            assert acme.ask(token).status_code == 200
        looked_up = ["database/enter_organization", "oauth/trusting_rules", "oauth/provisioning_rules"]
        assert conversation.statements == [*looked_up, "oauth/issue_access_token"]
        assert conversation.round_trips == 2
