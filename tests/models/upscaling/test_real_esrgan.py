"""Real-ESRGAN: parity with the published program, tiles without seams, batches, memory, guards."""

import json
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from models.runtime.batching import InvalidOutput, OutOfMemory
from models.runtime.hardware import Machine
from models.runtime.loading import WrongCheckpointError
from models.upscaling.real_esrgan import RealEsrgan, RealEsrganRequest
from models.upscaling.tiling import soft_tiles
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
    ]


def needs_golden() -> None:
    if not GOLDEN.is_dir():
        pytest.skip("needs ../shared/golden/realesrgan: results of the published program")


def swapped(image: np.ndarray) -> np.ndarray:
    """BGR to RGB and back."""
    return np.ascontiguousarray(image[..., ::-1]) if image.ndim == 3 else image


def photo(height: int, width: int, seed: int = 0, channels: int = 3) -> np.ndarray:
    """Smooth colours with grain."""
    rng = np.random.default_rng(seed)
    coarse = rng.uniform(0, 255, (6, 7, channels)).astype(np.float32)
    smooth = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    return np.clip(smooth + rng.normal(0, 6, smooth.shape), 0, 255).astype(np.uint8)


def only(network: RealEsrgan, request: RealEsrganRequest) -> np.ndarray:
    (result,) = network.compute([request])
    assert not isinstance(result, InvalidOutput)
    return result


def levels_apart(one: np.ndarray, other: np.ndarray) -> int:
    assert one.shape == other.shape
    return int(np.abs(one.astype(int) - other.astype(int)).max())


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
def test_is_what_the_published_program_gives(
    published: dict[str, RealEsrgan], name: str, case: dict[str, Any]
) -> None:
    vectors = load_file(GOLDEN / f"{name}.vectors.safetensors")
    request = RealEsrganRequest(
        swapped(vectors[f"in.{case['input']}"].numpy()),
        outscale=case["outscale"],
        tile=case["tile"],
        tile_pad=case["tile_pad"],
        pre_pad=case["pre_pad"],
        seamless=False,
    )
    made, wanted = only(published[name], request), swapped(vectors[case["key"]].numpy())
    assert made.dtype == wanted.dtype
    assert levels_apart(made, wanted) <= 1
    assert (made != wanted).mean() <= 0.005


@pytest.mark.parametrize("name", ["rrdb_x2", "rrdb_x4"])
def test_the_raw_network_is_the_published_one(published: dict[str, RealEsrgan], name: str) -> None:
    needs_golden()
    vectors = load_file(GOLDEN / f"{name}.vectors.safetensors")
    with torch.inference_mode():
        made = published[name].network(vectors["module.x"])
    assert (made - vectors["module.y"]).abs().max() <= 1e-5


def test_sixteen_bits_are_the_same_network_at_a_finer_step(
    published: dict[str, RealEsrgan],
) -> None:
    needs_golden()
    vectors = load_file(GOLDEN / "rrdb_x4.vectors.safetensors")
    image = swapped(vectors["in.rgb16"].numpy().astype(np.uint16))
    made = only(published["rrdb_x4"], RealEsrganRequest(image))
    pixels = torch.from_numpy(image.astype(np.float32) / 65535).permute(2, 0, 1)[None]
    with torch.inference_mode():
        raw = published["rrdb_x4"].network(pixels)[0].clamp(0, 1).permute(1, 2, 0).numpy()
    assert made.dtype == np.uint16
    assert np.abs(made / 65535 - raw).max() <= 64 / 65535


@pytest.mark.parametrize("outscale", [None, 2.5])
@pytest.mark.parametrize("alpha", ["network", "resize"])
def test_a_dark_sixteen_bit_image_is_taken_for_eight_bits(
    x4: RealEsrgan, alpha: Literal["network", "resize"], outscale: float | None
) -> None:
    """The published program gives uint8 for it, with OpenCV's bounds of uint8 when resampling."""
    image = np.dstack([photo(12, 16), photo(12, 16)[..., 0]])
    dark, bright = (
        only(x4, RealEsrganRequest(one, alpha=alpha, outscale=outscale))
        for one in (image.astype(np.uint16), image)
    )
    assert dark.dtype == np.uint8
    assert np.array_equal(dark, bright)


