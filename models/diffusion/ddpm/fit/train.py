"""Fine-tune a diffusion model on crops of a class, or train one from nothing.

Sources: Moon et al., "Fine-tuning Diffusion Models with Limited Data", NeurIPS workshop 2022, for
what is trained; Nichol and Dhariwal, "Improved Denoising Diffusion Probabilistic Models", ICML
2021, for the loss.
"""

import contextlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from models.data.files import write_atomic
from models.data.pixels import Floats, Pixels, encode_png
from models.diffusion.ddpm.adapters.network import Adaptation, AdaptedUnet
from models.diffusion.ddpm.fit.crops import Crops
from models.diffusion.ddpm.fit.samples import draw_samples, sample_sheet
from models.diffusion.ddpm.fit.score import Evaluation, best_of, evaluate
from models.diffusion.ddpm.fit.settings import FitSettings
from models.diffusion.ddpm.generator import ADAPTATION
from models.diffusion.ddpm.loss import diffusion_loss
from models.diffusion.ddpm.schedule import noise_schedule
from models.diffusion.ddpm.unet import Unet
from models.diffusion.ddpm.weights_file import save_weights
from models.diffusion.finetuning.loop import Schedule, random_of, repeatable, train_weights
from models.runtime.batching import device_of

# Features of uint8 HxWx3 images, float32 [N, D].
Embed = Callable[[Sequence[Pixels]], Floats]
EVALUATIONS = "evaluations.json"
BEST = "best.safetensors"


@dataclass(frozen=True, kw_only=True)
class Fitted:
    """The file of the trained weights, the loss of every step, and the evaluations."""

    file: Path
    losses: list[float]
    evaluations: list[Evaluation]


def fit_unet(
    unet: Unet,
    crops: Crops,
    adaptation: Adaptation,
    settings: FitSettings,
    embed: Embed,
    *,
    seed: int,
    folder: Path,
    progress: Callable[[Evaluation], None] = lambda _: None,
    on_step: Callable[[Sequence[float]], None] = lambda _: None,
) -> Fitted:
    """Train what ``adaptation`` adds to a U-Net, and what it trains of it.

    A training that was stopped continues after the last saved step, and ends with the same weights.

    Args:
        unet: in float32; it is changed.
        crops: in the network's size; two or more.
        adaptation: its ``condition_channels`` must be the channels of the crops' pictures.
        settings: how long and how fast.
        embed: for the evaluations, such as `models.embedding.backbone.embed`.
        seed: 0 .. 2**62 - 1.
        folder: of this training alone; holds its state, sheets, evaluations and result.
        progress: called after each evaluation.
        on_step: called after each step with the losses of all steps so far; an exception that it
            raises stops the training.

    Raises:
        ValueError: the crops have other pictures than the network, or the training diverged.
    """
    if adaptation.condition_channels != crops.picture_channels:
        raise ValueError(
            f"condition_channels: {adaptation.condition_channels}, but pictures of the crops have "
            f"{crops.picture_channels}; set them alike"
        )
    folder.mkdir(parents=True, exist_ok=True)
    with repeatable(seed):
        training = _Training(
            AdaptedUnet(unet, adaptation), crops, settings, embed, seed, folder, on_step
        )
        return training.run(progress)


