"""The pictures of a report: every intermediate of some references, rejects, samples, mistakes."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from models.data.records import Artifact, Sample
from models.reporting.input import RejectGroup, Sheet, Thumb
from tasks.engine.fetch_images import find_artifacts
from tasks.engine.results import load_expansion, plain_reason
from tasks.engine.run_context import RunContext
from tasks.report.contact_sheets import draw_sheet
from tasks.report.data import Story

SHEETS = 6
PER_REJECT = 6
PER_CLASS = 4
MISTAKES = 12


def draw_sheets(run: RunContext, story: Story) -> tuple[Sheet, ...]:
    """A contact sheet for some references, of every class in turns."""
    chosen = _in_turns([one for one in story.references if one.key])[:SHEETS]
    sheets = []
    for reference in chosen:
        expansion = load_expansion(run.store, str(reference.key))
        if expansion is not None:
            sheets.append(draw_sheet(run, reference.name, reference.label, expansion))
    return tuple(sheets)


def draw_rejects(run: RunContext, story: Story) -> tuple[RejectGroup, ...]:
    """What was made and left out, by reason, with some examples."""
    counts: dict[str, int] = defaultdict(int)
    shown: dict[str, list[Thumb]] = defaultdict(list)
    for sample, picture in _rejected(run, story):
        reason = plain_reason(sample)
        counts[reason] += 1
        if len(shown[reason]) < PER_REJECT:
            scores = ", ".join(f"{name} {value:g}" for name, value in sample.scores.items())
            title = f"{sample.reason}; {scores}"
            shown[reason].append(Thumb(run.load(picture), sample.name, title, "hidden"))
    return tuple(
        RejectGroup(reason, counts[reason], tuple(shown[reason])) for reason in sorted(counts)
    )


def draw_datasets(run: RunContext, story: Story) -> dict[str, tuple[Thumb, ...]]:
    """Some train images of each dataset, the same number of every class."""
    return {
        arm: _some_of_each(run, run.load(document)["train"]) for arm, document in story.arms.items()
    }


def draw_test(run: RunContext, story: Story) -> tuple[Thumb, ...]:
    """Some test photos, the same number of every class."""
    return _some_of_each(run, run.load(story.test)["val"])


def draw_mistakes(run: RunContext, story: Story) -> tuple[Thumb, ...]:
    """Test photos that most networks got wrong, the worst first."""
    wrong: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for checkpoint, document in zip(story.checkpoints, story.scores, strict=True):
        found = run.load(document)
        classes, test = found["classes"], found["test"]
        for image, truth, row in zip(
            test["images"], test["truth"], test["probabilities"], strict=True
        ):
            guess = int(np.argmax(row))
            if guess != truth:
                wrong[image].append((str(checkpoint.variant["arm"]), classes[guess]))
    worst = sorted(wrong, key=lambda image: (-len(wrong[image]), image))[:MISTAKES]
    artifacts = find_artifacts(run, worst)
    thumbs = []
    for image in worst:
        guesses = [guess for _, guess in wrong[image]]
        common = max(sorted(set(guesses)), key=guesses.count)
        caption = f"{artifacts[image].label}, taken for {common}"
        title = f"{artifacts[image].name}: wrong in {len(guesses)} of {len(story.scores)} networks"
        thumbs.append(Thumb(run.load(artifacts[image]), caption, title))
    return tuple(thumbs)


def _rejected(run: RunContext, story: Story) -> Iterable[tuple[Sample, Artifact]]:
    """Rejected samples with a picture: their own, or what they were to be made of."""
    for reference in story.references:
        expansion = load_expansion(run.store, reference.key) if reference.key else None
        for sample in expansion.samples if expansion else ():
            if sample.accepted or expansion is None:
                continue
            picture = sample.image
            if picture.reject_reason is not None:
                picture = next(one for one in expansion.artifacts if one.id == picture.parents[0])
            yield sample, picture


def _some_of_each(run: RunContext, rows: Sequence[Sequence[str]]) -> tuple[Thumb, ...]:
    shown: dict[str, list[str]] = defaultdict(list)
    for image, label in rows:
        if len(shown[label]) < PER_CLASS:
            shown[label].append(image)
    artifacts = find_artifacts(run, [image for images in shown.values() for image in images])
    return tuple(
        Thumb(run.load(artifacts[image]), label, artifacts[image].name)
        for label, images in sorted(shown.items())
        for image in images
    )


def _in_turns(references: Sequence[Any]) -> list[Any]:
    queues: Mapping[str, list[Any]] = defaultdict(list)
    for one in references:
        queues[one.label].append(one)
    longest = max((len(queue) for queue in queues.values()), default=0)
    return [
        queue[turn] for turn in range(longest) for queue in queues.values() if turn < len(queue)
    ]
