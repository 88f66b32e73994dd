"""Contact sheets of stages that nobody has written: rows and columns come from the artifacts."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models.data.pixels import Pixels
from models.data.records import Annotation, Artifact, Sample
from models.reporting.input import Gap, SheetRow, Thumb
from tasks.engine.run_context import RunContext
from tasks.engine.work_items import GenerationRecord
from tasks.report.contact_sheets import draw_sheet, spread
from tasks.store.store import open_store

SHOWN_AS = {
    "scan": "the scan",
    "enlarge": "enlarged",
    "turn": "turned",
    "cut": "cut out",
    "paste": "pasted",
    "draw": "drawn",
}


class Maker:
    """Makes artifacts whose pixels are served without a store."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.run = RunContext(open_store(folder), "test")
        self.contents: dict[str, Any] = {}
        self.artifacts: list[Artifact] = []
        self.samples: list[Sample] = []
        monkeypatch.setattr(self.run, "load", lambda artifact: self.contents[artifact.id])

    def make(
        self,
        stage: str,
        content: Any = None,
        parent: Artifact | None = None,
        **variant: int | str,
    ) -> Artifact:
        """One artifact; without content it was rejected."""
        key = f"{stage}-{len(self.artifacts)}"
        artifact = Artifact(
            key=key,
            stage=stage,
            version=1,
            name="mug/a",
            variant=variant,
            media="json" if isinstance(content, dict) else "png",
            digest=key,
            size=1,
            parents=(parent.id,) if parent else (),
            reject_reason="no object" if content is None else None,
        )
        self.contents[artifact.id] = content
        self.artifacts.append(artifact)
        return artifact

    def rows(self) -> list[SheetRow]:
        record = GenerationRecord(samples=tuple(self.samples), artifacts=tuple(self.artifacts))
        return list(draw_sheet(self.run, "mug/a", "mug", record, SHOWN_AS).rows)


@pytest.fixture
def maker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Maker:
    return Maker(tmp_path / "store", monkeypatch)


def picture(value: int, size: int = 8, alpha: int | None = None) -> Pixels:
    channels = [value, value, value] if alpha is None else [value, value, value, alpha]
    return np.full((size, size, len(channels)), channels, np.uint8)


def values_of(row: SheetRow) -> list[int | str]:
    """Per cell the grey value of its picture, or the reason of the gap."""
    return [
        cell.reason if isinstance(cell, Gap) else int(cell.pixels[0, 0, 0]) for cell in row.cells
    ]


def test_rows_follow_the_stages_and_columns_the_integer_entries(maker: Maker) -> None:
    scan = maker.make("scan", picture(1))
    for angle in range(3):
        turned = maker.make("turn", picture(10 + angle), scan, angle=angle, mood="calm")
        cut = maker.make("cut", None if angle == 1 else picture(20 + angle), turned, angle=angle)
        if angle != 1:
            for spot in range(2):
                maker.make("paste", picture(30 + 2 * angle + spot), cut, angle=angle, spot=spot)
    maker.make("measure", {"sharp": 1.0}, scan)
    scans, turns, cuts, pastes = maker.rows()
    assert [row.stage for row in (scans, turns, cuts, pastes)] == ["scan", "turn", "cut", "paste"]
    assert scans.columns == ()
    assert turns.columns == cuts.columns == pastes.columns == ("angle 0", "angle 1", "angle 2")
    assert values_of(turns) == [10, 11, 12]
    assert turns.words == (("mood", "calm"),)
    assert values_of(cuts) == [20, "no object", 22]
    assert (cuts.explanation, cuts.total) == ("cut out", 2)
    assert values_of(pastes) == [30, "", 34, 31, "", 35]
    assert [thumb.title for thumb in pastes.thumbs] == ["spot 0", "spot 0", "spot 1", "spot 1"]


