"""Real-ESRGAN: parity with the published program, blended tiles, batches, memory, bad input."""

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from models.runtime.batching import InvalidOutput, OutOfMemoryError
from models.runtime.hardware import Machine
from models.runtime.loading import WrongCheckpointError
from models.upscaling.real_esrgan import RealEsrgan, RealEsrganRequest
from models.upscaling.tiling import blended_tiles
from tests.checkpoints import realesrgan as tiny
from tests.conftest import SHARED

CPU = Machine(torch.device("cpu"), torch.float32)
CPU_4 = Machine(torch.device("cpu"), torch.float32, batch=4)
GOLDEN = SHARED / "golden" / "realesrgan"


def golden_cases() -> list[tuple[str, dict[str, Any]]]:
    return [
        (name, case)
        for name in ("rrdb_x2", "rrdb_x4")
        if (GOLDEN / f"{name}.json").is_file()
        for case in json.loads((GOLDEN / f"{name}.json").read_text())["cases"]
        if case["input"] == "rgb"
    ]


def needs_golden() -> None:
    if not GOLDEN.is_dir():
        pytest.skip("needs ../shared/golden/realesrgan: results of the published program")


def swap_red_and_blue(image: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(image[..., ::-1])


def make_photo(height: int, width: int, seed: int = 0, channels: int = 3) -> np.ndarray:
    """Return smooth colours with noise."""
    rng = np.random.default_rng(seed)
    coarse = rng.uniform(0, 255, (6, 7, channels)).astype(np.float32)
    smooth = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    return np.clip(smooth + rng.normal(0, 6, smooth.shape), 0, 255).astype(np.uint8)


def enlarge(network: RealEsrgan, image: np.ndarray, **settings: Any) -> np.ndarray:
    (result,) = network.compute([RealEsrganRequest(image, **settings)])
    assert not isinstance(result, InvalidOutput)
    return result


def max_difference(first: np.ndarray, second: np.ndarray) -> int:
    assert first.shape == second.shape
    return int(np.abs(first.astype(int) - second.astype(int)).max())


def run_published_steps(network: RealEsrgan, image: np.ndarray, case: dict[str, Any]) -> np.ndarray:
    """Replay the published program's padding and hard tiles around single calls of a network."""
    height, width = image.shape[:2]
    padding = ((0, case["pre_pad"]), (0, case["pre_pad"]), (0, 0))
    padded = np.pad(image, padding, mode="reflect")
    if network.scale == 2:
        odd = [(0, side % 2) for side in padded.shape[:2]]
        padded = np.pad(padded, (*odd, (0, 0)), mode="reflect")
    scale, tile, pad = network.scale, case["tile"] or max(padded.shape), case["tile_pad"]
    canvas = np.zeros((padded.shape[0] * scale, padded.shape[1] * scale, 3), np.uint8)
    for top in range(0, padded.shape[0], tile):
        for left in range(0, padded.shape[1], tile):
            first = max(0, top - pad), max(0, left - pad)
            crop = padded[first[0] : top + tile + pad, first[1] : left + tile + pad]
            result = enlarge(network, crop)[(top - first[0]) * scale :, (left - first[1]) * scale :]
            pasted = canvas[
                top * scale : (top + tile) * scale, left * scale : (left + tile) * scale
            ]
            pasted[:] = result[: pasted.shape[0], : pasted.shape[1]]
    canvas = canvas[: height * scale, : width * scale]
    factor = case["outscale"] or scale
    if factor == scale:
        return canvas
    return cv2.resize(canvas, (width * factor, height * factor), interpolation=cv2.INTER_LANCZOS4)


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> dict[str, RealEsrgan]:
    """The golden networks, loaded from files as the releases have them."""
    networks = {}
    for name in ("rrdb_x2", "rrdb_x4"):
        folder = tmp_path_factory.mktemp(name)
        if GOLDEN.is_dir():
            weights = load_file(GOLDEN / f"{name}.weights.safetensors")
            torch.save({"params_ema": weights}, folder / f"{name}.pth")
            networks[name] = RealEsrgan.load(folder, machine=CPU)
    return networks


@pytest.fixture(scope="module")
def x4(tmp_path_factory: pytest.TempPathFactory) -> RealEsrgan:
    folder = tmp_path_factory.mktemp("x4")
    tiny.build_x4(folder)
    return RealEsrgan.load(folder, machine=CPU_4)


@pytest.fixture(scope="module")
def x2(tmp_path_factory: pytest.TempPathFactory) -> RealEsrgan:
    folder = tmp_path_factory.mktemp("x2")
    tiny.build_x2(folder)
    return RealEsrgan.load(folder, machine=CPU_4)


@pytest.mark.parametrize(
    ("name", "case"), golden_cases(), ids=[f"{n}-{c['key']}" for n, c in golden_cases()]
)
def test_matches_the_published_program(
    published: dict[str, RealEsrgan], name: str, case: dict[str, Any]
) -> None:
    vectors = load_file(GOLDEN / f"{name}.vectors.safetensors")
    network, image = published[name], swap_red_and_blue(vectors[f"in.{case['input']}"].numpy())
    expected = swap_red_and_blue(vectors[case["key"]].numpy())
    if case["tile"] or case["pre_pad"]:
        result = run_published_steps(network, image, case)
    else:
        result = enlarge(network, image, factor=case["outscale"])
    assert result.dtype == expected.dtype
    assert max_difference(result, expected) <= 1
    assert (result != expected).mean() <= 0.005


@pytest.mark.parametrize("name", ["rrdb_x2", "rrdb_x4"])
def test_the_network_matches_the_published_network(
    published: dict[str, RealEsrgan], name: str
) -> None:
    needs_golden()
    vectors = load_file(GOLDEN / f"{name}.vectors.safetensors")
    with torch.inference_mode():
        result = published[name].network(vectors["module.x"])
    assert (result - vectors["module.y"]).abs().max() <= 1e-5


@pytest.mark.parametrize("layout", ["params_ema", "params", "bare", "safetensors"])
def test_loads_every_file_layout(tmp_path: Path, x4: RealEsrgan, layout: str) -> None:
    weights = tiny.tensors(inputs=3)
    if layout == "safetensors":
        save_file(weights, tmp_path / "a.safetensors")
    else:
        torch.save(weights if layout == "bare" else {layout: weights}, tmp_path / "a.pth")
    loaded, image = RealEsrgan.load(tmp_path, machine=CPU), make_photo(9, 11)
    assert np.array_equal(enlarge(loaded, image), enlarge(x4, image))
    assert not any(weight.requires_grad for weight in loaded.network.parameters())
    assert not loaded.network.training


@pytest.mark.parametrize("content", ["nothing", "two", "text", "code", "another network"])
def test_rejects_a_wrong_folder_in_one_line(tmp_path: Path, content: str) -> None:
    if content == "two":
        tiny.build_x2(tmp_path)
        tiny.build_x4(tmp_path)
    elif content == "text":
        (tmp_path / "a.pth").write_text("no weights")
    elif content == "code":
        torch.save({"params": Machine}, tmp_path / "a.pth")
    elif content == "another network":
        save_file({"layer.weight": torch.zeros(2, 2)}, tmp_path / "a.safetensors")
    with pytest.raises(WrongCheckpointError) as caught:
        RealEsrgan.load(tmp_path, machine=CPU)
    assert str(tmp_path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("tile", [16, 40, 56])
@pytest.mark.parametrize(("scale", "size"), [(2, (150, 210)), (4, (97, 171))])
def test_tiles_match_the_uncut_result(
    request: pytest.FixtureRequest, scale: int, size: tuple[int, int], tile: int
) -> None:
    network: RealEsrgan = request.getfixturevalue(f"x{scale}")
    image = make_photo(*size)
    assert max_difference(enlarge(network, image, tile=tile), enlarge(network, image)) <= 1


def test_tiles_have_enough_surroundings_for_a_deep_network(tmp_path: Path) -> None:
    """Random weights with a high gain: the published program's hard tiles show, ours do not."""
    from spandrel import ModelLoader

    weights = tiny.tensors(inputs=3, blocks=23, gain=2.6)
    network = ModelLoader().load_from_state_dict(weights).model
    with torch.inference_mode():
        spread = network(torch.rand(1, 3, 32, 32)).std()
    weights["conv_last.weight"] *= 0.2 / spread
    save_file(weights, tmp_path / "deep.safetensors")
    deep, image = RealEsrgan.load(tmp_path, machine=CPU), make_photo(24, 208)
    uncut = enlarge(deep, image)
    assert uncut.std() > 20
    hard = run_published_steps(
        deep, image, {"tile": 80, "tile_pad": 10, "pre_pad": 0, "outscale": None}
    )
    blended = enlarge(deep, image, tile=80)
    assert max_difference(blended, uncut) <= 1 < max_difference(hard, uncut)


@pytest.mark.parametrize(("height", "width"), [(1000, 2200), (769, 1400), (4000, 120)])
@pytest.mark.parametrize("multiple", [1, 2, 4])
def test_tile_weights_sum_to_one(height: int, width: int, multiple: int) -> None:
    height, width = height // multiple * multiple, width // multiple * multiple
    tiles = blended_tiles(height, width, 300, 48, 8, multiple)
    assert len({tile.size for tile in tiles}) == 1
    canvas = torch.zeros(1, height, width)
    for tile in tiles:
        assert tile.rows.start % multiple == tile.columns.start % multiple == 0
        tile.add_to(canvas, torch.ones(1, *tile.size), 1)
    assert (canvas - 1).abs().max() < 1e-6


def test_cuts_only_large_images_without_being_asked(
    x4: RealEsrgan, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("models.upscaling.real_esrgan.MAX_UNCUT_PIXELS", 100 * 100)
    monkeypatch.setattr("models.upscaling.real_esrgan.TILE", 64)
    shapes: list[tuple[int, ...]] = []
    hook = x4.network.register_forward_pre_hook(lambda _, args: shapes.append(args[0].shape))
    images = make_photo(80, 90), make_photo(40, 400)
    list(x4.compute([RealEsrganRequest(image) for image in images]))
    hook.remove()
    assert shapes[0] == (1, 3, 80, 90)
    assert all(shape[1:] == (3, 40, 176) for shape in shapes[1:])
    assert sum(shape[0] for shape in shapes[1:]) == 5


def test_a_batch_gives_the_single_results_in_order(x4: RealEsrgan) -> None:
    images = [
        make_photo(20, 30, 1),
        make_photo(33, 21, 2),
        make_photo(20, 30, 3),
        make_photo(20, 30, 4, channels=4),
        make_photo(20, 30, 5),
    ]
    requests = [RealEsrganRequest(image, factor=3) for image in images]
    requests.append(RealEsrganRequest(make_photo(60, 300, 7), tile=40))
    sizes: list[int] = []
    hook = x4.network.register_forward_pre_hook(lambda _, args: sizes.append(len(args[0])))
    batched = list(x4.compute(requests))
    hook.remove()
    assert sizes[0] == 4
    for request, result in zip(requests, batched, strict=True):
        (single,) = x4.compute([request])
        assert isinstance(result, np.ndarray)
        assert isinstance(single, np.ndarray)
        assert result.ndim == request.image.ndim
        assert max_difference(result, single) <= 1


def test_odd_sizes_and_factors_give_the_published_size(x2: RealEsrgan) -> None:
    image = make_photo(13, 17)
    assert enlarge(x2, image).shape == (26, 34, 3)
    assert enlarge(x2, image, factor=1.5).shape == (19, 25, 3)
    assert enlarge(x2, image, factor=1).shape == (13, 17, 3)
    assert enlarge(x2, image[:1, :1]).shape == (2, 2, 3)


def test_alpha_is_resampled_and_leaves_the_colours_alone(x2: RealEsrgan) -> None:
    image = make_photo(24, 32)
    alpha = np.zeros((24, 32), np.uint8)
    alpha[6:18, 8:24] = 255
    result = enlarge(x2, np.dstack([image, alpha]))
    assert np.array_equal(result[..., :3], enlarge(x2, image))
    expected = cv2.resize(alpha, (64, 48), interpolation=cv2.INTER_LINEAR)
    assert max_difference(result[..., 3], expected) <= 1


def test_halves_the_batch_when_memory_runs_out(
    x4: RealEsrgan, monkeypatch: pytest.MonkeyPatch
) -> None:
    requests = [RealEsrganRequest(make_photo(16, 16, seed)) for seed in range(5)]
    expected = list(x4.compute(requests))
    run, sizes = x4._run, []

    def run_single_items_only(batch: Any) -> Any:
        sizes.append(len(batch))
        if len(batch) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return run(batch)

    monkeypatch.setattr(x4, "_run", run_single_items_only)
    results = list(x4.compute(requests))
    assert sizes == [4, 2, 1, 1, 1, 1, 1]
    assert all(max_difference(a, b) <= 1 for a, b in zip(results, expected, strict=True))  # type: ignore[arg-type]


def test_a_failing_tile_raises(x4: RealEsrgan, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: Any) -> Any:
        raise RuntimeError("a kernel broke")

    monkeypatch.setattr(x4, "_run", fail)
    with pytest.raises(RuntimeError, match="a kernel broke"):
        list(x4.compute([RealEsrganRequest(make_photo(40, 400), tile=16)]))

    def run_out_of_memory(_: Any) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(x4, "_run", run_out_of_memory)
    with pytest.raises(OutOfMemoryError, match="one image does not fit"):
        list(x4.compute([RealEsrganRequest(make_photo(40, 40))]))


def test_a_result_that_is_not_finite_is_invalid_and_changes_no_other(tmp_path: Path) -> None:
    tiny.build_x4(tmp_path)
    network = RealEsrgan.load(tmp_path, machine=CPU_4)
    run = network._run

    def break_tiled_images(batch: Any) -> Any:
        return [
            result * float("nan") if job.request.tile else result
            for (job, _), result in zip(batch, run(batch), strict=True)
        ]

    network._run = break_tiled_images  # type: ignore[method-assign]
    bad = RealEsrganRequest(make_photo(20, 300, 1), tile=12)
    good = RealEsrganRequest(make_photo(20, 20, 2))
    first, second = network.compute([bad, good])
    assert first == InvalidOutput("the network gave no finite numbers")
    assert isinstance(second, np.ndarray)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"image": np.zeros((4, 4, 2), np.uint8)}, "image"),
        ({"image": np.zeros((4, 4), np.uint8)}, "image"),
        ({"image": np.zeros((0, 4, 3), np.uint8)}, "image"),
        ({"image": np.zeros((4, 4, 3), np.uint16)}, "image"),
        ({"factor": 0}, "factor"),
        ({"tile": -1}, "tile"),
    ],
)
def test_a_bad_request_names_its_field(change: dict[str, Any], field: str) -> None:
    with pytest.raises(ValueError, match=f"^{field}: "):
        RealEsrganRequest(**{"image": np.zeros((4, 4, 3), np.uint8), **change})
