"""The stages of the diffusion profile: networks by synthset and by hand, requests, and stage call.

Both ways compute the same steps at the same sizes and precision, with weights that are loaded
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

# Returns a function that makes the request of a number.
RequestMaker = Callable[[Setting], Callable[[int], Any]]


@dataclass(frozen=True)
class StageCase:
    """A stage with its networks.

    ``result`` is the start of its result's name in `benchmarks.flops.results`. A request of
    ``make_request`` gives one such result. The stage makes ``least`` results at a time.
    """

    name: str
    synthset: Loader
    by_hand: Loader
    make_request: RequestMaker
    work: work.Work
    result: str
    least: int = 1

    def requests(self, setting: Setting, count: int) -> Sequence[Any]:
        """Make requests; a larger count starts with the requests of a smaller one."""
        make = self.make_request(setting)
        return [make(number) for number in range(count)]


def _load_wrapper(kind: Any, *names: str) -> Loader:
    def load(setting: Setting) -> Loaded:
        folders = [setting.folder(name) for name in names]
        network = kind.load(*folders, machine=setting.machine)
        return Loaded(network.compute, network.modules)

    return load


def _make_upscale(setting: Setting) -> Callable[[int], Any]:
    image = setting.image(setting.sizes.small, setting.sizes.small)
    return lambda _: RealEsrganRequest(image)


def _make_multiview(setting: Setting) -> Callable[[int], Any]:
    sizes = setting.sizes
    image = setting.image(sizes.small, sizes.small)
    (height, width), steps = sizes.sheet, sizes.steps["multiview"]
    return lambda number: Zero123PlusRequest(image, number, steps=steps, width=width, height=height)


def _make_from_large_image(request: Callable[[Any], Any]) -> RequestMaker:
    def make(setting: Setting) -> Callable[[int], Any]:
        image = setting.image(setting.sizes.large, setting.sizes.large)
        return lambda _: request(image)

    return make


def _make_caption(setting: Setting) -> Callable[[int], Any]:
    image = setting.image(setting.sizes.large, setting.sizes.large)
    return lambda _: BlipRequest(image, max_new_tokens=setting.sizes.tokens)


def _make_background(setting: Setting) -> Callable[[int], Any]:
    (height, width), steps = setting.sizes.scene, setting.sizes.steps["background"]
    depths = setting.image(height, width)[..., 0].astype(np.uint16) * 257
    return lambda number: SdxlBackgroundRequest(
        PROMPT, NEGATIVE, seed=number, depth=depths, width=width, height=height, steps=steps
    )


def _make_outpaint(setting: Setting) -> Callable[[int], Any]:
    """Cycle through the four shifts of a scene."""
    (height, width), steps = setting.sizes.scene, setting.sizes.steps["outpaint"]
    scene = setting.image(height, width)
    shifts = [(8 * x, 8 * y) for x in (-4, 4) for y in (-3, 3)]
    return lambda number: OutpaintRequest(
        scene, shifts[number % 4], PROMPT, NEGATIVE, number, steps
    )


STAGES = (
    StageCase(
        "upscale",
        _load_wrapper(RealEsrgan, "realesrgan_x2"),
        by_hand.upscale(2),
        _make_upscale,
        work.upscale_photos,
        "upscale: ",
    ),
    StageCase(
        "multiview",
        _load_wrapper(Zero123Plus, "zero123plus"),
        by_hand.multiview,
        _make_multiview,
        work.make_views,
        "multiview: ",
    ),
    StageCase(
        "caption",
        _load_wrapper(Blip, "blip"),
        by_hand.caption,
        _make_caption,
        work.caption_views,
        "caption: ",
    ),
    StageCase(
        "upscale_views",
        _load_wrapper(RealEsrgan, "realesrgan_x4"),
        by_hand.upscale(4),
        _make_upscale,
        work.upscale_views,
        "upscale_views: ",
    ),
    StageCase(
        "segment",
        _load_wrapper(Isnet, "isnet"),
        by_hand.segment,
        _make_from_large_image(IsnetRequest),
        work.segment_copies,
        "segment: ",
    ),
    StageCase(
        "depth",
        _load_wrapper(Dpt, "dpt"),
        by_hand.depth,
        _make_from_large_image(DepthRequest),
        work.estimate_depth,
        "depth: DPT",
    ),
    StageCase(
        "background",
        _load_wrapper(SdxlBackground, "sdxl", "controlnet", "sdxl_vae"),
        by_hand.background,
        _make_background,
        work.make_backgrounds,
        "background: SDXL, small",
    ),
    StageCase(
        "outpaint",
        _load_wrapper(SD2Outpaint, "sd2_inpaint", "asymmetric_vae"),
        by_hand.outpaint,
        _make_outpaint,
        work.outpaint_scenes,
        "outpaint: ",
        work.SHIFTS,
    ),
)
