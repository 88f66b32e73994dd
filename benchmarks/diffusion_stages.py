"""Each stage of the diffusion profile: its networks by synthset and by hand, what they are asked,
and the stage itself.

Both do the same number of steps on the same sizes, in the same precision, with weights loaded
before.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks import diffusion_by_hand as by_hand
from benchmarks import diffusion_work as work
from benchmarks.diffusion_setting import NEGATIVE, PROMPT, Loaded, Loader, Setting
from models.captioning.blip import Blip, BlipRequest
from models.depth.dpt import DepthRequest, Dpt
from models.diffusion.sdxl.depth_controlnet import SdxlBackground, SdxlBackgroundRequest
from models.outpainting.sd2 import OutpaintRequest, SD2Outpaint
from models.segmentation.isnet import Isnet, IsnetRequest
from models.upscaling.real_esrgan import RealEsrgan, RealEsrganRequest
from models.views.zero123plus.network import Zero123Plus, Zero123PlusRequest

# Requests by their number, for networks of a setting.
Asking = Callable[[Setting], Callable[[int], Any]]


@dataclass(frozen=True)
class StageOf:
    """A stage.

    ``counted`` begins the name of its result in `benchmarks.flops.results`; ``asking`` makes
    requests, each of which gives one such result. The stage makes ``least`` results at a time.
    """

    name: str
    ours: Loader
    by_hand: Loader
    asking: Asking
    work: work.Work
    counted: str
    least: int = 1

    def requests(self, setting: Setting, count: int) -> Sequence[Any]:
        """As many requests; those of a larger count begin with those of a smaller."""
        infer = self.asking(setting)
        return [infer(at) for at in range(count)]


def _ours(kind: Any, *names: str) -> Loader:
    def load(setting: Setting) -> Loaded:
        folders = [setting.folder(name) for name in names]
        network = kind.load(*folders, machine=setting.machine)
        return Loaded(network.compute, network.modules)

    return load


def _upscaling(setting: Setting) -> Callable[[int], Any]:
    image = setting.image(setting.sizes.small, setting.sizes.small)
    return lambda _: RealEsrganRequest(image)


def _turning(setting: Setting) -> Callable[[int], Any]:
    sizes = setting.sizes
    image = setting.image(sizes.small, sizes.small)
    (height, width), steps = sizes.sheet, sizes.steps["multiview"]
    return lambda at: Zero123PlusRequest(image, at, steps=steps, width=width, height=height)


def _large(request: Callable[[Any], Any]) -> Asking:
    def asking(setting: Setting) -> Callable[[int], Any]:
        image = setting.image(setting.sizes.large, setting.sizes.large)
        return lambda _: request(image)

    return asking


def _captions(setting: Setting) -> Callable[[int], Any]:
    image = setting.image(setting.sizes.large, setting.sizes.large)
    return lambda _: BlipRequest(image, max_new_tokens=setting.sizes.tokens)


def _scenes(setting: Setting) -> Callable[[int], Any]:
    (height, width), steps = setting.sizes.scene, setting.sizes.steps["background"]
    depths = setting.image(height, width)[..., 0].astype(np.uint16) * 257
    return lambda at: SdxlBackgroundRequest(
        PROMPT, NEGATIVE, seed=at, depth=depths, width=width, height=height, steps=steps
    )


def _shifts(setting: Setting) -> Callable[[int], Any]:
    """A scene has four shifts."""
    (height, width), steps = setting.sizes.scene, setting.sizes.steps["outpaint"]
    scene = setting.image(height, width)
    shifts = [(8 * x, 8 * y) for x in (-4, 4) for y in (-3, 3)]
    return lambda at: OutpaintRequest(scene, shifts[at % 4], PROMPT, NEGATIVE, at, steps)


STAGES = (
    StageOf(
        "upscale",
        _ours(RealEsrgan, "realesrgan_x2"),
        by_hand.upscale(2),
        _upscaling,
        work.upscale_photos,
        "upscale: ",
    ),
    StageOf(
        "multiview",
        _ours(Zero123Plus, "zero123plus"),
        by_hand.multiview,
        _turning,
        work.turn,
        "multiview: ",
    ),
    StageOf(
        "caption", _ours(Blip, "blip"), by_hand.caption, _captions, work.put_into_words, "caption: "
    ),
    StageOf(
        "upscale_views",
        _ours(RealEsrgan, "realesrgan_x4"),
        by_hand.upscale(4),
        _upscaling,
        work.upscale_views,
        "upscale_views: ",
    ),
    StageOf(
        "segment",
        _ours(Isnet, "isnet"),
        by_hand.segment,
        _large(IsnetRequest),
        work.cut_out,
        "segment: ",
    ),
    StageOf(
        "depth",
        _ours(Dpt, "dpt"),
        by_hand.depth,
        _large(DepthRequest),
        work.measure_depth,
        "depth: DPT",
    ),
    StageOf(
        "background",
        _ours(SdxlBackground, "sdxl", "controlnet", "sdxl_vae"),
        by_hand.background,
        _scenes,
        work.draw_scenes,
        "background: SDXL, small",
    ),
    StageOf(
        "outpaint",
        _ours(SD2Outpaint, "sd2_inpaint", "asymmetric_vae"),
        by_hand.outpaint,
        _shifts,
        work.move_scenes,
        "outpaint: ",
        work.SHIFTS,
    ),
)
