"""No request is sent to an address that is not public, however it is spelled, unless the operator allows it."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from agentidp.outbound.client import RequestFailed, request
from agentidp.outbound.networks import INTERNAL, OPERATOR_NETWORKS, AddressRefused, AllowedNetworks
from tests.alerts.receiver import Receiver
from tests.deploy.deployment import make_certificate
from tests.factories import PATIENCE
from tests.helpers.outbound_server import server

HERE = AllowedNetworks((ip_network("127.0.0.0/8"),))

PRIVATE = (
    *("127.0.0.1", "127.255.255.254", "0.0.0.1", "10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.0.1"),
    *("169.254.169.254", "100.64.0.1", "192.0.2.1", "198.18.0.1", "224.0.0.1", "239.1.1.1", "240.0.0.1"),
    *("255.255.255.255", "::", "::1", "fe80::1", "fc00::1", "fd12:3456::1", "ff02::1", "ff0e::1", "2001:db8::1"),
    *("::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254", "64:ff9b::7f00:1", "64:ff9b::a00:1"),
    *("2002:7f00:1::1", "2002:808:808::1", "2001:0:808:808::1"),
    # Addresses for which is_global is true in some versions of Python.
    *("192.0.0.192", "192.0.0.8", "192.0.0.9", "192.0.0.10", "192.88.99.1", "fec0::1", "::127.0.0.1", "::1.1.1.1"),
    *("::ffff:0:127.0.0.1", "::ffff:0:101:101", "64:ff9b:1::7f00:1", "64:ff9b:1:ffff::1", "3fff::1", "3fff:fff::1"),
    *("5f00::1", "100::1", "2001:1::1", "2001:20::1", "2001:1ff::1", "1fff::1", "4000::1", "fdff::1", "fe80::1%lo"),
    # The first and the last address of each network.
    *("0.0.0.0", "0.255.255.255"),  # noqa: S104
    *("10.255.255.255", "100.127.255.255", "169.254.0.0", "169.254.255.255"),
    *("172.16.0.0", "192.0.0.0", "192.0.0.255", "192.0.2.0", "192.0.2.255", "192.168.255.255", "198.18.0.0"),
    *("198.19.255.255", "198.51.100.0", "198.51.100.255", "203.0.113.0", "203.0.113.255", "192.88.99.255"),
    *("2001:db8:ffff::1", "2002:ffff::1"),
)
PUBLIC = (
    *("1.1.1.1", "172.32.0.1", "100.128.0.1", "2606:4700::1111", "::ffff:1.1.1.1", "64:ff9b::101:101"),
    # The addresses next to the first and the last of each network.
    *("1.0.0.0", "9.255.255.255", "11.0.0.0", "100.63.255.255", "126.255.255.255", "128.0.0.0", "169.253.255.255"),
    *("169.255.0.0", "172.15.255.255", "191.255.255.255", "192.0.1.0", "192.0.3.0", "192.88.98.255", "192.88.100.0"),
    *("192.167.255.255", "192.169.0.0", "198.17.255.255", "198.20.0.0", "198.51.99.255", "198.51.101.0"),
    *("203.0.112.255", "203.0.114.0", "223.255.255.255", "2000::", "2001:200::1", "2001:db7::1", "2001:db9::1"),
    *("2003::1", "3ffe::1", "3fff:1000::1", "3fff:ffff::1"),
)


@pytest.mark.parametrize("address", PRIVATE)
def test_an_address_that_is_not_public_is_refused(address: str) -> None:
    with pytest.raises(
        AddressRefused, match="the address is not public, and AGENTIDP_ALERT_NETWORKS does not allow it"
    ):
        AllowedNetworks(None).check_address(ip_address(address), is_plain=False)


@pytest.mark.parametrize("address", PUBLIC)
def test_a_public_address_is_allowed_if_the_connection_is_encrypted(address: str) -> None:
    AllowedNetworks(None).check_address(ip_address(address), is_plain=False)
    with pytest.raises(AddressRefused, match="would not be encrypted"):
        AllowedNetworks(None).check_address(ip_address(address), is_plain=True)


@pytest.mark.parametrize("is_plain", [True, False])
def test_the_operators_networks_are_allowed_and_end_where_they_end(is_plain: bool) -> None:
    networks = AllowedNetworks((ip_network("10.1.0.0/16"), ip_network("fd00::/8")))
    for address in ("10.1.0.0", "10.1.255.255", "::ffff:10.1.0.1", "fd00::1"):
        networks.check_address(ip_address(address), is_plain=is_plain)
    for address in ("10.0.255.255", "10.2.0.0", "fc00::1", "::1"):
        with pytest.raises(AddressRefused):
            networks.check_address(ip_address(address), is_plain=is_plain)


@pytest.mark.parametrize("network", INTERNAL, ids=str)
def test_what_the_operator_names_may_be_internal_and_is_encrypted(network: Any) -> None:
    OPERATOR_NETWORKS.check_address(network[1 % network.num_addresses], is_plain=False)
    if network.is_loopback:
        OPERATOR_NETWORKS.check_address(network[1 % network.num_addresses], is_plain=True)
    else:
        with pytest.raises(AddressRefused):
            OPERATOR_NETWORKS.check_address(network[1], is_plain=True)


@pytest.mark.parametrize(
    "address", ["169.254.169.254", "fe80::1", "0.0.0.1", "224.0.0.1", "64:ff9b:1::1", "192.0.0.192"]
)
def test_what_the_operator_names_may_not_be_everywhere(address: str) -> None:
    with pytest.raises(AddressRefused, match=r"^the address is not public$"):
        OPERATOR_NETWORKS.check_address(ip_address(address), is_plain=False)


def post(url: str, networks: AllowedNetworks) -> int:
    """Post an empty body, and return the status of the response."""
    return request(
        "POST", urlsplit(url), networks=networks, timeout=PATIENCE, max_body=None, headers={}, body=b"{}"
    ).status


def answers_of(*addresses: str) -> Any:
    """Return a resolver by which each name has these addresses."""
    answers = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 443)) for address in addresses]
    return lambda *_, **__: answers


def test_a_name_is_refused_if_one_of_its_addresses_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", answers_of("1.1.1.1", "127.0.0.1"))
    with pytest.raises(AddressRefused, match="the address is not public") as refused:
        AllowedNetworks(None).resolve("hooks.example", 443, is_plain=False)
    # Otherwise the organization would learn the address of an internal name.
    assert "127.0.0.1" not in str(refused.value)


def test_the_connection_goes_to_the_address_that_was_checked(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name that resolves to another address the second time (DNS rebinding) does not change the connection."""
    resolved = []
    real = socket.getaddrinfo

    def resolve(host: str, *arguments: Any, **options: Any) -> Any:
        if host == "hooks.example":
            resolved.append(host)
            assert len(resolved) == 1, "it was resolved a second time"
            return answers_of("127.0.0.1")()
        return real(host, *arguments, **options)

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    assert post(f"http://hooks.example:{receiver.port}/hook", HERE) == 200
    assert receiver.received[0].headers["host"] == f"hooks.example:{receiver.port}"


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]", "0x7f000001", "2130706433"])
def test_no_spelling_of_the_loopback_is_connected_to(receiver: Receiver, host: str) -> None:
    with pytest.raises(RequestFailed, match="the address is not public"):
        post(f"http://{host}:{receiver.port}/", AllowedNetworks(None))
    assert receiver.received == []


@pytest.fixture
def tls_receiver(tmp_path: Path) -> Iterator[int]:
    """Return the port of a server whose certificate is for localhost, and which no client trusts."""
    make_certificate(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "tls.crt", tmp_path / "tls.key")
    with server(lambda _: None, context) as port:
        yield port


def test_the_certificate_must_be_the_hosts(tls_receiver: int) -> None:
    with pytest.raises(RequestFailed, match="the certificate is refused: self-signed certificate"):
        post(f"https://127.0.0.1:{tls_receiver}/", HERE)


def test_the_reason_does_not_name_the_host(tls_receiver: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The certificate is trusted, but names another host.
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "tls.crt"))
    with pytest.raises(RequestFailed) as failed:
        post(f"https://127.0.0.1:{tls_receiver}/", HERE)
    assert str(failed.value) == "the certificate is refused: IP address mismatch"
