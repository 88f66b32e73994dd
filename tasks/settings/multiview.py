"""Settings of the stage `multiview`: how many views, how large, and what makes them."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from models.data.records import Checkpoint, Record


class _Multiview(Record):
    """What both models share."""

    NON_KEY_FIELDS: ClassVar = frozenset({"views"})

    size: int = Field(320, ge=64, le=2048, description="Side of a square view, px.")
    views: int = Field(6, ge=0, le=6, description="New views; the original comes on top.")


class MultiviewRelief(_Multiview):
    """A turned relief, without a network."""

    model: Literal["relief"] = Field("relief", description="the mask, inflated and turned.")


class MultiviewZero123Plus(_Multiview):
    """Zero123++, the study's network."""

    model: Literal["zero123plus"] = Field(
        "zero123plus", description="the diffusion network Zero123++."
    )
    checkpoint: Checkpoint = Field(
        "sudo-ai/zero123plus-v1.2", description="Weights; v1.1 has other elevations than v1.2."
    )
    version: Literal["auto", "v1.1", "v1.2"] = Field(
        "auto",
        description="Whose elevations the views have; auto: as the checkpoint's id says, or v1.2.",
    )
    steps: int = Field(
        28, ge=1, le=1000, description="Denoising steps; 75 for faces and fine detail."
    )
    guidance_scale: float = Field(
        4.0, ge=1, le=20, description="Weight of the photo against no photo; 1: no guidance."
    )
    spacing: Literal["trailing", "linspace"] = Field(
        "trailing",
        description="How steps lie in the training's 1000. The published file says linspace, its "
        "authors use trailing.",
    )
    remove_background: bool = Field(
        True,
        description="Give the network the object on grey; else the photo's own square crop, with "
        "its background.",
    )
    paint_size: int = Field(
        320,
        ge=64,
        le=640,
        multiple_of=8,
        description="Side of a view as the network paints it, px; it was trained at 320.",
    )

    @property
    def checkpoints(self) -> tuple[str, ...]:
        """The checkpoint in use."""
        return (self.checkpoint,)


Multiview = Annotated[MultiviewRelief | MultiviewZero123Plus, Field(discriminator="model")]
