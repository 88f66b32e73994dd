"""Counts the TFLOP of each network at the published sizes, and the shortest time on a GPU.

Networks run on torch's meta device, without weights. A multiply-add counts as 2. Only matrix
products, convolutions and attention count. The floor is the time of this work at `PEAK`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.full_size import NETWORKS
from benchmarks.machine import table

# Assumed limit of an H200 in half precision, TFLOP/s; its data sheet names 989 without sparsity.
PEAK = 790.0
HEIGHT, WIDTH = 768, 1024
CELL = 8
TOKENS = 77


@dataclass(frozen=True)
class Forward:
    """One pass of a network for one image."""

    network: str
    size: str
    tflop: float


@dataclass(frozen=True)
class Result:
    """The sum of all passes that one result of a stage needs."""

    stage: str
    tflop: float

    def floor_s(self, peak: float = PEAK) -> float:
        """Return the seconds that the result takes at ``peak`` TFLOP/s."""
        return self.tflop / peak


def forwards() -> dict[str, Forward]:
    """Count a pass of every network at its stage's size, batch 1, one guidance branch."""
    cells = (HEIGHT // CELL, WIDTH // CELL)
    scene, sheet = f"{HEIGHT}x{WIDTH}", "960x640, reference 512"
    counted = [
        Forward("SDXL UNet", scene, _count("SDXL UNet", _sdxl(cells))),
        Forward("ControlNet small", scene, _count("ControlNet small", _control(cells))),
        Forward("ControlNet full", scene, _count("ControlNet full", _control(cells))),
        Forward("SDXL VAE, decode", scene, _count("SDXL VAE", _decode(cells))),
        Forward("SD VAE, encode", scene, _count("SDXL VAE", _encode((HEIGHT, WIDTH)))),
        Forward("SD VAE, encode", "512x512", _count("SDXL VAE", _encode((512, 512)))),
        Forward("SD VAE, decode", "960x640", _count("SDXL VAE", _decode((120, 80)))),
        Forward("SD2 inpainting UNet", scene, _count("SD2 inpainting UNet", _sd(cells, 9))),
        Forward("SD1.5 UNet", "512x512", _count("SD1.5 UNet", _sd((64, 64), 4, 768))),
        Forward("ControlNet SD1.5", "512x512", _count("ControlNet SD1.5", _control_sd15())),
        Forward("SD VAE, decode", "512x512", _count("SDXL VAE", _decode((64, 64)))),
        Forward("asymmetric VAE, decode", scene, _count("asymmetric VAE", _refine(cells))),
        Forward("Zero123++, write and read", sheet, _count_views()),
        Forward("RRDBNet x2", "320x320", _count("RRDBNet x2", _image((320, 320)))),
        Forward("RRDBNet x4", "320x320", _count("RRDBNet x4", _image((320, 320)))),
        Forward("DPT-large", "384x384", _count("DPT-large", _image((384, 384)))),
        Forward(
            "Depth Anything V2 Small",
            "518x686",
            _count("Depth Anything V2 Small", _image((518, 686))),
        ),
        Forward("IS-Net", "1024x1024", _count("IS-Net", _image((1024, 1024)))),
        Forward("BLIP vision, base", "384x384", _count("BLIP vision, base", _image((384, 384)))),
        Forward("BLIP vision, large", "384x384", _count("BLIP vision, large", _image((384, 384)))),
    ]
    return {f"{forward.network} {forward.size}": forward for forward in counted}


def results(passes: dict[str, Forward], steps: int = 30) -> list[Result]:
    """Sum the passes per result of each stage; guided networks have two branches a step."""

    def cost(name: str) -> float:
        return next(forward.tflop for key, forward in passes.items() if key.startswith(name))

    branch = cost("SDXL UNet") + cost("ControlNet small")
    decode = cost("SDXL VAE, decode")
    full = cost("SDXL UNet") + cost("ControlNet full")
    paint = 2 * 25 * cost("SD2 inpainting UNet") + cost("asymmetric VAE, decode")
    sheet = 2 * cost("SD VAE, encode 512") + cost("SD VAE, decode 960")
    drawn = 2 * 50 * cost("SD1.5 UNet")
    controlled = drawn + 2 * 50 * cost("ControlNet SD1.5")
    small = cost("SD VAE, decode 512")
    views = 2 * 28 * cost("Zero123++") + sheet
    return [
        Result(
            f"background: SDXL, small depth ControlNet, {steps} steps",
            2 * steps * branch + decode,
        ),
        Result(
            f"background: SDXL, full depth ControlNet, {steps} steps",
            2 * steps * full + decode,
        ),
        # A scene is encoded once for all its shifts, so its encoding does not count.
        Result("outpaint: SD2, asymmetric VAE, 25 steps", paint),
        Result("text_to_image: SD1.5, 512x512, 50 steps", drawn + small),
        Result("controlnet: SD1.5, 512x512, 50 steps", controlled + small),
        Result(
            f"text_to_image: SDXL at {HEIGHT}x{WIDTH}, {steps} steps",
            2 * steps * cost("SDXL UNet") + decode,
        ),
        Result("multiview: Zero123++, six views, 28 steps", views),
        Result("upscale: x2 of 320x320", cost("RRDBNet x2")),
        Result("upscale_views: x4 of one view of 320x320", cost("RRDBNet x4")),
        Result("depth: DPT-large", cost("DPT-large")),
        Result("depth: Depth Anything V2 Small", cost("Depth Anything")),
        Result("segment: IS-Net", cost("IS-Net")),
        Result("caption: BLIP large, the image's part", cost("BLIP vision, large")),
    ]


def main(_folder: Path) -> None:
    """Print both tables."""
    passes = forwards()
    print("One pass of a network, batch 1, one guidance branch:\n")
    rows = [[forward.network, forward.size, forward.tflop] for forward in passes.values()]
    print(table(["network", "input", "TFLOP"], rows))
    made = results(passes)
    print(f"\nOne result, and the shortest time for it at {PEAK:.0f} TFLOP/s:\n")
    times = [(result, result.floor_s()) for result in made]
    limits = [[result.stage, result.tflop, 1e3 * floor, 1 / floor] for result, floor in times]
    print(table(["result", "TFLOP", "floor ms", "results/s"], limits))
    floor_s = made[0].floor_s()
    print(f"\n**A background takes at least {floor_s:.3f} s, {1 / floor_s:.2f} images/s.**")


def _count(name: str, run: Callable[[Any], Any]) -> float:
    """Return the TFLOP that ``run`` computes with the network."""
    with torch.device("meta"), torch.no_grad():
        network = NETWORKS[name]().eval()
        with FlopCounterMode(display=False) as counter:
            run(network)
    return float(counter.get_total_flops()) / 1e12


def _count_views() -> float:
    """Count one branch of one step: the reference writes its tokens, and the sheet reads them."""
    from models.views.zero123plus.attention import ReferenceAttention

    def run(unet: Any) -> None:
        references = ReferenceAttention(unet)
        with references.write():
            _sd((64, 64), 4, 1024)(unet)
        with references.read(torch.zeros(1, dtype=torch.int64)):
            _sd((120, 80), 4, 1024)(unet)

    return _count("Zero123++ UNet", run)


def _sdxl(cells: tuple[int, int]) -> Callable[[Any], Any]:
    return lambda unet: unet(
        torch.zeros(1, 4, *cells),
        torch.zeros(1),
        encoder_hidden_states=torch.zeros(1, TOKENS, 2048),
        added_cond_kwargs=_size_condition(),
    )


def _control(cells: tuple[int, int]) -> Callable[[Any], Any]:
    return lambda network: network(
        torch.zeros(1, 4, *cells),
        torch.zeros(1),
        encoder_hidden_states=torch.zeros(1, TOKENS, 2048),
        controlnet_cond=torch.zeros(1, 3, CELL * cells[0], CELL * cells[1]),
        added_cond_kwargs=_size_condition(),
    )


def _control_sd15() -> Callable[[Any], Any]:
    return lambda network: network(
        torch.zeros(1, 4, 64, 64),
        torch.zeros(1),
        encoder_hidden_states=torch.zeros(1, TOKENS, 768),
        controlnet_cond=torch.zeros(1, 3, 512, 512),
    )


def _size_condition() -> dict[str, torch.Tensor]:
    return {"text_embeds": torch.zeros(1, 1280), "time_ids": torch.zeros(1, 6)}


def _sd(cells: tuple[int, int], channels: int, width: int = 1024) -> Callable[[Any], Any]:
    return lambda unet: unet(
        torch.zeros(1, channels, *cells),
        torch.zeros(1),
        encoder_hidden_states=torch.zeros(1, TOKENS, width),
    )


def _decode(cells: tuple[int, int]) -> Callable[[Any], Any]:
    return lambda vae: vae.decode(torch.zeros(1, 4, *cells))


def _encode(size: tuple[int, int]) -> Callable[[Any], Any]:
    return lambda vae: vae.encode(torch.zeros(1, 3, *size))


def _refine(cells: tuple[int, int]) -> Callable[[Any], Any]:
    size = CELL * cells[0], CELL * cells[1]
    return lambda vae: vae.decode(
        torch.zeros(1, 4, *cells), image=torch.zeros(1, 3, *size), mask=torch.zeros(1, 1, *size)
    )


def _image(size: tuple[int, int]) -> Callable[[Any], Any]:
    return lambda network: network(torch.zeros(1, 3, *size))
