"""Writes checkpoints of the diffusion profile with random weights, in the published layouts.

Speed does not depend on the values of weights. Tiny checkpoints are those of the tests. Full-size
ones have the published shapes; their weights are drawn on the device, and nothing is downloaded.
"""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from benchmarks import full_size
from tests.checkpoints import blip, dpt, isnet, realesrgan, sd2_inpaint, sdxl, zero123plus
from tests.checkpoints.clip import text_config

TINY = {
    "sdxl": sdxl.build,
    "controlnet": sdxl.build_controlnet,
    "sdxl_vae": sdxl.build_vae,
    "sd2_inpaint": sd2_inpaint.build,
    "asymmetric_vae": sd2_inpaint.build_asymmetric_vae,
    "zero123plus": zero123plus.build,
    "realesrgan_x2": realesrgan.build_x2,
    "realesrgan_x4": realesrgan.build_x4,
    "isnet": isnet.build,
    "dpt": dpt.build,
    "blip": blip.build,
}


def write(name: str, folder: Path, device: torch.device | None, dtype: torch.dtype) -> Path:
    """Return a checkpoint's folder in ``folder``; write the checkpoint if it is missing.

    Args:
        name: a key of `TINY`.
        folder: holds all checkpoints.
        device: draws full-size weights; None: the checkpoint is tiny.
        dtype: of full-size weights.
    """
    size = "tiny" if device is None else f"full-{str(dtype).removeprefix('torch.')}"
    made = folder / size / name
    if (made / "done").is_file():
        return made
    shutil.rmtree(made, ignore_errors=True)
    made.mkdir(parents=True)
    TINY[name](made)
    if device is not None:
        gpus = [device.index or 0] if device.type == "cuda" else []
        with torch.random.fork_rng(devices=gpus), device:
            torch.manual_seed(0)
            _enlarge(name, made, dtype)
    (made / "done").touch()
    return made


def _enlarge(name: str, folder: Path, dtype: torch.dtype) -> None:
    """Replace the tiny networks by networks of the published size, drawn in float32."""
    for part, float32_network in _networks(name):
        network = float32_network.to(dtype)
        target = folder / part
        for old in (*target.glob("*.safetensors"), *target.glob("*.bin")):
            old.unlink()
        if hasattr(network, "save_pretrained"):
            network.save_pretrained(target)
        else:
            weights = {
                key: weight.cpu().contiguous() for key, weight in network.state_dict().items()
            }
            save_file(weights, target / f"{name}.safetensors")
    if name == "zero123plus":
        _resize(folder / "feature_extractor_clip", 224)
        _resize(folder / "feature_extractor_vae", 512)
    elif name in ("dpt", "blip"):
        _set(folder / "preprocessor_config.json", size={"height": 384, "width": 384})
    elif name == "isnet":
        (folder / "config.json").unlink()
        (folder / "isnet.safetensors").rename(folder / "isnet-general-use.safetensors")


def _networks(name: str) -> Iterator[tuple[str, Any]]:
    """Yield folder and network of each part of a checkpoint."""
    from transformers import CLIPTextModel, CLIPTextModelWithProjection

    build = full_size.NETWORKS
    if name == "sdxl":
        yield "unet", build["SDXL UNet"]()
        yield "vae", build["SDXL VAE"]()
        first = text_config(**full_size.CLIP_LARGE, num_attention_heads=12)
        yield "text_encoder", CLIPTextModel(first)
        second = text_config(**full_size.OPEN_CLIP_BIG, num_attention_heads=20, projection_dim=1280)
        yield "text_encoder_2", CLIPTextModelWithProjection(second)
    elif name in ("sd2_inpaint", "zero123plus"):
        inpaints = name == "sd2_inpaint"
        yield "unet", build["SD2 inpainting UNet" if inpaints else "Zero123++ UNet"]()
        yield "vae", _sd_vae()
        wide = text_config(**full_size.OPEN_CLIP_HUGE, num_attention_heads=16, hidden_act="gelu")
        yield "text_encoder", CLIPTextModel(wide)
        if not inpaints:
            yield "vision_encoder", _vision()
    elif name == "blip":
        yield "", _blip()
    elif name == "isnet":
        network = build["IS-Net"]()
        isnet.see_darkness(network)
        yield "", network
    else:
        single = {
            **{"controlnet": "ControlNet small", "sdxl_vae": "SDXL VAE", "dpt": "DPT-large"},
            **{"asymmetric_vae": "asymmetric VAE"},
            **{"realesrgan_x2": "RRDBNet x2", "realesrgan_x4": "RRDBNet x4"},
        }
        yield "", build[single[name]]()


def _sd_vae() -> Any:
    from diffusers import AutoencoderKL

    return AutoencoderKL(**full_size.VAE)


def _vision() -> Any:
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    config = CLIPVisionConfig(**full_size.VISION_HUGE, hidden_act="gelu")
    return CLIPVisionModelWithProjection(config)


def _blip() -> Any:
    """Build BLIP large, which never ends a sentence, so captions have the maximal length."""
    from transformers import BlipConfig, BlipForConditionalGeneration

    vision = {**full_size.BLIP_VISION["large"], "image_size": 384, "patch_size": 16}
    tokens = {"vocab_size": 30524, "bos_token_id": 30522, "sep_token_id": 3, "pad_token_id": 0}
    text = {**full_size.BLIP_TEXT, **tokens, "encoder_hidden_size": 1024}
    return BlipForConditionalGeneration(BlipConfig(text_config=text, vision_config=vision))


def _resize(folder: Path, side: int) -> None:
    crop = {"height": side, "width": side}
    _set(folder / "preprocessor_config.json", size={"shortest_edge": side}, crop_size=crop)


def _set(file: Path, **changed: Any) -> None:
    file.write_text(json.dumps({**json.loads(file.read_text()), **changed}))
