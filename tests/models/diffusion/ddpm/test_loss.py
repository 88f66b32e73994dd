"""Losses and their gradients agree with the published program's."""

from typing import Any

import pytest
import torch
from torch import Tensor

from models.diffusion.ddpm.loss import bound_term, diffusion_loss
from models.diffusion.ddpm.schedule import NoiseSchedule, noise_schedule
from tests.models.diffusion.ddpm.published import numbers, predict_with, published_unet

GRADIENTS = ("out.2.weight", "time_embed.0.weight")


def schedule_of(case: str) -> NoiseSchedule:
    if case == "linear100":
        return noise_schedule("linear", 100)
    return noise_schedule("cosine" if case == "cosine" else "linear")


def steps_of(case: str, expected: dict[str, Tensor]) -> Tensor:
    return expected["pmv.rescaled100.t"] if case == "linear100" else expected["t"]


def close(result: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(result, expected, rtol=1e-5, atol=1e-6 * float(expected.abs().max()))


@pytest.mark.parametrize("name", ["unet_a", "unet_b"])
@pytest.mark.parametrize("case", ["linear", "cosine", "linear100"])
@pytest.mark.parametrize("kind", ["mse", "rescaled_mse"])
def test_the_simple_loss_and_the_bound(name: str, case: str, kind: str) -> None:
    network, expected = published_unet(name), numbers(name)
    schedule = schedule_of(case)
    losses = diffusion_loss(
        predict_with(network, expected.get("y")),
        schedule,
        expected["loss.x_start"],
        expected["loss.noise"],
        steps_of(case, expected),
        bound_weight=1 / schedule.steps if kind == "mse" else 0.001,
    )
    close(losses.simple, expected[f"loss.{case}.{kind}.mse"])
    close(losses.total, expected[f"loss.{case}.{kind}.loss"])
    assert losses.bound is not None
    share = schedule.steps / 1000 if kind == "rescaled_mse" else 1
    close(losses.bound * share, expected[f"loss.{case}.{kind}.vb"])
    check_gradients(network, losses.total, expected, f"loss.{case}.{kind}")


@pytest.mark.parametrize("name", ["unet_a", "unet_b"])
@pytest.mark.parametrize("case", ["linear", "cosine", "linear100"])
def test_the_bound_alone_trains_the_noise_too(name: str, case: str) -> None:
    network, expected = published_unet(name), numbers(name)
    schedule, steps = schedule_of(case), steps_of(case, expected)
    images = expected["loss.x_start"]
    noisy = schedule.add_noise(images, expected["loss.noise"], steps)
    times = torch.from_numpy(schedule.times).float()[steps]
    output = network(noisy, times, expected.get("y"))
    bound = bound_term(schedule, output, images, noisy, steps) * schedule.steps
    close(bound, expected[f"loss.{case}.rescaled_kl.loss"])
    check_gradients(network, bound, expected, f"loss.{case}.rescaled_kl")


def check_gradients(network: Any, losses: Tensor, expected: dict[str, Tensor], case: str) -> None:
    losses.mean().backward()
    for name in GRADIENTS:
        if f"{case}.grad.{name}" in expected:
            gradient = network.get_parameter(name).grad
            values = expected[f"{case}.grad.{name}"]
            # A time that is added before groups of a single channel has a gradient of zero.
            rounding = 1e-8 * max(1.0, losses.detach().mean().item())
            assert (gradient - values).abs().max() <= 1e-4 * values.abs().max() + rounding


def test_a_network_without_variance_has_the_simple_loss_alone() -> None:
    torch.manual_seed(0)
    images, noise = torch.randn(2, 3, 8, 8), torch.randn(2, 3, 8, 8)
    losses = diffusion_loss(
        lambda noisy, _: noisy[:, :3], noise_schedule("linear"), images, noise, torch.tensor([0, 9])
    )
    assert losses.bound is None
    assert torch.equal(losses.total, losses.simple)


def test_the_loss_of_the_velocity_is_its_mean_squared_error() -> None:
    schedule, random = noise_schedule("cosine"), torch.Generator().manual_seed(0)
    images, noise, wrong = torch.randn(3, 4, 3, 8, 8, generator=random)
    steps = torch.tensor([0, 300, 700, 990])
    kept = torch.tensor(schedule.kept[steps.numpy()]).float().reshape(4, 1, 1, 1)

    def predict(noisy: Tensor, times: Tensor) -> Tensor:
        velocity = kept.sqrt() * noise - (1 - kept).sqrt() * images + wrong
        return kept.sqrt() * velocity + (1 - kept).sqrt() * noisy

    losses = diffusion_loss(predict, schedule, images, noise, steps, of_velocity=True)
    expected = wrong.square().flatten(1).mean(dim=1)
    torch.testing.assert_close(losses.simple, expected, rtol=1e-3, atol=0)
