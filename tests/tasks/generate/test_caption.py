"""The caption stage by networks: whose words count, and what of the settings does."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from models.captioning.blip import Blip
from models.captioning.florence import Florence
from models.data.records import Artifact, Record
from models.runtime.batching import InvalidOutput
from models.runtime.hardware import Machine
from tasks.engine.jobs import Job, StageInput, StageOutput
from tasks.engine.run_context import RunContext
from tasks.engine.stage import stage
from tasks.generate.caption import (
    Caption,
    CaptionBlip,
    CaptionFlorence,
    CaptionTemplate,
    caption,
)
from tasks.store.store import open_store
from tests.checkpoints import blip, florence

CPU = Machine(torch.device("cpu"), torch.float32)


class Nothing(Record):
    pass


@stage("photo", version=1, plan=lambda _, count: [
    Job((), {"n": at}, name=f"mug/{at}") for at in range(count)
])  # fmt: skip
def photo(inputs: Sequence[StageInput], parameters: Nothing) -> Any:
    """RGB + matte images."""
    for item in inputs:
        yield StageOutput(item.rng().integers(0, 255, (48, 64, 4), dtype=np.uint8))


@pytest.fixture
def run(tmp_path: Path) -> RunContext:
    return RunContext(open_store(tmp_path / "store"), "test")


@pytest.fixture
def photos(run: RunContext) -> list[Artifact]:
    return photo.run(run, Nothing(), 2)


def answering(monkeypatch: pytest.MonkeyPatch, *answers: Any) -> list[tuple[Any, ...]]:
    """Every call of `ask`, all of which get these answers, one per request."""
    calls: list[tuple[Any, ...]] = []

    def infer(kind: type, references: Sequence[str], requests: Sequence[Any]) -> list[Any]:
        calls.append((kind, *references, *requests))
        return list(answers[: len(requests)])

    monkeypatch.setattr("models.runtime.network_pool.infer", infer)
    return calls


def test_blip_is_led_by_the_class_and_its_words_are_cleaned(
    run: RunContext, photos: list[Artifact], monkeypatch: pytest.MonkeyPatch
) -> None:
    said = "a photo of an arafed cup on a table on a table"
    calls = answering(monkeypatch, said, "a photo of an old mug")
    parameters = CaptionBlip(num_beams=5, repetition_penalty=1.3)
    made = caption.run(run, parameters, photos, "old_mug", None)
    ((kind, checkpoint, *requests),) = calls
    assert kind is Blip
    assert (checkpoint,) == parameters.checkpoints == ("Salesforce/blip-image-captioning-large",)
    assert [one.prompt_prefix for one in requests] == ["a photo of an old mug"] * 2
    assert {(one.num_beams, one.repetition_penalty) for one in requests} == {(5, 1.3)}
    contents = [run.load(one) for one in made]
    assert contents[0]["caption"] == made[0].prompt == "old mug: a photo of a cup on a table"
    assert contents[1]["caption"] == "a photo of an old mug"
    assert contents[0]["negative_prompt"] == parameters.negative_prompt
    assert made[0].metadata == {"network_caption": said}


def test_a_plural_has_no_article_and_a_prefix_may_be_empty(
    run: RunContext, photos: list[Artifact], monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = answering(monkeypatch, "shoes", "shoes")
    caption.run(run, CaptionBlip(), photos[:1], "red-shoes", None)
    caption.run(run, CaptionBlip(prefix=""), photos[:1], "red-shoes", None)
    assert [call[2].prompt_prefix for call in calls] == ["a photo of red shoes", None]


def test_florence_is_asked_by_task(
    run: RunContext, photos: list[Artifact], monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = answering(monkeypatch, "A mug. It is on a table.", "A cup.")
    made = caption.run(run, CaptionFlorence(detailed=True), photos, "mug", None)
    ((kind, checkpoint, *requests),) = calls
    assert kind is Florence
    assert checkpoint == "florence-community/Florence-2-base"
    assert {one.task for one in requests} == {"<DETAILED_CAPTION>"}
    assert [one.prompt for one in made] == ["A mug. It is on a table", "mug: A cup"]


@pytest.mark.parametrize("parameters", [
    CaptionBlip(prompts={"mug": "my mug"}), CaptionBlip(),
])  # fmt: skip
def test_a_photo_s_own_sentence_comes_first_and_needs_no_network(
    parameters: Caption,
    run: RunContext,
    photos: list[Artifact],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(
        "models.runtime.network_pool.NetworkPool._network", lambda *_: pytest.fail("loaded")
    )
    prompt = None if parameters.prompts else "my mug"
    made = caption.run(run, parameters, photos, "mug", prompt)
    assert [one.prompt for one in made] == ["my mug"] * 2
    assert made[0].metadata == {}


def test_what_a_network_says_means_itself(
    run: RunContext, photos: list[Artifact], monkeypatch: pytest.MonkeyPatch
) -> None:
    answering(monkeypatch, "a mug with the words c + + ( red:1.3 )")
    (made,) = caption.run(run, CaptionBlip(), photos[:1], "mug", None)
    assert run.load(made) == {
        "caption": "a mug with the words c++ (red:1.3)",
        "prompt": r"a mug with the words c\+\+ \(red:1\.3\)",
        "negative_prompt": CaptionBlip().negative_prompt,
        "label": "mug",
    }


@pytest.mark.parametrize("parameters", [CaptionTemplate(), CaptionBlip()])
def test_a_person_s_own_sentence_keeps_its_weights(
    parameters: Caption, run: RunContext, photos: list[Artifact]
) -> None:
    own = r"a (red:1.3) mug++ \(1\) :)"
    (made,) = caption.run(run, parameters, photos[:1], "my_mug", own)
    words = run.load(made)
    assert words["prompt"] == r"a (red)1.3 mug++ \(1\) :\)"
    assert words["caption"] == made.prompt == "a red mug (1) :)"
    assert words["label"] == "my mug"


def test_an_unusable_result_is_a_rejection(
    run: RunContext, photos: list[Artifact], monkeypatch: pytest.MonkeyPatch
) -> None:
    answering(monkeypatch, InvalidOutput("the network gave no finite numbers"), "a mug")
    made = caption.run(run, CaptionBlip(), photos, "mug", None)
    assert [one.prompt for one in made] == ["a mug"]


def test_prompts_of_other_classes_are_no_part_of_the_key(photos: list[Artifact]) -> None:
    def key(parameters: Caption) -> str:
        return caption.key(Job((photos[0],), {"label": "mug", "own_prompt": ""}), parameters)

    assert key(CaptionTemplate()) == key(CaptionTemplate(prompts={"mug": "x"}))
    assert key(CaptionTemplate()) != key(CaptionTemplate(template="{label}"))
    assert key(CaptionBlip()) != key(CaptionBlip(num_beams=7))
    assert key(CaptionFlorence()) != key(CaptionFlorence(detailed=True))


@pytest.mark.parametrize("parameters", [
    CaptionBlip(max_new_tokens=8), CaptionFlorence(max_new_tokens=8),
])  # fmt: skip
def test_with_the_tiny_networks_end_to_end(
    parameters: Caption,
    run: RunContext,
    photos: list[Artifact],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    is_blip = isinstance(parameters, CaptionBlip)
    kind, build = (Blip, blip.build) if is_blip else (Florence, florence.build)
    build(tmp_path / "weights")
    network: Any = kind.load(tmp_path / "weights", machine=CPU)
    monkeypatch.setattr(
        "models.runtime.network_pool.infer",
        lambda _kind, _references, asked: list(network.compute(asked)),
    )
    made = caption.run(run, parameters, photos, "mug", None)
    assert len(made) == 2
    assert all("mug" in str(one.prompt) for one in made)
    again = RunContext(run.store, "again")
    assert caption.run(again, parameters, photos, "mug", None) == made
