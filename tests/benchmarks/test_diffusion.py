"""The benchmarks of the diffusion profile run at tiny sizes and count correctly."""

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers.models.resnet import ResnetBlock2D

from benchmarks import diffusion_gpu, diffusion_report, flops, full_size, random_weights, wrappers
from benchmarks.diffusion_report import Measured, Speed
from benchmarks.diffusion_setting import FULL, Loaded, Setting
from benchmarks.diffusion_stages import STAGES
from benchmarks.diffusion_work import seconds
from benchmarks.full_size import NETWORKS
from benchmarks.random_weights import TINY, _networks
from models.diffusion.safety import SafeImage
from models.runtime.batching import run_batched
from models.runtime.compile import compile_blocks
from models.runtime.hardware import Machine

CPU = Machine(torch.device("cpu"), torch.float32, batch=1)


@pytest.fixture(scope="module")
def setting(tmp_path_factory: pytest.TempPathFactory) -> Setting:
    return Setting(tmp_path_factory.mktemp("weights"), CPU, tiny=True)


def make_passes() -> dict[str, flops.Forward]:
    """Return a pass of 1 TFLOP for every network."""
    names = [
        *("SDXL UNet", "ControlNet small", "ControlNet full", "SDXL VAE, decode"),
        *("SD VAE, encode 512", "SD VAE, decode 960", "SD2 inpainting UNet"),
        *("asymmetric VAE, decode", "Zero123++", "RRDBNet x2", "RRDBNet x4", "DPT-large"),
        *("Depth Anything V2 Small", "IS-Net", "BLIP vision, large"),
        *("SD1.5 UNet", "ControlNet SD1.5", "SD VAE, decode 512"),
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
        ("SD1.5 UNet", 859.5),
        ("ControlNet SD1.5", 361.3),
    ],
)
def test_networks_have_the_published_number_of_weights(name: str, millions: float) -> None:
    with torch.device("meta"):
        network = NETWORKS[name]()
    count = sum(weight.numel() for weight in network.parameters())
    assert count / 1e6 == pytest.approx(millions, abs=0.1)