@pytest.mark.parametrize("layout", ["params_ema", "params", "bare", "safetensors"])
def test_all_layouts_of_the_file_load(tmp_path: Path, x4: RealEsrgan, layout: str) -> None:
    weights = tiny.tensors(inputs=3)
    if layout == "safetensors":
        save_file(weights, tmp_path / "a.safetensors")
    else:
        torch.save(weights if layout == "bare" else {layout: weights}, tmp_path / "a.pth")
    loaded = RealEsrgan.load(tmp_path, machine=CPU)
    request = RealEsrganRequest(photo(9, 11))
    assert np.array_equal(only(loaded, request), only(x4, request))
    assert not any(one.requires_grad for one in loaded.network.parameters())
    assert not loaded.network.training


@pytest.mark.parametrize("content", ["nothing", "two", "text", "code", "another network"])
def test_a_wrong_folder_is_one_line(tmp_path: Path, content: str) -> None:
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
def test_soft_tiles_leave_no_seam(
    request: pytest.FixtureRequest, scale: int, size: tuple[int, int], tile: int
) -> None:
    network: RealEsrgan = request.getfixturevalue(f"x{scale}")
    image = photo(*size)
    cut = only(network, RealEsrganRequest(image, tile=tile))
    assert levels_apart(cut, only(network, RealEsrganRequest(image, seamless=False))) <= 1


def test_soft_tiles_reach_far_enough_for_a_deep_network(tmp_path: Path) -> None:
    """Random weights that answer strongly: hard cuts show, soft ones don't."""
    from spandrel import ModelLoader

    weights = tiny.tensors(inputs=3, blocks=23, gain=2.6)
    network = ModelLoader().load_from_state_dict(weights).model
    with torch.inference_mode():
        spread = network(torch.rand(1, 3, 32, 32)).std()
    weights["conv_last.weight"] *= 0.2 / spread
    save_file(weights, tmp_path / "deep.safetensors")
    deep, image = RealEsrgan.load(tmp_path, machine=CPU), photo(24, 208)
    whole = only(deep, RealEsrganRequest(image))
    assert whole.std() > 20
    hard = only(deep, RealEsrganRequest(image, tile=80, seamless=False))
    soft = only(deep, RealEsrganRequest(image, tile=80))
    assert levels_apart(soft, whole) <= 1 < levels_apart(hard, whole)


@pytest.mark.parametrize(("height", "width"), [(1000, 2200), (769, 1400), (4000, 120)])
@pytest.mark.parametrize("multiple", [1, 2, 4])
def test_tiles_share_every_pixel_once(height: int, width: int, multiple: int) -> None:
    height, width = height // multiple * multiple, width // multiple * multiple
    tiles = soft_tiles(height, width, 300, 48, 8, multiple)
    assert len({tile.size for tile in tiles}) == 1
    canvas = torch.zeros(1, height, width)
    for tile in tiles:
        assert tile.rows.start % multiple == tile.columns.start % multiple == 0
        tile.add_to(canvas, torch.ones(1, *tile.size), 1)
    assert (canvas - 1).abs().max() < 1e-6


