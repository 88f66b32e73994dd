"""The recipe: one section per stage, from YAML, then ``--set a.b=c``; every field is checked."""

from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import Field, ValidationError, model_validator

from models.data.records import Record
from models.data.splitting import SplitParameters
from models.training.settings import TrainingParameters
from tasks.assemble.dataset import Assemble
from tasks.assemble.resize import Resize
from tasks.engine.stage import settings
from tasks.generate.augment import Augment
from tasks.generate.background import Background
from tasks.generate.caption import Caption
from tasks.generate.depth import Depth
from tasks.generate.image_to_image import Baseline
from tasks.generate.masked_depth import MaskedDepth
from tasks.generate.multiview import Multiview
from tasks.generate.outpaint import Outpaint
from tasks.generate.segment import Segment
from tasks.generate.upscale import Upscale
from tasks.ingest.photos import Ingest
from tasks.screen.screen import Screen

RECIPES = Path(str(files("recipes")))
Profile = Literal["classical", "diffusion"]
# The model of each stage whose section names none. What is not here has one way of working.
MODELS: dict[Profile, dict[str, str]] = {
    "classical": {},
    "diffusion": {
        **{"upscale": "realesrgan", "multiview": "zero123plus", "upscale_views": "realesrgan"},
        **{"segment": "isnet", "depth": "dpt", "caption": "blip"},
        **{"background": "sdxl-controlnet-depth", "outpaint": "sd2-inpaint"},
        "baseline": "sdxl-img2img",
    },
}


class RecipeError(ValueError):
    """A recipe that can't be used: one line that names the file and the field."""


class Recipe(Record):
    """Everything that decides what a run makes."""

    name: str = Field("multiview", description="Name shown in reports and in the Prefect UI.")
    profile: Profile = Field(
        "classical", description="The models of stages whose section names none."
    )
    references_per_class: int | None = Field(
        None, ge=1, description="Train photos per class that are expanded; none means all."
    )
    min_references: int | None = Field(
        None, ge=1, description="Go on with this many references if others fail; none means all."
    )
    plates: Path | None = Field(
        None, description="Folder of background photos; none means procedural plates."
    )
    ingest: Ingest = Ingest()
    split: SplitParameters = SplitParameters()
    upscale: Upscale = Upscale(factor=2)
    multiview: Multiview = Multiview()
    upscale_views: Upscale = Upscale(factor=4)
    augment: Augment = Augment()
    segment: Segment = Segment()
    depth: Depth = Depth()
    masked_depth: MaskedDepth = MaskedDepth()
    caption: Caption = Caption()
    background: Background = Background()
    outpaint: Outpaint = Outpaint()
    baseline: Baseline | None = Field(
        None, description="Images drawn from the photo alone, to compare with; none: none are."
    )
    screen: Screen = Screen()
    resize: Resize = Resize()
    assemble: Assemble = Assemble()
    train: TrainingParameters | None = Field(
        default_factory=TrainingParameters,
        description="How each dataset is tried; none: not at all.",
    )

    @model_validator(mode="before")
    @classmethod
    def _name_models(cls, content: Any) -> Any:
        """Give the stages that name no model the one of the recipe's profile."""
        if not isinstance(content, dict):
            return content
        named = dict(content)
        for stage, model in MODELS.get(content.get("profile", "classical"), {}).items():
            section = named.get(stage, {})
            if isinstance(section, dict):
                named[stage] = {"model": model, **section}
        return named

    @property
    def images_per_photo(self) -> int:
        """``7 · t · c · k²`` with the recipe's numbers."""
        views, k = self.multiview.views + 1, self.outpaint.k
        return views * self.augment.copies * self.background.copies * k * k

    def expanding(self) -> dict[str, Any]:
        """The settings that decide what one reference photo becomes."""
        names = (
            *("upscale", "multiview", "upscale_views", "augment", "segment", "depth"),
            *("masked_depth", "caption", "background", "outpaint", "screen", "resize"),
        )
        sections = {name: settings(getattr(self, name)) for name in names}
        return sections | ({"baseline": settings(self.baseline)} if self.baseline else {})


def load_recipe(source: str | Path, changes: list[str] | None = None) -> Recipe:
    """The recipe of a YAML file, or of a shipped name such as ``demo``, with changes applied.

    Args:
        source: a path, or the name of a file in ``recipes/`` without its suffix.
        changes: ``section.field=value`` strings; values are read as YAML.

    Raises:
        RecipeError: no such recipe, no such field, or a value out of bounds; one line that says
        which.
    """
    path = _find(source)
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise RecipeError(f"{path}: no readable YAML: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict):
        raise RecipeError(
            f"{path}: a recipe is a mapping of sections, such as 'outpaint: {{k: 2}}'"
        )
    if isinstance(content.get("plates"), str):
        content["plates"] = str(path.parent / content["plates"])
    content.setdefault("name", path.stem)
    for change in changes or []:
        _apply(content, change)
    try:
        return Recipe.model_validate(content)
    except ValidationError as error:
        raise RecipeError(f"{path}: {_first_fault(error)}") from error


def _find(source: str | Path) -> Path:
    path = Path(source)
    if path.is_file():
        return path
    shipped = RECIPES / f"{source}.yaml"
    if len(path.parts) == 1 and shipped.is_file():
        return shipped
    names = ", ".join(sorted(one.stem for one in RECIPES.glob("*.yaml")))
    raise RecipeError(f"no recipe {source}: give a YAML file or one of the shipped names: {names}")


def _apply(content: dict[str, Any], change: str) -> None:
    field, equals, text = change.partition("=")
    if not equals or not field:
        raise RecipeError(f"--set {change}: write it as section.field=value, such as outpaint.k=3")
    *sections, last = field.split(".")
    for section in sections:
        below = content.setdefault(section, {})
        if not isinstance(below, dict):
            raise RecipeError(f"--set {change}: {section} has no fields")
        content = below
    try:
        content[last] = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise RecipeError(f"--set {change}: {' '.join(str(error).split())}") from error


def _first_fault(error: ValidationError) -> str:
    fault = error.errors()[0]
    field = ".".join(str(part) for part in fault["loc"])
    if fault["type"] == "extra_forbidden":
        return f"{field}: there is no such field; see docs/recipes.md for their names"
    return f"{field}: {fault['msg'].lower()} (given: {fault['input']!r})"
