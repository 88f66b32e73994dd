"""The stages of the diffusion profile as the study's listings do them: one image at a time.

A pipeline of the library per image, with its default settings, PIL images in and out.
"""

from typing import Any

import numpy as np
import torch
from PIL import Image

from benchmarks.diffusion_setting import NEGATIVE, PROMPT, Loaded, Loader, Setting
from models.hardware import Machine


def upscale(factor: int) -> Loader:
    """The network on one image after another, numbers scaled on the CPU."""

    def load(setting: Setting) -> Loaded:
        from spandrel import ModelLoader

        machine = setting.machine
        found = ModelLoader().load_from_file(
            next(setting.folder(f"realesrgan_x{factor}").glob("*.safetensors"))
        )
        network = found.model.eval().to(machine.device, machine.dtype)
        image = Image.fromarray(setting.image(setting.sizes.small, setting.sizes.small))

        @torch.no_grad()
        def run(count: int) -> None:
            for _ in range(count):
                levels = np.asarray(image, np.float32).transpose(2, 0, 1)[None] / 255
                result = network(torch.from_numpy(levels).to(machine.device, machine.dtype))
                array = result[0].float().clamp(0, 1).cpu().numpy().transpose(1, 2, 0)
                Image.fromarray((array * 255).round().astype(np.uint8))

        return Loaded(run)

    return load


def multiview(setting: Setting) -> Loaded:
    """The published pipeline needs remote code, so this is our loop, one image after another."""
    from models.zero123plus import Zero123Plus, Zero123PlusRequest

    sizes, machine = setting.sizes, setting.machine
    network = Zero123Plus.load(
        setting.folder("zero123plus"), machine=Machine(machine.device, machine.dtype)
    )
    image = Image.fromarray(setting.image(sizes.small, sizes.small))
    (height, width), steps = sizes.sheet, sizes.steps["multiview"]

    def run(count: int) -> None:
        for at in range(count):
            asked = Zero123PlusRequest(
                np.asarray(image), at, steps=steps, width=width, height=height
            )
            (views,) = network.compute([asked])
            if isinstance(views, np.ndarray):
                list(map(Image.fromarray, views))

    return Loaded(run)


def segment(setting: Setting) -> Loaded:
    """The steps of the published script, resizing on the CPU."""
    from models.isnet import Isnet

    machine = setting.machine
    loaded = Isnet.load(setting.folder("isnet"), machine=machine)
    network, side = loaded.network, loaded.side
    image = Image.fromarray(setting.image(setting.sizes.large, setting.sizes.large))

    @torch.no_grad()
    def run(count: int) -> None:
        resize = torch.nn.functional.interpolate
        for _ in range(count):
            levels = torch.from_numpy(np.array(image, np.float32)).permute(2, 0, 1)[None]
            small = resize(levels, (side, side), mode="bilinear").to(torch.uint8) / 255 - 0.5
            found = network(small.to(machine.device, machine.dtype))
            finest = found[0][0] if isinstance(found[0], tuple | list) else found[0]
            full = resize(finest.float(), levels.shape[-2:], mode="bilinear")[0, 0]
            stretched = (full - full.min()) / (full.max() - full.min() + 1e-8)
            Image.fromarray((stretched * 255).cpu().numpy().astype(np.uint8))

    return Loaded(run)


def depth(setting: Setting) -> Loaded:
    """transformers' example."""
    from transformers import DPTForDepthEstimation
    from transformers.models.dpt.image_processing_pil_dpt import DPTImageProcessorPil

    from models.dpt import UNREAD
    from models.pretrained import load_strictly

    folder, machine = setting.folder("dpt"), setting.machine
    network = load_strictly(DPTForDepthEstimation, folder, machine, unread=UNREAD)
    processor = DPTImageProcessorPil.from_pretrained(folder)
    image = Image.fromarray(setting.image(setting.sizes.large, setting.sizes.large))

    @torch.no_grad()
    def run(count: int) -> None:
        for _ in range(count):
            ready = processor(images=image, return_tensors="pt")["pixel_values"]
            near = network(ready.to(machine.device, machine.dtype)).predicted_depth
            size = image.size[::-1]
            full = torch.nn.functional.interpolate(near[:, None].float(), size=size, mode="bicubic")
            array = full[0, 0].cpu().numpy()
            Image.fromarray((array * 255 / np.max(array)).astype(np.uint8))

    return Loaded(run)


