"""Which addresses AgentIdP connects to: public ones, and the networks that the operator allows.

Organizations choose where their alerts go, so without this rule anyone with ``alerts:write`` could reach the operator's
internal services (server-side request forgery, CWE-918).

What is refused is listed here, from IANA's registries of special-purpose addresses. ``is_global`` of Python says
something else in each version, and true for addresses that lead into a local network.
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
    *_networks("100.64.0.0/10"),  # Between a provider and its customers (RFC 6598).
    *_networks("fc00::/7"),  # Unique local (RFC 4193).
)
"""Where an operator's own servers may be. They are not public."""

REFUSED = (
    *INTERNAL,
    *_networks("0.0.0.0/8"),  # This host.
    *_networks("169.254.0.0/16"),  # Link-local; clouds have the credentials of machines there.
    *_networks("192.0.0.0/24"),  # Protocols of the IETF, among them 192.0.0.192, which a cloud uses.
    *_networks("192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24"),  # Documentation.
    *_networks("192.88.99.0/24"),  # Relays of 6to4, given up.
    *_networks("198.18.0.0/15"),  # Benchmarks.
    *_networks("224.0.0.0/4"),  # Multicast.
    *_networks("240.0.0.0/4"),  # Reserved, and broadcast.
    # Within global unicast, beside which no IPv6 address is public:
    *_networks("2001::/23"),  # Protocols of the IETF, among them Teredo, which ends at an IPv4 address.
    *_networks("2001:db8::/32", "3fff::/20"),  # Documentation.
    *_networks("2002::/16"),  # 6to4: ends at an IPv4 address.
)
"""Networks whose addresses are not public."""

_GLOBAL_UNICAST = IPv6Network("2000::/3")
"""What IANA gives to networks. Outside are the loopback, link-local, site-local (``fec0::/10``), unique local and
multicast addresses, IPv4 addresses in IPv6 (``::/96``, ``::ffff:0:0:0/96``), local NAT64 (``64:ff9b:1::/48``) and
segment routing (``5f00::/16``)."""

_NAT64 = ip_network("64:ff9b::/96")
"""IPv4 addresses as hosts without IPv4 see them (RFC 6052): the last 32 bits are the IPv4 address."""


class AddressRefused(Exception):
    """AgentIdP does not connect there.

    The message is for the organization. It does not name the address, which may be that of an internal name.
    """


class AllowedNetworks:
    """The rule for addresses.

    :param allowed: networks of the operator's in addition to public addresses.
    :param plain: those of them in which a connection need not be encrypted. Default: all of them.
    :param setting: by which the operator allows them, if there is one.
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
        """Whether a connection without encryption is allowed anywhere."""
        return bool(self._plain)

    def check(self, address: Address, *, is_plain: bool) -> None:
        """Check an address before a connection is made to it.

        :param is_plain: the connection is not encrypted.
        :raises AddressRefused: no connection must be made.
        """
        address = _embedded_ipv4(address)
        if _is_within(address, self._plain if is_plain else self._allowed):
            return
        if not is_public(address) and not _is_within(address, self._allowed):
            raise AddressRefused(self._refusal)
        if is_plain:
            raise AddressRefused("the address is public, and the connection would not be encrypted: use https or TLS")

    def resolve(self, host: str, port: int, *, is_plain: bool) -> list[str]:
        """The addresses of a host, each of which was checked. Connect to these, and do not resolve the name again.

        :raises AddressRefused: at least one of them is refused.
        :raises OSError: the name has no address.
        """
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
        for address in addresses:
            self.check(ip_address(address), is_plain=is_plain)
        return addresses

    def check_literal(self, host: str, *, is_plain: bool) -> None:
        """Check a host that is an address itself. A name is checked when it is resolved.

        :raises AddressRefused: no connection must be made.
        """
        try:
            address = ip_address(host)
        except ValueError:
            return
        self.check(address, is_plain=is_plain)


OF_THE_OPERATOR = AllowedNetworks(INTERNAL, plain=LOOPBACK, setting=None)
"""For addresses that the operator names, and not an organization: they may be internal."""


def is_public(address: Address) -> bool:
    """Whether the address is a host's in the public Internet."""
    if isinstance(address, IPv6Address) and address not in _GLOBAL_UNICAST:
        return False
    return not _is_within(address, REFUSED)


def _is_within(address: Address, networks: tuple[Network, ...]) -> bool:
    return any(address in network for network in networks)


def _embedded_ipv4(address: Address) -> Address:
    """The IPv4 address that packets to this IPv6 address reach, if there is one."""
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            return address.ipv4_mapped
        if address in _NAT64:
            return IPv4Address(int(address) & 0xFFFFFFFF)
    return address
