"""The contact sheet of one reference photo: what every stage made of it.

Nothing here knows a stage or a generator. Rows come in the order in which the artifacts were made.
Columns and lines come from the integer entries of ``Artifact.variant``.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np

from models.data.pixels import Pixels, rgb
from models.data.records import Artifact
from models.reporting.input import AlphaStyle, Gap, Sheet, SheetRow, Thumb
from tasks.engine.run_context import RunContext
from tasks.engine.work_items import SOURCE_STAGES, GenerationRecord

COLUMNS = 7
# Lines below each other in a column, such as shifts of a scene.
LINES = 4
# A cut-out keeps the colours of its parent up to this mean difference, of 255.
CUT_OUT_CHANGE = 4
T = TypeVar("T")
# The integer entries of a variant, in their order.
Variant = tuple[tuple[str, int], ...]


def draw_sheet(
    run: RunContext,
    name: str,
    label: str,
    record: GenerationRecord,
    shown_as: Mapping[str, str],
) -> Sheet:
    """The contact sheet of one reference photo.

    Args:
        run: loads the artifacts.
        name: the reference, ``<class>/<stem>``.
        label: its class.
        record: all artifacts and samples of the reference.
        shown_as: the explanation of each stage that has a row.
    """
    rows = _Rows(run, name, record, shown_as)
    return Sheet(name, label, tuple(rows.draw()))


def spread(items: Sequence[T], count: int) -> list[T]:
    """``count`` of the items at even distances, or all if there are fewer."""
    if len(items) <= count:
        return list(items)
    if count == 1:
        return [items[0]]
    return [items[round(index * (len(items) - 1) / (count - 1))] for index in range(count)]


class _Rows:
    """Draws the rows of one reference photo."""

    def __init__(
        self, run: RunContext, name: str, record: GenerationRecord, shown_as: Mapping[str, str]
    ) -> None:
        self.run = run
        self.shown_as = shown_as
        # Background photos come from the same stage; they belong to all references.
        photos = [a for a in record.artifacts if a.stage in SOURCE_STAGES and a.name == name]
        made = [a for a in record.artifacts if a.stage not in SOURCE_STAGES]
        self.artifacts = {a.id: a for a in (*photos, *record.earlier, *made)}
        self.reject_reasons = {
            sample.image.id: sample.reject_kind
            for sample in record.samples
            if not sample.is_accepted
        }

    def draw(self) -> Iterator[SheetRow]:
        """A row per stage; stages whose variants share entries follow each other."""
        shown = [
            artifact for artifact in self.artifacts.values() if artifact.stage in self.shown_as
        ]
        for family in _families(shown):
            columns = _columns_of(family)
            for artifacts in _by_stage(family).values():
                if columns and artifacts[0].media != "json":
                    yield self._grid(artifacts, columns)
                elif not all(self._is_unchanged(artifact) for artifact in artifacts):
                    yield self._strip(artifacts)

    def _grid(self, artifacts: Sequence[Artifact], columns: Sequence[Variant]) -> SheetRow:
        """One cell per column and line. A rejected or missing artifact is a gap."""
        by_variant = {frozenset(_variant(artifact)): artifact for artifact in artifacts}
        cells: list[Thumb | Gap] = []
        for line in _lines_of(artifacts, columns):
            title = " ".join(f"{name} {value}" for name, value in line[-1:])
            for column in columns:
                artifact = _find(by_variant, column, line)
                if artifact is None or artifact.reject_reason is not None:
                    cells.append(Gap((artifact and artifact.reject_reason) or ""))
                else:
                    cells.append(self._thumb(artifact, title))
        return self._row(artifacts, cells, _column_names(columns))

    def _strip(self, artifacts: Sequence[Artifact]) -> SheetRow:
        """Pictures side by side, an enlarged one with details; or the words of a document."""
        thumbs: list[Thumb | Gap] = []
        for artifact in artifacts:
            if artifact.reject_reason is None and artifact.media != "json":
                picture = self.run.load(artifact)
                thumbs.append(replace(self._thumb(artifact, ""), caption=_size(picture)))
                thumbs += self._details(artifact, picture)
        return self._row(artifacts, thumbs, ())

    def _row(
        self,
        artifacts: Sequence[Artifact],
        cells: Sequence[Thumb | Gap],
        columns: tuple[str, ...],
    ) -> SheetRow:
        accepted = [artifact for artifact in artifacts if artifact.reject_reason is None]
        pictures = sum(artifact.media != "json" for artifact in accepted)
        words = tuple(self._words(accepted[0])) if accepted else ()
        stage = artifacts[0].stage
        return SheetRow(stage, self.shown_as[stage], tuple(cells), pictures, columns, words)

    def _words(self, artifact: Artifact) -> Iterator[tuple[str, str]]:
        """The texts of a document; of a picture its prompts, where it has any."""
        texts: dict[str, Any] = {
            "first prompt": artifact.prompt,
            "negative prompt": artifact.metadata.get("negative"),
            **artifact.variant,
        }
        if artifact.media == "json":
            texts = {**artifact.metadata, **self.run.load(artifact)}
        shown = {artifact.name.partition("/")[0]}
        for name, text in texts.items():
            if isinstance(text, str) and text and text not in shown:
                shown.add(text)
                yield name.replace("_", " "), text

    def _thumb(self, artifact: Artifact, title: str) -> Thumb:
        picture = self.run.load(artifact)
        scene = str(artifact.metadata.get("scene", ""))
        reason = self.reject_reasons.get(artifact.id, "")
        return Thumb(picture, scene, title, self._alpha_style(artifact, picture), reason)

    def _alpha_style(self, artifact: Artifact, picture: Pixels) -> AlphaStyle:
        """A checkerboard for a cut-out: the same colours as the parent with another alpha."""
        parent = self._parent(artifact)
        if parent is None or parent.shape[:2] != picture.shape[:2] or picture.ndim != 3:
            return "outline"
        has_same_alpha = parent.shape == picture.shape and np.array_equal(
            parent[..., 3:], picture[..., 3:]
        )
        change = np.abs(rgb(parent).astype(np.int16) - rgb(picture))
        return "outline" if has_same_alpha or change.mean() > CUT_OUT_CHANGE else "checker"

    def _details(self, artifact: Artifact, picture: Pixels) -> list[Thumb]:
        """The middle before and after enlarging, which look the same at the size of a thumbnail."""
        parent = self._parent(artifact)
        if parent is None or parent.shape[0] >= picture.shape[0]:
            return []
        return [
            Thumb(_middle(parent), "its middle, before", "", "hidden"),
            Thumb(_middle(picture), "its middle, enlarged", "", "hidden"),
        ]

    def _is_unchanged(self, artifact: Artifact) -> bool:
        """Whether the stage passed its input on, such as enlarging by factor 1."""
        parents = (self.artifacts.get(parent) for parent in artifact.parents[:1])
        return any(parent and parent.digest == artifact.digest for parent in parents)

    def _parent(self, artifact: Artifact) -> Pixels | None:
        """The colour picture that an artifact was made from first."""
        parent = self.artifacts.get(artifact.parents[0]) if artifact.parents else None
        if parent is None or parent.media == "json" or parent.reject_reason is not None:
            return None
        picture: Pixels = self.run.load(parent)
        return picture if picture.ndim == 3 else None


def _variant(artifact: Artifact) -> Variant:
    return tuple((name, at) for name, at in artifact.variant.items() if isinstance(at, int))


def _names(artifact: Artifact) -> tuple[str, ...]:
    return tuple(name for name, _ in _variant(artifact))


def _by_stage(artifacts: Sequence[Artifact]) -> dict[str, list[Artifact]]:
    stages: dict[str, list[Artifact]] = defaultdict(list)
    for artifact in artifacts:
        stages[artifact.stage].append(artifact)
    return stages


def _families(artifacts: Sequence[Artifact]) -> list[list[Artifact]]:
    """Artifacts in groups that share names of variant entries, such as all that have a view.

    Artifacts without any entry, such as the photo, are a group of their own.
    """
    groups: list[set[str]] = []
    for artifact in artifacts:
        names = set(_names(artifact))
        touched = [group for group in groups if group & names]
        groups = [group for group in groups if not group & names] + [names.union(*touched)]
    families: dict[int, list[Artifact]] = defaultdict(list)
    for artifact in artifacts:
        names = set(_names(artifact))
        index = next((at for at, group in enumerate(groups) if group & names), -1)
        families[index].append(artifact)
    return list(families.values())


def _columns_of(family: Sequence[Artifact]) -> list[Variant]:
    """At most `COLUMNS` variants, named by the entries that most stages of the family have.

    A view that has no copy is a column too: it shows where the stages stopped.
    """
    stages = {(artifact.stage, _names(artifact)) for artifact in family}
    counts = Counter(names for _, names in stages)
    names = max(counts, key=lambda names: (counts[names], len(names)))
    variants = {
        tuple(entry for entry in _variant(artifact) if entry[0] in names) for artifact in family
    }
    whole = {variant for variant in variants if len(variant) == len(names)}
    stopped = {
        variant
        for variant in variants - whole
        if not any(set(variant) <= set(longer) for longer in whole)
    }
    return spread(sorted(whole | stopped), COLUMNS) if names else []


def _lines_of(artifacts: Sequence[Artifact], columns: Sequence[Variant]) -> list[Variant]:
    """What is shown below each other: values of the last entry that is not part of a column."""
    names = {name for column in columns for name, _ in column}
    rests = dict.fromkeys(
        tuple(entry for entry in _variant(artifact) if entry[0] not in names)
        for artifact in artifacts
    )
    first = next(iter(rests))
    return spread([rest for rest in rests if rest[:-1] == first[:-1]], LINES)


def _find(
    by_variant: Mapping[frozenset[tuple[str, int]], Artifact], column: Variant, line: Variant
) -> Artifact | None:
    """The artifact of a cell. A stage that knows only a column's first entries has one for all."""
    for end in range(len(column), 0, -1):
        artifact = by_variant.get(frozenset((*column[:end], *line)))
        if artifact is not None:
            return artifact
    return None


def _column_names(columns: Sequence[Variant]) -> tuple[str, ...]:
    """``view 3 · copy 1``, without entries that are the same in all columns."""
    values: dict[str, set[int]] = defaultdict(set)
    for column in columns:
        for name, value in column:
            values[name].add(value)
    named = {name for name, found in values.items() if len(found) > 1} or set(values)
    return tuple(
        " · ".join(f"{name} {value}" for name, value in column if name in named)
        for column in columns
    )


def _middle(image: Pixels) -> Pixels:
    height, width = image.shape[:2]
    side = max(1, min(height, width) // 4)
    top, left = (height - side) // 2, (width - side) // 2
    return image[top : top + side, left : left + side]


def _size(image: Pixels) -> str:
    return f"{image.shape[1]} × {image.shape[0]} px"
