"""Compiled networks give the same images, with few graphs whatever the size of a batch.

The compiler's cheapest backend stands for the real one: graphs are traced, guarded and counted
alike, and run as they are.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers.models.resnet import ResnetBlock2D
from torch import Tensor, nn
from torch._dynamo.utils import counters

from models.diffusion.sdxl.depth_controlnet import SdxlBackground, SdxlBackgroundRequest
from models.diffusion.sdxl.image_to_image import SdxlImg2Img, SdxlImg2ImgRequest
from models.diffusion.sdxl.parts import load_sdxl
from models.outpainting.sd2 import OutpaintRequest, SD2Outpaint
from models.runtime import compile as compiling
from models.runtime.batching import run_batched
from models.runtime.compile import compile_blocks, is_compiled, pad_to_bucket
from models.runtime.hardware import Machine
from models.views.zero123plus.network import Zero123Plus, Zero123PlusRequest
from tests.checkpoints import sd2_inpaint, sdxl, zero123plus

AS_IT_IS = Machine(torch.device("cpu"), torch.float32)
COMPILED = Machine(torch.device("cpu"), torch.float32, batch=4, compile=True, compiler="eager")
# An image alone and the same one in a batch of four.
LEVELS = 1


@pytest.fixture(autouse=True)
def _anew(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    monkeypatch.setenv(compiling.CACHE_VARIABLE, str(tmp_path))
    torch.compiler.reset()
    counters.clear()
    yield
    torch.compiler.reset()


def graphs() -> int:
    """How many have been built in this test. A part that can't be compiled fails it."""
    assert not counters["graph_break"]
    assert not counters["unimplemented"]
    return counters["stats"]["unique_graphs"]


class Blocks(nn.Module):
    """Two blocks of one shape and one of another; remembers how many items came at a time."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.alike = nn.ModuleList(_block(8, 8) for _ in range(2))
        self.encoder = nn.ModuleList([_block(8, 8)])
        self.last = _block(8, 16)
        self.given: list[int] = []
        self.fits = 99

    @torch.inference_mode()
    def forward(self, batch: Sequence[Tensor]) -> list[Tensor]:
        self.given.append(len(batch))
        if len(batch) > self.fits:
            raise RuntimeError("out of memory")
        levels = torch.stack(list(batch)).to(self.last.conv1.weight.dtype)
        for block in (*self.alike, self.last):
            levels = block(levels, None)
        return list(levels)


def _block(width: int, to: int) -> Any:
    return ResnetBlock2D(in_channels=width, out_channels=to, temb_channels=None, groups=4)


@pytest.fixture
def blocks() -> Blocks:
    network = Blocks()
    compile_blocks(network, COMPILED)
    return network


def images(count: int) -> list[Tensor]:
    return list(torch.randn(count, 8, 8, 8, generator=torch.Generator().manual_seed(0)))


def run(network: Blocks, items: Sequence[Tensor], at_most: int = 4) -> list[Any]:
    return list(run_batched(network, items, at_most=at_most, modules=[network]))


def test_blocks_of_a_shape_share_a_graph_per_bucket(blocks: Blocks) -> None:
    plain = run(Blocks(), images(5))
    assert graphs() == 0
    for count in (5, 4, 3, 2, 1):
        found = run(blocks, images(count))
        assert len(found) == count
        torch.testing.assert_close(found, plain[:count], rtol=1e-5, atol=1e-5)
    assert blocks.given == [4, 1, 4, 4, 2, 1]
    assert graphs() == 2 * len({1, 2, 4})


def test_graphs_are_not_given_up_after_eight(blocks: Blocks) -> None:
    """The compiler's own bound on graphs would leave later shapes uncompiled without a word."""
    for side in range(4, 13):
        run(blocks, [torch.zeros(8, side, side)])
    assert graphs() == 2 * 9


def test_encoders_and_other_networks_stay_as_they_are(blocks: Blocks) -> None:
    assert blocks.encoder[0]._compiled_call_impl is None
    assert blocks.last._compiled_call_impl is not None
    other = nn.Sequential(nn.Linear(2, 2))
    compile_blocks(other, COMPILED)
    assert not is_compiled([other])
    assert is_compiled([other, blocks])


def test_a_network_is_compiled_once(blocks: Blocks) -> None:
    before = blocks.last._compiled_call_impl
    compile_blocks(blocks, COMPILED)
    assert blocks.last._compiled_call_impl is before


def test_nothing_is_compiled_or_filled_up_without_the_switch() -> None:
    network = Blocks()
    compile_blocks(network, AS_IT_IS)
    run(network, images(3))
    assert network.given == [3]
    assert graphs() == 0


def test_memory_that_runs_out_halves_a_filled_batch(blocks: Blocks) -> None:
    blocks.fits = 2
    found = run(blocks, images(3))
    assert len(found) == 3
    assert blocks.given == [4, 1, 1, 1]


