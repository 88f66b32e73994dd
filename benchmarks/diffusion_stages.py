"""Each stage of the diffusion profile as a function of how many: by synthset, and by hand.

Both do the same number of steps on the same sizes, in the same precision, with weights loaded
before.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import diffusion_by_hand as by_hand
from benchmarks.diffusion_setting import NEGATIVE, PROMPT, Loaded, Loader, Setting


@dataclass(frozen=True)
class StageOf:
    """A stage, and what begins the name of its result in `benchmarks.flops.results`."""

    name: str
    ours: Loader
    by_hand: Loader
    counted: str


def _ours(kind: Any, folders: list[Path], setting: Setting, ask: Callable[[int], Any]) -> Loaded:
    network = kind.load(*folders, machine=setting.machine)

    def run(count: int) -> None:
        results = list(network.compute([ask(at) for at in range(count)]))
        assert len(results) == count

    return Loaded(run, network.modules)


def upscale(factor: int) -> Loader:
    """Real-ESRGAN."""

    def load(setting: Setting) -> Loaded:
        from models.realesrgan import RealEsrgan, RealEsrganRequest

        image = setting.image(setting.sizes.small, setting.sizes.small)
        folder = setting.folder(f"realesrgan_x{factor}")
        return _ours(RealEsrgan, [folder], setting, lambda _: RealEsrganRequest(image))

    return load


def multiview(setting: Setting) -> Loaded:
    """Zero123++, six views a result."""
    from models.zero123plus import Zero123Plus, Zero123PlusRequest

    sizes = setting.sizes
    image = setting.image(sizes.small, sizes.small)
    (height, width), steps = sizes.sheet, sizes.steps["multiview"]
    return _ours(
        Zero123Plus,
        [setting.folder("zero123plus")],
        setting,
        lambda at: Zero123PlusRequest(image, at, steps=steps, width=width, height=height),
    )


def segment(setting: Setting) -> Loaded:
    """IS-Net."""
    from models.isnet import Isnet, IsnetRequest

    image = setting.image(setting.sizes.large, setting.sizes.large)
    return _ours(Isnet, [setting.folder("isnet")], setting, lambda _: IsnetRequest(image))


def depth(setting: Setting) -> Loaded:
    """DPT."""
    from models.dpt import DepthRequest, Dpt

    image = setting.image(setting.sizes.large, setting.sizes.large)
    return _ours(Dpt, [setting.folder("dpt")], setting, lambda _: DepthRequest(image))


def caption(setting: Setting) -> Loaded:
    """BLIP."""
    from models.blip import Blip, BlipRequest

    image = setting.image(setting.sizes.large, setting.sizes.large)
    tokens = setting.sizes.tokens
    return _ours(
        Blip,
        [setting.folder("blip")],
        setting,
        lambda _: BlipRequest(image, max_new_tokens=tokens),
    )


def background(setting: Setting) -> Loaded:
    """SDXL with its depth ControlNet."""
    from models.sdxl_background import SdxlBackground, SdxlBackgroundRequest

    (height, width), steps = setting.sizes.scene, setting.sizes.steps["background"]
    depths = setting.image(height, width)[..., 0].astype(np.uint16) * 257
    folders = [setting.folder(name) for name in ("sdxl", "controlnet", "sdxl_vae")]
    return _ours(
        SdxlBackground,
        folders,
        setting,
        lambda at: SdxlBackgroundRequest(
            depths, PROMPT, NEGATIVE, seed=at, width=width, height=height, steps=steps
        ),
    )


def outpaint(setting: Setting) -> Loaded:
    """SD2 inpainting with the asymmetric VAE; a scene has four shifts."""
    from models.sd2_outpaint import OutpaintRequest, SD2Outpaint

    (height, width), steps = setting.sizes.scene, setting.sizes.steps["outpaint"]
    scene = setting.image(height, width)
    shifts = [(8 * x, 8 * y) for x in (-4, 4) for y in (-3, 3)]
    folders = [setting.folder(name) for name in ("sd2_inpaint", "asymmetric_vae")]
    return _ours(
        SD2Outpaint,
        folders,
        setting,
        lambda at: OutpaintRequest(scene, shifts[at % 4], PROMPT, NEGATIVE, seed=at, steps=steps),
    )


STAGES = (
    StageOf("upscale", upscale(2), by_hand.upscale(2), "upscale: "),
    StageOf("multiview", multiview, by_hand.multiview, "multiview: "),
    StageOf("caption", caption, by_hand.caption, "caption: "),
    StageOf("upscale_views", upscale(4), by_hand.upscale(4), "upscale_views: "),
    StageOf("segment", segment, by_hand.segment, "segment: "),
    StageOf("depth", depth, by_hand.depth, "depth: DPT"),
    StageOf("background", background, by_hand.background, "background: SDXL, small"),
    StageOf("outpaint", outpaint, by_hand.outpaint, "outpaint: "),
)
