"""RePaint's order of steps and a whole run agree with the published program's numbers."""

import json
from itertools import pairwise

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from models.diffusion.ddpm.chain import as_levels
from models.diffusion.ddpm.process import ReverseProcess
from models.diffusion.ddpm.repaint.inpaint import inpaint
from models.diffusion.ddpm.repaint.time_list import repaint_times
from models.diffusion.ddpm.schedule import noise_schedule
from tests.conftest import SHARED
from tests.models.diffusion.ddpm.published import assert_close, predict_with, published_unet

FOLDER = SHARED / "golden" / "repaint"
needs_goldens = pytest.mark.skipif(
    not FOLDER.is_dir(), reason="needs ../shared/golden/repaint: numbers of the published program"
)


@needs_goldens
def test_the_order_of_steps_is_the_published_one() -> None:
    cases = json.loads((FOLDER / "schedules.json").read_text())
    assert cases
    for case in cases:
        about = case["params"]
        times = repaint_times(about["t_T"], about["jump_length"], about["jump_n_sample"])
        assert times == case["times"]
        assert len(times) == case["length"]


def test_without_jumps_all_steps_are_done_once() -> None:
    assert repaint_times(4, 2, 1) == [3, 2, 1, 0, -1]
    assert repaint_times(4, 10, 5) == [3, 2, 1, 0, -1]


@needs_goldens
def test_a_run_with_recorded_noise() -> None:
    about = json.loads((FOLDER / "inpaint.json").read_text())
    expected = load_file(FOLDER / "inpaint.safetensors")
    jump = about["jump"]
    times = repaint_times(jump["t_T"], jump["jump_length"], jump["jump_n_sample"])
    assert times == about["times"]
    seen: list[tuple[Tensor, Tensor]] = []
    predict = predict_with(published_unet("unet_a"))

    def record(images: Tensor, steps: Tensor) -> Tensor:
        seen.append((images, steps))
        return predict(images, steps)

    process = ReverseProcess(record, noise_schedule("linear", 1000, about["timestep_respacing"]))
    draws = iter(expected["draws"])
    with torch.inference_mode():
        result = inpaint(
            process, expected["gt"], expected["gt_keep_mask"], lambda: next(draws), times
        )
    assert next(draws, None) is None
    assert_close(result, expected["result"], 1e-3)
    levels = as_levels(result[0]).astype(int)
    assert np.abs(levels - expected["u8"][0].permute(1, 2, 0).numpy()).max() <= 1
    assert [int(steps) for _, steps in seen] == expected["model_timesteps"].tolist()
    downward = [now for now, following in pairwise(times) if following < now]
    for number in about["recorded_reverse_steps"]:
        images, steps = seen[number][0], torch.tensor([downward[number]])
        assert_close(images, expected[f"reverse{number}.model_input"], 1e-3)
        with torch.inference_mode():
            estimate = process.estimate(images, steps)
        assert_close(estimate.image, expected[f"reverse{number}.pred_xstart"], 1e-3)
