"""Runs the networks of the diffusion profile by hand, as the study's listings do: image by image.

Each image goes through the library's pipeline with its default settings, as a PIL image. Requests
and results have the types of the wrappers, so that stages can use either.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image

from benchmarks.diffusion_setting import Loaded, Loader, Setting
from models.data import pixels
from models.runtime.hardware import Machine


def _load_image_by_image(make: Callable[[Any], Any]) -> Loaded:
    @torch.no_grad()
    def compute(requests: Sequence[Any]) -> Iterator[Any]:
        return iter([make(request) for request in requests])

    return Loaded(compute)


def upscale(factor: int) -> Loader:
    """Run the network on each image; the CPU scales numbers and resamples a matte."""

    def load(setting: Setting) -> Loaded:
        from spandrel import ModelLoader

        machine = setting.machine
        model = ModelLoader().load_from_file(
            next(setting.folder(f"realesrgan_x{factor}").glob("*.safetensors"))
        )
        network = model.model.eval().to(machine.device, machine.dtype)

        def make(request: Any) -> Any:
            levels = np.asarray(request.image[..., :3], np.float32).transpose(2, 0, 1)[None] / 255
            result = network(torch.from_numpy(levels).to(machine.device, machine.dtype))
            array = result[0].float().clamp(0, 1).cpu().numpy().transpose(1, 2, 0)
            large = Image.fromarray((array * 255).round().astype(np.uint8))
            if request.image.shape[2] == 4:
                large.putalpha(Image.fromarray(request.image[..., 3]).resize(large.size))
            return np.array(large)

        return _load_image_by_image(make)

    return load


def multiview(setting: Setting) -> Loaded:
    """Run synthset's loop on each image, because the published pipeline needs remote code."""
    from models.views.zero123plus.network import Zero123Plus

    machine = Machine(setting.machine.device, setting.machine.dtype)
    network = Zero123Plus.load(setting.folder("zero123plus"), machine=machine)
    return _load_image_by_image(lambda request: next(network.compute([request])))


def segment(setting: Setting) -> Loaded:
    """Run the steps of the published script, which resizes on the CPU."""
    from models.segmentation.isnet import Isnet

    machine = setting.machine
    loaded = Isnet.load(setting.folder("isnet"), machine=machine)
    network, side = loaded.network, loaded.side
    resize = torch.nn.functional.interpolate

    def make(request: Any) -> Any:
        levels = torch.from_numpy(np.array(request.image, np.float32)).permute(2, 0, 1)[None]
        small = resize(levels, (side, side), mode="bilinear").to(torch.uint8) / 255 - 0.5
        outputs = network(small.to(machine.device, machine.dtype))
        finest = outputs[0][0] if isinstance(outputs[0], tuple | list) else outputs[0]
        full = resize(finest.float(), levels.shape[-2:], mode="bilinear")[0, 0]
        stretched = (full - full.min()) / (full.max() - full.min() + 1e-8)
        mask = Image.fromarray((stretched * 255).cpu().numpy().astype(np.uint8))
        return np.asarray(mask, np.float32) / 255

    return _load_image_by_image(make)


def depth(setting: Setting) -> Loaded:
    """Run the example of transformers."""
    from transformers import DPTForDepthEstimation
    from transformers.models.dpt.image_processing_pil_dpt import DPTImageProcessorPil

    from models.depth.dpt import UNREAD
    from models.runtime.loading import load_strictly

    folder, machine = setting.folder("dpt"), setting.machine
    network = load_strictly(DPTForDepthEstimation, folder, machine, unread=UNREAD)
    processor = DPTImageProcessorPil.from_pretrained(folder)

    def make(request: Any) -> Any:
        image = Image.fromarray(pixels.rgb(request.image))
        ready = processor(images=image, return_tensors="pt")["pixel_values"]
        near = network(ready.to(machine.device, machine.dtype)).predicted_depth
        size = image.size[::-1]
        full = torch.nn.functional.interpolate(near[:, None].float(), size=size, mode="bicubic")
        array = full[0, 0].cpu().numpy()
        return np.clip(array / max(float(np.max(array)), 1e-8), 0, 1)

    return _load_image_by_image(make)


