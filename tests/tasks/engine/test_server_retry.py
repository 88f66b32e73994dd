"""Calls are repeated while the Prefect server is unreachable, and not when it refuses."""

import httpx
import pytest

from tasks.engine import server_retry
from tasks.engine.server_retry import retry_while_unreachable


class Answers:
    """Answers of a server, one per call."""

    def __init__(self, *answers: Exception | str) -> None:
        self._answers = iter(answers)

    def __call__(self, question: str) -> str:
        answer = next(self._answers)
        if isinstance(answer, Exception):
            raise answer
        return f"{question}: {answer}"


def status(code: int) -> httpx.HTTPStatusError:
    request = httpx.Request("POST", "http://server/api")
    return httpx.HTTPStatusError(
        f"{code}", request=request, response=httpx.Response(code, request=request)
    )


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_retry, "PAUSE_S", 0.01)


def test_repeats_a_call_during_an_outage(caplog: pytest.LogCaptureFixture) -> None:
    answers = Answers(httpx.ConnectError("refused"), status(503), status(429), "ready")
    with caplog.at_level("WARNING", "synthset.server"):
        assert retry_while_unreachable(answers, "state") == "state: ready"
    # One line at the start of the outage and one at its end, however many tries it took.
    assert len(caplog.records) == 2


def test_gives_up_after_the_longest_outage(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_retry, "SERVER_AWAY_S", 0.0)
    with pytest.raises(RuntimeError, match="start it and retry this run"):
        retry_while_unreachable(Answers(*[httpx.ConnectError("refused")] * 3), "state")


def test_does_not_repeat_a_refused_call() -> None:
    with pytest.raises(ValueError, match="PREFECT_API_AUTH_STRING"):
        retry_while_unreachable(Answers(status(401), "ready"), "state")


def test_passes_keywords_and_other_errors_on() -> None:
    def divide(number: int, *, by: int) -> float:
        return number / by

    assert retry_while_unreachable(divide, 6, by=3) == 2
    with pytest.raises(ZeroDivisionError):
        retry_while_unreachable(divide, 6, by=0)
