"""No alert goes to an address that is not public, unless the operator allows it, however it is spelled."""

from __future__ import annotations

import socket
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from agentidp.alerts.http_post import PostFailed, post
from agentidp.alerts.networks import AddressRefused, AllowedNetworks
from tests.alerts.receiver import Receiver

PRIVATE = (
    *("127.0.0.1", "127.255.255.254", "0.0.0.1", "10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.0.1"),
    *("169.254.169.254", "100.64.0.1", "192.0.2.1", "198.18.0.1", "224.0.0.1", "239.1.1.1", "240.0.0.1"),
    *("255.255.255.255", "::", "::1", "fe80::1", "fc00::1", "fd12:3456::1", "ff02::1", "ff0e::1", "2001:db8::1"),
    *("::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254", "64:ff9b::7f00:1", "64:ff9b::a00:1"),
    *("2002:7f00:1::1", "2002:808:808::1", "2001:0:808:808::1"),
)
PUBLIC = ("1.1.1.1", "172.32.0.1", "100.128.0.1", "2606:4700::1111", "::ffff:1.1.1.1", "64:ff9b::101:101")


@pytest.mark.parametrize("address", PRIVATE)
def test_an_address_that_is_not_public_is_refused(address: str) -> None:
    with pytest.raises(
        AddressRefused, match="the address is not public, and AGENTIDP_ALERT_NETWORKS does not allow it"
    ):
        AllowedNetworks(None).check(ip_address(address), is_plain=False)


@pytest.mark.parametrize("address", PUBLIC)
def test_a_public_address_is_allowed_if_the_connection_is_encrypted(address: str) -> None:
    AllowedNetworks(None).check(ip_address(address), is_plain=False)
    with pytest.raises(AddressRefused, match="would not be encrypted"):
        AllowedNetworks(None).check(ip_address(address), is_plain=True)


@pytest.mark.parametrize("is_plain", [True, False])
def test_the_operators_networks_are_allowed_and_end_where_they_end(is_plain: bool) -> None:
    networks = AllowedNetworks((ip_network("10.1.0.0/16"), ip_network("fd00::/8")))
    for address in ("10.1.0.0", "10.1.255.255", "::ffff:10.1.0.1", "fd00::1"):
        networks.check(ip_address(address), is_plain=is_plain)
    for address in ("10.0.255.255", "10.2.0.0", "fc00::1", "::1"):
        with pytest.raises(AddressRefused):
            networks.check(ip_address(address), is_plain=is_plain)


def answers_of(*addresses: str) -> Any:
    """What stands in for the resolver: the name has these addresses."""
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 443)) for address in addresses]
    return lambda *_, **__: found


def test_a_name_is_refused_if_one_of_its_addresses_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", answers_of("1.1.1.1", "127.0.0.1"))
    with pytest.raises(AddressRefused, match="the address is not public") as refused:
        AllowedNetworks(None).resolve("hooks.example", 443, is_plain=False)
    # Or the organization would learn the address of an internal name.
    assert "127.0.0.1" not in str(refused.value)


def test_the_connection_goes_to_the_address_that_was_checked(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name that has another address at the second resolution (DNS rebinding) gains nothing."""
    resolved = []
    real = socket.getaddrinfo

    def resolve(host: str, *arguments: Any, **options: Any) -> Any:
        if host == "hooks.example":
            resolved.append(host)
            assert len(resolved) == 1, "it was resolved a second time"
            return answers_of("127.0.0.1")()
        return real(host, *arguments, **options)

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    url = urlsplit(f"http://hooks.example:{receiver.port}/hook")
    assert post(url, b"{}", {}, AllowedNetworks((ip_network("127.0.0.0/8"),))) == 200
    assert receiver.received[0].headers["host"] == f"hooks.example:{receiver.port}"


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]", "0x7f000001", "2130706433"])
def test_no_spelling_of_the_loopback_is_connected_to(receiver: Receiver, host: str) -> None:
    with pytest.raises(PostFailed, match="the address is not public"):
        post(urlsplit(f"http://{host}:{receiver.port}/"), b"{}", {}, AllowedNetworks(None))
    assert receiver.received == []


def test_the_certificate_must_be_the_hosts(tls_receiver: int) -> None:
    networks = AllowedNetworks((ip_network("127.0.0.0/8"),))
    with pytest.raises(PostFailed, match="the certificate is refused: self-signed certificate"):
        post(urlsplit(f"https://127.0.0.1:{tls_receiver}/"), b"{}", {}, networks)


def test_the_reason_does_not_name_the_host(tls_receiver: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The certificate is trusted, and has no name that is compared with the host.
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "server.pem"))
    with pytest.raises(PostFailed) as failed:
        post(urlsplit(f"https://127.0.0.1:{tls_receiver}/"), b"{}", {}, AllowedNetworks((ip_network("127.0.0.0/8"),)))
    assert str(failed.value) == "the certificate is refused: IP address mismatch"
