"""Images are drawn and painted in batches; seeds, pictures, classes and masks count."""

from pathlib import Path

import numpy as np
import pytest
import torch

from models.data.pixels import Pixels
from models.diffusion.ddpm.adapters.network import Adaptation, AdaptedUnet
from models.diffusion.ddpm.classifier import ClassifierConfig, NoisyClassifier
from models.diffusion.ddpm.generator import Ddpm, DrawRequest, RepaintRequest
from models.diffusion.ddpm.load import save_unet
from models.diffusion.ddpm.weights_file import save_weights
from models.runtime.batching import InvalidOutput
from models.runtime.hardware import Machine
from models.runtime.loading import WrongCheckpointError
from tests.models.diffusion.ddpm.tiny import TINY, tiny_unet

CPU_2 = Machine(torch.device("cpu"), torch.float32, batch=2)
BOTH = Adaptation(bottleneck=8, condition_channels=1)
GUIDE = ClassifierConfig(**TINY.model_dump() | {"classes": 3})
SCENE = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)
MASK = np.zeros((40, 50), bool)
MASK[10:17, 20:30] = True


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """A U-Net, what was trained for it, and a classifier."""
    base, tuned, guide = (tmp_path_factory.mktemp(name) for name in ("base", "tuned", "guide"))
    save_unet(tiny_unet(), base)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        network, classifier = AdaptedUnet(tiny_unet(1), BOTH), NoisyClassifier(GUIDE)
        weights = network.train_adaptation()
        for weight in [*weights.values(), *classifier.parameters()]:
            torch.nn.init.normal_(weight, std=0.1)
    save_weights(BOTH, weights, tuned / "adaptation.safetensors")
    save_weights(GUIDE, classifier.state_dict(), guide / "classifier.safetensors")
    return [base, tuned, guide]


@pytest.fixture(scope="module")
def ddpm(folders: list[Path]) -> Ddpm:
    return Ddpm.load(*folders, machine=CPU_2)


def draw(ddpm: Ddpm, *requests: DrawRequest) -> list[Pixels]:
    results = list(ddpm.compute(requests))
    assert not any(isinstance(result, InvalidOutput) for result in results)
    return [np.asarray(result) for result in results]


def test_a_batch_gives_the_single_results_in_order(ddpm: Ddpm) -> None:
    requests = [
        DrawRequest(seed=1, spacing="3"),
        RepaintRequest(seed=2, spacing="3", scene=SCENE, mask=MASK, jump=1, rounds=2),
        DrawRequest(seed=3, spacing="3"),
        DrawRequest(seed=1, spacing="ddim4", method="ddim"),
        RepaintRequest(seed=4, spacing="3", scene=SCENE, mask=MASK, jump=1, rounds=2),
    ]
    batched = draw(ddpm, *requests)
    assert [image.shape for image in batched] == [
        (16, 16, 3) if type(request) is DrawRequest else SCENE.shape for request in requests
    ]
    for request, image in zip(requests, batched, strict=True):
        (single,) = draw(ddpm, request)
        assert np.abs(single.astype(int) - image).max() <= 1
    assert not np.array_equal(batched[0], batched[2])
    assert not np.array_equal(batched[1], batched[4])


@pytest.mark.parametrize("context", [1.0, 2.0, 3.9])
def test_painting_keeps_known_pixels_to_the_bit(ddpm: Ddpm, context: float) -> None:
    request = RepaintRequest(
        seed=5, spacing="3", scene=SCENE, mask=MASK, context=context, jump=1, rounds=2
    )
    (painted,) = draw(ddpm, request)
    np.testing.assert_array_equal(painted[~MASK], SCENE[~MASK])
    assert (painted[MASK] != SCENE[MASK]).any(axis=-1).mean() > 0.9


def test_pictures_and_classes_change_the_image(ddpm: Ddpm) -> None:
    white = np.full((16, 16, 1), 255, np.uint8)
    images = draw(
        ddpm,
        DrawRequest(seed=1, spacing="3"),
        DrawRequest(seed=1, spacing="3", picture=white),
        DrawRequest(seed=1, spacing="3", picture=white // 255),
        DrawRequest(seed=1, spacing="3", size_class=0, guidance_scale=500.0),
        DrawRequest(seed=1, spacing="3", size_class=2, guidance_scale=500.0),
    )
    assert len({image.tobytes() for image in images}) == len(images)


def test_without_an_adaptation_the_network_is_the_checkpoints_own(folders: list[Path]) -> None:
    plain = Ddpm.load(folders[0], machine=CPU_2)
    images, times = torch.zeros(1, 3, 16, 16), torch.tensor([9])
    assert torch.equal(plain.network(images, times), tiny_unet()(images, times))


def test_impossible_requests_are_refused(folders: list[Path], ddpm: Ddpm) -> None:
    plain = Ddpm.load(folders[0], machine=CPU_2)
    with pytest.raises(ValueError, match="size_class: there is no classifier"):
        next(plain.compute([DrawRequest(seed=1, size_class=0)]))
    picture = np.zeros((8, 8, 1), np.uint8)
    for network, expected in ((plain, "None"), (ddpm, r"\(16, 16, 1\)")):
        with pytest.raises(ValueError, match=rf"\(8, 8, 1\); the network needs {expected}"):
            next(network.compute([DrawRequest(seed=1, picture=picture)]))
    with pytest.raises(ValueError, match="nothing is to be painted"):
        next(plain.compute([RepaintRequest(seed=1, scene=SCENE, mask=~(MASK | ~MASK))]))


def test_wrong_folders_are_refused(folders: list[Path], tmp_path: Path) -> None:
    with pytest.raises(WrongCheckpointError, match=r"no adaptation\.safetensors or classifier"):
        Ddpm.load(folders[0], tmp_path, machine=CPU_2)
    with_classes = tiny_unet(config=TINY.model_copy(update={"classes": 3}))
    save_unet(with_classes, tmp_path)
    with pytest.raises(WrongCheckpointError, match="a network with classes"):
        Ddpm.load(tmp_path, machine=CPU_2)
