"""The segment stage by networks: prompts, mending, gates, refinement, screens."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from models.data.pixels import with_matte
from models.data.records import Artifact, Record
from models.runtime.batching import InvalidOutput
from models.runtime.hardware import Machine
from models.segmentation.grabcut import segment_object
from models.segmentation.isnet import Isnet
from models.segmentation.segment_anything import SamMask, SegmentAnything, box_around
from models.segmentation.vitmatte import VitMatte
from tasks.engine.jobs import Job, StageInput, StageOutput
from tasks.engine.run_context import RunContext
from tasks.engine.stage import stage
from tasks.generate.segment import segment
from tasks.settings.segment import (
    MASK_OF_PHOTO,
    Segment,
    SegmentGrabCut,
    SegmentIsNet,
    SegmentSam,
    VitMatteRefine,
)
from tasks.store.store import open_store
from tests.checkpoints import isnet, sam, vitmatte
from tests.models.segmentation.test_grabcut import draw_scene, iou

CPU = Machine(torch.device("cpu"), torch.float32)
ISNET, SAM = "xuebinqin/IS-Net", "facebook/sam-vit-base"
VITMATTE = "hustvl/vitmatte-small-composition-1k"
ANY = {"min_score": 0, "min_compactness": 0, "min_confidence": 0}


class Nothing(Record):
    pass


def scene(kind: str) -> tuple[np.ndarray, np.ndarray]:
    return draw_scene("disc", 96, 128) if kind != "blank" else (
        np.full((96, 128, 3), 200, np.uint8), np.zeros((96, 128), bool)
    )  # fmt: skip


@stage("photo", version=1, plan=lambda _, kinds: [
    Job((), {"kind": one}, name="mug/a") for one in kinds
])  # fmt: skip
def photo(inputs: Sequence[StageInput], parameters: Nothing) -> Any:
    """A drawn object; ``carried`` has its matte with it, ``wrong`` that of another place."""
    for item in inputs:
        kind = item.job.variant["kind"]
        pixels, mask = scene(str(kind))
        if kind == "wrong":
            mask = np.roll(mask, 40, axis=1)
        carries = kind in ("carried", "wrong")
        yield StageOutput(with_matte(pixels, mask.astype(np.float32)) if carries else pixels)


@pytest.fixture
def run(tmp_path: Path) -> RunContext:
    return RunContext(open_store(tmp_path / "store"), "test")


@pytest.fixture(scope="module")
def networks(tmp_path_factory: pytest.TempPathFactory) -> dict[type, Any]:
    base = tmp_path_factory.mktemp("checkpoints")
    isnet.build(base / "isnet")
    sam.build(base / "sam")
    vitmatte.build(base / "vitmatte")
    return {
        Isnet: Isnet.load(base / "isnet", machine=CPU),
        SegmentAnything: SegmentAnything.load(base / "sam", machine=CPU),
        VitMatte: VitMatte.load(base / "vitmatte", machine=CPU),
    }


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch, networks: dict[type, Any]) -> list[Any]:
    """Every call of `ask`, answered by the tiny networks."""
    calls: list[Any] = []

    def infer(kind: type, references: Sequence[str], requests: Sequence[Any]) -> list[Any]:
        calls.append((kind, *references, list(requests)))
        return list(networks[kind].compute(requests))

    monkeypatch.setattr("models.runtime.network_pool.infer", infer)
    return calls


def answer(monkeypatch: pytest.MonkeyPatch, *results: Any) -> None:
    monkeypatch.setattr("models.runtime.network_pool.infer", lambda *_: list(results))


def rejections(run: RunContext, parameters: Segment, photos: list[Artifact]) -> list[str | None]:
    segment.run(run, parameters, photos)
    keys = [segment.key(job, parameters) for job in segment.plan(parameters, photos)]
    found = run.store.find("segment", keys)
    return [found[key].reject_reason for key in keys]


def test_isnet_finds_the_object_and_passes_the_screens(run: RunContext, asked: list[Any]) -> None:
    photos = photo.run(run, Nothing(), ["plain", "carried"])
    made = segment.run(run, SegmentIsNet(), photos)
    assert [(kind, reference, len(rest)) for kind, reference, rest in asked] == [(Isnet, ISNET, 2)]
    pixels, mask = scene("plain")
    for artifact in made:
        image = run.load(artifact)
        assert np.array_equal(image[..., :3], pixels)
        assert iou(image[..., 3] / 255, mask) > 0.75
        assert artifact.metadata["score"] > 0.25
    assert "previous_iou" not in made[0].metadata
    assert made[1].metadata["previous_iou"] > 0.75


def test_a_mask_that_disagrees_with_the_carried_matte_is_rejected(
    run: RunContext, asked: list[Any]
) -> None:
    photos = photo.run(run, Nothing(), ["plain", "carried", "wrong"])
    free = rejections(run, SegmentIsNet(), photos)
    gated = rejections(run, SegmentIsNet(min_previous_iou=0.6), photos)
    assert free == [None, None, None]
    assert gated[:2] == [None, None]
    assert str(gated[2]).startswith("mask disagrees with the previous mask")


def test_a_photo_without_an_object_is_rejected_with_its_reason(
    run: RunContext, asked: list[Any]
) -> None:
    photos = photo.run(run, Nothing(), ["blank", "plain"])
    for settings in (SegmentIsNet, SegmentSam):
        reasons = rejections(run, settings(**ANY), photos)
        assert str(reasons[0]).startswith("no object found")
        assert reasons[1] is None


def test_sam_is_prompted_where_the_object_lies(run: RunContext, asked: list[Any]) -> None:
    photos = photo.run(run, Nothing(), ["plain", "carried", "wrong"])
    segment.run(run, SegmentSam(**ANY), photos)
    ((kind, reference, requests),) = asked
    assert (kind, reference) == (SegmentAnything, SAM)
    _, mask = scene("plain")
    true, moved = (box_around(one.astype(np.float32)) for one in (mask, np.roll(mask, 40, axis=1)))
    assert requests[1].box == true
    assert requests[2].box == moved
    assert np.abs(np.array(requests[0].box) - np.array(true)).max() < 8


def test_sams_own_doubt_rejects(run: RunContext, monkeypatch: pytest.MonkeyPatch) -> None:
    photos = photo.run(run, Nothing(), ["plain", "carried"])
    mask = scene("plain")[1].astype(np.float32)
    answer(monkeypatch, SamMask(mask, 0.05, 0.9), SamMask(mask, 0.9, 0.9))
    made = segment.run(run, SegmentSam(), photos)
    assert [one.variant["kind"] for one in made] == ["carried"]
    assert made[0].metadata["predicted_iou"] == 0.9


@pytest.mark.parametrize(("fill_holes", "keep_parts"), [(0.05, 0.2), (0.0, 0.0)])
def test_fills_holes_and_drops_small_parts_of_a_mask_on_request(
    run: RunContext, monkeypatch: pytest.MonkeyPatch, fill_holes: float, keep_parts: float
) -> None:
    photos = photo.run(run, Nothing(), ["plain"])
    mask = scene("plain")[1].astype(np.float32)
    cv2.circle(mask, (64, 48), 3, 0.0, -1)
    cv2.circle(mask, (8, 8), 4, 1.0, -1)
    answer(monkeypatch, mask)
    parameters = SegmentIsNet(fill_holes=fill_holes, keep_parts=keep_parts, **ANY)
    (made,) = segment.run(run, parameters, photos)
    matte = run.load(made)[..., 3]
    is_filled = fill_holes > 0
    assert (matte[48, 64] == 255) == is_filled
    assert (matte[8, 8] == 0) == is_filled


def test_a_frayed_mask_fails_the_same_screens_as_a_classical_one(
    run: RunContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    photos = photo.run(run, Nothing(), ["plain"])
    noise = np.random.default_rng(0).random((96, 128)).astype(np.float32)
    answer(monkeypatch, noise)
    (reason,) = rejections(run, SegmentIsNet(keep_parts=0, fill_holes=0), photos)
    assert str(reason).startswith("mask frayed")


def test_vitmatte_decides_the_edge_and_leaves_the_rest(run: RunContext, asked: list[Any]) -> None:
    photos = photo.run(run, Nothing(), ["blank", "carried", "plain"])
    plain = SegmentIsNet(**ANY)
    refined = plain.model_copy(update={"refine": VitMatteRefine()})
    assert refined.checkpoints == (ISNET, VITMATTE)
    before = segment.run(run, plain, photos)
    after = segment.run(run, refined, photos)
    assert [(call[0], len(call[2])) for call in asked] == [(Isnet, 3), (Isnet, 3), (VitMatte, 2)]
    for one, other in zip(before, after, strict=True):
        first, second = (run.load(item)[..., 3] for item in (one, other))
        assert not np.array_equal(first, second)
        assert second[48, 64] == 255
        assert second[2, 2] == 0


def test_an_unusable_edge_is_a_rejection(
    run: RunContext, monkeypatch: pytest.MonkeyPatch, networks: dict[type, Any]
) -> None:
    def infer(kind: type, _: Any, requests: Sequence[Any]) -> list[Any]:
        if kind is VitMatte:
            return [InvalidOutput("the network gave no finite numbers") for _ in requests]
        return list(networks[kind].compute(requests))

    monkeypatch.setattr("models.runtime.network_pool.infer", infer)
    photos = photo.run(run, Nothing(), ["plain"])
    (reason,) = rejections(run, SegmentIsNet(refine=VitMatteRefine(), **ANY), photos)
    assert reason == "the network gave no finite numbers"


def test_grabcut_works_at_its_own_size(run: RunContext) -> None:
    parameters = SegmentGrabCut()
    assert segment.key_params(parameters) == {
        "model": "grabcut",
        "min_score": 0.25,
        "min_compactness": 0.13,
        "working_side": 320,
    }
    (made,) = segment.run(run, parameters, photo.run(run, Nothing(), ["plain"]))
    pixels, _ = scene("plain")
    wanted = with_matte(pixels, segment_object(pixels, working_side=320))
    assert np.array_equal(run.load(made), wanted)


@pytest.mark.parametrize("settings", [SegmentGrabCut(), SegmentIsNet(), SegmentSam()])
def test_no_model_changes_the_mask_that_a_photo_carries(
    run: RunContext, asked: list[Any], settings: Segment
) -> None:
    found = photo.run(run, Nothing(), ["wrong"])
    cut_outs = [image.model_copy(update={"variant": MASK_OF_PHOTO}) for image in found]
    (kept,) = segment(run, settings, cut_outs)
    np.testing.assert_array_equal(run.load(kept), run.load(cut_outs[0]))
    assert kept.metadata == MASK_OF_PHOTO
    assert asked == []


def test_an_image_that_lost_its_alpha_is_segmented(run: RunContext) -> None:
    images = photo.run(run, Nothing(), ["plain"])
    painted = [image.model_copy(update={"variant": MASK_OF_PHOTO}) for image in images]
    (found,) = segment(run, SegmentGrabCut(), painted)
    assert iou(run.load(found)[..., 3], scene("plain")[1]) > 0.9
