"""Work items: what a generator needs of its reference photos is checked before anything runs."""

from dataclasses import replace

import pytest

from flows.generators import controlnet, copy_paste
from flows.generators.multiview import GENERATOR, Settings
from flows.items import make_items, require_annotations
from models.data.records import NO_OBJECT_LABEL, Annotation, Artifact, SourceImage
from tasks.engine.work_items import ItemConfig, SharedInputs, WorkItem
from tasks.settings.controlnet import ControlnetMasks
from tasks.settings.segment import SegmentGrabCut

NONE = Settings()


def reference(note: Annotation) -> SourceImage:
    image = Artifact(
        key="p", stage="ingest", version=1, name="mug/a", media="png", digest="d", size=1
    )
    return SourceImage(
        name="mug/a", file="mug/a.png", split="train", image=image, annotations=(note,)
    )


def test_a_generator_that_needs_boxes_names_the_photo_without_one() -> None:
    boxed = replace(GENERATOR, needs=frozenset({"boxes"}))
    require_annotations(boxed, [reference(Annotation(label="mug", box=(1, 2, 3, 4)))], NONE)
    with pytest.raises(ValueError, match=r"multiview: it needs boxes, and mug/a\.png has none"):
        require_annotations(boxed, [reference(Annotation(label="mug"))], NONE)


def test_a_generator_that_needs_masks_names_the_photo_without_one() -> None:
    masked = replace(GENERATOR, needs=frozenset({"boxes", "masks"}))
    note = Annotation(label="mug", box=(1, 2, 3, 4))
    with pytest.raises(ValueError, match=r"it needs masks, and mug/a\.png has none"):
        require_annotations(masked, [reference(note)], NONE)
    mask = reference(note).image
    require_annotations(masked, [reference(note.model_copy(update={"mask": mask}))], NONE)


def test_multiview_needs_no_annotations() -> None:
    require_annotations(GENERATOR, [reference(Annotation(label="mug"))], NONE)


def test_a_controlnet_needs_masks_only_where_it_follows_those_of_the_photos() -> None:
    photos = [reference(Annotation(label="mug"))]
    edges = controlnet.Settings()
    found = controlnet.Settings(controlnet=ControlnetMasks(), segment=SegmentGrabCut())
    for settings in (edges, found):
        require_annotations(controlnet.GENERATOR, photos, settings)
    of_photos = controlnet.Settings(controlnet=ControlnetMasks())
    with pytest.raises(ValueError, match=r"controlnet: it needs masks, and mug/a\.png has none"):
        require_annotations(controlnet.GENERATOR, photos, of_photos)


def test_the_item_of_a_class_holds_all_photos_that_show_it() -> None:
    def scene(name: str, *labels: str) -> SourceImage:
        notes = tuple(Annotation(label=label, box=(1, 2, 3, 4)) for label in labels)
        own = notes or (Annotation(label=NO_OBJECT_LABEL),)
        counted_as = "dot" if len(set(labels)) > 1 else ""
        bare = reference(own[0])
        return bare.model_copy(update={"name": name, "annotations": own, "counted_as": counted_as})

    photos = [scene("dot/a", "cell", "dot"), scene("dot/b", "dot", "cell"), scene("none/c")]
    both = [item.name for item in list_items(photos)]
    assert both == ["cell", "dot"]
    cell, dot = list_items(photos)
    assert [source.name for source in cell.sources] == ["dot/a", "dot/b"]
    assert (cell.label, cell.classes) == ("cell", {"cell"})
    # Both items hold the same photos, and are different work.
    assert cell.sources == dot.sources
    assert cell.key != dot.key


def list_items(photos: list[SourceImage]) -> list[WorkItem]:
    config = ItemConfig(settings={}, finish={}, shared=SharedInputs())
    bank = copy_paste.GENERATOR.phase("bank")
    settings = copy_paste.Settings()
    return make_items(copy_paste.GENERATOR, bank, settings, photos, {}, config)
