"""Parts under a fixed camera: scenes, more good photos, and defects painted into good ones."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flows.generators import good_photos, inpaint
from flows.items import make_items
from models.data.records import NO_OBJECT_LABEL, SourceImage, Sources
from models.diffusion.inpaint.request import InpaintRequest
from models.diffusion.safety import SafeImage
from tasks.engine.run_context import RunContext
from tasks.engine.work_items import ItemConfig, SharedInputs, WorkItem
from tasks.settings.inpaint import InpaintSd15
from tasks.settings.placing import PlaceObjects
from tasks.store.store import open_store
from tests.flows.generators.parts import GOOD, SCRATCHED, read_parts, write_parts

CONFIG = ItemConfig(settings={}, finish={}, shared=SharedInputs())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("parts")
    write_parts(folder / "photos")
    return folder


@pytest.fixture(scope="module")
def run(folder: Path) -> RunContext:
    return RunContext(open_store(folder / "store"), "test")


@pytest.fixture(scope="module")
def parts(run: RunContext, folder: Path) -> Sources:
    return read_parts(run, folder / "photos")


def item_of(name: str, *sources: SourceImage, **fields: Any) -> WorkItem:
    return WorkItem(generator="own", phase="own", name=name, key="", sources=sources, **fields)


def test_good_photos_have_no_object_and_defects_have_masks_and_boxes(parts: Sources) -> None:
    assert parts.classes == ["scratch"]
    assert len(parts.images) == GOOD + SCRATCHED
    good = [photo for photo in parts.images if photo.shows(NO_OBJECT_LABEL)]
    assert len(good) == GOOD
    for photo in parts.images:
        (note,) = photo.annotations
        has_defect = photo not in good
        assert (note.box is not None, note.mask is not None) == (has_defect, has_defect)
        assert note.label == ("scratch" if has_defect else NO_OBJECT_LABEL)
    assert {photo.split for photo in good} == {"train", "val", "test"}
    assert any("shows no defect, so these folders are not used" in note for note in parts.notes)


def test_photos_that_look_alike_are_said_with_the_field_that_ends_it(
    run: RunContext, folder: Path
) -> None:
    parts = read_parts(run, folder / "photos", "pictures")
    assert {photo.split for photo in parts.images} == {"train"}
    (warning,) = parts.warnings
    assert warning.startswith("no photo is in val and test, because photos that look alike stay")
    assert "for a fixed camera, set split.group_by=none, folder, prefix or a CSV" in warning


def test_more_good_photos_differ_in_light_alone(run: RunContext, parts: Sources) -> None:
    photo = next(photo for photo in parts.images if photo.shows(NO_OBJECT_LABEL))
    settings = good_photos.Settings()
    (phase,) = good_photos.GENERATOR.phases
    items = make_items(good_photos.GENERATOR, phase, settings, parts.images, {}, CONFIG)
    # Photos of defects have no item.
    assert [item.name for item in items] == [
        found.name for found in parts.images if found.shows(NO_OBJECT_LABEL)
    ]
    assert len(items) < len(parts.images)
    (copy,) = good_photos.make_images(run, settings, item_of("own", photo), SharedInputs())
    before, after = (run.load(image)[..., 0].astype(float) for image in (photo.image, copy))
    assert after.shape == before.shape
    assert (after != before).mean() > 0.2
    assert np.corrcoef(before.ravel(), after.ravel())[0, 1] > 0.98


def test_defects_are_painted_into_good_photos_alone(
    run: RunContext, parts: Sources, monkeypatch: pytest.MonkeyPatch
) -> None:
    def infer(_kind: type, _weights: Any, requests: Sequence[InpaintRequest]) -> list[SafeImage]:
        return [
            SafeImage(np.where(request.mask[..., None], 255, request.image).astype(np.uint8))
            for request in requests
        ]

    monkeypatch.setattr("models.runtime.network_pool.infer", infer)
    settings = inpaint.Settings(
        place=PlaceObjects(scene_classes=(NO_OBJECT_LABEL,)),
        inpaint=InpaintSd15(size=64, margin=0.0, find_mask=False),
    )
    scratched = [photo for photo in parts.images if photo.shows("scratch")]
    sizes = item_of("scratch", *scratched, of_class="scratch")
    learned = inpaint.learn_sizes(run, settings, sizes, SharedInputs())
    inputs = inpaint.choose_inputs(settings, parts.images, {"scratch": learned})
    shard = item_of("shard 0", *parts.images, inputs=inputs)
    images = inpaint.paint_shard(run, settings, shard, SharedInputs())
    good = {photo.name: photo for photo in parts.images if photo.shows(NO_OBJECT_LABEL)}
    assert sorted(image.name for image in images) == sorted(good)
    for image in images:
        (defect,) = image.metadata["objects"]
        x, y, width, height = defect["box"]
        before, after = run.load(good[image.name].image), run.load(image)
        assert (after[y : y + height, x : x + width] == 255).all()
        changed = (after != before).any(axis=-1)
        changed[y : y + height, x : x + width] = False
        assert not changed.any()
        assert 15 < width < 30
        assert image.metadata["counted_as"] == "scratch"
        assert set(image.metadata["sources"]) == {image.name, *(p.name for p in scratched)}
