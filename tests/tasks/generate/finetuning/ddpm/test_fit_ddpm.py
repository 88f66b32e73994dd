"""The trainings of diffusion models: keys, resuming, what they leave, and errors."""

import contextlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from models.data.pixels import Floats, Pixels
from models.data.records import Artifact, SourceImage
from models.diffusion.ddpm.generator import Ddpm, DrawRequest
from models.runtime.hardware import Machine
from tasks.engine.run_context import RunContext
from tasks.generate.finetuning.ddpm.fit_ddpm import fit_ddpm, one_network
from tasks.generate.finetuning.ddpm.fit_size_classifier import fit_size_classifier
from tasks.generate.finetuning.ddpm.object_square import object_squares
from tasks.generate.finetuning.ddpm.pretrain_ddpm import pretrain_ddpm
from tasks.generate.finetuning.scratch import remove_states
from tests.tasks.generate.finetuning.ddpm.scenes import (
    ADAPTERS,
    BASE,
    CLASSIFIER,
    FIT,
    SQUARES,
    open_run,
    scene,
    scenes,
)

CPU = Machine(torch.device("cpu"), torch.float32)


@pytest.fixture(autouse=True)
def fast_features(monkeypatch: pytest.MonkeyPatch) -> None:
    """Features are a few px: the embedded backbone has its own tests."""

    def embed(images: Sequence[Pixels], **_: Any) -> Floats:
        return np.stack([image[::8, ::8].reshape(-1) for image in images]).astype(np.float32)

    monkeypatch.setattr("models.embedding.backbone.embed", embed)
    # Between trainings it only frees memory.
    monkeypatch.setattr("models.runtime.network_pool.device_alone", contextlib.nullcontext)


def learn(
    run: RunContext, photos: Sequence[SourceImage], label: str = "car", fit: Any = FIT
) -> list[Artifact]:
    """The base, the fitted weights and the size classifier of a class."""
    squares = object_squares.run(run, SQUARES, label, photos)
    base = pretrain_ddpm.run(run, BASE, photos, ())
    fitted = fit_ddpm.run(run, fit, base, squares, label)
    return base + fitted + fit_size_classifier.run(run, CLASSIFIER, squares, label)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[RunContext, list[Artifact]]:
    """A run that learned the class "car"."""
    run = open_run(tmp_path_factory.mktemp("whole"))
    with pytest.MonkeyPatch.context() as patch:
        fast_features.__wrapped__(patch)  # type: ignore[attr-defined]
        return run, learn(run, scenes(run))


def test_what_is_fitted_draws_images(whole: tuple[RunContext, list[Artifact]]) -> None:
    run, (base, fitted, classifier) = whole
    assert (fitted.name, fitted.variant) == (
        "car/fit_ddpm",
        {"label": "car", "squares": 2, "small": 0},
    )
    assert len(fitted.metadata["losses"]) == 4
    assert [row["step"] for row in fitted.metadata["evaluations"]] == [2, 4]
    assert classifier.metadata["sizes"] == [[4, 2]]
    files = [run.fetch(artifact) for artifact in (base, fitted, classifier)]
    request = DrawRequest(seed=0, spacing="3", size_class=4)
    (image,) = Ddpm.load(*files, machine=CPU).compute([request])
    (untuned,) = Ddpm.load(files[0], files[2], machine=CPU).compute([request])
    assert isinstance(image, np.ndarray)
    assert image.shape == (16, 16, 3)
    assert not np.array_equal(image, untuned)


def test_only_the_class_of_a_changed_photo_is_learned_again(
    whole: tuple[RunContext, list[Artifact]],
) -> None:
    before, made = whole
    run = open_run(before.scratch.parent)
    photos = [scene(run, 0, {"car": (30, 20, 12, 10), "bus": (2, 40, 20, 16)}), scenes(run)[1]]
    moved = [photo.model_copy(update={"name": f"other/{photo.name}"}) for photo in photos[::-1]]
    assert learn(run, moved) == made
    assert not run.fresh
    # Its squares are other ones, and its photos are the same: the base is.
    _, bus, _ = learn(run, photos, "bus")
    stages = {artifact_id.partition("/")[0] for artifact_id in run.fresh}
    assert stages == {"object_square", "fit_ddpm", "fit_size_classifier"}
    assert bus.variant["label"] == "bus"


