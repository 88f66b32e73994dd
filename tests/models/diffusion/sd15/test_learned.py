"""Stable Diffusion 1.5 draws with learned weights what plain diffusers draws with them."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from models.data.pixels import Pixels
from models.diffusion.finetuning.denoiser import load_denoiser
from models.diffusion.finetuning.learned import Learned
from models.diffusion.safety import SafeImage
from models.diffusion.sd15.learned import Sd15Learned, Sd15LearnedRequest
from models.runtime.hardware import Machine
from models.runtime.loading import WrongCheckpointError
from tests.checkpoints import sd15
from tests.models.diffusion.finetuning.learned_files import WORD, tune, write_word

CPU = Machine(torch.device("cpu"), torch.float32)
PROMPTS = {"word": f"a photo of a {WORD}", "lora": "a sks cup", "unet": "a sks cup"}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sd15")
    sd15.build(folder)
    return folder


@pytest.fixture(scope="module")
def learned(root: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Learned]:
    """Two words, a LoRA and a U-Net."""
    folder = tmp_path_factory.mktemp("learned")
    denoiser = load_denoiser(root, CPU)
    return {
        "word": write_word(folder / "one.safetensors", denoiser, 1),
        "other word": write_word(folder / "two.safetensors", denoiser, 2),
        "lora": tune(folder / "lora", denoiser, "lora"),
        "unet": tune(folder / "unet", denoiser, "unet"),
    }


@pytest.fixture(scope="module")
def network(root: Path) -> Sd15Learned:
    return Sd15Learned.load(root, machine=CPU)


def draw(network: Sd15Learned, *weights: Learned) -> list[Pixels]:
    requests = [
        Sd15LearnedRequest(
            prompt=PROMPTS[learned.kind],
            negative="",
            seed=5,
            steps=2,
            width=64,
            height=64,
            learned=learned,
        )
        for learned in weights
    ]
    images = []
    for result in network.compute(requests):
        assert isinstance(result, SafeImage)
        images.append(result.image)
    return images


def draw_with_diffusers(root: Path, learned: Learned) -> Pixels:
    from diffusers import StableDiffusionPipeline

    pipeline = StableDiffusionPipeline.from_pretrained(root, local_files_only=True)
    if learned.kind == "word":
        pipeline.load_textual_inversion(learned.file.parent, weight_name=learned.file.name)
    elif learned.kind == "lora":
        pipeline.load_lora_weights(learned.file.parent, weight_name=learned.file.name)
    else:
        pipeline.unet.load_state_dict(load_file(learned.file))
    pipeline.set_progress_bar_config(disable=True)
    image = pipeline(
        PROMPTS[learned.kind],
        num_inference_steps=2,
        width=64,
        height=64,
        generator=torch.Generator().manual_seed(5),
        output_type="np",
    ).images[0]
    return np.asarray((image * 255).round(), np.uint8)


def test_draws_what_diffusers_draws_in_any_order_of_weights(
    root: Path, network: Sd15Learned, learned: dict[str, Learned]
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
        assert own < 0.3 * min(distances.values()), (own, distances)


def test_weights_of_another_network_are_refused(network: Sd15Learned, tmp_path: Path) -> None:
    file = tmp_path / "word.safetensors"
    save_file({WORD: torch.zeros(7)}, file)
    with pytest.raises(WrongCheckpointError, match="no embedding '<funny-ret>' of 32 numbers"):
        draw(network, Learned("word", file, WORD))
    with pytest.raises(WrongCheckpointError, match="weights of another network"):
        draw(network, Learned("unet", file))
