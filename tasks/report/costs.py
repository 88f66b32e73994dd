"""What each training costs, and what a percentage point costs that synthetic images gain."""

from collections.abc import Mapping, Sequence

from models.evaluation.answers import Conclusion
from models.reporting.metrics import Cost, TrainingMetrics
from tasks.embed.embed import embed
from tasks.report.data import RunSummary


def measure_costs(
    summary: RunSummary, trainings: Sequence[TrainingMetrics], verdict: Conclusion | None
) -> dict[str, Cost]:
    """The cost of each training set; several trainings that use generated images share theirs."""
    # The stage that looks at finished images makes none.
    made = (stage for name, stage in summary.stages.items() if name != embed.name)
    generation = sum(stage.cpu_s for stage in made)
    costs = {}
    for name, dataset in summary.datasets.items():
        seconds = [found.seconds for found in trainings if found.dataset == name]
        if seconds:
            costs[name] = Cost(
                generation_s=round(generation, 1) if dataset.origin.synthetic else 0.0,
                training_s=round(sum(seconds) / len(seconds), 2),
            )
    return costs if verdict is None else costs | _per_point(costs, verdict)


def _per_point(costs: Mapping[str, Cost], verdict: Conclusion) -> dict[str, Cost]:
    """The costs of trainings with a rival: the extra seconds for each point that is gained."""
    compared = {}
    for answer in verdict.answers:
        rival = costs[answer.rival]
        for pair in answer.differences:
            if pair.dataset_b == answer.rival and pair.difference > 0:
                own = costs[pair.dataset_a]
                extra = max(0.0, own.total_s - rival.total_s)
                per_point = round(extra / (100 * pair.difference), 2)
                changes = {"rival": answer.rival, "seconds_per_point": per_point}
                compared[pair.dataset_a] = own.model_copy(update=changes)
    return compared
