"""A photo's edges or masks become a condition, and images with the objects of the photo."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models.data.formats.polygons import decode_runs
from models.data.records import Artifact, Record
from models.diffusion.safety import SafeImage, UnsafeImage
from models.diffusion.sd15.text_to_image import Sd15ControlNet, Sd15ControlRequest
from tasks.engine.jobs import Job, StageInput, StageOutput
from tasks.engine.run_context import RunContext
from tasks.engine.stage import stage
from tasks.generate.condition import condition
from tasks.generate.controlnet import controlnet
from tasks.settings.controlnet import ColourMap, ControlnetEdges, ControlnetMasks, Edges
from tasks.store.store import open_store

MAP = ColourMap(longest_side=128, object_colour=(255, 204, 0), background_colour=(1, 2, 3))


class Content(Record):
    """Pictures of 128 x 64 px to put into the store: a photo, or the mask of an object."""

    kind: str


@stage("content", version=1, plan=lambda settings: [Job((), {}, name="mug/1")])
def content(inputs: Sequence[StageInput], parameters: Content) -> Any:
    left, right = np.zeros((2, 64, 128), np.uint8)
    left[10:40, 10:50] = 255
    right[20:50, 70:120] = 255
    right[20, 70:120] = 128
    photo = np.full((64, 128, 3), 200, np.uint8)
    photo[left > 0] = 20
    pictures = {
        "left": left,
        "right": right,
        "empty": np.zeros_like(left),
        "photo": photo,
        "cut-out": np.dstack([photo, left]),
    }
    yield StageOutput(pictures[parameters.kind])


@pytest.fixture
def run(tmp_path: Path) -> RunContext:
    return RunContext(open_store(tmp_path / "store"), "test")


def put(run: RunContext, kind: str) -> Artifact:
    (artifact,) = content.run(run, Content(kind=kind))
    return artifact


def test_a_map_shows_every_mask_and_lists_its_object(run: RunContext) -> None:
    masks = [put(run, "left"), put(run, "right")]
    (made,) = condition.run(run, MAP, [put(run, "photo")], masks, "mug")
    picture = run.load(made)
    assert picture[20, 20].tolist() == [255, 204, 0]
    assert picture[20, 100].tolist() == [0, 0, 0], "the border of the trimap"
    assert picture[5, 5].tolist() == [1, 2, 3]
    objects = made.metadata["objects"]
    assert [entry["label"] for entry in objects] == ["mug", "mug"]
    assert [entry["box"] for entry in objects] == [[10, 10, 40, 30], [70, 20, 50, 30]]
    assert decode_runs(objects[0]["mask"], 64, 128).sum() == 40 * 30


def test_a_cut_out_gives_its_alpha_and_a_photo_without_a_mask_is_rejected(run: RunContext) -> None:
    (made,) = condition.run(run, MAP, [put(run, "cut-out")], [], "mug")
    assert made.metadata["objects"][0]["box"] == [10, 10, 40, 30]
    for masks in ([], [put(run, "empty")]):
        assert condition.run(run, MAP, [put(run, "photo")], masks, "mug") == []
    reasons = {one.reject_reason for one in run.made.values() if one.reject_reason}
    assert reasons == {"no object found: it has no mask, or none within the crop"}


def test_edges_need_no_mask(run: RunContext) -> None:
    (made,) = condition.run(run, Edges(longest_side=128), [put(run, "cut-out")], [], "mug")
    picture = run.load(made)
    assert picture.shape == (64, 128, 3)
    assert picture[9:12, 15:45].max() == 255
    assert "objects" not in made.metadata


def test_images_follow_the_condition_and_carry_its_objects(
    run: RunContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Sd15ControlRequest] = []

    def infer(kind: type, references: Sequence[str], requests: Sequence[Any]) -> list[Any]:
        assert kind is Sd15ControlNet
        assert references == settings.checkpoints
        asked.extend(requests)
        images: list[Any] = [SafeImage(np.zeros((64, 128, 3), np.uint8), 1) for _ in requests]
        return [*images[:-1], UnsafeImage("flagged as not safe for work 4 times", 3)]

    monkeypatch.setattr("models.runtime.network_pool.infer", infer)
    settings = ControlnetMasks(n_images=3, condition=MAP, control_scale=0.7)
    masks = [put(run, "left")]
    conditions = condition.run(run, MAP, [put(run, "photo")], masks, "mug")
    made = controlnet.run(run, settings, conditions, masks, "mug")
    assert {(one.prompt, one.control_scale, one.width) for one in asked} == {
        ("a photo of a mug", 0.7, 128)
    }
    assert all((one.condition == run.load(conditions[0])).all() for one in asked)
    assert len({one.seed for one in asked}) == 3
    assert [one.variant["controlled"] for one in made] == [0, 1]
    assert {one.name for one in made} == {"mug/1"}
    for one in made:
        assert one.metadata["objects"] == conditions[0].metadata["objects"]
    assert run.counts["controlnet"].safety_retries == 2 * 1 + 3


def test_the_settings_of_the_condition_are_no_part_of_an_image_s_key(run: RunContext) -> None:
    """Its pixels are: they are the input."""
    settings = ControlnetEdges(condition=Edges(low=1.0))
    assert controlnet.key_params(settings) == controlnet.key_params(ControlnetEdges())
