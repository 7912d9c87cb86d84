"""``/api/v1/alert-targets``: what is stored, what is shown, and that no secret is."""

from __future__ import annotations

import base64
import re
import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
from flask.testing import FlaskClient

from agentidp.alerts.addresses import BadAddress, check_address
from agentidp.alerts.state_change import SEVERITIES
from agentidp.alerts.target_fields import NewAlertTargetSchema
from agentidp.alerts.target_secrets import TargetSealer, reencrypt
from agentidp.alerts.targets import MAX_TARGETS, TEST_INTERVAL, add_target
from agentidp.config import ConfigurationError, Settings
from agentidp.db.sql import load_sql
from agentidp.findings.finding import Severity
from agentidp.http.errors import Conflict
from agentidp.jose.sealing import Sealer, Unreadable
from agentidp.outbound.networks import AllowedNetworks
from agentidp.services import Services
from tests.alerts.conftest import Acme
from tests.citus import someone_waits
from tests.conftest import ON_CITUS_TOO, Cast
from tests.factories import PATIENCE, SECRET_KEY, Clock, execute, make_alert_target, wait_until
from tests.helpers.rows import everything_of

NEW = {"name": "on-call", "type": "webhook", "url": "https://user:pass-word@hooks.example/services/to-ken?key=se-cret"}
PATH = "/api/v1/alert-targets"


@ON_CITUS_TOO
@pytest.mark.parametrize(
    ("kinds", "after", "is_enabled"),
    [
        (["zero_day"], ["silence"], True),
        (["zero_day", "silence", "peak"], ["silence"], True),
        (["spike", "peak"], ["spike"], True),
        (["peak"], None, False),
        (None, None, True),
    ],
)
def test_a_target_of_a_former_kind_gets_the_kind_that_replaces_it(
    services: Services,
    cast: Cast,
    database_url: str,
    kinds: list[str] | None,
    after: list[str] | None,
    is_enabled: bool,
) -> None:
    target_id = make_alert_target(services, cast.acme.organization_id)
    execute(database_url, "update alert_targets set kinds = %s", kinds)
    execute(database_url, load_sql("migrations/0003_former_kinds_of_alert_targets"))
    rows = execute(database_url, "select target_id, kinds, enabled from alert_targets")
    assert rows == [(target_id, after, is_enabled)]


def test_the_severities_are_those_of_the_findings() -> None:
    assert tuple(severity.name for severity in Severity) == SEVERITIES


def test_a_target_is_created_shown_changed_and_deleted(client: FlaskClient, cast: Cast, clock: Clock) -> None:
    headers = cast.acme.bearer()
    response = client.post(PATH, json=NEW, headers=headers)
    assert response.status_code == 201
    created: dict[str, Any] = response.json
    target_id = created["targetId"]
    assert (response.headers["Location"], response.headers["Cache-Control"]) == (f"{PATH}/{target_id}", "no-store")
    assert re.fullmatch(r"whsec_[A-Za-z0-9+/]{43}=", created.pop("secret"))
    shown = {
        "targetId": target_id,
        "name": "on-call",
        "type": "webhook",
        "destination": "https://hooks.example",
        "kinds": None,
        "minimumSeverity": "warning",
        "enabled": True,
        "createdAt": "2026-04-15T12:00:00.000000Z",
        "updatedAt": "2026-04-15T12:00:00.000000Z",
        "lastSuccessAt": None,
        "lastFailureAt": None,
        "failingSince": None,
        "lastError": None,
        "owners": None,
    }
    assert created == shown
    assert client.get(f"{PATH}/{target_id}", headers=headers).json == shown
    assert client.get(PATH, headers=headers).json == {"data": [shown]}
    clock.advance(minutes=1)
    change = {"name": "pager", "kinds": ["spike"], "minimumSeverity": "critical", "enabled": False}
    changed = client.patch(f"{PATH}/{target_id}", json=change, headers=headers)
    shown |= change | {"updatedAt": "2026-04-15T12:01:00.000000Z"}
    assert (changed.status_code, changed.json) == (200, shown)
    assert client.patch(f"{PATH}/{target_id}", json={"kinds": None}, headers=headers).json == shown | {"kinds": None}
    assert client.delete(f"{PATH}/{target_id}", headers=headers).status_code == 204
    assert client.get(f"{PATH}/{target_id}", headers=headers).status_code == 404


