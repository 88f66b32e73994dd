from collections import Counter

import pytest

from flows.config.recipe import Recipe
from models.data.records import Sample
from models.data.specs import DatasetSpec
from tasks.assemble.choose import Assemble, DatasetTooSmallError, choose, find_repeated
from tests.tasks.assemble.cases import samples

# The datasets of a recipe that lists none.
DEFAULT = Recipe().dataset_specs
VOLUME_OF_THE_RUN = Assemble()


def draw(
    real: list[Sample],
    synthetic: list[Sample],
    references: tuple[str, ...] = ("a/real0", "b/real0"),
    parameters: Assemble = VOLUME_OF_THE_RUN,
    specs: tuple[DatasetSpec, ...] = DEFAULT,
) -> dict[str, list[Sample]]:
    return choose(specs, real, {"multiview": synthetic}, references, parameters)


def counts(chosen: list[Sample]) -> dict[tuple[str, str], int]:
    return dict(Counter((sample.label, sample.generator) for sample in chosen))


def test_each_default_dataset_has_the_same_volume_per_class() -> None:
    datasets = draw(
        samples("", {"cup": 9, "pan": 7}),
        samples("multiview", {"cup": 40, "pan": 20}),
        references=("cup/real0", "pan/real0"),
    )
    assert list(datasets)[:4] == ["real", "synthetic", "mixed", "few_shot"]
    assert counts(datasets["real"]) == {("cup", ""): 7, ("pan", ""): 7}
    assert counts(datasets["synthetic"]) == {("cup", "multiview"): 7, ("pan", "multiview"): 7}
    assert counts(datasets["mixed"]) == {
        ("cup", ""): 4,
        ("cup", "multiview"): 3,
        ("pan", ""): 4,
        ("pan", "multiview"): 3,
    }


def test_takes_exactly_the_467_images_per_class_of_the_study() -> None:
    datasets = draw(
        samples("", {"a": 467, "b": 500}),
        samples("multiview", {"a": 900, "b": 467}),
        parameters=Assemble(per_class=467),
    )
    assert {len(datasets[name]) for name in ("real", "synthetic", "mixed")} == {934}
    assert counts(datasets["mixed"]) == {
        ("a", ""): 234,
        ("a", "multiview"): 233,
        ("b", ""): 234,
        ("b", "multiview"): 233,
    }


@pytest.mark.parametrize(
    ("real", "synthetic", "line"),
    [
        (
            {"a": 120, "b": 130},
            {"a": 900, "b": 900},
            "datasets.real: class a has 120 real train images of 467 (347 short)",
        ),
        (
            {"a": 467, "b": 467},
            {"a": 900, "b": 90},
            "datasets.synthetic: class b has 90 multiview train images of 467 (377 short)",
        ),
    ],
)
def test_an_error_names_dataset_class_and_gap(
    real: dict[str, int], synthetic: dict[str, int], line: str
) -> None:
    with pytest.raises(DatasetTooSmallError) as error:
        draw(samples("", real), samples("multiview", synthetic), parameters=Assemble(per_class=467))
    assert line in str(error.value)
    assert "\n" not in str(error.value)


def test_names_a_class_without_synthetic_images() -> None:
    with pytest.raises(
        DatasetTooSmallError, match=r"datasets\.synthetic: class b has 0 multiview train images"
    ):
        draw(samples("", {"a": 4, "b": 4}), samples("multiview", {"a": 9}))


def test_names_a_class_without_a_reference() -> None:
    specs = (DatasetSpec(name="few", real="references"),)
    with pytest.raises(DatasetTooSmallError, match=r"datasets\.few: class b has no train image"):
        draw(samples("", {"a": 4, "b": 4}), [], references=("a/real0",), specs=specs)


def test_never_draws_a_rejected_image() -> None:
    synthetic = [
        sample.model_copy(update={"reject_reason": "no contrast" if number % 2 else None})
        for number, sample in enumerate(samples("multiview", {"a": 20, "b": 20}))
    ]
    datasets = draw(samples("", {"a": 9, "b": 9}), synthetic)
    assert all(sample.is_accepted for chosen in datasets.values() for sample in chosen)


def test_draws_from_all_sources_in_turn() -> None:
    datasets = draw(samples("", {"a": 6, "b": 6}), samples("multiview", {"a": 40, "b": 40}))
    sources = Counter(sample.sources for sample in datasets["synthetic"] if sample.label == "a")
    assert len(sources) == 6
    assert max(sources.values()) == 1


def test_few_shot_holds_the_references_alone() -> None:
    references = ("a/real1", "a/real3", "b/real0")
    datasets = draw(
        samples("", {"a": 6, "b": 6}), samples("multiview", {"a": 9, "b": 9}), references
    )
    assert sorted(sample.name for sample in datasets["few_shot"]) == list(references)


