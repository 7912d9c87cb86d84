"""The rule for the addresses that AgentIdP connects to: public addresses, and networks that the operator allows.

Without the rule, organizations could reach the operator's internal services (server-side request forgery, CWE-918).

The refused networks are from IANA's registries of special-purpose addresses. Python's ``is_global`` differs between
versions, and is true for some addresses that lead into a local network.
"""

from __future__ import annotations

import socket
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network


def _networks(*texts: str) -> tuple[Network, ...]:
    return tuple(ip_network(text) for text in texts)


LOOPBACK = _networks("127.0.0.0/8", "::1/128")

INTERNAL = (
    *LOOPBACK,
    *_networks("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"),  # RFC 1918.
    *_networks("100.64.0.0/10"),  # Shared between an internet provider and its customers (RFC 6598).
    *_networks("fc00::/7"),  # Unique local addresses (RFC 4193).
)
"""Networks that operators use for internal servers."""

REFUSED = (
    *INTERNAL,
    *_networks("0.0.0.0/8"),  # Addresses of the host itself.
    *_networks("169.254.0.0/16"),  # Link-local, including the metadata services of clouds, which return credentials.
    *_networks("192.0.0.0/24"),  # IETF protocols, including 192.0.0.192, the metadata service of a cloud.
    *_networks("192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24"),  # Documentation.
    *_networks("192.88.99.0/24"),  # 6to4 relays (deprecated).
    *_networks("198.18.0.0/15"),  # Addresses for benchmarks of networks.
    *_networks("224.0.0.0/4"),  # Multicast.
    *_networks("240.0.0.0/4"),  # Reserved addresses, and the broadcast address.
    # IPv6 networks outside 2000::/3 need no entry, because check_address() refuses their addresses unless allowed.
    *_networks("2001::/23"),  # IETF protocols, including Teredo, which leads to an IPv4 address.
    *_networks("2001:db8::/32", "3fff::/20"),  # Documentation.
    *_networks("2002::/16"),  # 6to4, which leads to an IPv4 address.
)
"""Networks with addresses that are not public. Connections to these networks must be allowed explicitly."""

_GLOBAL_UNICAST = IPv6Network("2000::/3")
"""The IPv6 addresses that IANA allocates to networks."""

_NAT64 = ip_network("64:ff9b::/96")
"""IPv6 addresses whose last 32 bits are an IPv4 address (RFC 6052)."""


class AddressRefused(Exception):
    """AgentIdP refuses to connect to an address. The message does not contain the address, which may be internal."""


class AllowedNetworks:
    """Decides to which addresses connections are allowed.

    :param allowed: networks that are allowed in addition to public addresses; None for no networks.
    :param plain: the networks to which unencrypted connections are allowed; None for all of *allowed*.
    :param setting: the setting that allows networks, for error messages; None if no setting does.
    """

    def __init__(
        self,
        allowed: tuple[Network, ...] | None,
        *,
        plain: tuple[Network, ...] | None = None,
        setting: str | None = "AGENTIDP_ALERT_NETWORKS",
    ) -> None:
        self._allowed = allowed or ()
        self._plain = self._allowed if plain is None else plain
        self._refusal = "the address is not public" + (f", and {setting} does not allow it" if setting else "")

    @property
    def allow_plain(self) -> bool:
        """Return whether an unencrypted connection to some network is allowed."""
        return bool(self._plain)

    def check_address(self, ip: Address, *, is_plain: bool) -> None:
        """Raise ``AddressRefused`` unless connections to an address are allowed."""
        ip = _find_embedded_ipv4(ip)
        if _is_within(ip, self._plain if is_plain else self._allowed):
            return
        is_global = isinstance(ip, IPv4Address) or ip in _GLOBAL_UNICAST
        if (not is_global or _is_within(ip, REFUSED)) and not _is_within(ip, self._allowed):
            raise AddressRefused(self._refusal)
        if is_plain:
            raise AddressRefused("the address is public, and the connection would not be encrypted: use https or TLS")

    def resolve(self, host: str, port: int, *, is_plain: bool) -> list[str]:
        """Return a host's addresses. Connect to them and not to the name, which may have other addresses later.

        :raises AddressRefused: at least one of the addresses is refused.
        :raises OSError: the name has no address.
        """
        address_entries = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        ip_texts = list(dict.fromkeys(str(address_entry[4][0]) for address_entry in address_entries))
        for ip_text in ip_texts:
            self.check_address(ip_address(ip_text), is_plain=is_plain)
        return ip_texts

    def check_literal(self, host: str, *, is_plain: bool) -> None:
        """Raise ``AddressRefused`` if *host* is a refused IP address. Host names are not checked."""
        try:
            address = ip_address(host)
        except ValueError:
            return
        self.check_address(address, is_plain=is_plain)


OPERATOR_NETWORKS = AllowedNetworks(INTERNAL, plain=LOOPBACK, setting=None)
"""Decides about addresses that the operator, not an organization, has chosen. These addresses may be internal."""


def _is_within(address: Address, networks: tuple[Network, ...]) -> bool:
    return any(address in network for network in networks)


def _find_embedded_ipv4(address: Address) -> Address:
    """Return the IPv4 address in an IPv6 address, or the address itself if there is none."""
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            return address.ipv4_mapped
        if address in _NAT64:
            return IPv4Address(int(address) & 0xFFFFFFFF)
    return address