def caption(setting: Setting) -> Loaded:
    """transformers' example."""
    from transformers import BertTokenizer, BlipForConditionalGeneration, BlipProcessor
    from transformers.models.blip.image_processing_pil_blip import BlipImageProcessorPil

    from models.pretrained import load_strictly

    folder, machine = setting.folder("blip"), setting.machine
    network = load_strictly(BlipForConditionalGeneration, folder, machine)
    tokenizer = BertTokenizer.from_pretrained(folder)
    processor = BlipProcessor(BlipImageProcessorPil.from_pretrained(folder), tokenizer)
    image = Image.fromarray(setting.image(setting.sizes.large, setting.sizes.large))

    def run(count: int) -> None:
        for _ in range(count):
            ready = processor(images=image, return_tensors="pt")["pixel_values"]
            ids = network.generate(
                pixel_values=ready.to(machine.device, machine.dtype),
                max_new_tokens=setting.sizes.tokens,
                num_beams=3,
            )
            tokenizer.decode(ids[0], skip_special_tokens=True)

    return Loaded(run)


def background(setting: Setting) -> Loaded:
    """diffusers' pipeline."""
    from diffusers import (
        AutoencoderKL,
        ControlNetModel,
        StableDiffusionXLControlNetPipeline,
        UniPCMultistepScheduler,
    )

    machine = setting.machine
    told: dict[str, Any] = {"local_files_only": True, "dtype": machine.dtype}
    pipeline = StableDiffusionXLControlNetPipeline.from_pretrained(
        setting.folder("sdxl"),
        controlnet=ControlNetModel.from_pretrained(setting.folder("controlnet"), **told),
        vae=AutoencoderKL.from_pretrained(setting.folder("sdxl_vae"), **told),
        add_watermarker=False,
        **told,
    ).to(machine.device)
    pipeline.scheduler = UniPCMultistepScheduler.from_config(pipeline.scheduler.config)
    pipeline.set_progress_bar_config(disable=True)
    (height, width), steps = setting.sizes.scene, setting.sizes.steps["background"]
    control = Image.fromarray(setting.image(height, width))

    def run(count: int) -> None:
        for at in range(count):
            _ = pipeline(
                PROMPT,
                negative_prompt=NEGATIVE,
                image=control,
                height=height,
                width=width,
                num_inference_steps=steps,
                guidance_scale=5.0,
                generator=torch.Generator("cpu").manual_seed(at),
            ).images[0]

    return Loaded(run)


def outpaint(setting: Setting) -> Loaded:
    """diffusers' pipeline."""
    from diffusers import AsymmetricAutoencoderKL, StableDiffusionInpaintPipeline

    machine = setting.machine
    told: dict[str, Any] = {"local_files_only": True, "dtype": machine.dtype}
    pipeline = StableDiffusionInpaintPipeline.from_pretrained(
        setting.folder("sd2_inpaint"),
        vae=AsymmetricAutoencoderKL.from_pretrained(setting.folder("asymmetric_vae"), **told),
        safety_checker=None,
        requires_safety_checker=False,
        **told,
    ).to(machine.device)
    pipeline.set_progress_bar_config(disable=True)
    (height, width), steps = setting.sizes.scene, setting.sizes.steps["outpaint"]
    scene = Image.fromarray(setting.image(height, width))
    missing = np.zeros((height, width), np.uint8)
    missing[:24], missing[:, :32] = 255, 255
    mask = Image.fromarray(missing)

    def run(count: int) -> None:
        for at in range(count):
            _ = pipeline(
                PROMPT,
                negative_prompt=NEGATIVE,
                image=scene,
                mask_image=mask,
                height=height,
                width=width,
                num_inference_steps=steps,
                generator=torch.Generator("cpu").manual_seed(at),
            ).images[0]

    return Loaded(run)
