"""What a run that ends early leaves: a report and a manifest of all that it made until then."""

import logging
import time
from dataclasses import dataclass, field
from pathlib import Path

from flows.build_datasets import Datasets, count_reasons
from flows.config.checkpoints import checkpoint_warnings
from flows.config.recipe import Recipe
from flows.generate import Generation
from flows.summary import summarize
from flows.train_models import Trained
from models.data.records import Sample, SourceImage, Sources
from tasks.assemble.manifest import write_manifest
from tasks.assemble.samples import real_sample
from tasks.assemble.write_datasets import OWNED
from tasks.engine.run_context import RunContext
from tasks.report.write import write_report
from tasks.store.errors import StoreError, UnreadableArtifactError

log = logging.getLogger("synthset.pipeline")

# Where the report goes if the folder holds the datasets of an earlier run.
FOLDER = "ended-early"


class RunEndedError(RuntimeError):
    """A run ended after it had computed something; the line says why."""


@dataclass
class Steps:
    """What the steps of a run have made so far."""

    started: float = field(default_factory=time.monotonic)
    sources: Sources | None = None
    generation: Generation = field(default_factory=lambda: Generation(results={}))
    datasets: Datasets | None = None

    def keep_generation(self, generation: Generation) -> None:
        """Note the results of the generators that have ended."""
        self.generation = generation


def report_early_end(
    run: RunContext, recipe: Recipe, out: Path, steps: Steps, error: Exception
) -> Exception:
    """Write the report and the manifest of a run that ends with an error; the error to raise.

    It has a note with the folder of both. Before any photo was read there is nothing to write.

    Args:
        out: the folder of the run. If it holds datasets of an earlier run, its folder
            ``ended-early`` is used, so that the earlier report stays with its datasets.
    """
    if steps.sources is None:
        return error
    folder = out / FOLDER if steps.datasets is None and (out / OWNED).exists() else out
    line = " ".join(str(error).split()) or type(error).__name__
    is_input = isinstance(error, ValueError | FileNotFoundError)
    ended = RunEndedError(line) if is_input else error
    try:
        _write(run, recipe, folder, steps, steps.sources, line)
    except (OSError, StoreError, UnreadableArtifactError) as problem:
        log.warning("the report of the run that ended early can't be written: %s", problem)
    else:
        ended.add_note(f"report.html and manifest.parquet in {folder} show what was made")
    return ended


def _write(
    run: RunContext, recipe: Recipe, folder: Path, steps: Steps, sources: Sources, line: str
) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    made = steps.generation.load_samples(run.store).values()
    samples = [sample for found in made for sample in found]
    if steps.datasets is None:
        real = [_unresized(source) for source in sources.images]
        write_manifest(folder / "manifest.parquet", [*real, *samples], sources.refused, {})
    summary = summarize(
        recipe,
        sources,
        steps.generation,
        steps.datasets,
        Trained(),
        run,
        checkpoint_warnings(recipe),
        steps.started,
    )
    write_report(
        run,
        summary.model_copy(update={"problem": line, "rejects": count_reasons(samples)}),
        folder,
    )


def _unresized(source: SourceImage) -> Sample:
    """The sample of a photo whose dataset file was not made yet."""
    masks = [note.mask for note in source.annotations if note.mask is not None]
    return real_sample(source, source.image, {mask.id: mask for mask in masks})