def test_images_of_another_generator_have_columns_of_their_own(maker: Maker) -> None:
    scan = maker.make("scan", picture(1))
    for angle in range(2):
        turned = maker.make("turn", picture(10 + angle), scan, angle=angle)
        maker.make("cut", picture(20 + angle), turned, angle=angle)
    for take in range(3):
        drawn = maker.make("draw", picture(40 + take), scan, take=take)
        maker.make("cut", picture(50 + take), drawn, take=take)
    rows = maker.rows()
    assert [row.stage for row in rows] == ["scan", "turn", "cut", "draw", "cut"]
    assert rows[2].columns == ("angle 0", "angle 1")
    assert rows[4].columns == ("take 0", "take 1", "take 2")
    assert values_of(rows[4]) == [50, 51, 52]


def test_a_stage_before_the_copies_repeats_its_picture_in_their_columns(maker: Maker) -> None:
    for angle in range(2):
        turned = maker.make("turn", picture(10 + angle), angle=angle)
        for copy in range(2):
            grown = maker.make("enlarge", picture(20 + copy), turned, angle=angle, copy=copy)
            maker.make("cut", picture(30), grown, angle=angle, copy=copy)
    turns, *_ = maker.rows()
    assert turns.columns == (
        "angle 0 · copy 0",
        "angle 0 · copy 1",
        "angle 1 · copy 0",
        "angle 1 · copy 1",
    )
    assert values_of(turns) == [10, 10, 11, 11]


def test_an_enlarged_photo_comes_with_its_middle_before_and_after(maker: Maker) -> None:
    scan = maker.make("scan", picture(1, 16))
    maker.make("enlarge", picture(2, 64), scan)
    _, enlarged = maker.rows()
    assert [thumb.pixels.shape[0] for thumb in enlarged.thumbs] == [64, 4, 16]
    assert enlarged.thumbs[0].caption == "64 × 64 px"


def test_documents_are_shown_as_words(maker: Maker) -> None:
    maker.make("scan", {"caption": "a mug", "prompt": "a mug", "negative_prompt": "blur", "n": 3})
    (row,) = maker.rows()
    assert row.words == (("caption", "a mug"), ("negative prompt", "blur"))
    assert row.thumbs == ()


def test_a_cut_out_has_a_checkerboard_and_a_scene_an_outline(maker: Maker) -> None:
    scan = maker.make("scan", picture(90))
    alpha = np.zeros((8, 8, 1), np.uint8)
    alpha[2:6, 2:6] = 255
    cut = maker.make("cut", np.dstack([picture(90), alpha]), scan, angle=0)
    maker.make("paste", np.dstack([picture(200), alpha]), cut, angle=0)
    styles = [row.thumbs[0].alpha_style for row in maker.rows()[1:]]
    assert styles == ["checker", "outline"]


def test_a_rejected_sample_shows_its_reason(maker: Maker) -> None:
    image = maker.make("turn", picture(5), angle=0)
    maker.samples.append(
        Sample(
            name="a",
            split="train",
            image=image,
            annotations=(Annotation(label="mug"),),
            generator="multiview",
            sources=("mug/a",),
            reject_reason="too blurry: 3.2",
        )
    )
    (cell,) = maker.rows()[0].cells
    assert isinstance(cell, Thumb)
    assert cell.reject_reason == "too blurry"


@pytest.mark.parametrize(
    ("count", "expected"), [(9, [0, 1, 2, 3, 4]), (2, [0, 4]), (3, [0, 2, 4]), (1, [0])]
)
def test_spread_picks_at_even_distances(count: int, expected: list[int]) -> None:
    assert spread(range(5), count) == expected


def test_background_photos_are_no_photos_of_a_reference(maker: Maker) -> None:
    photo = maker.make("ingest", picture(1))
    room = maker.make("ingest", picture(2))
    made = maker.make("paste", picture(3), photo, scene=0)
    record = GenerationRecord(
        samples=(), artifacts=(photo, room.model_copy(update={"name": "rooms/a"}), made)
    )
    sheet = draw_sheet(
        maker.run, "mug/a", "mug", record, {"ingest": "the photo", "paste": "pasted"}
    )
    assert [(row.stage, len(row.cells)) for row in sheet.rows] == [("ingest", 1), ("paste", 1)]
