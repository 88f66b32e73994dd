"""Outpainting with Stable Diffusion 2 inpainting: scenes moved over their canvas, the border that
comes into view drawn by the network.

A scene is encoded once for all its shifts: they move by whole latent cells, so the latents of a
moved scene are a part of the scene's. Where the canvas is generated stand the latents of an empty
(mid-grey) canvas, as in training. Shifts and scenes of one size share batches.
"""

from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from models.data.pixels import Pixels
from models.diffusion.safety import SafetyChecker, generate_with_safety_check, seed_at
from models.diffusion.sd2.networks import SD2Inpainting
from models.outpainting.latent_canvas import (
    CELL,
    Bools,
    Move,
    inpaint_mask,
    paste_back,
    placed,
)
from models.runtime.batching import InvalidOutput, as_uint8, run_batched
from models.runtime.hardware import Machine

# The decoders, above all the asymmetric one, need several times the UNet's memory per image.
DECODED_AT_ONCE = 2
_SCENES_KEPT = 256
_PROMPTS_KEPT = 256

Name = TypeVar("Name", bound=Hashable)
# The size of a scene in cells, and the digest of its colours; none is the empty canvas.
Canvas = tuple[tuple[int, int], bytes]


@dataclass(frozen=True, eq=False)
class OutpaintRequest:
    """One shift of one scene. Shifts of a scene share its encoding if its pixels are equal.

    ``scene``: uint8 HxWx3 RGB, or HxWx4 with the object's matte, 64 px or more per side, any size.
    ``shift``: (x, y), the px it moves to the right and down, multiples of 8, at most half its side.
    ``prompt`` and ``negative_prompt`` describe the border that comes into view; 77 tokens count.
    ``seed``: 0 .. 2**63 - 1. ``steps``: of the sampler, 2 or more. ``guidance_scale``: 1 or less is
    without guidance. ``feather``: px over which the scene fades into the border.
    ``nsfw_retries``: how often an image that the safety checker flags is drawn anew.

    Raises:
        ValueError: a value is outside of what is said here.
    """

    scene: Pixels
    shift: tuple[int, int]
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
        if self.steps < 2:
            raise ValueError(f"steps is {self.steps}; give 2 or more")
        if self.feather < 0:
            raise ValueError(f"feather is {self.feather}; give 0 px or more")
        _ = self.move

    @cached_property
    def move(self) -> Move:
        """Where the scene goes on its canvas."""
        height, width = self.scene.shape[:2]
        return Move((width, height), self.shift)

    @cached_property
    def generated(self) -> Bools:
        """The latent cells that the network draws."""
        matte = self.scene[..., 3] if self.scene.shape[2] == 4 else None
        return inpaint_mask(self.move, matte)

    @property
    def prompts(self) -> tuple[str, ...]:
        """The texts that the network sees, the negative one first."""
        if self.guidance_scale > 1:
            return self.negative_prompt, self.prompt
        return (self.prompt,)


@dataclass(frozen=True, eq=False)
class OutpaintResult:
    """The moved scene, uint8 of the scene's shape, and how often it was drawn anew because of what
    it showed."""

    image: Pixels
    retries: int = 0


@dataclass(frozen=True)
class _Sketch:
    """A request with all that its denoising needs. On the CPU, float32.

    ``texts`` [1 or 2, 77, D], the negative one first; ``masked`` [4, h, w]; ``mask`` [1, h, w].
    """

    request: OutpaintRequest
    seed: int
    texts: Tensor
    masked: Tensor
    mask: Tensor

    @property
    def group(self) -> tuple[Any, ...]:
        """What must be equal to share a batch."""
        return tuple(self.mask.shape), self.request.steps, len(self.texts)


class _Kept(Generic[Name]):
    """The tensors of the latest names: on the CPU in float32, whatever becomes of the networks."""

    def __init__(self, at_most: int) -> None:
        self._at_most = at_most
        self._tensors: OrderedDict[Name, Tensor] = OrderedDict()

    def of(
        self,
        names: Sequence[Name],
        make: Callable[[Sequence[Name]], Iterator[Tensor | InvalidOutput]],
    ) -> dict[Name, Tensor | InvalidOutput]:
        """The tensor of each name; those that are not kept are made, each once."""
        found: dict[Name, Tensor | InvalidOutput] = {
            name: self._tensors[name] for name in names if name in self._tensors
        }
        missing = [name for name in dict.fromkeys(names) if name not in found]
        for name, made in zip(missing, make(missing), strict=True):
            found[name] = made if isinstance(made, InvalidOutput) else made.float().cpu()
        for name, tensor in found.items():
            if not isinstance(tensor, InvalidOutput):
                self._tensors[name] = tensor
                self._tensors.move_to_end(name)
        while len(self._tensors) > self._at_most:
            self._tensors.popitem(last=False)
        return found


