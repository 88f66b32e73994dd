"""Groups of photos from a file and from a pattern."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from models.data.splitting import SplitParameters
from tasks.ingest.groups import link_groups, read_groups

FILES = ["cup/shoot1_1.jpg", "cup/shoot1_2.jpg", "jug/shoot2_1.jpg", "jug/other.jpg"]


def test_a_pattern_captures_the_group() -> None:
    groups = read_groups(FILES, SplitParameters(group_pattern=r"(shoot\d+)_\d+\.jpg$"))
    assert groups == {FILES[0]: "shoot1", FILES[1]: "shoot1", FILES[2]: "shoot2"}
    assert link_groups(groups) == [(FILES[0], FILES[1])]


def test_a_file_goes_before_the_pattern(tmp_path: Path) -> None:
    listed = tmp_path / "groups.csv"
    listed.write_text(f"file,group\n{FILES[1]},b\n{FILES[3]},b\n")
    parameters = SplitParameters(group_file=listed, group_pattern=r"(shoot\d+)_")
    groups = read_groups(FILES, parameters)
    assert groups == {FILES[0]: "shoot1", FILES[1]: "b", FILES[2]: "shoot2", FILES[3]: "b"}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "can't be read as CSV"),
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
        read_groups(FILES, SplitParameters(group_file=listed))


@pytest.mark.parametrize("pattern", ["(", "shoot"])
def test_refuses_a_pattern_that_gives_no_group(pattern: str) -> None:
    with pytest.raises(ValidationError, match=r"no regular expression|captures nothing"):
        SplitParameters(group_pattern=pattern)
