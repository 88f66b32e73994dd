"""Zero123++: six views of an object from one image (Shi et al., arXiv 2310.15110).

This sampling loop runs the published networks, v1.1 and v1.2, on many references at a time. The
reference conditions the views in two ways. Its CLIP embedding is added to that of the empty prompt,
with a weight that rises over the tokens. In every step the UNet also attends to the reference's
tokens (`models.views.zero123plus.attention`).
"""

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor, nn

from models.data.pixels import Pixels
from models.runtime.batching import (
    InvalidOutput,
    as_uint8,
    compute_in_groups,
    device_of,
    dtype_of,
    in_float32,
    run_batched,
)
from models.runtime.hardware import Machine
from models.views.cameras import ZERO123_VIEWS, Camera
from models.views.zero123plus.attention import ReferenceAttention
from models.views.zero123plus.background import paste_on_grey
from models.views.zero123plus.files import load_parts
from models.views.zero123plus.sampler import (
    Noise,
    SamplerStep,
    SeededNoise,
    Spacing,
    ancestral_step,
    sampler_steps,
    scale_latents,
)


class Zero123PlusError(ValueError):
    """An image or a setting that cannot be used; the message names it and the fix."""


ROWS, COLUMNS = 3, 2
# Per version, in the order of the sheet: azimuth relative to the reference, elevation absolute.
CAMERAS: Mapping[str, tuple[Camera, ...]] = {
    "v1.1": tuple(
        Camera(camera.azimuth, elevation)
        for camera, elevation in zip(ZERO123_VIEWS, (30, -20) * 3, strict=True)
    ),
    "v1.2": ZERO123_VIEWS,
}

# In training the authors shifted and scaled the latents and lowered the contrast of images, so that
# the noisiest step hides a sheet's grey background. These constants undo it (paper, section 3.1).
_LATENT_SCALE, _LATENT_SHIFT = 0.75, 0.22
_CONTRAST = 0.8 / 0.5
_LATENT_PIXELS = 8
_DECODE_BATCH = 4

SixViews = npt.NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Zero123PlusRequest:
    """An image to be seen from six sides, and all settings that decide the result.

    Attributes:
        image: square, uint8 HxWx3 RGB or HxWx4 RGBA, which is pasted on grey 127.
        seed: of the image's noise.
        steps: denoising steps.
        guidance_scale: weight of the reference against no reference; no guidance at 1 or below.
        spacing: how the steps lie in the 1000 steps of training.
        width: of the sheet in pixels; its views are square.
        height: of the sheet in pixels.
    """

    image: Pixels
    seed: int
    steps: int = 28
    guidance_scale: float = 4.0
    spacing: Spacing = "trailing"
    width: int = 640
    height: int = 960

    def __post_init__(self) -> None:
        """Raise Zero123PlusError for an image or a size that cannot be used."""
        shape = self.image.shape
        if len(shape) != 3 or shape[2] not in (3, 4) or shape[0] != shape[1] or shape[0] < 1:
            raise Zero123PlusError(
                f"an image of shape {shape} can't be used: give a square, HxWx3 RGB or HxWx4 RGBA "
                "(models.views.zero123plus.background.center_on_square makes one)"
            )
        side = self.width // COLUMNS
        if side < 8 or side % 8 or (self.width, self.height) != (COLUMNS * side, ROWS * side):
            raise Zero123PlusError(
                f"a sheet of {self.width}x{self.height} can't be made: give {COLUMNS} and {ROWS} "
                "times the same multiple of 8 (640x960 is what the network was trained on)"
            )

    @property
    def settings(self) -> tuple[Any, ...]:
        """The settings that requests of one batch must share."""
        return self.steps, self.guidance_scale, self.spacing, self.width, self.height


@dataclass(frozen=True)
class References:
    """A batch of references as the encoders read them: float32 [B, 3, S, S] for CLIP and VAE."""

    clip: Tensor
    vae: Tensor


@dataclass(frozen=True)
class _Condition:
    """What a batch is conditioned on. Under guidance the grey reference comes first.

    Attributes:
        latents: of the references [R, C, H, W].
        has_grey: whether there is a grey reference.
        embeddings: of the references [R, 77, C].
        rows: int64; the reference of each image in the read pass.
    """

    latents: Tensor
    has_grey: bool
    embeddings: Tensor
    rows: Tensor


