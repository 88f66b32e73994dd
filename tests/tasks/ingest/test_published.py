"""Oxford-IIIT Pet and Food-101 as sources of a run: what torchvision reads is what a run uses."""

import io
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from torchvision.datasets import Food101, OxfordIIITPet

from flows.config.recipe import Recipe
from flows.planning import make_plan
from models.data.formats.annotated import box_of_mask
from models.data.records import Sources
from models.data.splits.splitting import SplitParameters
from models.data.trimaps import solid_mask
from tasks.assemble.annotate import Annotate, annotate
from tasks.engine.run_context import RunContext
from tasks.generate.pasting.object_crop import object_crop
from tasks.ingest.photos import ingest_photos
from tasks.ingest.read_files import Ingest
from tasks.settings.copy_paste import ObjectCrop
from tasks.store.store import open_store
from tests.models.data.formats.published_cases import write_food101, write_pets

WHOLE = Ingest(objects="image")
# The tiny photos are noise: photos that look alike are tested elsewhere.
SPLITS = SplitParameters(train=4, val=2, test=2, val_from="test", group_by="none")
LEVELS = np.array([0, 255, 0, 128], np.uint8)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunContext:
    return RunContext(open_store(tmp_path_factory.mktemp("store")), "test")


@pytest.fixture(scope="module")
def pets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pets(tmp_path_factory.mktemp("pets"))


@pytest.fixture(scope="module")
def found(run: RunContext, pets: Path) -> Sources:
    return ingest_photos(run, pets, WHOLE, SPLITS)


def test_pets_have_the_labels_and_trimaps_of_torchvision(
    run: RunContext, pets: Path, found: Sources
) -> None:
    assert found.refused == ()
    by_file = {source.file: source for source in found.images}
    seen = 0
    for official in ("trainval", "test"):
        loader = OxfordIIITPet(pets.parent, official, ["category", "segmentation"])
        for number, (photo, (label, trimap)) in enumerate(loader):
            source = by_file[f"images/{loader._images[number].name}"]
            assert source.label == loader.classes[label]
            np.testing.assert_array_equal(run.load(source.image), np.asarray(photo))
            (note,) = source.annotations
            assert note.mask is not None
            expected = LEVELS[np.asarray(trimap)]
            np.testing.assert_array_equal(run.load(note.mask), expected)
            assert note.box == box_of_mask(solid_mask(expected))
            seen += 1
    assert seen == len(found.images) == 16


def test_pets_keep_the_official_test_out_of_train(pets: Path, found: Sources) -> None:
    official = (pets / "annotations" / "test.txt").read_text().split()[::4]
    for source in found.images:
        is_test = Path(source.file).stem in official
        assert (source.split != "train") == is_test
    assert Counter((source.label, source.split) for source in found.images) == {
        (label, split): number
        for label in ("Abyssinian", "Saint Bernard")
        for split, number in (("train", 4), ("val", 2), ("test", 2))
    }
    assert "the folders give no val; taken out of test" in found.notes


def test_crops_of_pets_have_the_border_in_their_masks(run: RunContext, pets: Path) -> None:
    crops = ingest_photos(run, pets, Ingest(min_side=16), SPLITS)
    assert len(crops.images) == 16
    for source in crops.images:
        (note,) = source.annotations
        assert note.mask is not None
        assert note.box is not None
        mask = run.load(note.mask)
        assert set(np.unique(mask)) == {0, 128, 255}
        assert note.box == box_of_mask(solid_mask(mask))


def test_a_smaller_photo_has_a_smaller_trimap(run: RunContext, tmp_path: Path) -> None:
    base = write_pets(tmp_path)
    for file in (*base.rglob("*.jpg"), *base.rglob("*.png")):
        with Image.open(file) as image:
            image.resize((3 * image.width, 3 * image.height), Image.Resampling.NEAREST).save(file)
    small = ingest_photos(run, base, WHOLE.model_copy(update={"max_side": 64}), SPLITS)
    assert len(small.images) == 16
    for source in small.images:
        assert source.annotations[0].mask is not None
        mask = run.load(source.annotations[0].mask)
        assert mask.shape == run.load(source.image).shape[:2] == (58, 64)
        with Image.open(base / "annotations" / "trimaps" / f"{Path(source.file).stem}.png") as png:
            levels = np.asarray(png)
        for level, value in ((1, 255), (3, 128)):
            assert abs((mask == value).mean() - (levels == level).mean()) < 0.02


