"""Names of source images: unique in a run, on every file system, and next to generated images."""

import pytest

from models.data.names import comparable
from models.data.records import Split
from tasks.ingest.source_images import name_images


def names_of(*stems: str, split: Split | None = None) -> list[str]:
    named = name_images([(f"mug/{stem}.jpg", split, f"mug/{stem}") for stem in stems])
    return [named[f"mug/{stem}.jpg"] for stem in stems]


@pytest.mark.parametrize(
    "stems",
    [
        ("a", "A"),
        ("a", "A", "a-2", "A-2"),
        ("\u00e9", "e\u0301"),
        ("stra\u00dfe", "STRASSE"),
        ("a", "a\u200b"),
    ],
)
def test_names_differ_where_case_and_accents_do_not_count(stems: tuple[str, ...]) -> None:
    names = names_of(*stems)
    assert len({comparable(name) for name in names}) == len(stems)


def test_a_photo_never_gets_the_name_of_an_image_made_of_another_photo() -> None:
    stems = ("a", "a_view0", "a_view0_copy1", "A_Object1", "b_view0", "a_1")
    names = dict(zip(stems, names_of(*stems), strict=True))
    assert names == {
        "a": "mug/a",
        "a_view0": "mug/a_view0-2",
        "a_view0_copy1": "mug/a_view0_copy1-2",
        "A_Object1": "mug/A_Object1-2",
        # No image is made of "b".
        "b_view0": "mug/b_view0",
        "a_1": "mug/a_1",
    }
