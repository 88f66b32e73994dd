"""The verdict: whether synthetic images help, one answer per question.

*Few photos*: images made of the reference photos, against these photos alone. *Adding*: all train
photos with synthetic images, against all train photos alone. In both questions the best training
without synthetic images is the rival, so that a synthetic one helps only if it beats each of them.
"""

from collections.abc import Sequence
from pathlib import Path

from models.evaluation.answers import (
    LEAST_SEEDS,
    Answer,
    Conclusion,
    Outcome,
    Question,
    Trainings,
)
from models.evaluation.classification import Metric
from models.evaluation.comparison import LEVEL, compare, dataset_interval
from models.evaluation.prediction_file.table import read_predictions
from models.evaluation.predictions import DatasetPredictions
from models.evaluation.settings import VerdictSettings
from models.evaluation.wording import say_verdict

# A score that is closer than this to the best constant answer shows no skill.
_LEAST_SKILL = 0.01
_PHOTOS: dict[Question, str] = {"few_photos": "references", "adding": "all"}
REAL = "real"
DEFAULTS = VerdictSettings()


def conclude_from(path: Path) -> Conclusion:
    """The verdict that follows from a run's ``predictions.parquet`` alone.

    Raises:
        ValueError: the file is missing or is no such file, or see `conclude`.
    """
    datasets, settings = read_predictions(path)
    return conclude(datasets, settings)


def conclude(
    datasets: Sequence[DatasetPredictions], settings: VerdictSettings = DEFAULTS
) -> Conclusion:
    """Answer the questions that the trainings allow.

    Synthetic images help if the whole interval of the gain is above zero. They do not help if it is
    below the margin. Otherwise the test cannot decide.

    Raises:
        ValueError: there is no training, or two share a name.
    """
    by_name = {dataset.name: dataset for dataset in datasets}
    if not datasets or len(by_name) != len(datasets):
        raise ValueError(
            f"verdict: got trainings {[dataset.name for dataset in datasets]}; give each once"
        )
    metric = settings.metric
    intervals = {name: dataset_interval(dataset, metric) for name, dataset in by_name.items()}
    trainings = Trainings(by_name, intervals)
    answers = tuple(
        answer
        for question in _PHOTOS
        if (answer := _answer(question, trainings, settings)) is not None
    )
    replacing = tuple(
        compare(by_name[mixed], by_name[real], metric)
        for mixed in trainings.named(True, "some")
        for real in _photos_to_replace(trainings)
    )
    conclusion = Conclusion(
        text="",
        metric=metric,
        margin=settings.margin,
        answers=answers,
        replacing=replacing,
        best=_best(trainings, metric),
        intervals=intervals,
    )
    return conclusion.model_copy(update={"text": say_verdict(conclusion, trainings)})


def _answer(question: Question, trainings: Trainings, settings: VerdictSettings) -> Answer | None:
    """The answer, or None where the trainings do not allow one.

    A candidate must beat every rival, which needs no correction (Berger 1982); several candidates
    share the error by Bonferroni's correction. For the upper end it is the other way round.
    """
    candidates = trainings.named(True, _PHOTOS[question])
    rivals = trainings.named(False, _PHOTOS[question])
    if not candidates or not rivals:
        return None
    level = 1 - (1 - LEVEL) / len(candidates)
    pairs = {
        (candidate, rival): compare(
            trainings.datasets[candidate], trainings.datasets[rival], settings.metric, level
        )
        for candidate in candidates
        for rival in rivals
    }
    upper_level = 1 - (1 - LEVEL) / len(rivals)
    low = {name: min(pairs[name, rival].low for rival in rivals) for name in candidates}
    high = {
        name: min(pairs[name, rival].at(upper_level).high for rival in rivals)
        for name in candidates
    }
    winners = [name for name in candidates if low[name] > 0]
    winner: str | None = None
    outcome: Outcome = "undecided"
    names = [*candidates, *rivals]
    seeds = min(trainings.datasets[name].seeds for name in names)
    if seeds < LEAST_SEEDS or not _has_skill(names, trainings, settings):
        outcome = "no_verdict"
    elif winners:
        outcome, winner = "helps", winners[0]
    elif all(end < settings.margin for end in high.values()):
        outcome, winner = "no_help", rivals[0]
    candidate = winner if outcome == "helps" and winner else candidates[0]
    return Answer(
        question=question,
        outcome=outcome,
        winner=winner,
        candidate=candidate,
        rival=rivals[0],
        gain=pairs[candidate, rivals[0]].difference,
        low=low[candidate],
        high=high[candidate],
        level=LEVEL,
        seeds=seeds,
        photos_per_class=trainings.datasets[rivals[0]].origin.photos_per_class,
        differences=tuple(pairs.values()),
    )


def _photos_to_replace(trainings: Trainings) -> list[str]:
    """The rival of trainings with some photos: ``real``, which has as many images as they have."""
    real = trainings.datasets.get(REAL)
    if real is not None and not real.origin.synthetic:
        return [REAL]
    return trainings.named(False, "all")


def _has_skill(names: Sequence[str], trainings: Trainings, settings: VerdictSettings) -> bool:
    constant = trainings.datasets[names[0]].best_constant(settings.metric)
    best = max(trainings.intervals[name].value for name in names)
    return best > constant + _LEAST_SKILL


def _best(trainings: Trainings, metric: Metric) -> str | None:
    """The training whose interval against each other one is above zero."""
    names = sorted(trainings.intervals, key=lambda name: -trainings.intervals[name].value)
    first, others = names[0], names[1:]
    level = 1 - (1 - LEVEL) / len(names)
    is_ahead = trainings.seeds >= LEAST_SEEDS and all(
        compare(trainings.datasets[first], trainings.datasets[other], metric, level).low > 0
        for other in others
    )
    return first if others and is_ahead else None
