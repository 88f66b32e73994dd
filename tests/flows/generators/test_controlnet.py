"""Which masks the images of a ControlNet get: those of the photo, found ones, or none."""

from typing import Any

import pytest

from flows.generators.controlnet import Settings, make_images
from models.data.records import Annotation, Artifact, SourceImage
from tasks.engine.planning_run import PlanningRun
from tasks.engine.work_items import SharedInputs, WorkItem
from tasks.settings.controlnet import ControlnetEdges, ControlnetMasks
from tasks.settings.segment import SegmentGrabCut


def artifact(stage: str) -> Artifact:
    return Artifact(
        key=stage, stage=stage, version=1, name="mug/a", media="png", digest=stage, size=1
    )


@pytest.mark.parametrize(
    ("model", "segment", "stages", "inputs"),
    [
        (ControlnetEdges(), None, ["condition", "controlnet"], ["ingest"]),
        (
            ControlnetEdges(),
            SegmentGrabCut(),
            ["condition", "controlnet", "segment"],
            ["ingest"],
        ),
        (ControlnetMasks(), None, ["condition", "controlnet"], ["ingest", "object_mask"]),
        (
            ControlnetMasks(),
            SegmentGrabCut(),
            ["segment", "condition", "controlnet"],
            ["segment"],
        ),
    ],
)
def test_each_model_gets_its_masks(
    model: Any, segment: SegmentGrabCut | None, stages: list[str], inputs: list[str]
) -> None:
    note = Annotation(label="mug", mask=artifact("object_mask"))
    photo = SourceImage(
        name="mug/a",
        file="mug/a.png",
        split="train",
        image=artifact("ingest"),
        annotations=(note,),
    )
    item = WorkItem(generator="controlnet", phase="images", name="a", key="", sources=(photo,))
    run = PlanningRun()
    images = make_images(run, Settings(controlnet=model, segment=segment), item, SharedInputs())
    assert list(run.stages) == stages
    assert len(images) == model.n_images
    (drawn,) = [one for one in run.made.values() if one.stage == "condition"]
    assert [parent.partition("/")[0] for parent in drawn.parents] == inputs
