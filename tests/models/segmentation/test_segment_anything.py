"""Segment Anything: published pre- and post-processing, prompts, batches, choice of mask."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812  # the usual name
from PIL import Image
from torchvision.transforms.v2.functional import resize

from models.runtime.batching import InvalidOutput
from models.runtime.hardware import Machine
from models.runtime.loading import WrongCheckpointError
from models.segmentation.saliency import NoObjectError
from models.segmentation.segment_anything import (
    SamMask,
    SamRequest,
    SegmentAnything,
    box_around,
    salient_mask,
)
from tests.checkpoints import sam as tiny
from tests.models.segmentation.test_grabcut import draw_scene, iou

CPU_4 = Machine(torch.device("cpu"), torch.float32, batch=4)
MEAN = (123.675, 116.28, 103.53)
STD = (58.395, 57.12, 57.375)


@pytest.fixture(scope="module")
def sam(tmp_path_factory: pytest.TempPathFactory) -> SegmentAnything:
    folder = tmp_path_factory.mktemp("sam")
    tiny.build(folder)
    return SegmentAnything.load(folder, machine=CPU_4)


@pytest.fixture(scope="module")
def sam2(tmp_path_factory: pytest.TempPathFactory) -> SegmentAnything:
    folder = tmp_path_factory.mktemp("sam2")
    tiny.build_2(folder)
    return SegmentAnything.load(folder, machine=CPU_4)


def make_photo(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 255, (height, width, 3), dtype=np.uint8)


def segment(sam: SegmentAnything, request: SamRequest) -> SamMask:
    (result,) = sam.compute([request])
    assert isinstance(result, SamMask)
    return result


@pytest.mark.parametrize(("height", "width"), [(90, 130), (150, 70), (300, 257)])
def test_follows_the_published_program(sam: SegmentAnything, height: int, width: int) -> None:
    """PIL resizes the longest side, statistics are of 0..255, zeros pad the right and bottom."""
    image, box = make_photo(height, width), (10.0, 20.0, 60.0, 66.0)
    scale = tiny.SIDE / max(height, width)
    size = (int(width * scale + 0.5), int(height * scale + 0.5))
    small = np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BILINEAR))
    pixels = torch.zeros(1, 3, tiny.SIDE, tiny.SIDE)
    scaled = (small - np.array(MEAN)) / np.array(STD)
    pixels[0, :, : size[1], : size[0]] = torch.from_numpy(scaled).permute(2, 0, 1).float()
    ratio = np.array([size[0] / width, size[1] / height] * 2)
    boxes = torch.from_numpy((np.array(box) * ratio)[None, None]).float()
    with torch.inference_mode():
        raw = sam.modules[0](pixel_values=pixels, input_boxes=boxes, multimask_output=True)
        best = int(raw.iou_scores[0, 0].argmax())
        low = raw.pred_masks[0, 0, best][None, None]
        large = F.interpolate(low, (tiny.SIDE, tiny.SIDE), mode="bilinear")
        large = F.interpolate(large[..., : size[1], : size[0]], (height, width), mode="bilinear")
    result = segment(sam, SamRequest(image, box))
    wanted = (large[0, 0] / 4 + 0.5).clamp(0, 1).numpy()
    assert np.abs(result.alpha - wanted).max() < 1e-4
    assert result.predicted_iou == pytest.approx(float(raw.iou_scores.max()), abs=1e-4)


def test_sam_2_squeezes_the_photo_into_a_square(sam2: SegmentAnything) -> None:
    image, box = make_photo(90, 130), (13.0, 18.0, 65.0, 72.0)
    levels = torch.from_numpy(image).permute(2, 0, 1)
    small = resize(levels, [tiny.SIDE, tiny.SIDE], antialias=True).permute(1, 2, 0).numpy()
    pixels = torch.from_numpy((small - np.array(MEAN)) / np.array(STD)).permute(2, 0, 1)[None]
    ratio = np.array([tiny.SIDE / 130, tiny.SIDE / 90] * 2)
    boxes = torch.from_numpy((np.array(box) * ratio)[None, None]).float()
    with torch.inference_mode():
        raw = sam2.modules[0](pixel_values=pixels.float(), input_boxes=boxes, multimask_output=True)
        low = raw.pred_masks[0, 0, int(raw.iou_scores[0, 0].argmax())][None, None]
        large = F.interpolate(low, (90, 130), mode="bilinear")
    result = segment(sam2, SamRequest(image, box))
    assert np.abs(result.alpha - (large[0, 0] / 4 + 0.5).clamp(0, 1).numpy()).max() < 0.01


@pytest.mark.parametrize("name", ["sam", "sam2"])
def test_a_batch_gives_the_single_results_in_order(
    request: pytest.FixtureRequest, name: str
) -> None:
    sam: SegmentAnything = request.getfixturevalue(name)
    previous = np.zeros((90, 120), np.float32)
    previous[20:60, 30:80] = 1
    requests = [
        SamRequest(make_photo(90, 120), box_around(previous), previous_mask=previous),
        SamRequest(make_photo(60, 60, 1), (10, 10, 50, 50)),
        SamRequest(make_photo(150, 70, 2), (5, 5, 60, 100)),
        SamRequest(make_photo(90, 120, 3), (20, 10, 50, 50)),
        SamRequest(make_photo(90, 120, 4), (10, 10, 50, 50)),
    ]
    batches: list[int] = []
    hook = (
        sam.modules[0]
        .get_submodule("vision_encoder")
        .register_forward_pre_hook(lambda _, args: batches.append(len(args[0])))
    )
    batched = list(sam.compute(requests))
    hook.remove()
    assert batches == [4, 1]
    for sam_request, result in zip(requests, batched, strict=True):
        single = segment(sam, sam_request)
        assert isinstance(result, SamMask)
        assert result.alpha.shape == sam_request.image.shape[:2]
        assert np.abs(result.alpha - single.alpha).max() < 1e-4
        assert result.predicted_iou == pytest.approx(single.predicted_iou, abs=1e-4)


def test_the_box_changes_the_mask(sam: SegmentAnything) -> None:
    image = make_photo(100, 100)
    first, second = (
        segment(sam, SamRequest(image, box)) for box in ((5, 5, 40, 40), (50, 50, 95, 95))
    )
    assert np.abs(first.alpha - second.alpha).max() > 1e-3


def pack(masks: torch.Tensor, scores: list[float]) -> torch.Tensor:
    return torch.cat((masks.flatten(), torch.tensor(scores)))


def test_takes_the_mask_that_agrees_with_the_previous_mask(
    sam: SegmentAnything, monkeypatch: pytest.MonkeyPatch
) -> None:
    masks = torch.full((3, 64, 64), -9.0)
    masks[0, :20, :20] = masks[1, 30:, 30:] = masks[2] = 9
    run: Any = lambda batch: [pack(masks, [0.8, 0.6, 0.7]) for _ in batch]  # noqa: E731
    monkeypatch.setattr(sam, "_run", run)
    previous = np.zeros((128, 128), np.float32)
    previous[62:, 62:] = 1
    free = segment(sam, SamRequest(make_photo(128, 128), (0, 0, 9, 9)))
    held = segment(sam, SamRequest(make_photo(128, 128), (0, 0, 9, 9), previous_mask=previous))
    assert (free.predicted_iou, free.agreement) == (pytest.approx(0.8), None)
    assert held.predicted_iou == pytest.approx(0.6)
    assert held.agreement == pytest.approx(1, abs=0.1)
    assert iou(held.alpha, previous > 0.5) > 0.9


def test_output_that_is_empty_or_not_finite_is_invalid(
    sam: SegmentAnything, monkeypatch: pytest.MonkeyPatch
) -> None:
    empty = pack(torch.full((3, 64, 64), -9.0), [0.9] * 3)
    for answer, reason in (
        (empty, "no object found (the mask is empty)"),
        (empty * float("nan"), "the network gave no finite numbers"),
    ):
        run: Any = lambda batch, answer=answer: [answer for _ in batch]  # noqa: E731
        monkeypatch.setattr(sam, "_run", run)
        assert list(sam.compute([SamRequest(make_photo(64, 64), (0, 0, 9, 9))])) == [
            InvalidOutput(reason)
        ]


def test_the_box_encloses_the_mask() -> None:
    alpha = np.zeros((20, 30), np.float32)
    with pytest.raises(NoObjectError, match="mask is empty"):
        box_around(alpha)
    alpha[4:9, 10:13] = 0.8
    assert box_around(alpha) == (10, 4, 13, 9)


def test_the_salient_mask_covers_the_object() -> None:
    pixels, mask = draw_scene("disc")
    assert iou(salient_mask(pixels), mask) > 0.7
    with pytest.raises(NoObjectError):
        salient_mask(np.full((60, 60, 3), 99, np.uint8))


def test_rejects_a_folder_without_weights(tmp_path: Path) -> None:
    tiny.build(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(WrongCheckpointError, match=str(tmp_path)):
        SegmentAnything.load(tmp_path, machine=CPU_4)
