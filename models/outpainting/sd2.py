"""Outpainting with Stable Diffusion 2 inpainting: the network generates the border of a shift.

A scene is encoded once for all its shifts. They are whole latent cells, so the latents of a shifted
scene are a part of the scene's. Where the canvas is generated, the network gets the latents of an
empty (mid-grey) canvas, as in training. Shifts and scenes of one size share batches.
"""

from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from cachetools import LRUCache
from torch import Tensor, nn

from models.data.pixels import Bools, Pixels
from models.diffusion.safety import (
    SafeImage,
    SafetyChecker,
    UnsafeImage,
    generate_with_safety_check,
    retry_seed,
)
from models.diffusion.sd2.latents import CELL
from models.diffusion.sd2.networks import SD2Inpainting
from models.outpainting.latent_canvas import Shift, blend_original, inpaint_mask, shift_image
from models.runtime.batching import InvalidOutput, as_uint8, run_batched
from models.runtime.hardware import Machine

# The decoders, above all the asymmetric one, need several times the UNet's memory per image.
DECODED_AT_ONCE = 2
_CACHED_SCENES = 256
_CACHED_PROMPTS = 256

Key = TypeVar("Key", bound=Hashable)
# The size of a scene in cells, and the digest of its colours; b"" stands for an empty canvas.
SceneKey = tuple[tuple[int, int], bytes]


@dataclass(frozen=True, eq=False)
class OutpaintRequest:
    """One shift of one scene. Requests with equal scene pixels share an encoding.

    Args:
        scene: uint8 HxWx3 RGB, or HxWx4 with the object's alpha; 64 px or more per side.
        offset: (x, y) in px to the right and down, multiples of 8, at most half of the side.
        prompt, negative_prompt: describe the border that comes into view; 77 tokens count.
        seed: 0 .. 2**63 - 1.
        steps: of the sampler, 2 or more.
        guidance_scale: how strictly the prompt is followed; 1 or less switches guidance off.
        feather: px over which the scene fades into the border, 0 or more.
        nsfw_retries: how often a flagged image is generated again with another seed.

    Raises:
        ValueError: the scene or its offset can't be used.
    """

    scene: Pixels
    offset: tuple[int, int]
    prompt: str
    negative_prompt: str = ""
    seed: int = 0
    steps: int = 25
    guidance_scale: float = 7.5
    feather: int = 16
    nsfw_retries: int = 3

    def __post_init__(self) -> None:
        scene = self.scene
        if scene.ndim != 3 or scene.shape[2] not in (3, 4) or min(scene.shape[:2]) < 64:
            raise ValueError(
                f"a scene of shape {scene.shape} can't be outpainted; "
                "give HxWx3 or HxWx4, 64 px or more"
            )
        _ = self.shift

    @cached_property
    def shift(self) -> Shift:
        """The scene's shift over its canvas."""
        height, width = self.scene.shape[:2]
        return Shift((width, height), self.offset)

    @cached_property
    def mask(self) -> Bools:
        """The latent cells that the network generates, bool hxw."""
        alpha = self.scene[..., 3] if self.scene.shape[2] == 4 else None
        return inpaint_mask(self.shift, alpha)

    @property
    def prompts(self) -> tuple[str, ...]:
        """The texts that the network reads; with guidance the negative one comes first."""
        if self.guidance_scale > 1:
            return self.negative_prompt, self.prompt
        return (self.prompt,)


@dataclass(frozen=True)
class _LatentRequest:
    """A request with the tensors for its denoising, on the CPU in float32.

    ``texts`` [1 or 2, 77, D], the negative one first; ``masked`` [4, h, w]; ``mask`` [1, h, w].
    """

    request: OutpaintRequest
    seed: int
    texts: Tensor
    masked: Tensor
    mask: Tensor

    @property
    def batch_key(self) -> tuple[Any, ...]:
        """What the requests of a batch have in common."""
        return tuple(self.mask.shape), self.request.steps, len(self.texts)


