"""Settings of the verdict."""

from pydantic import Field

from models.data.records import Record
from models.evaluation.classification import Metric


class VerdictSettings(Record):
    """What decides whether synthetic images help."""

    metric: Metric = Field("f1_macro", description="Test score that decides.")
    margin: float = Field(
        0.03,
        gt=0,
        lt=1,
        description="Synthetic images do not help if their gain is below this with confidence; "
        "a share, so 0.03 is 3 percentage points.",
    )
