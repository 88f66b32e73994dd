"""Draw images with a fine-tuned diffusion model, and paint them into scenes.

Sources: see `models.diffusion.ddpm.chain`, `models.diffusion.ddpm.repaint.inpaint` and
`models.diffusion.ddpm.process`.
"""

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor, nn

from models.data.pixels import Bools, Pixels
from models.diffusion.ddpm.adapters.network import Adaptation, AdaptedUnet, load_adaptation
from models.diffusion.ddpm.chain import Draw, Method, as_levels, as_signed, draw_images
from models.diffusion.ddpm.classifier import NoisyClassifier
from models.diffusion.ddpm.load import load_classifier, load_unet
from models.diffusion.ddpm.process import Gradient, ReverseProcess, classifier_gradient
from models.diffusion.ddpm.repaint.crop import crop_around, cut, cut_mask, paste
from models.diffusion.ddpm.repaint.inpaint import inpaint
from models.diffusion.ddpm.repaint.time_list import repaint_times
from models.diffusion.ddpm.schedule import noise_schedule
from models.diffusion.ddpm.weights_file import holds
from models.runtime.batching import (
    InvalidOutput,
    compute_in_groups,
    device_of,
    generator,
    noise_like,
    run_batched,
)
from models.runtime.compile import compile_blocks
from models.runtime.hardware import Machine
from models.runtime.loading import WrongCheckpointError

ADAPTATION, CLASSIFIER = "adaptation.safetensors", "classifier.safetensors"


@dataclass(frozen=True, eq=False, kw_only=True)
class DrawRequest:
    """An image to draw, of the size of the network.

    Args:
        seed: 0 .. 2**63 - 1.
        spacing: steps that are done, see `models.diffusion.ddpm.schedule.kept_steps`.
        method: "ddpm", or "ddim", which needs fewer steps.
        eta: noise of "ddim", 0..1.
        picture: what the image follows, uint8 HxWxC of the network's size; None: nothing.
        size_class: class of the classifier that the image is led to; None: the classifier is not
            used.
        guidance_scale: strength of the classifier.
    """

    seed: int
    spacing: str = "250"
    method: Method = "ddpm"
    eta: float = 0.0
    picture: Pixels | None = None
    size_class: int | None = None
    guidance_scale: float = 1.0

    @property
    def batch_key(self) -> tuple[Hashable, ...]:
        """What the images of a batch have in common."""
        guidance = None if self.size_class is None else self.guidance_scale
        return self.spacing, self.method, self.eta, self.picture is None, guidance


@dataclass(frozen=True, eq=False, kw_only=True)
class RepaintRequest(DrawRequest):
    """A part of a scene to paint; all other px stay as they are, to the bit.

    The network paints in a square around the part. ``method`` must be "ddpm".

    Args:
        scene: uint8 HxWx3.
        mask: bool HxW, true where the scene is painted.
        context: side of the square, times that of the mask's box; 1 or more.
        jump: steps that a jump leads back to more noise.
        rounds: how often each part between two jumps is done; 1: no jumps.
    """

    scene: Pixels
    mask: Bools
    context: float = 2.0
    jump: int = 10
    rounds: int = 10

    @property
    def batch_key(self) -> tuple[Hashable, ...]:
        """What the images of a batch have in common."""
        return *super().batch_key, self.jump, self.rounds