class SD2Outpaint:
    """Shifted scenes with generated borders.

    Args:
        networks: of an inpainting checkpoint.
        machine: gives the batch size.
        checker: finds images that are not safe for work; None: no image is checked.
    """

    def __init__(
        self, networks: SD2Inpainting, machine: Machine, checker: SafetyChecker | None = None
    ) -> None:
        self.networks = networks
        self.modules: tuple[nn.Module, ...] = networks.modules
        if checker is not None:
            self.modules += checker.modules
        self._checker = checker
        self._batch = machine.batch
        # Tensors on the CPU in float32, so that they stay valid when networks are moved or cast.
        self._texts: LRUCache[str, Tensor] = LRUCache(_CACHED_PROMPTS)
        self._latents: LRUCache[SceneKey, Tensor] = LRUCache(_CACHED_SCENES)

    @classmethod
    def load(cls, *folders: Path, machine: Machine) -> "SD2Outpaint":
        """Load from the folder of the inpainting checkpoint and optional others in any order.

        The others are an asymmetric VAE, in place of the checkpoint's own decoder, and a safety
        checker. Their files show which is which.
        """
        root, *others = folders
        checkers = [folder for folder in others if _is_safety_checker(folder)]
        vaes = [folder for folder in others if folder not in checkers]
        return cls(
            SD2Inpainting.load(root, vaes[0] if vaes else None, machine),
            machine,
            SafetyChecker.load(checkers[0], machine=machine) if checkers else None,
        )

    def compute(self, requests: Sequence[OutpaintRequest]) -> Iterator[SafeImage | UnsafeImage]:
        """Yield the shifted scenes in order; their alpha shifts along.

        A scene with offset (0, 0) is returned unchanged, without any network. A flagged image is
        generated again with the seed plus 1, 2, ... The result is `InvalidOutput` if all retries
        are flagged or the numbers are not finite.
        """

        @torch.inference_mode()
        def generate(indices: Sequence[int], attempt: int) -> list[Pixels | InvalidOutput]:
            return self._generate(
                [(requests[index], retry_seed(requests[index].seed, attempt)) for index in indices]
            )

        flags = None if self._checker is None else self._checker.flags
        retries = [request.nsfw_retries for request in requests]
        return generate_with_safety_check(generate, retries, flags)

    def _generate(
        self, seeded: Sequence[tuple[OutpaintRequest, int]]
    ) -> list[Pixels | InvalidOutput]:
        """A result per request and seed: encode texts and scenes, denoise, decode."""
        results: dict[int, Any] = dict(enumerate(self._prepare(seeded)))
        groups: dict[Any, list[int]] = {}
        for index, prepared in results.items():
            if isinstance(prepared, _LatentRequest):
                groups.setdefault(prepared.batch_key, []).append(index)
        for members in groups.values():
            latent_requests = [results[index] for index in members]
            results |= dict(zip(members, self._paint(latent_requests), strict=True))
        return [results[index] for index in range(len(seeded))]

    def _prepare(
        self, seeded: Sequence[tuple[OutpaintRequest, int]]
    ) -> Iterator[_LatentRequest | Pixels | InvalidOutput]:
        """The tensors per request and seed; for a scene that is not shifted, its pixels."""
        shifted = [request for request, _ in seeded if request.shift.reveals_border]
        scenes = {id(request.scene): request.scene for request in shifted}
        keys = {scene_id: _scene_key(scene) for scene_id, scene in scenes.items()}
        latents = self._encode({keys[scene_id]: scene for scene_id, scene in scenes.items()})
        prompts = [prompt for request in shifted for prompt in request.prompts]
        texts = _look_up(self._texts, prompts, self._embed)
        for request, seed in seeded:
            if not request.shift.reveals_border:
                yield request.scene.copy()
                continue
            cells, digest = keys[id(request.scene)]
            tensors = [latents[cells, digest], latents[cells, b""]]
            tensors += [texts[prompt] for prompt in request.prompts]
            yield _latent_request(request, seed, tensors)

    def _embed(self, prompts: Sequence[str]) -> Iterator[Tensor | InvalidOutput]:
        networks = self.networks
        return run_batched(
            lambda batch: list(networks.embed(batch)),
            prompts,
            at_most=self._batch,
            modules=[networks.text_encoder],
        )

    def _encode(self, scenes: dict[SceneKey, Pixels]) -> dict[SceneKey, Tensor | InvalidOutput]:
        """The latents of scenes and of the empty canvases of their sizes."""

        def encode(keys: Sequence[SceneKey]) -> list[Tensor]:
            # Sizes differ, so each scene is encoded by itself.
            return [
                self.networks.encode([_pad_to_cells(scenes[key])])[0]
                if key in scenes
                else self.networks.encode_empty(key[0])[0]
                for key in keys
            ]

        keys = [*scenes, *((cells, b"") for cells, _ in scenes)]
        modules = [self.networks.vae]
        return _look_up(
            self._latents,
            keys,
            lambda missing: run_batched(encode, missing, at_most=1, modules=modules),
        )

    def _paint(self, requests: Sequence[_LatentRequest]) -> Iterator[Pixels | InvalidOutput]:
        """Yield results of requests with one batch key, in order."""
        unet, vae = [self.networks.unet], [self.networks.vae]
        latents = list(run_batched(self._denoise, requests, at_most=self._batch, modules=unet))
        valid = [
            (request, z)
            for request, z in zip(requests, latents, strict=True)
            if not isinstance(z, InvalidOutput)
        ]
        at_most = min(self._batch, DECODED_AT_ONCE)
        decoded = run_batched(self._decode, valid, at_most=at_most, modules=vae)
        for request, z in zip(requests, latents, strict=True):
            image = z if isinstance(z, InvalidOutput) else next(decoded)
            yield image if isinstance(image, InvalidOutput) else _finish(image, request.request)

    def _denoise(self, requests: Sequence[_LatentRequest]) -> list[Tensor]:
        latents = self.networks.denoise(
            texts=torch.stack([request.texts for request in requests], dim=1),
            masks=torch.stack([request.mask for request in requests]),
            masked=torch.stack([request.masked for request in requests]),
            seeds=[request.seed for request in requests],
            steps=requests[0].request.steps,
            scales=[request.request.guidance_scale for request in requests],
        )
        return list(latents)

    def _decode(self, valid: Sequence[tuple[_LatentRequest, Tensor]]) -> list[Tensor]:
        originals = [latent_request.request for latent_request, _ in valid]
        images = self.networks.decode(
            torch.stack([z for _, z in valid]),
            [
                _pad_to_cells(shift_image(request.scene[..., :3], request.shift))
                for request in originals
            ],
            torch.stack([latent_request.mask for latent_request, _ in valid]),
        )
        return list(images)


