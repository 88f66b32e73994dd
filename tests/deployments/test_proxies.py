"""Servers of this machine are reached without the proxies of the environment."""

import os
import urllib.request

import httpx
import pytest

from deployments.proxies import ProxyError, bypass_proxies, check_proxies

NAMES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in NAMES:
        # `bypass_proxies` sets some: the fixture restores them.
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
        monkeypatch.setenv(name.upper(), "")
        monkeypatch.delenv(name.upper())


@pytest.mark.parametrize("name", ["HTTP_PROXY", "http_proxy", "ALL_PROXY"])
@pytest.mark.parametrize("listed", ["", "example.com, 10.0.0.0/8"])
def test_this_machine_is_reached_directly(
    monkeypatch: pytest.MonkeyPatch, name: str, listed: str
) -> None:
    monkeypatch.setenv(name, "http://192.0.2.1:9")
    if listed:
        monkeypatch.setenv("NO_PROXY", listed)
    bypass_proxies()
    for host in ("127.0.0.1", "localhost"):
        assert urllib.request.proxy_bypass(host)
    assert not urllib.request.proxy_bypass("pypi.org")
    assert bool(urllib.request.proxy_bypass("example.com")) is bool(listed)
    once = os.environ["NO_PROXY"]
    bypass_proxies()
    assert os.environ["NO_PROXY"] == os.environ["no_proxy"] == once


@pytest.mark.parametrize(
    "variables", [{}, {"HTTP_PROXY": ""}, {"NO_PROXY": "*", "HTTP_PROXY": "h"}]
)
def test_nothing_is_set_without_need(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    before = dict(os.environ)
    bypass_proxies()
    assert dict(os.environ) == before


@pytest.mark.parametrize(
    "value",
    ["proxy:8080", "http://user:word@proxy:8080", "socks5://127.0.0.1:1080", "socks5h://h:1"],
)
def test_httpx_accepts_what_the_check_accepts(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("ALL_PROXY", value)
    check_proxies()
    httpx.Client().close()


@pytest.mark.parametrize("value", ["socks://127.0.0.1:1080", "ftp://user:word@proxy:21"])
def test_names_the_variable_of_a_proxy_that_can_not_be_used(
    monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv("ALL_PROXY", value)
    with pytest.raises(ValueError, match="proxy"):
        httpx.Client()
    with pytest.raises(ProxyError, match=r"^ALL_PROXY: .* write it as http://host:port") as caught:
        check_proxies()
    assert "word" not in str(caught.value)