def test_a_name_belongs_to_one_target_of_the_organization(client: FlaskClient, cast: Cast) -> None:
    headers = cast.acme.bearer()
    first, second = (client.post(PATH, json=NEW | {"name": name}, headers=headers).json for name in ("a", "b"))
    taken = {"name": ["is taken"]}
    for method, path in (("POST", PATH), ("PATCH", f"{PATH}/{second['targetId']}")):
        body = (NEW if method == "POST" else {}) | {"name": "a"}
        refused = client.open(path, method=method, json=body, headers=headers)
        assert (refused.status_code, refused.json["details"]) == (409, taken)
    same = client.patch(f"{PATH}/{first['targetId']}", json={"name": "a"}, headers=headers)
    assert (same.status_code, same.json["name"]) == (200, "a")
    assert client.post(PATH, json=NEW | {"name": "a"}, headers=cast.outsider.bearer()).status_code == 201


def test_only_one_of_two_simultaneous_targets_gets_a_name(acme: Acme, database_url: str) -> None:
    def add() -> None:
        with acme.database.transaction() as transaction:
            add_target(transaction, acme.services.settings, NewAlertTargetSchema().load(NEW))

    with ThreadPoolExecutor(1) as threads:
        with acme.database.transaction() as transaction:
            add_target(transaction, acme.services.settings, NewAlertTargetSchema().load(NEW))
            second = threads.submit(add)
            wait_until(lambda: someone_waits(database_url))
        with pytest.raises(Conflict, match="Another alert target has this name"):
            second.result(PATIENCE)


@ON_CITUS_TOO
def test_of_targets_with_the_same_name_the_oldest_keeps_it(services: Services, cast: Cast, database_url: str) -> None:
    acme, outsider = cast.acme.organization_id, cast.outsider.organization_id
    oldest, younger, other = (make_alert_target(services, acme, name) for name in "abc")
    make_alert_target(services, outsider, "a" * 100)
    execute(database_url, "update alert_targets set created_at = 'infinity' where name = 'b'")
    long_name = "a" * 100
    execute(database_url, "update alert_targets set name = %s where name in ('a', 'b')", long_name)
    execute(database_url, load_sql("migrations/0010_names_of_alert_targets"))
    rows = execute(database_url, "select target_id, name from alert_targets where organization_id = %s", acme)
    assert dict(rows) == {oldest: long_name, younger: f"{'a' * 91} {str(younger)[:8]}", other: "c"}
    rows = execute(database_url, "select name from alert_targets where organization_id = %s", outsider)
    assert rows == [(long_name,)]


def test_the_types_without_a_signature_have_no_key(client: FlaskClient, cast: Cast) -> None:
    for type_, url in (("alertmanager", "https://alertmanager.example"), ("apprise", "slack://a/b/c")):
        created = client.post(PATH, json=NEW | {"name": type_, "type": type_, "url": url}, headers=cast.acme.bearer())
        assert (created.status_code, created.json["secret"]) == (201, None)


@pytest.mark.parametrize("url", ["https://127.0.0.1/", "slack://a/b/c"])
def test_an_address_is_checked(client: FlaskClient, cast: Cast, services: Services, url: str) -> None:
    target = f"{PATH}/{make_alert_target(services, cast.acme.organization_id)}"
    for method, path, body in (("POST", PATH, NEW | {"url": url}), ("PATCH", target, {"url": url})):
        refused = client.open(path, method=method, json=body, headers=cast.acme.bearer())
        with pytest.raises(BadAddress) as rule:
            check_address("webhook", url, AllowedNetworks(None))
        assert (refused.status_code, refused.json["details"]) == (400, {"url": [str(rule.value)]})


def sealed_targets(database_url: str) -> list[tuple[uuid.UUID, bytes]]:
    """The encrypted addresses of all targets."""
    return execute(database_url, "select target_id, sealed from alert_targets order by 1")


def test_no_secret_is_stored_readably_or_returned(
    client: FlaskClient, cast: Cast, database_url: str, services: Services
) -> None:
    headers = cast.acme.bearer()
    created = client.post(PATH, json=NEW, headers=headers).json
    secrets = ["pass-word", "to-ken", "se-cret", created["secret"], created["secret"].removeprefix("whsec_")]
    target_id = created["targetId"]
    client.post(f"{PATH}/{target_id}/test", headers=headers)
    responses = [
        client.get(PATH, headers=headers),
        client.get(f"{PATH}/{target_id}", headers=headers),
        client.patch(f"{PATH}/{target_id}", json={"name": "other"}, headers=headers),
        client.patch(f"{PATH}/{target_id}", json={"url": NEW["url"] + "\n"}, headers=headers),
    ]
    stored = str(everything_of(database_url, cast.acme.organization_id))
    readable = bytes.fromhex("".join(re.findall(r"\\\\\\\\x([0-9a-f]+)", stored)))
    assert len(readable) > 100
    for secret in secrets:
        assert secret not in stored
        assert secret.encode() not in readable
        assert base64.b64encode(secret.encode()).decode() not in stored
        for response in responses:
            assert secret not in response.text
    [(_, sealed)] = sealed_targets(database_url)
    sealer = TargetSealer(services.settings)
    assert sealer.open(uuid.UUID(target_id), sealed).url == NEW["url"]
    with pytest.raises(Unreadable):
        # Moved to another target, whose organization may differ.
        sealer.open(uuid.uuid4(), sealed)
    # Another address keeps the key.
    changed = client.patch(f"{PATH}/{target_id}", json={"url": "https://new.example/x"}, headers=headers)
    assert changed.json["destination"] == "https://new.example"
    [(_, sealed)] = sealed_targets(database_url)
    address = sealer.open(uuid.UUID(target_id), sealed)
    assert (address.url, address.secret) == ("https://new.example/x", created["secret"])


