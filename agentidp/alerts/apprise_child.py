"""Sends one message with apprise, in a separate process: ``python -m agentidp.alerts.apprise_child``.

apprise's plugins open connections themselves, so an audit hook in this process refuses connections to addresses that
are not allowed. The process gets none of the service's secrets.

Standard input is a JSON object with ``url``, ``title``, ``body``, ``type``, ``networks`` and ``isPlain``. Standard
output is a JSON object with ``error``, which is null if the message was accepted.
"""

from __future__ import annotations

import json
import logging
import re
import resource
import sys
from ipaddress import ip_address, ip_network
from typing import Any

from agentidp.outbound.networks import AddressRefused, AllowedNetworks

MAX_MEMORY = 512 * 1024 * 1024  # maximum bytes of address space, which also limits the size of a response


class _ConnectionGuard:
    """Refuses connections of this process to forbidden addresses, and stores the reason for the last refusal."""

    def __init__(self, networks: list[str], *, is_plain: bool) -> None:
        self.refusal: str | None = None
        self._networks, self._is_plain = AllowedNetworks(tuple(map(ip_network, networks))), is_plain

    def audit(self, event: str, arguments: tuple[Any, ...]) -> None:
        """Refuse connections to forbidden addresses, and new programs. Python calls this method at each audit event."""
        if event in ("socket.connect", "socket.sendto"):
            try:
                self._networks.check_address(ip_address(arguments[1][0]), is_plain=self._is_plain)
            except AddressRefused as refused:
                self.refusal = str(refused)
                raise PermissionError(self.refusal) from None
            except ValueError:
                raise PermissionError("only addresses of the Internet Protocol are allowed") from None
        elif event in ("subprocess.Popen", "os.exec", "os.posix_spawn", "os.system"):
            raise PermissionError("no program may be started")


class _StatusHandler(logging.Handler):
    """Stores the HTTP status that apprise logged with its last error."""

    status: str | None = None

    def emit(self, record: logging.LogRecord) -> None:
        """Store the HTTP status in a log record of apprise, and drop the record, because it can contain secrets."""
        status_match = re.search(r"error=(\d{3})\b", record.getMessage())
        self.status = status_match[1] if status_match else self.status


def main() -> None:
    """Read a message from standard input, send it, and print the error, if any, as JSON."""
    json.dump({"error": _send_with_apprise(json.load(sys.stdin))}, sys.stdout)


def _send_with_apprise(message: dict[str, Any]) -> str | None:
    """Send a message with apprise. Return why it was not accepted, or ``None`` if it was."""
    resource.setrlimit(resource.RLIMIT_AS, (MAX_MEMORY, MAX_MEMORY))
    try:
        import apprise
    except ImportError:
        return "this server has no apprise: the operator can install it (docs/alerts.md)"
    status_handler = _StatusHandler()
    apprise_logger = logging.getLogger("apprise")
    apprise_logger.handlers, apprise_logger.propagate = [status_handler], False
    connection_guard = _ConnectionGuard(message["networks"], is_plain=message["isPlain"])
    apprise_sender = apprise.Apprise.instantiate(message["url"])
    if apprise_sender is None:
        return "apprise does not accept the address"
    sys.addaudithook(connection_guard.audit)
    # The text is declared as Markdown if the service expects Markdown, because apprise would otherwise break the link.
    markdown_format, text_format = apprise.NotifyFormat.MARKDOWN, apprise.NotifyFormat.TEXT
    body_format = markdown_format if apprise_sender.resolve_format(text_format) == markdown_format else text_format
    notifier = apprise.Apprise([apprise_sender])
    if notifier.notify(message["body"], message["title"], message["type"], body_format=body_format):
        return None
    status_message = f"the status of the response was {status_handler.status}" if status_handler.status else None
    return (
        connection_guard.refusal
        or status_message
        or "apprise could not deliver it: no connection, or the service refused it"
    )


if __name__ == "__main__":
    main()