def test_a_second_try_in_float32_builds_no_graph(blocks: Blocks) -> None:
    broken = [torch.full((8, 8, 8), torch.nan), *images(1)]
    run(blocks, images(2))
    before = graphs()
    unusable, fine = run(blocks, broken)
    assert not isinstance(unusable, Tensor)
    assert isinstance(fine, Tensor)
    assert blocks.given == [2, 2, 1]
    assert graphs() == before


@pytest.mark.parametrize(
    ("count", "at_most", "bucket"),
    [(1, 8, 1), (3, 8, 4), (5, 8, 8), (7, 8, 8), (5, 6, 6), (6, 6, 6), (2, 3, 2), (3, 3, 3)],
)
def test_a_batch_is_filled_up_to_a_power_of_two_within_its_bound(
    count: int, at_most: int, bucket: int
) -> None:
    items = list(range(count))
    assert pad_to_bucket(items, at_most) == items + [items[-1]] * (bucket - count)


def test_compiled_graphs_are_kept_in_the_user_cache_folder(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv(compiling.CACHE_VARIABLE)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    compile_blocks(Blocks(), COMPILED)
    assert (
        Path(os.environ[compiling.CACHE_VARIABLE]) == tmp_path / ".cache" / "synthset" / "compiled"
    )
    monkeypatch.delenv(compiling.CACHE_VARIABLE)
    monkeypatch.setenv("HOME", "/proc")
    compile_blocks(Blocks(), COMPILED)
    assert not os.environ.get(compiling.CACHE_VARIABLE, "").startswith("/proc")


def picture() -> Any:
    return np.random.default_rng(0).integers(0, 255, (128, 128, 3), dtype=np.uint8)


def written(folder: Path, build: Callable[[Path], None]) -> Path:
    build(folder)
    return folder


def same_images_and_no_more_graphs(
    plain: Any, compiled: Any, requests: Sequence[Any], at_most: int
) -> None:
    """Three images fill a bucket of four, whose graphs serve four images too.

    Args:
        plain, compiled: the same wrapper, uncompiled and compiled.
        requests: four.
        at_most: graphs.
    """
    alone = list(plain.compute(requests))
    for count in (3, 4):
        found = list(compiled.compute(requests[:count]))
        for one, other in zip(alone, found, strict=False):
            pixels = [np.asarray(getattr(each, "image", each), np.int16) for each in (one, other)]
            assert np.abs(pixels[0] - pixels[1]).max() <= LEVELS
        if count == 3:
            built = graphs()
            assert 0 < built <= at_most
    assert graphs() == built


def test_zero123plus_compiled(tmp_path: Path) -> None:
    folder = written(tmp_path, zero123plus.build)
    requests = [
        Zero123PlusRequest(picture(), seed, steps=1, width=128, height=192) for seed in range(4)
    ]
    both = [Zero123Plus.load(folder, machine=one) for one in (AS_IT_IS, COMPILED)]
    same_images_and_no_more_graphs(*both, requests, at_most=25)


def test_sdxl_compiled(tmp_path: Path) -> None:
    """Both wrappers of SDXL: its parts are compiled once and serve either."""
    pytest.importorskip("compel")
    depth = picture()[..., 0].astype(np.uint16) * 257
    base, control, vae = (
        written(tmp_path / name, build)
        for name, build in (
            ("base", sdxl.build),
            ("control", sdxl.build_controlnet),
            ("vae", sdxl.build_vae),
        )
    )
    both = [SdxlBackground.load(base, control, vae, machine=one) for one in (AS_IT_IS, COMPILED)]
    asked = [
        SdxlBackgroundRequest("a car", "blurry", seed, steps=2, depth=depth, width=128, height=128)
        for seed in range(4)
    ]
    same_images_and_no_more_graphs(*both, asked, at_most=15)
    once = [SdxlImg2Img(load_sdxl(base, vae, one), one) for one in (AS_IT_IS, COMPILED)]
    photos = [SdxlImg2ImgRequest("a car", "", seed, steps=2, image=picture()) for seed in range(4)]
    before = graphs()
    same_images_and_no_more_graphs(*once, photos, at_most=before + 4)


def test_outpainting_compiled(tmp_path: Path) -> None:
    folders = [
        written(tmp_path / "base", sd2_inpaint.build),
        written(tmp_path / "vae", sd2_inpaint.build_asymmetric_vae),
    ]
    both = [SD2Outpaint.load(*folders, machine=one) for one in (AS_IT_IS, COMPILED)]
    requests = [
        OutpaintRequest(picture(), (8 * x, 8), "grass", seed=x, steps=2) for x in (1, 2, 3, 4)
    ]
    same_images_and_no_more_graphs(*both, requests, at_most=26)
    assert both[1].networks.vae.decoder.up_blocks[0].resnets[0]._compiled_call_impl is not None
