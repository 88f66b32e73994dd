"""Every wrapper of a network with its tiny checkpoints, and what it is asked."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from models.captioning.blip import Blip, BlipRequest
from models.captioning.florence import Florence, FlorenceRequest
from models.depth.dpt import DepthAnything, DepthRequest, Dpt
from models.diffusion.sd15.text_to_image import (
    Sd15ControlNet,
    Sd15ControlRequest,
    Sd15Request,
    Sd15TextToImage,
)
from models.diffusion.sdxl.depth_controlnet import SdxlBackground, SdxlBackgroundRequest
from models.diffusion.sdxl.image_to_image import SdxlImg2Img, SdxlImg2ImgRequest
from models.diffusion.sdxl.text_to_image import SdxlTextRequest, SdxlTextToImage
from models.embedding.clip import Clip, ClipRequest
from models.outpainting.sd2 import OutpaintRequest, SD2Outpaint
from models.runtime.batching import InvalidOutput
from models.runtime.hardware import Machine
from models.segmentation.isnet import Isnet, IsnetRequest
from models.segmentation.segment_anything import SamMask, SamRequest, SegmentAnything
from models.segmentation.vitmatte import VitMatte, VitMatteRequest
from models.upscaling.real_esrgan import RealEsrgan, RealEsrganRequest
from models.views.zero123plus.network import Zero123Plus, Zero123PlusRequest
from tests.checkpoints import (
    blip,
    clip_model,
    depth_anything,
    dpt,
    florence,
    isnet,
    realesrgan,
    sam,
    sd2_inpaint,
    sd15,
    sdxl,
    vitmatte,
    zero123plus,
)

SIDE = 64


@dataclass(frozen=True)
class Case:
    """A wrapper with its tiny checkpoints, and what it is asked for the image of a number."""

    kind: Any
    builders: Sequence[Callable[[Path], None]]
    request: Callable[[int], Any]

    def load(self, folder: Path, machine: Machine) -> Any:
        """The wrapper, its checkpoints being written below ``folder`` first."""
        folders = [folder / str(at) for at in range(len(self.builders))]
        for build, one in zip(self.builders, folders, strict=True):
            if not one.exists():
                build(one)
        return self.kind.load(*folders, machine=machine)


def photo(seed: int, side: int = SIDE) -> Any:
    return np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)


def edge(seed: int) -> VitMatteRequest:
    inside = np.zeros((SIDE, SIDE), np.float32)
    inside[16:48, 16:48] = 1
    return VitMatteRequest(photo(seed), inside)


def scene(seed: int) -> SdxlBackgroundRequest:
    depth = photo(seed)[..., 0].astype(np.uint16) * 257
    return SdxlBackgroundRequest(
        f"a car {seed}", "blurry", seed, steps=2, depth=depth, width=SIDE, height=SIDE
    )


def from_text(seed: int) -> Sd15Request:
    return Sd15Request(f"a car {seed}", "blurry", seed, steps=2, width=SIDE, height=SIDE)


def in_outlines(seed: int) -> Sd15ControlRequest:
    settings: Any = {"steps": 2, "width": SIDE, "height": SIDE, "condition": photo(seed)}
    return Sd15ControlRequest(f"a car {seed}", "blurry", seed, **settings)


def sdxl_from_text(seed: int) -> SdxlTextRequest:
    return SdxlTextRequest(f"a car {seed}", "blurry", seed, steps=2, width=SIDE, height=SIDE)


def safety_retries(seed: int) -> SdxlImg2ImgRequest:
    return SdxlImg2ImgRequest(f"a car {seed}", "blurry", seed, steps=4, image=photo(seed))


def shifted(seed: int) -> OutpaintRequest:
    return OutpaintRequest(photo(seed), (16, -8), "grass", "mug", seed=seed, steps=2)


def turned(seed: int) -> Zero123PlusRequest:
    return Zero123PlusRequest(photo(seed), seed, steps=2, width=64, height=96)


CASES = {
    "realesrgan": Case(
        RealEsrgan, [realesrgan.build_x2], lambda at: RealEsrganRequest(photo(at, 32))
    ),
    "zero123plus": Case(Zero123Plus, [zero123plus.build], turned),
    "isnet": Case(Isnet, [isnet.build], lambda at: IsnetRequest(photo(at))),
    "sam": Case(SegmentAnything, [sam.build], lambda at: SamRequest(photo(at), (16, 16, 48, 48))),
    "vitmatte": Case(VitMatte, [vitmatte.build], edge),
    "dpt": Case(Dpt, [dpt.build], lambda at: DepthRequest(photo(at))),
    "depth anything": Case(
        DepthAnything, [depth_anything.build], lambda at: DepthRequest(photo(at))
    ),
    "blip": Case(Blip, [blip.build], lambda at: BlipRequest(photo(at), max_new_tokens=12)),
    "florence": Case(
        Florence, [florence.build], lambda at: FlorenceRequest(photo(at), max_new_tokens=12)
    ),
    "clip": Case(Clip, [clip_model.build], lambda at: ClipRequest(photo(at))),
    "sdxl controlnet": Case(
        SdxlBackground, [sdxl.build, sdxl.build_controlnet, sdxl.build_vae], scene
    ),
    "sdxl img2img": Case(SdxlImg2Img, [sdxl.build, sdxl.build_vae], safety_retries),
    "sdxl text": Case(SdxlTextToImage, [sdxl.build, sdxl.build_vae], sdxl_from_text),
    "sd15": Case(Sd15TextToImage, [sd15.build], from_text),
    "sd15 controlnet": Case(Sd15ControlNet, [sd15.build, sd15.build_controlnet], in_outlines),
    "sd2 inpaint": Case(
        SD2Outpaint, [sd2_inpaint.build, sd2_inpaint.build_asymmetric_vae], shifted
    ),
}


def apart(one: Any, other: Any) -> float:
    """Grey levels by which two results differ at most; captions by 0 or without end."""
    assert not isinstance(one, InvalidOutput)
    assert not isinstance(other, InvalidOutput)
    if isinstance(one, str):
        return 0.0 if one == other else np.inf
    one, other = (getattr(result, "image", result) for result in (one, other))
    one, other = (
        result.alpha if isinstance(result, SamMask) else result for result in (one, other)
    )
    scale = {np.dtype(np.uint8): 1, np.dtype(np.float32): 255}[one.dtype]
    return float(np.abs(one.astype(np.float64) - other).max()) * scale
