"""The outbox: which targets a change is put into it for. A target is named after what it wants."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest

from agentidp.alerts import outbox
from tests.alerts.conftest import Acme, Outbox, change
from tests.factories import NOON


def receivers(acme: Outbox, contributors: tuple[UUID, ...] = (), **values: Any) -> set[str]:
    """Return the targets that receive a change with these values."""
    previous_ids = {row.delivery_id for row in acme.deliveries()}
    acme.put(change(**values), contributors=contributors)
    return {row.target_name for row in acme.deliveries() if row.delivery_id not in previous_ids}


def test_a_change_is_for_each_target_that_wants_it(acme: Acme) -> None:
    outsider = Outbox(acme.services, "Outsider")
    outsider.add_target("https://127.0.0.1")
    for name, values in {
        "all": {},
        "spikes": {"kinds": ["spike", "budget"]},
        "critical": {"minimum_severity": "critical"},
        "disabled": {"enabled": False},
        "Ada's": {"owners": ["Ada", "Emmy"]},
    }.items():
        acme.add_target("https://127.0.0.1", name=name, **values)
    ada, grace, nobody, lower = (acme.add_agent(owner) for owner in ("Ada", "Grace", "", "ada"))
    assert receivers(acme, kind="silence", severity="warning") == {"all"}
    assert receivers(acme, kind="spike", severity="info") == {"all", "spikes"}
    assert receivers(acme, kind="silence", severity="critical") == {"all", "critical"}
    for agents, are_adas in (((ada,), True), ((grace, ada), True), ((grace, nobody, lower), False), ((), False)):
        expected = {"all", "Ada's"} if are_adas else {"all"}
        assert receivers(acme, agents, kind="silence", severity="info") == expected
    assert receivers(acme, agent_id=ada, kind="silence", severity="info") == {"all", "Ada's"}
    assert outsider.deliveries() == []


def test_what_is_rolled_back_is_not_sent(acme: Acme) -> None:
    acme.add_target(acme.receiver.url)
    with pytest.raises(KeyError), acme.database.transaction() as opened:
        assert outbox.enqueue_alert(opened, change(NOON)) == 1
        raise KeyError
    acme.deliver()
    assert acme.receiver.received == []
