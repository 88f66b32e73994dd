"""What was learned of several classes, as shards of scenes get it: each artifact has its class."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from models.data.records import Artifact
from tasks.engine.work_items import WorkItem

# The class that an artifact was learned of, in its metadata.
_OF_CLASS = "of_class"


def with_classes(
    made: Mapping[str, Sequence[Artifact]], is_wanted: Callable[[str], bool]
) -> tuple[Artifact, ...]:
    """What was learned of the wanted classes, each artifact with its class.

    Args:
        made: by class.
        is_wanted: whether a class gets objects.
    """
    return tuple(
        artifact.model_copy(update={"metadata": {**artifact.metadata, _OF_CLASS: label}})
        for label in sorted(made)
        if is_wanted(label)
        for artifact in made[label]
    )


def inputs_by_class(item: WorkItem) -> Iterator[tuple[str, list[Artifact]]]:
    """The classes of an item's inputs, sorted, and the inputs of each; a plan has one class."""

    def class_of(artifact: Artifact) -> str:
        return str(artifact.metadata.get(_OF_CLASS, item.label))

    for label in sorted({class_of(artifact) for artifact in item.inputs}):
        yield label, [artifact for artifact in item.inputs if class_of(artifact) == label]


def of_stages(artifacts: Iterable[Artifact], *stages: str) -> list[Artifact]:
    """The artifacts that these stages made."""
    return [artifact for artifact in artifacts if artifact.stage in stages]
