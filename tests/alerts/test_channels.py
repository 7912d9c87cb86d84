"""Real receivers: Debian's Alertmanager, and services that apprise sends to, on the loopback."""

from __future__ import annotations

import contextlib
import json
import shutil
import signal
import subprocess
import urllib.request
import uuid
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import unquote_plus

import pytest

from agentidp.alerts import channels, messages
from agentidp.clock import utc_now
from tests.alerts.conftest import Acme, change
from tests.factories import PATIENCE, free_port, wait_until


@pytest.fixture(autouse=True)
def _patience_with_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """The process of apprise needs a second of processor time to start."""
    monkeypatch.setattr(channels, "APPRISE_TIMEOUT", PATIENCE)


@pytest.fixture
def alertmanager(tmp_path: Path) -> Iterator[str]:
    """The URL of a running Alertmanager, which serves below a path."""
    program = shutil.which("prometheus-alertmanager")
    assert program, "The tests need Alertmanager: apt-get install prometheus-alertmanager"
    (tmp_path / "alertmanager.yml").write_text("route:\n  receiver: nobody\nreceivers:\n  - name: nobody\n")
    port = free_port()
    command = [
        program,
        f"--config.file={tmp_path}/alertmanager.yml",
        f"--storage.path={tmp_path}/data",
        f"--web.listen-address=127.0.0.1:{port}",
        "--web.route-prefix=/am",
        "--cluster.listen-address=",
    ]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        url = f"http://127.0.0.1:{port}/am"
        wait_until(lambda: process.poll() is not None or is_ready(url))
        yield url
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(PATIENCE)


def is_ready(url: str) -> bool:
    """Whether Alertmanager responds."""
    with contextlib.suppress(OSError), urllib.request.urlopen(f"{url}/-/ready", timeout=PATIENCE) as response:
        return bool(response.status == 200)
    return False


def alerts_of(url: str) -> list[dict[str, Any]]:
    """The alerts that Alertmanager takes for ongoing."""
    with urllib.request.urlopen(f"{url}/api/v2/alerts", timeout=PATIENCE) as response:
        alerts: list[dict[str, Any]] = json.load(response)
    return alerts


@pytest.mark.program
def test_alertmanager_shows_what_is_ongoing(acme: Acme, alertmanager: str) -> None:
    # Alertmanager has a clock of its own.
    now = acme.clock.now = utc_now()
    acme.add_target(alertmanager, "alertmanager")
    finding_id, at = uuid.uuid4(), now - timedelta(minutes=10)
    acme.put(change(at, finding_id=finding_id, severity="warning", subject="x" * 1000, title="café"))
    acme.deliver()
    [alert] = alerts_of(alertmanager)
    assert alert["labels"] == {
        "alertname": "AgentIdPFinding",
        "organization_id": acme.organization_id,
        "severity": "warning",
        "finding_id": str(finding_id),
    }
    assert alert["annotations"] == {
        "summary": "café",
        "description": "1,200 tokens in an hour; 30 are typical.",
        "kind": "spike",
        "subject": "x" * 1000,
        "organization": "Acme",
        "owner": "",
        "url": f"http://localhost:3000/dashboard/findings/{finding_id}",
    }
    # The finding turns out to be of another kind and about others.
    escalated = {"finding_id": finding_id, "subject": "others", "kind": "rejections", "opened_at": at}
    acme.put(change(now, **escalated, change="escalated", severity="critical"))
    acme.deliver()
    # The alert of the lower severity has ended.
    assert [alert["labels"]["severity"] for alert in alerts_of(alertmanager)] == ["critical"]
    acme.put(change(now + timedelta(microseconds=1), **escalated, change="resolved", severity="critical"))
    acme.deliver(seconds=1)
    assert alerts_of(alertmanager) == []
    assert all(row.delivered_at for row in acme.deliveries())


@pytest.mark.slow
def test_apprise_sends_to_a_chat(acme: Acme) -> None:
    target_id, _ = acme.add_target(f"ntfy://127.0.0.1:{acme.receiver.port}/on-call", "apprise")
    opened = change()
    acme.put(opened)
    acme.deliver()
    assert acme.target(target_id).last_error is None
    [request] = acme.receiver.received
    body = json.loads(request.body)
    assert body["topic"] == "on-call"
    assert body["title"] == "[critical] Acme: nightly-report takes 40 times its usual tokens"
    page = f"http://localhost:3000/dashboard/findings/{opened.finding_id}"
    assert body["message"] == f"1,200 tokens in an hour; 30 are typical.\n\n{page}"
    acme.receiver.status = 403
    acme.put(change())
    acme.deliver()
    assert acme.target(target_id).last_error == "the status of the response was 403"
    acme.change(target_id, url=f"ntfy://127.0.0.1:{free_port()}/on-call")
    acme.deliver()
    reason = "apprise could not deliver it: no connection, or the service refused it"
    assert acme.target(target_id).last_error == reason


CHATS = (
    "slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ",
    f"discord://1234567890123/{'a' * 40}",
    "gchat://workspace/key/token",
    "workflows://host.example:443/workflow/signature",
    f"wxteams://{'a' * 80}",
    "tgram://123456789%3Aabcdefg_hijklmnop/12315544",
    "tgram://123456789%3Aabcdefg_hijklmnop/12315544?format=markdown",
    f"zulip://bot@acme/{'a' * 32}/stream",
    f"mmosts://host.example/{'a' * 26}",
    f"rockets://{'a' * 17}/{'b' * 43}@host.example/channel",
    "ntfys://host.example/topic",
)
TO_THE_RECEIVER = """
from requests.adapters import HTTPAdapter

send = HTTPAdapter.send

def send_to_receiver(self, request, **options):
    request.url = "{url}"
    return send(self, request, **options)

HTTPAdapter.send = send_to_receiver
"""


@pytest.mark.very_slow
def test_a_name_is_no_mention_link_or_markup_in_any_chat(
    acme: Acme, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Python imports it in the process of apprise. Most services have fixed hosts.
    (tmp_path / "sitecustomize.py").write_text(TO_THE_RECEIVER.format(url=acme.receiver.url))
    monkeypatch.syspath_prepend(tmp_path)
    for address in CHATS:
        acme.add_target(address, "apprise")
    name = "shop: @channel <!here> [sign in again](https://evil.example) www.evil.example *b* &lt;i&gt;"
    opened = change(subject=name, title=f"spike: {name}", description=f"{name} takes more tokens.")
    acme.put(opened)
    acme.deliver()
    texts = [unquote_plus(request.body.decode()) for request in acme.receiver.received]
    texts = [text.encode().decode("unicode_escape") if "\\u" in text else text for text in texts]
    texts = [text for text in texts if "more tokens" in text]
    assert len(texts) == len(CHATS)
    for text in texts:
        assert f"{messages.disarm(name)} takes more tokens." in text
        assert f"http://localhost:3000/dashboard/findings/{opened.finding_id}" in text
        parts = ("@channel", "<!here>", "](", "://evil", "evil.example", "*b*", "&lt;i", "<i>")
        assert [part for part in parts if part in text] == []


@pytest.mark.slow
def test_apprise_connects_to_no_address_that_is_not_allowed(acme: Acme) -> None:
    target_id, _ = acme.add_target(f"ntfy://localhost:{acme.receiver.port}/on-call", "apprise")
    acme.put(change())
    with acme.dispatcher(alert_networks=None) as dispatcher:
        dispatcher.send_due_messages()
    assert "the address is not public" in acme.target(target_id).last_error
    assert acme.receiver.received == []
