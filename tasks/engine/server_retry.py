"""Patience with a Prefect server that is away, such as for an upgrade."""

import logging
import time
from collections.abc import Callable
from typing import Any, TypeVar

import httpx

log = logging.getLogger("synthset.server")

T = TypeVar("T")
# How long the server may be away before whoever asks gives up, and the pause between two tries.
SERVER_AWAY_S = 900.0
PAUSE_S = 5.0
# Answers below 500 that pass by themselves: a request that took too long, too many of them.
PASSING = {408, 429}


def retry_while_unreachable(ask: Callable[..., T], *given: Any) -> T:
    """What ``ask(*given)`` gives; a server that is away is asked again for a while.

    Raises:
        ValueError: the server refuses.
        RuntimeError: it stayed away for longer than `SERVER_AWAY_S`.
    """
    gone_since: float | None = None
    while True:
        try:
            answer = ask(*given)
        except httpx.HTTPError as error:
            _raise_refusal(error)
            gone_since = _pause(error, gone_since)
            continue
        if gone_since is not None:
            away_s = time.monotonic() - gone_since
            log.warning("the Prefect server answers again, after %.0f s", away_s)
        return answer


def short(error: Exception) -> str:
    """An error in at most 160 characters on one line."""
    return " ".join(str(error).split())[:160] or type(error).__name__


def _raise_refusal(error: httpx.HTTPError) -> None:
    if not isinstance(error, httpx.HTTPStatusError):
        return
    code = error.response.status_code
    if code < httpx.codes.INTERNAL_SERVER_ERROR and code not in PASSING:
        raise ValueError(
            f"the Prefect server refuses ({short(error)}); mend PREFECT_API_AUTH_STRING where it "
            "wants a password, else run synthset deploy"
        ) from error


def _pause(error: httpx.HTTPError, gone_since: float | None) -> float:
    """Wait before the server is asked again; since when it is away."""
    if gone_since is None:
        gone_since = time.monotonic()
        log.warning(
            "the Prefect server does not answer (%s); asking again for %.0f s",
            *(short(error), SERVER_AWAY_S),
        )
    if time.monotonic() - gone_since > SERVER_AWAY_S:
        raise RuntimeError(
            f"the Prefect server has been away for {SERVER_AWAY_S:.0f} s ({short(error)}); start "
            "it and retry this run: what is done stays done"
        ) from error
    time.sleep(PAUSE_S)
    return gone_since
