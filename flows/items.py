"""Work items of a phase, and the plan of one."""

from collections.abc import Iterator, Sequence

from flows.finish import plan_finish
from flows.generators.base import Generator, Phase
from models.data.records import NO_OBJECT_LABEL, Artifact, Record, SourceImage
from tasks.assemble.resize import Resize
from tasks.engine.planning_run import PlanningRun
from tasks.engine.work_items import ItemConfig, SharedInputs, WorkItem, item_key


def make_items(
    generator: Generator,
    phase: Phase,
    settings: Record,
    references: Sequence[SourceImage],
    inputs: dict[str, tuple[Artifact, ...]],
    config: ItemConfig,
) -> list[WorkItem]:
    """The work items of a phase: one per image, per class or per shard.

    The item of a class holds all references that show the class, whatever else they show. Images
    and classes that get no images have no item.
    """
    groups = [
        (name, sources)
        for name, sources in _groups(phase, references)
        if _is_wanted(generator, phase, settings, name, sources)
    ]
    if not groups:
        return []
    planned = PlanningRun()
    probe = _item(generator, phase, settings, *groups[0], inputs)
    plan_item(planned, generator, phase, settings, probe, config.shared, Resize())
    versions = {stage: found.version for stage, found in planned.stages.items()}
    items = []
    for number, (name, sources) in enumerate(groups):
        item = _item(generator, phase, settings, name, sources, inputs, number)
        key = item_key(
            generator.name,
            phase.name,
            sources,
            item.inputs,
            config,
            versions,
            item.of_class,
            item.number,
        )
        items.append(item.model_copy(update={"key": key}))
    return items


def require_annotations(
    generator: Generator, references: Sequence[SourceImage], settings: Record
) -> None:
    """Return if every reference has the boxes or masks that a generator needs.

    Raises:
        ValueError: one has not; the line names it.
    """
    for reference in references:
        for note in reference.annotations:
            if note.label == NO_OBJECT_LABEL:
                continue
            has = {"boxes": note.box is not None, "masks": note.mask is not None}
            for need in sorted(generator.needs | generator.needs_of(settings)):
                if not has[need]:
                    raise ValueError(
                        f"generators.{generator.name}: it needs {need}, and {reference.file} has "
                        "none; give photos as a COCO, VOC or YOLO dataset"
                    )


def plan_item(
    run: PlanningRun,
    generator: Generator,
    phase: Phase,
    settings: Record,
    item: WorkItem,
    shared: SharedInputs,
    resizing: Resize,
) -> list[Artifact]:
    """Call a phase on a run that computes nothing: its stages, their counts and their costs."""
    outputs = phase.run(run, settings, item, shared)
    if generator.is_last(phase):
        plan_finish(run, outputs, shared, resizing)
    return outputs


def _item(
    generator: Generator,
    phase: Phase,
    settings: Record,
    name: str,
    sources: Sequence[SourceImage],
    inputs: dict[str, tuple[Artifact, ...]],
    number: int = 0,
) -> WorkItem:
    item = WorkItem(
        generator=generator.name,
        phase=phase.name,
        name=name,
        key="planned",
        sources=tuple(sources),
        of_class=name if phase.unit == "class" else "",
        number=number if phase.unit == "shard" else 0,
    )
    if phase.choose_inputs is None:
        made = tuple(found for label in sorted(item.classes) for found in inputs.get(label, ()))
    else:
        made = phase.choose_inputs(settings, sources, inputs)
    return item.model_copy(update={"inputs": made})


def _is_wanted(
    generator: Generator, phase: Phase, settings: Record, name: str, sources: Sequence[SourceImage]
) -> bool:
    if phase.only_wanted:
        return generator.makes_objects_of(settings, name)
    if not generator.is_last(phase):
        return True
    shown = {note.label for source in sources for note in source.annotations}
    return generator.makes_images_for(settings, [name] if phase.unit == "class" else shown)


def _groups(
    phase: Phase, references: Sequence[SourceImage]
) -> Iterator[tuple[str, list[SourceImage]]]:
    if phase.unit == "image":
        for reference in references:
            yield reference.name, [reference]
    elif phase.unit == "class":
        shown = {note.label for reference in references for note in reference.annotations}
        for label in sorted(shown - {NO_OBJECT_LABEL}):
            yield label, [reference for reference in references if reference.shows(label)]
    else:
        for number, first in enumerate(range(0, len(references), phase.shard_size)):
            yield f"shard {number}", list(references[first : first + phase.shard_size])
