"""Classes with too few photos: the reasons by class, and whether a run can go on without them."""

from pathlib import Path

import pytest

from models.data.find_photos import Refused
from models.data.formats.annotated import ObjectAnnotation
from models.data.records import Annotation, Artifact, SourceImage, Sources
from models.data.splits.splitting import SplitParameters
from tasks.ingest.find_sources import FoundPhoto
from tasks.ingest.left_out import (
    TooFewClassesError,
    describe_alike,
    explain_left_out,
    require_classes,
)

SPLITS = SplitParameters()


def found(*files: str) -> list[FoundPhoto]:
    return [
        FoundPhoto(Path(file), file, None, (ObjectAnnotation(file.partition("/")[0]),))
        for file in files
    ]


def sources(*labels: str, left_out: dict[str, str]) -> Sources:
    image = Artifact(key="k", stage="ingest", version=1, name="n", media="png", digest="d", size=1)
    images = tuple(
        SourceImage(
            name=f"{label}/1",
            file=f"{label}/1.jpg",
            split="train",
            image=image,
            annotations=(Annotation(label=label),),
        )
        for label in labels
    )
    return Sources(images=images, left_out=left_out)


def test_equal_reasons_are_counted_together_and_the_class_itself_is_no_reason() -> None:
    photos = found("cow/1.jpg", "cow/2.jpg", "cow/3.jpg", "cow/4.jpg", "hen/1.jpg")
    refused = [
        Refused("cow/1.jpg", "20x20 px is too small; each side needs 32 px"),
        Refused("cow/2.jpg", "9x30 px is too small; each side needs 32 px"),
        Refused("cow/3.jpg", "the file is corrupt or cut short (bad header)"),
        Refused("cow/4.jpg", "its class 'cow' has 1 usable photo", "in too small a class"),
        Refused("hen/1.jpg", "the file is empty (0 bytes)"),
    ]
    explained = explain_left_out(photos, {"cow": "has 1 usable photo, needs 3"}, refused)
    assert explained == {
        "cow": "has 1 usable photo, needs 3: 2 too small (cow/1.jpg), 1 the file is corrupt or cut"
        " short (cow/3.jpg)"
    }


def test_a_refused_object_counts_for_its_own_class() -> None:
    objects = (ObjectAnnotation("cow"), ObjectAnnotation("hen"))
    photo = FoundPhoto(Path("a.jpg"), "a.jpg", None, objects, (60, 40))
    refused = [Refused("a.jpg: object 2", "hen of 12x9 px is too small; each side needs 32 px")]
    explained = explain_left_out([photo], {"cow": "has 0", "hen": "has 0"}, refused)
    assert explained == {"cow": "has 0", "hen": "has 0: 1 too small (a.jpg: object 2)"}


def test_names_each_pair_of_classes_that_look_alike() -> None:
    photos = found("good/1.jpg", "bad/1.jpg", "bad/2.jpg")
    refused = [
        Refused("good/1.jpg", "...", "near-duplicates of 'bad'"),
        Refused("bad/1.jpg", "...", "near-duplicates of 'good'"),
        Refused("bad/2.jpg", "...", "copies of 'good'"),
    ]
    (note,) = describe_alike(photos, refused)
    assert note.startswith("the classes 'bad' and 'good' look alike: 2 photos are near-duplicates")
    assert "split.group_by=none, folder, prefix or a CSV" in note
    many = found(*(f"good/{number}.jpg" for number in range(30)), "bad/1.jpg", "bad/2.jpg")
    assert describe_alike(many, refused) == []


def test_names_a_class_whose_photos_look_like_test_photos() -> None:
    photos = found(*(f"good/{number}.jpg" for number in range(8)))
    refused = [Refused(f"good/{n}.jpg", "...", "near-duplicates of test photos") for n in range(2)]
    (note,) = describe_alike(photos, refused)
    assert note.startswith("2 of 8 photos of the class 'good' look like val or test photos and are")
    assert describe_alike(photos, refused[:1]) == []


@pytest.mark.parametrize(
    ("why", "advice"),
    [
        ("has 0 usable photos, needs 3: 9 near-duplicates of 'hen' (cow/1.jpg)", "split.group_by"),
        ("has 9 usable photos in 1 family, needs 3", "split.group_by=none, folder, prefix"),
        ("has 0 usable photos, needs 3: 5 copies of 'hen' (cow/1.jpg)", "keep each photo in one"),
        ("has 1 usable photo, needs 3: 2 too small (cow/1.jpg)", "lower ingest.min_side"),
        ("has 0 usable photos, needs 3: 3 the file is empty (cow/1.jpg)", "add others"),
    ],
)
def test_the_advice_fits_the_reason(why: str, advice: str) -> None:
    with pytest.raises(TooFewClassesError) as error:
        require_classes(sources("hen", left_out={"cow": why}), SPLITS, may_leave_out=True)
    assert f"'cow' {why}" in str(error.value)
    assert advice in str(error.value).rpartition("; ")[2]


@pytest.mark.parametrize(
    ("splits", "advice"),
    [
        (SplitParameters(group_by="prefix"), "split.group_by=prefix gives too few groups"),
        (SplitParameters(group_pattern="(a)"), "give smaller groups"),
    ],
)
def test_groups_of_the_user_that_are_too_large_are_named(
    splits: SplitParameters, advice: str
) -> None:
    left_out = {"cow": "has 9 usable photos in 2 families, needs 3"}
    with pytest.raises(TooFewClassesError, match=advice):
        require_classes(sources("hen", left_out=left_out), splits, may_leave_out=True)


def test_other_classes_go_on_unless_the_recipe_stops_them() -> None:
    two_left = sources("hen", "pig", left_out={"cow": "has 1 usable photo, needs 3"})
    require_classes(two_left, SPLITS, may_leave_out=True)
    with pytest.raises(TooFewClassesError, match="1 of 3 classes have too few photos"):
        require_classes(two_left, SPLITS, may_leave_out=False)
    require_classes(sources("hen", left_out={}), SPLITS, may_leave_out=False)
    with pytest.raises(TooFewClassesError, match="1 of 1 classes"):
        require_classes(sources(left_out={"cow": "has 1"}), SPLITS, may_leave_out=True)
