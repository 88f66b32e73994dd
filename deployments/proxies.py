"""The proxies of the environment: servers on this machine are reached without them.

Companies and VPN clients set ``HTTP_PROXY`` or ``ALL_PROXY``. A proxy on another machine can't
reach this machine's 127.0.0.1, and one on this machine may not run.
"""

import os
import socket
from urllib.request import getproxies_environment

LOOPBACK = ("localhost", "127.0.0.1", "::1")


class ProxyError(ValueError):
    """A variable names a proxy that can't be used; the line names the variable and the fix."""


def bypass_proxies() -> None:
    """Add this machine's names and addresses to NO_PROXY, if the environment names proxies.

    All libraries of this process and its child processes read it: httpx, websockets, botocore.
    """
    if not _proxy_variables():
        return
    hosts = getproxies_environment().get("no", "")
    if hosts.strip() == "*":
        return
    listed = [host.strip() for host in hosts.split(",") if host.strip()]
    own = [host for host in (*LOOPBACK, *_own_addresses()) if host not in listed]
    # Where both are set, some libraries read one and some the other.
    os.environ["NO_PROXY"] = os.environ["no_proxy"] = ",".join([*listed, *own])


def check_proxies() -> None:
    """Return if httpx, which Prefect's clients use, knows all proxies of the environment.

    Raises:
        ProxyError: it knows one of them not, and would fail at every request.
    """
    import httpx

    for name, value in _proxy_variables().items():
        try:
            httpx.Proxy(value if "://" in value else f"http://{value}")
        except (ValueError, httpx.InvalidURL):
            address = value.rpartition("@")[2] if "@" in value else value
            raise ProxyError(
                f"{name}: {address} is no address of a proxy that can be used; write it as"
                " http://host:port or socks5://host:port, or unset the variable"
            ) from None


def _proxy_variables() -> dict[str, str]:
    names = ("http_proxy", "https_proxy", "all_proxy")
    return {name: value for name, value in os.environ.items() if value and name.lower() in names}


def _own_addresses() -> list[str]:
    """The addresses at which other machines reach this one, as `up --host` takes them."""
    import psutil

    return sorted(
        address.address
        for addresses in psutil.net_if_addrs().values()
        for address in addresses
        if address.family is socket.AF_INET and address.address not in LOOPBACK
    )
