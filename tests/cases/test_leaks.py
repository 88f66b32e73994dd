"""Copies of test photos that are planted in train. ``../shared/cases`` 23."""

from pathlib import Path

import pytest

from models.data.splits.splitting import SplitParameters
from tasks.engine.run_context import RunContext
from tasks.ingest.photos import ingest_photos
from tasks.ingest.read_files import Ingest
from tasks.store.store import open_store
from tests.cases.scripts import write_case

OUTPUTS = Path(__file__).resolve().parents[2] / "docs" / "outputs.md"


def test_turned_copies_are_refused_and_the_docs_name_what_is_not_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photos = write_case("23_turned_and_cropped_leaks", tmp_path / "photos", monkeypatch)
    run = RunContext(open_store(tmp_path / "store"), "test")
    refused = dict(ingest_photos(run, photos, Ingest(), SplitParameters()).refused)
    for label in ("class0", "class1"):
        for number in range(3):  # by 90, 180 and 7 degrees
            reason = refused[f"train/{label}/leak{number}.png"]
            assert reason.endswith(f"the test photo test/{label}/{number}.png")
        # Crops of photos that have almost no detail, as these have, are not seen.
        assert f"train/{label}/leak3.png" not in refused
    assert "Photos with few details" in OUTPUTS.read_text(encoding="utf-8")
