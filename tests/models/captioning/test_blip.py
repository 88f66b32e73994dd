"""BLIP at tiny widths, against transformers called one image at a time."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from models.captioning.blip import Blip, BlipRequest
from models.data.pixels import Pixels
from models.runtime.batching import InvalidOutput
from models.runtime.hardware import Machine
from models.runtime.loading import WrongCheckpointError
from tests.checkpoints import blip

CPU = Machine(torch.device("cpu"), torch.float32, batch=3)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("blip")
    blip.build(made)
    return made


@pytest.fixture(scope="module")
def network(folder: Path) -> Blip:
    return Blip.load(folder, machine=CPU)


def pictures() -> list[Pixels]:
    rng = np.random.default_rng(0)
    return [
        rng.integers(0, most, (*size, 3), dtype=np.uint8)
        for most, size in ((255, (50, 70)), (90, (40, 30)), (200, (64, 64)), (120, (50, 70)))
    ]


@pytest.mark.parametrize("num_beams", [1, 3])
@pytest.mark.parametrize("prefix", [None, "a photo of a mug"])
def test_an_image_alone_is_as_in_a_batch(num_beams: int, prefix: str | None, network: Blip) -> None:
    requests = [BlipRequest(one, prefix, num_beams=num_beams) for one in pictures()]
    together = list(network.compute(requests))
    assert together == [next(network.compute([one])) for one in requests]
    assert together == list(network.compute(requests))
    assert len(set(together)) > 1


def test_prefixes_and_settings_may_be_mixed(network: Blip) -> None:
    image = pictures()[0]
    requests = [
        BlipRequest(image, "a photo of a mug"),
        BlipRequest(image),
        BlipRequest(image, "a picture of a zebra"),
        BlipRequest(image, max_new_tokens=4),
        BlipRequest(image, "a photo of a car", num_beams=1),
    ]
    together = list(network.compute(requests))
    assert together == [next(network.compute([one])) for one in requests]
    assert [str(one).startswith(request.prompt_prefix or "") for one, request in
            zip(together, requests, strict=True)] == [True] * 5  # fmt: skip


@pytest.mark.parametrize("prefix", [None, "a photo of"])
def test_it_is_what_transformers_examples_give(
    prefix: str | None, folder: Path, network: Blip
) -> None:
    from transformers import BertTokenizer, BlipForConditionalGeneration, BlipImageProcessor
    from transformers import BlipProcessor as Processor

    theirs = BlipForConditionalGeneration.from_pretrained(folder).eval()
    processor = Processor(
        BlipImageProcessor.from_pretrained(folder), BertTokenizer.from_pretrained(folder)
    )
    for image in pictures():
        text = {} if prefix is None else {"text": prefix}
        inputs = processor(images=image, return_tensors="pt", **text)
        with torch.inference_mode():
            ids = theirs.generate(
                **inputs,
                max_new_tokens=30,
                num_beams=3,
                repetition_penalty=1.1,
                early_stopping=True,
            )
        said = processor.decode(ids[0][1:], skip_special_tokens=True).strip()
        assert next(network.compute([BlipRequest(image, prefix)])) == said


def test_the_penalty_and_the_length_count(network: Blip) -> None:
    image = pictures()[0]
    said = [
        str(next(network.compute([BlipRequest(image, num_beams=1, repetition_penalty=one)])))
        for one in (1.0, 1.9)
    ]
    repeats = [len(one.split()) - len(set(one.split())) for one in said]
    assert repeats[0] > repeats[1]
    short = str(next(network.compute([BlipRequest(image, max_new_tokens=5)])))
    assert 0 < len(short.split()) <= 5


def test_the_matte_is_not_read(network: Blip) -> None:
    image = pictures()[0]
    carried = np.dstack([image, np.full(image.shape[:2], 7, np.uint8)])
    plain, with_matte = network.compute([BlipRequest(image), BlipRequest(carried)])
    assert plain == with_matte


def test_numbers_that_are_none_are_unusable(folder: Path) -> None:
    network = Blip.load(folder, machine=CPU)
    encoder = network.modules[0].get_submodule("vision_model.post_layernorm")
    torch.nn.init.constant_(encoder.bias, torch.nan)
    for beams in (1, 3):
        (found,) = network.compute([BlipRequest(pictures()[0], num_beams=beams)])
        assert isinstance(found, InvalidOutput)


def test_half_precision_gives_words(folder: Path) -> None:
    machine = Machine(torch.device("cpu"), torch.bfloat16, batch=2)
    found = list(Blip.load(folder, machine=machine).compute(list(map(BlipRequest, pictures()))))
    assert all(isinstance(one, str) and one for one in found)


def test_the_published_file_s_old_buffer_is_no_fault(folder: Path) -> None:
    assert "text_decoder.bert.embeddings.position_ids" in load_file(folder / "model.safetensors")


@pytest.mark.parametrize("fault", ["missing", "unexpected"])
def test_other_weights_are_refused(fault: str, tmp_path: Path) -> None:
    blip.build(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    if fault == "missing":
        del weights["vision_model.post_layernorm.weight"]
    else:
        weights["itm_head.weight"] = torch.zeros(2)
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(WrongCheckpointError, match=fault):
        Blip.load(tmp_path, machine=CPU)


def test_bad_requests_are_refused() -> None:
    image = pictures()[0]
    with pytest.raises(ValueError, match=r"BlipRequest\.image"):
        BlipRequest(image[..., 0])
    with pytest.raises(ValueError, match="num_beams"):
        BlipRequest(image, num_beams=0)
    with pytest.raises(ValueError, match="repetition_penalty"):
        BlipRequest(image, repetition_penalty=0)


def test_nothing_in_nothing_out(network: Blip) -> None:
    assert list(network.compute([])) == []
