"""SDXL's text embeddings: equal to those of the compel library, and cached."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from models.diffusion.prompts import Part, escape, weighted_prompt
from models.diffusion.sdxl.text import Embedding, PromptError, SdxlText
from models.runtime.batching import in_float32
from tests.conftest import SHARED

pytest.importorskip("compel")
GOLDEN = SHARED / "golden" / "compel"
TOLERANCE = 1e-5
needs_golden = pytest.mark.skipif(not GOLDEN.is_dir(), reason="needs ../shared/golden/compel")


def load(folder: Path) -> SdxlText:
    from transformers import CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

    tokenizers = [
        CLIPTokenizer.from_pretrained(folder / name, local_files_only=True)
        for name in ("tokenizer", "tokenizer_2")
    ]
    encoders = [
        kind.from_pretrained(folder / name, local_files_only=True).eval()
        for kind, name in (
            (CLIPTextModel, "text_encoder"),
            (CLIPTextModelWithProjection, "text_encoder_2"),
        )
    ]
    return SdxlText(*tokenizers, *encoders)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tests.checkpoints.sdxl import build

    folder = tmp_path_factory.mktemp("sdxl")
    build(folder)
    return folder


@pytest.fixture
def text(base: Path) -> SdxlText:
    return load(base)


@needs_golden
def test_embeddings_equal_those_of_compel() -> None:
    text, golden = load(GOLDEN), load_file(GOLDEN / "compel_sdxl.safetensors")
    prompts = json.loads((GOLDEN / "compel_sdxl.json").read_text())["prompts"]
    for name, prompt in prompts.items():
        embedding = text.embed(prompt)
        assert (embedding.tokens - golden[f"{name}.embeds"][0]).abs().max() < TOLERANCE, name
        assert (embedding.pooled - golden[f"{name}.pooled"][0]).abs().max() < TOLERANCE, name
    tokens, pooled = text.batch([prompts["up"], prompts["down"]], 1)
    for index, name in enumerate(("", "negative_")):
        assert (tokens[index] - golden[f"pair.{name}embeds"][0]).abs().max() < TOLERANCE
        assert (pooled[index] - golden[f"pair.{name}pooled"][0]).abs().max() < TOLERANCE


def test_pairs_and_long_prompts_equal_those_of_compel(base: Path) -> None:
    from types import SimpleNamespace

    from compel import CompelForSDXL

    text = load(base)
    (first, second), provider = text.modules, text._compels
    library = CompelForSDXL(
        SimpleNamespace(
            tokenizer=provider[0].conditioning_provider.tokenizer,
            tokenizer_2=provider[1].conditioning_provider.tokenizer,
            text_encoder=first,
            text_encoder_2=second,
        )
    )
    long = "a red car. " * 20
    expected = library(main_prompt="a (red)1.4 car", negative_prompt=long)
    tokens, pooled = text.batch(["a (red)1.4 car", long], text.embed(long).blocks)
    assert tokens.shape[1] > 77
    assert torch.equal(tokens[0], expected.embeds[0])
    assert torch.equal(tokens[1], expected.negative_embeds[0])
    assert torch.equal(pooled[0], expected.pooled_embeds[0])
    assert torch.equal(pooled[1], expected.negative_pooled_embeds[0])


@pytest.mark.parametrize("caption", ["C++ book (red)", 'a "no-smoking" sign - 3.5 = x'])
def test_an_escaped_caption_embeds_like_plain_text(text: SdxlText, caption: str) -> None:
    """Compared with the encoders themselves, which know no syntax."""
    embedding = text.embed(escape(caption))
    plain = []
    for compel, encoder in zip(text._compels, text.modules, strict=True):
        tokenizer = compel.conditioning_provider.tokenizer
        ids = tokenizer(caption, padding="max_length", max_length=77, return_tensors="pt").input_ids
        with torch.inference_mode():
            plain.append(encoder(ids, output_hidden_states=True))
    tokens = torch.cat([output.hidden_states[-2][0] for output in plain], dim=-1)
    assert (embedding.tokens - tokens).abs().max() < TOLERANCE
    assert (embedding.pooled - plain[1].text_embeds[0]).abs().max() < TOLERANCE
    weighted = text.embed(weighted_prompt(Part(escape(caption), 1.4)))
    assert (weighted.tokens - tokens).abs().max() > 1e-2


def count_encoded(text: SdxlText, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A list to which every encoded prompt is appended."""
    encoded: list[str] = []
    encode = text._encode

    def counted(prompt: str) -> Embedding:
        encoded.append(prompt)
        return encode(prompt)

    monkeypatch.setattr(text, "_encode", counted)
    return encoded


def test_encodes_each_prompt_once(text: SdxlText, monkeypatch: pytest.MonkeyPatch) -> None:
    encoded = count_encoded(text, monkeypatch)
    first = text.embed("a red car")
    text.batch(["a red car", "a red car"], 1)
    assert text.embed("a red car") is first
    text.embed("a blue car")
    assert encoded == ["a red car", "a blue car"]


def test_the_cache_is_bounded(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("models.diffusion.sdxl.text._CACHED_PROMPTS", 2)
    text = load(base)
    encoded = count_encoded(text, monkeypatch)
    for prompt in ("a", "b", "a", "c", "a", "b"):
        text.embed(prompt)
    assert encoded == ["a", "b", "c", "b"], "the least recently used prompt is dropped"


def test_encodes_a_prompt_again_in_another_precision(text: SdxlText) -> None:
    for module in text.modules:
        module.to(torch.bfloat16)
    low = text.embed("a (red)1.3 (car)0.6").tokens
    with in_float32(text.modules):
        high = text.embed("a (red)1.3 (car)0.6").tokens
    assert (low.dtype, high.dtype) == (torch.bfloat16, torch.float32)
    assert (low.float() - high).abs().max() < 0.2


@pytest.mark.parametrize("prompt", ["a red.swap(blue) car"])
def test_reports_syntax_that_is_not_supported_in_one_line(text: SdxlText, prompt: str) -> None:
    with pytest.raises(
        PromptError, match=r"the prompt .*swap.* can't be read .*; fix it"
    ) as raised:
        text.embed(prompt)
    assert "\n" not in str(raised.value)