def test_a_target_is_tested_once_in_a_while(client: FlaskClient, cast: Cast, clock: Clock, services: Services) -> None:
    target_id = make_alert_target(services, cast.acme.organization_id)
    accepted = client.post(f"{PATH}/{target_id}/test", headers=cast.acme.bearer())
    assert (accepted.status_code, list(accepted.json)) == (202, ["deliveryId"])
    clock.advance(seconds=TEST_INTERVAL.total_seconds())
    refused = client.post(f"{PATH}/{target_id}/test", headers=cast.acme.bearer())
    assert (refused.status_code, refused.headers["Retry-After"]) == (429, "30")
    assert refused.json["message"] == "An alert target can be tested once in 30 seconds."
    clock.advance(seconds=1)
    assert client.post(f"{PATH}/{target_id}/test", headers=cast.acme.bearer()).status_code == 202
    client.patch(f"{PATH}/{target_id}", json={"enabled": False}, headers=cast.acme.bearer())
    disabled = client.post(f"{PATH}/{target_id}/test", headers=cast.acme.bearer())
    assert (disabled.status_code, disabled.json["message"]) == (409, "The alert target is disabled; enable it first.")


def test_an_organization_has_only_so_many_targets(client: FlaskClient, cast: Cast, services: Services) -> None:
    for _ in range(MAX_TARGETS):
        make_alert_target(services, cast.acme.organization_id)
    refused = client.post(PATH, json=NEW | {"name": "one more"}, headers=cast.acme.bearer())
    assert refused.status_code == 409
    assert refused.json["message"] == f"The organization has {MAX_TARGETS} alert targets; delete one first."
    assert client.post(PATH, json=NEW, headers=cast.outsider.bearer()).status_code == 201


class TestReencrypt:
    """``agentidp keys reencrypt`` encrypts the addresses as well."""

    NEW_SECRET = SECRET_KEY[::-1].encode()

    @pytest.fixture
    def both(self, services: Services) -> Settings:
        """Settings with a new instance secret, in addition to the secret of the targets."""
        return replace(services.settings, secret_key=self.NEW_SECRET, secret_key_previous=SECRET_KEY.encode())

    @ON_CITUS_TOO
    def test_encrypts_each_again_and_then_none(
        self, cast: Cast, services: Services, both: Settings, database_url: str
    ) -> None:
        for agent in (cast.acme, cast.outsider):
            make_alert_target(services, agent.organization_id)
        assert reencrypt(both) == (2, 2)
        assert reencrypt(both) == (0, 2)
        new = TargetSealer(replace(both, secret_key_previous=None))
        for target_id, sealed in sealed_targets(database_url):
            assert new.open(target_id, sealed).url == "https://hooks.example/services/secret"

    def test_keeps_an_address_that_is_changed_meanwhile(
        self, cast: Cast, services: Services, both: Settings, database_url: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        make_alert_target(services, cast.acme.organization_id)

        def change_it(*_: object) -> bool:
            execute(database_url, "update alert_targets set sealed = 'new'")
            return False

        monkeypatch.setattr(Sealer, "is_current", change_it)
        assert reencrypt(both) == (0, 1)
        assert [sealed for _, sealed in sealed_targets(database_url)] == [b"new"]

    def test_changes_nothing_if_one_cannot_be_decrypted(
        self, cast: Cast, services: Services, both: Settings, database_url: str
    ) -> None:
        for _ in range(3):
            make_alert_target(services, cast.acme.organization_id)
        last = sealed_targets(database_url)[-1][0]
        execute(database_url, "update alert_targets set sealed = '\\x00' where target_id = %s", last)
        before = sealed_targets(database_url)
        with pytest.raises(ConfigurationError, match=f"decrypts the alert target {last}"):
            reencrypt(both)
        assert sealed_targets(database_url) == before
