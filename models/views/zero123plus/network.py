"""Zero123++: six views of an object from one picture (Shi et al., arXiv 2310.15110).

Our own loop over the published networks, v1.1 and v1.2, many references at a time. The picture
steers in two ways: its CLIP embedding is added to the empty prompt's with a weight that rises over
the tokens, and in every step the UNet attends to its tokens (`models.views.zero123plus.attention`).
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
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
    device_of,
    dtype_of,
    in_float32,
    run_batched,
)
from models.runtime.hardware import Machine
from models.views.cameras import ZERO123_VIEWS, Camera
from models.views.zero123plus.attention import References
from models.views.zero123plus.background import on_grey
from models.views.zero123plus.files import Zero123PlusError, load_parts
from models.views.zero123plus.sampler import (
    Level,
    Noise,
    SeededNoise,
    Spacing,
    ancestral_step,
    levels,
    scaled,
)

ROWS, COLUMNS = 3, 2
# Azimuth relative to the picture's, elevation absolute, in the order of the sheet, per version.
CAMERAS: Mapping[str, tuple[Camera, ...]] = {
    "v1.1": tuple(
        Camera(one.azimuth, elevation)
        for one, elevation in zip(ZERO123_VIEWS, (30, -20) * 3, strict=True)
    ),
    "v1.2": ZERO123_VIEWS,
}

# The authors moved and shrank the latents of training, and lowered the contrast of pictures, so
# that the noisiest step hides a sheet's grey ground; these undo it (paper, section 3.1).
_LATENT_SCALE, _LATENT_SHIFT = 0.75, 0.22
_CONTRAST = 0.8 / 0.5
_LATENT_PIXELS = 8
_DECODED_AT_ONCE = 4

SixViews = npt.NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Zero123PlusRequest:
    """One picture to be seen from six sides, and all that decides what comes out.

    ``image`` is square, uint8 HxWx3 RGB or HxWx4 RGB + matte (put on grey 127). ``width`` and
    ``height`` are the sheet's in px; its views are square. No guidance at 1 or below.
    """

    image: Pixels
    seed: int
    steps: int = 28
    guidance_scale: float = 4.0
    spacing: Spacing = "trailing"
    width: int = 640
    height: int = 960

    def __post_init__(self) -> None:
        """Raises Zero123PlusError for a picture or a size that can't be used."""
        shape = self.image.shape
        if len(shape) != 3 or shape[2] not in (3, 4) or shape[0] != shape[1] or shape[0] < 1:
            raise Zero123PlusError(
                f"a picture of shape {shape} can't be turned: give a square, HxWx3 RGB or HxWx4 "
                "RGB + matte (models.views.zero123plus.background.recentred makes one)"
            )
        side = self.width // COLUMNS
        if side < 8 or side % 8 or (self.width, self.height) != (COLUMNS * side, ROWS * side):
            raise Zero123PlusError(
                f"a sheet of {self.width}x{self.height} can't be made: give {COLUMNS} and {ROWS} "
                "times the same multiple of 8 (640x960 is what the network was trained on)"
            )
        if self.steps < 1:
            raise Zero123PlusError(f"steps {self.steps}: give 1 or more")

    @property
    def settings(self) -> tuple[Any, ...]:
        """What requests of one batch have in common."""
        return self.steps, self.guidance_scale, self.spacing, self.width, self.height


@dataclass(frozen=True)
class Pictures:
    """A batch of references as the encoders want them: float32 [B, 3, S, S] for CLIP and VAE."""

    clip: Tensor
    vae: Tensor


@dataclass(frozen=True)
class _Condition:
    """What steers a batch: reference latents and embeddings [R, 77, C], the grey reference first
    under guidance, and the reference of each image in the read pass.
    """

    latents: Tensor
    grey: bool
    embeddings: Tensor
    rows: Tensor


