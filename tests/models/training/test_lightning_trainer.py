import pytest

from models.training.lightning_trainer import check_loggers
from models.training.settings import LoggerName, TrainingParameters


@pytest.mark.parametrize("name", ["wandb", "mlflow"])
def test_rejects_loggers_that_are_not_installed(
    name: LoggerName, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda package: None)
    with pytest.raises(ValueError, match=f"{name} is not installed; run: pip install {name}"):
        check_loggers(TrainingParameters(loggers=("csv", name)))


def test_rejects_mlflow_without_a_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda package: object())
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    with pytest.raises(ValueError, match="set MLFLOW_TRACKING_URI"):
        check_loggers(TrainingParameters(loggers=("mlflow",)))


def test_the_default_loggers_need_no_setup() -> None:
    check_loggers(TrainingParameters())
