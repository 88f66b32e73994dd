"""One reference photo through all stages, on a rendered scene whose truth is known."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from flows.config.recipe import Recipe, load_recipe
from flows.finish import Finish
from flows.generate_item import generate_item
from flows.generators.catalog import find_generator
from flows.items import make_items
from models.data.pixels import decode, encode_png
from models.data.records import SourceImage
from models.data.splits.splitting import SplitParameters
from tasks.engine.item_documents import load_record, save_items
from tasks.engine.run_context import RunContext
from tasks.engine.work_items import GenerationRecord, ItemConfig, Result, SharedInputs, WorkItem
from tasks.ingest.photos import ingest_photos
from tasks.ingest.read_files import Ingest
from tasks.screen.heldout_index import HeldOut, index_heldout
from tasks.store.layout import digest_of
from tasks.store.store import Store, open_store
from tests.demo_scenes.render import render

pytestmark = pytest.mark.usefixtures("prefect_server")
SMALL = [
    "profile=classical",
    "generators.multiview.upscale.factor=1",
    "generators.multiview.multiview.size=96",
    "generators.multiview.upscale_views.factor=2",
    "generators.multiview.augment.n_augmentations=2",
    "generators.multiview.background.n_backgrounds=2",
    "generators.multiview.background.width=128",
    "generators.multiview.background.height=160",
    "generators.multiview.outpaint.grid_size=2",
    "generators.multiview.outpaint.max_shift=0.06",
    "resize.longest_side=96",
]
PHOTOS = (
    ("train", "car", 1),
    ("train", "mug", 2),
    ("train", "mug", 3),
    ("train", "car", 4),
    ("val", "car", 5),
    ("val", "mug", 6),
    ("test", "car", 7),
    ("test", "mug", 8),
)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    for split, label, seed in PHOTOS:
        path = folder / split / label / f"{seed}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        domain = "test" if split == "test" else "train"
        path.write_bytes(encode_png(render(label, seed, size=(160, 120), domain=domain).pixels))
    return folder


class Run:
    """A store with the photos in it, and work items that are run on demand."""

    def __init__(self, folder: Path, photos: Path) -> None:
        self.store: Store = open_store(folder)
        context = RunContext(self.store, "ingest")
        self.sources = ingest_photos(context, photos, Ingest(), SplitParameters())
        heldout = [source.image for source in self.sources.of("val", "test")]
        self.shared = SharedInputs(heldout=tuple(index_heldout(context, HeldOut(), heldout)))

    def reference(self, name: str) -> SourceImage:
        return next(source for source in self.sources.images if source.name == name)

    def item(
        self, recipe: Recipe, reference: SourceImage, shared: SharedInputs | None = None
    ) -> WorkItem:
        """The work item of a reference, written to the store with its settings."""
        generator = find_generator("multiview")
        settings = recipe.generators["multiview"]
        config = ItemConfig(
            settings=settings.model_dump(mode="json"),
            finish=Finish(screen=recipe.screen, resize=recipe.resize).model_dump(mode="json"),
            shared=shared or self.shared,
        )
        (item,) = make_items(generator, generator.phases[0], settings, [reference], {}, config)
        save_items(self.store, [item], config)
        return item

    def generate(
        self, recipe: Recipe, reference: SourceImage, shared: SharedInputs | None = None
    ) -> tuple[Result, GenerationRecord]:
        item = self.item(recipe, reference, shared)
        result = generate_item(item.name, item.phase, self.store.url, item.key)
        record = load_record(self.store, item.key)
        assert record is not None
        return result, record


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, photos: Path) -> Run:
    return Run(tmp_path_factory.mktemp("store"), photos)


@pytest.fixture(scope="module")
def recipe() -> Recipe:
    return load_recipe("multiview", SMALL)


@pytest.fixture(scope="module")
def mug(prefect_server: None, run: Run, recipe: Recipe) -> tuple[Result, GenerationRecord]:
    return run.generate(recipe, run.reference("mug/2"))


def test_one_photo_gives_7_t_c_k_squared_images(mug: tuple[Result, GenerationRecord]) -> None:
    result, record = mug
    assert result.made == 7 * 2 * 2 * 4
    assert len(record.samples) == result.made
    counts = Counter(artifact.stage for artifact in record.artifacts)
    assert counts["multiview"] == 7
    assert counts["augment"] == counts["segment"] == counts["depth"] == 14
    assert counts["masked_depth"] == 14
    assert (counts["background"], counts["outpaint"]) == (28, 112)
    assert counts["resize"] == counts["annotate"] == result.accepted


def test_most_images_are_accepted_and_the_others_have_a_reason(
    mug: tuple[Result, GenerationRecord],
) -> None:
    result, record = mug
    assert result.accepted > 0.8 * result.made
    assert sum(sample.is_accepted for sample in record.samples) == result.accepted
    for sample in record.samples:
        assert (sample.reject_reason is None) == sample.is_accepted
        assert "heldout_bits" in sample.scores


def test_mask_and_box_lie_on_the_object(run: Run, mug: tuple[Result, GenerationRecord]) -> None:
    for sample in [sample for sample in mug[1].samples if sample.is_accepted][::9]:
        (note,) = sample.annotations
        assert note.mask is not None
        assert note.box is not None
        image, mask = (decode(run.store.read(found)) for found in (sample.image, note.mask))
        assert image.shape[:2] == mask.shape
        assert set(np.unique(mask)) == {0, 255}
        x, y, width, height = note.box
        rows, columns = np.nonzero(mask)
        assert (columns.min(), rows.min()) == (x, y)
        assert (columns.max() + 1, rows.max() + 1) == (x + width, y + height)
        # A mug of one glaze differs in colour from its surroundings, wherever it was moved to.
        inside, outside = image[mask > 0].mean(axis=0), image[mask == 0].mean(axis=0)
        assert np.abs(inside.astype(float) - outside).max() > 8


def test_a_sample_keeps_lineage_licences_and_prompt(
    mug: tuple[Result, GenerationRecord],
) -> None:
    sample = mug[1].samples[0]
    assert sample.lineage.stages[:3] == ("ingest", "upscale", "multiview")
    assert sample.lineage.stages[-1] == "outpaint"
    assert "segment:grabcut" in sample.lineage.models
    assert sample.lineage.licences == ("Apache-2.0",)
    assert sample.lineage.prompt is not None
    assert "mug" in sample.lineage.prompt
    assert sample.name == "mug/2_view0_copy0_background0_shift0"
    assert (sample.generator, sample.sources, sample.split) == ("multiview", ("mug/2",), "train")
    assert len({sample.name for sample in mug[1].samples}) == len(mug[1].samples)


def test_every_artifact_leads_back_to_the_photo(mug: tuple[Result, GenerationRecord]) -> None:
    known = {artifact.id for artifact in mug[1].artifacts}
    photo = next(artifact for artifact in mug[1].artifacts if artifact.stage == "ingest")
    for artifact in mug[1].artifacts:
        parents = [parent for parent in artifact.parents if not parent.startswith("heldout/")]
        assert artifact == photo or all(parent in known for parent in parents)


def test_another_machine_makes_the_same_bytes(
    tmp_path: Path, photos: Path, recipe: Recipe, mug: tuple[Result, GenerationRecord]
) -> None:
    other = Run(tmp_path / "elsewhere", photos)
    again = other.generate(recipe, other.reference("mug/2"))[1]
    assert [artifact.digest for artifact in again.artifacts] == [
        artifact.digest for artifact in mug[1].artifacts
    ]
    assert [(sample.name, sample.image.digest, sample.scores) for sample in again.samples] == [
        (sample.name, sample.image.digest, sample.scores) for sample in mug[1].samples
    ]


def test_an_unchanged_reference_computes_nothing(
    run: Run, recipe: Recipe, mug: tuple[Result, GenerationRecord]
) -> None:
    again, _ = run.generate(recipe, run.reference("mug/2"))
    assert sum(count.computed for count in again.counts.values()) == 0
    assert again.key == mug[0].key


@pytest.mark.parametrize(
    ("change", "recomputed"),
    [
        (
            "generators.multiview.outpaint.max_shift=0.05",
            {"outpaint", "measure", "screen", "resize", "annotate"},
        ),
        (
            "generators.multiview.background.ranges.colour_matching=0.1",
            {"background", "outpaint", "measure", "screen"},
        ),
        (
            "generators.multiview.masked_depth.min_depth=0.3",
            {"masked_depth", "background", "outpaint"},
        ),
        (
            "generators.multiview.caption.prompts.mug='a mug on grass'",
            {"caption", "background", "outpaint"},
        ),
        ("screen.max_cut=0.2", {"screen"}),
        ("resize.quality=80", {"resize"}),
        ("train.epochs=3", set()),
    ],
)
def test_a_changed_field_recomputes_what_depends_on_it_and_nothing_else(
    run: Run, mug: tuple[Result, GenerationRecord], change: str, recomputed: set[str]
) -> None:
    result, _ = run.generate(load_recipe("multiview", [*SMALL, change]), run.reference("mug/2"))
    computed = {stage for stage, count in result.counts.items() if count.computed}
    assert recomputed <= computed
    assert not computed & {"upscale", "multiview", "augment", "segment", "depth"}
    if "outpaint" not in recomputed:
        assert computed == recomputed


def test_a_reference_is_drawn_under_its_own_prompt(run: Run, recipe: Recipe) -> None:
    reference = run.reference("mug/2").model_copy(update={"prompt": "my red mug on sand"})
    result, record = run.generate(recipe, reference)
    assert all((sample.lineage.prompt or "").startswith("my red mug") for sample in record.samples)
    assert result.key != run.item(recipe, run.reference("mug/2")).key


def test_photos_of_backgrounds_are_used_and_are_part_of_the_key(run: Run, recipe: Recipe) -> None:
    scene = run.reference("car/1").image
    shared = run.shared.model_copy(update={"backgrounds": (scene,)})
    result, record = run.generate(recipe, run.reference("mug/3"), shared)
    scenes = [artifact for artifact in record.artifacts if artifact.stage == "background"]
    assert scenes
    assert all(scene.id in artifact.parents for artifact in scenes)
    assert result.key != run.item(recipe, run.reference("mug/3")).key


def test_a_photo_without_an_object_gives_rejected_samples_with_the_reason(
    run: Run, recipe: Recipe
) -> None:
    source = run.reference("mug/3")
    blob = encode_png(np.full((96, 128, 3), 127, np.uint8))
    changes = {"key": "0" * 64, "digest": digest_of(blob), "size": len(blob)}
    photo = source.image.model_copy(update=changes)
    run.store.put(photo, blob)
    blank = source.model_copy(update={"image": photo, "name": "mug/blank"})
    result, record = run.generate(recipe, blank)
    assert (result.made, result.accepted) == (0, 0)
    reasons = {
        artifact.reject_reason for artifact in record.artifacts if artifact.stage == "multiview"
    }
    assert len(reasons) == 1
    assert "no object found" in str(reasons)
    assert len(record.samples) == 7
    assert {sample.reject_reason for sample in record.samples} == reasons
