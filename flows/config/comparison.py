"""What a recipe that lists no datasets compares: training sets, and trainings with baselines."""

from collections.abc import Mapping, Sequence

from models.data.names import comparable, find_name_problem
from models.data.specs import DatasetSpec, TrainingSpec
from models.training.settings import TrainingParameters, settings_of


def check_names(section: str, names: Sequence[str], taken: Sequence[str] = ()) -> None:
    """Return if every system can have folders of these names.

    Raises:
        ValueError: a name can't be a folder's, or two are the same there; the line names it.
    """
    known = set(taken)
    for name in names:
        if problem := find_name_problem(name):
            raise ValueError(f"{section}: the name {name!r} {problem}; choose another")
        if comparable(name) in known:
            raise ValueError(f"{section}: the name {name} is taken; choose another")
        known.add(comparable(name))


def default_datasets(generator: str, *, of_some_classes: bool = False) -> tuple[DatasetSpec, ...]:
    """The training sets of a generator.

    ``real``, ``synthetic`` and ``mixed`` have the same number of images, as in the study.

    Args:
        of_some_classes: the generator makes images of some classes alone, so that no dataset needs
            its images in every class.
    """
    made = {generator: "all"}
    specs = tuple(
        DatasetSpec.model_validate(content)
        for content in (
            {"name": "real", "real": 1.0, "description": "real photos"},
            {
                "name": "synthetic",
                "synthetic": {generator: 1.0},
                "description": "synthetic images alone",
            },
            {
                "name": "mixed",
                "real": 0.5,
                "synthetic": {generator: 0.5},
                "description": "half real photos, half synthetic images",
            },
            {
                "name": "few_shot",
                "real": "references",
                "description": "the reference photos alone",
            },
            {
                "name": "extra_real",
                "real": "extra",
                "description": "the reference photos and as many other real photos",
            },
            {"name": "real_all", "real": "all", "description": "all real photos"},
            {
                "name": "added",
                "real": "all",
                "synthetic": made,
                "description": "all real photos and all synthetic images, drawn 1:1",
            },
            {
                "name": "few_shot_added",
                "real": "references",
                "synthetic": made,
                "description": "the reference photos and their synthetic images, drawn 1:1",
            },
        )
    )
    needing_all = ("synthetic", "mixed") if of_some_classes else ()
    return tuple(spec for spec in specs if spec.name not in needing_all)


_BASELINES = (
    TrainingSpec(
        name="few_shot_none",
        dataset="few_shot",
        augment="none",
        description="the reference photos without augmentation",
    ),
    TrainingSpec(
        name="few_shot_crop",
        dataset="few_shot",
        augment="crop",
        description="the reference photos, zoomed, shifted and lit differently",
    ),
    TrainingSpec(
        name="few_shot_randaugment",
        dataset="few_shot",
        augment="randaugment",
        description="the reference photos with RandAugment",
    ),
    TrainingSpec(
        name="few_shot_linear",
        dataset="few_shot",
        classifier="linear",
        description="a linear classifier on pretrained features of the reference photos",
    ),
    TrainingSpec(
        name="real_all_randaugment",
        dataset="real_all",
        augment="randaugment",
        description="all real photos with RandAugment",
    ),
    TrainingSpec(
        name="real_all_linear",
        dataset="real_all",
        classifier="linear",
        description="a linear classifier on pretrained features of all real photos",
    ),
    TrainingSpec(
        name="synthetic_linear",
        dataset="synthetic",
        classifier="linear",
        description="a linear classifier on pretrained features of synthetic images",
    ),
    TrainingSpec(
        name="added_linear",
        dataset="added",
        classifier="linear",
        balanced=True,
        description="a linear classifier on pretrained features of real and synthetic images",
    ),
)


def default_trainings(
    datasets: Sequence[DatasetSpec], *, baselines: bool
) -> tuple[TrainingSpec, ...]:
    """One training per dataset with the settings of ``train``, then perhaps the baselines.

    Real and synthetic images are drawn 1:1 where a dataset holds all synthetic images.
    """
    plain = tuple(
        TrainingSpec(
            name=spec.name,
            dataset=spec.name,
            balanced=True if spec.real and "all" in spec.synthetic.values() else None,
            description=spec.description,
        )
        for spec in datasets
    )
    names = {spec.name for spec in datasets}
    return plain + tuple(spec for spec in _BASELINES if baselines and spec.dataset in names)


def distinct_trainings(
    specs: Sequence[TrainingSpec], parameters: TrainingParameters, repeated: Mapping[str, str]
) -> tuple[tuple[TrainingSpec, ...], tuple[str, ...]]:
    """The trainings that differ from all earlier ones, and notes on the others.

    A training with the name of a repeated dataset needs no note of its own.

    Args:
        parameters: the section ``train``.
        repeated: datasets that hold the images of another one, with the name of that one.
    """
    kept: list[TrainingSpec] = []
    notes = []
    for spec in specs:
        moved = spec.model_copy(update={"dataset": repeated.get(spec.dataset, spec.dataset)})
        settings = settings_of(moved, parameters)
        same = next(
            (
                other.name
                for other in kept
                if other.dataset == moved.dataset and settings_of(other, parameters) == settings
            ),
            None,
        )
        if same is None:
            kept.append(moved)
        elif spec.name not in repeated:
            notes.append(f"{spec.name}: not trained, because it would repeat {same}")
    return tuple(kept), tuple(notes)
