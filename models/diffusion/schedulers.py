"""Samplers of diffusers over a checkpoint's noise schedule."""

import copy
import functools
import json
from collections.abc import Mapping
from typing import Any, Literal

from models.runtime.loading import silence_loggers

Sampler = Literal["unipc", "dpm++", "euler", "ddim", "pndm"]
# PNDM (Liu et al., ICLR 2022) is the published one of Stable Diffusion 1.5.
SAMPLERS: dict[Sampler, str] = {
    "unipc": "UniPCMultistepScheduler",
    "dpm++": "DPMSolverMultistepScheduler",
    "euler": "EulerDiscreteScheduler",
    "ddim": "DDIMScheduler",
    "pndm": "PNDMScheduler",
}


def new_scheduler(name: str, schedule: Mapping[str, Any], **changed: Any) -> Any:
    """A sampler in its initial state; ``set_timesteps`` gives it steps.

    Args:
        name: class of diffusers, such as ``UniPCMultistepScheduler``.
        schedule: the checkpoint's ``scheduler_config.json``; settings that the class does not know
            are ignored.
        changed: settings that replace the checkpoint's.
    """
    return copy.copy(_build(name, json.dumps({**schedule, **changed}, sort_keys=True)))


# Building a sampler takes as long as several of its steps, because it inspects its own signature.
# `set_timesteps` replaces all state that a run changes, so shallow copies are independent.
@functools.lru_cache(maxsize=16)
def _build(name: str, settings: str) -> Any:
    import diffusers

    # diffusers logs settings of one sampler that another does not use.
    with silence_loggers("diffusers.configuration_utils"):
        return getattr(diffusers, name).from_config(json.loads(settings))
