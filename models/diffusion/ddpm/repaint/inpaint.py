"""RePaint: a diffusion model fills a part of an image, and the other part stays.

Source: Lugmayr et al., "RePaint: Inpainting using Denoising Diffusion Probabilistic Models", CVPR
2022, algorithm 1.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor

from models.diffusion.ddpm.chain import Draw
from models.diffusion.ddpm.process import ReverseProcess
from models.diffusion.ddpm.schedule import at


def inpaint(
    process: ReverseProcess, known: Tensor, keep: Tensor, draw: Draw, times: Sequence[int]
) -> Tensor:
    """Images in about -1..1, float32 [B, 3, H, W]; their known part is nearly that of ``known``.

    Args:
        process: the steps.
        known: images in -1..1, [B, 3, H, W].
        keep: 1 where the image is known, 0 where it is painted, [B, 1 or 3, H, W].
        draw: called for the first images, then per downward step for its noise and, except in the
            first, for the noise of the known part, and once per upward step.
        times: of `repaint_times`.
    """
    schedule = process.schedule
    noisy = draw()
    for position, (now, following) in enumerate(pairwise(times)):
        steps = torch.full((len(noisy),), now, device=noisy.device)
        if following < now:
            noise = draw()
            if position > 0:
                known_part = schedule.add_noise(known, draw(), steps)
                noisy = keep * known_part + (1 - keep) * noisy
            noisy = process.ddpm_step(noisy, steps, noise)
        else:
            beta = at(schedule.betas, steps + 1)
            noisy = (1 - beta).sqrt().float() * noisy + beta.sqrt().float() * draw()
    return noisy
