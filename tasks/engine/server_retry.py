"""Calls of the Prefect server that are repeated during an outage, such as an upgrade.

Prefect's own retries don't suffice: they give up at a refused connection when the client never
connected before, and at a status of 500.
"""

import logging
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import httpx
from tenacity import (
    RetryCallState,
    RetryError,
    Retrying,
    retry_if_exception,
    stop_after_delay,
    wait_fixed,
)

log = logging.getLogger("synthset.server")

P = ParamSpec("P")
T = TypeVar("T")
# How long the server may be unreachable before a call gives up, and the pause between two tries.
SERVER_AWAY_S = 900.0
PAUSE_S = 5.0
# Statuses below 500 that pass by themselves: a request that took too long, too many requests.
PASSING_STATUSES = {408, 429}


def retry_while_unreachable(
    function: Callable[P, T], /, *arguments: P.args, **keywords: P.kwargs
) -> T:
    """Return what ``function`` returns; repeat the call while the server is unreachable.

    Raises:
        ValueError: the server refuses the call.
        RuntimeError: the server was unreachable for longer than `SERVER_AWAY_S`.
    """
    retrying = Retrying(
        retry=retry_if_exception(_is_outage),
        wait=wait_fixed(PAUSE_S),
        stop=stop_after_delay(SERVER_AWAY_S),
        before_sleep=_log_outage,
    )
    try:
        result = retrying(function, *arguments, **keywords)
    except RetryError as error:
        cause = error.last_attempt.exception()
        raise RuntimeError(
            f"the Prefect server was unreachable for {SERVER_AWAY_S:.0f} s ({one_line(cause)}); "
            "start it and retry this run: what is done stays done"
        ) from cause
    except httpx.HTTPError as error:
        raise ValueError(
            f"the Prefect server refuses a call ({one_line(error)}); correct "
            "PREFECT_API_AUTH_STRING if the server wants a password, else run synthset deploy"
        ) from error
    if retrying.statistics["attempt_number"] > 1:
        log.warning("the Prefect server answers again")
    return result


def one_line(error: BaseException | None) -> str:
    """The message of an error on one line, at most 160 characters; its class if it has none."""
    return " ".join(str(error).split())[:160] or type(error).__name__


def _is_outage(error: BaseException) -> bool:
    if isinstance(error, httpx.HTTPStatusError):
        status = error.response.status_code
        return status >= httpx.codes.INTERNAL_SERVER_ERROR or status in PASSING_STATUSES
    return isinstance(error, httpx.HTTPError)


def _log_outage(call: RetryCallState) -> None:
    """Log the first failure only: an outage of many tries is two log lines."""
    if call.attempt_number == 1 and call.outcome is not None:
        log.warning(
            "the Prefect server does not answer (%s); retrying for %.0f s",
            one_line(call.outcome.exception()),
            SERVER_AWAY_S,
        )
