"""A network that was trained with edges draws what its edges show."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import torch

from models.data.pixels import Bools, Floats, Pixels
from models.diffusion.ddpm.adapters.network import Adaptation, load_adaptation
from models.diffusion.ddpm.fit.crops import Crops
from models.diffusion.ddpm.fit.settings import FitSettings
from models.diffusion.ddpm.fit.train import fit_unet
from models.diffusion.ddpm.generator import Ddpm, DrawRequest
from models.runtime.hardware import Machine
from tests.models.diffusion.ddpm.tiny import TINY, tiny_unet

VELOCITY = TINY.model_copy(update={"prediction": "velocity", "curve": "cosine"})


def rectangle(seed: int) -> Pixels:
    """A dark rectangle at a random place of a light ground, 16 px."""
    rng = np.random.default_rng(seed)
    image = np.full((16, 16, 3), 210, np.uint8)
    top, left = rng.integers(1, 9, 2)
    height, width = rng.integers(4, 7, 2)
    image[top : top + height, left : left + width] = 40
    return image


def edges_of(image: Pixels) -> Pixels:
    return np.asarray(cv2.Canny(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), 80, 160), np.uint8)


def agreement(drawn: Bools, wanted: Bools) -> float:
    """Share of the wanted edges that have a drawn one within a px."""
    near = cv2.dilate(drawn.astype(np.uint8), np.ones((3, 3), np.uint8))
    return float(near[wanted].mean())


def test_edges_of_an_image_are_those_that_it_follows(tmp_path: Path) -> None:
    def embed(shown: Sequence[Pixels]) -> Floats:
        return np.stack([image[::4, ::4].reshape(-1) for image in shown]).astype(np.float32)

    images = [rectangle(seed) for seed in range(40)]
    settings = FitSettings(
        steps=50,
        batch=8,
        learning_rate=2e-3,
        average_decay=0.9,
        evaluate_every=50,
        samples=2,
        sample_spacing="2",
    )
    adaptation = Adaptation(trains="all", bottleneck=None, condition_channels=1)
    crops = Crops(images, edges=True)
    unet = tiny_unet(config=VELOCITY)
    fitted = fit_unet(unet, crops, adaptation, settings, embed, seed=0, folder=tmp_path)
    network = load_adaptation(tiny_unet(config=VELOCITY), fitted.file)
    # Other rectangles than those of the training.
    wanted = [edges_of(rectangle(seed)) for seed in range(100, 108)]
    requests = [
        DrawRequest(seed=seed, spacing="ddim10", method="ddim", picture=edges[..., None])
        for seed, edges in enumerate(wanted)
    ]
    machine = Machine(torch.device("cpu"), torch.float32)
    drawn = [
        edges_of(np.asarray(image)) for image in Ddpm(network, None, machine).compute(requests)
    ]
    own = np.mean([agreement(a > 0, b > 0) for a, b in zip(drawn, wanted, strict=True)])
    others = np.roll(np.stack(wanted), 1, axis=0)
    shuffled = np.mean([agreement(a > 0, b > 0) for a, b in zip(drawn, others, strict=True)])
    assert own > shuffled + 0.2
