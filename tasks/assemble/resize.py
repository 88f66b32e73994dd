"""Resize: the image as a dataset holds it, aspect ratio kept, never enlarged, JPEG."""

from collections.abc import Iterator, Sequence

from pydantic import Field

from models.data import pixels
from models.data.records import Record
from tasks.engine.jobs import StageInput, StageOutput
from tasks.engine.planning_run import Cost
from tasks.engine.stage import stage


class Resize(Record):
    """How large, and how well kept, the images of a dataset are."""

    longest_side: int = Field(512, ge=32, le=4096, description="Longer side at most, px.")
    quality: int = Field(
        92, ge=50, le=100, description="JPEG quality (chroma is never subsampled)."
    )


@stage(
    "resize",
    version=1,
    media="jpg",
    cost=Cost(
        ms=1,
        ms_per_mp=7,
        mb_per_mp=0.25,
        # Of an image with sides of 3 : 4.
        megapixels=lambda parameters, mp: min(mp, parameters.longest_side**2 * 0.75 / 1e6),
    ),
)
def resize(inputs: Sequence[StageInput], parameters: Resize) -> Iterator[StageOutput]:
    """RGB JPEGs; ``metadata`` has width and height."""
    for item in inputs:
        image = pixels.rgb(pixels.fit_within(item.load(), parameters.longest_side))
        height, width = image.shape[:2]
        blob = pixels.encode_jpeg(image, parameters.quality)
        yield StageOutput(blob, metadata={"width": width, "height": height})
