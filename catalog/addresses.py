"""Which network an IP address belongs to: the internet, one's own, or one that nothing may be sent to.

Python's `is_global` alone does not tell: it holds for multicast, and for IPv6 addresses that stand for an IPv4 one.
"""

from __future__ import annotations

from enum import StrEnum
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address


class Reach(StrEnum):
    """Who has the address. `nowhere`: link-local (the clouds' metadata services), multicast, reserved and the like."""

    PUBLIC = "public"
    INTERNAL = "internal"
    NOWHERE = "nowhere"


# Loopback, RFC 1918, shared address space (RFC 6598), unique local addresses (RFC 4193).
_INTERNAL_IPV4 = tuple(
    IPv4Network(each) for each in ("127.0.0.0/8", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10")
)
_INTERNAL_IPV6 = (IPv6Network("::1/128"), IPv6Network("fc00::/7"))
# 192.0.0.0/24: protocol assignments; 192.88.99.0/24: relays of 6to4; the last one is a cloud's own service for its
# machines, at an address of the internet.
_NOWHERE_IPV4 = tuple(IPv4Network(each) for each in ("192.0.0.0/24", "192.88.99.0/24", "168.63.129.16/32"))
# All that IANA gives out to networks of the internet; the rest is tunnels, documentation and protocols.
_PUBLIC_IPV6 = IPv6Network("2000::/3")
_NOWHERE_IPV6 = tuple(IPv6Network(each) for each in ("2001::/23", "2001:db8::/32", "3fff::/20"))
# NAT64: the network's own translator sends to the IPv4 address in the last 32 bits.
_NAT64 = IPv6Network("64:ff9b::/96")


def reach(text: str) -> Reach:
    """Of an address as text, a zone (`%eth0`) allowed. Raises ValueError for what is none."""
    address = ip_address(text)
    if isinstance(address, IPv6Address):
        inner = _inner_ipv4(address)
        return _reach_ipv6(address) if inner is None else _reach_ipv4(inner)
    return _reach_ipv4(address)


def is_address(host: str) -> bool:
    """Whether a host is an address rather than a name."""
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def _inner_ipv4(address: IPv6Address) -> IPv4Address | None:
    """The IPv4 address that a packet to this one reaches."""
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address.sixtofour is not None:
        return address.sixtofour
    return IPv4Address(int(address) & 0xFFFFFFFF) if address in _NAT64 else None


def _reach_ipv4(address: IPv4Address) -> Reach:
    if any(address in network for network in _INTERNAL_IPV4):
        return Reach.INTERNAL
    is_odd = address.is_multicast or not address.is_global or any(address in network for network in _NOWHERE_IPV4)
    return Reach.NOWHERE if is_odd else Reach.PUBLIC


def _reach_ipv6(address: IPv6Address) -> Reach:
    if any(address in network for network in _INTERNAL_IPV6):
        return Reach.INTERNAL
    is_public = address in _PUBLIC_IPV6 and not any(address in network for network in _NOWHERE_IPV6)
    return Reach.PUBLIC if is_public and address.is_global else Reach.NOWHERE
