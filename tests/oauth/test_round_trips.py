"""What a token costs in round trips and statements."""

from __future__ import annotations

from flask.testing import FlaskClient

from agentidp.services import Services
from tests.conftest import Cast
from tests.wire import overheard


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
