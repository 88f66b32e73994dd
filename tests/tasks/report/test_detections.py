"""Pictures of detections: some photos evenly, then those with the most mistakes."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from tasks.report.detections import choose_photos, draw_detections
from tests.models.evaluation.detection.detection_case import PHOTOS, make_content


def test_photos_are_chosen_evenly_and_by_mistakes() -> None:
    mistakes = np.zeros(10, np.int64)
    mistakes[[3, 4, 8]] = (9, 2, 5)
    assert choose_photos(mistakes) == [0, 3, 6, 9, 8, 4]
    assert choose_photos(np.array([1])) == [0]


def test_a_row_shows_the_objects_and_what_each_training_found(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    contents = [make_content(skill, seed) for skill in (0.5, 0.9) for seed in range(2)]
    photo = SimpleNamespace(name="scene/a")
    pixels = np.zeros((150, 200, 3), np.uint8)
    run: Any = SimpleNamespace(load=lambda found: pixels if found is photo else contents[found])
    monkeypatch.setattr(
        "tasks.report.detections.find_artifacts", lambda run, names: dict.fromkeys(names, photo)
    )
    names = ("real", "real", "added", "added")
    checkpoints = [SimpleNamespace(variant={"dataset": name}) for name in names]
    summary: Any = SimpleNamespace(checkpoints=checkpoints, scores=list(range(4)))
    rows = draw_detections(run, summary)
    assert len(rows) == 8
    assert [thumb.title for thumb in rows[0]] == ["real objects", "real", "added"]
    real = sum(len(objects) for objects in contents[0]["test"]["objects"][PHOTOS - 1 :])
    words = rows[3][1].caption
    assert "; scores from 0." in words
    named = [part for part in words.split("; ") if " of " in part and "alarm" not in part]
    assert sum(int(part.split(" of ")[1]) for part in named) == real
    contents[:] = [{"classes": ["cat"], "test": {}} for _ in contents]
    assert draw_detections(run, summary) == ()