class Zero123Plus:
    """The networks of one published repository, and the sampling of sheets with them."""

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
        """``empty_prompt`` holds the token ids of "", int64 [1, 77]; ``ramp`` the weight of the
        picture's embedding at each of them, float32 [77]; ``schedule`` the scheduler's settings.
        """
        self.modules: tuple[nn.Module, ...] = (unet, vae, text_encoder, vision_encoder)
        self._unet, self._vae, self._text, self._vision = map(_untyped, self.modules)
        self._clip_processor, self._vae_processor = clip_processor, vae_processor
        self._empty_prompt, self._ramp, self._schedule = empty_prompt, ramp, schedule
        self._batch = batch
        self._references = References(unet)

    @classmethod
    def load(cls, *folders: Path, machine: Machine) -> "Zero123Plus":
        """The pipeline from one folder in the published layout, safetensors only.

        Raises:
            Zero123PlusError: the folder is no such repository.
            WrongCheckpointError: the weights in it are not those of its networks.
        """
        (folder,) = folders
        return cls(**load_parts(folder, machine), batch=machine.batch)

    def compute(self, requests: Sequence[Zero123PlusRequest]) -> Iterator[SixViews | InvalidOutput]:
        """Six views per request, uint8 [6, S, S, 3] RGB in the order of `CAMERAS`, S = width / 2.

        Requests of equal settings share batches, in any order; results come in that of requests.
        """
        alike: dict[tuple[Any, ...], list[int]] = defaultdict(list)
        for place, request in enumerate(requests):
            alike[request.settings].append(place)
        results: dict[int, SixViews | InvalidOutput] = {}
        for places in alike.values():
            sheets = run_batched(
                self._sheets,
                [requests[place] for place in places],
                at_most=self._batch,
                modules=self.modules,
            )
            for place, sheet in zip(places, sheets, strict=True):
                results[place] = sheet if isinstance(sheet, InvalidOutput) else cut(as_uint8(sheet))
        yield from (results[place] for place in range(len(requests)))

    def pictures(self, images: Sequence[Pixels]) -> Pictures:
        """Square RGB or RGB + matte images resized and normalised by the published settings.

        By PIL, which the networks were trained with: torchvision's filters differ by a grey level.
        """
        opaque = [Image.fromarray(on_grey(one)) for one in images]
        return Pictures(
            clip=self._clip_processor(images=opaque, return_tensors="pt").pixel_values,
            vae=self._vae_processor(images=opaque, return_tensors="pt").pixel_values,
        )

    @torch.inference_mode()
    def sheets(self, pictures: Pictures, like: Zero123PlusRequest, noise: Noise) -> Tensor:
        """Sheets of six views, float32 [B, 3, height, width], in 0..1 but not clamped.

        Args:
            pictures: the references.
            like: a request with the settings of them all; its image and seed are not read.
            noise: first a draw of each image for its encoding, and one for the grey reference
                under guidance; then, per image, the first latents; then per step the noise on the
                references (grey, own) and the noise of the step (own).
        """
        condition = self._condition(pictures, like.guidance_scale > 1, noise)
        steps = levels(self._schedule, like.steps, like.spacing)
        shape = (4, like.height // _LATENT_PIXELS, like.width // _LATENT_PIXELS)
        device = device_of(self._unet)
        latents = noise.own(shape).to(device) * max(step.sigma for step in steps)
        try:
            for step in steps:
                self._write_references(condition, step, noise)
                v = self._guided(condition, latents, step, like.guidance_scale)
                latents = ancestral_step(latents, v, step, noise.own(shape).to(device))
        finally:
            self._references.forget()
        return self._decoded(latents)

    def _sheets(self, requests: Sequence[Zero123PlusRequest]) -> Sequence[Tensor]:
        pictures = self.pictures([request.image for request in requests])
        noise = SeededNoise([request.seed for request in requests])
        return self.sheets(pictures, requests[0], noise).unbind()

    def _condition(self, pictures: Pictures, guided: bool, noise: Noise) -> _Condition:
        count, device = len(pictures.vae), device_of(self._unet)
        # The grey reference is zero after normalisation, encoded like any picture.
        grey = torch.zeros_like(pictures.vae[:1])
        mean, deviation = self._encoded(torch.cat([grey, pictures.vae]) if guided else pictures.vae)
        own = mean[-count:] + deviation[-count:] * noise.own(mean.shape[1:]).to(device)
        positive, negative = self._embeddings(pictures.clip)
        if not guided:
            return _Condition(own, False, positive, torch.arange(count, device=device))
        draw = noise.grey(mean.shape[1:]).to(device)
        rows = torch.cat([torch.zeros(count), torch.arange(count) + 1]).to(device, torch.int64)
        return _Condition(
            latents=torch.cat([mean[:1] + deviation[:1] * draw, own]),
            grey=True,
            embeddings=torch.cat([negative, positive]),
            rows=rows,
        )

    def _encoded(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and deviation of the VAE's posterior, float32. Reference latents are used as they
        come: the UNet was trained on them without the VAE's scaling factor."""
        posterior = self._vae.encode(_as(images, self._vae)).latent_dist
        return posterior.mean.float(), posterior.std.float()

    def _embeddings(self, clip_pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Of the pictures, [B, 77, C], and of nothing, [1, 77, C], in the UNet's dtype."""
        ids = self._empty_prompt.to(device_of(self._text))
        empty = self._text(ids).last_hidden_state
        seen = self._vision(_as(clip_pixels, self._vision)).image_embeds
        return empty + seen[:, None] * self._ramp.to(seen)[:, None], empty

    def _write_references(self, condition: _Condition, level: Level, noise: Noise) -> None:
        shape = condition.latents.shape[1:]
        draws = [noise.grey(shape)] if condition.grey else []
        draws.append(noise.own(shape))
        noisy = condition.latents + level.sigma * torch.cat(draws).to(condition.latents)
        with self._references.written():
            self._predict(noisy, condition.embeddings, level)

    def _guided(
        self, condition: _Condition, latents: Tensor, level: Level, guidance_scale: float
    ) -> Tensor:
        """v for the sheets; both halves of classifier-free guidance in one call."""
        embeddings = condition.embeddings[condition.rows]
        twice = torch.cat([latents, latents]) if condition.grey else latents
        with self._references.read(condition.rows):
            v = self._predict(twice, embeddings, level)
        if not condition.grey:
            return v
        without, with_picture = v.chunk(2)
        return without + guidance_scale * (with_picture - without)

    def _predict(self, latents: Tensor, embeddings: Tensor, level: Level) -> Tensor:
        sample = _as(scaled(latents, level.sigma), self._unet)
        time = torch.tensor(level.time, device=sample.device)
        v: Tensor = self._unet(sample, time, encoder_hidden_states=embeddings).sample
        return v.float()

    def _decoded(self, latents: Tensor) -> Tensor:
        unscaled = latents / _LATENT_SCALE + _LATENT_SHIFT
        unscaled = unscaled / self._vae.config.scaling_factor
        # Latents are float32 all the way. A decoder that rounds to half precision would undo that:
        # it is a thirtieth of the work.
        with in_float32([self._vae]):
            parts = [self._vae.decode(one).sample for one in unscaled.split(_DECODED_AT_ONCE)]
        return torch.cat(parts) * (_CONTRAST / 2) + 0.5


def cut(sheet: Pixels) -> SixViews:
    """The six views [6, S, S, 3] of a sheet [3S, 2S, 3], row by row."""
    side = sheet.shape[1] // COLUMNS
    cells = sheet.reshape(ROWS, side, COLUMNS, side, 3).swapaxes(1, 2)
    return np.ascontiguousarray(cells.reshape(ROWS * COLUMNS, side, side, 3))


def _as(tensor: Tensor, module: nn.Module) -> Tensor:
    return tensor.to(device=device_of(module), dtype=dtype_of(module))


def _untyped(module: nn.Module) -> Any:
    """Networks of diffusers and transformers, whose types are not checked."""
    return module
