"""Samplers that come from one that was built before are as new ones."""

from typing import Any

import diffusers
import pytest
import torch

from models.diffusion.schedulers import fresh

SCHEDULE = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012}
NAMES = (
    "UniPCMultistepScheduler",
    "DPMSolverMultistepScheduler",
    "EulerDiscreteScheduler",
    "DDIMScheduler",
)


def walk(*samplers: Any) -> list[torch.Tensor]:
    """The ends of the samplers' ways from the same start, a step of each in turn."""
    start = torch.randn(1, 4, 4, 4, generator=torch.Generator().manual_seed(0))
    for sampler in samplers:
        sampler.set_timesteps(6)
    ends = [start * sampler.init_noise_sigma for sampler in samplers]
    for at in range(6):
        for one, sampler in enumerate(samplers):
            time = sampler.timesteps[at]
            seen = sampler.scale_model_input(ends[one], time)
            ends[one] = sampler.step((one + 1) * seen.tanh(), time, ends[one]).prev_sample
    return ends


@pytest.mark.parametrize("name", NAMES)
def test_samplers_at_work_side_by_side_do_not_meet(name: str) -> None:
    built = [getattr(diffusers, name).from_config(SCHEDULE) for _ in range(2)]
    copies = [fresh(name, SCHEDULE) for _ in range(2)]
    for one, other in zip(walk(*built), walk(*copies), strict=True):
        assert torch.equal(one, other)


def test_changed_settings_give_another_sampler() -> None:
    linspace = fresh(NAMES[2], SCHEDULE, timestep_spacing="linspace")
    trailing = fresh(NAMES[2], SCHEDULE, timestep_spacing="trailing")
    assert (linspace.config.timestep_spacing, trailing.config.timestep_spacing) == (
        "linspace",
        "trailing",
    )
