"""What generators learned of each class: the losses in the records of their weights."""

from collections.abc import Iterator

from models.reporting.metrics import Finetuned
from tasks.engine.item_documents import load_records
from tasks.report.data import RunSummary
from tasks.store.store import Store


def find_finetuned(store: Store, summary: RunSummary) -> Iterator[Finetuned]:
    """The trainings of a run's generators, one per class and generator."""
    keys = [found.key for found in summary.references if found.is_learned and found.key]
    for record in load_records(store, keys):
        for artifact in record.earlier if record else ():
            losses = artifact.metadata.get("losses")
            if losses:
                label = str(artifact.variant["label"])
                yield Finetuned(stage=artifact.stage, label=label, losses=losses)
