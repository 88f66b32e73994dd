"""A sampler from the cache behaves like a newly built one."""

from typing import Any

import diffusers
import pytest
import torch

from models.diffusion.schedulers import new_scheduler

SCHEDULE = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012}
NAMES = (
    "UniPCMultistepScheduler",
    "DPMSolverMultistepScheduler",
    "EulerDiscreteScheduler",
    "DDIMScheduler",
)


def run_interleaved(*samplers: Any) -> list[torch.Tensor]:
    """The samplers' results from the same start, each sampler one step at a time."""
    start = torch.randn(1, 4, 4, 4, generator=torch.Generator().manual_seed(0))
    for sampler in samplers:
        sampler.set_timesteps(6)
    results = [start * sampler.init_noise_sigma for sampler in samplers]
    for step in range(6):
        for i, sampler in enumerate(samplers):
            time = sampler.timesteps[step]
            scaled = sampler.scale_model_input(results[i], time)
            results[i] = sampler.step((i + 1) * scaled.tanh(), time, results[i]).prev_sample
    return results


@pytest.mark.parametrize("name", NAMES)
def test_interleaved_samplers_do_not_affect_each_other(name: str) -> None:
    built = [getattr(diffusers, name).from_config(SCHEDULE) for _ in range(2)]
    copies = [new_scheduler(name, SCHEDULE) for _ in range(2)]
    for expected, found in zip(run_interleaved(*built), run_interleaved(*copies), strict=True):
        assert torch.equal(expected, found)


def test_changed_settings_change_the_sampler() -> None:
    linspace = new_scheduler(NAMES[2], SCHEDULE, timestep_spacing="linspace")
    trailing = new_scheduler(NAMES[2], SCHEDULE, timestep_spacing="trailing")
    assert (linspace.config.timestep_spacing, trailing.config.timestep_spacing) == (
        "linspace",
        "trailing",
    )
