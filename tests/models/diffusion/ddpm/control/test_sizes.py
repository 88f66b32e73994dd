"""Box sizes have eleven classes; a classifier of them learns, resumes, and guides the drawing."""

from pathlib import Path

import numpy as np
import pytest
import torch

from models.diffusion.ddpm.chain import as_signed
from models.diffusion.ddpm.classifier import ClassifierConfig, NoisyClassifier
from models.diffusion.ddpm.control.sizes import SIZE_CLASSES, size_class, train_classifier
from models.diffusion.ddpm.fit.crops import Crops
from models.diffusion.ddpm.process import classifier_gradient
from models.diffusion.finetuning.loop import Schedule
from tests.models.diffusion.ddpm.tiny import TINY

SMALL, LARGE = 3, 8


def test_sizes_have_eleven_classes() -> None:
    assert size_class(256, 256, 256) == 10 == SIZE_CLASSES - 1
    assert size_class(20, 30, 256) == 0
    assert size_class(128, 128, 256) == 5
    assert size_class(25.6, 25.6, 256) == 1
    assert [size_class(side, side, 64) for side in (6, 7, 63)] == [0, 1, 9]


def crops() -> Crops:
    images = []
    for side in (5, 13):
        image = np.full((16, 16, 3), 235, np.uint8)
        start = (16 - side) // 2
        image[start : start + side, start : start + side] = 20
        images.append(image)
    return Crops(images)


def train(folder: Path, steps: int) -> tuple[NoisyClassifier, list[float]]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        config = ClassifierConfig(**TINY.model_dump() | {"classes": SIZE_CLASSES, "steps": 100})
        network = NoisyClassifier(config)
    schedule = Schedule(steps=steps, learning_rate=2e-3, save_every=10)
    losses = train_classifier(
        network, crops(), [SMALL, LARGE], schedule, batch=4, seed=1, folder=folder
    )
    return network, losses


def test_a_classifier_learns_and_leads_images_to_a_size(tmp_path: Path) -> None:
    network, losses = train(tmp_path, 60)
    # Half of the steps leave nothing to see: there, two classes have a loss of 0.69 at best.
    assert np.mean(losses[-20:]) < np.mean(losses[:4]) / 2
    clean, times = torch.stack([as_signed(image) for image in crops().images]), torch.zeros(2)
    assert network(clean, times).argmax(dim=1).tolist() == [SMALL, LARGE]
    gradient = classifier_gradient(network, torch.tensor([LARGE]), 1.0)
    led = clean[:1]
    for _ in range(20):
        direction = gradient(led, times[:1])
        led = led + 0.1 * direction / direction.abs().max()
    assert network(led, times[:1]).argmax(dim=1).tolist() == [LARGE]


def test_a_stopped_training_continues(tmp_path: Path) -> None:
    whole, _ = train(tmp_path / "whole", 12)
    train(tmp_path / "parts", 5)
    resumed, losses = train(tmp_path / "parts", 12)
    assert len(losses) == 12
    for name, weight in whole.state_dict().items():
        assert torch.equal(resumed.state_dict()[name], weight)


def test_each_crop_needs_a_class(tmp_path: Path) -> None:
    network = NoisyClassifier(ClassifierConfig(**TINY.model_dump() | {"classes": SIZE_CLASSES}))
    with pytest.raises(ValueError, match="classes: 1 for 2 crops"):
        train_classifier(
            network,
            crops(),
            [1],
            Schedule(steps=1, learning_rate=1e-3),
            batch=1,
            seed=0,
            folder=tmp_path,
        )
