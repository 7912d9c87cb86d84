"""The addresses that a target can have, by its type; each is a secret, because services put their tokens into it."""

from __future__ import annotations

import re
from urllib.parse import unquote, urlsplit

from agentidp.outbound.networks import AddressRefused, AllowedNetworks

TYPES = {
    "webhook": "https",
    "alertmanager": "https (Alertmanager's base URL)",
    "apprise": "one of apprise's, such as slack://…",
}
"""Type of a target -> which addresses it takes, for people."""

MAX_URL_LENGTH = 2000
"""Characters."""

APPRISE_SCHEMES = frozenset(
    (
        *("slack", "discord", "gchat", "workflows", "wxteams", "tgram", "zulip"),
        *("mmosts", "mmost", "rockets", "rocket", "matrixs", "matrix"),
        *("pagerduty", "opsgenie", "pagertree", "splunk", "signl4", "spike", "squadcast"),
        *("pover", "ntfys", "ntfy", "gotifys", "gotify"),
        *("mailtos", "mailto", "sendgrid", "mailgun", "ses", "twilio"),
    )
)
"""Schemes of apprise's that send one message by HTTP or SMTP. Others start programs, read files or use the desktop."""

PLAIN_APPRISE_SCHEMES = frozenset(("mmost", "rocket", "matrix", "ntfy", "gotify", "mailto"))
"""Those that may send without TLS."""

APPRISE_PARAMETERS = frozenset(
    (
        *("to", "from", "cc", "bcc", "reply", "name", "smtp", "mode", "user", "pass", "subject", "format"),
        *("channel", "topic", "stream", "thread", "token", "region", "priority", "tags", "source", "component"),
    )
)
"""Parameters that apprise's URLs can have here. Others name files (template, pgpkey) or turn off TLS (verify)."""


_NO_NETWORK = "AGENTIDP_ALERT_NETWORKS allows no network, and nothing is sent to others without encryption"


class BadAddress(ValueError):
    """The message is the rule that the address breaks; it does not repeat the address."""


def check_address(type_: str, url: str, networks: AllowedNetworks) -> str:
    """Check the address of a target without resolving its host.

    :param type_: one of ``TYPES``.
    :returns: the part of it that is no secret: the scheme, and for HTTP also the host.
    :raises BadAddress: it breaks a rule.
    """
    if not re.fullmatch(rf"[!-~]{{1,{MAX_URL_LENGTH}}}", url):
        raise BadAddress(f"must have 1 to {MAX_URL_LENGTH} printable ASCII characters")
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        host, parts = None, urlsplit("")
    if not host:
        raise BadAddress("must be a URL with a scheme and a host")
    if type_ == "apprise":
        return _check_apprise(parts.scheme, url, networks)
    if parts.scheme not in ("https", "http") or parts.fragment:
        raise BadAddress("must be an https URL without fragment, or http for a network in AGENTIDP_ALERT_NETWORKS")
    if type_ == "alertmanager" and parts.query:
        raise BadAddress("must be Alertmanager's base URL, without query: /api/v2/alerts is added to it")
    if parts.scheme == "http" and not networks.allow_plain:
        raise BadAddress(f"must be an https URL: {_NO_NETWORK}")
    try:
        networks.check_literal(host, is_plain=parts.scheme == "http")
    except AddressRefused as refused:
        raise BadAddress(f"is refused: {refused}") from None
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"


def _check_apprise(scheme: str, url: str, networks: AllowedNetworks) -> str:
    if scheme not in APPRISE_SCHEMES:
        raise BadAddress(f"must have one of apprise's schemes {', '.join(sorted(APPRISE_SCHEMES))}")
    if scheme in PLAIN_APPRISE_SCHEMES and not networks.allow_plain:
        raise BadAddress(f"must be {scheme}s, which uses TLS: {_NO_NETWORK}")
    # apprise reads URLs otherwise than urllib: everything behind the first "?" is parameters, behind a "#" too, and ";"
    # separates them as "&" does.
    pairs = [pair for pair in re.split("[&;]", url.partition("?")[2]) if pair]
    others = {unquote(pair.partition("=")[0]).strip().lower() for pair in pairs} - APPRISE_PARAMETERS
    if others:
        raise BadAddress(f"must have no parameters but {', '.join(sorted(APPRISE_PARAMETERS))}")
    return f"{scheme}://"
