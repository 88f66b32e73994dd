"""Settings of the stage `segment`: the network, and which masks are rejected."""

from typing import Annotated, Literal

from pydantic import Field

from models.data.records import Checkpoint, Record

# The entry of a variant that says that the alpha of an image is the mask that its photo carries.
MASK_OF_PHOTO = {"mask": "alpha of the photo"}


class _Segment(Record):
    """What all models share."""

    min_score: float = Field(
        0.25, ge=0, le=1, description="Estimated IoU of the mask; below: rejected as uncertain."
    )
    min_compactness: float = Field(
        0.13, ge=0, le=1, description="1 for a disc, towards 0 for frayed masks; below: rejected."
    )


class SegmentGrabCut(_Segment):
    """GrabCut, without a network."""

    model: Literal["grabcut"] = Field(
        "grabcut", description="from what is salient or from the previous mask."
    )
    working_side: int = Field(
        320, ge=128, le=1024, description="Side of the image in which GrabCut works, px."
    )


class VitMatteRefine(Record):
    """Refinement of a mask's edge by ViTMatte."""

    band: float = Field(
        0.05,
        gt=0,
        le=0.5,
        description="Width of the refined band on both sides of the edge, share of the object.",
    )
    checkpoint: Checkpoint = Field(
        "hustvl/vitmatte-small-composition-1k", description="Weights of ViTMatte."
    )


class _NetworkSegment(_Segment):
    """What both networks share."""

    checkpoint: Checkpoint
    min_confidence: float = Field(
        0.1,
        ge=0,
        le=1,
        description="The network's own certainty (isnet: of its surest pixel; sam: its predicted "
        "IoU); below: rejected as showing no object.",
    )
    fill_holes: float = Field(
        0.01, ge=0, le=1, description="Holes below this share of the object are closed; 0: none."
    )
    keep_parts: float = Field(
        0.2,
        ge=0,
        le=1,
        description="Parts below this share of the largest are removed; 0: none, 1: all others.",
    )
    min_previous_iou: float = Field(
        0.0, ge=0, le=1, description="Least IoU with the image's previous mask; 0: no limit."
    )
    refine: VitMatteRefine | None = Field(
        None, description="A second network for soft edges (hair, glass); none: no refinement."
    )

    @property
    def checkpoints(self) -> tuple[str, ...]:
        """The checkpoints in use."""
        return (self.checkpoint, self.refine.checkpoint) if self.refine else (self.checkpoint,)


class SegmentIsNet(_NetworkSegment):
    """IS-Net, the study's network."""

    model: Literal["isnet"] = Field("isnet", description="the study's network.")
    checkpoint: Checkpoint = Field("xuebinqin/IS-Net", description="Weights of IS-Net.")


class SegmentSam(_NetworkSegment):
    """Segment Anything 1 or 2."""

    model: Literal["sam"] = Field(
        "sam",
        description="Segment Anything (1 or 2), within the box of the previous mask or of what is "
        "salient.",
    )
    checkpoint: Checkpoint = Field(
        "facebook/sam-vit-base",
        description="Weights; facebook/sam2.1-hiera-small works too, and the authors' files, such "
        "as facebookresearch/sam_vit_b_01ec64.",
    )


Segment = Annotated[SegmentGrabCut | SegmentIsNet | SegmentSam, Field(discriminator="model")]