def caption(setting: Setting) -> Loaded:
    """Run the example of transformers."""
    from transformers import BertTokenizer, BlipForConditionalGeneration, BlipProcessor
    from transformers.models.blip.image_processing_pil_blip import BlipImageProcessorPil

    from models.runtime.loading import load_strictly

    folder, machine = setting.folder("blip"), setting.machine
    network = load_strictly(BlipForConditionalGeneration, folder, machine)
    tokenizer = BertTokenizer.from_pretrained(folder)
    processor = BlipProcessor(BlipImageProcessorPil.from_pretrained(folder), tokenizer)

    def make(request: Any) -> str:
        image = Image.fromarray(pixels.rgb(request.image))
        ready = processor(images=image, return_tensors="pt")["pixel_values"]
        prompt: dict[str, Any] = {}
        if request.prompt_prefix:
            ids = tokenizer(request.prompt_prefix, return_tensors="pt")["input_ids"]
            prompt = {"input_ids": ids.to(machine.device)}
        generated = network.generate(
            pixel_values=ready.to(machine.device, machine.dtype),
            max_new_tokens=request.max_new_tokens,
            num_beams=request.num_beams,
            **prompt,
        )
        return str(tokenizer.decode(generated[0], skip_special_tokens=True))

    return _load_image_by_image(make)


def background(setting: Setting) -> Loaded:
    """Run the pipeline of diffusers."""
    from diffusers import (
        AutoencoderKL,
        ControlNetModel,
        StableDiffusionXLControlNetPipeline,
        UniPCMultistepScheduler,
    )

    from models.diffusion.safety import SafeImage

    machine = setting.machine
    options: dict[str, Any] = {"local_files_only": True, "dtype": machine.dtype}
    pipeline = StableDiffusionXLControlNetPipeline.from_pretrained(
        setting.folder("sdxl"),
        controlnet=ControlNetModel.from_pretrained(setting.folder("controlnet"), **options),
        vae=AutoencoderKL.from_pretrained(setting.folder("sdxl_vae"), **options),
        add_watermarker=False,
        **options,
    ).to(machine.device)
    pipeline.scheduler = UniPCMultistepScheduler.from_config(pipeline.scheduler.config)
    pipeline.set_progress_bar_config(disable=True)

    def make(request: Any) -> SafeImage:
        control = Image.fromarray((request.depth >> 8).astype(np.uint8)).convert("RGB")
        (image,) = pipeline(
            request.prompt,
            negative_prompt=request.negative,
            image=control,
            height=request.height,
            width=request.width,
            num_inference_steps=request.steps,
            guidance_scale=request.guidance_scale,
            generator=torch.Generator("cpu").manual_seed(request.seed),
        ).images
        return SafeImage(np.array(image))

    return _load_image_by_image(make)


def outpaint(setting: Setting) -> Loaded:
    """Run the pipeline of diffusers."""
    from diffusers import AsymmetricAutoencoderKL, StableDiffusionInpaintPipeline

    from models.diffusion.safety import SafeImage
    from models.diffusion.sd2.latents import CELL
    from models.outpainting.latent_canvas import shift_image

    machine = setting.machine
    options: dict[str, Any] = {"local_files_only": True, "dtype": machine.dtype}
    pipeline = StableDiffusionInpaintPipeline.from_pretrained(
        setting.folder("sd2_inpaint"),
        vae=AsymmetricAutoencoderKL.from_pretrained(setting.folder("asymmetric_vae"), **options),
        safety_checker=None,
        requires_safety_checker=False,
        **options,
    ).to(machine.device)
    pipeline.set_progress_bar_config(disable=True)

    def make(request: Any) -> SafeImage:
        canvas = shift_image(request.scene, request.shift)
        missing = np.kron(request.mask, np.ones((CELL, CELL), np.uint8))
        height, width = canvas.shape[:2]
        (image,) = pipeline(
            request.prompt,
            negative_prompt=request.negative_prompt,
            image=Image.fromarray(pixels.rgb(canvas)),
            mask_image=Image.fromarray(missing[:height, :width].astype(np.uint8) * 255),
            height=height,
            width=width,
            num_inference_steps=request.steps,
            guidance_scale=request.guidance_scale,
            generator=torch.Generator("cpu").manual_seed(request.seed),
        ).images
        return SafeImage(np.dstack([np.array(image), canvas[..., 3:]]))

    return _load_image_by_image(make)