class Ddpm:
    """A diffusion model of images, adapted to a class or not, and maybe a classifier for guidance.

    Args:
        network: the model.
        classifier: of noisy images; None: no request may have a ``size_class``.
        machine: gives the batch size.
    """

    def __init__(
        self, network: AdaptedUnet, classifier: NoisyClassifier | None, machine: Machine
    ) -> None:
        self.network, self.classifier, self._machine = network.eval(), classifier, machine
        self.modules: tuple[nn.Module, ...] = (network, classifier) if classifier else (network,)
        compile_blocks(network, machine)

    @classmethod
    def load(cls, *folders: Path, machine: Machine) -> "Ddpm":
        """Load a U-Net, and optionally what was trained for it.

        Args:
            folders: the folder or file of the U-Net, see `load_unet`. Then files that `fit_unet`
                or `fit_size_classifier` left, or folders that hold ``adaptation.safetensors`` or
                ``classifier.safetensors`` or both.
            machine: where it runs, and in which precision.

        Raises:
            WrongCheckpointError: a file or folder holds something else.
        """
        base, *trained = folders
        unet = load_unet(base, machine)
        if unet.config.classes is not None:
            raise WrongCheckpointError(
                f"{base}: a network with classes; give one that was trained without"
            )
        network = AdaptedUnet(unet, Adaptation(bottleneck=None)).requires_grad_(False)
        classifier = None
        for file in (file for source in trained for file in _trained_files(source)):
            if holds(Adaptation, file):
                network = load_adaptation(unet, file)
            else:
                classifier = load_classifier(file, machine)
        return cls(network, classifier, machine)

    @cached_property
    def size(self) -> int:
        """Side of the images that the network makes, px."""
        return self.network.unet.config.image_size

    def compute(
        self, requests: Sequence[DrawRequest | RepaintRequest]
    ) -> Iterator[Pixels | InvalidOutput]:
        """Yield a uint8 image HxWx3 per request, in order: drawn ones, or whole painted scenes.

        Raises:
            ValueError: a mask can't be painted, a picture has another size, or there is no
                classifier.
        """
        for request in requests:
            self._check(request)

        def compute(_: Hashable, places: list[int]) -> Iterator[Tensor | InvalidOutput]:
            group = [requests[place] for place in places]
            return run_batched(self._run, group, at_most=self._machine.batch, modules=self.modules)

        results = compute_in_groups([request.batch_key for request in requests], compute)
        for request, result in zip(requests, results, strict=True):
            if isinstance(result, InvalidOutput):
                yield result
            elif isinstance(request, RepaintRequest):
                crop = crop_around(request.mask, self.size, request.context)
                yield paste(request.scene, as_levels(result), request.mask, crop)
            else:
                yield as_levels(result)

    @torch.inference_mode()
    def _run(self, batch: Sequence[DrawRequest | RepaintRequest]) -> list[Tensor]:
        """Images [3, S, S] in -1..1 of requests with one `batch_key`."""
        first, process = batch[0], self._process(batch)
        draw = self._noise([request.seed for request in batch])
        if not isinstance(first, RepaintRequest):
            return list(draw_images(process, draw, first.method, first.eta))
        known, keep = self._known(batch)
        times = repaint_times(process.schedule.steps, first.jump, first.rounds)
        painted = inpaint(process, known, keep, draw, times)
        return list(keep * known + (1 - keep) * painted)

    def _process(self, batch: Sequence[DrawRequest]) -> ReverseProcess:
        config, pictures = self.network.unet.config, None
        if batch[0].picture is not None:
            signed = [
                as_signed(request.picture) for request in batch if request.picture is not None
            ]
            pictures = torch.stack(signed).to(device_of(self.network))
        return ReverseProcess(
            lambda noisy, times: self.network(noisy, times, pictures),
            noise_schedule(config.curve, config.steps, batch[0].spacing),
            "learned" if config.learned_variance else "large",
            gradient=self._gradient(batch),
        )

    def _gradient(self, batch: Sequence[DrawRequest]) -> Gradient | None:
        wanted = [request.size_class for request in batch if request.size_class is not None]
        if not wanted or self.classifier is None:
            return None
        classes = torch.tensor(wanted, device=device_of(self.network))
        return classifier_gradient(self.classifier, classes, batch[0].guidance_scale)

    def _noise(self, seeds: Sequence[int]) -> Draw:
        generators = [generator(seed) for seed in seeds]
        like = torch.empty(0, device=device_of(self.network))
        return lambda: noise_like((3, self.size, self.size), generators, like)

    def _known(self, batch: Sequence[DrawRequest]) -> tuple[Tensor, Tensor]:
        """The squares in -1..1, [B, 3, S, S], and 1 where they are known, [B, 1, S, S]."""
        known, keep = [], []
        for request in batch:
            assert isinstance(request, RepaintRequest)
            crop = crop_around(request.mask, self.size, request.context)
            known.append(as_signed(cut(request.scene, crop, self.size)))
            keep.append(torch.from_numpy(~cut_mask(request.mask, crop, self.size))[None].float())
        device = device_of(self.network)
        return torch.stack(known).to(device), torch.stack(keep).to(device)

    def _check(self, request: DrawRequest) -> None:
        if request.size_class is not None and self.classifier is None:
            raise ValueError(
                "size_class: there is no classifier; train it, or leave size_class out"
            )
        encoder = self.network.condition_encoder
        channels = encoder.inputs if encoder is not None else None
        shape = None if request.picture is None else request.picture.shape
        expected = None if channels is None else (self.size, self.size, channels)
        if shape is not None and shape != expected:
            raise ValueError(f"picture: its shape is {shape}; the network needs {expected}")
        if isinstance(request, RepaintRequest):
            crop_around(request.mask, self.size, request.context)


def _trained_files(source: Path) -> list[Path]:
    """The files of trained weights that a path names."""
    if source.is_file():
        return [source]
    files = [source / name for name in (ADAPTATION, CLASSIFIER)]
    found = [file for file in files if file.is_file()]
    if not found:
        raise WrongCheckpointError(f"{source}: no {ADAPTATION} or {CLASSIFIER}; train again")
    return found
