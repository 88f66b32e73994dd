"""Pictures of rejected images: their own, their parent's, or none."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from models.data.records import Annotation, Artifact, Sample
from models.diffusion.safety import UnsafeImage
from tasks.engine.item_documents import save_result
from tasks.engine.run_context import RunContext
from tasks.engine.work_items import GenerationRecord, Result
from tasks.generate.text_to_image import text_to_image
from tasks.report.pictures import draw_rejects
from tasks.settings.text_to_image import TextToImageSd15
from tasks.store.store import open_store


def rejected(image: Artifact) -> Sample:
    return Sample(
        name=f"{image.name}_image{image.variant['image']}",
        split="train",
        image=image,
        annotations=(Annotation(label="kiwi"),),
        sources=("kiwi/1",),
        reject_reason=image.reject_reason,
    )


def test_images_that_were_to_be_made_from_text_are_counted_without_a_picture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "models.runtime.network_pool.infer",
        lambda _kind, _weights, requests: [UnsafeImage("flagged: twice", 1) for _ in requests],
    )
    run = RunContext(open_store(tmp_path / "store"), "test")
    text_to_image.run(run, TextToImageSd15(n_images=2), "kiwi")
    images = tuple(run.made.values())
    record = GenerationRecord(samples=tuple(map(rejected, images)), artifacts=images)
    save_result(run.store, Result(key="k" * 64), record)
    summary: Any = SimpleNamespace(selections=(), references=[SimpleNamespace(key="k" * 64)])
    (group,) = draw_rejects(run, summary)
    assert (group.reason, group.count, group.thumbs) == ("flagged", 2, ())
