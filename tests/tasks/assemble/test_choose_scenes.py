"""Datasets of whole photos: numbers per counted class, and no class is left out."""

from collections import Counter

import pytest

from models.data.records import Sample
from models.data.specs import DatasetSpec
from tasks.assemble.choose import Assemble
from tasks.assemble.choose_scenes import choose_scenes
from tasks.assemble.gaps import DatasetTooSmallError
from tests.tasks.assemble.cases import samples

REAL = samples("", {"cell": 8, "platelet": 1, "no object": 3})
PAINTED = samples("ddpm_repaint", {"platelet": 6}, per_source=1)


def draw(parameters: Assemble, *specs: dict[str, object]) -> list[dict[str, int]]:
    listed = [DatasetSpec.model_validate({"name": f"d{n}", **s}) for n, s in enumerate(specs)]
    chosen = choose_scenes(listed, REAL, {"ddpm_repaint": PAINTED}, ["cell/real0"], parameters)
    return [dict(Counter(_kind(sample) for sample in found)) for found in chosen.values()]


def _kind(sample: Sample) -> str:
    return f"{sample.generator} {sample.label}".strip()


def test_words_and_shares_take_the_photos_of_each_class_and_those_without_an_object() -> None:
    everything, whole, half, references = draw(
        Assemble(), {"real": "all"}, {"real": 1.0}, {"real": 0.5}, {"real": "references"}
    )
    assert everything == whole == {"cell": 8, "platelet": 1, "no object": 3}
    assert half == {"cell": 4, "platelet": 1, "no object": 2}
    assert references == {"cell": 1}


def test_a_number_counts_images_of_a_class_and_takes_what_there_is() -> None:
    some, mixed, painted = draw(
        Assemble(per_class=4),
        {"real": 5},
        {"real": 0.5, "synthetic": {"ddpm_repaint": 0.5}},
        {"real": "all", "synthetic": {"ddpm_repaint": "all"}},
    )
    assert some == {"cell": 5, "platelet": 1, "no object": 3}
    assert mixed == {"cell": 2, "platelet": 1, "no object": 2, "ddpm_repaint platelet": 2}
    assert painted == {"cell": 8, "platelet": 1, "no object": 3, "ddpm_repaint platelet": 6}


def test_a_class_that_no_photo_is_counted_in_gets_the_images_of_a_generator() -> None:
    spec = DatasetSpec.model_validate({"name": "d", "synthetic": {"ddpm_repaint": "all"}})
    others = [sample for sample in REAL if sample.label == "cell"]
    chosen = choose_scenes([spec], others, {"ddpm_repaint": PAINTED}, [], Assemble())
    assert len(chosen["d"]) == 6


def test_a_dataset_without_images_of_its_generator_is_refused() -> None:
    rejected = [sample.model_copy(update={"reject_reason": "blurred"}) for sample in PAINTED]
    spec = DatasetSpec.model_validate(
        {"name": "added", "real": "all", "synthetic": {"ddpm_repaint": "all"}}
    )
    with pytest.raises(DatasetTooSmallError, match=r"added: ddpm_repaint has no .*6 blurred"):
        choose_scenes([spec], REAL, {"ddpm_repaint": rejected}, [], Assemble())
    empty = DatasetSpec.model_validate({"name": "empty", "real": 0})
    with pytest.raises(DatasetTooSmallError, match=r"datasets\.empty: it has no train image"):
        choose_scenes([empty], REAL, {}, [], Assemble())
