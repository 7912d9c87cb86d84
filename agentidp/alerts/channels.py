"""Sends changes of findings' states to alert targets, with one function per type of target."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import SplitResult, unquote, urlsplit

from standardwebhooks import Webhook

from agentidp.alerts import messages
from agentidp.alerts.addresses import PLAIN_APPRISE_SCHEMES
from agentidp.alerts.messages import Message
from agentidp.alerts.state_change import TEST
from agentidp.config import Settings
from agentidp.outbound.client import RequestFailed, request
from agentidp.outbound.networks import AllowedNetworks

USER_AGENT = "AgentIdP"
TIMEOUT = 10.0  # maximum seconds for a whole request, except for resolving the host name
APPRISE_TIMEOUT = 20.0  # maximum seconds for a message with apprise, whose process takes more than a second to start


class SendFailed(Exception):
    """The alert target did not accept the message. The text is for the organization, and contains no secret."""


class TargetGone(SendFailed):
    """The alert target responded with 410, so it must get no further messages."""


@dataclass(frozen=True, kw_only=True)
class Address:
    """The address of an alert target, and the key that signs its webhooks. Both are secret."""

    url: str
    secret: str | None = None


class Channels:
    """Sends messages to alert targets of all types."""

    def __init__(self, settings: Settings) -> None:
        self._allowed = settings.alert_networks or ()
        self._networks = AllowedNetworks(settings.alert_networks)
        self._dashboard = settings.dashboard
        self._senders: dict[str, Callable[[Address, Message, datetime], None]] = {
            "webhook": self._send_webhook,
            "alertmanager": self._send_to_alertmanager,
            "apprise": self._send_by_apprise,
        }

    def send(self, type_: str, address: Address, message: Message, at: datetime) -> None:
        """Send a message to a target of the type *type_*, and wait until the target has accepted it.

        :param at: the current time, with time zone, which is part of a webhook's signature.
        :raises SendFailed: the message was not accepted, or it is unknown whether it was.
        """
        self._senders[type_](address, message, at)

    def _send_webhook(self, address: Address, message: Message, at: datetime) -> None:
        body = messages.build_webhook_body(message, self._dashboard)
        at = at.astimezone(UTC)
        signature = Webhook(address.secret or "").sign(str(message.message_id), at, body.decode())
        headers = {
            "webhook-id": str(message.message_id),
            "webhook-timestamp": str(int(at.timestamp())),
            "webhook-signature": signature,
        }
        self._post(urlsplit(address.url), body, headers)

    def _send_to_alertmanager(self, address: Address, message: Message, at: datetime) -> None:
        body = messages.build_alertmanager_body(message, self._dashboard)
        base_url = urlsplit(address.url)
        self._post(base_url._replace(path=base_url.path.rstrip("/") + "/api/v2/alerts"), body, {})

    def _post(self, url: SplitResult, body: bytes, headers: dict[str, str]) -> None:
        if url.username is not None:
            user_and_password = f"{unquote(url.username)}:{unquote(url.password or '')}".encode()
            headers["Authorization"] = f"Basic {base64.b64encode(user_and_password).decode()}"
        try:
            response = request(
                "POST",
                url,
                networks=self._networks,
                timeout=TIMEOUT,
                max_body=None,
                headers={"Content-Type": "application/json", "User-Agent": USER_AGENT, **headers},
                body=body,
            )
        except RequestFailed as failed:
            raise SendFailed(str(failed)) from None
        if response.status == 410:
            raise TargetGone("the status of the response was 410: the receiver wants no more messages")
        if not 200 <= response.status < 300:
            raise SendFailed(f"the status of the response was {response.status}")

    def _send_by_apprise(self, address: Address, message: Message, at: datetime) -> None:
        change = message.change
        notification_type = {"resolved": "success", TEST: "info"}.get(change.change)
        child_request = {
            "url": address.url,
            "title": messages.build_title(message),
            "body": messages.build_text(message, self._dashboard),
            "type": notification_type or {"critical": "failure", "warning": "warning"}.get(change.severity, "info"),
            "networks": [str(network) for network in self._allowed],
            "isPlain": urlsplit(address.url).scheme in PLAIN_APPRISE_SCHEMES,
        }
        try:
            process = subprocess.run(
                [sys.executable, "-P", "-m", "agentidp.alerts.apprise_child"],
                input=json.dumps(child_request).encode(),
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                # The environment has no secrets, and no proxy, because a proxy could connect to forbidden addresses.
                env={"PYTHONPATH": ":".join(import_path for import_path in sys.path if import_path)},
                timeout=APPRISE_TIMEOUT,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise SendFailed(f"no response within {APPRISE_TIMEOUT:g} seconds") from None
        try:
            child_error = json.loads(process.stdout)["error"]
        except (ValueError, KeyError):
            raise SendFailed("apprise ended without a result") from None
        if child_error is not None:
            raise SendFailed(str(child_error))
