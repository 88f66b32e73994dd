"""Choose scenes: which whole photos and painted scenes of several classes each dataset holds."""

from collections.abc import Mapping, Sequence

from models.data.records import Sample
from models.data.specs import DatasetSpec
from tasks.assemble.choose import Assemble, numbers_of, take_by_word
from tasks.assemble.draw import draw_images
from tasks.assemble.gaps import DatasetTooSmallError, explain_rejections


def choose_scenes(
    specs: Sequence[DatasetSpec],
    real: Sequence[Sample],
    synthetic: Mapping[str, Sequence[Sample]],
    references: Sequence[str],
    parameters: Assemble,
) -> dict[str, list[Sample]]:
    """The train images of each dataset, with all their objects.

    A number holds for the images that are counted in a class, and so does a share: 1.0 is
    ``per_class`` images or, without it, as many as there are real photos counted in that class. A
    dataset takes what there is where a class has fewer.

    Args:
        synthetic: per generator, its images.

    Raises:
        DatasetTooSmallError: a dataset would hold no image, or none of a generator that it names.
    """
    images = draw_images(real, synthetic, references, parameters.seed, of_real_classes=False)
    datasets: dict[str, list[Sample]] = {}
    for spec in specs:
        chosen = take_by_word(spec.real, images.real, images.references)
        for label in images.classes:
            volume = spec.per_class or parameters.per_class or len(images.real[label])
            count, numbers = numbers_of(spec, volume)
            chosen += images.real[label][:count]
            for generator, number in numbers.items():
                chosen += images.synthetic[generator][label][:number]
        _require_images(spec, chosen, synthetic)
        datasets[spec.name] = chosen
    return datasets


def _require_images(
    spec: DatasetSpec, chosen: Sequence[Sample], synthetic: Mapping[str, Sequence[Sample]]
) -> None:
    """Return if a dataset has images, and some of each generator that it names."""
    found = {sample.generator for sample in chosen}
    for generator, wanted in spec.synthetic.items():
        if wanted and generator not in found:
            why = explain_rejections(synthetic[generator])
            reasons = f" (rejected {why})" if why else ""
            raise DatasetTooSmallError(
                f"datasets.{spec.name}: {generator} has no image that can be used{reasons}; look at"
                " the rejected images in the report, or remove it from this dataset"
            )
    if not chosen:
        raise DatasetTooSmallError(
            f"datasets.{spec.name}: it has no train image; add photos, or correct its field real"
        )
