"""Which addresses a target can have, and what of them is shown."""

from __future__ import annotations

from ipaddress import ip_network

import apprise
import pytest

from agentidp.alerts.addresses import APPRISE_SCHEMES, MAX_URL_LENGTH, PLAIN_APPRISE_SCHEMES, BadAddress, check_address
from agentidp.outbound.networks import AllowedNetworks

PUBLIC, PRIVATE = AllowedNetworks(None), AllowedNetworks((ip_network("10.0.0.0/8"),))


@pytest.mark.parametrize(
    ("type_", "url", "shown"),
    [
        ("webhook", "https://hooks.example/services/T0/B0/secret?key=secret", "https://hooks.example"),
        ("webhook", "https://user:secret@hooks.example:8443/", "https://hooks.example:8443"),
        ("webhook", "https://[2606:4700::1111]/", "https://[2606:4700::1111]"),
        ("alertmanager", "https://alertmanager.example/prefix", "https://alertmanager.example"),
        ("apprise", "slack://secret/secret/secret/#channel", "slack://"),
        ("apprise", "mailtos://user:secret@mail.example?to=a@b.example", "mailtos://"),
    ],
)
def test_what_is_shown_of_an_address_is_no_secret(type_: str, url: str, shown: str) -> None:
    assert check_address(type_, url, PUBLIC) == shown


@pytest.mark.parametrize(
    ("type_", "url", "rule"),
    [
        ("webhook", "ftp://hooks.example/", "must be an https URL"),
        ("webhook", "https://hooks.example/#part", "must be an https URL"),
        ("webhook", "https:///path", "must be a URL with a scheme and a host"),
        ("webhook", "https://hooks.example:port/", "must be a URL with a scheme and a host"),
        ("webhook", "https://[::1/", "must be a URL with a scheme and a host"),
        ("webhook", "https://hooks.exämple/", "printable ASCII"),
        ("webhook", "https://hooks.example/\r\nX: y", "printable ASCII"),
        ("webhook", "https://hooks.example/".ljust(MAX_URL_LENGTH + 1, "x"), "must have 1 to"),
        ("webhook", "https://127.0.0.1/", "is refused: the address is not public"),
        ("webhook", "http://intranet.example/", "must be an https URL: AGENTIDP_ALERT_NETWORKS allows no network"),
        ("alertmanager", "http://10.0.0.1:9093", "must be an https URL: AGENTIDP_ALERT_NETWORKS allows no network"),
        ("apprise", "mailto://u:p@mail.example", "must be mailtos, which uses TLS"),
        ("apprise", "ntfy://ntfy.example/topic", "must be ntfys, which uses TLS"),
        ("alertmanager", "https://alertmanager.example/?x=y", "without query"),
        ("alertmanager", "slack://a/b/c", "must be an https URL"),
        ("apprise", "json://hooks.example/", "must have one of apprise's schemes"),
        ("apprise", "syslog://localhost", "must have one of apprise's schemes"),
        ("apprise", "slack://a/b/c?template=/etc/passwd", "must have no parameters but"),
        ("apprise", "mailtos://u:p@mail.example?pgpkey=/etc/key", "must have no parameters but"),
        ("apprise", "ntfys://ntfy.example/topic?VERIFY=no", "must have no parameters but"),
        ("apprise", "ntfys://ntfy.example/topic?%76erify=no", "must have no parameters but"),
        ("apprise", "ntfys://ntfy.example/topic?+X-Header=y", "must have no parameters but"),
        ("apprise", "ntfys://ntfy.example/topic?attach=/etc/passwd", "must have no parameters but"),
        # apprise finds these parameters, and urllib does not.
        ("apprise", "slack://a/b/c/#channel?template=/etc/passwd", "must have no parameters but"),
        ("apprise", "mailtos://u:p@mail.example?to=a@b.example;verify=no", "must have no parameters but"),
    ],
)
def test_an_address_that_breaks_a_rule_is_refused_by_that_rule(type_: str, url: str, rule: str) -> None:
    with pytest.raises(BadAddress, match=rule) as refused:
        check_address(type_, url, PUBLIC)
    assert url not in str(refused.value)


def test_an_address_within_an_allowed_network_can_be_http() -> None:
    assert check_address("webhook", "http://10.1.2.3:8080/hook", PRIVATE) == "http://10.1.2.3:8080"
    # Where a name leads is checked when an alert is sent.
    assert check_address("webhook", "http://intranet.example/", PRIVATE) == "http://intranet.example"
    assert check_address("apprise", "mailto://u:p@mail.example", PRIVATE) == "mailto://"
    with pytest.raises(BadAddress, match="would not be encrypted"):
        check_address("webhook", "http://1.1.1.1/", PRIVATE)


def test_each_scheme_without_tls_has_one_with_tls() -> None:
    assert {f"{scheme}s" for scheme in PLAIN_APPRISE_SCHEMES} <= APPRISE_SCHEMES


# A plugin that we do not offer uses a module that Python 3.13 has no more.
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_apprise_knows_every_scheme_that_is_offered() -> None:
    supported_schemes = {name for plugin in apprise.Apprise().details()["schemas"] for name in _schemes(plugin)}
    assert supported_schemes >= APPRISE_SCHEMES


def _schemes(plugin: dict[str, list[str] | None]) -> list[str]:
    return [*(plugin["protocols"] or []), *(plugin["secure_protocols"] or [])]
