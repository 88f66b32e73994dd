"""A Prefect server that is away is waited for, and one that refuses is not."""

import httpx
import pytest

from tasks.engine import server_retry as patience
from tasks.engine.server_retry import retry_while_unreachable


class Answers:
    """What the server answers, in turn."""

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
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "PAUSE_S", 0.01)


def test_a_server_that_is_away_for_a_while_is_waited_for(caplog: pytest.LogCaptureFixture) -> None:
    answers = Answers(httpx.ConnectError("refused"), status(503), status(429), "here")
    with caplog.at_level("WARNING", "synthset.server"):
        assert retry_while_unreachable(answers, "who") == "who: here"
    # One line when it goes and one when it comes back, however often it was asked.
    assert len(caplog.records) == 2


def test_patience_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "SERVER_AWAY_S", 0.0)
    with pytest.raises(RuntimeError, match="start it and retry this run"):
        retry_while_unreachable(Answers(*[httpx.ConnectError("refused")] * 3), "who")


def test_one_that_refuses_is_not_asked_again() -> None:
    with pytest.raises(ValueError, match="PREFECT_API_AUTH_STRING"):
        retry_while_unreachable(Answers(status(401), "here"), "who")
