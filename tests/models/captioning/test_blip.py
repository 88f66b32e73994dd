"""BLIP at tiny widths, compared with transformers called image by image."""

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
    folder = tmp_path_factory.mktemp("blip")
    blip.build(folder)
    return folder


@pytest.fixture(scope="module")
def network(folder: Path) -> Blip:
    return Blip.load(folder, machine=CPU)


def make_images() -> list[Pixels]:
    rng = np.random.default_rng(0)
    return [
        rng.integers(0, maximum, (*size, 3), dtype=np.uint8)
        for maximum, size in ((255, (50, 70)), (90, (40, 30)), (200, (64, 64)), (120, (50, 70)))
    ]


@pytest.mark.parametrize("num_beams", [1, 3])
@pytest.mark.parametrize("prefix", [None, "a photo of a mug"])
def test_a_batch_gives_the_single_results(
    num_beams: int, prefix: str | None, network: Blip
) -> None:
    requests = [BlipRequest(image, prefix, num_beams=num_beams) for image in make_images()]
    batched = list(network.compute(requests))
    assert batched == [next(network.compute([request])) for request in requests]
    assert batched == list(network.compute(requests))
    assert len(set(batched)) > 1


def test_accepts_mixed_prefixes_and_settings(network: Blip) -> None:
    image = make_images()[0]
    requests = [
        BlipRequest(image, "a photo of a mug"),
        BlipRequest(image),
        BlipRequest(image, "a picture of a zebra"),
        BlipRequest(image, max_new_tokens=4),
        BlipRequest(image, "a photo of a car", num_beams=1),
    ]
    batched = list(network.compute(requests))
    assert batched == [next(network.compute([request])) for request in requests]
    for caption, request in zip(batched, requests, strict=True):
        assert str(caption).startswith(request.prompt_prefix or "")


@pytest.mark.parametrize("prefix", [None, "a photo of"])
def test_matches_a_direct_call_of_transformers(
    prefix: str | None, folder: Path, network: Blip
) -> None:
    from transformers import BertTokenizer, BlipForConditionalGeneration, BlipImageProcessor
    from transformers import BlipProcessor as Processor

    reference = BlipForConditionalGeneration.from_pretrained(folder).eval()
    processor = Processor(
        BlipImageProcessor.from_pretrained(folder), BertTokenizer.from_pretrained(folder)
    )
    for image in make_images():
        text = {} if prefix is None else {"text": prefix}
        inputs = processor(images=image, return_tensors="pt", **text)
        with torch.inference_mode():
            ids = reference.generate(
                **inputs,
                max_new_tokens=30,
                num_beams=3,
                repetition_penalty=1.1,
                early_stopping=True,
            )
        expected = processor.decode(ids[0][1:], skip_special_tokens=True).strip()
        assert next(network.compute([BlipRequest(image, prefix)])) == expected


def test_penalty_and_length_change_the_caption(network: Blip) -> None:
    image = make_images()[0]
    captions = [
        str(next(network.compute([BlipRequest(image, num_beams=1, repetition_penalty=penalty)])))
        for penalty in (1.0, 1.9)
    ]
    repeats = [len(caption.split()) - len(set(caption.split())) for caption in captions]
    assert repeats[0] > repeats[1]
    short = str(next(network.compute([BlipRequest(image, max_new_tokens=5)])))
    assert 0 < len(short.split()) <= 5


def test_ignores_alpha(network: Blip) -> None:
    image = make_images()[0]
    rgba = np.dstack([image, np.full(image.shape[:2], 7, np.uint8)])
    without_alpha, with_alpha = network.compute([BlipRequest(image), BlipRequest(rgba)])
    assert without_alpha == with_alpha


def test_output_that_is_not_finite_is_invalid(folder: Path) -> None:
    network = Blip.load(folder, machine=CPU)
    encoder = network.modules[0].get_submodule("vision_model.post_layernorm")
    torch.nn.init.constant_(encoder.bias, torch.nan)
    for beams in (1, 3):
        (result,) = network.compute([BlipRequest(make_images()[0], num_beams=beams)])
        assert isinstance(result, InvalidOutput)


def test_half_precision_gives_captions(folder: Path) -> None:
    machine = Machine(torch.device("cpu"), torch.bfloat16, batch=2)
    requests = [BlipRequest(image) for image in make_images()]
    captions = list(Blip.load(folder, machine=machine).compute(requests))
    assert all(isinstance(caption, str) and caption for caption in captions)


def test_accepts_the_old_buffer_of_the_published_file(folder: Path) -> None:
    assert "text_decoder.bert.embeddings.position_ids" in load_file(folder / "model.safetensors")


@pytest.mark.parametrize("fault", ["missing", "unexpected"])
def test_rejects_other_weights(fault: str, tmp_path: Path) -> None:
    blip.build(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    if fault == "missing":
        del weights["vision_model.post_layernorm.weight"]
    else:
        weights["itm_head.weight"] = torch.zeros(2)
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(WrongCheckpointError, match=fault):
        Blip.load(tmp_path, machine=CPU)


def test_rejects_bad_requests() -> None:
    image = make_images()[0]
    with pytest.raises(ValueError, match=r"BlipRequest\.image"):
        BlipRequest(image[..., 0])


def test_no_requests_give_no_results(network: Blip) -> None:
    assert list(network.compute([])) == []
