"""Delivery: at least once with one idempotency key, in order for each finding, whatever a target does."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import threading
import uuid
from datetime import timedelta
from typing import Any

import pytest
from standardwebhooks import Webhook

from agentidp.alerts import channels, delivery, targets
from agentidp.alerts.delivery import (
    DELIVERY_AGE,
    FIRST_DELAY,
    GIVE_UP_AFTER,
    LEASE,
    LONGEST_DELAY,
    Dispatcher,
    compute_delay,
)
from agentidp.clock import utc_now
from tests.alerts.conftest import Acme, Outbox, change
from tests.alerts.receiver import Receiver
from tests.factories import NOON, PATIENCE, ROOT, SECRET_KEY, execute, free_port, wait_until


def test_a_webhook_is_signed_and_says_what_happened(acme: Acme) -> None:
    # The library of the receiver compares the signature's time with the real acme.clock.
    acme.clock.now = utc_now().replace(microsecond=0)
    _, secret = acme.add_target(acme.receiver.url + "/hook?team=1")
    agent_id = acme.add_agent("Ada")
    opened = change(acme.clock.now, agent_id=agent_id)
    acme.put(opened)
    # The owner is that of when it is sent.
    acme.change_owner(agent_id, "Grace")
    acme.deliver()
    [request] = acme.receiver.received
    assert secret is not None
    body = Webhook(secret).verify(request.body, request.headers)
    at = acme.clock.now.isoformat(timespec="microseconds").replace("+00:00", "Z")
    assert (request.path, request.headers["content-type"]) == ("/hook?team=1", "application/json")
    assert body == {
        "type": "finding.opened",
        "timestamp": at,
        "data": {
            "organizationId": acme.organization_id,
            "organizationName": "Acme",
            "findingId": str(opened.finding_id),
            "kind": "spike",
            "severity": "critical",
            "agentId": str(agent_id),
            "subject": "nightly-report",
            "owner": "Grace",
            "title": "nightly-report takes 40 times its usual tokens",
            "description": "1,200 tokens in an hour; 30 are typical.",
            "openedAt": at,
            "url": f"http://localhost:3000/dashboard/findings/{opened.finding_id}",
        },
    }


def test_whoever_received_the_beginning_receives_the_end_and_nobody_else(acme: Acme) -> None:
    agent_id, finding_id = acme.add_agent("Ada"), uuid.uuid4()
    acme.add_target(f"{acme.receiver.url}/spikes", kinds=["spike"])
    acme.add_target(f"{acme.receiver.url}/adas", owners=["Ada"])
    narrowed, _ = acme.add_target(f"{acme.receiver.url}/narrowed")
    acme.add_target(f"{acme.receiver.url}/silences", kinds=["silence"])
    acme.add_target(f"{acme.receiver.url}/budgets", kinds=["budget"])

    def received_after(name: str, **values: Any) -> list[str]:
        acme.receiver.received.clear()
        acme.put(change(acme.clock.now, finding_id=finding_id, agent_id=agent_id, change=name, **values))
        acme.deliver()
        return sorted(acme.receiver.paths)

    assert received_after("opened", kind="spike", severity="warning") == ["/adas", "/narrowed", "/spikes"]
    # It goes on for longer than deliveries are kept, turns out to be of another kind, the agent gets another owner, and
    # one target wants less.
    acme.clock.now += DELIVERY_AGE + timedelta(days=30)
    acme.change_owner(agent_id, "Grace")
    acme.change(narrowed, kinds=["budget"], minimum_severity="critical")
    assert received_after("escalated", kind="silence") == ["/adas", "/narrowed", "/silences", "/spikes"]
    acme.add_target(f"{acme.receiver.url}/added")
    acme.clock.now += timedelta(hours=1)
    assert received_after("resolved", kind="budget") == ["/adas", "/narrowed", "/silences", "/spikes"]
    # What they received is over.
    acme.clock.now += timedelta(hours=1)
    assert received_after("opened", kind="budget", severity="info") == ["/added", "/budgets"]
    acme.clock.now += timedelta(hours=1)
    assert received_after("resolved", kind="budget", severity="info") == ["/added", "/budgets"]


def test_what_ends_while_a_target_is_disabled_is_sent_when_it_is_enabled(acme: Acme) -> None:
    target_id, _ = acme.add_target(acme.receiver.url)
    known_id, unknown_id = uuid.uuid4(), uuid.uuid4()
    acme.put(change(finding_id=known_id))
    acme.deliver()
    acme.change(target_id, enabled=False)
    acme.clock.now += timedelta(minutes=30)
    acme.put(change(acme.clock.now, finding_id=unknown_id))
    for finding_id in (known_id, unknown_id):
        acme.put(change(acme.clock.now + timedelta(minutes=1), finding_id=finding_id, change="resolved"))
    acme.deliver(days=6)
    acme.change(target_id, enabled=True)
    acme.deliver()
    assert [(body["type"], body["data"]["findingId"]) for body in acme.receiver.bodies] == [
        ("finding.opened", str(known_id)),
        ("finding.resolved", str(known_id)),
    ]


def test_a_target_that_is_down_for_a_day_gets_everything_in_order(acme: Acme) -> None:
    port = free_port()
    target_id, _ = acme.add_target(f"http://127.0.0.1:{port}")
    changes = []
    for _ in range(24):
        finding_id = uuid.uuid4()
        for name in ("opened", "resolved"):
            changes.append(change(acme.clock.now, finding_id=finding_id, change=name))
            acme.put(changes[-1])
            for _ in range(6):
                acme.deliver(minutes=5)
    failing = acme.target(target_id)
    assert failing.failing_since == NOON + timedelta(minutes=5)
    assert failing.last_error == "no connection: Connection refused"
    attempts = sum(row.attempts for row in acme.deliveries())
    assert 24 <= attempts <= 2 * 24 * 60 / (LONGEST_DELAY.seconds / 60) + 20
    with Receiver(port) as receiver:
        acme.deliver(seconds=LONGEST_DELAY.total_seconds())
    assert len(receiver.ids) == len(set(receiver.ids)) == len(changes)
    for state_change in changes[::2]:
        types = [body["type"] for body in receiver.bodies if body["data"]["findingId"] == str(state_change.finding_id)]
        assert types == ["finding.opened", "finding.resolved"]
    working = acme.target(target_id)
    assert (working.failing_since, working.last_error, working.last_success_at) == (None, None, acme.clock.now)
    # The next failure is a first one again.
    acme.put(change(acme.clock.now))
    acme.deliver()
    acme.clock.advance(seconds=FIRST_DELAY.total_seconds())
    with Receiver(port) as receiver:
        acme.deliver()
        assert len(receiver.received) == 1


def test_delays_double_up_to_a_limit_and_are_spread() -> None:
    assert [compute_delay(n, 0) for n in (1, 2, 3)] == [timedelta(seconds=s) for s in (5, 10, 20)]
    assert compute_delay(1, 1) == timedelta(seconds=2.5)
    assert compute_delay(9, 0) == timedelta(seconds=1280)
    assert compute_delay(10, 0) == compute_delay(10_000, 0) == LONGEST_DELAY


def test_a_message_that_is_refused_does_not_hold_up_others(acme: Acme) -> None:
    acme.add_target(acme.receiver.url)
    poison, later, other = uuid.uuid4(), uuid.uuid4(), uuid.uuid4()
    acme.receiver.status = lambda request: 400 if str(poison).encode() in request.body else 200
    acme.put(change(finding_id=poison), change(finding_id=later, at=NOON + timedelta(seconds=1)))
    acme.deliver()
    assert acme.deliveries()[0].attempts == 1
    acme.put(change(finding_id=other, at=NOON + timedelta(seconds=2)))
    acme.deliver(seconds=FIRST_DELAY.total_seconds())
    assert {row.finding_id for row in acme.deliveries() if row.delivered_at} == {later, other}
    [refused] = [row for row in acme.deliveries() if not row.delivered_at]
    assert refused.last_error == "the status of the response was 400"


@pytest.mark.parametrize("way", ["test", "enable", "move"])
def test_what_has_failed_is_sent_at_once_if_somebody_tries_the_target(acme: Acme, way: str) -> None:
    acme.receiver.status = 500
    target_id, _ = acme.add_target(acme.receiver.url)
    acme.put(change())
    for _ in range(9):
        acme.deliver()
        acme.deliver(seconds=LONGEST_DELAY.total_seconds())
    acme.receiver.status = 200
    acme.clock.advance(seconds=1)
    if way == "test":
        with acme.database.transaction() as opened:
            targets.request_test(opened, target_id)
    elif way == "enable":
        acme.change(target_id, enabled=False)
        acme.change(target_id, enabled=True)
    else:
        acme.change(target_id, url=f"{acme.receiver.url}/moved")
    acme.deliver()
    assert all(row.delivered_at for row in acme.deliveries())


@pytest.mark.parametrize("status", [302, 400, 503])
def test_any_status_but_success_is_a_failure_and_no_redirect_is_followed(acme: Acme, status: int) -> None:
    acme.receiver.status, acme.receiver.headers = status, {"Location": f"{acme.receiver.url}/elsewhere"}
    target_id, _ = acme.add_target(acme.receiver.url)
    acme.put(change())
    acme.deliver()
    assert acme.receiver.paths == ["/"]
    assert acme.target(target_id).last_error == f"the status of the response was {status}"
    assert acme.target(target_id).enabled


def test_410_disables_a_target(acme: Acme) -> None:
    acme.receiver.status = 410
    target_id, _ = acme.add_target(acme.receiver.url)
    acme.put(change(), change())
    acme.deliver()
    acme.deliver(days=1)
    assert len(acme.receiver.received) == 1
    target = acme.target(target_id)
    assert (target.enabled, target.failing_since) == (False, NOON)
    assert target.last_error == "the status of the response was 410: the receiver wants no more messages"
    [event] = acme.events()
    assert (event.actor_type, event.subject, event.before, event.after) == (
        "system", str(target_id), {"enabled": True}, {"enabled": False},
    )  # fmt: skip


def test_a_target_that_was_disabled_meanwhile_is_not_disabled_again(acme: Acme) -> None:
    target_id, _ = acme.add_target(acme.receiver.url)
    acme.receiver.status = 410
    acme.receiver.before_response = lambda: acme.change(target_id, enabled=False)
    acme.put(change())
    acme.deliver()
    assert [event.actor_type for event in acme.events()] == ["system"]
    assert [event.after for event in acme.events()] == [{"enabled": False}]


def test_a_message_is_abandoned_after_days_and_deleted_after_a_week(acme: Acme) -> None:
    acme.add_target(f"http://127.0.0.1:{free_port()}")
    acme.put(change())
    acme.deliver()
    acme.deliver(seconds=(GIVE_UP_AFTER - LONGEST_DELAY).total_seconds() - 1)
    assert [row.abandoned_at for row in acme.deliveries()] == [None]
    acme.deliver(seconds=LONGEST_DELAY.total_seconds() + 1)
    assert [row.abandoned_at for row in acme.deliveries()] == [acme.clock.now]
    acme.clock.now = NOON + DELIVERY_AGE
    acme.deliver()
    assert len(acme.deliveries()) == 1
    acme.deliver(hours=1)
    assert acme.deliveries() == []


def test_the_end_is_sent_although_the_change_before_it_was_abandoned(acme: Acme) -> None:
    acme.add_target(acme.receiver.url, kinds=["spike"])
    soon, late, never_received = uuid.uuid4(), uuid.uuid4(), uuid.uuid4()
    acme.put(change(finding_id=soon), change(finding_id=late))
    acme.deliver()
    acme.receiver.status = 500
    for finding_id in (soon, late):
        acme.put(change(acme.clock.now + timedelta(hours=1), finding_id=finding_id, change="escalated"))
    acme.put(change(acme.clock.now, finding_id=never_received))
    for days in (1, 2.5, 0.1, 0.1, 0.1):
        acme.deliver(days=days)
    assert len([row for row in acme.deliveries() if row.abandoned_at]) == 3
    acme.receiver.received.clear()
    acme.receiver.status = 200
    for finding_id in (soon, never_received):
        acme.put(change(acme.clock.now, finding_id=finding_id, change="resolved", kind="silence"))
    acme.deliver()
    # What was abandoned is forgotten before the other end.
    acme.deliver(days=7)
    acme.put(change(acme.clock.now, finding_id=late, change="resolved", kind="silence"))
    acme.deliver()
    received = [(body["type"], body["data"]["findingId"]) for body in acme.receiver.bodies]
    assert received == [("finding.resolved", str(finding_id)) for finding_id in (soon, late)]


def test_slow_targets_of_one_organization_leave_threads_for_the_others(acme: Acme, slow: Receiver) -> None:
    other = Outbox(acme.services, "Other")
    for number in range(delivery.CONCURRENCY + 2):
        acme.add_target(f"{slow.url}/{number}")
    other.add_target(acme.receiver.url)
    acme.put(change(), change())
    other.put(change())
    assert acme.sender.start_turns() == delivery.MAX_TURNS_PER_ORGANIZATION + 1 == 3
    wait_until(lambda: len(acme.receiver.received) == 1 and len(slow.received) == 2)
    # Another look neither sends to the slow ones again nor waits for them.
    wait_until(lambda: acme.sender.start_turns() == 0)
    other.put(change())
    wait_until(lambda: acme.sender.start_turns() or len(acme.receiver.received) == 2)
    assert len(slow.received) == 2
    slow.go_on.set()
    wait_until(lambda: acme.sender.start_turns() == 0 and all(row.delivered_at for row in acme.deliveries()))


def test_slow_organizations_leave_half_of_the_threads_for_the_others(
    acme: Acme, slow: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow_ones = [acme, *(Outbox(acme.services, f"Slow {number}") for number in range(3))]
    other = Outbox(acme.services, "Other")
    other.add_target(acme.receiver.url)
    for outbox in slow_ones:
        for number in range(2):
            outbox.add_target(f"{slow.url}/{number}")
        outbox.put(change())
    # That they are slow is known when each has sent something.
    slow.go_on.set()
    monkeypatch.setattr(delivery, "SLOW", 0.0)
    acme.sender.send_due_messages()
    monkeypatch.setattr(delivery, "SLOW", PATIENCE)
    slow.received.clear()
    slow.go_on.clear()
    for outbox in slow_ones:
        outbox.put(change())
    assert acme.sender.start_turns() == delivery.MAX_SLOW_TURNS == delivery.CONCURRENCY // 2
    assert acme.sender.start_turns() == 0
    other.put(change())
    assert acme.sender.start_turns() == 1
    wait_until(lambda: len(acme.receiver.received) == 1)
    slow.go_on.set()
    wait_until(lambda: acme.sender.start_turns() == 0 and len(slow.received) == 8)
    # After a while without a slow message they have all threads again.
    acme.clock.now += delivery.SLOW_FOR
    for outbox in slow_ones:
        outbox.put(change(acme.clock.now))
    wait_until(lambda: all(row.delivered_at for outbox in slow_ones for row in outbox.deliveries()[:-2]))
    wait_until(lambda: acme.sender.start_turns() == delivery.CONCURRENCY)


def test_whose_last_turn_is_longest_ago_comes_first(acme: Acme) -> None:
    """Acme's messages are all older than the other's, and it has two targets with several each."""
    acme.receiver.before_response = lambda: acme.clock.advance(seconds=1)
    other = Outbox(acme.services, "Other")
    for name in "ab":
        acme.add_target(f"{acme.receiver.url}/acme/{name}")
    acme.put(change(), change())
    acme.clock.advance(hours=1)
    other.add_target(f"{acme.receiver.url}/other")
    other.put(change(acme.clock.now), change(acme.clock.now))
    arguments = (acme.services.settings, acme.services.database, acme.clock)
    with contextlib.closing(Dispatcher(*arguments, concurrency=1)) as dispatcher, pytest.MonkeyPatch.context() as patch:
        patch.setattr(delivery, "SLOW", 0.0)
        dispatcher.send_due_messages()
    paths = acme.receiver.paths
    # One message a turn, because each is slow.
    assert [path.split("/")[1] for path in paths] == ["acme", "other", "acme", "other", "acme", "acme"]
    assert paths[0] != paths[2]
    assert paths[2] != paths[4]


@pytest.mark.parametrize(("slow", "turns"), [(0.0, 3), (PATIENCE, 1)])
def test_a_turn_ends_after_a_slow_message(acme: Acme, monkeypatch: pytest.MonkeyPatch, slow: float, turns: int) -> None:
    monkeypatch.setattr(delivery, "SLOW", slow)
    acme.add_target(acme.receiver.url)
    acme.put(*(change() for _ in range(3)))
    assert acme.deliver() == turns
    assert len(acme.receiver.received) == 3


def test_a_receiver_that_does_not_respond_is_given_up_in_time(
    acme: Acme, slow: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(channels, "TIMEOUT", 0.3)
    target_id, _ = acme.add_target(slow.url)
    acme.put(change())
    acme.deliver()
    assert acme.target(target_id).last_error == "no response within 0.3 seconds"
    slow.go_on.set()


def test_two_dispatchers_do_not_send_the_same(acme: Acme) -> None:
    for number in range(6):
        acme.add_target(f"{acme.receiver.url}/{number}")
    acme.put(*(change() for _ in range(5)))
    with acme.dispatcher() as first, acme.dispatcher() as second:
        threads = [threading.Thread(target=dispatcher.send_due_messages) for dispatcher in (first, second)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(acme.receiver.ids) == len(set(acme.receiver.ids)) == 30


def test_a_lease_ends_by_itself(acme: Acme) -> None:
    acme.add_target(acme.receiver.url)
    acme.put(change())
    acme.database.fetch_durably("alerts/claim_targets", leased_until=NOON + LEASE, max_targets=1)
    acme.clock.now = NOON + LEASE - timedelta(seconds=1)
    acme.deliver()
    assert acme.receiver.received == []
    acme.clock.now = NOON + LEASE
    acme.deliver()
    assert len(acme.receiver.received) == 1


PROGRAM = """
import sys, time
from ipaddress import ip_network
from agentidp.clock import utc_now
from agentidp.alerts.delivery import Dispatcher
from agentidp.db.database import Database
from tests.conftest import settings_for

