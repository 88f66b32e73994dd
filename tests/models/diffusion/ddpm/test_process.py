"""Means, variances, guidance and whole chains agree with the published program's."""

import json
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from models.diffusion.ddpm.chain import as_levels, as_signed, draw_images
from models.diffusion.ddpm.process import ReverseProcess, Target, Variance, classifier_gradient
from models.diffusion.ddpm.schedule import Curve, NoiseSchedule, noise_schedule
from tests.models.diffusion.ddpm.published import (
    CHAINS,
    FOLDER,
    assert_close,
    numbers,
    predict_with,
    published_classifier,
    published_unet,
)

SCALE = 2.5


@pytest.mark.parametrize("name", ["unet_a", "unet_b"])
@pytest.mark.parametrize("curve", ["linear", "cosine"])
@pytest.mark.parametrize("clip", [True, False])
def test_means_and_learned_variances(name: str, curve: Curve, clip: bool) -> None:
    network, expected = published_unet(name), numbers(name)
    predict = predict_with(network, expected.get("y"))
    process = ReverseProcess(predict, noise_schedule(curve), clip=clip)
    with torch.inference_mode():
        estimate = process.estimate(expected["x"], expected["t"])
    case = f"pmv.{curve}.clip{int(clip)}"
    for theirs, ours in (("mean", estimate.mean), ("log_variance", estimate.log_variance)):
        values = expected[f"{case}.{theirs}"]
        assert_close(ours, values, 1e-5 * values.abs().max().item())
    variance = expected[f"{case}.variance"]
    assert_close(estimate.log_variance.exp(), variance, 1e-5 * variance.abs().max().item())
    image = expected[f"{case}.pred_xstart"]
    assert_close(estimate.image, image, 2e-3 if clip else 1e-5 * image.abs().max().item())


@pytest.mark.parametrize("name", ["unet_a", "unet_b"])
@pytest.mark.parametrize(
    ("case", "variance", "target"),
    [
        ("fixed_large", "large", "noise"),
        ("fixed_small", "small", "noise"),
        ("xstart_large", "large", "image"),
    ],
)
def test_fixed_variances_and_a_network_that_predicts_images(
    name: str, case: str, variance: Variance, target: Target
) -> None:
    network, expected = published_unet(name), numbers(name)
    predict = predict_with(network, expected.get("y"), channels=3)
    process = ReverseProcess(predict, noise_schedule("linear"), variance, target=target)
    with torch.inference_mode():
        estimate = process.estimate(expected["x"], expected["t"])
    for theirs, ours in (("mean", estimate.mean), ("log_variance", estimate.log_variance)):
        values = expected[f"pmv.{case}.{theirs}"]
        assert_close(ours, values, 1e-5 * values.abs().max().item())


@pytest.mark.parametrize("name", ["unet_a", "unet_b"])
def test_the_network_gets_the_times_of_the_schedule(name: str) -> None:
    network, expected = published_unet(name), numbers(name)
    short = noise_schedule("linear", 100)
    predict = predict_with(network, expected.get("y"))
    process = ReverseProcess(predict, NoiseSchedule(short.betas, short.times * 10))
    with torch.inference_mode():
        estimate = process.estimate(expected["x"], expected["pmv.rescaled100.t"])
    for theirs, ours in (("mean", estimate.mean), ("log_variance", estimate.log_variance)):
        values = expected[f"pmv.rescaled100.{theirs}"]
        assert_close(ours, values, 1e-5 * values.abs().max().item())


def test_a_classifier_of_noisy_images_guides_as_published() -> None:
    classifier, expected = published_classifier(), numbers("unet_a")
    x, t, y = expected["x"], expected["t"], expected["cls.y"]
    with torch.inference_mode():
        assert_close(classifier(x, t), expected["cls.logits"], 5e-5)
    gradient = classifier_gradient(classifier, y, SCALE)
    largest = expected["cls.grad"].abs().max().item()
    assert_close(gradient(x, t.float()), expected["cls.grad"], 1e-4 * largest)

    predict = predict_with(published_unet("unet_a"))
    process = ReverseProcess(predict, noise_schedule("linear"), gradient=gradient)
    with torch.inference_mode():
        moved = process.ddpm_step(x, t, torch.zeros_like(x))
        guided = process.guided_estimate(x, t)
    for ours, theirs in (
        (moved, "cls.guided_mean"),
        (guided.image, "cls.score_pred_xstart"),
        (guided.mean, "cls.score_mean"),
    ):
        values = expected[theirs]
        assert_close(ours, values, 1e-4 * values.abs().max().item())


@pytest.mark.parametrize("case", ["ddpm25", "ddpm25_noclip", "ddim25_eta0", "ddim10_eta05"])
def test_chains_with_recorded_noise(case: str) -> None:
    result, expected = run_chain(case)
    assert_close(result, expected["result"], 1e-3 * expected["result"].abs().max().item())
    levels = as_levels(result[0]).astype(int)
    assert np.abs(levels - expected["u8"][0].permute(1, 2, 0).numpy()).max() <= 1


@pytest.mark.parametrize("case", ["guided_ddpm25", "guided_ddim25"])
def test_guided_chains_with_recorded_noise(case: str) -> None:
    result, expected = run_chain(case)
    assert_close(result, expected["result"], 5e-3)


def run_chain(case: str) -> tuple[Tensor, dict[str, Tensor]]:
    recorded = numbers(CHAINS)
    about: dict[str, Any] = json.loads((FOLDER / "unet_a.json").read_text())["samples"][case]
    expected = {
        name.rsplit(".", 1)[1]: values
        for name, values in recorded.items()
        if name.startswith(f"sample.{case}.")
    }
    draws = iter([expected["x_T"], *expected["noises"]])
    gradient = None
    if case.startswith("guided"):
        wanted = recorded["sample.guided.y"]
        gradient = classifier_gradient(published_classifier(), wanted, SCALE)
    process = ReverseProcess(
        predict_with(published_unet("unet_a")),
        noise_schedule("linear", 1000, about["respacing"]),
        clip=about.get("clip_denoised", True),
        gradient=gradient,
    )
    method = "ddim" if about["loop"].startswith("ddim") else "ddpm"
    with torch.inference_mode():
        result = draw_images(process, lambda: next(draws), method, about.get("eta", 0.0))
    assert next(draws, None) is None
    return result, expected


def test_pixels_return_from_the_signed_range_unchanged() -> None:
    levels = np.arange(256, dtype=np.uint8).reshape(16, 16, 1).repeat(3, axis=2)
    back = as_levels(as_signed(levels))
    # The published conversion cuts off: rounding errors may cost a level, and no more.
    assert np.abs(back.astype(int) - levels).max() <= 1
