"""No address but one of the internet passes for one, in whatever form it is written."""

from __future__ import annotations

import pytest

from catalog.addresses import Reach, is_address, reach


@pytest.mark.parametrize("text", ["8.8.8.8", "192.31.196.1", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"])
def test_addresses_of_the_internet_are_public(text: str) -> None:
    assert reach(text) is Reach.PUBLIC


@pytest.mark.parametrize(
    "text",
    [
        "127.0.0.1", "127.255.0.9", "10.1.2.3", "172.31.0.1", "192.168.1.1", "100.64.0.1", "::1", "fd00::1",
        "::ffff:127.0.0.1", "::ffff:10.0.0.1", "2002:7f00:1::", "64:ff9b::a00:1",
    ],
)  # fmt: skip
def test_loopback_and_private_networks_are_internal_also_inside_of_ipv6(text: str) -> None:
    assert reach(text) is Reach.INTERNAL


@pytest.mark.parametrize(
    "text",
    [
        "0.0.0.0", "0.1.2.3", "169.254.169.254", "224.0.0.1", "239.255.255.250", "240.0.0.1", "255.255.255.255",
        "192.0.0.192", "192.0.2.1", "198.18.0.1", "203.0.113.7", "168.63.129.16",
        "::", "::127.0.0.1", "::ffff:169.254.169.254", "::ffff:0.0.0.0", "fe80::1", "fe80::1%eth0", "fec0::1",
        "ff02::1", "2001:db8::1", "2001::1", "3fff::1", "64:ff9b:1::1", "64:ff9b::a9fe:a9fe", "100::1", "5f00::1",
    ],
)  # fmt: skip
def test_the_rest_is_nowhere(text: str) -> None:
    assert reach(text) is Reach.NOWHERE


@pytest.mark.parametrize("text", ["", "example.com", "127.1", "0x7f000001", "2130706433", "010.0.0.1", "1.2.3.4.5"])
def test_what_is_no_address_is_none(text: str) -> None:
    assert not is_address(text)
    with pytest.raises(ValueError):
        reach(text)
