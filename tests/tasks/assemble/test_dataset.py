from collections import Counter

import pytest

from models.data.records import Artifact, Sample
from tasks.assemble.dataset import Assemble, TooFew, choose


def image(name: str) -> Artifact:
    return Artifact(
        key=name, stage="resize", version=1, name=name, media="jpg", digest=name, size=1
    )


def samples(origin: str, per_class: dict[str, int], per_source: int = 4) -> list[Sample]:
    return [
        Sample(
            name=f"{label}/{origin}{number}",
            label=label,
            split="train",
            origin=origin,
            source=f"{label}/{origin}{number}"
            if origin == "real"
            else f"{label}/real{number // per_source}",
            image=image(f"{label}-{origin}-{number}"),
        )
        for label, count in per_class.items()
        for number in range(count)
    ]


def counted(chosen: list[Sample]) -> dict[tuple[str, str], int]:
    return dict(Counter((sample.label, sample.origin) for sample in chosen))


def test_every_arm_has_the_same_volume_per_class() -> None:
    real, synthetic = (
        samples("real", {"cup": 9, "pan": 7}),
        samples("synthetic", {"cup": 40, "pan": 20}),
    )
    arms = choose(real, synthetic, [], Assemble())
    assert counted(arms["real"]) == {("cup", "real"): 7, ("pan", "real"): 7}
    assert counted(arms["synthetic"]) == {("cup", "synthetic"): 7, ("pan", "synthetic"): 7}
    assert counted(arms["mixed"]) == {
        ("cup", "real"): 4,
        ("cup", "synthetic"): 3,
        ("pan", "real"): 4,
        ("pan", "synthetic"): 3,
    }


def test_the_studys_467_per_class_is_honoured_exactly() -> None:
    real, synthetic = (
        samples("real", {"a": 467, "b": 500}),
        samples("synthetic", {"a": 900, "b": 467}),
    )
    arms = choose(real, synthetic, [], Assemble(per_class=467))
    assert {arm: len(chosen) for arm, chosen in arms.items()} == dict.fromkeys(arms, 934)
    assert counted(arms["mixed"]) == {
        **{("a", "real"): 234, ("a", "synthetic"): 233},
        **{("b", "real"): 234, ("b", "synthetic"): 233},
    }


@pytest.mark.parametrize(
    ("real", "synthetic", "line"),
    [
        ({"a": 120, "b": 130}, {"a": 900, "b": 900}, "real: class a has 120 train images of 467"),
        (
            {"a": 467, "b": 467},
            {"a": 900, "b": 90},
            "synthetic: class b has 90 train images of 467",
        ),
    ],
)
def test_what_is_short_is_named(real: dict[str, int], synthetic: dict[str, int], line: str) -> None:
    with pytest.raises(TooFew) as fault:
        choose(samples("real", real), samples("synthetic", synthetic), [], Assemble(per_class=467))
    assert line in str(fault.value)
    assert "\n" not in str(fault.value)


def test_a_class_without_synthetic_images_is_named() -> None:
    with pytest.raises(TooFew, match="synthetic: class b has 0 train images"):
        choose(samples("real", {"a": 4, "b": 4}), samples("synthetic", {"a": 9}), [], Assemble())


def test_rejected_images_are_never_drawn() -> None:
    synthetic = [
        sample.model_copy(update={"accepted": number % 2 == 0})
        for number, sample in enumerate(samples("synthetic", {"a": 20, "b": 20}))
    ]
    arms = choose(samples("real", {"a": 9, "b": 9}), synthetic, [], Assemble())
    assert all(sample.accepted for chosen in arms.values() for sample in chosen)


def test_images_are_drawn_from_all_sources_in_turns() -> None:
    arms = choose(
        samples("real", {"a": 6, "b": 6}), samples("synthetic", {"a": 40, "b": 40}), [], Assemble()
    )
    sources = Counter(sample.source for sample in arms["synthetic"] if sample.label == "a")
    assert len(sources) == 6
    assert max(sources.values()) == 1


def test_few_shot_holds_the_references_alone() -> None:
    real = samples("real", {"a": 6, "b": 6})
    references = ["a/real1", "a/real3", "b/real0"]
    arms = choose(real, samples("synthetic", {"a": 9, "b": 9}), references, Assemble(few_shot=True))
    assert sorted(sample.name for sample in arms["few_shot"]) == references


def test_the_draw_follows_the_seed_and_not_the_order() -> None:
    real, synthetic = samples("real", {"a": 30, "b": 30}), samples("synthetic", {"a": 60, "b": 60})
    first = choose(real, synthetic, [], Assemble(per_class=8))
    shuffled = choose(real[::-1], synthetic[::-1], [], Assemble(per_class=8))
    other = choose(real, synthetic, [], Assemble(per_class=8, seed=1))
    assert first == shuffled
    assert first["real"] != other["real"]
