"""What generators learned of each class: losses and scores in the records of their weights."""

from collections import Counter
from collections.abc import Iterator

from models.data.records import Artifact
from models.reporting.metrics import Finetuned
from tasks.engine.item_documents import load_records
from tasks.report.data import RunSummary
from tasks.store.store import Store


def find_finetuned(store: Store, summary: RunSummary) -> Iterator[Finetuned]:
    """The trainings of a run's generators, each once: per class, or of several classes."""
    keys = [found.key for found in summary.references if found.is_learned and found.key]
    trained: dict[str, Artifact] = {}
    for record in load_records(store, keys):
        for artifact in record.earlier if record else ():
            if artifact.metadata.get("losses"):
                trained.setdefault(artifact.id, artifact)
    unnamed: Counter[str] = Counter()
    for artifact in trained.values():
        label = artifact.variant.get("label")
        if label is None:
            unnamed[artifact.stage] += 1
            label = f"network {unnamed[artifact.stage]}"
        yield Finetuned(
            stage=artifact.stage,
            label=str(label),
            losses=artifact.metadata["losses"],
            loss_every=artifact.metadata.get("loss_every", 1),
            scores=tuple(
                (row["step"], row["score"]) for row in artifact.metadata.get("evaluations", ())
            ),
        )
