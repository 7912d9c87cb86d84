"""Checks the addresses of alert targets. An address is a secret, because it can contain a service's token."""

from __future__ import annotations

import re
from urllib.parse import unquote, urlsplit

from agentidp.outbound.networks import AddressRefused, AllowedNetworks

TYPES = {
    "webhook": "https",
    "alertmanager": "https (Alertmanager's base URL)",
    "apprise": "a URL of apprise, such as slack://…",
}
"""Descriptions of the accepted addresses, by type of alert target."""

MAX_URL_LENGTH = 2000  # maximum characters of an address

APPRISE_SCHEMES = frozenset(
    (
        *("slack", "discord", "gchat", "workflows", "wxteams", "tgram", "zulip"),
        *("mmosts", "mmost", "rockets", "rocket", "matrixs", "matrix"),
        *("pagerduty", "opsgenie", "pagertree", "splunk", "signl4", "spike", "squadcast"),
        *("pover", "ntfys", "ntfy", "gotifys", "gotify"),
        *("mailtos", "mailto", "sendgrid", "mailgun", "ses", "twilio"),
    )
)
"""URL schemes that apprise addresses may have. Other schemes are refused, because some start programs."""

PLAIN_APPRISE_SCHEMES = frozenset(("mmost", "rocket", "matrix", "ntfy", "gotify", "mailto"))
"""URL schemes of apprise that may send a message without TLS."""

APPRISE_PARAMETERS = frozenset(
    (
        *("to", "from", "cc", "bcc", "reply", "name", "smtp", "mode", "user", "pass", "subject", "format"),
        *("channel", "topic", "stream", "thread", "token", "region", "priority", "tags", "source", "component"),
    )
)
"""Parameters that apprise addresses may have. Other parameters are refused, because some of them read files or disable
checks of TLS."""


_NO_NETWORK = (
    "AGENTIDP_ALERT_NETWORKS allows no network, and messages to all other networks are encrypted. A command reads the "
    "setting from its own environment, so set it there too"
)


class BadAddress(ValueError):
    """The address of an alert target breaks a rule. The message names the rule, but not the secret address."""


def check_address(type_: str, url: str, networks: AllowedNetworks) -> str:
    """Check the address of a target of the type *type_* without resolving its host.

    :returns: the public part of the address: the scheme, and for HTTP also the host.
    """
    if not re.fullmatch(rf"[!-~]{{1,{MAX_URL_LENGTH}}}", url):
        raise BadAddress(f"must have 1 to {MAX_URL_LENGTH} printable ASCII characters")
    try:
        url_parts = urlsplit(url)
        host, _ = url_parts.hostname, url_parts.port
    except ValueError:
        host, url_parts = None, urlsplit("")
    if not host:
        raise BadAddress("must be a URL with a scheme and a host")
    if type_ == "apprise":
        return _check_apprise_url(url_parts.scheme, url, networks)
    if url_parts.scheme not in ("https", "http") or url_parts.fragment:
        raise BadAddress("must be an https URL without fragment, or http for a network in AGENTIDP_ALERT_NETWORKS")
    if type_ == "alertmanager" and url_parts.query:
        raise BadAddress("must be Alertmanager's base URL, without query: /api/v2/alerts is added to it")
    if url_parts.scheme == "http" and not networks.allow_plain:
        raise BadAddress(f"must be an https URL: {_NO_NETWORK}")
    try:
        networks.check_literal(host, is_plain=url_parts.scheme == "http")
    except AddressRefused as refused:
        raise BadAddress(f"is refused: {refused}") from None
    return f"{url_parts.scheme}://{url_parts.netloc.rpartition('@')[2]}"


def _check_apprise_url(scheme: str, url: str, networks: AllowedNetworks) -> str:
    if scheme not in APPRISE_SCHEMES:
        raise BadAddress(f"must have one of apprise's schemes {', '.join(sorted(APPRISE_SCHEMES))}")
    if scheme in PLAIN_APPRISE_SCHEMES and not networks.allow_plain:
        raise BadAddress(f"must be {scheme}s, which uses TLS: {_NO_NETWORK}")
    # The query of urlsplit() is not used, because apprise also reads parameters after a "#".
    parameters = [parameter for parameter in re.split("[&;]", url.partition("?")[2]) if parameter]
    if {unquote(parameter.partition("=")[0]).strip().lower() for parameter in parameters} - APPRISE_PARAMETERS:
        raise BadAddress(f"must have no parameters but {', '.join(sorted(APPRISE_PARAMETERS))}")
    return f"{scheme}://"
