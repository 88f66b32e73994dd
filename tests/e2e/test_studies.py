"""Every study that ships runs by its name on small photos, without checkpoints."""

from collections.abc import Sequence
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from flows.config.study import list_studies, load_study, series_of
from tests.tasks.ingest.test_annotated import draw_images, write_set
from tests.tiny import CLASSES, Cli, draw_photo

# Of 8 photos of a class, 5 are for training.
PHOTOS = 8
# The grid of each study with fewer numbers, and changes that a small set of photos needs.
GRIDS = {
    "all-generated": ("--photos-per-class=2", "--images-per-class=4,6"),
    "combinations": ("--photos-per-class=5%,100%", "--shares=1"),
    "controlnet": ("--photos-per-class=50%,100%", "--shares=1,2"),
    "different-subjects": ("--photos-per-class=3", "--images-per-class=4"),
    "food-101": (
        *("--photos-per-class=50%", "--shares=1,2"),
        *("--set=split.train=5", "--set=split.val=1", "--set=split.test=2"),
    ),
    "fruit": ("--images-per-class=4", "--seeds=2"),
    "generation-percentage": ("--photos-per-class=20%,100%", "--shares=1,2"),
    "number-of-images": ("--photos-per-class=1,2", "--images-per-class=4"),
    "rare-class-augmentation": ("--images-per-class=1,2",),
    "rare-class-replacement": ("--photos-per-class=50%,100%",),
    "segmentation": ("--photos-per-class=5%,100%", "--shares=1"),
    "training-percentage": ("--photos-per-class=20%,100%", "--images-per-class=4"),
}
SMALL = (
    "--seeds=1",
    "--set=generators.copy_paste.scenes.per_photo=6",
    "--set=generators.multiview.multiview.views=2",
)
LINEAR = ("--set=train.linear_copies=2",)
SEGMENTATION = tuple(
    f"--set=train.{change}"
    for change in ("epochs=1", "steps_per_epoch=2", "image_size=64", "batch_size=4")
)
DETECTION = (
    *SEGMENTATION,
    "--set=study.grid.rare_class=block",
    "--set=generators.copy_paste.scenes.placing.versions=2",
    "--set=generators.ddpm_repaint.place.versions=2",
    "--set=generators.ddpm_repaint.base.size=16",
    "--set=generators.ddpm_repaint.base.attention_factors=[2]",
    "--set=generators.ddpm_repaint.repaint.cherry_picker.background=10",
    *(
        f"--set=generators.ddpm_repaint.{training}.{change}"
        for training in ("base", "fit")
        for change in (
            "steps=2",
            "batch=2",
            "samples=2",
            "sample_spacing=ddim2",
            "evaluate_every=2",
        )
    ),
    "--set=generators.ddpm_repaint.repaint.steps=2",
    "--set=generators.ddpm_repaint.repaint.jump=1",
    "--set=generators.ddpm_repaint.repaint.candidates=1",
    "--set=generators.ddpm_repaint.repaint.least_score=0",
)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Class folders without splits."""
    folder = tmp_path_factory.mktemp("photos")
    for place, label in enumerate(CLASSES):
        (folder / label).mkdir()
        for number in range(PHOTOS):
            seed = PHOTOS * place + number
            draw_photo(folder / label / f"{number}.png", label, seed)
    return folder


@pytest.fixture(scope="module")
def masked_photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A COCO set without splits, with a mask of each object."""
    folder = tmp_path_factory.mktemp("masked")
    images = draw_images(folder / "drawn", [["disc", "block"]] * PHOTOS)
    write_set(folder / "photos", "coco", {"": images})
    return folder / "photos"


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A COCO set without splits, of whose photos some show a block."""
    folder = tmp_path_factory.mktemp("scenes")
    images = draw_images(folder / "drawn", [["disc", "block"], ["disc"]] * PHOTOS)
    write_set(folder / "photos", "coco", {"": images})
    return folder / "photos"


@pytest.mark.e2e
def test_every_study_has_a_small_grid_here() -> None:
    assert list(GRIDS) == list_studies()


@pytest.mark.e2e
@pytest.mark.parametrize("name", list_studies())
def test_a_study_runs_by_its_name(
    name: str, photos: Path, masked_photos: Path, scenes: Path, cli: Cli, tmp_path: Path
) -> None:
    if name.startswith("rare-class"):
        folder, own = scenes, ("--seeds=1", *DETECTION)
    elif name == "segmentation":
        folder, own = masked_photos, (*SMALL, *SEGMENTATION)
    else:
        folder, own = photos, (*SMALL, *LINEAR)
    options: Sequence[str] = (*own, *GRIDS[name])
    result = cli.run(
        "study", name, "--photos", folder, "--out", tmp_path / "out", "--json", *options
    ).found
    assert result["left_out"] == []
    rows = pq.read_table(result["files"]["table"]).to_pylist()
    recipe, section = load_study(name)
    series = series_of(recipe, section.grid)
    assert {row["method"] for row in rows} == set(series)
    for row in rows:
        method = series[row["method"]]
        assert (row["synthetic"] > 0) == bool(method.synthetic)
        assert (row["augment"], row["classifier"]) == (method.augment, method.classifier)
        assert 0 <= row["value"] <= 1
    page = " ".join(Path(result["files"]["page"]).read_text().split())
    assert section.question in page
    assert ("Published" in page) == bool(section.published)
    # The study fruit takes all photos in each of its replicates here.
    assert ("all replicates take the same photos" in page) == (name == "fruit")
