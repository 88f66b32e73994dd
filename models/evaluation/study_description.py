"""What a study asks, what it repeats, and the published figures that its own are compared with."""

from typing import Any, Literal

from pydantic import Field, field_validator

from models.data.records import Record
from models.evaluation.classification import Metric

# photos: real photos per class. generated, images: generated images, in percent of the real photos
# or per class, as the grid lists them. method: the series themselves.
Axis = Literal["photos", "generated", "images", "method"]


class PublishedFigure(Record):
    """A figure of the study that is repeated, as its authors published it."""

    series: str = Field(description="The series, as methods of the grid are named.")
    x: str = Field("", description="Where it is on the x axis, as its ticks are named.")
    photos: str = Field("", description="Real photos per class, as in the grid; empty: any.")
    split: Literal["val", "test"] = Field("test", description="The photos that were predicted.")
    figure: Metric = Field(description="The figure's name, as in verdict.metric.")
    value: float = Field(ge=0, le=1, description="The figure; 0.9 is 90 %.")


class Description(Record):
    """What a study asks and how its figures are shown."""

    question: str = Field(
        "How many photos, and how many generated images, does a classifier need?",
        description="What the study finds out, as a question.",
    )
    source: str = Field("", description="Which published study it repeats, and where to read it.")
    needs: str = Field("", description="Photos, checkpoints, GPU and hours that it needs.")
    x: Axis = Field("photos", description="The x axis of its figure.")
    published: tuple[PublishedFigure, ...] = Field(
        (),
        description="Figures of the published study; none: the page has no such column. In place "
        "of x and value, a row may have values: {x: value}.",
    )

    @field_validator("published", mode="before")
    @classmethod
    def _expand(cls, content: Any) -> Any:
        """Rows with several values as one row for each."""
        if not isinstance(content, list):
            return content
        rows: list[Any] = []
        for row in content:
            if isinstance(row, dict) and isinstance(row.get("values"), dict):
                shared = {name: value for name, value in row.items() if name != "values"}
                rows += [{**shared, "x": x, "value": value} for x, value in row["values"].items()]
            else:
                rows.append(row)
        return rows
