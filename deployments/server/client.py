"""The configured Prefect server: one check and one wording for all commands."""

from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import httpx
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.settings import get_current_settings

from deployments.proxies import check_proxies
from deployments.server.errors import ServerError, ServerLostError


@contextmanager
def server_client() -> Iterator[SyncPrefectClient]:
    """A client of the configured server.

    Raises:
        ServerError: none is configured, it does not answer, or it refuses a request.
    """
    url = get_current_settings().api.url
    if url is None:
        raise ServerError(
            "no Prefect server is configured: start one with 'synthset up' and set PREFECT_API_URL"
        )
    check_proxies()
    try:
        with get_client(sync_client=True) as client:
            yield client
    except httpx.HTTPStatusError as error:
        raise ServerError(_refusal(url, error.response)) from error
    except (httpx.HTTPError, httpx.InvalidURL, RuntimeError) as error:
        if not _is_no_answer(error):
            raise
        raise ServerError(no_answer(url)) from error


def check_server() -> None:
    """Return if the configured server answers as a Prefect server does.

    Raises:
        ServerError: it does not.
    """
    with server_client() as client:
        try:
            client.api_version()
        except ValueError as error:
            url = _shown(str(client.api_url))
            raise ServerError(
                f"the program at {url} is no Prefect server: correct or unset PREFECT_API_URL, "
                "such as http://127.0.0.1:4200/api"
            ) from error


def parameter_limit() -> int:
    """The bytes that the parameters of a flow run may take as JSON; 0: any number.

    Prefect's client and server each have a limit. A server that does not name its limit counts as
    one without.

    Raises:
        ServerError: the configured server can't be used.
    """
    own = get_current_settings().server.api.max_parameter_size
    if get_current_settings().api.url is None:
        return own
    with server_client() as client:
        return smaller_limit(client, own)


def smaller_limit(client: SyncPrefectClient, own: int) -> int:
    """The smaller one of two limits: this process's own and the server's; 0 is no limit."""
    try:
        settings = client.request("GET", "/admin/settings").json()
        limits = [own, int(settings["server"]["api"]["max_parameter_size"])]
    except (httpx.HTTPStatusError, ValueError, LookupError, TypeError):
        return own
    return min((limit for limit in limits if limit > 0), default=0)


@contextmanager
def configured_server() -> Iterator[None]:
    """The configured server for the flows that are called inside; it is checked first.

    Raises:
        ServerError: it can't be used.
        ServerLostError: it does not answer any more.
    """
    check_server()
    try:
        yield
    except Exception as error:
        # Flows report a lost server as failures of their items, of tasks, or of a request.
        try:
            check_server()
        except ServerError:
            line = no_answer(str(get_current_settings().api.url))
            raise ServerLostError(
                f"{line}; then run the same command again: what is done stays done"
            ) from error
        raise


def _is_no_answer(error: Exception) -> bool:
    """Whether an error of Prefect's client means that its server does not answer."""
    if isinstance(error, httpx.TransportError | httpx.InvalidURL):
        return True
    return isinstance(error, RuntimeError) and "Failed to reach API" in str(error)


def no_answer(url: str) -> str:
    """What to tell a user whose server does not answer."""
    return (
        f"the Prefect server {_shown(url)} does not answer: start it with 'synthset up' or 'docker "
        "compose up -d', or correct or unset PREFECT_API_URL"
    )


def _refusal(url: str, response: httpx.Response) -> str:
    if response.status_code in (401, 403):
        return (
            f"the Prefect server {_shown(url)} requires a password: set PREFECT_API_AUTH_STRING to "
            "user:password"
        )
    answer = " ".join(response.text.split())[:100]
    refusal = f"{response.status_code} {answer}"
    return f"the Prefect server {_shown(url)} refused a request: {refusal}; see its log"


def _shown(url: str) -> str:
    """The address without a user and a password."""
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
