"""``python -m benchmarks.instances_to_coco FOLDER OUT LABEL``: photos with instance maps as COCO.

FOLDER/SPLIT/images holds photos, FOLDER/SPLIT/instances a grey PNG per photo: 0 is background, and
each object has a number. OUT gets SPLIT.json and links to the photos.
"""

import argparse
from pathlib import Path

import cv2
import numpy as np

from models.data.formats.annotated import AnnotatedImage, ObjectAnnotation
from models.data.formats.coco import write_coco


def main() -> None:
    """Write a COCO file per split."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.instances_to_coco", description=__doc__
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("label", help="class of all objects")
    options = parser.parse_args()
    for split in ("train", "val", "test"):
        maps = sorted((options.folder / split / "instances").glob("*.png"))
        if maps:
            images = options.out / split
            images.mkdir(parents=True, exist_ok=True)
            found = [read_image(path, images, options.label) for path in maps]
            write_coco(options.out / f"{split}.json", found, [options.label])


def read_image(path: Path, images: Path, label: str) -> AnnotatedImage:
    """The photo of an instance map, linked into a folder, with its objects."""
    photo = path.parent.parent / "images" / f"{path.stem}.jpg"
    link = images / photo.name
    if not link.exists():
        link.symlink_to(photo.resolve())
    numbers = np.asarray(cv2.imread(str(path), cv2.IMREAD_UNCHANGED))
    objects = tuple(
        ObjectAnnotation(label, mask=numbers == number)
        for number in np.unique(numbers[numbers > 0])
    )
    return AnnotatedImage(link, numbers.shape[1], numbers.shape[0], objects)


if __name__ == "__main__":
    main()
