"""Depth networks at tiny widths, compared with direct calls of transformers."""

from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from models.data.pixels import Pixels
from models.depth.dpt import DepthAnything, DepthRequest, Dpt
from models.runtime.batching import InvalidOutput
from models.runtime.hardware import Machine
from models.runtime.loading import WrongCheckpointError
from tests.checkpoints import depth_anything, dpt

CPU = Machine(torch.device("cpu"), torch.float32, batch=4)
# A batch rounds differently, because its matrix product has another shape. Measured: 3e-6.
TOLERANCE = 2e-5


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    base = tmp_path_factory.mktemp("checkpoints")
    dpt.build(base / "dpt")
    dpt.build(base / "hybrid", hybrid=True)
    depth_anything.build(base / "anything")
    return {name: base / name for name in ("dpt", "hybrid", "anything")}


@pytest.fixture(scope="module")
def networks(folders: dict[str, Path]) -> dict[str, Dpt | DepthAnything]:
    return {
        "dpt": Dpt.load(folders["dpt"], machine=CPU),
        "hybrid": Dpt.load(folders["hybrid"], machine=CPU),
        "anything": DepthAnything.load(folders["anything"], machine=CPU),
    }


def make_images() -> list[Pixels]:
    rng = np.random.default_rng(0)
    slope = np.mgrid[0:50, 0:70][0][..., None] * np.array([1, 2, 3])
    return [
        rng.integers(0, 255, (50, 70, 3), dtype=np.uint8),
        slope.astype(np.uint8),
        rng.integers(0, 90, (40, 30, 3), dtype=np.uint8),
        rng.integers(0, 255, (50, 70, 3), dtype=np.uint8),
    ]


NAMES = pytest.mark.parametrize("name", ["dpt", "hybrid", "anything"])


@NAMES
def test_depth_is_0_to_1_at_the_image_size(
    name: str, networks: dict[str, Dpt | DepthAnything]
) -> None:
    depths = list(networks[name].compute([DepthRequest(image) for image in make_images()]))
    for depth, image in zip(depths, make_images(), strict=True):
        assert isinstance(depth, np.ndarray)
        assert depth.dtype == np.float32
        assert depth.shape == image.shape[:2]
        assert (depth.min(), depth.max()) == (0.0, 1.0)


@NAMES
def test_a_batch_gives_the_single_results(
    name: str, networks: dict[str, Dpt | DepthAnything]
) -> None:
    requests = [DepthRequest(image) for image in make_images()]
    batched = list(networks[name].compute(requests))
    for request, depth in zip(requests, batched, strict=True):
        (single,) = networks[name].compute([request])
        np.testing.assert_allclose(single, depth, atol=TOLERANCE)
    np.testing.assert_array_equal(next(networks[name].compute(requests)), batched[0])
    assert np.abs(batched[0] - batched[3]).mean() > 0.01


@pytest.mark.parametrize(("name", "kind"), [("dpt", "DPT"), ("anything", "DepthAnything")])
def test_matches_a_direct_call_of_transformers(
    name: str, kind: str, folders: dict[str, Path], networks: dict[str, Dpt | DepthAnything]
) -> None:
    import transformers

    image = make_images()[0]
    network = getattr(transformers, f"{kind}ForDepthEstimation").from_pretrained(folders[name])
    processor = transformers.DPTImageProcessor.from_pretrained(folders[name])
    with torch.inference_mode():
        outputs = network.eval()(**processor(images=image, return_tensors="pt"))
    (output,) = processor.post_process_depth_estimation(outputs, target_sizes=[image.shape[:2]])
    depth = output["predicted_depth"]
    expected = (depth - depth.min()) / (depth.max() - depth.min())
    (result,) = networks[name].compute([DepthRequest(image)])
    np.testing.assert_allclose(result, expected.numpy(), atol=TOLERANCE)


