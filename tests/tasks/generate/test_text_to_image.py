"""The text-to-image stage: prompts of a class, n images, and images that stay flagged."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models.diffusion.safety import SafeImage, UnsafeImage
from models.diffusion.sd15.text_to_image import Sd15TextToImage
from models.diffusion.sdxl.text_to_image import SdxlTextToImage
from tasks.engine.run_context import RunContext
from tasks.generate.text_to_image import text_to_image
from tasks.settings.text_to_image import TextToImageSd15, TextToImageSdxl
from tasks.store.store import open_store

Calls = list[tuple[Any, tuple[str, ...], list[Any]]]


@pytest.fixture
def run(tmp_path: Path) -> RunContext:
    return RunContext(open_store(tmp_path / "store"), "test")


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Calls:
    """What networks are asked; each gives an image of the request's seed after one redraw."""
    calls: Calls = []

    def infer(kind: type, references: Sequence[str], requests: Sequence[Any]) -> list[Any]:
        calls.append((kind, tuple(references), list(requests)))
        return [SafeImage(np.full((64, 64, 3), one.seed % 256, np.uint8), 1) for one in requests]

    monkeypatch.setattr("models.runtime.network_pool.infer", infer)
    return calls


def test_a_class_becomes_n_images_with_the_prompts_of_the_fruit_study(
    run: RunContext, calls: Calls
) -> None:
    settings = TextToImageSd15(n_images=3)
    made = text_to_image.run(run, settings, "dragon_fruit")
    ((kind, checkpoints, requests),) = calls
    assert (kind, checkpoints) == (Sd15TextToImage, settings.checkpoints)
    assert checkpoints[1] == "CompVis/stable-diffusion-safety-checker"
    prompt = "a photo of whole dragon fruit on the table. top view"
    assert {(one.prompt, one.negative) for one in requests} == {(prompt, "sliced, halved, cut")}
    assert {(one.steps, one.guidance_scale, one.width) for one in requests} == {(50, 7.5, 512)}
    assert len({one.seed for one in requests}) == 3
    assert [one.variant["image"] for one in made] == [0, 1, 2]
    assert {one.name for one in made} == {"dragon_fruit/text_to_image"}
    assert {(one.prompt, one.metadata["negative"], one.metadata["retries"]) for one in made} == {
        (prompt, "sliced, halved, cut", 1)
    }
    assert run.counts["text_to_image"].safety_retries == 3
    more = text_to_image.run(run, TextToImageSd15(n_images=5), "dragon_fruit")
    assert [one.id for one in more[:3]] == [one.id for one in made]
    assert len(calls[1][2]) == 2, "more images keep those that are there"


def test_prompts_of_one_class_change_no_other(run: RunContext, calls: Calls) -> None:
    plain = TextToImageSd15(n_images=2)
    own = TextToImageSd15(
        n_images=2,
        prompts={"apple": ("{a}{label} (in red:1.2)",)},
        negative_prompts={"apple": "green"},
    )
    kiwis = text_to_image.run(run, plain, "kiwi")
    assert text_to_image.run(run, own, "kiwi") == kiwis
    text_to_image.run(run, own, "apple")
    assert {(one.prompt, one.negative) for one in calls[-1][2]} == {("an apple in red", "green")}


def test_sdxl_reads_weights_and_a_class_name_as_words(run: RunContext, calls: Calls) -> None:
    settings = TextToImageSdxl(n_images=1, templates=("(a photo:1.3) of {label}",))
    text_to_image.run(run, settings, "c++")
    ((kind, checkpoints, (request,)),) = calls
    assert kind is SdxlTextToImage
    assert checkpoints == settings.checkpoints
    assert request.prompt == r"(a photo)1.3 of c\+\+"


def test_every_template_is_drawn_and_a_new_one_moves_few_images() -> None:
    texts = tuple(f"{{label}} {number}" for number in range(4))
    before = TextToImageSd15(templates=texts[:3])
    after = TextToImageSd15(templates=texts)
    drawn = [
        (before.texts_of("kiwi", at)["prompt"], after.texts_of("kiwi", at)["prompt"])
        for at in range(200)
    ]
    assert {first for first, _ in drawn} == {"kiwi 0", "kiwi 1", "kiwi 2"}
    assert {second for first, second in drawn if first != second} == {"kiwi 3"}
    counts = [sum(second == f"kiwi {number}" for _, second in drawn) for number in range(4)]
    assert min(counts) > 25


def test_images_that_stay_flagged_are_rejected_with_the_reason(
    run: RunContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    reason = "flagged as not safe for work 3 times"
    monkeypatch.setattr(
        "models.runtime.network_pool.infer",
        lambda _kind, _references, requests: [UnsafeImage(reason, 2) for _ in requests],
    )
    assert text_to_image.run(run, TextToImageSd15(n_images=2, nsfw_retries=2), "kiwi") == []
    assert {one.reject_reason for one in run.made.values()} == {reason}
    assert run.counts["text_to_image"].safety_retries == 4
