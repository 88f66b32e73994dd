"""What a result of each network costs at the published sizes, and the time below which no GPU goes.

Counted on torch's meta device, so without weights and in seconds: a multiply-add counts as 2, and
only matrix products, convolutions and attention count. The floor is that work at `PEAK`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.full_size import NETWORKS
from benchmarks.machine import table

# TFLOP/s taken as the limit of an H200 in half precision; its data sheet says 989 without sparsity.
PEAK = 790.0
HEIGHT, WIDTH = 768, 1024
CELL = 8
TOKENS = 77


@dataclass(frozen=True)
class Forward:
    """One pass of a network for one image; ``noted`` is what an earlier count had found."""

    network: str
    size: str
    tflop: float
    noted: float | None = None


@dataclass(frozen=True)
class Result:
    """All that one result of a stage takes, in passes by network."""

    stage: str
    tflop: float
    noted: float | None = None

    def floor_s(self, peak: float = PEAK) -> float:
        """Seconds at ``peak`` TFLOP/s."""
        return self.tflop / peak


def forwards() -> dict[str, Forward]:
    """Every network's pass at the size at which its stage runs it, batch 1, one guidance branch."""
    cells = (HEIGHT // CELL, WIDTH // CELL)
    scene, sheet = f"{HEIGHT}x{WIDTH}", "960x640, reference 512"
    counted = [
        Forward("SDXL UNet", scene, _count("SDXL UNet", _sdxl(cells)), 4.94),
        Forward("ControlNet small", scene, _count("ControlNet small", _control(cells)), 0.40),
        Forward("ControlNet full", scene, _count("ControlNet full", _control(cells)), 2.21),
        Forward("SDXL VAE, decode", scene, _count("SDXL VAE", _decode(cells)), 7.75),
        Forward("SD VAE, encode", scene, _count("SDXL VAE", _encode((HEIGHT, WIDTH))), 3.56),
        Forward("SD VAE, encode", "512x512", _count("SDXL VAE", _encode((512, 512)))),
        Forward("SD VAE, decode", "960x640", _count("SDXL VAE", _decode((120, 80)))),
        Forward("SD2 inpainting UNet", scene, _count("SD2 inpainting UNet", _sd(cells, 9)), 3.14),
        Forward("asymmetric VAE, decode", scene, _count("asymmetric VAE", _refine(cells)), 55.7),
        Forward("Zero123++, write and read", sheet, _count_views(), 3.38),
        Forward("RRDBNet x2", "320x320", _count("RRDBNet x2", _image((320, 320))), 0.92),
        Forward("RRDBNet x4", "320x320", _count("RRDBNet x4", _image((320, 320))), 3.68),
        Forward("DPT-large", "384x384", _count("DPT-large", _image((384, 384))), 0.52),
        Forward(
            "Depth Anything V2 Small",
            "518x686",
            _count("Depth Anything V2 Small", _image((518, 686))),
        ),
        Forward("IS-Net", "1024x1024", _count("IS-Net", _image((1024, 1024))), 0.32),
        Forward(
            "BLIP vision, base", "384x384", _count("BLIP vision, base", _image((384, 384))), 0.11
        ),
        Forward("BLIP vision, large", "384x384", _count("BLIP vision, large", _image((384, 384)))),
    ]
    return {f"{one.network} {one.size}": one for one in counted}


def results(found: dict[str, Forward], steps: int = 30) -> list[Result]:
    """What each stage's result takes, from the passes; guided ones have two branches a step."""

    def cost(name: str) -> float:
        return next(one.tflop for key, one in found.items() if key.startswith(name))

    branch = cost("SDXL UNet") + cost("ControlNet small")
    decode = cost("SDXL VAE, decode")
    full = cost("SDXL UNet") + cost("ControlNet full")
    paint = 2 * 25 * cost("SD2 inpainting UNet") + cost("asymmetric VAE, decode")
    sheet = 2 * cost("SD VAE, encode 512") + cost("SD VAE, decode 960")
    views = 2 * 28 * cost("Zero123++") + sheet
    return [
        Result(
            f"background: SDXL, small depth ControlNet, {steps} steps",
            2 * steps * branch + decode,
            328.0 if steps == 30 else None,
        ),
        Result(
            f"background: SDXL, full depth ControlNet, {steps} steps",
            2 * steps * full + decode,
            437.0 if steps == 30 else None,
        ),
        # A scene is encoded once for all its shifts, so the encoding is left out; an earlier count
        # of 220 held the library's two.
        Result("outpaint: SD2, asymmetric VAE, 25 steps", paint, 220.0),
        Result("multiview: Zero123++, six views, 28 steps", views, 198.0),
        Result("upscale: x2 of 320x320", cost("RRDBNet x2"), 0.9),
        Result("upscale_views: x4 of one view of 320x320", cost("RRDBNet x4"), 3.68),
        Result("depth: DPT-large", cost("DPT-large"), 0.52),
        Result("depth: Depth Anything V2 Small", cost("Depth Anything")),
        Result("segment: IS-Net", cost("IS-Net"), 0.32),
        Result("caption: BLIP large, the image's part", cost("BLIP vision, large")),
    ]


def main(_folder: Path) -> None:
    """Print both tables."""
    found = forwards()
    print("One pass of a network, batch 1, one guidance branch:\n")
    print(table(
        ["network", "input", "TFLOP", "counted before"],
        [[one.network, one.size, one.tflop, _or_dash(one.noted)] for one in found.values()],
    ))  # fmt: skip
    made = results(found)
    print(f"\nOne result, and its floor at {PEAK:.0f} TFLOP/s:\n")
    print(table(
        ["result", "TFLOP", "counted before", "floor ms", "results/s"],
        [
            [one.stage, one.tflop, _or_dash(one.noted), 1e3 * one.floor_s(), 1 / one.floor_s()]
            for one in made
        ],
    ))  # fmt: skip
    noted = [one for one in found.values() if one.noted]
    worst = max(noted, key=lambda one: abs(one.tflop / one.noted - 1))  # type: ignore[operator]
    print(
        f"\n**The floor of a background is {made[0].floor_s():.3f} s, "
        f"{1 / made[0].floor_s():.2f} images/s.** Farthest from the earlier count: "
        f"{worst.network}, {worst.tflop:.2f} against {worst.noted}."
    )


def _or_dash(value: float | None) -> float | str:
    return "-" if value is None else value


def _count(name: str, run: Callable[[Any], Any]) -> float:
    """TFLOP of what ``run`` does with the network."""
    with torch.device("meta"), torch.no_grad():
        network = NETWORKS[name]().eval()
        with FlopCounterMode(display=False) as counter:
            run(network)
    return float(counter.get_total_flops()) / 1e12


def _count_views() -> float:
    """One branch of one step: the reference leaves its tokens, and the sheet reads them."""
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
