"""What a run computed and found done, over all the times that damage made it walk its stages."""

from collections.abc import Iterable, Mapping, Sequence

from flows.generate import Outcome
from flows.train_models import Trained
from tasks.engine.run_context import StageCount

Counts = Mapping[str, StageCount]


class Tally:
    """The counts of a run's flows: `begin` a walk, then hand in what each flow counted."""

    def __init__(self) -> None:
        self._walks: list[list[Counts]] = []
        self._fresh: set[str] = set()

    def begin(self, own: Counts) -> None:
        """Another walk over the stages; ``own`` are the parent's counts, which grow meanwhile."""
        self._walks.append([own])

    def add(self, counts: Counts) -> None:
        """The counts of one more flow of this walk."""
        self._walks[-1].append(counts)

    def add_outcomes(self, outcomes: Sequence[Outcome]) -> list[Outcome]:
        """The outcomes, where what an earlier walk expanded does not count as reused."""
        self._walks[-1].extend(one.expanded.counts for one in outcomes if one.expanded)
        new = (one for one in outcomes if one.expanded and not one.cached)
        self._fresh.update(one.reference.name for one in new)
        return [
            one.model_copy(update={"cached": False}) if one.reference.name in self._fresh else one
            for one in outcomes
        ]

    def add_trained(self, trained: Trained) -> Trained:
        """The trainings, where what an earlier walk trained does not count as reused."""
        self.add(trained.counts)
        self._fresh.update(trained.fresh)
        made = (*trained.checkpoints, *trained.scores)
        fresh = tuple(sorted(one.id for one in made if one.id in self._fresh))
        return trained.model_copy(update={"fresh": fresh})

    @property
    def counts(self) -> dict[str, StageCount]:
        """Per stage; what an earlier walk computed and the last one found done was computed."""
        last = _added(self._walks[-1])
        before = _added(counts for walk in self._walks[:-1] for counts in walk)
        for stage, count in last.items():
            earlier = before.get(stage, StageCount()).computed
            last[stage] = StageCount(
                computed=count.computed + earlier,
                cached=max(0, count.cached - earlier),
                rejected=count.rejected,
                safety_retries=count.safety_retries,
            )
        return last


def _added(parts: Iterable[Counts]) -> dict[str, StageCount]:
    total: dict[str, StageCount] = {}
    for part in parts:
        for stage, count in part.items():
            total[stage] = total.get(stage, StageCount()).plus(count)
    return total
