"""The stages of the diffusion profile at work on drawn inputs: the product's own code, from the
store back to the store.

What a stage does apart from its networks (cut-outs, mattes of views, repaired masks, prompts,
pasting, PNG files) is part of its time. Its networks are those that the caller gives.
"""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np

from benchmarks.diffusion_setting import PROMPT, Loaded, Setting, disc, picture, timed
from models.data import pixels
from models.data.records import Artifact, Record
from models.runtime import network_pool
from tasks.engine.jobs import Job, StageInput, StageOutput
from tasks.engine.run_context import RunContext
from tasks.engine.stage import stage
from tasks.generate.background import background
from tasks.generate.caption import caption
from tasks.generate.depth import depth
from tasks.generate.multiview import multiview
from tasks.generate.outpaint import outpaint
from tasks.generate.segment import segment
from tasks.generate.upscale import upscale
from tasks.store.store import open_store

Call = Callable[[], list[Artifact]]
# The call of a stage that gives as many results as it is told, of inputs that it has drawn.
Work = Callable[[RunContext, Setting, int], Call]
SHIFTS = 4


class DrawnInput(Record):
    """An input: RGB, RGB + matte, or 16-bit depth of the disc."""

    kind: Literal["rgb", "rgba", "depth"]
    height: int
    width: int


def _numbered(_parameters: Record, count: int) -> list[Job]:
    return [Job((), {"view": at}, name="mug/1") for at in range(count)]


@stage("drawn", version=1, plan=_numbered)
def drawn(inputs: Sequence[StageInput], parameters: DrawnInput) -> Iterator[StageOutput]:
    """No two alike, so that no stage finds its work done."""
    size = parameters.height, parameters.width
    inside = disc(*size)
    for item in inputs:
        colours = picture(*size, int(item.job.variant["view"]))
        if parameters.kind == "depth":
            near = colours[..., 0].astype(np.uint16) * 200 + 10_000
            yield StageOutput(np.where(inside, near, 0).astype(np.uint16))
        elif parameters.kind == "rgba":
            yield StageOutput(pixels.with_matte(colours, inside.astype(np.float32)))
        else:
            yield StageOutput(colours)


def _images(run: RunContext, kind: Any, size: tuple[int, int], count: int) -> list[Artifact]:
    return drawn(run, DrawnInput(kind=kind, height=size[0], width=size[1]), count)


def upscale_photos(run: RunContext, setting: Setting, count: int) -> Call:
    """Photos."""
    side = setting.sizes.small
    photos = _images(run, "rgb", (side, side), count)
    return partial(upscale, run, setting.settings.upscale, photos)


def upscale_views(run: RunContext, setting: Setting, count: int) -> Call:
    """Views with their mattes."""
    side = setting.sizes.small
    views = _images(run, "rgba", (side, side), count)
    return partial(upscale, run, setting.settings.upscale_views, views)


def turn(run: RunContext, setting: Setting, count: int) -> Call:
    """Photos of twice the size, to seven views each."""
    side = 2 * setting.sizes.small
    photos = _images(run, "rgb", (side, side), count)
    return partial(multiview, run, setting.settings.multiview, photos)


def put_into_words(run: RunContext, setting: Setting, count: int) -> Call:
    """Original views, on which a caption is wanted."""
    side = setting.sizes.small
    views = _images(run, "rgba", (side, side), count)
    return partial(caption, run, setting.settings.caption, views, "mug", None)


def cut_out(run: RunContext, setting: Setting, count: int) -> Call:
    """Copies of large views, which carry a matte."""
    side = setting.sizes.large
    copies = _images(run, "rgba", (side, side), count)
    return partial(segment, run, setting.settings.segment, copies)


def measure_depth(run: RunContext, setting: Setting, count: int) -> Call:
    """Copies of large views."""
    side = setting.sizes.large
    copies = _images(run, "rgba", (side, side), count)
    return partial(depth, run, setting.settings.depth, copies)


def draw_scenes(run: RunContext, setting: Setting, count: int) -> Call:
    """Cut-outs with their depth, one scene each."""
    size = setting.sizes.large, setting.sizes.large
    cut_outs, depths = (_images(run, kind, size, count) for kind in ("rgba", "depth"))
    settings = setting.settings
    # A photo with a sentence of its own asks no network.
    words = caption(run, settings.caption, cut_outs[:1], "mug", PROMPT)
    return partial(background, run, settings.background, cut_outs, depths, words, [])


def move_scenes(run: RunContext, setting: Setting, count: int) -> Call:
    """Scenes, moved by all shifts of the grid each: ``count`` results, a multiple of `SHIFTS`."""
    settings = setting.settings
    size = settings.background.height, settings.background.width
    scenes = _images(run, "rgba", size, count // SHIFTS)
    return partial(outpaint, run, settings.outpaint, scenes, "mug")


def seconds(work: Work, loaded: Loaded, setting: Setting, count: int) -> float:
    """What a stage takes for ``count`` results with these networks, its inputs being there, in a
    store that holds nothing else.

    Raises:
        RuntimeError: the stage gave the networks another number of requests.
    """
    asked = 0

    def infer(_kind: type, _references: Sequence[str], requests: Sequence[Any]) -> list[Any]:
        nonlocal asked
        asked += len(requests)
        return list(loaded.compute(requests))

    with tempfile.TemporaryDirectory(prefix="synthset-store-") as folder, _answered(infer):
        call = work(RunContext(open_store(Path(folder)), "benchmark"), setting, count)
        taken = timed(call, setting.machine.device)
    if asked != count:
        raise RuntimeError(f"{work.__name__}: {asked} requests to the networks instead of {count}")
    return taken


@contextmanager
def _answered(infer: Callable[..., list[Any]]) -> Iterator[None]:
    """Stages ask ``ask`` in place of the networks that this process would load."""
    usual = network_pool.infer
    network_pool.infer = infer
    try:
        yield
    finally:
        network_pool.infer = usual
