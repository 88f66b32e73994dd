"""What a run that ends early leaves: a report and a manifest of all that it made until then."""

import contextlib
import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from flows.build_datasets import Datasets
from flows.config.checkpoints import checkpoint_warnings
from flows.config.recipe import Recipe
from flows.generate import Generation
from flows.summary import summarize
from flows.train_models import Trained
from models.data.error_lines import shorten
from models.data.records import Sample, SourceImage, Sources
from tasks.assemble.gaps import count_reasons
from tasks.assemble.manifest import write_manifest
from tasks.assemble.samples import real_sample
from tasks.assemble.write_datasets import OWNED
from tasks.engine.run_context import RunContext
from tasks.report.write import write_report
from tasks.store.errors import StoreError

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


@contextlib.contextmanager
def report_early_end(run: RunContext, recipe: Recipe, out: Path, steps: Steps) -> Iterator[None]:
    """Run the steps; if one fails, write the report and the manifest of what the others made.

    The error has a note with the folder of both, or with the reason why they could not be
    written. Before any photo was read, and where the store fails, nothing is written.

    Args:
        out: the folder of the run. If it holds datasets of an earlier run, its folder
            ``ended-early`` is used, so that the earlier report stays with its datasets.

    Raises:
        RunEndedError: bad input ended the run after photos were read; the line says why.
        Exception: any other error, as the step raised it.
    """
    try:
        yield
    except StoreError:
        raise
    except Exception as error:
        if steps.sources is None:
            raise
        line = " ".join(str(error).split()) or type(error).__name__
        note = _try_to_write(run, recipe, out, steps, steps.sources, line)
        if not isinstance(error, ValueError | FileNotFoundError):
            error.add_note(note)
            raise
        ended = RunEndedError(line)
        ended.add_note(note)
        raise ended from error


def _try_to_write(
    run: RunContext, recipe: Recipe, out: Path, steps: Steps, sources: Sources, line: str
) -> str:
    """Write report and manifest; a sentence on where they are, or on why there are none."""
    folder = out / FOLDER if steps.datasets is None and (out / OWNED).exists() else out
    try:
        _write(run, recipe, folder, steps, sources, line)
    except Exception as problem:
        # Whatever it is, it must not hide why the run ended.
        why = shorten(" ".join(f"{type(problem).__name__}: {problem}".split()), 200)
        is_expected = isinstance(problem, OSError | StoreError)
        log.warning(
            "the report of the run that ended early can't be written: %s",
            why,
            exc_info=not is_expected,
        )
        return f"no report shows what was made, because it can't be written: {why}"
    return f"report.html and manifest.parquet in {folder} show what was made"


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
