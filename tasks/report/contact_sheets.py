"""A reference's contact sheet: what every stage made of it, each view's way in a column."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

from models.data.pixels import Pixels
from models.data.records import Artifact
from models.reporting.input import Gap, MatteAs, Sheet, SheetRow, Thumb
from tasks.engine.results import Expansion, plain_reason
from tasks.engine.run_context import RunContext

COLUMNS = 7
# Lines below each other in a column: scenes of a cut-out, shifts of its first scene.
SCENES, SHIFTS = 2, 4
BASELINES = 7

T = TypeVar("T")
Place = Mapping[str, int | str]
_PLACES = ("view", "copy", "background", "shift", "baseline")
_SHORT = {"view": "view", "copy": "t"}
# What is made of every view: stage, title, and how a matte is shown.
_PER_VIEW: tuple[tuple[str, str, MatteAs], ...] = (
    ("multiview", "view 0 is the photo, cut square; the others are turned", "hidden"),
    ("augment", "copies of the enlarged views, changed in colour and place", "hidden"),
    ("segment", "the object, cut out", "checker"),
    ("depth", "near is bright", "hidden"),
    ("masked_depth", "the object's own depth", "hidden"),
)


def draw_sheet(run: RunContext, name: str, label: str, expansion: Expansion) -> Sheet:
    """The sheet of one reference. What a stage rejected is a gap in its column, with the reason."""
    made = _Made(run, expansion)
    rows = (*_of_the_photo(made), *_of_the_views(made), *_of_the_scenes(made), *_baseline(made))
    return Sheet(name, label, rows, _named(made.columns))


def spread(made: Sequence[T], count: int) -> list[T]:
    """``count`` of them at even distances."""
    if len(made) <= count:
        return list(made)
    if count == 1:
        return [made[0]]
    return [made[round(place * (len(made) - 1) / (count - 1))] for place in range(count)]


class _Made:
    """What was made of a reference, by stage and place, and the places that the columns show."""

    def __init__(self, run: RunContext, expansion: Expansion) -> None:
        self.run = run
        self.left_out = {
            sample.image.id: plain_reason(sample)
            for sample in expansion.samples
            if not sample.accepted
        }
        self._stages: dict[str, list[Artifact]] = defaultdict(list)
        # The baseline's images are cut out to be screened; no view stands behind them.
        self.cut_baselines: dict[int | str, Artifact] = {}
        for artifact in expansion.artifacts:
            if artifact.stage == "baseline" or "baseline" not in artifact.variant:
                self._stages[artifact.stage].append(artifact)
            elif artifact.stage == "segment":
                self.cut_baselines[artifact.variant["baseline"]] = artifact
        self._at = {
            _key(stage, one.variant): one for stage, made in self._stages.items() for one in made
        }
        self.columns = spread(list(self._ways()), COLUMNS)

    def _ways(self) -> Iterator[Place]:
        """Every view's copies; a view without any has a way of its own, of gaps."""
        for view in self._stages["multiview"]:
            own = {"view": view.variant["view"]}
            copies = [one for one in self._stages["augment"] if one.variant["view"] == own["view"]]
            yield from ({**own, "copy": one.variant["copy"]} for one in copies)
            if not copies:
                yield own

    def accepted(self, stage: str) -> list[Artifact]:
        """What a stage made and did not reject."""
        return [one for one in self._stages[stage] if one.reject_reason is None]

    def some(self, stage: str, at: str, count: int) -> list[int | str]:
        """Some of the numbers that tell a stage's siblings apart."""
        return spread(list(dict.fromkeys(one.variant[at] for one in self._stages[stage])), count)

    def thumb(self, artifact: Artifact, matte_as: MatteAs, title: str = "") -> Thumb:
        """The picture of an accepted artifact; below it, the scene that it plays in."""
        scene = str(artifact.metadata.get("scene", ""))
        left_out = self.left_out.get(artifact.id, "")
        return Thumb(self.run.load(artifact), scene, title, matte_as, left_out)

    def line(
        self, stage: str, matte_as: MatteAs, within: Place | None = None, title: str = ""
    ) -> list[Thumb | Gap]:
        """A cell per column; none at all where the stage made nothing."""
        if not self._stages[stage]:
            return []
        cells: list[Thumb | Gap] = []
        for column in self.columns:
            whole = {"view": column["view"]} if stage == "multiview" else column
            found = self._at.get(_key(stage, {**whole, **(within or {})}))
            if found is None or found.reject_reason is not None:
                cells.append(Gap((found and found.reject_reason) or ""))
            else:
                cells.append(self.thumb(found, matte_as, title))
        return cells


