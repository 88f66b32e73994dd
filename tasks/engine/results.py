"""Expansion: what became of one reference photo, as one document in the store.

A child run writes it last. While it is there with every artifact it names, the reference is done
and no child run needs to be started for it.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from models.data.records import Artifact, Record, Reference, Sample
from tasks.engine.run_context import RunContext, StageCount
from tasks.store.errors import MissingArtifactError
from tasks.store.store import Store

# References whose artifacts are looked for in one go: each has hundreds of them.
LOOKED_AT_ONCE = 16


class Expansion(Record):
    """The samples of one reference, and all artifacts that were made on the way."""

    reference: str
    samples: tuple[Sample, ...]
    artifacts: tuple[Artifact, ...]

    @property
    def counts(self) -> dict[str, StageCount]:
        """Per stage, its artifacts as reused ones; the photo is the parent run's."""
        counts: dict[str, StageCount] = {}
        for artifact in self.artifacts:
            if artifact.stage == "ingest":
                continue
            one = StageCount(
                cached=1,
                rejected=int(artifact.reject_reason is not None),
                safety_retries=int(artifact.metadata.get("retries", 0)),
            )
            counts[artifact.stage] = counts.get(artifact.stage, StageCount()).plus(one)
        return counts


def expansion_key(
    reference: Reference,
    settings: Mapping[str, Any],
    versions: Mapping[str, int],
    beside: Sequence[Artifact],
) -> str:
    """The digest of all that an expansion depends on.

    Args:
        reference: the photo, under its name, class and prompt.
        settings: the recipe's sections that expanding reads.
        versions: the versions of the stages it runs.
        beside: further inputs, such as plates and the index of held-out photos.
    """
    work = {
        "reference": [reference.name, reference.label, reference.prompt, reference.photo.digest],
        "settings": settings,
        "versions": versions,
        "beside": [artifact.digest for artifact in beside],
    }
    text = json.dumps(work, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def load_expansion(store: Store, key: str) -> Expansion | None:
    """The expansion of that key, if it is there with every artifact it names."""
    return next(load_expansions(store, [key]))


def load_expansions(store: Store, keys: Sequence[str]) -> Iterator[Expansion | None]:
    """The expansions of those keys, in their order; None for one that is not there whole."""
    for first in range(0, len(keys), LOOKED_AT_ONCE):
        some = [_document(key) for key in keys[first : first + LOOKED_AT_ONCE]]
        found = [
            None if blob is None else Expansion.model_validate_json(blob)
            for blob in store.get_documents(some)
        ]
        artifacts = [artifact for one in found if one is not None for artifact in one.artifacts]
        gone = {artifact.id for artifact in store.lost(artifacts)}
        for one in found:
            whole = one is not None and gone.isdisjoint(artifact.id for artifact in one.artifacts)
            yield one if whole else None


def samples_of(store: Store, key: str) -> tuple[Sample, ...]:
    """The samples of an expansion that is known to be there.

    Raises:
        MissingArtifactError: it was removed in the meantime; run again.
    """
    return tuple(Sample.model_validate(one) for one in _content(store, key)["samples"])


def artifacts_of(store: Store, key: str) -> list[str]:
    """The ids of all artifacts that an expansion names.

    Raises:
        MissingArtifactError: it was removed in the meantime; run again.
    """
    return [f"{one['stage']}/{one['key']}" for one in _content(store, key)["artifacts"]]


def save_expansion(store: Store, key: str, expansion: Expansion) -> None:
    """Write the document, whole or not at all."""
    store.put_document(_document(key), expansion.model_dump_json(exclude_defaults=True).encode())


def gather_samples(
    run: RunContext,
    reference: Reference,
    images: Sequence[Artifact],
    verdicts: Mapping[str, Mapping[str, Any]],
    finished: Mapping[str, tuple[Artifact, Artifact]],
) -> tuple[Sample, ...]:
    """A sample per image of a reference, and per piece that a stage rejected on the way.

    Args:
        bench: the run, which knows the lineage.
        reference: the photo that all came from.
        images: finished images at the output size.
        verdicts: per image id, the screen's verdict.
        finished: per image id, the JPEG and the mask that datasets hold (accepted images only).
    """
    samples = []
    for image in images:
        jpeg, mask = finished.get(image.id, (image, None))
        sample = _sample(run, reference, image, verdicts[image.id])
        boxes = tuple(tuple(box) for box in mask.metadata["boxes"]) if mask else ()
        samples.append(sample.model_copy(update={"image": jpeg, "mask": mask, "boxes": boxes}))
    for item in run.made.values():
        if item.reject_reason is not None:
            scores = {name: one for name, one in item.metadata.items() if isinstance(one, float)}
            verdict = {"accepted": False, "reason": item.reject_reason, "scores": scores}
            samples.append(_sample(run, reference, item, verdict))
    return tuple(samples)


def _sample(
    run: RunContext, reference: Reference, image: Artifact, verdict: Mapping[str, Any]
) -> Sample:
    lineage = run.lineage(image)
    return Sample(
        name=sample_name(image),
        label=reference.label,
        split=reference.split,
        origin="synthetic",
        source=reference.name,
        image=image,
        seed=image.seed,
        chain=_known(one.stage for one in lineage),
        models=_known(f"{one.stage}:{one.revision or one.model}" for one in lineage if one.model),
        licences=_known(one.licence for one in lineage if one.licence),
        prompt=image.prompt,
        scores=dict(verdict["scores"]),
        accepted=verdict["accepted"],
        reason=verdict["reason"],
    )


def sample_name(image: Artifact) -> str:
    """``<class>/<stem>_view3_copy1_background0_shift2``: stable, readable, never random."""
    shown = ("view", "copy", "background", "shift", "baseline")
    return "_".join(
        [image.name, *(f"{at}{image.variant[at]}" for at in shown if at in image.variant)]
    )


def _content(store: Store, key: str) -> dict[str, Any]:
    blob = store.get_document(_document(key))
    if blob is None:
        raise MissingArtifactError(
            f"{store.url}: expansion {key} was removed during the run; run again"
        )
    content: dict[str, Any] = json.loads(blob)
    return content


def plain_reason(sample: Sample) -> str:
    """The reason of a rejection without its figures and names, for counting."""
    return (sample.reason or "").partition(":")[0].partition(" (")[0]


def _known(names: Any) -> tuple[str, ...]:
    return tuple(dict.fromkeys(names))


def _document(key: str) -> str:
    return f"expansions/{key[:2]}/{key}.json"
