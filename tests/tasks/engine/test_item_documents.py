"""What a selection changes of samples."""

import pytest

from models.data.records import Annotation, Artifact, Sample
from tasks.engine.item_documents import with_selection

REASON = "less like the photos of its class"


@pytest.fixture
def sample() -> Sample:
    image = Artifact(key="a", stage="resize", version=1, name="a", media="jpg", digest="d", size=1)
    return Sample(
        name="mug/a",
        split="train",
        image=image,
        annotations=(Annotation(label="mug"),),
        generator="multiview",
        sources=("mug/a",),
        scores={"contrast": 0.5},
    )


def test_a_sample_carries_similarity_and_reason(sample: Sample) -> None:
    marked = with_selection(sample, {sample.image.id: {"similarity": 0.25, "reason": REASON}})
    assert marked.scores == {"contrast": 0.5, "similarity": 0.25}
    assert marked.reject_reason == REASON
    assert with_selection(sample, {}) == sample


def test_what_screening_rejected_keeps_its_reason(sample: Sample) -> None:
    blurred = sample.model_copy(update={"reject_reason": "blurred"})
    assert (
        with_selection(blurred, {sample.image.id: {"similarity": 0.2, "reason": None}}) == blurred
    )
