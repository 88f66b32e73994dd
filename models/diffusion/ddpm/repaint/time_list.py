"""The order of steps of RePaint: down to the image, with jumps back to more noise.

Source: Lugmayr et al., "RePaint: Inpainting using Denoising Diffusion Probabilistic Models", CVPR
2022, section 4.2 and appendix.
"""


def repaint_times(steps: int, jump: int, rounds: int) -> list[int]:
    """The steps after which the image is, in order; -1 is the image without noise.

    Args:
        steps: of the schedule.
        jump: how many steps a jump leads back.
        rounds: how often each part between two jumps is done; 1: no jumps.
    """
    left = dict.fromkeys(range(0, steps - jump, jump), rounds - 1)
    times: list[int] = []
    now = steps
    while now > 0:
        now -= 1
        times.append(now)
        if left.get(now, 0) > 0:
            left[now] -= 1
            times.extend(range(now + 1, now + jump + 1))
            now += jump
    return [*times, -1]
