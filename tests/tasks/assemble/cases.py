"""Samples for the tests of datasets, with and without stored bytes."""

import hashlib

import numpy as np
import numpy.typing as npt

from models.data import pixels
from models.data.formats.annotated import box_of_mask
from models.data.formats.polygons import encode_mask
from models.data.records import Annotation, Artifact, Sample, SourceImage, Split
from tasks.store.store import Store


def samples(generator: str, per_class: dict[str, int], per_source: int = 4) -> list[Sample]:
    """Train samples without bytes; ``generator`` is empty for real photos."""
    return [
        Sample(
            name=f"{label}/{generator or 'real'}{number}",
            split="train",
            image=_unstored(f"{label}-{generator}-{number}"),
            annotations=(Annotation(label=label),),
            generator=generator,
            sources=(f"{label}/real{number if not generator else number // per_source}",),
        )
        for label, count in per_class.items()
        for number in range(count)
    ]


def photos_of(real: list[Sample]) -> list[SourceImage]:
    """The train photos that real samples show."""
    return [
        SourceImage(
            name=sample.name,
            file=sample.name,
            split="train",
            image=sample.image,
            annotations=sample.annotations,
        )
        for sample in real
    ]


def stored_sample(
    store: Store,
    name: str,
    split: Split = "train",
    masks: tuple[npt.NDArray[np.bool_], ...] = (),
    version: int = 0,
) -> Sample:
    """A sample whose image and masks are in the store; ``version`` gives it other bytes."""
    label = name.partition("/")[0]
    notes = tuple(
        Annotation(label=label, box=box_of_mask(mask), mask=_put_mask(store, name, number, mask))
        for number, mask in enumerate(masks)
    )
    blob = f"image {name} {version}".encode()
    return Sample(
        name=name,
        split=split,
        image=_put(store, "resize", name, blob, {"width": 20, "height": 10}),
        annotations=notes or (Annotation(label=label),),
        generator="multiview",
        sources=(name,),
        scores={"sharpness": 1.5},
    )


def stored_image(store: Store, name: str, image: pixels.Pixels) -> Artifact:
    """A PNG in the store, as a stage would have left it."""
    made = _put(store, "draw", name, pixels.encode_png(image), {})
    return made.model_copy(update={"shape": image.shape})


def _unstored(name: str) -> Artifact:
    return Artifact(
        key=name, stage="resize", version=1, name=name, media="jpg", digest=name, size=1
    )


def _put_mask(store: Store, name: str, number: int, mask: npt.NDArray[np.bool_]) -> Artifact:
    blob = pixels.encode_png(np.where(mask, 255, 0).astype(np.uint8))
    metadata = {"rle": encode_mask(mask), "area": int(mask.sum()), "object": number}
    return _put(store, "annotate", name, blob, metadata)


def _put(store: Store, stage: str, name: str, blob: bytes, metadata: dict[str, object]) -> Artifact:
    digest = hashlib.sha256(blob).hexdigest()
    artifact = Artifact(
        key=digest,
        stage=stage,
        version=1,
        name=name,
        media="jpg" if stage == "resize" else "png",
        digest=digest,
        size=len(blob),
        metadata=metadata,
    )
    store.put(artifact, blob)
    return artifact
