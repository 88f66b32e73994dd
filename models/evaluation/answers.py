"""The verdict as records: one answer per question."""

from dataclasses import dataclass
from typing import Literal

from pydantic import Field

from models.data.records import Record
from models.evaluation.classification import Metric
from models.evaluation.comparison import Difference, Interval
from models.evaluation.predictions import DatasetPredictions

# With fewer seeds, the variance of training is unknown or badly known.
LEAST_SEEDS = 3
Question = Literal["few_photos", "adding"]
Outcome = Literal["helps", "no_help", "undecided", "no_verdict"]


class Answer(Record):
    """The answer to one question, over the pairs of a synthetic and a real-only training.

    ``candidate`` is the best synthetic training and ``rival`` the best real-only one. ``gain`` is
    the candidate's score minus the rival's, with an interval that holds at ``level`` for the best
    rival, whichever that is. ``winner`` is the training to use, or null without a decision.
    """

    question: Question
    outcome: Outcome
    winner: str | None
    candidate: str
    rival: str
    gain: float
    low: float
    high: float
    level: float
    seeds: int = Field(description="The smallest number of seeds of these trainings.")
    photos_per_class: int = Field(description="Real photos behind these trainings, per class.")
    differences: tuple[Difference, ...]


class Conclusion(Record):
    """The verdict of a run. ``text`` is the verdict in words; it opens with the first answer."""

    text: str
    metric: Metric
    margin: float = Field(description="A gain below this is no gain.")
    answers: tuple[Answer, ...]
    replacing: tuple[Difference, ...] = Field(
        description="Some photos replaced by images, against all photos. Decides nothing."
    )
    best: str | None = Field(description="The training that beats each other one, if any.")
    intervals: dict[str, Interval]

    @property
    def winner(self) -> str | None:
        """The training to use: that of the question with the most photos behind it."""
        winners = [answer.winner for answer in self.answers if answer.winner]
        return winners[-1] if winners else None

    @property
    def differences(self) -> tuple[Difference, ...]:
        """All differences of the verdict, in the order of its questions."""
        pairs = tuple(pair for answer in self.answers for pair in answer.differences)
        return (*pairs, *self.replacing)


@dataclass(frozen=True)
class Trainings:
    """The trainings of a run, by name, and their scores by the metric that decides."""

    datasets: dict[str, DatasetPredictions]
    intervals: dict[str, Interval]

    def named(self, synthetic: bool, photos: str) -> list[str]:
        """The trainings with these photos behind them, the best first."""
        found = [
            name
            for name, dataset in self.datasets.items()
            if dataset.origin.synthetic == synthetic and dataset.origin.photos == photos
        ]
        return sorted(found, key=lambda name: -self.intervals[name].value)

    @property
    def seeds(self) -> int:
        """The smallest number of seeds."""
        return min(dataset.seeds for dataset in self.datasets.values())