settings = settings_for(sys.argv[1], alert_networks=(ip_network("127.0.0.0/8"),))
dispatcher = Dispatcher(settings, Database(sys.argv[1], settings), utc_now)
while True:
    dispatcher.start_turns()
    time.sleep(0.01)
"""


@pytest.mark.slow
def test_each_change_is_delivered_although_senders_are_killed(acme: Acme, database_url: str) -> None:
    acme.clock.now = None
    for number in range(3):
        acme.add_target(f"{acme.receiver.url}/{number}")
    changes = [change(utc_now()) for _ in range(40)]
    acme.put(*changes)
    for _ in range(3):
        process = subprocess.Popen([sys.executable, "-c", PROGRAM, database_url], cwd=ROOT)
        # In the middle of a delivery: the request has arrived, and nothing was answered.
        answer, last = threading.Event(), len(acme.receiver.received) + 8
        acme.receiver.before_response = lambda answer=answer, last=last: (
            len(acme.receiver.received) >= last and answer.wait(PATIENCE)
        )
        wait_until(lambda last=last: len(acme.receiver.received) >= last)
        process.send_signal(signal.SIGKILL)
        process.wait(PATIENCE)
        answer.set()
        # What time does to the leases of a process that died.
        execute(database_url, "update alert_targets set leased_until = '-infinity'")
    acme.receiver.before_response = lambda: None
    with acme.dispatcher() as dispatcher:
        dispatcher.send_due_messages()
    of_change: dict[tuple[str, str], set[str]] = {}
    for path, body, message_id in zip(acme.receiver.paths, acme.receiver.bodies, acme.receiver.ids, strict=True):
        of_change.setdefault((path, body["data"]["findingId"]), set()).add(message_id)
    assert set(of_change) == {
        (f"/{number}", str(state_change.finding_id)) for number in range(3) for state_change in changes
    }
    assert {len(ids) for ids in of_change.values()} == {1}
    # Some were sent twice, or nothing was in the middle.
    assert len(acme.receiver.received) > len(of_change)
    assert all(row.delivered_at for row in acme.deliveries())


def test_another_instance_secret_is_a_failure_that_says_so(acme: Acme) -> None:
    target_id, _ = acme.add_target(acme.receiver.url)
    acme.put(change())
    with acme.dispatcher(secret_key=SECRET_KEY[::-1].encode()) as dispatcher:
        dispatcher.send_due_messages()
    assert "instance secret" in acme.target(target_id).last_error
    assert acme.receiver.received == []


def test_no_secret_is_logged(acme: Acme, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    _, secret = acme.add_target(
        acme.receiver.url.replace("//", "//robot:pass-word@") + "/services/T0/B0/to-ken?key=se-cret"
    )
    acme.put(change())
    acme.deliver()
    acme.receiver.status = 500
    acme.put(change())
    acme.deliver()
    assert "Basic" in acme.receiver.received[0].headers["authorization"]
    logged = "\n".join(f"{record.getMessage()} {getattr(record, 'fields', '')}" for record in caplog.records)
    assert "alert delivered" in logged
    assert "alert not delivered" in logged
    assert secret is not None
    for hidden in ("pass-word", "to-ken", "se-cret", secret, secret.removeprefix("whsec_")):
        assert hidden not in logged
    assert "to-ken" not in str([row.last_error for row in acme.deliveries()])


def test_the_lease_outlasts_a_turn_and_its_last_message() -> None:
    # The last message of a turn begins within it. A name is resolved within half a minute, or it has no address.
    slowest = timedelta(seconds=max(channels.TIMEOUT, channels.APPRISE_TIMEOUT) + 30)
    assert delivery.TURN + slowest < LEASE
