"""The pictures of a report: contact sheets, rejected images, samples, wrong predictions."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from models.data.formats.polygons import decode_runs
from models.data.pixels import Pixels
from models.data.records import Artifact, Sample
from models.quality.records import NearPair, QualityMetrics
from models.reporting.input import RejectGroup, Sheet, Thumb
from tasks.engine.fetch_images import find_artifacts
from tasks.engine.item_documents import load_record, load_selections, with_selection
from tasks.engine.run_context import RunContext
from tasks.engine.work_items import GenerationRecord
from tasks.report.contact_sheets import draw_sheet
from tasks.report.data import ReferenceSummary, RunSummary

SHEETS = 6
PER_REJECT = 6
PER_CLASS = 4
MISTAKES = 12
PAIRS = 3
# Colours of the classes of pixels: Okabe and Ito (2008), which colour-blind readers tell apart.
_COLOURS = {
    "orange": (230, 159, 0),
    "sky blue": (86, 180, 233),
    "green": (0, 158, 115),
    "yellow": (240, 228, 66),
    "blue": (0, 114, 178),
    "red": (213, 94, 0),
    "pink": (204, 121, 167),
}


def draw_sheets(run: RunContext, summary: RunSummary) -> tuple[Sheet, ...]:
    """Contact sheets of some references, as evenly over the classes as possible."""
    with_results = [reference for reference in summary.references if reference.key]
    sheets = []
    for reference in _alternate_classes(with_results)[:SHEETS]:
        record = _load_record(run, summary, reference)
        if record is not None:
            sheets.append(
                draw_sheet(run, reference.name, reference.label, record, summary.shown_as)
            )
    return tuple(sheets)


def draw_rejects(run: RunContext, summary: RunSummary) -> tuple[RejectGroup, ...]:
    """Rejected images by reason, with some examples of each."""
    counts: dict[str, int] = defaultdict(int)
    thumbs: dict[str, list[Thumb]] = defaultdict(list)
    for sample, picture in _rejected(run, summary):
        reason = sample.reject_kind
        counts[reason] += 1
        if picture is not None and len(thumbs[reason]) < PER_REJECT:
            scores = ", ".join(f"{name} {value:g}" for name, value in sample.scores.items())
            title = "; ".join(part for part in (sample.reject_reason, scores) if part)
            thumbs[reason].append(Thumb(run.load(picture), sample.name, title, "hidden"))
    return tuple(
        RejectGroup(reason, counts[reason], tuple(thumbs[reason])) for reason in sorted(counts)
    )


def draw_datasets(run: RunContext, summary: RunSummary) -> dict[str, tuple[Thumb, ...]]:
    """Some train images of each dataset, the same number of every class."""
    return {
        name: _some_of_each_class(run, run.load(dataset.document)["train"])
        for name, dataset in summary.datasets.items()
    }


def draw_test(run: RunContext, summary: RunSummary) -> tuple[Thumb, ...]:
    """Some test photos, the same number of every class."""
    return () if summary.test is None else _some_of_each_class(run, run.load(summary.test)["val"])


def draw_mistakes(run: RunContext, summary: RunSummary) -> tuple[Thumb, ...]:
    """Test photos that most trainings predicted wrongly, the worst first."""
    guesses: dict[str, list[str]] = defaultdict(list)
    labels: dict[str, str] = {}
    for document in summary.scores:
        predictions = run.load(document)
        classes, test = predictions["classes"], predictions["test"]
        if "probabilities" not in test:
            continue
        for image, truth, row in zip(
            test["images"], test["truth"], test["probabilities"], strict=True
        ):
            guess = int(np.argmax(row))
            labels[image] = classes[truth]
            if guess != truth:
                guesses[image].append(classes[guess])
    worst = sorted(guesses, key=lambda image: (-len(guesses[image]), image))[:MISTAKES]
    artifacts = find_artifacts(run, worst)
    thumbs = []
    for image in worst:
        wrong = guesses[image]
        commonest = max(sorted(set(wrong)), key=wrong.count)
        title = f"{labels[image]}, predicted as {commonest}"
        caption = f"{artifacts[image].name}: wrong in {len(wrong)} of {len(summary.scores)}"
        thumbs.append(Thumb(run.load(artifacts[image]), f"{caption} trainings", title))
    return tuple(thumbs)


def draw_segments(run: RunContext, summary: RunSummary) -> tuple[tuple[Thumb, ...], ...]:
    """Some test photos, their true class map, and that of the first seed of each training."""
    rows: dict[str, list[Thumb]] = {}
    seen: set[str] = set()
    for checkpoint, document in zip(summary.checkpoints, summary.scores, strict=True):
        training, predictions = str(checkpoint.variant["dataset"]), run.load(document)
        test = predictions["test"]
        if training in seen or "maps" not in test:
            continue
        seen.add(training)
        shown = {
            image: found
            for image, found in zip(test["images"], test["maps"], strict=True)
            if found is not None
        }
        artifacts = find_artifacts(run, list(shown))
        for image, found in shown.items():
            if image not in rows:
                photo = Thumb(run.load(artifacts[image]), artifacts[image].name, "photo")
                words = _say_colours(found, predictions["segments"])
                rows[image] = [photo, Thumb(_paint(found, "truth"), words, "truth")]
            rows[image].append(Thumb(_paint(found, "prediction"), training))
    return tuple(tuple(row) for row in rows.values())


def _say_colours(found: dict[str, Any], segments: Sequence[str]) -> str:
    """Which class of pixels has which colour, of those that are in a true class map."""
    height, width = found["size"]
    names = list(_COLOURS)
    return ", ".join(
        f"{segments[number + 1]}: {names[number % len(names)]}"
        for number, runs in enumerate(found["truth"][1:])
        if decode_runs(runs, height, width).any()
    )


def _paint(found: dict[str, Any], name: str) -> Pixels:
    """A class map in colours, RGB: background is black."""
    height, width = found["size"]
    picture = np.zeros((height, width, 3), np.uint8)
    colours = list(_COLOURS.values())
    for number, runs in enumerate(found[name][1:]):
        picture[decode_runs(runs, height, width)] = colours[number % len(colours)]
    return picture


def draw_pairs(run: RunContext, quality: QualityMetrics | None) -> tuple[tuple[Thumb, Thumb], ...]:
    """The nearest pairs of each generator and split: the image, and the photo next to it."""
    shown: list[NearPair] = []
    counts: Counter[tuple[str, str]] = Counter()
    for pair in quality.pairs if quality else ():
        group = pair.generator, pair.photos
        counts[group] += 1
        if counts[group] <= PAIRS:
            shown.append(pair)
    artifacts = find_artifacts(run, [name for pair in shown for name in (pair.image, pair.photo)])
    return tuple(
        (
            Thumb(run.load(artifacts[pair.image]), pair.image_name, pair.generator),
            Thumb(
                run.load(artifacts[pair.photo]),
                f"distance {pair.distance:.3f}: {pair.photo_name}",
                f"nearest {pair.photos}",
            ),
        )
        for pair in shown
    )


def _rejected(run: RunContext, summary: RunSummary) -> Iterator[tuple[Sample, Artifact | None]]:
    """Rejected samples with a picture: their own, the one that they were to be made from, or none
    where they were to be made from text."""
    for reference in summary.references:
        record = _load_record(run, summary, reference)
        for sample in record.samples if record else ():
            if record and not sample.is_accepted:
                yield sample, _picture_of(sample, record)


def _load_record(
    run: RunContext, summary: RunSummary, reference: ReferenceSummary
) -> GenerationRecord | None:
    """The record of a reference; images that the selection rejected are rejected."""
    record = load_record(run.store, reference.key) if reference.key else None
    if record is None or not summary.selections:
        return record
    selected = load_selections(run.store, summary.selections)
    samples = tuple(with_selection(sample, selected) for sample in record.samples)
    return record.model_copy(update={"samples": samples})


def _picture_of(sample: Sample, record: GenerationRecord) -> Artifact | None:
    if sample.image.reject_reason is None:
        return sample.image
    parent = next(iter(sample.image.parents), None)
    return next((artifact for artifact in record.artifacts if artifact.id == parent), None)


def _some_of_each_class(run: RunContext, rows: Sequence[Sequence[str]]) -> tuple[Thumb, ...]:
    """Thumbnails of the first images of each class; rows are artifact id and class."""
    chosen: dict[str, list[str]] = defaultdict(list)
    for image, label in rows:
        if len(chosen[label]) < PER_CLASS:
            chosen[label].append(image)
    artifacts = find_artifacts(run, [image for images in chosen.values() for image in images])
    return tuple(
        Thumb(run.load(artifacts[image]), artifacts[image].name.partition("/")[2], label)
        for label, images in sorted(chosen.items())
        for image in images
    )


def _alternate_classes(references: Sequence[ReferenceSummary]) -> list[ReferenceSummary]:
    """The references in an order that takes one of each class after another."""
    by_class: dict[str, list[ReferenceSummary]] = defaultdict(list)
    for reference in references:
        by_class[reference.label].append(reference)
    longest = max((len(queue) for queue in by_class.values()), default=0)
    return [
        queue[turn] for turn in range(longest) for queue in by_class.values() if turn < len(queue)
    ]
