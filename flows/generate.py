"""Generators over their work items: phase after phase, one child run per item."""

from collections.abc import Callable, Sequence, Set

from flows.config.recipe import Recipe
from flows.execution.results import (
    ItemsFailedError,
    raise_corruption,
    require_enough_results,
)
from flows.execution.run_items import Execution, run_items
from flows.finish import Finish
from flows.generate_item import generate_item
from flows.generators.base import Phase
from flows.generators.catalog import find_generator
from flows.items import make_items, require_annotations
from models.data.records import Artifact, Record, Sample, SourceImage, Sources
from tasks.engine.integrity import verify_inputs_on_error
from tasks.engine.item_documents import Selected, load_samples, load_selections
from tasks.engine.run_context import RunContext
from tasks.engine.work_items import ItemConfig, Result, SharedInputs
from tasks.ingest.regions import ingest_regions
from tasks.screen.heldout_index import HeldOut, index_heldout
from tasks.store.store import Store


class Generation(Record):
    """The results of all generators of a run, per generator in the order of its items.

    ``selections`` are the documents of `tasks.screen.select`, if the recipe selects.
    """

    results: dict[str, tuple[Result, ...]]
    selections: tuple[Artifact, ...] = ()

    def load_samples(self, store: Store) -> dict[str, list[Sample]]:
        """Per generator, its finished images, rejected ones included."""
        selected = load_selections(store, self.selections)
        return {
            generator: [
                sample
                for result in results
                if result.failure is None
                for sample in load_samples(store, result.key, selected)
            ]
            for generator, results in self.results.items()
        }

    def with_selections(self, store: Store, documents: Sequence[Artifact]) -> "Generation":
        """The same results after a selection: fewer images are accepted."""
        selected = load_selections(store, documents)
        results = {
            generator: tuple(_with_accepted(store, result, selected) for result in results)
            for generator, results in self.results.items()
        }
        return Generation(results=results, selections=tuple(documents))

    @property
    def all(self) -> list[Result]:
        """The results of all generators."""
        return [result for results in self.results.values() for result in results]


def _with_accepted(store: Store, result: Result, selected: Selected) -> Result:
    if result.failure is not None:
        return result
    samples = load_samples(store, result.key, selected)
    return result.model_copy(update={"accepted": sum(sample.is_accepted for sample in samples)})


def generate_all(
    run: RunContext,
    recipe: Recipe,
    sources: Sources,
    references: Sequence[SourceImage],
    backgrounds: Sequence[Artifact],
    execution: Execution,
    is_last_attempt: bool,
    keep: Callable[[Generation], None] = lambda _: None,
    images_of: Set[str] | None = None,
) -> Generation:
    """Run all generators of a recipe on the same references.

    Args:
        keep: gets the results so far after each generator, also of one that failed.
        images_of: as `generate` has it.

    Raises:
        As `generate`.
    """
    heldout = [source.image for source in sources.of("val", "test")]
    shared = SharedInputs(
        heldout=tuple(index_heldout(run, HeldOut(), heldout)),
        backgrounds=tuple(backgrounds),
        regions=tuple(ingest_regions(run, recipe.regions)),
    )
    finish = Finish(screen=recipe.screen, resize=recipe.resize)
    results: dict[str, tuple[Result, ...]] = {}
    with verify_inputs_on_error(run.store, run.made.values()):
        for name, settings in recipe.generators.items():
            try:
                made = generate(
                    run,
                    name,
                    settings,
                    references,
                    shared,
                    finish,
                    execution,
                    recipe.min_references,
                    is_last_attempt,
                    images_of,
                )
            except ItemsFailedError as error:
                keep(Generation(results={**results, name: error.results}))
                raise
            results[name] = tuple(made)
            keep(Generation(results=results))
    return Generation(results=results)


def generate(
    run: RunContext,
    name: str,
    settings: Record,
    references: Sequence[SourceImage],
    shared: SharedInputs,
    finish: Finish,
    execution: Execution,
    min_results: int | None = None,
    is_last_attempt: bool = False,
    images_of: Set[str] | None = None,
) -> list[Result]:
    """Run all phases of one generator; items that are done start no child run.

    The images of an item that failed take no part in later phases.

    Args:
        run: the parent's context, which receives the counts of the child runs.
        min_results: items that must succeed; None: all.
        is_last_attempt: accept items that failed on corrupt inputs, like other failed items.
        images_of: names of the references that images are made of, while generators learn from all;
            None: all. Images of a class are made of all its references.

    Raises:
        ValueError: a reference lacks the boxes or masks that the generator needs.
        ItemsFailedError: too many items failed.
        MissingArtifactError: an input of an item is corrupt or gone, and this run can recompute it.
    """
    generator = find_generator(name)
    require_annotations(generator, references, settings)
    config = ItemConfig(
        settings=settings.model_dump(mode="json"),
        finish=finish.model_dump(mode="json"),
        shared=shared,
    )
    inputs: dict[str, tuple[Artifact, ...]] = {}
    failed: list[Result] = []
    for phase in generator.phases:
        if images_of is not None and generator.is_last(phase) and phase.unit != "class":
            references = [reference for reference in references if reference.name in images_of]
        items = make_items(generator, phase, settings, references, inputs, config)
        results = run_items(run, items, config, execution, generate_item)
        if not is_last_attempt:
            raise_corruption(results)
        require_enough_results(results, min_results)
        if generator.is_last(phase):
            return [*failed, *results]
        failed += [result for result in results if result.failure]
        lost = {name for result in failed for name in result.sources}
        inputs = outputs_per_class(results, references, phase)
        references = [reference for reference in references if reference.name not in lost]
    return failed


def outputs_per_class(
    results: Sequence[Result], references: Sequence[SourceImage], phase: Phase
) -> dict[str, tuple[Artifact, ...]]:
    """What a phase made, by its class, or by each class of the images that it was made of."""
    classes = {photo.name: {note.label for note in photo.annotations} for photo in references}
    outputs: dict[str, tuple[Artifact, ...]] = {}
    for result in results:
        shown = {label for name in result.sources for label in classes[name]}
        for label in [result.label] if phase.unit == "class" else sorted(shown):
            outputs[label] = (*outputs.get(label, ()), *result.outputs)
    return outputs
