"""The loss of tiny networks, and the samples that they draw while they learn."""

from pathlib import Path

import numpy as np
import pytest
import torch

from models.data.pixels import Pixels
from models.diffusion.finetuning.denoiser import Denoiser, load_denoiser
from models.diffusion.finetuning.loop import random_of
from models.diffusion.finetuning.samples import draw_samples
from models.runtime.hardware import Machine
from models.runtime.loading import WrongCheckpointError
from tests.checkpoints import sd15, sdxl

CPU = Machine(torch.device("cpu"), torch.float32)


@pytest.fixture(scope="module")
def denoisers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Denoiser]:
    folder = tmp_path_factory.mktemp("checkpoints")
    sd15.build(folder / "sd15")
    sdxl.build(folder / "sdxl")
    sdxl.build_vae(folder / "vae")
    return {
        "sd15": load_denoiser(folder / "sd15", CPU),
        "sdxl": load_denoiser(folder / "sdxl", CPU, folder / "vae"),
    }


def a_photo(height: int = 80, width: int = 64) -> Pixels:
    return np.random.default_rng(2).integers(0, 256, (height, width, 3), np.uint8)


def test_half_precision_files_become_float32_and_the_vae_is_the_given_one(
    denoisers: dict[str, Denoiser],
) -> None:
    base = denoisers["sdxl"]
    assert (base.is_sdxl, denoisers["sd15"].is_sdxl) == (True, False)
    assert not base.vae.config.force_upcast
    for network in (*base.text_encoders, base.unet, base.vae):
        assert all(weight.dtype is torch.float32 for weight in network.parameters())
        assert not any(weight.requires_grad for weight in network.parameters())


def test_the_loss_is_that_of_the_noise_that_the_scheduler_added(
    denoisers: dict[str, Denoiser],
) -> None:
    denoiser = denoisers["sd15"]
    latents = denoiser.encode([a_photo()], 64).mean
    with torch.no_grad():
        text = denoiser.embed(["a cup"])
        loss = denoiser.loss(latents, text, random_of(1, 0))
        random = random_of(1, 0)
        noise = torch.randn(latents.shape, generator=random)
        time = torch.randint(1000, (1,), generator=random)
        noisy = denoiser.noise.add_noise(latents, noise, time)
        predicted = denoiser.unet(noisy, time, text[0]).sample
    assert float(loss) == pytest.approx(float((predicted - noise).square().mean()))


def test_sdxl_reads_the_size_of_the_photos(denoisers: dict[str, Denoiser]) -> None:
    denoiser = denoisers["sdxl"]
    seen = []
    hook = denoiser.unet.register_forward_pre_hook(
        lambda _module, _arguments, named: seen.append(named["added_cond_kwargs"]["time_ids"]),
        with_kwargs=True,
    )
    with torch.no_grad():
        latents = denoiser.encode([a_photo()], 128).mean
        denoiser.loss(latents, denoiser.embed(["a cup"]), random_of(1, 0))
    hook.remove()
    assert seen[0].tolist() == [[128, 128, 0, 0, 128, 128]]


def test_photos_become_their_centre_squares_and_mirror_images(
    denoisers: dict[str, Denoiser],
) -> None:
    denoiser = denoisers["sd15"]
    photo = a_photo(width=80)
    mirrored = np.ascontiguousarray(photo[:, ::-1])
    both = denoiser.encode([photo], 64, flipped=True).mean
    assert both.shape == (2, 4, 8, 8)
    torch.testing.assert_close(both[1:], denoiser.encode([mirrored], 64).mean, atol=0.05, rtol=0)
    wide = np.concatenate([photo[:, :9], photo, photo[:, :9]], axis=1)
    torch.testing.assert_close(both[:1], denoiser.encode([wide], 64).mean, atol=0.05, rtol=0)


@pytest.mark.parametrize("name", ["sd15", "sdxl"])
def test_samples_depend_on_prompt_and_seed_alone(
    name: str, denoisers: dict[str, Denoiser], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("models.diffusion.finetuning.samples.STEPS", 2)

    def draw(prompt: str, seed: int) -> Pixels:
        return draw_samples(denoisers[name], prompt, count=2, size=64, seed=seed)

    first = draw("a cup", 2**63 - 1)
    assert (first.shape, first.dtype) == ((64, 128, 3), np.uint8)
    assert np.array_equal(first, draw("a cup", 2**63 - 1))
    # The second image of a seed is the first one of the next seed.
    assert np.array_equal(first[:, 64:], draw("a cup", 0)[:, :64])
    assert not np.array_equal(first, draw("no cup", 2**63 - 1))


def test_a_folder_without_a_part_is_named(tmp_path: Path) -> None:
    with pytest.raises(WrongCheckpointError, match=r"config\.json: can't be read"):
        load_denoiser(tmp_path, CPU)
