"""Noise schedules agree with the published program's; impossible spacings are refused."""

import json

import numpy as np
import pytest
import torch

from models.diffusion.ddpm.blocks import embed_times
from models.diffusion.ddpm.schedule import kept_steps, noise_schedule
from tests.models.diffusion.ddpm.published import FOLDER, numbers, skip_without_goldens

NAMES = {
    "betas": "betas",
    "alphas_cumprod": "kept",
    "posterior_variance": "posterior_variance",
    "posterior_log_variance_clipped": "posterior_log_variance",
    "posterior_mean_coef1": "posterior_of_image",
    "posterior_mean_coef2": "posterior_of_noisy",
}


def test_every_published_schedule_is_the_same() -> None:
    expected = numbers("schedules")
    cases = {name.rsplit(".", 1)[0] for name in expected if name.endswith(".betas")}
    assert len(cases) == 12
    for case in cases:
        curve, steps, spacing = case.split(".")
        schedule = noise_schedule(
            "cosine" if curve == "cosine" else "linear",
            int(steps),
            "" if spacing == "full" else spacing,
        )
        for theirs, ours in NAMES.items():
            values = expected[f"{case}.{theirs}"].numpy()
            np.testing.assert_allclose(getattr(schedule, ours), values, rtol=1e-12)


def test_spacings_keep_the_published_steps() -> None:
    skip_without_goldens()
    lists = json.loads((FOLDER / "schedules.json").read_text())
    for case, steps in lists.items():
        _, total, spacing = case.split(".")
        if spacing != "full":
            assert kept_steps(int(total), spacing) == steps


def test_time_embeddings_are_the_published_ones() -> None:
    expected = numbers("schedules")
    for length in (32, 33):
        result = embed_times(expected["timestep_embedding.t"], length)
        torch.testing.assert_close(result, expected[f"timestep_embedding.dim{length}"])


@pytest.mark.parametrize(
    ("spacing", "fault"),
    [
        ("ddim7", "no whole distance keeps so many of 10 steps"),
        ("11", "11 of 10 steps"),
        ("1", "1 of 10"),
        ("2,9", "9 of 5 steps"),
    ],
)
def test_impossible_spacings_are_refused(spacing: str, fault: str) -> None:
    with pytest.raises(ValueError, match=rf"spacing {spacing}: .*{fault}|spacing.*{fault}"):
        noise_schedule("linear", 10, spacing)


@pytest.mark.parametrize("name", ["unet_a", "unet_b"])
def test_noise_is_added_as_published(name: str) -> None:
    expected = numbers(name)
    for curve in ("linear", "cosine"):
        schedule = noise_schedule("cosine" if curve == "cosine" else "linear")
        q = {name: expected[f"q.{curve}.{name}"] for name in ("x_start", "noise", "x_t")}
        noisy = schedule.add_noise(q["x_start"], q["noise"], expected["t"])
        torch.testing.assert_close(noisy, q["x_t"])
        mean = schedule.posterior_mean(q["x_start"], noisy, expected["t"])
        torch.testing.assert_close(mean, expected[f"q.{curve}.post_mean"])