class Zero123Plus:
    """The networks of one published repository, and their sampling loop."""

    def __init__(
        self,
        unet: nn.Module,
        vae: nn.Module,
        text_encoder: nn.Module,
        vision_encoder: nn.Module,
        *,
        clip_processor: Any,
        vae_processor: Any,
        empty_prompt: Tensor,
        ramp: Tensor,
        schedule: Mapping[str, Any],
        batch: int,
    ) -> None:
        """Take the networks and their settings.

        ``empty_prompt`` holds the token ids of "", int64 [1, 77]. ``ramp`` is the weight of the
        reference's embedding at each token, float32 [77]. ``schedule`` is the scheduler's settings.
        """
        self.modules: tuple[nn.Module, ...] = (unet, vae, text_encoder, vision_encoder)
        self._unet, self._vae, self._text, self._vision = map(_untyped, self.modules)
        self._clip_processor, self._vae_processor = clip_processor, vae_processor
        self._empty_prompt, self._ramp, self._schedule = empty_prompt, ramp, schedule
        self._batch = batch
        self._references = ReferenceAttention(unet)

    @classmethod
    def load(cls, *folders: Path, machine: Machine) -> "Zero123Plus":
        """Load one folder in the published layout, safetensors only.

        Raises:
            WrongCheckpointError: the folder is not a Zero123++ repository.
            WrongCheckpointError: weights are missing or belong to other networks.
        """
        (folder,) = folders
        return cls(**load_parts(folder, machine), batch=machine.batch)

    def compute(self, requests: Sequence[Zero123PlusRequest]) -> Iterator[SixViews | InvalidOutput]:
        """Yield six views per request, uint8 [6, S, S, 3] RGB in the order of `CAMERAS`.

        S is width / 2. Requests of equal settings share batches. Results come in the order of the
        requests.
        """

        def compute(_: Hashable, indices: list[int]) -> Iterator[SixViews | InvalidOutput]:
            group = [requests[index] for index in indices]
            sheets = run_batched(self._run, group, at_most=self._batch, modules=self.modules)
            for sheet in sheets:
                yield sheet if isinstance(sheet, InvalidOutput) else split_sheet(as_uint8(sheet))

        yield from compute_in_groups([request.settings for request in requests], compute)

    def prepare(self, images: Sequence[Pixels]) -> References:
        """Resize and normalise square RGB or RGBA images by the published settings.

        PIL resizes, as in training; torchvision's filters differ by a grey level.
        """
        opaque = [Image.fromarray(paste_on_grey(image)) for image in images]
        return References(
            clip=self._clip_processor(images=opaque, return_tensors="pt").pixel_values,
            vae=self._vae_processor(images=opaque, return_tensors="pt").pixel_values,
        )

    @torch.inference_mode()
    def sample(self, references: References, settings: Zero123PlusRequest, noise: Noise) -> Tensor:
        """Return sheets of six views, float32 [B, 3, height, width], in 0..1 but not clamped.

        Args:
            references: prepared images.
            settings: a request whose settings hold for all images; its image and seed are ignored.
            noise: read in this order: per image for its encoding, shared for the grey reference
                under guidance, per image for the first latents. Then in each step: shared and per
                image for the references, per image for the step.
        """
        condition = self._condition(references, settings.guidance_scale > 1, noise)
        steps = sampler_steps(self._schedule, settings.steps, settings.spacing)
        shape = (4, settings.height // _LATENT_PIXELS, settings.width // _LATENT_PIXELS)
        device = device_of(self._unet)
        latents = noise.per_image(shape).to(device) * max(step.sigma for step in steps)
        try:
            for step in steps:
                self._write_references(condition, step, noise)
                v = self._predict_guided(condition, latents, step, settings.guidance_scale)
                latents = ancestral_step(latents, v, step, noise.per_image(shape).to(device))
        finally:
            self._references.clear()
        return self._decode(latents)

    def _run(self, requests: Sequence[Zero123PlusRequest]) -> Sequence[Tensor]:
        references = self.prepare([request.image for request in requests])
        noise = SeededNoise([request.seed for request in requests])
        return self.sample(references, requests[0], noise).unbind()

    def _condition(self, references: References, is_guided: bool, noise: Noise) -> _Condition:
        images, device = references.vae, device_of(self._unet)
        count = len(images)
        # The grey reference is zero after normalisation and encoded like any image.
        grey = torch.zeros_like(images[:1])
        mean, deviation = self._encode(torch.cat([grey, images]) if is_guided else images)
        latents = mean[-count:] + deviation[-count:] * noise.per_image(mean.shape[1:]).to(device)
        positive, negative = self._embed(references.clip)
        if not is_guided:
            return _Condition(latents, False, positive, torch.arange(count, device=device))
        grey_latents = mean[:1] + deviation[:1] * noise.shared(mean.shape[1:]).to(device)
        rows = torch.cat([torch.zeros(count), torch.arange(count) + 1]).to(device, torch.int64)
        return _Condition(
            latents=torch.cat([grey_latents, latents]),
            has_grey=True,
            embeddings=torch.cat([negative, positive]),
            rows=rows,
        )

    def _encode(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and deviation of the VAE's posterior, float32.

        The UNet was trained on reference latents without the VAE's scaling factor.
        """
        posterior = self._vae.encode(_as(images, self._vae)).latent_dist
        return posterior.mean.float(), posterior.std.float()

    def _embed(self, clip_pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Return embeddings of the references [B, 77, C] and of the empty prompt [1, 77, C]."""
        ids = self._empty_prompt.to(device_of(self._text))
        empty = self._text(ids).last_hidden_state
        image = self._vision(_as(clip_pixels, self._vision)).image_embeds
        return empty + image[:, None] * self._ramp.to(image)[:, None], empty

    def _write_references(self, condition: _Condition, step: SamplerStep, noise: Noise) -> None:
        shape = condition.latents.shape[1:]
        draws = [noise.shared(shape)] if condition.has_grey else []
        draws.append(noise.per_image(shape))
        noisy = condition.latents + step.sigma * torch.cat(draws).to(condition.latents)
        with self._references.write():
            self._predict(noisy, condition.embeddings, step)

    def _predict_guided(
        self, condition: _Condition, latents: Tensor, step: SamplerStep, guidance_scale: float
    ) -> Tensor:
        """Return v for the sheets; one call computes both halves of classifier-free guidance."""
        embeddings = condition.embeddings[condition.rows]
        inputs = torch.cat([latents, latents]) if condition.has_grey else latents
        with self._references.read(condition.rows):
            v = self._predict(inputs, embeddings, step)
        if not condition.has_grey:
            return v
        unconditional, conditional = v.chunk(2)
        return unconditional + guidance_scale * (conditional - unconditional)

    def _predict(self, latents: Tensor, embeddings: Tensor, step: SamplerStep) -> Tensor:
        sample = _as(scale_latents(latents, step.sigma), self._unet)
        time = torch.tensor(step.time, device=sample.device)
        v: Tensor = self._unet(sample, time, encoder_hidden_states=embeddings).sample
        return v.float()

    def _decode(self, latents: Tensor) -> Tensor:
        unscaled = latents / _LATENT_SCALE + _LATENT_SHIFT
        unscaled = unscaled / self._vae.config.scaling_factor
        # Latents are float32 throughout, and a decoder in half precision would undo that. Decoding
        # is a thirtieth of the work.
        with in_float32([self._vae]):
            parts = [self._vae.decode(batch).sample for batch in unscaled.split(_DECODE_BATCH)]
        return torch.cat(parts) * (_CONTRAST / 2) + 0.5


def split_sheet(sheet: Pixels) -> SixViews:
    """Return the six views [6, S, S, 3] of a sheet [3S, 2S, 3], row by row."""
    side = sheet.shape[1] // COLUMNS
    cells = sheet.reshape(ROWS, side, COLUMNS, side, 3).swapaxes(1, 2)
    return np.ascontiguousarray(cells.reshape(ROWS * COLUMNS, side, side, 3))


def _as(tensor: Tensor, module: nn.Module) -> Tensor:
    return tensor.to(device=device_of(module), dtype=dtype_of(module))


def _untyped(module: nn.Module) -> Any:
    """Return a network of diffusers or transformers, whose types are not checked."""
    return module
