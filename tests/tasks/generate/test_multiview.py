"""The multiview stage by Zero123++: one sheet per photo, and what becomes of its views."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from models.data.pixels import Pixels
from models.data.records import Artifact, Record
from models.runtime.batching import InvalidOutput
from models.runtime.hardware import Machine
from models.views.zero123plus.network import Zero123Plus, Zero123PlusRequest
from tasks.engine.jobs import Job, StageInput, StageOutput
from tasks.engine.run_context import RunContext
from tasks.engine.stage import stage
from tasks.generate.multiview import multiview
from tasks.settings.multiview import MultiviewRelief, MultiviewZero123Plus
from tasks.settings.segment import MASK_OF_PHOTO
from tasks.store.store import open_store
from tests.checkpoints.zero123plus import build

SMALL = MultiviewZero123Plus(steps=2, paint_size=64, size=64)
COLOURS = ((200, 40, 30), (30, 60, 190))


class Nothing(Record):
    """No settings."""


class Asked(list[list[Zero123PlusRequest]]):
    """The requests of each call of the network, in order."""

    references: tuple[str, ...] = ()
    answer: Any = None


@stage("photo", version=1, plan=lambda _, names: [Job((), {"n": at}, name=name)
                                                 for at, name in enumerate(names)])  # fmt: skip
def photos_of(inputs: Sequence[StageInput], parameters: Nothing) -> Any:
    """A coloured ball on a pale table, or only the table."""
    for item in inputs:
        rng = item.rng()
        image = rng.normal((225, 222, 215), 2, (150, 200, 3))
        if item.job.name != "mug/none":
            y, x = np.mgrid[:150, :200]
            ball = (x - 110) ** 2 + (y - 70) ** 2 < 45**2
            image[ball] = rng.normal(COLOURS[int(item.job.variant["n"]) % 2], 3, (ball.sum(), 3))
        yield StageOutput(np.clip(image, 0, 255).astype(np.uint8))


@pytest.fixture
def run(tmp_path: Path) -> RunContext:
    return RunContext(open_store(tmp_path / "store"), "test")


@pytest.fixture
def photos(run: RunContext) -> list[Artifact]:
    return photos_of.run(run, Nothing(), ["mug/red", "mug/blue"])


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Zero123Plus:
    folder = tmp_path_factory.mktemp("zero123plus")
    build(folder)
    return Zero123Plus.load(folder, machine=Machine(torch.device("cpu"), torch.float32))


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch, network: Zero123Plus) -> Asked:
    """What the stage asks the network for; the tiny network answers, or ``answer`` if set."""
    calls = Asked()

    def infer(kind: type, references: Sequence[str], requests: Sequence[Any]) -> list[Any]:
        assert kind is Zero123Plus
        calls.references = tuple(references)
        calls.append(list(requests))
        if calls.answer is not None:
            return [calls.answer] * len(requests)
        return list(network.compute(requests))

    monkeypatch.setattr("models.runtime.network_pool.infer", infer)
    return calls


def on_grey(colour: tuple[int, int, int], side: int = 64) -> Pixels:
    """A view with a disc of a colour."""
    y, x = np.mgrid[:side, :side] - (side - 1) / 2
    view = np.full((side, side, 3), 127, np.uint8)
    view[x**2 + y**2 < (side / 3) ** 2] = colour
    return view


def test_all_views_of_the_photos_come_from_one_call(
    run: RunContext, photos: list[Artifact], asked: Asked
) -> None:
    made = multiview.run(run, SMALL, photos)
    assert [len(requests) for requests in asked] == [2], "a sheet per photo, all in one call"
    assert asked.references == ("sudo-ai/zero123plus-v1.2",)
    assert [one.variant["view"] for one in made] == [*range(7), *range(7)]
    for one in made:
        view = run.load(one)
        assert view.shape == (64, 64, 4)
        assert 0 < view[..., 3].mean() < 255
    assert len({one.digest for one in made}) == 14


def test_views_say_where_their_camera_stood(
    run: RunContext, photos: list[Artifact], asked: Asked
) -> None:
    made = multiview.run(run, SMALL, photos[:1])
    assert made[0].metadata == {"azimuth": 0.0, "elevation": 0.0}
    assert [one.metadata["azimuth"] for one in made[1:]] == [30, 90, 150, 210, 270, 330]
    assert [one.metadata["elevation"] for one in made[1:]] == [20, -10] * 3


@pytest.mark.parametrize(
    ("settings", "elevation"),
    [
        ({"checkpoint": "sudo-ai/zero123plus-v1.1@abc"}, 30),
        ({"checkpoint": "sudo-ai/zero123plus-v1.2@v1.1"}, 20),
        ({"checkpoint": "acme/own-views"}, 20),
        ({"checkpoint": "acme/own-views", "version": "v1.1"}, 30),
        ({"version": "v1.1"}, 30),
    ],
)
def test_elevations_are_the_checkpoints(
    run: RunContext,
    photos: list[Artifact],
    asked: Asked,
    settings: dict[str, str],
    elevation: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("tasks.engine.publishing.licence_of", lambda _: "unknown")
    parameters = MultiviewZero123Plus.model_validate({**SMALL.model_dump(), **settings, "views": 1})
    made = multiview.run(run, parameters, photos[:1])
    assert made[1].metadata["elevation"] == elevation
    assert asked.references == parameters.checkpoints == (parameters.checkpoint,)


def test_views_of_two_runs_are_of_the_same_sheet(
    run: RunContext, photos: list[Artifact], asked: Asked, tmp_path: Path
) -> None:
    whole = multiview.run(run, SMALL, photos[:1])
    other = RunContext(open_store(tmp_path / "other"), "test")
    photos_of.run(other, Nothing(), ["mug/red", "mug/blue"])
    some = multiview.run(other, SMALL.model_copy(update={"views": 2}), photos[:1])
    rest = multiview.run(other, SMALL, photos[:1])
    seeds = {requests[0].seed for requests in asked}
    assert seeds == {int(photos[0].digest[:16], 16) >> 1} == {whole[1].metadata["sheet_seed"]}
    assert [one.digest for one in some] == [one.digest for one in whole[:3]]
    assert [one.digest for one in rest] == [one.digest for one in whole]


def test_the_network_is_asked_for_no_view_that_is_there(
    run: RunContext, photos: list[Artifact], asked: Asked
) -> None:
    multiview.run(run, SMALL, photos[:1])
    multiview.run(run, SMALL, photos)
    assert [len(requests) for requests in asked] == [1, 1]
    assert asked[0][0].seed != asked[1][0].seed


def test_the_original_alone_needs_no_sheet(
    run: RunContext, photos: list[Artifact], asked: Asked
) -> None:
    multiview.run(run, SMALL.model_copy(update={"views": 0}), photos)
    assert asked == []


def test_the_original_is_the_same_with_both_models(
    run: RunContext, photos: list[Artifact], asked: Asked
) -> None:
    relief = multiview.run(run, MultiviewRelief(size=64, views=0), photos)
    painted = multiview.run(run, SMALL, photos)
    assert [one.digest for one in relief] == [painted[0].digest, painted[7].digest]


def test_the_network_sees_the_object_centred_on_grey(
    run: RunContext, photos: list[Artifact], asked: Asked
) -> None:
    multiview.run(run, SMALL, photos[:1])
    image = asked[0][0].image
    side = image.shape[0]
    assert image.shape == (side, side, 3)
    assert np.abs(image[:3, :3].astype(int) - 127).max() <= 1
    inside = np.abs(image.astype(int) - 127).max(axis=2) > 20
    rows, columns = (np.flatnonzero(inside.any(axis=axis)) for axis in (1, 0))
    for places in (rows, columns):
        assert 0.9 * side <= places[-1] - places[0] + 1 <= side
    centre = image[side // 2 - 5 : side // 2 + 5, side // 2 - 5 : side // 2 + 5].mean(axis=(0, 1))
    assert np.abs(centre - COLOURS[0]).max() < 6


def test_the_background_may_stay(run: RunContext, photos: list[Artifact], asked: Asked) -> None:
    multiview.run(run, SMALL.model_copy(update={"remove_background": False}), photos[:1])
    image = asked[0][0].image
    assert image.shape == (512, 512, 3)
    assert np.abs(image[256, 10].astype(int) - (225, 222, 215)).max() < 15


def test_a_view_is_cut_out_of_its_grey_and_resized(
    run: RunContext, photos: list[Artifact], asked: Asked
) -> None:
    asked.answer = np.stack([on_grey((210, 180, 20))] * 6)
    made = multiview.run(run, SMALL.model_copy(update={"size": 96}), photos[:1])
    view = run.load(made[3])
    expected = np.pi * 32**2 / 96**2
    assert view.shape == (96, 96, 4)
    assert (view[..., 3] >= 128).mean() == pytest.approx(expected, rel=0.05)
    assert np.abs(view[48, 48].astype(int) - (210, 180, 20, 255)).max() <= 2


def test_a_view_without_object_is_rejected_and_the_others_stay(
    run: RunContext, photos: list[Artifact], asked: Asked
) -> None:
    views = [on_grey((210, 180, 20))] * 6
    views[2] = np.full((64, 64, 3), 127, np.uint8)
    asked.answer = np.stack(views)
    made = multiview.run(run, SMALL, photos[:1])
    assert [one.variant["view"] for one in made] == [0, 1, 2, 4, 5, 6]
    (lost,) = [one for one in run.made.values() if one.reject_reason]
    assert lost.variant["view"] == 3
    assert lost.reject_reason == "no object found: the view is all grey background"


def test_what_the_network_could_not_compute_is_rejected(
    run: RunContext, photos: list[Artifact], asked: Asked
) -> None:
    asked.answer = InvalidOutput("the network gave no finite numbers")
    made = multiview.run(run, SMALL, photos[:1])
    assert [one.variant["view"] for one in made] == [0]
    reasons = {one.reject_reason for one in run.made.values() if one.reject_reason}
    assert reasons == {"the network gave no finite numbers"}


def test_a_photo_without_object_is_rejected_and_not_asked_for(
    run: RunContext, asked: Asked
) -> None:
    empty = photos_of.run(run, Nothing(), ["mug/none"])
    assert multiview.run(run, SMALL, empty) == []
    assert asked == []
    reasons = {one.reject_reason for one in run.made.values() if one.stage == "multiview"}
    assert len(reasons) == 1
    assert "no object" in str(reasons.pop())


def test_the_number_of_views_is_no_part_of_a_key(photos: list[Artifact]) -> None:
    job = Job((photos[0],), {"view": 1})
    fewer = SMALL.model_copy(update={"views": 3})
    other = SMALL.model_copy(update={"steps": 3})
    assert multiview.key(job, SMALL) == multiview.key(job, fewer)
    assert multiview.key(job, SMALL) != multiview.key(job, other)


def test_a_cut_out_keeps_its_mask_and_painted_views_have_found_ones(
    run: RunContext, photos: list[Artifact], asked: Asked
) -> None:
    (opaque,) = multiview(run, SMALL.model_copy(update={"views": 0}), photos[:1])
    cut_out = opaque.model_copy(update={"variant": MASK_OF_PHOTO})
    original, turned = multiview(run, MultiviewRelief(views=1, size=64), [cut_out])
    assert original.variant == {**MASK_OF_PHOTO, "view": 0}
    assert turned.variant == {**MASK_OF_PHOTO, "view": 1}
    original, painted = multiview(run, SMALL.model_copy(update={"views": 1}), [cut_out])
    assert original.variant["mask"] == MASK_OF_PHOTO["mask"]
    assert painted.variant["mask"] == "found"
