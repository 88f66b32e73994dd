"""A training lowers the loss, freezes what it must, and ends alike after a stop."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from models.data.pixels import Floats, Pixels
from models.diffusion.ddpm.adapters.network import Adaptation, load_adaptation
from models.diffusion.ddpm.fit import train
from models.diffusion.ddpm.fit.crops import Crops
from models.diffusion.ddpm.fit.score import Evaluation
from models.diffusion.ddpm.fit.settings import FitSettings
from models.diffusion.ddpm.fit.train import Fitted, fit_unet
from tests.models.diffusion.ddpm.tiny import tiny_unet

SETTINGS = FitSettings(
    steps=6, batch=4, micro_batch=2, save_every=2, evaluate_every=4, samples=2, sample_spacing="2"
)
BOTH = Adaptation(bottleneck=8, condition_channels=1)


class StoppedError(Exception):
    """Stands for a kill."""


def squares(count: int = 5) -> list[Pixels]:
    """Dark squares on a light ground, 16 px."""
    images = []
    for place in range(count):
        image = np.full((16, 16, 3), 220, np.uint8)
        image[2 + place : 9 + place, 3:11] = 30
        images.append(image)
    return images


def mean_colours(images: Sequence[Pixels]) -> Floats:
    """Features that are fast to compute."""
    return np.stack([image[::4, ::4].reshape(-1) for image in images]).astype(np.float32)


def fit(folder: Path, settings: FitSettings = SETTINGS, **changes: Any) -> Fitted:
    crops = Crops(squares(), edges=True)
    arguments: dict[str, Any] = {"seed": 3, "folder": folder} | changes
    return fit_unet(tiny_unet(), crops, BOTH, settings, mean_colours, **arguments)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Fitted:
    return fit(tmp_path_factory.mktemp("whole"))


def test_it_leaves_weights_evaluations_and_sheets(whole: Fitted) -> None:
    folder = whole.file.parent
    assert [evaluation.step for evaluation in whole.evaluations] == [4, 6]
    assert len(whole.losses) == 6
    assert np.isfinite(whole.losses).all()
    names = {path.name for path in folder.iterdir()}
    assert {"samples-000004.png", "samples-000006.png", "evaluations.json"} <= names
    network = load_adaptation(tiny_unet(), whole.file)
    images, times = torch.zeros(1, 3, 16, 16), torch.tensor([500])
    assert not torch.equal(network(images, times), tiny_unet()(images, times))
    untouched = tiny_unet().state_dict()
    for name, weight in network.unet.state_dict().items():
        if "in_layers" in name or "time_embed" in name:
            assert torch.equal(weight, untouched[name])


@pytest.mark.parametrize("at", ["loss 3", "loss 10", "evaluation"])
def test_a_stopped_training_ends_with_the_same_weights(
    whole: Fitted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: str
) -> None:
    with monkeypatch.context() as patch:
        if at == "evaluation":
            # The state of the last step is saved, the evaluation is not.
            patch.setattr(train, "draw_samples", _stop)
        else:
            patch.setattr(train, "diffusion_loss", _stop_after(int(at.split()[1])))
        with pytest.raises(StoppedError):
            fit(tmp_path)
    resumed = fit(tmp_path)
    assert resumed.losses == whole.losses
    assert resumed.evaluations == whole.evaluations
    assert resumed.file.read_bytes() == whole.file.read_bytes()
    # A finished training is not repeated.
    monkeypatch.setattr(train, "diffusion_loss", _stop)
    again = fit(tmp_path)
    assert again.losses == whole.losses
    assert again.file.read_bytes() == whole.file.read_bytes()


def test_it_stops_when_images_get_no_better_and_keeps_the_best(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scores = iter([0.5, 0.9, 0.7, 0.1])

    def evaluate(step: int, loss: float, *_: Floats) -> Evaluation:
        return Evaluation(step=step, loss=loss, nearest=0, diversity=0, score=next(scores))

    monkeypatch.setattr(train, "evaluate", evaluate)
    settings = SETTINGS.model_copy(update={"evaluate_every": 1, "stop_after": 2})
    fitted = fit(tmp_path, settings)
    assert [evaluation.step for evaluation in fitted.evaluations] == [1, 2, 3]
    assert len(fitted.losses) == 3
    only_first = fit(tmp_path / "first", settings.model_copy(update={"steps": 1}))
    assert fitted.file.read_bytes() == only_first.file.read_bytes()


def test_averages_of_weights_are_used_and_resume(
    whole: Fitted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = SETTINGS.model_copy(update={"average_decay": 0.5})
    averaged = fit(tmp_path / "whole", settings)
    assert averaged.losses == whole.losses
    assert averaged.file.read_bytes() != whole.file.read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(train, "diffusion_loss", _stop_after(9))
        with pytest.raises(StoppedError):
            fit(tmp_path / "stopped", settings)
    resumed = fit(tmp_path / "stopped", settings)
    assert resumed.file.read_bytes() == averaged.file.read_bytes()
    state = torch.load(tmp_path / "whole" / "state.pt", weights_only=True)
    assert len(state["weights"]) == 2 * len(load_file(averaged.file))


def test_training_from_nothing_learns(tmp_path: Path) -> None:
    settings = FitSettings(
        steps=40, batch=4, evaluate_every=40, samples=2, sample_spacing="2", learning_rate=2e-3
    )
    everything = Adaptation(trains="all", bottleneck=None)
    fitted = fit_unet(
        tiny_unet(), Crops(squares()), everything, settings, mean_colours, seed=0, folder=tmp_path
    )
    assert np.mean(fitted.losses[-10:]) < 0.6 * np.mean(fitted.losses[:5])


def test_faults_are_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="condition_channels: None, but pictures of the crops"):
        fit_unet(
            tiny_unet(),
            Crops(squares(), edges=True),
            Adaptation(),
            SETTINGS,
            mean_colours,
            seed=0,
            folder=tmp_path,
        )
    with pytest.raises(ValueError, match=r"diverged at step 2 .*; give a lower learning_rate"):
        fit(tmp_path, SETTINGS.model_copy(update={"learning_rate": 1e30}))
    assert not (tmp_path / "evaluations.json").exists()


def test_batches_are_divided_into_equal_parts() -> None:
    for batch, micro, parts, size in ((128, 16, 8, 16), (4, 16, 1, 4), (10, 4, 3, 4)):
        settings = FitSettings(batch=batch, micro_batch=micro)
        assert (settings.accumulation, settings.at_a_time) == (parts, size)


def _stop(*_: Any, **__: Any) -> Any:
    raise StoppedError


def _stop_after(losses: int) -> Any:
    original, left = train.diffusion_loss, [losses]

    def stopping(*arguments: Any, **options: Any) -> Any:
        if not left[0]:
            raise StoppedError
        left[0] -= 1
        return original(*arguments, **options)

    return stopping
