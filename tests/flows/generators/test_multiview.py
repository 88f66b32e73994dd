"""One reference photo's way through all stages, on a rendered scene whose truth is known."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from tasks.engine.results import Expansion, load_expansion

from flows.config.recipe import Recipe, load_recipe
from flows.generators.multiview import expand, key_of
from models.data.find_photos import PhotoFile
from models.data.pixels import decode, encode_png
from models.data.records import Reference
from models.data.splitting import SplitParameters
from tasks.engine.run_context import RunContext
from tasks.engine.work_items import Expanded, SharedInputs
from tasks.ingest.photos import Ingest, ingest_photos
from tasks.screen.screen import HeldOut, index_heldout
from tasks.store.store import Store, open_store
from tests.demo_scenes.render import render

SMALL = [
    "profile=classical",
    *("upscale.factor=1", "multiview.size=96", "upscale_views.factor=2", "augment.copies=2"),
    *("background.copies=2", "background.width=128", "background.height=160", "outpaint.k=2"),
    *("resize.longest_side=96", "outpaint.reach=0.06"),
]


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> list[PhotoFile]:
    folder = tmp_path_factory.mktemp("photos")
    files = []
    for split, label, seed in (
        *(("train", "car", 1), ("train", "mug", 2), ("train", "mug", 3), ("train", "car", 4)),
        *(("val", "car", 5), ("val", "mug", 6), ("test", "car", 7), ("test", "mug", 8)),
    ):
        path = folder / split / label / f"{seed}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        domain = "test" if split == "test" else "train"
        path.write_bytes(encode_png(render(label, seed, size=(160, 120), domain=domain).pixels))
        files.append(PhotoFile(path, path.relative_to(folder).as_posix(), label, split))
    return files


class Run:
    """A store with the photos in it, and references expanded on demand."""

    def __init__(self, folder: Path, photos: list[PhotoFile]) -> None:
        self.store: Store = open_store(folder)
        context = RunContext(self.store, "ingest")
        self.photos = ingest_photos(context, photos, Ingest(), SplitParameters())
        heldout = [one.photo for one in self.photos.of("val", "test")]
        self.beside = SharedInputs(heldout=tuple(index_heldout(context, HeldOut(), heldout)))

    def reference(self, name: str) -> Reference:
        return next(one for one in self.photos.photos if one.name == name)

    def expand(self, recipe: Recipe, reference: Reference) -> tuple[Expanded, Expansion]:
        context = RunContext(self.store, reference.name)
        expanded = expand(context, recipe, reference, self.beside)
        expansion = load_expansion(self.store, expanded.key)
        assert expansion is not None
        return expanded, expansion


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, photos: list[PhotoFile]) -> Run:
    return Run(tmp_path_factory.mktemp("store"), photos)


@pytest.fixture(scope="module")
def recipe() -> Recipe:
    return load_recipe("multiview", SMALL)


@pytest.fixture(scope="module")
def mug(run: Run, recipe: Recipe) -> tuple[Expanded, Expansion]:
    return run.expand(recipe, run.reference("mug/2"))


def test_one_photo_gives_7_t_c_k_squared_images(
    mug: tuple[Expanded, Expansion], recipe: Recipe
) -> None:
    expanded, expansion = mug
    assert expanded.images == recipe.images_per_photo == 7 * 2 * 2 * 4
    assert len(expansion.samples) == expanded.images
    made = Counter(one.stage for one in expansion.artifacts)
    assert made["multiview"] == 7
    assert made["augment"] == made["segment"] == made["depth"] == made["masked_depth"] == 14
    assert (made["background"], made["outpaint"]) == (28, 112)
    assert made["resize"] == made["label"] == expanded.accepted


def test_most_images_are_accepted_and_the_others_say_why(
    mug: tuple[Expanded, Expansion],
) -> None:
    expanded, expansion = mug
    assert expanded.accepted > 0.8 * expanded.images
    for sample in expansion.samples:
        assert (sample.reason is None) == sample.accepted
        assert "heldout_bits" in sample.scores


def test_mask_and_box_lie_on_the_object(run: Run, mug: tuple[Expanded, Expansion]) -> None:
    for sample in [one for one in mug[1].samples if one.accepted][::9]:
        assert sample.mask is not None
        image, mask = (decode(run.store.read(one)) for one in (sample.image, sample.mask))
        assert image.shape[:2] == mask.shape
        assert set(np.unique(mask)) == {0, 255}
        ((x, y, width, height),) = sample.boxes
        rows, columns = np.nonzero(mask)
        assert (columns.min(), rows.min()) == (x, y)
        assert (columns.max() + 1, rows.max() + 1) == (x + width, y + height)
        # A mug of one glaze differs in colour from what is around it, wherever it was moved to.
        inside, outside = image[mask > 0].mean(axis=0), image[mask == 0].mean(axis=0)
        assert np.abs(inside.astype(float) - outside).max() > 8


def test_lineage_licences_and_prompt_are_kept(mug: tuple[Expanded, Expansion]) -> None:
    sample = mug[1].samples[0]
    assert sample.chain[:3] == ("ingest", "upscale", "multiview")
    assert sample.chain[-1] == "outpaint"
    assert "segment:grabcut" in sample.models
    assert sample.licences == ("Apache-2.0",)
    assert sample.prompt is not None
    assert "mug" in sample.prompt
    assert sample.name == "mug/2_view0_copy0_background0_shift0"


def test_every_artifact_leads_back_to_the_photo(mug: tuple[Expanded, Expansion]) -> None:
    known = {one.id for one in mug[1].artifacts}
    photo = next(one for one in mug[1].artifacts if one.stage == "ingest")
    for artifact in mug[1].artifacts:
        parents = [one for one in artifact.parents if not one.startswith("heldout/")]
        assert artifact == photo or all(parent in known for parent in parents)


def test_another_machine_makes_the_same_bytes(
    tmp_path: Path, photos: list[PhotoFile], recipe: Recipe, mug: tuple[Expanded, Expansion]
) -> None:
    other = Run(tmp_path / "elsewhere", photos)
    again = other.expand(recipe, other.reference("mug/2"))[1]
    assert [one.digest for one in again.artifacts] == [one.digest for one in mug[1].artifacts]


def test_an_unchanged_reference_computes_nothing(
    run: Run, recipe: Recipe, mug: tuple[Expanded, Expansion]
) -> None:
    again, _ = run.expand(recipe, run.reference("mug/2"))
    assert sum(count.computed for count in again.counts.values()) == 0
    assert again.key == mug[0].key


@pytest.mark.parametrize(
    ("change", "redone"),
    [
        ("outpaint.reach=0.05", {"outpaint", "measure", "screen", "resize", "label"}),
        ("background.ranges.harmony=0.1", {"background", "outpaint", "measure", "screen"}),
        ("masked_depth.floor=0.3", {"masked_depth", "background", "outpaint"}),
        ("caption.prompts.mug='a mug on grass'", {"caption", "background", "outpaint"}),
        ("screen.max_cut=0.2", {"screen"}),
        ("resize.quality=80", {"resize"}),
        ("train.epochs=3", set()),
    ],
)
def test_a_changed_field_redoes_what_hangs_on_it_and_nothing_else(
    run: Run, mug: tuple[Expanded, Expansion], change: str, redone: set[str]
) -> None:
    expanded, _ = run.expand(load_recipe("multiview", [*SMALL, change]), run.reference("mug/2"))
    computed = {stage for stage, count in expanded.counts.items() if count.computed}
    assert redone <= computed
    upstream = {"upscale", "multiview", "augment", "segment", "depth"}
    assert not computed & upstream
    if "outpaint" not in redone:
        assert computed == redone


def test_a_reference_with_its_own_prompt_is_expanded_under_it(run: Run, recipe: Recipe) -> None:
    reference = run.reference("mug/2").model_copy(update={"prompt": "my red mug on sand"})
    _, expansion = run.expand(recipe, reference)
    assert all((one.prompt or "").startswith("my red mug") for one in expansion.samples)
    assert key_of(recipe, reference, run.beside) != key_of(
        recipe, run.reference("mug/2"), run.beside
    )


def test_plates_from_a_folder_are_used_and_are_part_of_the_key(run: Run, recipe: Recipe) -> None:
    plate = run.reference("car/1").photo
    beside = run.beside.model_copy(update={"plates": (plate,)})
    context = RunContext(run.store, "plates")
    reference = run.reference("mug/3")
    expanded = expand(context, recipe, reference, beside)
    scenes = [one for one in context.made.values() if one.stage == "background"]
    assert scenes
    assert all(plate.id in one.parents for one in scenes)
    assert expanded.key != key_of(recipe, reference, run.beside)


def test_a_photo_without_an_object_gives_no_image_and_says_so(run: Run, recipe: Recipe) -> None:
    context = RunContext(run.store, "blank")
    blank = run.reference("mug/3")
    grey = np.full((96, 128, 3), 127, np.uint8)
    blob = encode_png(grey)
    photo = blank.photo.model_copy(update={"key": "0" * 64, "digest": "", "size": len(blob)})
    from tasks.store.store import digest_of

    photo = photo.model_copy(update={"digest": digest_of(blob)})
    run.store.put(photo, blob)
    reference = blank.model_copy(update={"photo": photo, "name": "mug/blank"})
    expanded = expand(context, recipe, reference, run.beside)
    assert (expanded.images, expanded.accepted) == (0, 0)
    rejects = {one.reject_reason for one in context.made.values() if one.stage == "multiview"}
    assert len(rejects) == 1
    assert "no object found" in str(rejects)
    expansion = load_expansion(run.store, expanded.key)
    assert expansion is not None
    assert len(expansion.samples) == 7
    assert {one.reason for one in expansion.samples} == rejects