class _Training:
    """A training whose part between two evaluations resumes the part before."""

    def __init__(
        self,
        network: AdaptedUnet,
        crops: Crops,
        settings: FitSettings,
        embed: Embed,
        seed: int,
        folder: Path,
        on_step: Callable[[Sequence[float]], None],
    ) -> None:
        self.network, self.crops, self.settings = network, crops, settings
        self.embed, self.seed, self.folder, self.on_step = embed, seed, folder, on_step
        self.trained = network.train_adaptation()
        self.features = embed(crops.images)
        self.averages: list[Tensor] = []
        if settings.average_decay is not None:
            self.averages = [weight.detach().clone() for weight in self.trained.values()]
        config = network.unet.config
        self.noise = noise_schedule(config.curve, config.steps)

    def run(self, progress: Callable[[Evaluation], None]) -> Fitted:
        """Train to the end, or until the images get no better."""
        evaluations, steps = self._read_evaluations(), self.settings.steps
        done = evaluations[-1].step if evaluations else 0
        while done < steps and not self._should_stop(evaluations):
            end = min(steps, done + self.settings.evaluate_every)
            losses = self._train(end)
            evaluations.append(self._evaluate(float(np.mean(losses[done:])), end))
            self._keep(evaluations)
            progress(evaluations[-1])
            done = end
        losses = self._train(done)
        file = self.folder / ADAPTATION
        if self.settings.stop_after is None:
            self._save(file)
        else:
            write_atomic(file, (self.folder / BEST).read_bytes())
        return Fitted(file=file, losses=losses, evaluations=evaluations)

    def _train(self, steps: int) -> list[float]:
        """Train until so many steps are done, and return the loss of each."""
        settings = self.settings
        schedule = Schedule(
            steps=steps,
            learning_rate=settings.learning_rate,
            accumulation=settings.accumulation,
            save_every=settings.save_every,
            weight_decay=0.0,
            average_decay=settings.average_decay,
        )
        weights = list(self.trained.values())
        self.network.train()
        return train_weights(
            weights, self._loss, schedule, self.folder, self.on_step, self.averages
        )

    def _loss(self, draw: int) -> Tensor:
        """The mean loss of a micro batch."""
        random, device = random_of(self.seed, draw), device_of(self.network)
        images, pictures = self.crops.batch(self.seed, draw, self.settings.at_a_time)
        noise = torch.randn(images.shape, generator=random).to(device)
        steps = torch.randint(self.noise.steps, (len(images),), generator=random).to(device)
        moved = None if pictures is None else pictures.to(device)

        def predict(noisy: Tensor, times: Tensor) -> Tensor:
            with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
                predicted: Tensor = self.network(noisy, times, moved)
            return predicted.float()

        losses = diffusion_loss(
            predict,
            self.noise,
            images.to(device),
            noise,
            steps,
            self.settings.bound_weight,
            of_velocity=self.network.unet.config.prediction == "velocity",
        )
        return losses.total.mean()

    def _evaluate(self, loss: float, step: int) -> Evaluation:
        with self._averaged():
            samples = draw_samples(
                self.network, self.crops, self.settings.samples, self.settings.sample_spacing
            )
        sheet = encode_png(sample_sheet(samples))
        write_atomic(self.folder / f"samples-{step:06d}.png", sheet)
        return evaluate(step, loss, self.embed(samples), self.features)

    def _keep(self, evaluations: list[Evaluation]) -> None:
        """Write the evaluations, after the weights if these are the best."""
        if self.settings.stop_after is not None and best_of(evaluations) is evaluations[-1]:
            self._save(self.folder / BEST)
        rows = [evaluation.model_dump() for evaluation in evaluations]
        write_atomic(self.folder / EVALUATIONS, json.dumps(rows, indent=1).encode())

    def _read_evaluations(self) -> list[Evaluation]:
        file = self.folder / EVALUATIONS
        rows = json.loads(file.read_bytes()) if file.is_file() else []
        return [Evaluation.model_validate(row) for row in rows]

    def _should_stop(self, evaluations: list[Evaluation]) -> bool:
        limit = self.settings.stop_after
        if limit is None or not evaluations:
            return False
        return len(evaluations) - 1 - evaluations.index(best_of(evaluations)) >= limit

    def _save(self, file: Path) -> None:
        """Write the trained weights, or their averages, whole or not at all."""
        part = file.with_suffix(".part")
        with self._averaged():
            save_weights(self.network.adaptation, self.trained, part)
        os.replace(part, file)

    @contextlib.contextmanager
    def _averaged(self) -> Iterator[None]:
        """Put the averages, if any, in place of the weights."""
        weights = list(self.trained.values())[: len(self.averages)]
        before = [weight.detach().clone() for weight in weights]
        _copy(self.averages, weights)
        try:
            yield
        finally:
            _copy(before, weights)


@torch.no_grad()
def _copy(sources: Sequence[Tensor], targets: Sequence[Tensor]) -> None:
    for source, target in zip(sources, targets, strict=True):
        target.copy_(source)
