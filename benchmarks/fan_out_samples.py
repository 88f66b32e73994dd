"""Makes the references and samples of the simulated fan-out, without pixels."""

from benchmarks.artifacts import artifact_of
from models.data.records import Annotation, Lineage, Sample, SourceImage, Split
from models.data.splits.near_duplicates import HASH_BITS, HashedPhoto

GENERATOR = "multiview"
CLASSES = 3
SAMPLES = 4
# Scores of every sample; screening accepts them.
SCORES = {"contrast": 0.5, "sharpness": 20.0, "object_fraction": 0.3, "cut_fraction": 0.0}


def draw_references(count: int) -> list[SourceImage]:
    """Return references in `CLASSES` classes, whose photos don't exist."""
    return [make_photo(number, "train") for number in range(count)]


def make_photo(number: int, split: Split) -> SourceImage:
    """Return a photo of a class in a split; it has no file."""
    label = f"class_{number % CLASSES}"
    name = f"{label}/{split}_{number:05d}"
    image = artifact_of("ingest", name, "png")
    return SourceImage(
        name=name,
        file=f"{name}.jpg",
        split=split,
        image=image.model_copy(update={"digest": image.key}),
        annotations=(Annotation(label=label),),
    )


def make_photo_sample(photo: SourceImage) -> Sample:
    """Return the real sample of a photo."""
    return Sample(
        name=photo.name,
        split=photo.split,
        image=photo.image,
        annotations=photo.annotations,
        sources=(photo.name,),
        lineage=Lineage(stages=("ingest", "resize")),
    )


def make_sample(source: SourceImage, copy: int) -> Sample:
    """Return a synthetic sample of a photo; its number is ``copy``."""
    name = f"{source.name}_view0_copy{copy}"
    mask = artifact_of("annotate", name, "png")
    stages = ("ingest", "upscale", "multiview", "augment", "outpaint", "resize")
    return Sample(
        name=name,
        split="train",
        image=artifact_of("resize", name, "jpg"),
        annotations=(Annotation(label=source.label, box=(10, 10, 80, 80), mask=mask),),
        generator=GENERATOR,
        sources=(source.name,),
        lineage=Lineage(stages=stages, seed=copy),
        scores=SCORES,
    )


def make_hashed(photo: SourceImage) -> HashedPhoto:
    """Return a photo with hashes, which are bits of its digest."""
    code, key = int(photo.image.digest, 16), photo.image.key
    mirrored = code ^ (2**HASH_BITS - 1)
    return HashedPhoto(photo.file, "all", None, key, code, mirrored)
