"""Florence-2 at tiny widths, against transformers called one image at a time."""

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
    made = tmp_path_factory.mktemp("florence")
    florence.build(made)
    return made


@pytest.fixture(scope="module")
def network(folder: Path) -> Florence:
    return Florence.load(folder, machine=CPU)


def pictures() -> list[Pixels]:
    rng = np.random.default_rng(0)
    return [
        rng.integers(0, most, (*size, 3), dtype=np.uint8)
        for most, size in ((255, (50, 70)), (90, (40, 30)), (200, (64, 64)), (120, (50, 70)))
    ]


@pytest.mark.parametrize("num_beams", [1, 3])
@pytest.mark.parametrize("task", ["<CAPTION>", "<DETAILED_CAPTION>"])
def test_an_image_alone_is_as_in_a_batch(num_beams: int, task: Task, network: Florence) -> None:
    requests = [
        FlorenceRequest(one, task, num_beams=num_beams, max_new_tokens=12) for one in pictures()
    ]
    together = list(network.compute(requests))
    assert together == [next(network.compute([one])) for one in requests]
    assert len(set(together)) > 1


def test_tasks_and_settings_may_be_mixed(network: Florence) -> None:
    image = pictures()[0]
    requests = [
        FlorenceRequest(image, max_new_tokens=8),
        FlorenceRequest(image, "<DETAILED_CAPTION>", max_new_tokens=8),
        FlorenceRequest(image, max_new_tokens=8, num_beams=1),
    ]
    together = list(network.compute(requests))
    assert together == [next(network.compute([one])) for one in requests]
    assert together[0] != together[1]


def test_it_is_what_transformers_examples_give(folder: Path, network: Florence) -> None:
    from transformers import Florence2ForConditionalGeneration, Florence2Processor

    theirs = Florence2ForConditionalGeneration.from_pretrained(folder).eval()
    processor = Florence2Processor.from_pretrained(folder)
    for image in pictures():
        inputs = processor(images=image, text="<CAPTION>", return_tensors="pt")
        with torch.inference_mode():
            ids = theirs.generate(**inputs, max_new_tokens=12, num_beams=3, early_stopping=True)
        said = processor.batch_decode(ids, skip_special_tokens=True)[0].strip()
        assert next(network.compute([FlorenceRequest(image, max_new_tokens=12)])) == said


def test_the_matte_is_not_read(network: Florence) -> None:
    image = pictures()[0]
    carried = np.dstack([image, np.full(image.shape[:2], 7, np.uint8)])
    plain, with_matte = network.compute(
        [FlorenceRequest(one, max_new_tokens=8) for one in (image, carried)]
    )
    assert plain == with_matte


def test_numbers_that_are_none_are_unusable(folder: Path) -> None:
    network = Florence.load(folder, machine=CPU)
    torch.nn.init.constant_(next(network.modules[0].parameters()), torch.nan)
    (found,) = network.compute([FlorenceRequest(pictures()[0], max_new_tokens=4)])
    assert isinstance(found, InvalidOutput)


@pytest.mark.parametrize("fault", ["missing", "unexpected"])
def test_other_weights_are_refused(fault: str, tmp_path: Path) -> None:
    florence.build(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    if fault == "missing":
        del weights["model.vision_tower.convs.0.conv.weight"]
    else:
        weights["image_projection"] = torch.zeros(2)
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(WrongCheckpointError, match=fault):
        Florence.load(tmp_path, machine=CPU)


def test_bad_requests_are_refused() -> None:
    image = pictures()[0]
    with pytest.raises(ValueError, match=r"FlorenceRequest\.image"):
        FlorenceRequest(image.astype(np.float32))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="<DETAILED_CAPTION>"):
        FlorenceRequest(image, "<OCR>")  # type: ignore[arg-type]


def test_nothing_in_nothing_out(network: Florence) -> None:
    assert list(network.compute([])) == []
