"""The benchmarks measure what they name, at small sizes; no test checks a speed."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks import codecs, many, memory, overhead, stages
from benchmarks.machine import descendants, machine, table, tree_cpu_s
from benchmarks.photos import draw_photo, ingest_photo, make_samples_of
from benchmarks.replay import STAGES, Contents, replay
from flows.config.recipe import Recipe, load_recipe
from flows.planning import make_plan
from tasks.engine.run_context import RunContext
from tasks.store.store import open_store
from tests.tiny import RECIPE

# 3 views, 1 copy, 1 background, 2 x 2 shifts.
IMAGES = 12
pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").is_file(), reason="needs /proc")


@pytest.fixture
def recipe(tmp_path: Path) -> Recipe:
    path = tmp_path / "tiny.yaml"
    path.write_text(RECIPE)
    return load_recipe(path)


@pytest.fixture(scope="module")
def photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_photo(tmp_path_factory.mktemp("photos"), "mug", 3, (96, 72))


def test_costs_of_every_stage_are_measured(recipe: Recipe, photo: Path, tmp_path: Path) -> None:
    measured = stages.measure(recipe, [photo], tmp_path / "stores", repeats=2)
    assert {cost.stage for cost in measured.stages} == set(STAGES)
    assert measured.images == IMAGES
    by_name = {cost.stage: cost for cost in measured.stages}
    assert by_name["outpaint"].artifacts == IMAGES
    assert by_name["outpaint"].megapixels == pytest.approx(measured.images * 80 * 80 / 1e6)
    assert by_name["outpaint"].size > 0
    assert 0 < sum(cost.total_s for cost in measured.stages) <= 2 * measured.cpu_s
    assert measured.pillow_s > 0


def test_constants_of_the_plan_are_a_line_through_two_sizes() -> None:
    def measured(megapixels: float, cpu_s: float) -> stages.Measured:
        cost = stages.StageCost("depth", 10, 10 * megapixels, 0, {"compute": 10 * cpu_s})
        return stages.Measured(10, [cost], 1.0, 1.0)

    fixed, per_megapixel = stages.constants(measured(2.0, 0.110), measured(0.5, 0.035))["depth"]
    assert (fixed, per_megapixel) == (pytest.approx(10), pytest.approx(50))


def test_replay_computes_the_artifacts_of_the_run(
    recipe: Recipe, photo: Path, tmp_path: Path
) -> None:
    store = open_store(tmp_path / "store")
    source, shared = ingest_photo(RunContext(store, "ingest"), photo)
    run = RunContext(store, source.name)
    make_samples_of(run, recipe, source, shared)
    inputs = (source.image, *shared.heldout)
    contents = Contents((artifact.id, run.load(artifact)) for artifact in inputs)
    replay({artifact.id: artifact for artifact in inputs} | run.made, contents)
    other = RunContext(store, "other")
    for artifact in run.made.values():
        if artifact.reject_reason is None and artifact.media == "png":
            np.testing.assert_array_equal(contents[artifact.id], other.load(artifact))
    jpegs = [artifact for artifact in run.made.values() if artifact.media == "jpg"]
    assert jpegs
    assert all(store.read(jpeg) == contents[jpeg.id] for jpeg in jpegs)


def test_overhead_measures_every_part(recipe: Recipe, photo: Path, tmp_path: Path) -> None:
    costs = overhead.measure(recipe, photo, tmp_path, repeats=1)
    assert costs.images == IMAGES
    assert costs.models_s == min(costs.loop_s, costs.computing_s) > 0
    assert costs.codec_s > 0


def test_codecs_include_those_of_synthset_and_pillow() -> None:
    rng = np.random.default_rng(0)
    image = rng.integers(0, 255, (24, 32, 4), dtype=np.uint8)
    by_name = {codec.name: codec for codec in codecs.measure([image], repeats=1)}
    assert {codecs.SYNTHSET, codecs.PILLOW} <= set(by_name)
    assert by_name["PNG of zlib 0 (no compression)"].size_mb > 4


def test_a_lossy_codec_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    lossy = ("lossy", lambda image: bytes(image[..., 0].tobytes()), lambda blob: np.zeros((4, 4)))
    monkeypatch.setattr(codecs, "_codecs", lambda: iter([lossy]))
    with pytest.raises(RuntimeError, match="lossy changed pixels"):
        codecs.measure([np.ones((4, 4, 4), np.uint8)], repeats=1)


def test_the_recipe_of_many_gives_the_wanted_number_of_images(tmp_path: Path) -> None:
    many.prepare(tmp_path, photos_per_class=6)
    recipe = load_recipe(tmp_path / "many.yaml")
    plan = make_plan(recipe, tmp_path / "photos", limit=5)
    assert plan.images_per_photo == {"multiview": many.PER_PHOTO}
    assert recipe.train is None
    assert len(list((tmp_path / "backgrounds").iterdir())) == len(many.SCENES)
    assert plan.images == memory.IMAGES[0]


def test_slope_mb_is_memory_per_1000_images() -> None:
    runs = [
        many.RunFigures(images, 0, 1.0, 1.0, 100 + images / 100, 0.0) for images in (1000, 3000)
    ]
    assert memory.slope_mb(runs) == pytest.approx(10)


def test_every_stage_has_a_cost_for_the_plan() -> None:
    free = {name for name, stage in STAGES.items() if not stage.cost.ms + stage.cost.ms_per_mp}
    assert free <= {"screen"}
    weightless = {name for name, stage in STAGES.items() if not stage.cost.mb_per_mp}
    assert weightless <= {"caption", "measure", "screen"}


def test_cpu_time_counts_children() -> None:
    before = tree_cpu_s()
    subprocess.run([sys.executable, "-c", "sum(range(10_000_000))"], check=True)
    assert tree_cpu_s() - before >= 0.05
    with subprocess.Popen(["sleep", "9"]) as child:
        assert child.pid in descendants(os.getpid())
        child.kill()


def test_machine_and_table_are_formatted() -> None:
    assert "Python" in machine()
    assert "opencv-python-headless" in machine()
    assert table(["stage", "s"], [["a", 1.234], ["bb", 123.4]]).splitlines() == [
        "| stage |    s |",
        "| ----- | ---: |",
        "| a     | 1.23 |",
        "| bb    |  123 |",
    ]


def test_an_unknown_name_is_bad_input() -> None:
    command = [sys.executable, "-m", "benchmarks", "speed"]
    completed = subprocess.run(command, capture_output=True, text=True)
    assert completed.returncode == 2
    assert "no benchmark speed; choose from codecs, stages" in completed.stderr