def test_cancelled_trainings_continue_and_give_the_same_weights(
    whole: tuple[RunContext, list[Artifact]], tmp_path: Path
) -> None:
    steps: dict[str, list[int]] = {
        "pretrain_ddpm · base": [],
        "fit_ddpm · car": [],
        "fit_size_classifier · car": [],
    }

    def on_batch(stage: str, done: int, _total: int) -> None:
        if stage in steps:
            steps[stage].append(done)

    def is_cut_in(stage: str) -> Callable[[], bool]:
        return lambda: len(steps[stage]) == 3

    for stage in steps:
        killed = open_run(tmp_path, on_batch=on_batch, is_cancelled=is_cut_in(stage))
        with pytest.raises(KeyboardInterrupt):
            learn(killed, scenes(killed))
    resumed = open_run(tmp_path, on_batch=on_batch)
    made = learn(resumed, scenes(resumed))
    assert set(map(tuple, steps.values())) == {(1, 2, 3, 3, 4)}
    for again, first in zip(made, whole[1], strict=True):
        assert (again.key, again.digest) == (first.key, first.digest)
        assert again.metadata == first.metadata
    check_what_is_left(resumed, made)


def check_what_is_left(run: RunContext, made: Sequence[Artifact]) -> None:
    """Losses and sample sheets stay; states of trainings are removed."""
    remove_states(run, made)
    (folder,) = (run.scratch / "fit_ddpm").iterdir()
    assert folder.name.endswith(made[1].key[:12])
    left = {"losses.csv", "losses.svg", "evaluations.json"}
    assert {file.name for file in folder.iterdir()} == left | {
        "samples-000002.png",
        "samples-000004.png",
    }
    assert not [file for file in run.scratch.rglob("*") if file.suffix in (".pt", ".safetensors")]


def test_small_objects_come_first_and_are_drawn_more_often(tmp_path: Path) -> None:
    run = open_run(tmp_path)
    often = FIT.model_copy(update={"small_side": 0.44, "repeat_small": 3})
    squares = object_squares.run(run, SQUARES, "car", scenes(run))
    for order in (squares, squares[::-1]):
        (job,) = one_network(often, [], order, "car")
        assert job.variant["small"] == 1
        # 8.0 and 6.67 px wide and high, or 5.71 and 8.0.
        assert job.inputs[0].metadata["box"] == [0.0, 0.0, 5.71, 8.0]


def test_images_follow_edges_or_masks(whole: tuple[RunContext, list[Artifact]]) -> None:
    run = open_run(whole[0].scratch.parent)
    photos = scenes(run)
    edges = ADAPTERS.model_copy(update={"condition": "edges", "steps": 1})
    squares = object_squares.run(run, SQUARES, "car", photos)
    base = pretrain_ddpm.run(run, BASE, photos, ())
    (fitted,) = fit_ddpm.run(run, edges, base, squares, "car")
    network = Ddpm.load(run.fetch(base[0]), run.fetch(fitted), machine=CPU).network
    assert network.adaptation.condition_channels == 1
    assert network.adaptation.trains == "attention"
    masks = edges.model_copy(update={"condition": "masks"})
    with pytest.raises(ValueError, match="masks, but 2 of 2 objects of class 'car' have none"):
        fit_ddpm.run(run, masks, base, squares, "car")


def test_a_class_without_squares_is_named() -> None:
    with pytest.raises(ValueError, match="class 'car': no object of it can be learned from"):
        one_network(FIT, [], [], "car")


def test_saving_is_not_part_of_the_key(whole: tuple[RunContext, list[Artifact]]) -> None:
    run, _ = whole
    squares = object_squares.run(run, SQUARES, "car", scenes(run))
    (job,) = one_network(FIT, [], squares, "car")
    rarely, faster = (
        FIT.model_copy(update=change)
        for change in ({"save_every": 9, "recompute": True}, {"learning_rate": 0.5})
    )
    assert fit_ddpm.key(job, rarely) == fit_ddpm.key(job, FIT)
    assert fit_ddpm.key(job, faster) != fit_ddpm.key(job, FIT)
