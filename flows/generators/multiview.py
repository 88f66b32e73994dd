"""One photo becomes 7 · t · c · k² images: the main figure of the multiview study, top to
bottom.
"""

from typing import Any

from pydantic import Field

from flows.generators.base import Generator, Phase
from models.data.records import Artifact, Record
from models.reporting.metrics import Factor
from tasks.engine.planning_run import PlanningRun
from tasks.engine.run_context import RunContext
from tasks.engine.work_items import SharedInputs, WorkItem
from tasks.generate.augment import Augment, augment
from tasks.generate.background import background
from tasks.generate.caption import Caption, CaptionTemplate, caption
from tasks.generate.depth import Depth, DepthRelief, depth
from tasks.generate.masked_depth import MaskedDepth, masked_depth
from tasks.generate.multiview import multiview
from tasks.generate.outpaint import outpaint
from tasks.generate.segment import segment
from tasks.generate.upscale import Upscale, UpscaleLanczos, upscale
from tasks.settings.background import Background, BackgroundComposite
from tasks.settings.multiview import Multiview, MultiviewRelief
from tasks.settings.outpaint import Outpaint, OutpaintExtend
from tasks.settings.segment import Segment, SegmentGrabCut


class Settings(Record):
    """Views of the object, on new backgrounds, shifted within the frame."""

    upscale: Upscale = Field(UpscaleLanczos(factor=2), description="The photo, enlarged.")
    multiview: Multiview = Field(MultiviewRelief(), description="Views from other directions.")
    upscale_views: Upscale = Field(UpscaleLanczos(factor=4), description="The views, enlarged.")
    augment: Augment = Field(Augment(), description="t changed copies of each view.")
    segment: Segment = Field(SegmentGrabCut(), description="The mask of the object.")
    depth: Depth = Field(DepthRelief(), description="The depth of the image.")
    masked_depth: MaskedDepth = Field(MaskedDepth(), description="The depth of the object alone.")
    caption: Caption = Field(CaptionTemplate(), description="The sentence that becomes the prompt.")
    background: Background = Field(
        BackgroundComposite(), description="c new backgrounds of each copy."
    )
    outpaint: Outpaint = Field(OutpaintExtend(), description="k x k shifts of each scene.")


def make_images(
    run: RunContext | PlanningRun, settings: Settings, item: WorkItem, shared: SharedInputs
) -> list[Artifact]:
    """All images of one photo."""
    (photo,) = item.sources
    large = upscale(run, settings.upscale, [photo.image])
    views = multiview(run, settings.multiview, large)
    captions = caption(run, settings.caption, views[:1], photo.label, photo.prompt)
    large_views = upscale(run, settings.upscale_views, views)
    augmented = augment(run, settings.augment, large_views)
    cut_outs = segment(run, settings.segment, augmented)
    depths = depth(run, settings.depth, augmented)
    object_depths = masked_depth(run, settings.masked_depth, cut_outs, depths)
    scenes = background(
        run, settings.background, cut_outs, object_depths, captions, shared.backgrounds
    )
    return outpaint(run, settings.outpaint, scenes, photo.label)


def factors(settings: Any) -> tuple[Factor, ...]:
    """7 · t · c · k², as the study writes it."""
    views, k = settings.multiview.views + 1, settings.outpaint.grid_size
    return (
        Factor(amount=views, name="views", note="new views and the original"),
        Factor(amount=settings.augment.n_augmentations, name="t", note="augmented copies"),
        Factor(amount=settings.background.n_backgrounds, name="c", note="backgrounds"),
        Factor(amount=k * k, name="k²", note=f"shifts on a {k} x {k} grid"),
    )


GENERATOR = Generator(
    "multiview",
    Settings,
    (Phase("images", "image", make_images),),
    factors,
    of_one_object=lambda _: True,
)
