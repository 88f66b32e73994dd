"""SDXL draws with learned weights, also after it drew the same prompt with others."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from models.data.pixels import Pixels
from models.diffusion.finetuning.denoiser import load_denoiser
from models.diffusion.finetuning.learned import Learned
from models.diffusion.safety import SafeImage
from models.diffusion.sdxl.learned import SdxlLearned, SdxlLearnedRequest
from models.runtime.hardware import Machine
from tests.checkpoints import sdxl
from tests.models.diffusion.finetuning.learned_files import WORD, tune, write_word

CPU = Machine(torch.device("cpu"), torch.float32)
PROMPT = f"a photo of a {WORD}"


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sdxl")
    sdxl.build(folder / "base")
    sdxl.build_vae(folder / "vae")
    return folder


def draw(network: SdxlLearned, *weights: Learned) -> list[Pixels]:
    requests = [
        SdxlLearnedRequest(
            prompt=r"a photo of a <funny\-ret>",
            negative="",
            seed=5,
            steps=2,
            width=64,
            height=64,
            scheduler="euler",
            learned=learned,
        )
        for learned in weights
    ]
    results = list(network.compute(requests))
    return [result.image for result in results if isinstance(result, SafeImage)]


def draw_with_diffusers(root: Path, learned: Learned) -> Pixels:
    from diffusers import AutoencoderKL, StableDiffusionXLPipeline

    vae = AutoencoderKL.from_pretrained(root / "vae", local_files_only=True)
    pipeline = StableDiffusionXLPipeline.from_pretrained(
        root / "base", vae=vae, local_files_only=True
    )
    vectors = load_file(learned.file)
    for key, encoder, tokenizer in (
        ("clip_l", pipeline.text_encoder, pipeline.tokenizer),
        ("clip_g", pipeline.text_encoder_2, pipeline.tokenizer_2),
    ):
        pipeline.load_textual_inversion(
            vectors[key], token=WORD, text_encoder=encoder, tokenizer=tokenizer
        )
    pipeline.set_progress_bar_config(disable=True)
    image = pipeline(
        PROMPT,
        negative_prompt="",
        num_inference_steps=2,
        width=64,
        height=64,
        guidance_scale=5.0,
        generator=torch.Generator().manual_seed(5),
        output_type="np",
    ).images[0]
    return np.asarray((image * 255).round(), np.uint8)


def test_draws_each_word_as_diffusers_and_each_weights_as_if_alone(
    root: Path, tmp_path: Path
) -> None:
    denoiser = load_denoiser(root / "base", CPU, root / "vae")
    one = write_word(tmp_path / "one.safetensors", denoiser, 1)
    two = write_word(tmp_path / "two.safetensors", denoiser, 2)
    lora = tune(tmp_path / "lora", denoiser, "lora")
    network = SdxlLearned.load(root / "base", root / "vae", machine=CPU)
    first, second, tuned, again = draw(network, one, two, lora, one)
    assert np.array_equal(first, again)
    assert not np.array_equal(first, second)
    assert not np.array_equal(second, tuned)
    theirs = draw_with_diffusers(root, one).astype(int)
    own, other = (np.abs(theirs - image).mean() for image in (first, second))
    # Random networks multiply a rounding.
    assert own < 0.5
    assert own < 0.5 * other, (own, other)
