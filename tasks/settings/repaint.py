"""Settings of the stages that paint new objects into scenes with a fitted diffusion model."""

from typing import ClassVar, Self

from pydantic import Field, model_validator

from models.data.records import Checkpoint, Record
from models.diffusion.ddpm.repaint.settings import Condition, PaintingSettings
from tasks.settings.ddpm import Base, BaseAdm256, FitAdapters, FitAll, SquareCrops


class CherryPicker(Record):
    """A classifier of squares, which scores painted objects.

    It is logistic regression on the features of the embedded backbone.
    """

    background: int = Field(
        200,
        ge=10,
        le=10_000,
        description="Squares without an object of the class that it learns from, of the class's"
        " photos.",
    )
    drawn: int = Field(
        0,
        ge=0,
        le=10_000,
        description="Squares that the fitted network draws, from which it learns to tell real"
        " objects too; 0: none.",
    )


class Repaint(PaintingSettings):
    """RePaint with the network that was fitted to the class."""

    # The squares of a scene, and the picker's weights, are inputs of its job.
    NON_KEY_FIELDS: ClassVar = frozenset({"bank", "cherry_picker"})

    bank: int = Field(
        24,
        ge=1,
        le=1000,
        description="Real objects that those of a scene may follow; fit.condition says how.",
    )
    cherry_picker: CherryPicker | None = Field(
        CherryPicker(),
        description="Takes the best of the candidates; none: the only candidate is taken.",
    )
    least_score: float = Field(
        0.0,
        ge=0,
        le=1,
        description="An object whose best candidate scores less is not painted; the scene stays as"
        " it was there.",
    )

    @model_validator(mode="after")
    def _can_choose(self) -> Self:
        if self.cherry_picker is None and self.candidates > 1:
            raise ValueError(
                f"candidates: nothing chooses among {self.candidates}; set candidates: 1, or give"
                " cherry_picker"
            )
        return self


class _OnNetwork(Record):
    """The network that was fitted: a checkpoint, or the one that the job's inputs hold."""

    model: str
    checkpoint: Checkpoint | None
    size: int
    context: float
    condition: Condition

    @property
    def checkpoints(self) -> tuple[str, ...]:
        """The checkpoints in use."""
        return () if self.checkpoint is None else (self.checkpoint,)


class RepaintOn(Repaint, _OnNetwork):
    """The painting and its network; ``objects`` is the number per scene, for a plan."""

    NON_KEY_FIELDS: ClassVar = Repaint.NON_KEY_FIELDS | {"objects"}

    objects: int = 1


class CherryPickerOn(CherryPicker, _OnNetwork):
    """A cherry-picker and the network that draws."""


def repaint_for(
    base: Base, squares: SquareCrops, fit: FitAll | FitAdapters, repaint: Repaint, objects: int
) -> RepaintOn:
    """The painting with the network of a generator.

    Args:
        objects: per scene.
    """
    networks = _network_of(base, squares, fit)
    return RepaintOn(**repaint.model_dump(), **networks, objects=objects)


def picker_for(
    base: Base, squares: SquareCrops, fit: FitAll | FitAdapters, picker: CherryPicker
) -> CherryPickerOn:
    """The cherry-picker of the network of a generator."""
    return CherryPickerOn(**picker.model_dump(), **_network_of(base, squares, fit))


def _network_of(
    base: Base, squares: SquareCrops, fit: FitAll | FitAdapters
) -> dict[str, str | int | float | None]:
    return {
        "model": base.model,
        "checkpoint": base.checkpoint if isinstance(base, BaseAdm256) else None,
        "size": base.size,
        "context": squares.context,
        "condition": fit.condition,
    }