def test_a_large_image_is_cut_on_its_own_and_a_small_one_is_not(
    x4: RealEsrgan, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("models.upscaling.real_esrgan.WHOLE_PX", 100 * 100)
    monkeypatch.setattr("models.upscaling.real_esrgan.TILE", 64)
    seen: list[tuple[int, ...]] = []
    hook = x4.network.register_forward_pre_hook(lambda _, given: seen.append(given[0].shape))
    list(x4.compute([RealEsrganRequest(photo(80, 90)), RealEsrganRequest(photo(40, 400))]))
    hook.remove()
    assert seen[0] == (1, 3, 80, 90)
    assert all(shape[1:] == (3, 40, 176) for shape in seen[1:])
    assert sum(shape[0] for shape in seen[1:]) == 5


def test_images_of_any_size_and_kind_come_in_order_and_as_alone(x4: RealEsrgan) -> None:
    images = [
        photo(20, 30, 1),
        photo(33, 21, 2),
        photo(20, 30, 3),
        photo(20, 30, 4, channels=4),
        photo(20, 30, 5)[..., 0],
        photo(20, 30, 6).astype(np.uint16) * 257,
        photo(60, 300, 7),
    ]
    requests = [RealEsrganRequest(one, outscale=3, alpha="resize") for one in images[:-1]]
    requests.append(RealEsrganRequest(images[-1], tile=40))
    sizes: list[int] = []
    hook = x4.network.register_forward_pre_hook(lambda _, given: sizes.append(len(given[0])))
    together = list(x4.compute(requests))
    hook.remove()
    assert sizes[0] == 4  # three colour images and the grey one, in one batch
    for request, result in zip(requests, together, strict=True):
        assert not isinstance(result, InvalidOutput)
        assert result.dtype == request.image.dtype
        assert result.ndim == request.image.ndim
        tolerance = 257 if result.dtype == np.uint16 else 1
        assert levels_apart(result, only(x4, request)) <= tolerance


def test_odd_sizes_and_outscales_have_the_published_size(x2: RealEsrgan) -> None:
    image = photo(13, 17)
    assert only(x2, RealEsrganRequest(image)).shape == (26, 34, 3)
    assert only(x2, RealEsrganRequest(image, outscale=1.5)).shape == (19, 25, 3)
    assert only(x2, RealEsrganRequest(image, outscale=1)).shape == (13, 17, 3)
    assert only(x2, RealEsrganRequest(image[:1, :1])).shape == (2, 2, 3)


def test_the_matte_is_resampled_and_does_not_touch_the_colours(x2: RealEsrgan) -> None:
    image = photo(24, 32)
    alpha = np.zeros((24, 32), np.uint8)
    alpha[6:18, 8:24] = 255
    made = only(x2, RealEsrganRequest(np.dstack([image, alpha]), alpha="resize"))
    assert np.array_equal(made[..., :3], only(x2, RealEsrganRequest(image)))
    wanted = cv2.resize(alpha, (64, 48), interpolation=cv2.INTER_LINEAR)
    assert levels_apart(made[..., 3], wanted) <= 1
    through = only(x2, RealEsrganRequest(np.dstack([image, alpha]), alpha="network"))
    assert np.array_equal(through[..., 3], only(x2, RealEsrganRequest(alpha)))


def test_batches_are_halved_when_memory_runs_out(
    x4: RealEsrgan, monkeypatch: pytest.MonkeyPatch
) -> None:
    requests = [RealEsrganRequest(photo(16, 16, seed)) for seed in range(5)]
    wanted = list(x4.compute(requests))
    run, tried = x4._run, []

    def short(batch: Any) -> Any:
        tried.append(len(batch))
        if len(batch) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return run(batch)

    monkeypatch.setattr(x4, "_run", short)
    made = list(x4.compute(requests))
    assert tried == [4, 2, 1, 1, 1, 1, 1]
    assert all(levels_apart(a, b) <= 1 for a, b in zip(made, wanted, strict=True))  # type: ignore[arg-type]


def test_a_tile_that_fails_raises(x4: RealEsrgan, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: Any) -> Any:
        raise RuntimeError("a kernel broke")

    monkeypatch.setattr(x4, "_run", fail)
    with pytest.raises(RuntimeError, match="a kernel broke"):
        list(x4.compute([RealEsrganRequest(photo(40, 40), tile=16, seamless=False)]))

    def full(_: Any) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(x4, "_run", full)
    with pytest.raises(OutOfMemory, match="one image does not fit"):
        list(x4.compute([RealEsrganRequest(photo(40, 40))]))


def test_a_result_that_is_not_finite_is_unusable_and_spoils_no_other(tmp_path: Path) -> None:
    tiny.build_x4(tmp_path)
    network = RealEsrgan.load(tmp_path, machine=CPU_4)
    run = network._run

    def broken(batch: Any) -> Any:
        results = run(batch)
        return [
            one * float("nan") if item.job.request.tile_pad == 3 else one
            for item, one in zip(batch, results, strict=True)
        ]

    network._run = broken  # type: ignore[method-assign]
    good, bad = photo(20, 20, 1), photo(20, 20, 2)
    requests = [RealEsrganRequest(bad, tile=12, tile_pad=3), RealEsrganRequest(good)]
    spoilt, kept = network.compute([*requests])
    assert spoilt == InvalidOutput("the network gave no finite numbers")
    assert isinstance(kept, np.ndarray)


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"image": np.zeros((4, 4, 2), np.uint8)}, "image"),
        ({"image": np.zeros((4, 4, 1), np.uint8)}, "image"),
        ({"image": np.zeros((0, 4, 3), np.uint8)}, "image"),
        ({"image": np.zeros((4, 4, 3), np.float32)}, "image"),
        ({"outscale": 0}, "outscale"),
        ({"tile": -1}, "tile"),
    ],
)
def test_a_bad_request_names_its_field(change: dict[str, Any], word: str) -> None:
    with pytest.raises(ValueError, match=f"^{word}: "):
        RealEsrganRequest(**{"image": np.zeros((4, 4, 3), np.uint8), **change})