def _of_the_photo(made: _Made) -> Iterator[SheetRow]:
    photo = made.run.load(made.accepted("ingest")[0])
    yield SheetRow("ingest", "the photo", (Thumb(photo, _size(photo), "", "hidden"),), 1)
    for one in made.accepted("upscale"):
        large = made.run.load(one) if "view" not in one.variant else photo
        if large.shape != photo.shape:
            shown = (Thumb(large, _size(large), "", "hidden"), *_details(photo, large))
            yield SheetRow("upscale", "the photo, enlarged", shown, 1)
    for one in made.accepted("caption"):
        words = made.run.load(one)
        said = str(one.metadata.get("said", ""))
        row = SheetRow("caption", "the photo in words", (), 0)
        yield _worded(
            row,
            ("caption", words["caption"]),
            ("as it was said", "" if said == words["caption"] else said),
            ("to be avoided", words["negative_prompt"]),
        )


def _of_the_views(made: _Made) -> Iterator[SheetRow]:
    for stage, explanation, matte_as in _PER_VIEW:
        yield _row(made, stage, explanation, made.line(stage, matte_as))


def _of_the_scenes(made: _Made) -> Iterator[SheetRow]:
    scenes = made.some("background", "background", SCENES)
    cells = [
        cell
        for scene in scenes
        for cell in made.line("background", "outline", {"background": scene}, f"c {scene}")
    ]
    row = _row(made, "background", "new scenes, the mask outlined", cells)
    for one in made.accepted("background")[:1]:
        row = _worded(row, ("first prompt", one.prompt), ("to be avoided", _avoided(one)))
    yield row
    cells = [
        cell
        for shift in made.some("outpaint", "shift", SHIFTS)
        for cell in made.line(
            "outpaint", "hidden", {"background": scenes[0], "shift": shift}, f"shift {shift}"
        )
    ]
    row = _row(made, "outpaint", "the scenes shifted over the grid", cells)
    for one in made.accepted("outpaint")[:1]:
        border, avoided = (str(one.variant.get(at, "")) for at in ("border", "avoided"))
        row = _worded(row, ("first border", border), ("to be avoided", avoided))
    yield row


def _baseline(made: _Made) -> Iterator[SheetRow]:
    images = made.accepted("baseline")
    if not images:
        return
    thumbs = []
    for one in spread(images, BASELINES):
        cut = made.cut_baselines.get(one.variant["baseline"])
        left_out = (cut.reject_reason or made.left_out.get(cut.id, "")) if cut else ""
        title = f"image {one.variant['baseline']}"
        thumbs.append(Thumb(made.run.load(one), "", title, "hidden", left_out))
    explanation = "to compare with: drawn from the photo alone"
    row = SheetRow("baseline", explanation, tuple(thumbs), len(images))
    yield _worded(row, ("first prompt", images[0].prompt), ("to be avoided", _avoided(images[0])))


def _row(made: _Made, stage: str, explanation: str, cells: Sequence[Thumb | Gap]) -> SheetRow:
    return SheetRow(stage, explanation, tuple(cells), len(made.accepted(stage)), aligned=True)


def _worded(row: SheetRow, *words: tuple[str, str | None]) -> SheetRow:
    return replace(row, words=tuple((what, said) for what, said in words if said))


def _avoided(artifact: Artifact) -> str:
    return str(artifact.metadata.get("negative", ""))


def _details(photo: Pixels, large: Pixels) -> tuple[Thumb, ...]:
    """The middle of the photo, before and after: at a thumbnail's size both would look the same."""
    told = ((photo, "its middle, before"), (large, "its middle, enlarged"))
    return tuple(Thumb(_middle(image), title, "", "hidden") for image, title in told)


def _middle(image: Pixels) -> Pixels:
    height, width = image.shape[:2]
    side = max(1, min(height, width) // 4)
    top, left = (height - side) // 2, (width - side) // 2
    return image[top : top + side, left : left + side]


def _size(image: Pixels) -> str:
    return f"{image.shape[1]} × {image.shape[0]} px"


def _named(columns: Sequence[Place]) -> tuple[str, ...]:
    """``view 3 · t 1``; without the copy where there is but one."""
    only_one = len({column.get("copy") for column in columns}) == 1
    told = ("view",) if only_one else ("view", "copy")
    return tuple(
        " · ".join(f"{_SHORT[at]} {column[at]}" for at in told if at in column)
        for column in columns
    )


def _key(stage: str, index: Place) -> tuple[str, ...]:
    return (stage, *(str(index.get(at)) for at in _PLACES))
