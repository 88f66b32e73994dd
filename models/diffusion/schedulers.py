"""Samplers of diffusers over a checkpoint's noise schedule, each as if newly built."""

import copy
import functools
import json
from collections.abc import Mapping
from typing import Any

from models.runtime.loading import silence_loggers


def fresh(name: str, schedule: Mapping[str, Any], **changed: Any) -> Any:
    """A sampler without steps; ``set_timesteps`` gives it some.

    Args:
        name: class of diffusers, such as ``UniPCMultistepScheduler``.
        schedule: the checkpoint's ``scheduler_config.json``; what the class does not know is left
            out.
        changed: settings in place of the checkpoint's.
    """
    return copy.copy(_built(name, json.dumps({**schedule, **changed}, sort_keys=True)))


# Building one takes as long as several of its steps: it reads its own signature. What a run changes
# in a sampler it first sets anew (``set_timesteps``), so that shallow copies don't meet.
@functools.lru_cache(maxsize=16)
def _built(name: str, settings: str) -> Any:
    import diffusers

    # It reports settings of one sampler that another has no use for.
    with silence_loggers("diffusers.configuration_utils"):
        return getattr(diffusers, name).from_config(json.loads(settings))