def test_baselines_and_additions_hold_all_there_is() -> None:
    datasets = draw(
        samples("", {"a": 6, "b": 3}),
        samples("multiview", {"a": 9, "b": 4}),
        ("a/real1", "a/real3", "b/real0", "b/real2"),
    )
    assert counts(datasets["real_all"]) == {("a", ""): 6, ("b", ""): 3}
    made = {("a", "multiview"): 9, ("b", "multiview"): 4}
    assert counts(datasets["added"]) == {("a", ""): 6, ("b", ""): 3, **made}
    assert counts(datasets["few_shot_added"]) == {("a", ""): 2, ("b", ""): 2, **made}
    # As many other photos as references, where the class has them.
    assert counts(datasets["extra_real"]) == {("a", ""): 4, ("b", ""): 3}
    names = {sample.name for sample in datasets["extra_real"]}
    assert {"a/real1", "a/real3", "b/real0", "b/real2"} < names
    assert len(names) == 7


def test_a_dataset_with_the_images_of_an_earlier_one_is_found() -> None:
    datasets = draw(
        samples("", {"a": 4, "b": 4}),
        samples("multiview", {"a": 9, "b": 9}),
        tuple(f"{label}/real{number}" for label in "ab" for number in range(4)),
    )
    assert find_repeated(datasets) == {
        "few_shot": "real",
        "extra_real": "real",
        "real_all": "real",
        "few_shot_added": "added",
    }


def test_the_draw_depends_on_the_seed_and_not_on_the_order() -> None:
    real, synthetic = samples("", {"a": 30, "b": 30}), samples("multiview", {"a": 60, "b": 60})
    first = draw(real, synthetic, parameters=Assemble(per_class=8))
    reversed_order = draw(real[::-1], synthetic[::-1], parameters=Assemble(per_class=8))
    other = draw(real, synthetic, parameters=Assemble(per_class=8, seed=1))
    assert first == reversed_order
    assert first["real"] != other["real"]


def test_a_larger_volume_keeps_the_images_of_a_smaller_one() -> None:
    real, synthetic = samples("", {"a": 30, "b": 30}), samples("multiview", {"a": 60, "b": 60})
    small = draw(real, synthetic, parameters=Assemble(per_class=8))
    large = draw(real, synthetic, parameters=Assemble(per_class=20))
    for name in ("real", "synthetic"):
        names = {sample.name for sample in large[name]}
        assert {sample.name for sample in small[name]} <= names


def test_a_dataset_of_two_generators_has_the_share_of_each() -> None:
    synthetic = {
        "multiview": samples("multiview", {"a": 40, "b": 40}),
        "image_to_image": samples("image_to_image", {"a": 12, "b": 12}),
    }
    hybrid = DatasetSpec(
        name="hybrid", real=0.5, synthetic={"multiview": 0.25, "image_to_image": 0.25}
    )
    datasets = choose([hybrid], samples("", {"a": 10, "b": 10}), synthetic, [], Assemble())
    assert counts(datasets["hybrid"]) == {
        (label, generator): count
        for label in "ab"
        for generator, count in (("", 10), ("multiview", 5), ("image_to_image", 5))
    }


def test_whole_numbers_are_images_per_class() -> None:
    spec = DatasetSpec(name="exact", real=3, synthetic={"multiview": 30})
    datasets = draw(
        samples("", {"a": 10, "b": 10}), samples("multiview", {"a": 40, "b": 40}), specs=(spec,)
    )
    assert counts(datasets["exact"]) == {
        ("a", ""): 3,
        ("a", "multiview"): 30,
        ("b", ""): 3,
        ("b", "multiview"): 30,
    }


def test_references_and_synthetic_images_can_be_one_dataset() -> None:
    spec = DatasetSpec(name="few_plus", real="references", synthetic={"multiview": 5})
    datasets = draw(
        samples("", {"a": 10, "b": 10}), samples("multiview", {"a": 40, "b": 40}), specs=(spec,)
    )
    assert counts(datasets["few_plus"]) == {
        ("a", ""): 1,
        ("a", "multiview"): 5,
        ("b", ""): 1,
        ("b", "multiview"): 5,
    }


def test_a_volume_of_its_own_does_not_bound_the_other_datasets() -> None:
    specs = (
        DatasetSpec(name="real", real=1.0),
        DatasetSpec(name="tiny", synthetic={"multiview": 1.0}, per_class=2),
    )
    datasets = draw(
        samples("", {"a": 10, "b": 10}), samples("multiview", {"a": 3, "b": 3}), specs=specs
    )
    assert len(datasets["real"]) == 20
    assert len(datasets["tiny"]) == 4