def test_tflop_of_a_pass_are_those_of_an_independent_count() -> None:
    cells = (flops.HEIGHT // flops.CELL, flops.WIDTH // flops.CELL)
    assert flops._count("SD2 inpainting UNet", flops._sd(cells, 9)) == pytest.approx(3.14, rel=0.01)
    assert flops._count("DPT-large", flops._image((384, 384))) == pytest.approx(0.52, rel=0.01)
    single = flops._count("RRDBNet x4", flops._image((320, 320)))
    assert single / (320 * 320 / 1e6) == pytest.approx(35.9, rel=0.01)


def test_the_pass_of_views_includes_the_reference() -> None:
    """A count with cached tokens gives 3.38; cached keys and values save their projection."""
    assert flops._count_views() == pytest.approx(3.36, abs=0.015)


def test_results_sum_passes() -> None:
    made = {
        result.stage.partition(":")[0]: result
        for result in reversed(flops.results(make_passes(), steps=10))
    }
    assert made["background"].tflop == 2 * 10 * 2 + 1
    assert made["outpaint"].tflop == 2 * 25 + 1
    assert made["multiview"].tflop == 2 * 28 + 3
    assert made["text_to_image"].tflop == 2 * 50 + 1
    assert made["controlnet"].tflop == 2 * 50 * 2 + 1
    assert made["background"].floor_s(peak=41.0) == pytest.approx(1.0)


@pytest.mark.parametrize(
    "names",
    [
        ["upscale", "segment"],
        pytest.param([stage.name for stage in STAGES], marks=pytest.mark.e2e),
    ],
    ids=["two stages", "every stage"],
)
def test_stages_are_measured_by_hand_and_eager(setting: Setting, names: list[str]) -> None:
    stages = [stage for stage in STAGES if stage.name in names]
    counts = {stage.name: stage.least for stage in stages}
    measured = diffusion_gpu.measure(setting, stages, by_hand=1, reference=counts)
    assert [stage.stage for stage in measured] == names
    for stage in measured:
        for speed in (stage.by_hand, stage.eager):
            assert speed.per_s > 0
            assert speed.reference_s > 0
        assert stage.compiled is None
    assert not any(stage.faster.repeats for stage in measured)
    text = diffusion_report.report(measured, "a CPU")
    assert "not measured (this was a CPU)" in text
    assert "times as fast" in text
    assert "compiled, networks loaded" not in text


@pytest.mark.e2e
def test_compiled_networks_are_measured_too(setting: Setting) -> None:
    """Only the first batch includes compilation."""

    def load(setting: Setting) -> Loaded:
        block: Any = ResnetBlock2D(in_channels=4, temb_channels=None, groups=4)
        network = torch.nn.ModuleList([block])
        compile_blocks(network, setting.machine)

        def compute(requests: Sequence[Any]) -> list[Any]:
            tensors = [torch.zeros(4, 8, 8)] * len(requests)
            list(run_batched(lambda batch: list(block(torch.stack(list(batch)), None)), tensors,
                         at_most=1, modules=[network]))  # fmt: skip
            return [np.ones(request.image.shape[:2], np.float32) for request in requests]

        return Loaded(compute, (network,))

    segment = next(stage for stage in STAGES if stage.name == "segment")
    (measured,) = diffusion_gpu.measure(
        setting,
        [replace(segment, synthset=load)],
        by_hand=1,
        reference={"segment": 1},
        compiler="eager",
    )
    assert measured.compiled is not None
    assert 1 / measured.compiled.per_s < measured.compiled.first_s / 2
    (other,) = diffusion_gpu.measure(
        setting, [segment], by_hand=1, reference={"segment": 1}, compiler="eager"
    )
    assert other.compiled is None
    assert other.way("compiled") is other.eager


def test_a_stage_sends_the_wanted_requests_to_its_networks(setting: Setting) -> None:
    """The number of requests is checked, and inputs differ."""
    segment = next(stage for stage in STAGES if stage.name == "segment")
    received: list[Any] = []

    def compute(requests: Any) -> list[Any]:
        received.extend(requests)
        return [np.ones(request.image.shape[:2], np.float32) for request in requests]

    assert seconds(segment.work, Loaded(compute), setting, 3) > 0
    assert [request.image.shape for request in received] == [(64, 64, 3)] * 3
    assert len({request.image.tobytes() for request in received}) == 3
    outpaint = next(stage for stage in STAGES if stage.name == "outpaint")
    same = Loaded(lambda requests: [SafeImage(request.scene) for request in requests])
    with pytest.raises(RuntimeError, match="4 requests to the networks instead of 5"):
        seconds(outpaint.work, same, setting, 5)


def test_every_stage_has_a_result_with_its_tflop() -> None:
    names = [result.stage for result in flops.results(make_passes())]
    assert all(any(name.startswith(stage.result) for name in names) for stage in STAGES)


def test_a_reference_has_a_count_for_every_stage() -> None:
    counts = diffusion_gpu.count_results()
    assert {stage.name for stage in STAGES} <= set(counts)
    assert (counts["multiview"], counts["background"], counts["outpaint"]) == (1, 7, 28)
    assert (counts["upscale"], counts["upscale_views"]) == (1, 7)


def make_speed(per_s: float, reference_s: float) -> Speed:
    return Speed(per_s, reference_s, first_s=1.0, peak_gib=9.0, repeats=0)


def test_the_goal_is_met_missed_or_not_measured() -> None:
    slow, fast = make_speed(0.4, 20.0), make_speed(1.4, 5.0)
    background = Measured("background", 7, slow, make_speed(1.2, 6.0), fast, 330.0)
    h200 = "NVIDIA H200, 139 GiB"
    text = diffusion_report.report([background], h200)
    assert "missed eager with 1.20 images/s and 3.33x" in text
    assert "met compiled with 1.40 images/s and 4.00x" in text
    assert "not measured" in diffusion_report.report([background], "NVIDIA H100, 78 GiB")
    eager = replace(background, eager=fast, compiled=None)
    assert "end to end: met eager with 1.40 images/s and 4.00x" in diffusion_report.report(
        [eager], h200
    )
    other = Measured("segment", 7, make_speed(1, 2.0), make_speed(1, 2.0), None, None)
    assert "met compiled with 1.40 images/s and 3.14x" in diffusion_report.report(
        [background, other], h200
    )
    assert background.share == pytest.approx(1.4 * 330 / flops.PEAK)


@pytest.mark.parametrize("stage", STAGES, ids=lambda stage: str(stage.name))
def test_a_gpu_at_its_limit_has_a_share_of_1(stage: Any) -> None:
    """The TFLOP of a stage are those of one of its requests."""
    cost = next(
        result for result in flops.results(make_passes()) if result.stage.startswith(stage.result)
    )
    at_limit = make_speed(1 / cost.floor_s(), 1.0)
    measured = Measured(stage.name, 1, at_limit, at_limit, None, cost.tflop)
    assert measured.share == pytest.approx(1.0)
    (request,) = stage.requests(Setting(Path(), CPU, tiny=False), 1)
    if stage.name.startswith("upscale"):
        assert request.image.shape[:2] == (320, 320)
        assert cost.tflop == 1, "one pass of one image"
    elif hasattr(request, "steps"):
        passes_of = {"background": 2 * 2 * 30 + 1, "outpaint": 2 * 25 + 1, "multiview": 2 * 28 + 3}
        assert request.steps == FULL.steps[stage.name]
        assert cost.tflop == passes_of[stage.name]
    else:
        assert cost.tflop == 1


def test_figures_of_several_runs_are_joined(tmp_path: Path) -> None:
    background = Measured(
        "background", 7, make_speed(0.4, 20.0), make_speed(1.2, 6.0), make_speed(1.4, 5.0), 330.0
    )
    other = Measured("segment", 7, make_speed(1, 2.0), make_speed(1, 1.0), None, None)
    paths = [tmp_path / name for name in ("first.json", "second.json", "other_device.json")]
    for path, stage, device in zip(
        paths, (background, other, other), ("H200", "H200", "H100"), strict=True
    ):
        diffusion_report.save(path, [stage], device=device, batch=8)
    assert diffusion_report.load(paths[:2]) == ([background, other], "H200")
    with pytest.raises(ValueError, match="different devices"):
        diffusion_report.load(paths)


def test_a_clock_counts_nested_networks_once() -> None:
    inner = torch.nn.Linear(64, 64)
    outer = torch.nn.Sequential(inner, torch.nn.ReLU())
    with wrappers.clocked([outer, inner]) as clock:
        outer(torch.zeros(2, 64))
        seconds_inside = clock.seconds
        assert seconds_inside > 0
    assert "forward" not in vars(outer)
    outer(torch.zeros(2, 64))
    assert clock.seconds == seconds_inside


def test_overhead_is_the_time_outside_networks(setting: Setting) -> None:
    names = ["depth", "caption", "background"]
    overheads = wrappers.measure(setting, names, count=1, repeats=1)
    assert {overhead.stage for overhead in overheads} == set(names)
    assert all(0 < overhead.networks_s < overhead.total_s for overhead in overheads)


def test_full_size_checkpoints_have_all_their_networks() -> None:
    counts = {}
    with torch.device("meta"):
        for name in sorted(TINY):
            parts: dict[str, Any] = dict(_networks(name))
            counts[name] = sum(
                weight.numel() for network in parts.values() for weight in network.parameters()
            )
    assert all(counts.values())
    # U-Net 2,567 M, VAE 84 M, and text encoders with the tests' small vocabulary.
    assert counts["sdxl"] / 1e6 == pytest.approx(2567 + 84 + 86 + 632, abs=2)
    assert counts["zero123plus"] / 1e6 == pytest.approx(866 + 84 + 290 + 632, abs=2)


def shrink(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give the published networks few and narrow blocks; their structure stays."""
    for settings in (full_size.SDXL_UNET, full_size.CONTROLNET_SMALL):
        monkeypatch.setitem(settings, "block_out_channels", (32, 64, 64))
        monkeypatch.setitem(settings, "layers_per_block", 1)
        monkeypatch.setitem(settings, "attention_head_dim", (1, 2, 2))
    monkeypatch.setitem(full_size.SDXL_UNET, "transformer_layers_per_block", (1, 1, 1))
    monkeypatch.setitem(full_size.SD2_UNET, "block_out_channels", (32, 32, 64, 64))
    monkeypatch.setitem(full_size.SD2_UNET, "attention_head_dim", (1, 1, 2, 2))
    for settings in (full_size.VAE, full_size.SDXL_VAE):
        monkeypatch.setitem(settings, "block_out_channels", (32, 32, 32, 32))
    for name in ("CLIP_LARGE", "OPEN_CLIP_BIG", "OPEN_CLIP_HUGE", "VISION_HUGE"):
        settings = {**getattr(full_size, name), "num_hidden_layers": 1, "intermediate_size": 64}
        monkeypatch.setattr(full_size, name, settings)


def test_full_size_checkpoints_load_strictly(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The product's code loads the full-size networks strictly."""
    shrink(monkeypatch)
    setting = Setting(tmp_path, CPU, tiny=False)
    for stage in STAGES:
        if stage.name in ("upscale", "segment", "multiview", "background"):
            assert stage.synthset(setting).modules
    is_written = {name: (tmp_path / "full-float32" / name / "done").is_file() for name in TINY}
    assert is_written["sdxl"]
    assert is_written["zero123plus"]
    assert not is_written["blip"]


def test_full_size_checkpoints_are_in_the_wanted_precision(tmp_path: Path) -> None:
    half = Machine(torch.device("cpu"), torch.bfloat16)
    folder = random_weights.write("realesrgan_x2", tmp_path, half.device, half.dtype)
    upscale = STAGES[0].synthset(Setting(tmp_path, half, tiny=False))
    assert folder == tmp_path / "full-bfloat16" / "realesrgan_x2"
    assert {weight.dtype for weight in upscale.modules[0].parameters()} == {torch.bfloat16}


@pytest.mark.e2e
def test_the_command_writes_its_figures(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks.diffusion_gpu", "--tiny", "--stages", "upscale"]
    file = tmp_path / "figures.json"
    completed = subprocess.run(
        [*command, "--batch", "2", "--json", str(file)], capture_output=True, text=True
    )
    assert completed.returncode == 0, completed.stderr
    assert "| upscale" in completed.stdout
    assert "tiny sizes, which say nothing of speed" in completed.stdout
    (stage,) = json.loads(file.read_text())["stages"]
    assert stage["eager"]["per_s"] > 0
