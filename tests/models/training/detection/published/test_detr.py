"""RT-DETRv2, D-FINE and RF-DETR start from checkpoints of 80 classes, learn, and find boxes."""

from pathlib import Path

import pytest
import torch

from models.checkpoints.errors import CheckpointMissingError
from models.runtime.loading import WrongCheckpointError
from models.training.detection.detector import Objects
from models.training.detection.published import detr
from models.training.detection.published.detr import DetrDetector, build_detr, check_detr
from models.training.detection.published.names import DETR_NETWORKS
from models.training.pretrained import head_names
from tests.checkpoints import detr as tiny

SIDE = 64
NO_OBJECT = Objects(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64))


@pytest.fixture(scope="module", params=DETR_NETWORKS)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def folder(name: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny published checkpoint."""
    path = tmp_path_factory.mktemp(name)
    tiny.build(path, name)
    return path


@pytest.fixture(scope="module")
def detector(name: str, folder: Path) -> DetrDetector:
    """A detector of two classes that starts from the tiny checkpoint."""
    with pytest.MonkeyPatch.context() as patch, torch.random.fork_rng():
        patch.setattr(detr, "locate", lambda reference: folder)
        torch.manual_seed(0)
        return build_detr(name, 2, "owner/name", is_new=True)


@pytest.fixture
def images() -> torch.Tensor:
    return torch.rand(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))


def test_keeps_all_published_weights_but_the_heads(
    name: str, folder: Path, detector: DetrDetector
) -> None:
    import transformers

    published = getattr(transformers, DETR_NETWORKS[name].kind).from_pretrained(folder)
    weights, heads = detector.state_dict(), head_names(detector)
    before = {f"network.{key}": tensor for key, tensor in published.state_dict().items()}
    assert before.keys() == weights.keys()
    body = [key for key in weights if not key.startswith(heads)]
    assert all(torch.equal(weights[key], before[key]) for key in body)
    changed = [key for key in weights if weights[key].shape != before[key].shape]
    assert changed
    assert set(changed) == set(weights) - set(body)
    assert {80, 81} >= {before[key].shape[0] for key in changed}
    assert {2, 3} >= {weights[key].shape[0] for key in changed}


def test_loss_falls_and_counts_images_without_an_object(
    detector: DetrDetector, images: torch.Tensor
) -> None:
    objects = Objects(torch.tensor([[4.0, 8, 40, 56], [24, 20, 60, 34]]), torch.tensor([0, 1]))
    trained = [weight for weight in detector.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=0.005)
    detector.train()
    history = []
    with torch.random.fork_rng():
        torch.manual_seed(0)
        for _ in range(12):
            optimizer.zero_grad()
            loss = sum(detector.losses(images, [objects, NO_OBJECT]).values(), torch.tensor(0.0))
            loss.backward()
            optimizer.step()
            history.append(loss.item())
    assert history[-1] < 0.9 * history[0]
    detector.eval()
    with torch.no_grad():
        alone = detector.losses(images, [NO_OBJECT, NO_OBJECT])["loss"]
        both = detector.losses(images, [objects, NO_OBJECT])["loss"]
    assert 0 <= alone < both < history[0]


def test_finds_at_most_100_boxes_in_the_frame_highest_score_first(
    detector: DetrDetector, images: torch.Tensor
) -> None:
    detector.eval()
    with torch.no_grad():
        first, second = detector.detect(images)
        (again,) = detector.detect(images[1:])
    assert torch.allclose(second.scores, again.scores, atol=1e-5)
    assert 0 < len(first.scores) <= 100
    assert first.boxes.shape == (len(first.scores), 4)
    assert first.boxes.min() >= 0
    assert first.boxes.max() <= SIDE
    assert (first.boxes[:, 2:] > first.boxes[:, :2]).all()
    assert (first.boxes[:, 2:] - first.boxes[:, :2]).max() > 2, "boxes are in px"
    assert torch.equal(first.scores, first.scores.sort(descending=True).values)
    assert set(first.labels.tolist()) <= {0, 1}


def test_random_weights_need_the_architecture_alone(
    name: str, folder: Path, detector: DetrDetector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(detr, "locate", lambda reference: folder)
    monkeypatch.delattr(detr, "load_strictly")
    rebuilt = build_detr(name, 2, "owner/name", is_new=False)
    rebuilt.load_state_dict(detector.state_dict())


def test_another_network_is_refused(folder: Path, name: str, tmp_path: Path) -> None:
    other = next(known for known in DETR_NETWORKS if known != name)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(detr, "locate", lambda reference: folder)
        with pytest.raises(WrongCheckpointError, match=r"config\.json is of .*, not of"):
            build_detr(other, 2, "owner/name", is_new=True)


def test_names_the_command_that_fetches_missing_weights(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SYNTHSET_MODELS", str(tmp_path))
    checkpoint = DETR_NETWORKS[name].checkpoint
    with pytest.raises(
        CheckpointMissingError, match=f"fetch it: synthset models pull {checkpoint}"
    ):
        check_detr(checkpoint)
    monkeypatch.setattr(detr.importlib.util, "find_spec", lambda module: None)
    with pytest.raises(ValueError, match=r"pip install 'synthset\[diffusion\]'"):
        check_detr(checkpoint)
