"""The benchmarks of the diffusion profile run, at tiny sizes, and count what they say."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks import diffusion_gpu, flops, wrappers
from benchmarks.diffusion_setting import Setting
from benchmarks.diffusion_stages import STAGES
from benchmarks.full_size import NETWORKS
from benchmarks.random_weights import TINY, _networks
from models.hardware import Machine

CPU = Machine(torch.device("cpu"), torch.float32, batch=1)


@pytest.fixture(scope="module")
def setting(tmp_path_factory: pytest.TempPathFactory) -> Setting:
    return Setting(tmp_path_factory.mktemp("weights"), CPU, tiny=True)


def passes() -> dict[str, flops.Forward]:
    """Every network's pass, as if it cost 1 TFLOP."""
    names = [
        *("SDXL UNet", "ControlNet small", "ControlNet full", "SDXL VAE, decode"),
        *("SD VAE, encode 512", "SD VAE, decode 960", "SD2 inpainting UNet"),
        *("asymmetric VAE, decode", "Zero123++", "RRDBNet x2", "RRDBNet x4", "DPT-large"),
        *("Depth Anything V2 Small", "IS-Net", "BLIP vision, large"),
    ]
    return {name: flops.Forward(name, "", 1.0) for name in names}


@pytest.mark.parametrize(
    ("name", "millions"),
    [
        ("ControlNet small", 160.1),
        ("DPT-large", 343.0),
        ("IS-Net", 44.0),
        ("RRDBNet x4", 16.7),
        ("asymmetric VAE", 406.1),
        ("SD2 inpainting UNet", 865.9),
    ],
)
def test_networks_have_the_published_number_of_weights(name: str, millions: float) -> None:
    with torch.device("meta"):
        network = NETWORKS[name]()
    count = sum(one.numel() for one in network.parameters())
    assert count / 1e6 == pytest.approx(millions, abs=0.1)


def test_a_pass_costs_what_was_counted_before() -> None:
    cells = (flops.HEIGHT // flops.CELL, flops.WIDTH // flops.CELL)
    assert flops._count("SD2 inpainting UNet", flops._sd(cells, 9)) == pytest.approx(3.14, rel=0.01)
    assert flops._count("DPT-large", flops._image((384, 384))) == pytest.approx(0.52, rel=0.01)
    single = flops._count("RRDBNet x4", flops._image((320, 320)))
    assert single / (320 * 320 / 1e6) == pytest.approx(35.9, rel=0.01)


def test_the_read_pass_of_views_also_sees_the_reference() -> None:
    """3.38 was counted with tokens kept; keys and values are, which saves projecting them again."""
    assert flops._count_views() == pytest.approx(3.36, abs=0.015)


def test_results_add_passes_up() -> None:
    made = {one.stage.partition(":")[0]: one for one in reversed(flops.results(passes(), steps=10))}
    assert made["background"].tflop == 2 * 10 * 2 + 1
    assert made["outpaint"].tflop == 2 * 25 + 1
    assert made["multiview"].tflop == 2 * 28 + 3
    assert made["background"].floor_s(peak=41.0) == pytest.approx(1.0)


@pytest.mark.slow
def test_every_stage_is_measured_both_ways(setting: Setting) -> None:
    once = {stage.name: 1 for stage in STAGES}
    found = diffusion_gpu.measure(setting, by_hand=1, reference=once)
    assert [one.stage for one in found] == [stage.name for stage in STAGES]
    assert all(one.by_hand.per_s > 0 and one.ours.per_s > 0 for one in found)
    assert not any(one.ours.repeats for one in found)
    told = diffusion_gpu.report(found, "a CPU")
    assert "not measured (this was a CPU)" in told
    assert "times as fast" in told


def test_every_stage_has_its_cost() -> None:
    said = [one.stage for one in flops.results(passes())]
    assert all(any(one.startswith(stage.counted) for one in said) for stage in STAGES)


def test_a_reference_has_a_count_for_every_stage() -> None:
    counts = diffusion_gpu.counts_of_a_reference()
    assert {stage.name for stage in STAGES} <= set(counts)
    assert (counts["multiview"], counts["background"], counts["outpaint"]) == (1, 7, 28)
    assert (counts["upscale"], counts["upscale_views"]) == (1, 7)


def test_the_goal_is_met_missed_or_not_measured() -> None:
    slow, fast = (
        diffusion_gpu.Speed(per_s, seconds, 9.0, 0) for per_s, seconds in ((0.4, 20.0), (1.4, 5.0))
    )
    scenes = diffusion_gpu.Measured("background", 7, slow, fast, 330.0)
    h200 = "NVIDIA H200, 139 GiB"
    assert "end to end: met** with 1.40 images/s and 4.00x" in diffusion_gpu.report([scenes], h200)
    assert "not measured" in diffusion_gpu.report([scenes], "NVIDIA H100, 78 GiB")
    slower = replace(scenes, ours=replace(fast, per_s=1.2))
    assert "missed**" in diffusion_gpu.report([slower], h200)
    assert scenes.share == pytest.approx(1.4 * 330 / flops.PEAK)


def test_a_clock_counts_nested_networks_once() -> None:
    inner = torch.nn.Linear(64, 64)
    outer = torch.nn.Sequential(inner, torch.nn.ReLU())
    with wrappers.clocked([outer, inner]) as clock:
        outer(torch.zeros(2, 64))
        once = clock.spent
        assert once > 0
    assert "forward" not in vars(outer)
    outer(torch.zeros(2, 64))
    assert clock.spent == once


def test_a_wrapper_s_own_work_is_what_its_networks_leave(setting: Setting) -> None:
    names = ["depth", "caption", "background"]
    found = wrappers.measure(setting, names, count=1, repeats=1)
    assert {one.stage for one in found} == set(names)
    assert all(0 < one.networks_s < one.all_s for one in found)


def test_full_size_checkpoints_have_all_their_networks() -> None:
    with torch.device("meta"):
        for name in sorted(set(TINY) - {"sdxl", "zero123plus"}):
            parts: dict[str, Any] = dict(_networks(name))
            assert parts, name


def test_the_script_runs_by_itself(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks.diffusion_gpu", "--tiny", "--stages", "upscale"]
    ended = subprocess.run([*command, "--batch", "2"], capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    assert "| upscale" in ended.stdout
    assert "tiny sizes, which say nothing of speed" in ended.stdout
