"""What stands behind a dataset."""

from models.data.specs import Origin
from tasks.assemble.origin import find_origin
from tests.tasks.assemble.cases import samples

PHOTOS = samples("", {"cup": 6, "pan": 8})
REFERENCES = ("cup/real0", "cup/real1", "pan/real0", "pan/real1")
IMAGES = samples("multiview", {"cup": 8, "pan": 8})


def test_generated_images_count_with_the_references() -> None:
    assert find_origin(IMAGES, PHOTOS, REFERENCES) == Origin(
        synthetic=True, photos="references", photos_per_class=2
    )
    few = find_origin(IMAGES[:1], PHOTOS, REFERENCES)
    assert (few.photos, few.photos_per_class) == ("references", 2)


def test_real_photos_are_the_references_some_or_all() -> None:
    references = [photo for photo in PHOTOS if photo.name in REFERENCES]
    assert find_origin(references, PHOTOS, REFERENCES).photos == "references"
    assert find_origin(PHOTOS[:5] + PHOTOS[6:], PHOTOS, REFERENCES).photos == "some"
    assert find_origin(PHOTOS, PHOTOS, REFERENCES) == Origin(photos="all", photos_per_class=6)
    assert find_origin(PHOTOS[3:] + IMAGES, PHOTOS, REFERENCES).photos == "some"
    added = find_origin(PHOTOS + IMAGES, PHOTOS, REFERENCES)
    assert (added.synthetic, added.photos) == (True, "all")


def test_references_that_are_all_photos_count_as_all() -> None:
    everything = [photo.name for photo in PHOTOS]
    assert find_origin(IMAGES, PHOTOS, everything).photos == "all"
