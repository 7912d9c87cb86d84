"""Which addresses alerts may be sent to: public ones, and the networks that the operator allows.

Organizations choose where their alerts go, so without this rule anyone with ``alerts:write`` could reach the operator's
internal services (server-side request forgery, CWE-918).
"""

from __future__ import annotations

import socket
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

_NAT64 = ip_network("64:ff9b::/96")
"""IPv4 addresses as hosts without IPv4 see them (RFC 6052): the last 32 bits are the IPv4 address."""

_TUNNELS = (ip_network("2002::/16"), ip_network("2001::/32"))
"""6to4 and Teredo: a packet may end at the IPv4 address that is inside, and nobody needs them any more."""


class AddressRefused(Exception):
    """An alert must not be sent there.

    The message is for the organization. It does not name the address, which may be that of an internal name.
    """


class AllowedNetworks:
    """The rule for addresses.

    :param allowed: networks of the operator's in addition to public addresses.
    """

    def __init__(self, allowed: tuple[Network, ...] | None) -> None:
        self._allowed = allowed or ()

    @property
    def allow_plain(self) -> bool:
        """Whether a connection without encryption is allowed anywhere."""
        return bool(self._allowed)

    def check(self, address: Address, *, is_plain: bool) -> None:
        """Check an address before a connection is made to it.

        :param is_plain: the connection is not encrypted, which is allowed only within the operator's networks.
        :raises AddressRefused: an alert must not be sent there.
        """
        address = _embedded_ipv4(address)
        if any(address in network for network in self._allowed):
            return
        if not address.is_global or address.is_multicast or any(address in network for network in _TUNNELS):
            raise AddressRefused("the address is not public, and AGENTIDP_ALERT_NETWORKS does not allow it")
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

        :raises AddressRefused: an alert must not be sent there.
        """
        try:
            address = ip_address(host)
        except ValueError:
            return
        self.check(address, is_plain=is_plain)


def _embedded_ipv4(address: Address) -> Address:
    """The IPv4 address that packets to this IPv6 address reach, if there is one."""
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            return address.ipv4_mapped
        if address in _NAT64:
            return IPv4Address(int(address) & 0xFFFFFFFF)
    return address
