"""IS-Net: parity with the published program, strict keys, batches, photos without an object."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from models.runtime.batching import InvalidOutput
from models.runtime.hardware import Machine
from models.runtime.loading import WrongCheckpointError
from models.segmentation.isnet import Isnet, IsnetRequest
from models.segmentation.isnet_network import IsNet
from tests.checkpoints import isnet as tiny
from tests.conftest import SHARED
from tests.models.segmentation.test_grabcut import draw_scene, iou

CPU = Machine(torch.device("cpu"), torch.float32)
CPU_3 = Machine(torch.device("cpu"), torch.float32, batch=3)
GOLDEN = SHARED / "golden" / "isnet"


@pytest.fixture(scope="module")
def vectors() -> dict[str, torch.Tensor]:
    if not GOLDEN.is_dir():
        pytest.skip("needs ../shared/golden/isnet: results of the published program")
    return load_file(GOLDEN / "isnet_div16.vectors.safetensors")


@pytest.fixture(scope="module")
def published(vectors: dict[str, torch.Tensor], tmp_path_factory: pytest.TempPathFactory) -> Isnet:
    folder = tmp_path_factory.mktemp("published")
    weights = load_file(GOLDEN / "isnet_div16.weights.safetensors")
    torch.save(weights, folder / "isnet-general-use.pth")
    (folder / "config.json").write_text(json.dumps({"width_divisor": 16, "side": 160}))
    return Isnet.load(folder, machine=CPU)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Isnet:
    folder = tmp_path_factory.mktemp("tiny")
    tiny.build(folder)
    return Isnet.load(folder, machine=CPU_3)


@pytest.mark.parametrize("case", ["net", "odd"])
def test_maps_and_features_match_the_published_program(
    published: Isnet, vectors: dict[str, torch.Tensor], case: str
) -> None:
    with torch.inference_mode():
        maps, features = published.network(vectors[f"{case}.x"])
        finest = published.network.finest(vectors[f"{case}.x"])
    for level, result in enumerate(maps, 1):
        assert (result - vectors[f"{case}.d{level}"]).abs().max() <= 1e-4
    assert torch.equal(finest, maps[0])
    if case == "net":
        for level, result in enumerate(features, 1):
            assert (result - vectors[f"net.feat{level}"]).abs().max() <= 1e-4


def test_the_mask_matches_the_published_program(
    published: Isnet, vectors: dict[str, torch.Tensor]
) -> None:
    image = vectors["in.image_rgb_u8"].numpy()
    (result,) = published.compute([IsnetRequest(image)])
    assert isinstance(result, np.ndarray)
    assert result.dtype == np.float32
    levels = np.rint(result * 255).astype(int)
    assert np.abs(levels - vectors["final.mask_u8"].numpy()[..., 0]).max() <= 1
    assert (levels.min(), levels.max()) == (0, 255)


def test_the_full_network_has_the_published_keys() -> None:
    if not GOLDEN.is_dir():
        pytest.skip("needs ../shared/golden/isnet: the keys of the published file")
    expected = json.loads((GOLDEN / "isnet_full_keys.json").read_text())
    with torch.device("meta"):
        network = IsNet()
        shapes = {key: torch.empty(shape) for key, shape in expected["keys"].items()}
    network.load_state_dict(shapes, strict=True, assign=True)
    assert sum(weight.numel() for weight in network.parameters()) == expected["params"]


def test_a_network_with_hand_set_weights_finds_a_drawn_object(small: Isnet) -> None:
    pixels, mask = draw_scene("disc")
    (result,) = small.compute([IsnetRequest(pixels)])
    assert iou(result, mask) > 0.8


def test_a_batch_gives_the_single_results_in_order(small: Isnet) -> None:
    rng = np.random.default_rng(0)
    sizes = [(40, 60, 3), (90, 33, 3), (64, 64, 4), (7, 5, 3), (40, 60, 3)]
    requests = [IsnetRequest(rng.integers(0, 255, size, dtype=np.uint8)) for size in sizes]
    batches: list[int] = []
    hook = small.network.conv_in.register_forward_pre_hook(
        lambda _, args: batches.append(len(args[0]))
    )
    batched = list(small.compute(requests))
    hook.remove()
    assert batches == [3, 2]
    for request, result in zip(requests, batched, strict=True):
        (single,) = small.compute([request])
        assert isinstance(result, np.ndarray)
        assert result.shape == request.image.shape[:2]
        assert np.abs(result - single).max() <= 1 / 255 + 1e-6


def test_a_photo_without_an_object_is_invalid(small: Isnet) -> None:
    white = np.full((30, 40, 3), 255, np.uint8)
    drawn, _ = draw_scene("disc")
    empty, faint, alpha = small.compute(
        [IsnetRequest(white), IsnetRequest(white + 0, min_peak=0.5), IsnetRequest(drawn, 0.5)]
    )
    assert isinstance(empty, InvalidOutput)
    assert empty.reason.startswith("no object found")
    assert isinstance(faint, InvalidOutput)
    assert isinstance(alpha, np.ndarray)


def test_a_map_below_min_peak_is_invalid(
    published: Isnet, vectors: dict[str, torch.Tensor]
) -> None:
    image = vectors["in.image_rgb_u8"].numpy()
    peak = float(vectors["final.resized_d1"].max())
    too_low, high_enough = published.compute(
        [IsnetRequest(image, peak + 0.01), IsnetRequest(image, peak - 0.01)]
    )
    assert isinstance(too_low, InvalidOutput)
    assert isinstance(high_enough, np.ndarray)


def test_output_that_is_not_finite_is_invalid(tmp_path: Path) -> None:
    tiny.build(tmp_path)
    network = Isnet.load(tmp_path, machine=CPU)
    with torch.no_grad():
        network.network.conv_in.bias[0] = float("nan")
    drawn, _ = draw_scene("disc")
    (result,) = network.compute([IsnetRequest(drawn)])
    assert result == InvalidOutput("the network gave no finite numbers")


@pytest.mark.parametrize(
    ("config", "weights"),
    [
        ({"width_divisor": 3}, None),
        ({"side": 8}, None),
        ("no json", None),
        ([], None),
        ({"width_divisor": 8, "side": 64}, None),
        ({"width_divisor": 16}, {"conv_in.weight": torch.zeros(4, 3, 3, 3)}),
    ],
)
def test_rejects_a_wrong_checkpoint_in_one_line(tmp_path: Path, config: Any, weights: Any) -> None:
    tiny.build(tmp_path)
    text = config if isinstance(config, str) else json.dumps(config)
    (tmp_path / "config.json").write_text(text)
    if weights:
        save_file(weights, tmp_path / "isnet-general-use.safetensors")
    with pytest.raises(WrongCheckpointError) as caught:
        Isnet.load(tmp_path, machine=CPU)
    assert str(tmp_path) in str(caught.value)
    assert "\n" not in str(caught.value)
