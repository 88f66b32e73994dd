"""Classes with too few images: the reasons by class, and what helps."""

import pytest

from flows.config.recipe import Recipe
from models.data.records import Annotation, Sample
from models.data.specs import DatasetSpec
from tasks.assemble.choose import Assemble, choose
from tasks.assemble.gaps import DatasetTooSmallError
from tasks.assemble.short_classes import find_short_classes, mark_left_out, require_datasets
from tests.tasks.assemble.cases import samples

REAL = samples("", {"cow": 6, "hen": 6, "pig": 6})
REFERENCES = ("cow/real0", "hen/real0", "pig/real0")
DEFAULT = Recipe().dataset_specs


def rejected(label: str, *reasons: str) -> list[Sample]:
    made = samples("multiview", {label: len(reasons)})
    return [
        sample.model_copy(update={"reject_reason": reason})
        for sample, reason in zip(made, reasons, strict=True)
    ]


def find(
    synthetic: list[Sample],
    references: tuple[str, ...] = REFERENCES,
    specs: tuple[DatasetSpec, ...] = DEFAULT,
    parameters: Assemble | None = None,
) -> dict[str, str]:
    made = {"multiview": synthetic}
    return find_short_classes(specs, REAL, made, references, parameters or Assemble())


def test_counts_the_reasons_of_a_class_without_images() -> None:
    made = samples("multiview", {"hen": 9, "pig": 2})
    made += rejected("cow", "blurred", "mask too small", "blurred")
    assert find(made) == {
        "cow": "has 0 usable of 3 images of multiview: 2 blurred (cow/multiview0), 1 mask too"
        " small (cow/multiview1)"
    }


def test_a_dataset_of_all_images_says_why_there_are_none() -> None:
    every = (DatasetSpec(name="made", synthetic={"multiview": "all"}),)
    made = samples("multiview", {"hen": 9, "pig": 2}) + rejected("cow", "blurred", "blurred")
    assert find(made, specs=every) == {
        "cow": "has 0 usable of 2 images of multiview: 2 blurred (cow/multiview0)"
    }


def test_one_image_is_too_few_and_the_other_classes_can_be_made() -> None:
    made = samples("multiview", {"cow": 1, "hen": 9, "pig": 5})
    short = find(made)
    assert short == {"cow": "has 1 usable of 1 images of multiview, needs 2"}
    train = [sample for sample in REAL if sample.label not in short]
    chosen = choose(DEFAULT, train, {"multiview": made}, REFERENCES, Assemble())
    assert {sample.label for sample in chosen["mixed"]} == {"hen", "pig"}


def test_tells_failed_references_from_none() -> None:
    made = samples("multiview", {"pig": 9})
    assert find(made, references=("cow/real0", "pig/real0")) == {
        "cow": "has only references that failed for multiview",
        "hen": "has no reference for multiview",
    }
    few = (DatasetSpec(name="few", real="references"),)
    assert find([], references=("cow/real0", "pig/real0"), specs=few) == {
        "hen": "has no reference in the dataset few"
    }


def test_a_volume_that_the_recipe_sets_is_no_reason_to_leave_a_class_out() -> None:
    made = samples("multiview", {"cow": 5, "hen": 9, "pig": 9})
    assert find(made, parameters=Assemble(per_class=6)) == {}
    made = [*samples("multiview", {"hen": 9, "pig": 9}), *rejected("cow", "blank", "blank")]
    assert find(made, parameters=Assemble(per_class=6)).keys() == {"cow"}


@pytest.mark.parametrize(
    ("reason", "advice"),
    [
        ("blank", "lower screen.min_contrast"),
        ("blurred", "lower screen.min_sharpness"),
        ("object cut", "raise screen.max_cut"),
        ("mask too large", "raise screen.max_object"),
        ("near-duplicate of a sibling", "lower screen.sibling_bits"),
        ("too near to a held-out photo: cow/3", "fixed camera, set screen.heldout_bits=0"),
        ("no object found: its alpha is empty", "the object stands out"),
        ("mask uncertain (score 0.10)", "the object stands out"),
    ],
)
def test_the_advice_fits_the_commonest_reason(reason: str, advice: str) -> None:
    made = [*samples("multiview", {"pig": 9}), *rejected("cow", reason, reason, "blank", reason)]
    made += rejected("hen", reason)
    with pytest.raises(DatasetTooSmallError) as error:
        require_datasets(find(made), 3, may_leave_out=True)
    assert advice in str(error.value).rpartition("; ")[2]
    assert "2 of 3 classes have too few train images: 'cow' has 0 usable of 4" in str(error.value)
    assert len(str(error.value)) < 300


def test_one_class_ends_the_run_only_if_the_recipe_says_so() -> None:
    short = {"cow": "has only references that failed for multiview"}
    require_datasets(short, 3, may_leave_out=True)
    with pytest.raises(DatasetTooSmallError, match="see the failed references in the report"):
        require_datasets(short, 3, may_leave_out=False)
    with pytest.raises(DatasetTooSmallError, match="1 of 2 classes"):
        require_datasets(short, 2, may_leave_out=True)


def test_samples_of_a_class_that_is_left_out_are_rejected_and_keep_an_earlier_reason() -> None:
    listed = [*samples("", {"cow": 1, "hen": 1}), *rejected("cow", "blank")]
    reasons = [sample.reject_reason for sample in mark_left_out(listed, {"cow": "has 0 of 1"})]
    assert reasons == ["its class has 0 of 1; it is left out", None, "blank"]


def test_a_scene_with_an_object_of_a_class_that_is_left_out_is_in_no_dataset() -> None:
    scenes = samples("copy_paste", {"hen": 3})
    notes = (*scenes[1].annotations, Annotation(label="cow"))
    scenes[1] = scenes[1].model_copy(update={"annotations": notes, "counted_as": "hen"})
    marked = mark_left_out(scenes, {"cow": "has 0 of 1"})
    reason = "the class 'cow' of an object has 0 of 1; it is left out"
    assert [sample.reject_reason for sample in marked] == [None, reason, None]
    spec = DatasetSpec(name="hybrid", real="all", synthetic={"copy_paste": "all"})
    real = [sample for sample in REAL if sample.label == "hen"]
    chosen = choose([spec], real, {"copy_paste": marked}, REFERENCES, Assemble())
    labels = {note.label for sample in chosen["hybrid"] for note in sample.annotations}
    assert labels == {"hen"}
