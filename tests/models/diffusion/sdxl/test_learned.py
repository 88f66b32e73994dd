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
# In Compel's syntax.
PROMPTS = {"word": r"a photo of a <funny\-ret>", "lora": "a sks cup", "unet": "a sks cup"}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sdxl")
    sdxl.build(folder / "base")
    sdxl.build_vae(folder / "vae")
    return folder


def draw(network: SdxlLearned, *weights: Learned, prompt: str | None = None) -> list[Pixels]:
    """An image of each weights, in their order: requests of one call would be sorted by weights."""
    images = []
    for learned in weights:
        request = SdxlLearnedRequest(
            prompt=prompt or PROMPTS[learned.kind],
            negative="",
            seed=5,
            steps=2,
            width=64,
            height=64,
            scheduler="euler",
            learned=learned,
        )
        (result,) = network.compute([request])
        assert isinstance(result, SafeImage)
        images.append(result.image)
    return images


def draw_with_diffusers(root: Path, learned: Learned) -> Pixels:
    from diffusers import AutoencoderKL, StableDiffusionXLPipeline

    vae = AutoencoderKL.from_pretrained(root / "vae", local_files_only=True)
    pipeline = StableDiffusionXLPipeline.from_pretrained(
        root / "base", vae=vae, local_files_only=True
    )
    if learned.kind == "unet":
        pipeline.unet.load_state_dict(load_file(learned.file))
    elif learned.kind == "lora":
        pipeline.load_lora_weights(learned.file.parent, weight_name=learned.file.name)
    else:
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
        PROMPTS[learned.kind].replace("\\", ""),
        negative_prompt="",
        num_inference_steps=2,
        width=64,
        height=64,
        guidance_scale=5.0,
        generator=torch.Generator().manual_seed(5),
        output_type="np",
    ).images[0]
    return np.asarray((image * 255).round(), np.uint8)


@pytest.fixture(scope="module")
def learned(root: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Learned]:
    """Two words, a LoRA and a U-Net."""
    folder = tmp_path_factory.mktemp("learned")
    denoiser = load_denoiser(root / "base", CPU, root / "vae")
    return {
        "word": write_word(folder / "one.safetensors", denoiser, 1),
        "other word": write_word(folder / "two.safetensors", denoiser, 2),
        "lora": tune(folder / "lora", denoiser, "lora"),
        "unet": tune(folder / "unet", denoiser, "unet"),
    }


@pytest.fixture(scope="module")
def network(root: Path) -> SdxlLearned:
    return SdxlLearned.load(root / "base", root / "vae", machine=CPU)


def test_a_word_means_nothing_to_weights_that_draw_later(
    network: SdxlLearned, learned: dict[str, Learned]
) -> None:
    before, _, after = draw(
        network,
        *(learned[name] for name in ("lora", "word", "lora")),
        prompt=r"a <funny\-ret> cup",
    )
    assert np.array_equal(before, after)


def test_draws_what_diffusers_draws_in_any_order_of_weights(
    root: Path, network: SdxlLearned, learned: dict[str, Learned]
) -> None:
    order = ["word", "lora", "other word", "unet", "word", "unet", "lora"]
    images = draw(network, *[learned[name] for name in order])
    by_name = dict(zip(order, images, strict=True))
    for name, image in zip(order, images, strict=True):
        assert np.array_equal(image, by_name[name]), name
    for kind in ("word", "lora", "unet"):
        theirs = draw_with_diffusers(root, learned[kind]).astype(int)
        distances = {name: np.abs(theirs - image).mean() for name, image in by_name.items()}
        own = distances.pop(kind)
        # Random networks multiply a rounding.
        assert own < 0.5, distances
        assert own < 0.5 * min(distances.values()), (own, distances)
