"""Groups of photos from a file and from a pattern."""

from dataclasses import replace
from pathlib import Path

import pytest
from pydantic import ValidationError

from models.data.records import Split
from models.data.splits.splitting import SplitParameters
from tasks.ingest.find_sources import FoundPhoto
from tasks.ingest.groups import link_groups, read_groups

FILES = ["cup/shoot1_1.jpg", "cup/shoot1_2.jpg", "jug/shoot2_1.jpg", "jug/other.jpg"]


def found(
    files: list[str], split: Split | None = None, *, annotated: bool = False
) -> list[FoundPhoto]:
    """Photos of these files, of class folders or of an annotated dataset."""
    size = (60, 40) if annotated else None
    return [FoundPhoto(Path(file), file, split, (), size) for file in files]


PHOTOS = found(FILES)


def test_a_pattern_captures_the_group() -> None:
    groups = read_groups(PHOTOS, SplitParameters(group_pattern=r"(shoot\d+)_\d+\.jpg$"))
    assert groups == {FILES[0]: "shoot1", FILES[1]: "shoot1", FILES[2]: "shoot2"}
    assert link_groups(groups) == [(FILES[0], FILES[1])]


def test_a_file_goes_before_the_pattern(tmp_path: Path) -> None:
    listed = tmp_path / "groups.csv"
    listed.write_text(f"file,group\n{FILES[1]},b\n{FILES[3]},b\n")
    parameters = SplitParameters(group_file=listed, group_pattern=r"(shoot\d+)_")
    groups = read_groups(PHOTOS, parameters)
    assert groups == {FILES[0]: "shoot1", FILES[1]: "b", FILES[2]: "shoot2", FILES[3]: "b"}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "split.group_file: .*groups.csv can't be read as CSV"),
        ("photo,group\na,b\n", "needs the columns file and group"),
        ("file,group\ncup/none.jpg,b\n", "lists 'cup/none.jpg', which is no photo of this run"),
    ],
)
def test_names_what_is_wrong_with_the_file(
    tmp_path: Path, content: str | None, message: str
) -> None:
    listed = tmp_path / "groups.csv"
    if content is not None:
        listed.write_text(content)
    with pytest.raises(ValueError, match=message):
        read_groups(PHOTOS, SplitParameters(group_file=listed))


@pytest.mark.parametrize("pattern", ["(", "shoot"])
def test_refuses_a_pattern_that_gives_no_group(pattern: str) -> None:
    with pytest.raises(ValidationError, match=r"no regular expression|captures nothing"):
        SplitParameters(group_pattern=pattern)


@pytest.mark.parametrize(
    ("files", "split", "annotated"),
    [
        (["ok/day1/a.jpg", "ok/day1/b.jpg", "bad/day1/c.jpg", "bad/d.jpg"], None, False),
        (["train/ok/day1/a.jpg", "train/ok/day1/b.jpg", "train/bad/day1/c.jpg", "train/bad/d.jpg"],
         "train", False),
        (["images/train/day1/a.jpg", "train/images/day1/b.jpg", "day1/c.jpg", "images/d.jpg"],
         None, True),
    ],
    ids=["classes", "splits", "annotated"],
)  # fmt: skip
def test_photos_of_one_folder_below_the_class_are_a_group(
    files: list[str], split: Split | None, annotated: bool
) -> None:
    photos = found(files, split, annotated=annotated)
    groups = read_groups(photos, SplitParameters(group_by="folder"))
    assert groups == dict.fromkeys(files[:3], "day1")


def test_photos_whose_names_begin_alike_are_a_group() -> None:
    files = ["ok/part 7_01.jpg", "bad/part 7_02.jpg", "ok/part 8-1.jpg", "ok/0004.jpg"]
    groups = read_groups(found(files), SplitParameters(group_by="prefix"))
    assert groups == {files[0]: "part 7", files[1]: "part 7", files[2]: "part 8"}


def test_a_csv_as_group_by_lists_all_groups_and_may_name_refused_files(tmp_path: Path) -> None:
    listed = tmp_path / "groups.csv"
    listed.write_text(f"file,group\n{FILES[1]},b\n{FILES[3]},b\ncup/broken.jpg,b\n")
    parameters = SplitParameters(group_by=str(listed))
    groups = read_groups(PHOTOS, parameters, ["cup/broken.jpg"])
    assert groups == {FILES[1]: "b", FILES[3]: "b"}
    assert parameters.family_bits is None
    with pytest.raises(ValueError, match=r"split.group_by: .* lists 'cup/broken.jpg'"):
        read_groups(PHOTOS, parameters)


def test_a_word_that_is_no_way_to_group_is_refused() -> None:
    assert SplitParameters.model_validate({"group_by": None}).group_by == "none"
    with pytest.raises(ValidationError, match="'folders' is none of pictures, none, folder"):
        SplitParameters(group_by="folders")


def test_the_class_folder_of_a_set_with_masks_is_no_group() -> None:
    files = ["test/scratch/lot1/1.png", "test/good/lot1/2.png", "test/good/3.png"]
    photos = [replace(photo, in_class_folder=True) for photo in found(files, annotated=True)]
    groups = read_groups(photos, SplitParameters(group_by="folder"))
    assert groups == {files[0]: "lot1", files[1]: "lot1"}