def _look_up(
    cache: LRUCache[Key, Tensor],
    keys: Sequence[Key],
    compute: Callable[[Sequence[Key]], Iterator[Tensor | InvalidOutput]],
) -> dict[Key, Tensor | InvalidOutput]:
    """The tensor of each key; those that the cache lacks are computed once and cached."""
    found: dict[Key, Tensor | InvalidOutput] = {key: cache[key] for key in keys if key in cache}
    missing = [key for key in dict.fromkeys(keys) if key not in found]
    for key, tensor in zip(missing, compute(missing), strict=True):
        if isinstance(tensor, InvalidOutput):
            found[key] = tensor
        else:
            found[key] = cache[key] = tensor.float().cpu()
    return found


def _latent_request(
    request: OutpaintRequest, seed: int, needed: Sequence[Tensor | InvalidOutput]
) -> _LatentRequest | InvalidOutput:
    """The tensors of a request, from [the scene's latents, the empty canvas', texts...]."""
    tensors = []
    for tensor in needed:
        if isinstance(tensor, InvalidOutput):
            return tensor
        tensors.append(tensor)
    scene, empty, *texts = tensors
    mask = torch.from_numpy(request.mask)
    shifted = empty.clone()
    shifted[:, *request.shift.known_cells] = scene[:, *request.shift.source_cells]
    masked = torch.where(mask, empty, shifted)
    return _LatentRequest(request, seed, torch.stack(texts), masked, mask[None].float())


def _finish(image: Tensor, request: OutpaintRequest) -> Pixels:
    height, width = request.scene.shape[:2]
    pixels = as_uint8(image[:, :height, :width])
    return blend_original(pixels, request.scene, request.shift, request.feather)


def _scene_key(scene: Pixels) -> SceneKey:
    colours = np.ascontiguousarray(scene[..., :3])
    digest = blake2b(str(colours.shape).encode() + colours.tobytes(), digest_size=16).digest()
    return (-(-scene.shape[0] // CELL), -(-scene.shape[1] // CELL)), digest


def _pad_to_cells(pixels: Pixels) -> Pixels:
    """RGB, padded to whole cells by repeating the last row and column."""
    beyond = (-pixels.shape[0] % CELL, -pixels.shape[1] % CELL)
    return np.pad(pixels[..., :3], ((0, beyond[0]), (0, beyond[1]), (0, 0)), mode="edge")


def _is_safety_checker(folder: Path) -> bool:
    inner, settings = folder / "safety_checker", folder / "preprocessor_config.json"
    return inner.is_dir() or settings.is_file()
