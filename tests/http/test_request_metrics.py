"""A process counts its requests with few labels, whatever clients send."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from datetime import timedelta

import pytest
from flask import Flask
from flask.testing import FlaskClient
from prometheus_client import REGISTRY

from agentidp import create_app
from agentidp.counting import UNKNOWN_ORGANIZATION
from agentidp.http.request_metrics import UNKNOWN_ROUTE
from agentidp.services import Services
from tests.conftest import Cast, settings_for
from tests.factories import Clock, usage_sums


@pytest.fixture
def app(database_url: str, clock: Clock) -> Iterator[Flask]:
    """The application with metrics, as gunicorn runs it."""
    app = create_app(settings_for(database_url, metrics_address="127.0.0.1:9464"), clock=clock)
    yield app
    app.extensions["agentidp"].close()


class Counted:
    """The increase of a counter since this object was created, because counters are never reset."""

    def __init__(self) -> None:
        self._before = self._samples()

    def __call__(self, name: str) -> dict[tuple[str, ...], float]:
        """Return the increase by the values of the labels, in the order of the labels' names."""
        now = self._samples()
        return {
            tuple(value for _, value in labels): value - self._before.get((counter_name, labels), 0)
            for (counter_name, labels), value in now.items()
            if counter_name == name and value != self._before.get((counter_name, labels), 0)
        }

    def _samples(self) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
        return {
            (sample.name, tuple(sorted(sample.labels.items()))): sample.value
            for metric in REGISTRY.collect()
            for sample in metric.samples
        }


def test_counts_by_route_method_and_status(client: FlaskClient, cast: Cast) -> None:
    counted = Counted()
    for _ in range(2):
        client.get(f"/api/v1/agents/{uuid.uuid4()}", headers=cast.acme.bearer())
    client.get(f"/api/v1/agents/{cast.acme.agent_id}", headers=cast.acme.bearer())
    client.delete(f"/api/v1/agents/{cast.acme.agent_id}")
    assert counted("agentidp_http_requests_total") == {
        ("GET", "/api/v1/agents/{agent_id}", "200"): 1,
        ("GET", "/api/v1/agents/{agent_id}", "404"): 2,
        ("DELETE", "/api/v1/agents/{agent_id}", "401"): 1,
    }
    assert counted("agentidp_http_request_duration_seconds_count") == {
        ("GET", "/api/v1/agents/{agent_id}"): 3,
        ("DELETE", "/api/v1/agents/{agent_id}"): 1,
    }
    [seconds] = [
        value for (method, _), value in counted("agentidp_http_request_duration_seconds_sum").items() if method == "GET"
    ]
    assert 0 < seconds < 60


def test_a_client_can_invent_addresses_and_methods_but_no_labels(client: FlaskClient) -> None:
    counted = Counted()
    for n in range(3):
        client.get(f"/invented/{n}")
        client.open("/healthz", method=f"INVENT{n}")
        client.open(f"/invented/{n}", method=f"INVENT{n}")
    assert counted("agentidp_http_requests_total") == {
        ("GET", UNKNOWN_ROUTE, "404"): 3,
        ("other", UNKNOWN_ROUTE, "404"): 3,
        ("other", UNKNOWN_ROUTE, "405"): 3,
    }


def test_counts_the_errors_of_the_token_endpoint_and_of_no_other(client: FlaskClient, cast: Cast) -> None:
    counted = Counted()
    agent = (cast.acme.client_id, cast.acme.client_secret)
    for form, auth in (
        ({"grant_type": "password"}, agent),
        ({"grant_type": "client_credentials", "scope": "none"}, agent),
        ({"grant_type": "client_credentials"}, (cast.acme.client_id, "wrong")),
        ({"grant_type": "client_credentials"}, agent),
    ):
        client.post("/api/v1/token", data=form, auth=auth)
    client.post("/api/v1/token/introspect", data={"token": "x"}, auth=(cast.acme.client_id, "wrong"))
    assert counted("agentidp_tokens_refused_total") == {
        ("unsupported_grant_type",): 1,
        ("invalid_scope",): 1,
        ("invalid_client",): 1,
    }


def test_counts_rejections_by_reason_as_often_as_the_database_does(
    client: FlaskClient, cast: Cast, services: Services
) -> None:
    counted, acme = Counted(), cast.acme
    form = {"grant_type": "client_credentials"}
    for client_id, times in ((acme.client_id, 12), (str(uuid.uuid4()), 2)):
        for _ in range(times):
            client.post("/api/v1/token", data=form, auth=(client_id, "wrong"))
    client.get("/api/v1/agents", headers=acme.bearer(at=services.clock() - timedelta(days=1)))
    rejected = counted("agentidp_authentications_rejected_total")
    assert rejected == {("wrong secret",): 12, ("unknown client",): 2, ("token expired",): 1}
    url = str(services.settings.database_url)
    assert usage_sums(url, acme.organization_id)["rejected"] == 13
    assert usage_sums(url, UNKNOWN_ORGANIZATION)["rejected"] == 2
