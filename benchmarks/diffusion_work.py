"""Runs the product's stages of the diffusion profile on drawn inputs, with a store.

The time of a stage includes its work apart from networks: cut-outs, mattes, repaired masks,
prompts, pasting and PNG files. The caller passes the networks.
"""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np

from benchmarks.diffusion_setting import PROMPT, Loaded, Setting, disc, draw_image, timed
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
# Draws inputs, and returns the call of a stage that makes the wanted number of results.
Work = Callable[[RunContext, Setting, int], Call]
SHIFTS = 4


class DrawnInput(Record):
    """Settings of a drawn input: RGB, RGB + matte, or 16-bit depth of the disc."""

    kind: Literal["rgb", "rgba", "depth"]
    height: int
    width: int


def _numbered(_parameters: Record, count: int) -> list[Job]:
    return [Job((), {"view": number}, name="mug/1") for number in range(count)]


@stage("drawn", version=1, plan=_numbered)
def drawn(inputs: Sequence[StageInput], parameters: DrawnInput) -> Iterator[StageOutput]:
    """Draw different inputs, so that a stage must compute each result."""
    size = parameters.height, parameters.width
    inside = disc(*size)
    for item in inputs:
        colours = draw_image(*size, int(item.job.variant["view"]))
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
    """Draw photos, and return the call that upscales them."""
    side = setting.sizes.small
    photos = _images(run, "rgb", (side, side), count)
    return partial(upscale, run, setting.settings.upscale, photos)


def upscale_views(run: RunContext, setting: Setting, count: int) -> Call:
    """Draw views with mattes, and return the call that upscales them."""
    side = setting.sizes.small
    views = _images(run, "rgba", (side, side), count)
    return partial(upscale, run, setting.settings.upscale_views, views)


def make_views(run: RunContext, setting: Setting, count: int) -> Call:
    """Draw photos of twice the size, and return the call that makes seven views of each."""
    side = 2 * setting.sizes.small
    photos = _images(run, "rgb", (side, side), count)
    return partial(multiview, run, setting.settings.multiview, photos)


def caption_views(run: RunContext, setting: Setting, count: int) -> Call:
    """Draw original views, and return the call that captions them."""
    side = setting.sizes.small
    views = _images(run, "rgba", (side, side), count)
    return partial(caption, run, setting.settings.caption, views, "mug", None)


def segment_copies(run: RunContext, setting: Setting, count: int) -> Call:
    """Draw copies of large views with mattes, and return the call that segments them."""
    side = setting.sizes.large
    copies = _images(run, "rgba", (side, side), count)
    return partial(segment, run, setting.settings.segment, copies)


def estimate_depth(run: RunContext, setting: Setting, count: int) -> Call:
    """Draw copies of large views, and return the call that estimates their depth."""
    side = setting.sizes.large
    copies = _images(run, "rgba", (side, side), count)
    return partial(depth, run, setting.settings.depth, copies)


def make_backgrounds(run: RunContext, setting: Setting, count: int) -> Call:
    """Draw cut-outs with depth, and return the call that makes one scene of each."""
    size = setting.sizes.large, setting.sizes.large
    cut_outs, depths = (_images(run, kind, size, count) for kind in ("rgba", "depth"))
    settings = setting.settings
    # A photo with a given caption needs no network.
    captions = caption(run, settings.caption, cut_outs[:1], "mug", PROMPT)
    return partial(background, run, settings.background, cut_outs, depths, captions, [])


def outpaint_scenes(run: RunContext, setting: Setting, count: int) -> Call:
    """Draw scenes, and return the call that shifts them: ``count`` is a multiple of `SHIFTS`."""
    settings = setting.settings
    size = settings.background.height, settings.background.width
    scenes = _images(run, "rgba", size, count // SHIFTS)
    return partial(outpaint, run, settings.outpaint, scenes, "mug")


def seconds(work: Work, loaded: Loaded, setting: Setting, count: int) -> float:
    """Return the seconds that a stage needs for ``count`` results with these networks.

    Its inputs are drawn before, in a new store.

    Raises:
        RuntimeError: the number of requests to the networks was not ``count``.
    """
    total = 0

    def infer(_kind: type, _references: Sequence[str], requests: Sequence[Any]) -> list[Any]:
        nonlocal total
        total += len(requests)
        return list(loaded.compute(requests))

    with tempfile.TemporaryDirectory(prefix="synthset-store-") as folder, _replaced_networks(infer):
        call = work(RunContext(open_store(Path(folder)), "benchmark"), setting, count)
        elapsed = timed(call, setting.machine.device)
    if total != count:
        raise RuntimeError(f"{work.__name__}: {total} requests to the networks instead of {count}")
    return elapsed


@contextmanager
def _replaced_networks(infer: Callable[..., list[Any]]) -> Iterator[None]:
    """Make stages call ``infer`` instead of the networks that this process would load."""
    original = network_pool.infer
    network_pool.infer = infer
    try:
        yield
    finally:
        network_pool.infer = original
