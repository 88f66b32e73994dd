"""The safety checker at tiny size, in its published layouts, and the retries of flagged images."""

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
    return [rng.integers(0, 256, (40 + 8 * i, 64, 3), dtype=np.uint8) for i in range(count)]


@pytest.mark.parametrize(("threshold", "expected"), [(2.0, False), (-2.0, True)])
def test_flags_depend_on_the_threshold(tmp_path: Path, threshold: float, expected: bool) -> None:
    build_safety_checker(tmp_path, threshold)
    checker = SafetyChecker.load(tmp_path, machine=CPU)
    photos = images(3)
    copies = [photo.copy() for photo in photos]
    assert checker.flags(photos) == [expected] * 3
    assert all((photo == copy).all() for photo, copy in zip(photos, copies, strict=True))
    assert checker.flags([]) == []


def test_a_flag_does_not_depend_on_the_batch(tmp_path: Path) -> None:
    """Some threshold between the similarities flags some images and not others."""
    build_safety_checker(tmp_path)
    checker = SafetyChecker.load(tmp_path, machine=CPU)
    photos = [np.full((64, 64, 3), colour, np.uint8) for colour in
             ((255, 0, 0), (0, 0, 255), (0, 255, 0), (255, 255, 255), (0, 0, 0))]  # fmt: skip
    network = checker._network
    for threshold in np.linspace(0.2, 0.95, 16):
        torch.nn.init.constant_(network.concept_embeds_weights, float(threshold))
        flags = checker.flags(photos)
        if 0 < sum(flags) < len(flags):
            break
    assert 0 < sum(flags) < len(flags)
    assert [checker.flags([photo])[0] for photo in photos] == flags


def test_flags_images_without_finite_numbers(tmp_path: Path) -> None:
    build_safety_checker(tmp_path)
    checker = SafetyChecker.load(tmp_path, machine=CPU)
    with torch.no_grad():
        checker._network.visual_projection.weight.fill_(float("nan"))
    assert checker.flags(images(1)) == [True]


def test_loads_published_layouts(tmp_path: Path) -> None:
    """One layout is that of an SD 1.5 checkpoint, whose keys have ``vision_model.`` twice."""
    plain, nested = tmp_path / "plain", tmp_path / "sd15"
    build_safety_checker(plain)
    (nested / "safety_checker").mkdir(parents=True)
    (nested / "feature_extractor").mkdir()
    weights = load_file(plain / "model.safetensors")
    old = {
        name.replace("vision_model.", "vision_model." * 2): weight
        for name, weight in weights.items()
    }
    save_file(old, nested / "safety_checker" / "model.safetensors", metadata={"format": "pt"})
    for name, part in (
        ("config.json", "safety_checker"),
        ("preprocessor_config.json", "feature_extractor"),
    ):
        (nested / part / name).write_text((plain / name).read_text())
    first, second = (SafetyChecker.load(path, machine=CPU) for path in (plain, nested))
    expected, found = (checker.modules[0].state_dict() for checker in (first, second))
    assert all(torch.equal(weight, found[name]) for name, weight in expected.items())


def test_every_result_counts_its_retries() -> None:
    """Image 0 is flagged once, 1 always, 2 never; 3 is flagged once and then invalid."""
    flagged = {0: 1, 1: 9, 2: 0, 3: 1}

    def generate(indices: Sequence[int], attempt: int) -> list[Pixels | InvalidOutput]:
        return [
            InvalidOutput("no numbers")
            if (index, attempt) == (3, 1)
            else np.full((1, 1, 3), 255 * (attempt < flagged[index]), np.uint8)
            for index in indices
        ]

    def flags(photos: Sequence[Pixels]) -> list[bool]:
        return [bool(photo.any()) for photo in photos]

    results = list(generate_with_safety_check(generate, [3, 3, 3, 3], flags))
    assert [result.retries for result in results] == [1, 3, 0, 1]
    assert [isinstance(result, SafeImage) for result in results] == [True, False, True, False]
    assert results[1] == UnsafeImage("flagged as not safe for work 4 times", 3)
    assert results[3] == UnsafeImage("no numbers", 1)
    assert (
        list(generate_with_safety_check(generate, [0, 0], flags))
        == [UnsafeImage("flagged as not safe for work once", 0)] * 2
    )
    assert [result.retries for result in generate_with_safety_check(generate, [3, 3], None)] == [
        0,
        0,
    ]


def test_names_the_missing_file_of_a_folder(tmp_path: Path) -> None:
    build_safety_checker(tmp_path)
    (tmp_path / "preprocessor_config.json").unlink()
    with pytest.raises(WrongCheckpointError, match=r"no preprocessor_config\.json; fetch it again"):
        SafetyChecker.load(tmp_path, machine=CPU)