def test_cut_outs_and_datasets_end_in_the_middle_of_the_border(
    run: RunContext, found: Sources
) -> None:
    source = found.images[0]
    mask = source.annotations[0].mask
    assert mask is not None
    pet = solid_mask(run.load(mask))
    (cut_out,) = object_crop(run, ObjectCrop(), [source])
    np.testing.assert_array_equal(run.load(cut_out)[..., 3], np.where(pet, 255, 0))
    (small,) = annotate(run, Annotate(), [mask])
    np.testing.assert_array_equal(run.load(small), run.load(mask))
    assert small.metadata["area"] == pet.sum()


def test_photos_of_another_type_are_read_and_corrupt_ones_refused(
    run: RunContext, tmp_path: Path
) -> None:
    base = write_pets(tmp_path)
    file = base / "images" / "Abyssinian_2.jpg"
    content = io.BytesIO()
    with Image.open(file) as image:
        image.save(content, "GIF")
    file.write_bytes(content.getvalue())
    cut = base / "images" / "Abyssinian_4.jpg"
    cut.write_bytes(cut.read_bytes()[:700])
    (base / "images" / "Abyssinian_6.jpg").unlink()
    read = ingest_photos(run, base, WHOLE, SPLITS)
    assert "images/Abyssinian_2.jpg" in {source.file for source in read.images}
    ((name, reason), missing) = read.refused
    assert name == "images/Abyssinian_4.jpg"
    assert "cut short" in reason
    assert missing == ("images/Abyssinian_6.jpg", "can't be read (No such file or directory)")
    assert "classes with fewer train photos than split.train: 'Abyssinian' 2" in read.notes


@pytest.mark.parametrize("level", ["set", "parent"])
def test_food101_has_whole_photos_with_the_labels_and_splits_of_torchvision(
    run: RunContext, tmp_path: Path, level: str
) -> None:
    base = write_food101(tmp_path, {"train": 4, "test": 3})
    folder = base if level == "set" else tmp_path
    splits = SplitParameters(train=3, val=1, test=2, group_by="none")
    read = ingest_photos(run, folder, Ingest(), splits)
    assert Counter((source.label, source.split) for source in read.images) == {
        (dish, split): number
        for dish in ("apple_pie", "pho")
        for split, number in (("train", 3), ("val", 1), ("test", 2))
    }
    official: dict[str, tuple[str, str]] = {}
    for split in ("train", "test"):
        loader = Food101(tmp_path, split, loader=Path)
        for number in range(len(loader)):
            path, label = loader[number]
            official[path.relative_to(folder).as_posix()] = (split, loader.classes[label])
    for source in read.images:
        split, label = official[source.file]
        assert source.label == label
        assert (source.split == "test") == (split == "test")
        (note,) = source.annotations
        assert (note.box, note.mask) == (None, None)
        assert source.image.stage == "ingest"
    reason = "not drawn: its class has more photos than split.test takes"
    assert [why for _, why in read.refused] == [reason] * 2


def test_plans_of_both_sets(tmp_path: Path, pets: Path) -> None:
    recipe = Recipe.model_validate({"split": {"train": 2, "val": 1, "test": 1}})
    food = write_food101(tmp_path)
    assert make_plan(recipe, food, None).photos == {"apple_pie": 2, "pho": 2}
    assert make_plan(recipe, pets, None).photos == {"Abyssinian": 2, "Saint Bernard": 2}


def test_folders_of_the_sets_are_no_groups(run: RunContext, tmp_path: Path, pets: Path) -> None:
    write_food101(tmp_path)
    splits = SplitParameters(group_by="folder", val=1, val_from="test")
    for folder in (tmp_path, tmp_path / "food-101", pets, pets.parent):
        read = ingest_photos(run, folder, WHOLE, splits)
        assert len({source.family for source in read.images}) == len(read.images) > 8
