"""Passes and operations of the pixel diffusion core, as its benchmark counts them."""

from itertools import pairwise

import pytest

from benchmarks.pixel_diffusion import SMALL_64, Speed, count_tflop, repaint_passes
from models.diffusion.ddpm.config import IMAGENET_256
from models.diffusion.ddpm.repaint.time_list import repaint_times


def test_a_painted_image_takes_the_downward_steps_of_the_published_order() -> None:
    times = repaint_times(250, 10, 10)
    upward = sum(following > now for now, following in pairwise(times))
    assert repaint_passes() == len(times) - 1 - upward
    assert repaint_passes() - upward == times[0] + 1


def test_the_published_network_takes_two_trillion_operations() -> None:
    assert 2.0 < count_tflop(IMAGENET_256) < 2.5
    assert count_tflop(SMALL_64) < 0.1


def test_an_image_of_a_batch_takes_its_share_of_the_step() -> None:
    speed = Speed(side=64, batch=4, step_s=2.0, tflop=0.5)
    assert speed.image_s(10) == pytest.approx(5.0)
    assert speed.floor_s(10, peak=2.0) == pytest.approx(2.5)
