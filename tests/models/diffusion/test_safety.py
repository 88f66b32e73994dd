"""The safety checker at tiny size, in the layouts in which it is published."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from models.data.pixels import Pixels
from models.diffusion.safety import (
    SafeImage,
    SafetyChecker,
    UnsafeImage,
    generate_with_safety_check,
)
from models.runtime.batching import InvalidOutput
from models.runtime.hardware import Machine
from models.runtime.loading import WrongCheckpointError
from tests.checkpoints.sdxl import build_safety_checker

pytest.importorskip("diffusers")
CPU = Machine(torch.device("cpu"), torch.float32, batch=2)


def images(count: int) -> list[np.ndarray[tuple[int, ...], np.dtype[np.uint8]]]:
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (40 + 8 * at, 64, 3), dtype=np.uint8) for at in range(count)]


@pytest.mark.parametrize(("threshold", "expected"), [(2.0, False), (-2.0, True)])
def test_flags_follow_the_threshold(tmp_path: Path, threshold: float, expected: bool) -> None:
    build_safety_checker(tmp_path, threshold)
    checker = SafetyChecker.load(tmp_path, machine=CPU)
    given = images(3)
    before = [one.copy() for one in given]
    assert checker.flags(given) == [expected] * 3
    assert all((one == other).all() for one, other in zip(given, before, strict=True))
    assert checker.flags([]) == []


def test_flags_follow_the_image_alone_and_in_company(tmp_path: Path) -> None:
    """With a threshold among the similarities, some images are flagged and some are not."""
    build_safety_checker(tmp_path)
    checker = SafetyChecker.load(tmp_path, machine=CPU)
    given = [np.full((64, 64, 3), colour, np.uint8) for colour in
             ((255, 0, 0), (0, 0, 255), (0, 255, 0), (255, 255, 255), (0, 0, 0))]  # fmt: skip
    network = checker._network
    for threshold in np.linspace(0.2, 0.95, 16):
        torch.nn.init.constant_(network.concept_embeds_weights, float(threshold))
        flags = checker.flags(given)
        if 0 < sum(flags) < len(flags):
            break
    assert 0 < sum(flags) < len(flags)
    assert [checker.flags([one])[0] for one in given] == flags


def test_images_without_finite_numbers_are_flagged(tmp_path: Path) -> None:
    build_safety_checker(tmp_path)
    checker = SafetyChecker.load(tmp_path, machine=CPU)
    with torch.no_grad():
        checker._network.visual_projection.weight.fill_(float("nan"))
    assert checker.flags(images(1)) == [True]


def test_published_layouts_load(tmp_path: Path) -> None:
    """Keys with ``vision_model.`` twice, as older libraries wrote them, in the folders of an SD 1.5
    checkpoint."""
    plain, nested = tmp_path / "plain", tmp_path / "sd15"
    build_safety_checker(plain)
    (nested / "safety_checker").mkdir(parents=True)
    (nested / "feature_extractor").mkdir()
    weights = load_file(plain / "model.safetensors")
    old = {name.replace("vision_model.", "vision_model." * 2): one for name, one in weights.items()}
    save_file(old, nested / "safety_checker" / "model.safetensors", metadata={"format": "pt"})
    for name, part in (
        ("config.json", "safety_checker"),
        ("preprocessor_config.json", "feature_extractor"),
    ):
        (nested / part / name).write_text((plain / name).read_text())
    first, second = (SafetyChecker.load(one, machine=CPU) for one in (plain, nested))
    theirs = second.modules[0].state_dict()
    assert all(
        torch.equal(one, theirs[name]) for name, one in first.modules[0].state_dict().items()
    )


def test_every_outcome_tells_how_often_it_was_drawn_anew() -> None:
    """Place 0 is flagged once, 1 always, 2 never; 3 is flagged, and then gives no numbers."""
    flagged = {0: 1, 1: 9, 2: 0, 3: 1}

    def draw(places: Sequence[int], attempt: int) -> list[Pixels | InvalidOutput]:
        return [
            InvalidOutput("no numbers")
            if (at, attempt) == (3, 1)
            else np.full((1, 1, 3), 255 * (attempt < flagged[at]), np.uint8)
            for at in places
        ]

    def flags(shown: Sequence[Pixels]) -> list[bool]:
        return [bool(one.any()) for one in shown]

    results = list(generate_with_safety_check(draw, [3, 3, 3, 3], flags))
    assert [one.retries for one in results] == [1, 3, 0, 1]
    assert [isinstance(one, SafeImage) for one in results] == [True, False, True, False]
    assert results[1] == UnsafeImage("flagged as not safe for work 4 times", 3)
    assert results[3] == UnsafeImage("no numbers", 1)
    assert (
        list(generate_with_safety_check(draw, [0, 0], flags))
        == [UnsafeImage("flagged as not safe for work once", 0)] * 2
    )
    assert [one.retries for one in generate_with_safety_check(draw, [3, 3], None)] == [0, 0]


def test_a_folder_without_it_is_one_line(tmp_path: Path) -> None:
    build_safety_checker(tmp_path)
    (tmp_path / "preprocessor_config.json").unlink()
    with pytest.raises(WrongCheckpointError, match=r"no preprocessor_config\.json; fetch it again"):
        SafetyChecker.load(tmp_path, machine=CPU)
