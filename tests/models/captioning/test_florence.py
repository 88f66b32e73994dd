"""Florence-2 at tiny widths, compared with transformers called image by image."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from models.captioning.florence import Florence, FlorenceRequest, Task
from models.data.pixels import Pixels
from models.runtime.batching import InvalidOutput
from models.runtime.hardware import Machine
from models.runtime.loading import WrongCheckpointError
from tests.checkpoints import florence

CPU = Machine(torch.device("cpu"), torch.float32, batch=3)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("florence")
    florence.build(folder)
    return folder


@pytest.fixture(scope="module")
def network(folder: Path) -> Florence:
    return Florence.load(folder, machine=CPU)


def make_images() -> list[Pixels]:
    rng = np.random.default_rng(0)
    return [
        rng.integers(0, maximum, (*size, 3), dtype=np.uint8)
        for maximum, size in ((255, (50, 70)), (90, (40, 30)), (200, (64, 64)), (120, (50, 70)))
    ]


@pytest.mark.parametrize("num_beams", [1, 3])
@pytest.mark.parametrize("task", ["<CAPTION>", "<DETAILED_CAPTION>"])
def test_a_batch_gives_the_single_results(num_beams: int, task: Task, network: Florence) -> None:
    requests = [
        FlorenceRequest(image, task, num_beams=num_beams, max_new_tokens=12)
        for image in make_images()
    ]
    batched = list(network.compute(requests))
    assert batched == [next(network.compute([request])) for request in requests]
    assert len(set(batched)) > 1


def test_accepts_mixed_tasks_and_settings(network: Florence) -> None:
    image = make_images()[0]
    requests = [
        FlorenceRequest(image, max_new_tokens=8),
        FlorenceRequest(image, "<DETAILED_CAPTION>", max_new_tokens=8),
        FlorenceRequest(image, max_new_tokens=8, num_beams=1),
    ]
    batched = list(network.compute(requests))
    assert batched == [next(network.compute([request])) for request in requests]
    assert batched[0] != batched[1]


def test_matches_a_direct_call_of_transformers(folder: Path, network: Florence) -> None:
    from transformers import Florence2ForConditionalGeneration, Florence2Processor

    reference = Florence2ForConditionalGeneration.from_pretrained(folder).eval()
    processor = Florence2Processor.from_pretrained(folder)
    for image in make_images():
        inputs = processor(images=image, text="<CAPTION>", return_tensors="pt")
        with torch.inference_mode():
            ids = reference.generate(**inputs, max_new_tokens=12, num_beams=3, early_stopping=True)
        expected = processor.batch_decode(ids, skip_special_tokens=True)[0].strip()
        assert next(network.compute([FlorenceRequest(image, max_new_tokens=12)])) == expected


def test_ignores_alpha(network: Florence) -> None:
    image = make_images()[0]
    rgba = np.dstack([image, np.full(image.shape[:2], 7, np.uint8)])
    without_alpha, with_alpha = network.compute(
        [FlorenceRequest(pixels, max_new_tokens=8) for pixels in (image, rgba)]
    )
    assert without_alpha == with_alpha


def test_output_that_is_not_finite_is_invalid(folder: Path) -> None:
    network = Florence.load(folder, machine=CPU)
    torch.nn.init.constant_(next(network.modules[0].parameters()), torch.nan)
    (result,) = network.compute([FlorenceRequest(make_images()[0], max_new_tokens=4)])
    assert isinstance(result, InvalidOutput)


@pytest.mark.parametrize("fault", ["missing", "unexpected"])
def test_rejects_other_weights(fault: str, tmp_path: Path) -> None:
    florence.build(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    if fault == "missing":
        del weights["model.vision_tower.convs.0.conv.weight"]
    else:
        weights["image_projection"] = torch.zeros(2)
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(WrongCheckpointError, match=fault):
        Florence.load(tmp_path, machine=CPU)


def test_rejects_bad_requests() -> None:
    image = make_images()[0]
    with pytest.raises(ValueError, match=r"FlorenceRequest\.image"):
        FlorenceRequest(image.astype(np.float32))  # type: ignore[arg-type]


def test_no_requests_give_no_results(network: Florence) -> None:
    assert list(network.compute([])) == []
