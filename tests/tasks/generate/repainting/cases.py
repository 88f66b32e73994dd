"""Scenes, placements, squares and tiny networks in a store, as the stages of painting get them."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from models.data.pixels import Pixels, encode_png
from models.data.records import Annotation, Artifact, Box, Media, SourceImage
from models.diffusion.ddpm.adapters.network import Adaptation, AdaptedUnet
from models.diffusion.ddpm.weights_file import save_weights
from tasks.engine.run_context import RunContext
from tasks.settings.ddpm import BaseFromScratch, FitAll, SquareCrops
from tasks.settings.repaint import CherryPicker, CherryPickerOn, Repaint, RepaintOn, repaint_for
from tasks.settings.repaint import picker_for as settings_of_picker
from tasks.store.layout import digest_of
from tests.models.diffusion.ddpm.tiny import TINY, tiny_unet

SIZE = TINY.image_size
BASE = BaseFromScratch(size=SIZE)
SQUARES = SquareCrops()
FAST = {"steps": 2, "rounds": 1, "candidates": 1, "margin": 0.0, "cherry_picker": None}
REAL: Box = (2.0, 3.0, 10.0, 8.0)


def put(
    run: RunContext,
    stage: str,
    name: str,
    blob: bytes,
    media: Media = "png",
    **fields: Any,
) -> Artifact:
    """An artifact with these bytes in the run's store."""
    artifact = Artifact(
        key=digest_of(json.dumps([stage, name, fields], default=str).encode() + blob),
        stage=stage,
        version=1,
        name=name,
        media=media,
        digest=digest_of(blob),
        size=len(blob),
        **fields,
    )
    run.store.put(artifact, blob)
    return artifact


def put_scene(run: RunContext, number: int, width: int = 80, height: int = 60) -> SourceImage:
    """A photo of noise with a disc in its left upper corner."""
    pixels = np.random.default_rng(number).integers(0, 256, (height, width, 3), np.uint8)
    size = {"width": width, "height": height}
    image = put(run, "ingest", f"disc/{number}", encode_png(pixels), metadata=size)
    notes = (Annotation(label="disc", box=REAL),)
    return SourceImage(
        name=image.name, file=image.name, split="train", image=image, annotations=notes
    )


def put_placement(run: RunContext, scene: SourceImage, boxes: Sequence[Sequence[int]]) -> Artifact:
    """Where new discs go in a scene."""
    placed = [
        {"label": "disc", "box": list(box), "context": "random", "score": None} for box in boxes
    ]
    real = [{"label": "disc", "box": list(REAL), "mask": None}]
    content = {**scene.image.metadata, "placed": placed, "objects": real}
    variant: dict[str, int | str] = {"label": "disc", "place": 0}
    blob = json.dumps(content).encode()
    return put(run, "place_objects", scene.name, blob, "json", variant=variant)


def draw_disc(seed: int, with_mask: bool = True) -> Pixels:
    """A disc on dark noise in the middle of a square, with its mask."""
    rng = np.random.default_rng(seed)
    mask = np.hypot(*(np.indices((SIZE, SIZE)) - (SIZE - 1) / 2)) < SIZE / 4
    pixels = np.where(mask[..., None], 230, rng.integers(0, 60, (SIZE, SIZE, 3)))
    alpha = np.where(mask, 255, 0)[..., None]
    return np.concatenate([pixels, alpha] if with_mask else [pixels], axis=2).astype(np.uint8)


def put_squares(run: RunContext, count: int, with_mask: bool = True) -> list[Artifact]:
    """Squares of discs."""
    middle = [SIZE / 4, SIZE / 4, SIZE / 2, SIZE / 2]
    return [
        put(
            run,
            "object_square",
            f"disc/{number}",
            encode_png(draw_disc(number, with_mask)),
            variant={"square": 0},
            metadata={"box": middle, "side": SIZE},
        )
        for number in range(count)
    ]


def put_weights(run: RunContext, folder: Path, channels: int | None = None) -> list[Artifact]:
    """A tiny base, and what was fitted to it."""
    folder.mkdir(exist_ok=True)
    adaptation = Adaptation(bottleneck=8, condition_channels=channels)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        weights = AdaptedUnet(tiny_unet(1), adaptation).train_adaptation()
    save_weights(TINY, tiny_unet().state_dict(), folder / "base")
    save_weights(adaptation, weights, folder / "fitted")
    return [
        put(run, stage, "disc/weights", (folder / name).read_bytes(), "safetensors")
        for stage, name in (("pretrain_ddpm", "base"), ("fit_ddpm", "fitted"))
    ]


def painting(condition: str = "none", **fields: Any) -> RepaintOn:
    """Settings of a painting of two steps."""
    fit = FitAll.model_validate({"condition": condition})
    return repaint_for(BASE, SQUARES, fit, Repaint.model_validate({**FAST, **fields}), 1)


def picking(condition: str = "none", **fields: Any) -> CherryPickerOn:
    """Settings of a cherry-picker that learns from few squares."""
    fit = FitAll.model_validate({"condition": condition})
    picker = CherryPicker.model_validate({"background": 10, **fields})
    return settings_of_picker(BASE, SQUARES, fit, picker)
