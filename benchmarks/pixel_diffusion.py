"""Seconds per image of the pixel diffusion core, against the floor by its operations.

The network has the published shape for ImageNet at 256 px and random weights; speed does not depend
on them. A smaller one of 64 px shows what batches gain. On a CPU a single step per row is measured,
and multiplied by the steps of an image: all steps compute the same. The floor is the time of the
counted operations at the fastest product of matrices or convolution that this machine was seen to
compute. RePaint paints with the published order: 250 steps, jumps of 10, 10 rounds.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.machine import table
from models.diffusion.ddpm.config import IMAGENET_256, UnetConfig
from models.diffusion.ddpm.process import ReverseProcess
from models.diffusion.ddpm.repaint.time_list import repaint_times
from models.diffusion.ddpm.schedule import noise_schedule
from models.diffusion.ddpm.unet import Unet
from models.runtime.hardware import Machine, this_machine

STEPS, JUMP, ROUNDS = 250, 10, 10
# The shape that the same authors use at 64 px, with fewer channels.
SMALL_64 = UnetConfig(
    image_size=64,
    channels=64,
    multipliers=(1, 2, 3, 4),
    residual_blocks=2,
    attention_factors=(4, 8),
    head_channels=32,
)
# Images per batch, and steps per row, on a CPU and on a GPU.
BATCHES: dict[str, dict[int, tuple[int, ...]]] = {
    "cpu": {256: (1, 2), 64: (1, 4, 8)},
    "cuda": {256: (1, 4, 16), 64: (1, 16, 64)},
}
REPEATS = {"cpu": 1, "cuda": 20}


@dataclass(frozen=True)
class Speed:
    """A step of a batch: seconds, and TFLOP of one image."""

    side: int
    batch: int
    step_s: float
    tflop: float

    def image_s(self, passes: int) -> float:
        """Seconds per image of so many passes."""
        return self.step_s / self.batch * passes

    def floor_s(self, passes: int, peak: float) -> float:
        """Seconds of the counted operations of an image at ``peak`` TFLOP/s."""
        return self.tflop * passes / peak


def repaint_passes() -> int:
    """Passes of the network for a painted image: the downward steps."""
    times = repaint_times(STEPS, JUMP, ROUNDS)
    return sum(following < now for now, following in pairwise(times))


def count_tflop(config: UnetConfig) -> float:
    """TFLOP of a pass for one image; a multiply-add counts as 2."""
    with torch.device("meta"), torch.no_grad(), FlopCounterMode(display=False) as counter:
        side = config.image_size
        Unet(config).eval()(torch.zeros(1, 3, side, side), torch.zeros(1))
    return float(counter.get_total_flops()) / 1e12


def measure_peak(machine: Machine) -> float:
    """The most TFLOP/s of a product of matrices and of a convolution as the network has them."""
    side, channels, cells = (2048, 256, 64) if machine.device.type == "cpu" else (8192, 512, 128)
    where, dtype = machine.device, machine.dtype
    matrix = torch.randn(side, side, device=where, dtype=dtype)
    layer = nn.Conv2d(channels, channels, kernel_size=3, padding=1, device=where, dtype=dtype)
    images = torch.randn(1, channels, cells, cells, device=where, dtype=dtype)
    with torch.inference_mode():
        product_s = min(_time(lambda: matrix @ matrix, machine) for _ in range(3))
        convolution_s = min(_time(lambda: layer(images), machine) for _ in range(3))
    convolution = 2 * 9 * channels**2 * cells**2
    return max(2 * side**3 / product_s, convolution / convolution_s) / 1e12


def measure_steps(config: UnetConfig, machine: Machine) -> list[Speed]:
    """A row per batch size."""
    network, tflop, kind = _random_unet(config, machine), count_tflop(config), machine.device.type
    schedule = noise_schedule(config.curve, config.steps, str(STEPS))
    process = ReverseProcess(network, schedule)
    rows = []
    for batch in BATCHES[kind][config.image_size]:
        noisy = torch.randn(batch, 3, config.image_size, config.image_size, device=machine.device)
        steps = torch.full((batch,), STEPS // 2, device=machine.device)

        def run(noisy: Tensor = noisy, steps: Tensor = steps) -> None:
            for _ in range(REPEATS[kind]):
                process.ddpm_step(noisy, steps, noisy)

        with torch.inference_mode():
            if kind == "cuda":
                run()
            rows.append(Speed(config.image_size, batch, _time(run, machine) / REPEATS[kind], tflop))
    return rows


def main(_folder: Path) -> None:
    """Print both tables."""
    machine = this_machine()
    peak, passes = measure_peak(machine), repaint_passes()
    where = machine.device.type, str(machine.dtype).removeprefix("torch.")
    print(f"{' '.join(where)}, {torch.get_num_threads()} threads, peak {peak:.3f} TFLOP/s\n")
    rows: list[list[object]] = []
    for config in (SMALL_64, IMAGENET_256):
        for speed in measure_steps(config, machine):
            floor = speed.floor_s(STEPS, peak)
            rows.append(
                [
                    f"{speed.side} px",
                    speed.batch,
                    speed.tflop,
                    speed.step_s / speed.batch,
                    speed.image_s(STEPS),
                    speed.image_s(passes),
                    floor,
                    speed.floor_s(passes, peak),
                    f"{floor / speed.image_s(STEPS):.0%}",
                ]
            )
    head = (
        *("size", "batch", "TFLOP a pass", "s a step and image", f"s an image of {STEPS} steps"),
        f"s a RePaint image of {passes} passes",
        *("floor, image", "floor, RePaint", "floor / time"),
    )
    print(table(head, rows))


def _random_unet(config: UnetConfig, machine: Machine) -> Unet:
    """A network whose last layers are not zero, without the usual slow start values."""
    with torch.device("meta"):
        network = Unet(config)
    network = network.to(machine.dtype).to_empty(device=machine.device)
    for weight in network.parameters():
        nn.init.normal_(weight, std=0.02)
    return network.eval().requires_grad_(False)


def _time(run: Callable[[], object], machine: Machine) -> float:
    """Seconds of a call: of all cores' work on a CPU per thread, else of the clock."""
    if machine.device.type == "cpu":
        start = time.process_time()
        run()
        return (time.process_time() - start) / torch.get_num_threads()
    torch.cuda.synchronize(machine.device)
    start = time.perf_counter()
    run()
    torch.cuda.synchronize(machine.device)
    return time.perf_counter() - start