class SD2Outpaint:
    """Moved scenes with drawn borders.

    Args:
        networks: of an inpainting checkpoint.
        machine: in what batches they run.
        checker: tells the images that are not safe for work; none: nothing is checked.
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
        self._texts: _Kept[str] = _Kept(_PROMPTS_KEPT)
        self._latents: _Kept[Canvas] = _Kept(_SCENES_KEPT)

    @classmethod
    def load(cls, *folders: Path, machine: Machine) -> "SD2Outpaint":
        """From the folder of the inpainting checkpoint. Others may follow in any order, told apart
        by their files: the asymmetric VAE, without which the checkpoint's own decodes, and a safety
        checker.

        Raises:
            WrongCheckpointError: a folder holds no 9-channel SD 1 or 2 inpainting network, a VAE of
                other latents, or not all weights.
        """
        root, *others = folders
        checkers = [folder for folder in others if _checks_safety(folder)]
        vaes = [folder for folder in others if folder not in checkers]
        return cls(
            SD2Inpainting.load(root, vaes[0] if vaes else None, machine),
            machine,
            SafetyChecker.load(checkers[0], machine=machine) if checkers else None,
        )

    def compute(
        self, requests: Sequence[OutpaintRequest]
    ) -> Iterator[OutpaintResult | InvalidOutput]:
        """The moved scenes in order; their mattes move along.

        A scene that does not move comes back as it is, without any network. What the safety checker
        flags is drawn anew with the seed plus 1, 2, ...; `InvalidOutput` when that does not help,
        or the
        numbers are not finite.
        """

        @torch.inference_mode()
        def draw(places: Sequence[int], attempt: int) -> list[Pixels | InvalidOutput]:
            return self._draw(
                [(requests[at], seed_at(requests[at].seed, attempt)) for at in places]
            )

        flags = None if self._checker is None else self._checker.flags
        bounds = [request.nsfw_retries for request in requests]
        for one in generate_with_safety_check(draw, bounds, flags):
            yield one if isinstance(one, InvalidOutput) else OutpaintResult(one.image, one.retries)

    def _draw(self, asked: Sequence[tuple[OutpaintRequest, int]]) -> list[Pixels | InvalidOutput]:
        """A result per request and seed: texts and scenes encoded, noise taken away, decoded."""
        results: dict[int, Any] = dict(enumerate(self._sketches(asked)))
        groups: dict[Any, list[int]] = {}
        for at, sketch in results.items():
            if isinstance(sketch, _Sketch):
                groups.setdefault(sketch.group, []).append(at)
        for members in groups.values():
            sketches = [results[at] for at in members]
            results |= dict(zip(members, self._paint(sketches), strict=True))
        return [results[at] for at in range(len(asked))]

    def _sketches(
        self, asked: Sequence[tuple[OutpaintRequest, int]]
    ) -> Iterator[_Sketch | Pixels | InvalidOutput]:
        """What the network needs per request; a scene that does not move is ready as it is."""
        moving = [request for request, _ in asked if request.move.reveals]
        scenes = {id(one.scene): one.scene for one in moving}
        canvases = {at: _canvas(scene) for at, scene in scenes.items()}
        latents = self._encoded({canvases[at]: scene for at, scene in scenes.items()})
        prompts = [prompt for request in moving for prompt in request.prompts]
        texts = self._texts.of(prompts, self._embedded)
        for request, seed in asked:
            if not request.move.reveals:
                yield request.scene.copy()
                continue
            cells, digest = canvases[id(request.scene)]
            needed = [latents[cells, digest], latents[cells, b""]]
            yield _sketch(request, seed, needed + [texts[one] for one in request.prompts])

    def _embedded(self, prompts: Sequence[str]) -> Iterator[Tensor | InvalidOutput]:
        networks = self.networks
        return run_batched(
            lambda batch: list(networks.embed(batch)),
            prompts,
            at_most=self._batch,
            modules=[networks.text_encoder],
        )

    def _encoded(self, scenes: dict[Canvas, Pixels]) -> dict[Canvas, Tensor | InvalidOutput]:
        """The latents of scenes and of the empty canvases of their sizes."""

        def encode(canvases: Sequence[Canvas]) -> list[Tensor]:
            # Sizes differ, so each is encoded by itself.
            return [
                self.networks.encode([_padded(scenes[canvas])])[0]
                if canvas in scenes
                else self.networks.encode_empty(canvas[0])[0]
                for canvas in canvases
            ]

        wanted = [*scenes, *((cells, b"") for cells, _ in scenes)]
        vae = self.networks.vae
        return self._latents.of(
            wanted, lambda missing: run_batched(encode, missing, at_most=1, modules=[vae])
        )

    def _paint(self, sketches: Sequence[_Sketch]) -> Iterator[Pixels | InvalidOutput]:
        """Results of requests of one group, in order."""
        unet, vae = [self.networks.unet], [self.networks.vae]
        latents = list(run_batched(self._denoised, sketches, at_most=self._batch, modules=unet))
        found = [
            (one, z)
            for one, z in zip(sketches, latents, strict=True)
            if not isinstance(z, InvalidOutput)
        ]
        at_once = min(self._batch, DECODED_AT_ONCE)
        decoded = run_batched(self._decoded, found, at_most=at_once, modules=vae)
        for sketch, z in zip(sketches, latents, strict=True):
            drawn = z if isinstance(z, InvalidOutput) else next(decoded)
            yield drawn if isinstance(drawn, InvalidOutput) else _finished(drawn, sketch.request)

    def _denoised(self, sketches: Sequence[_Sketch]) -> list[Tensor]:
        latents = self.networks.denoise(
            texts=torch.stack([one.texts for one in sketches], dim=1),
            masks=torch.stack([one.mask for one in sketches]),
            masked=torch.stack([one.masked for one in sketches]),
            seeds=[one.seed for one in sketches],
            steps=sketches[0].request.steps,
            scales=[one.request.guidance_scale for one in sketches],
        )
        return list(latents)

    def _decoded(self, found: Sequence[tuple[_Sketch, Tensor]]) -> list[Tensor]:
        images = self.networks.decode(
            torch.stack([z for _, z in found]),
            [_padded(placed(one.request.scene[..., :3], one.request.move)) for one, _ in found],
            torch.stack([one.mask for one, _ in found]),
        )
        return list(images)


def _sketch(
    request: OutpaintRequest, seed: int, needed: Sequence[Tensor | InvalidOutput]
) -> _Sketch | InvalidOutput:
    """From a scene's latents, the empty canvas' latents and the texts."""
    tensors = []
    for one in needed:
        if isinstance(one, InvalidOutput):
            return one
        tensors.append(one)
    scene, empty, *texts = tensors
    mask = torch.from_numpy(request.generated)
    moved = empty.clone()
    moved[:, *request.move.known_cells] = scene[:, *request.move.source_cells]
    masked = torch.where(mask, empty, moved)
    return _Sketch(request, seed, torch.stack(texts), masked, mask[None].float())


def _finished(drawn: Tensor, request: OutpaintRequest) -> Pixels:
    height, width = request.scene.shape[:2]
    pixels = as_uint8(drawn[:, :height, :width])
    return paste_back(pixels, request.scene, request.move, request.feather)


def _canvas(scene: Pixels) -> Canvas:
    colours = np.ascontiguousarray(scene[..., :3])
    digest = blake2b(str(colours.shape).encode() + colours.tobytes(), digest_size=16).digest()
    return (-(-scene.shape[0] // CELL), -(-scene.shape[1] // CELL)), digest


def _padded(pixels: Pixels) -> Pixels:
    """RGB, continued by its last row and column to whole cells."""
    beyond = (-pixels.shape[0] % CELL, -pixels.shape[1] % CELL)
    return np.pad(pixels[..., :3], ((0, beyond[0]), (0, beyond[1]), (0, 0)), mode="edge")


def _checks_safety(folder: Path) -> bool:
    inner, settings = folder / "safety_checker", folder / "preprocessor_config.json"
    return inner.is_dir() or settings.is_file()