def test_dpt_reads_a_square_and_depth_anything_keeps_the_aspect(
    networks: dict[str, Dpt | DepthAnything],
) -> None:
    sizes: dict[str, tuple[int, ...]] = {}

    def record_size(name: str, _module: object, args: tuple[torch.Tensor, ...]) -> None:
        sizes[name] = tuple(args[0].shape[-2:])

    for name in ("dpt", "anything"):
        layers = networks[name].modules[0].modules()
        convolution = next(layer for layer in layers if isinstance(layer, torch.nn.Conv2d))
        hook = convolution.register_forward_pre_hook(partial(record_size, name))
        image = np.random.default_rng(0).integers(0, 255, (60, 120, 3), dtype=np.uint8)
        list(networks[name].compute([DepthRequest(image)]))
        hook.remove()
    assert sizes["dpt"] == (dpt.SIDE, dpt.SIDE)
    assert sizes["anything"][1] == 2 * sizes["anything"][0]
    assert all(side % 14 == 0 for side in sizes["anything"])


def test_ignores_alpha(networks: dict[str, Dpt | DepthAnything]) -> None:
    image = make_images()[0]
    rgba = np.dstack([image, np.full(image.shape[:2], 7, np.uint8)])
    without_alpha, with_alpha = networks["dpt"].compute([DepthRequest(image), DepthRequest(rgba)])
    np.testing.assert_allclose(without_alpha, with_alpha, atol=TOLERANCE)


def test_uniform_depth_is_invalid(folders: dict[str, Path]) -> None:
    network = Dpt.load(folders["dpt"], machine=CPU)
    head = network.modules[0].get_submodule("head.head.4")
    torch.nn.init.zeros_(head.weight)
    torch.nn.init.ones_(head.bias)
    (result,) = network.compute([DepthRequest(make_images()[0])])
    assert isinstance(result, InvalidOutput)
    assert "no depth" in result.reason


def test_output_that_is_not_finite_is_invalid(folders: dict[str, Path]) -> None:
    network = Dpt.load(folders["dpt"], machine=CPU)
    torch.nn.init.constant_(network.modules[0].get_submodule("head.head.4").bias, torch.nan)
    (result,) = network.compute([DepthRequest(make_images()[0])])
    assert isinstance(result, InvalidOutput)


def test_half_precision_is_close(folders: dict[str, Path]) -> None:
    machine = Machine(torch.device("cpu"), torch.bfloat16)
    (half,) = Dpt.load(folders["dpt"], machine=machine).compute([DepthRequest(make_images()[0])])
    (full,) = Dpt.load(folders["dpt"], machine=CPU).compute([DepthRequest(make_images()[0])])
    assert isinstance(half, np.ndarray)
    assert np.abs(half - full).mean() < 0.02


def test_never_reads_the_weights_missing_from_published_files(folders: dict[str, Path]) -> None:
    assert not any(name.startswith(dpt.LACKING) for name in _weights(folders["dpt"]))
    image = make_images()[0]
    results = []
    for seed in (1, 2):
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            network = Dpt.load(folders["dpt"], machine=CPU)
        results.append(next(network.compute([DepthRequest(image)])))
    np.testing.assert_array_equal(*results)


@pytest.mark.parametrize("fault", ["missing", "unexpected", "of another shape"])
def test_rejects_other_weights(fault: str, tmp_path: Path) -> None:
    dpt.build(tmp_path)
    weights = _weights(tmp_path)
    name = "head.head.0.weight"
    if fault == "missing":
        del weights[name]
    elif fault == "unexpected":
        weights[f"{name}s"] = torch.zeros(2)
    else:
        weights[name] = torch.zeros(3, 3)
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(WrongCheckpointError, match=r"DPTForDepthEstimation.*fetch it again"):
        Dpt.load(tmp_path, machine=CPU)


def test_opens_no_pickle(tmp_path: Path) -> None:
    dpt.build(tmp_path)
    torch.save(_weights(tmp_path), tmp_path / "pytorch_model.bin")
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(WrongCheckpointError, match=str(tmp_path)):
        Dpt.load(tmp_path, machine=CPU)


@pytest.mark.parametrize(
    "image",
    [np.zeros((8, 8), np.uint8), np.zeros((8, 8, 3), np.float32), np.zeros((1, 8, 3), np.uint8)],
)
def test_rejects_an_image_of_another_kind(image: Pixels) -> None:
    with pytest.raises(ValueError, match=r"DepthRequest\.image"):
        DepthRequest(image)


def test_no_requests_give_no_results(networks: dict[str, Dpt | DepthAnything]) -> None:
    assert list(networks["dpt"].compute([])) == []


def _weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")
