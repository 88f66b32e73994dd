"""All checkpoints of the diffusion profile, tiny, as their publishers lay them out."""

import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

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

BUILDERS: dict[str, Callable[[Path], None]] = {
    "xinntao/RealESRGAN_x2plus": realesrgan.build_x2,
    "xinntao/RealESRGAN_x4plus": realesrgan.build_x4,
    "sudo-ai/zero123plus-v1.2": zero123plus.build,
    "xuebinqin/IS-Net": isnet.build,
    "facebook/sam-vit-base": sam.build,
    "hustvl/vitmatte-small-composition-1k": vitmatte.build,
    "Intel/dpt-large": dpt.build,
    "depth-anything/Depth-Anything-V2-Small-hf": depth_anything.build,
    "Salesforce/blip-image-captioning-large": blip.build,
    "florence-community/Florence-2-base": florence.build,
    "stabilityai/stable-diffusion-xl-base-1.0": sdxl.build,
    "diffusers/controlnet-depth-sdxl-1.0-small": sdxl.build_controlnet,
    "madebyollin/sdxl-vae-fp16-fix": sdxl.build_vae,
    "CompVis/stable-diffusion-safety-checker": sdxl.build_safety_checker,
    "ByteDance/SDXL-Lightning": partial(sdxl.build_lightning, steps=(4, 8)),
    "sd2-community/stable-diffusion-2-inpainting": sd2_inpaint.build,
    "stable-diffusion-v1-5/stable-diffusion-v1-5": sd15.build,
    "stable-diffusion-v1-5/stable-diffusion-inpainting": sd15.build_inpainting,
    "diffusers/stable-diffusion-xl-1.0-inpainting-0.1": sdxl.build_inpainting,
    "lllyasviel/control_v11p_sd15_canny": sd15.build_controlnet,
    "lllyasviel/control_v11p_sd15_seg": sd15.build_controlnet,
    "openai/clip-vit-base-patch32": clip_model.build,
    "cross-attention/asymmetric-autoencoder-kl-x-2": sd2_inpaint.build_asymmetric_vae,
}


def build_models_folder(folder: Path) -> None:
    """A models folder with all tiny checkpoints, filled as `synthset models pull --from` does."""
    from models.checkpoints.import_folder import import_checkpoint

    with tempfile.TemporaryDirectory() as temporary, pytest.MonkeyPatch.context() as patch:
        published = Path(temporary)
        for checkpoint, build in BUILDERS.items():
            build(published / checkpoint)
        patch.setenv("SYNTHSET_MODELS", str(folder))
        for checkpoint in BUILDERS:
            import_checkpoint(checkpoint, published, lambda *_: None)
