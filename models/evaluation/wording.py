"""The verdict in words."""

from collections.abc import Iterator

import numpy as np

from models.evaluation.answers import LEAST_SEEDS, Answer, Conclusion, Trainings
from models.evaluation.classification import Metric
from models.evaluation.comparison import Difference

# Below this number of test photos, one class has a large influence on a macro average.
FEW_PHOTOS = 10
# A test that decides a true gain of the observed size in four of five runs.
POWER = 0.8
# Numbers of photos and seeds above these are of no use to anybody.
_MOST_PHOTOS, _MOST_SEEDS = 100_000, 50
_METRICS: dict[Metric, str] = {
    "accuracy": "accuracy",
    "f1_macro": "macro F1",
    "f1_weighted": "weighted F1",
    "miou": "mean IoU",
    "map_50_95": "mean AP",
    "map_50": "mean AP50",
}


def say_verdict(conclusion: Conclusion, trainings: Trainings) -> str:
    """One sentence per answer, then the figures of each, then what limits them."""
    sentences = [_say_answer(answer, conclusion, trainings) for answer in conclusion.answers]
    if sentences and all(answer.seeds < LEAST_SEEDS for answer in conclusion.answers):
        sentences = [f"No verdict on synthetic images: {_say_seeds(trainings.seeds)}."]
    if not sentences:
        sentences = [
            "No training answers whether synthetic images help: none with them has a rival that "
            "saw the same real photos without them."
        ]
    for answer in conclusion.answers:
        sentences += _say_figures(answer, conclusion, trainings)
    return " ".join([*sentences, *_say_limits(trainings)])


def _say_answer(answer: Answer, conclusion: Conclusion, trainings: Trainings) -> str:
    count = answer.photos_per_class
    photos = f"{count} photo{'' if count == 1 else 's'} per class" if count else "these photos"
    is_few = answer.question == "few_photos"
    start = f"With {photos}" if is_few else "Added to all train photos"
    if answer.outcome == "no_verdict":
        if answer.seeds < LEAST_SEEDS:
            return f"{start}, synthetic images have no verdict: {_say_seeds(answer.seeds)}."
        return f"{start}, no training beats the best constant answer; correct the training first."
    if answer.outcome == "helps":
        scores = _compare_scores(answer, conclusion, trainings, " instead of ", "")
        return f"{start}, synthetic images help: {scores}."
    scores = _compare_scores(answer, conclusion, trainings, " with them, ", " without")
    if answer.outcome == "no_help":
        limit = f"a gain of {100 * conclusion.margin:g} points or more is excluded"
        return f"{start}, synthetic images do not help: {scores}; {limit}."
    if is_few:
        return f"{start}, this test cannot decide whether synthetic images help: {scores}."
    return (
        "This test cannot decide whether synthetic images help when added to all train photos: "
        f"{scores}."
    )


def _say_seeds(seeds: int) -> str:
    count = f"{seeds} seeds are" if seeds > 1 else "1 seed is"
    return f"{count} too few; train with {LEAST_SEEDS} or more, better with 5"


def _compare_scores(
    answer: Answer, conclusion: Conclusion, trainings: Trainings, between: str, end: str
) -> str:
    """``91 % instead of 84 % of test photos right``.

    The metric that decides takes the place of accuracy where the two disagree.
    """
    names = (answer.candidate, answer.rival)
    ahead, behind = (conclusion.intervals[name].value for name in names)
    what, head = "", f"{_METRICS[conclusion.metric]} "
    datasets = [trainings.datasets[name] for name in names]
    if datasets[0].shown_metric == "accuracy":
        right, others = (float(dataset.values("accuracy").mean()) for dataset in datasets)
        if (right - others) * answer.gain > 0 or right == others:
            ahead, behind, what, head = right, others, " of test photos right", ""
    decimals = 0 if abs(ahead - behind) >= 0.015 else 1
    first, second = (f"{100 * value:.{decimals}f} %" for value in (ahead, behind))
    if end:
        return f"{head}{first}{what}{between}{second}{end}"
    return f"{head}{first}{between}{second}{what}"


def _say_figures(answer: Answer, conclusion: Conclusion, trainings: Trainings) -> Iterator[str]:
    count = len({pair.dataset_b for pair in answer.differences})
    best = f", the best of {count} trainings without synthetic images" if count > 1 else ""
    ahead, behind = (
        100 * conclusion.intervals[name].value for name in (answer.candidate, answer.rival)
    )
    yield (
        f"The deciding score, {_METRICS[conclusion.metric]}, is {ahead:.1f} with "
        f"{answer.candidate} and {behind:.1f} with {answer.rival}{best}: gain "
        f"{100 * answer.gain:+.1f} points, {100 * answer.level:g} % interval "
        f"{100 * answer.low:+.1f} to {100 * answer.high:+.1f}."
    )
    if answer.outcome == "undecided":
        pairs = [pair for pair in answer.differences if pair.dataset_a == answer.candidate]
        yield from say_needed_size(min(pairs, key=lambda pair: pair.low))


def say_needed_size(pair: Difference) -> Iterator[str]:
    """How many test photos, or seeds, would decide a true gain of the observed size.

    Nothing is said of a gain below its standard error, which may be any size or none.
    """
    from scipy import stats

    if pair.difference <= pair.standard_error:
        return
    quantiles = stats.norm.ppf((1 + pair.level) / 2) + stats.norm.ppf(POWER)
    wanted = (pair.difference / quantiles) ** 2
    options = []
    if pair.seed_variance < wanted:
        photos = pair.photos * pair.photo_variance / (wanted - pair.seed_variance)
        options.append((_round_up(photos), _MOST_PHOTOS, "test photos"))
    if pair.photo_variance < wanted and pair.seed_variance > 0:
        seeds = pair.seeds * pair.seed_variance / (wanted - pair.photo_variance)
        options.append((_round_up(seeds), _MOST_SEEDS, "seeds"))
    useful = [f"{number:,} {what}" for number, most, what in options if number <= most]
    if useful:
        yield (f"About {' or '.join(useful)} would show a true gain of this size in 4 of 5 runs.")
    else:
        yield "A gain of this size needs both more test photos and more seeds."


def _round_up(number: float) -> int:
    """The number rounded up to two digits."""
    unit = 10 ** max(0, int(np.floor(np.log10(max(number, 1)))) - 1)
    return int(np.ceil(number / unit) * unit)


def _say_limits(trainings: Trainings) -> Iterator[str]:
    dataset = next(iter(trainings.datasets.values()))
    photos, families = len(dataset.y_true), dataset.family_count
    groups = f" in {families:,} families of near-duplicates" if families < photos else ""
    seeds = f" and {trainings.seeds} seeds" if trainings.seeds > 1 else ", not over seeds"
    yield f"Intervals are over {photos:,} test photos{groups}{seeds}."
    yield (
        "They hold for these references and this split; another draw of references can move a "
        "figure by several points."
    )
    counts = dataset.photos_by_class
    few = [name for name, amount in counts.items() if 0 < amount < FEW_PHOTOS]
    if few:
        yield f"Fewer than {FEW_PHOTOS} test photos: {', '.join(few)}."
    absent = [name for name, amount in counts.items() if amount == 0]
    if absent:
        yield f"No test photo, so left out of the figures: {', '.join(absent)}."
