"""Depth networks at tiny widths: what the wrapper adds, against transformers called directly."""

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
# A batch is a matrix product of another shape, which rounds differently: 3e-6 of 1 was seen.
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


def pictures() -> list[Pixels]:
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
def test_depth_is_0_to_1_at_the_image_s_size(
    name: str, networks: dict[str, Dpt | DepthAnything]
) -> None:
    found = list(networks[name].compute([DepthRequest(one) for one in pictures()]))
    for near, image in zip(found, pictures(), strict=True):
        assert isinstance(near, np.ndarray)
        assert near.dtype == np.float32
        assert near.shape == image.shape[:2]
        assert (near.min(), near.max()) == (0.0, 1.0)


@NAMES
def test_an_image_alone_is_as_in_a_batch(
    name: str, networks: dict[str, Dpt | DepthAnything]
) -> None:
    requests = [DepthRequest(one) for one in pictures()]
    together = list(networks[name].compute(requests))
    for request, near in zip(requests, together, strict=True):
        (alone,) = networks[name].compute([request])
        np.testing.assert_allclose(alone, near, atol=TOLERANCE)
    np.testing.assert_array_equal(next(networks[name].compute(requests)), together[0])
    assert np.abs(together[0] - together[3]).mean() > 0.01


@pytest.mark.parametrize(("name", "kind"), [("dpt", "DPT"), ("anything", "DepthAnything")])
def test_it_is_what_transformers_examples_give(
    name: str, kind: str, folders: dict[str, Path], networks: dict[str, Dpt | DepthAnything]
) -> None:
    import transformers

    image = pictures()[0]
    network = getattr(transformers, f"{kind}ForDepthEstimation").from_pretrained(folders[name])
    processor = transformers.DPTImageProcessor.from_pretrained(folders[name])
    with torch.inference_mode():
        outputs = network.eval()(**processor(images=image, return_tensors="pt"))
    (told,) = processor.post_process_depth_estimation(outputs, target_sizes=[image.shape[:2]])
    near = told["predicted_depth"]
    expected = (near - near.min()) / (near.max() - near.min())
    (found,) = networks[name].compute([DepthRequest(image)])
    np.testing.assert_allclose(found, expected.numpy(), atol=TOLERANCE)


def test_dpt_gets_a_square_and_depth_anything_the_aspect(
    networks: dict[str, Dpt | DepthAnything],
) -> None:
    seen: dict[str, tuple[int, ...]] = {}
    for name in ("dpt", "anything"):

        def note(_module: object, _args: object, given: object, at: str = name) -> None:
            seen[at] = tuple(given.shape[-2:])  # type: ignore[attr-defined]

        convolution = next(
            one for one in networks[name].modules[0].modules() if isinstance(one, torch.nn.Conv2d)
        )
        hook = convolution.register_forward_pre_hook(
            lambda module, given, note=note: note(module, None, given[0])
        )
        image = np.random.default_rng(0).integers(0, 255, (60, 120, 3), dtype=np.uint8)
        list(networks[name].compute([DepthRequest(image)]))
        hook.remove()
    assert seen["dpt"] == (dpt.SIDE, dpt.SIDE)
    assert seen["anything"][1] == 2 * seen["anything"][0]
    assert all(side % 14 == 0 for side in seen["anything"])


def test_the_matte_is_not_read(networks: dict[str, Dpt | DepthAnything]) -> None:
    image = pictures()[0]
    carried = np.dstack([image, np.full(image.shape[:2], 7, np.uint8)])
    plain, with_matte = networks["dpt"].compute([DepthRequest(image), DepthRequest(carried)])
    np.testing.assert_allclose(plain, with_matte, atol=TOLERANCE)


def test_depth_that_is_the_same_everywhere_is_unusable(folders: dict[str, Path]) -> None:
    network = Dpt.load(folders["dpt"], machine=CPU)
    head = network.modules[0].get_submodule("head.head.4")
    torch.nn.init.zeros_(head.weight)
    torch.nn.init.ones_(head.bias)
    (found,) = network.compute([DepthRequest(pictures()[0])])
    assert isinstance(found, InvalidOutput)
    assert "no depth" in found.reason


def test_numbers_that_are_none_are_unusable(folders: dict[str, Path]) -> None:
    network = Dpt.load(folders["dpt"], machine=CPU)
    torch.nn.init.constant_(network.modules[0].get_submodule("head.head.4").bias, torch.nan)
    (found,) = network.compute([DepthRequest(pictures()[0])])
    assert isinstance(found, InvalidOutput)


def test_half_precision_is_near_to_full(folders: dict[str, Path]) -> None:
    machine = Machine(torch.device("cpu"), torch.bfloat16)
    (half,) = Dpt.load(folders["dpt"], machine=machine).compute([DepthRequest(pictures()[0])])
    (full,) = Dpt.load(folders["dpt"], machine=CPU).compute([DepthRequest(pictures()[0])])
    assert isinstance(half, np.ndarray)
    assert np.abs(half - full).mean() < 0.02


def test_weights_that_intel_leaves_out_are_never_read(folders: dict[str, Path]) -> None:
    assert not any(name.startswith(dpt.LACKING) for name in _weights(folders["dpt"]))
    image = pictures()[0]
    results = []
    for seed in (1, 2):
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            network = Dpt.load(folders["dpt"], machine=CPU)
        results.append(next(network.compute([DepthRequest(image)])))
    np.testing.assert_array_equal(*results)


@pytest.mark.parametrize("fault", ["missing", "unexpected", "of another shape"])
def test_other_weights_are_refused(fault: str, tmp_path: Path) -> None:
    dpt.build(tmp_path)
    weights = _weights(tmp_path)
    at = "head.head.0.weight"
    if fault == "missing":
        del weights[at]
    elif fault == "unexpected":
        weights[f"{at}s"] = torch.zeros(2)
    else:
        weights[at] = torch.zeros(3, 3)
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(WrongCheckpointError, match=r"DPTForDepthEstimation.*fetch it again"):
        Dpt.load(tmp_path, machine=CPU)


def test_a_pickle_is_not_opened(tmp_path: Path) -> None:
    dpt.build(tmp_path)
    torch.save(_weights(tmp_path), tmp_path / "pytorch_model.bin")
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(WrongCheckpointError, match=str(tmp_path)):
        Dpt.load(tmp_path, machine=CPU)


@pytest.mark.parametrize(
    "image",
    [np.zeros((8, 8), np.uint8), np.zeros((8, 8, 3), np.float32), np.zeros((1, 8, 3), np.uint8)],
)
def test_an_image_of_another_kind_is_refused(image: Pixels) -> None:
    with pytest.raises(ValueError, match=r"DepthRequest\.image"):
        DepthRequest(image)


def test_nothing_in_nothing_out(networks: dict[str, Dpt | DepthAnything]) -> None:
    assert list(networks["dpt"].compute([])) == []


def _weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")
