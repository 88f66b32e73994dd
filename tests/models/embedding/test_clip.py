"""CLIP at tiny widths, compared with transformers called image by image."""

from pathlib import Path

import numpy as np
import pytest
import torch

from models.data.pixels import Pixels
from models.embedding.clip import Clip, ClipRequest
from models.runtime.hardware import Machine
from tests.checkpoints import clip_model

TEXTS = ["a photo of a mug", "a shoe", "a photo of " + "many " * 40 + "mugs"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clip")
    clip_model.build(folder)
    return folder


@pytest.fixture(scope="module")
def network(folder: Path) -> Clip:
    return Clip.load(folder, machine=Machine(torch.device("cpu"), torch.float32, batch=3))


def make_images() -> list[Pixels]:
    rng = np.random.default_rng(0)
    sizes = ((50, 70, 3), (40, 30, 3), (64, 64, 4))
    return [rng.integers(0, 80 * (at + 1), size, np.uint8) for at, size in enumerate(sizes)]


def test_images_and_texts_in_any_order_match_a_direct_call(folder: Path, network: Clip) -> None:
    from transformers import CLIPImageProcessorPil, CLIPModel, CLIPTokenizer

    reference = CLIPModel.from_pretrained(folder).eval()
    processor = CLIPImageProcessorPil.from_pretrained(folder)
    tokenizer = CLIPTokenizer.from_pretrained(folder)
    requests, expected = [], []
    for image, text in zip(make_images(), TEXTS, strict=True):
        requests += [ClipRequest(image), ClipRequest(text)]
        tokens = tokenizer([text], truncation=True, max_length=77, return_tensors="pt")
        pixels = processor(images=[image[..., :3]], return_tensors="pt")
        with torch.inference_mode():
            outputs = reference(**tokens, **pixels)
        expected += [outputs.image_embeds[0].numpy(), outputs.text_embeds[0].numpy()]
    found = np.stack(list(network.compute(requests)))
    assert found.shape == (6, clip_model.VALUES)
    np.testing.assert_allclose(found, np.stack(expected), atol=2e-6)
    # Images of other contents have other features.
    assert np.abs(found[0] - found[2]).max() > 0.01


def test_refuses_what_is_no_image() -> None:
    with pytest.raises(ValueError, match="ClipRequest"):
        ClipRequest(np.zeros((4, 4), np.uint8))
