"""Pictures of rejected images: their own, their parent's, or none; class maps and their colours."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from models.data.formats.polygons import encode_mask
from models.data.records import Annotation, Artifact, Sample
from models.diffusion.safety import UnsafeImage
from tasks.engine.item_documents import save_result
from tasks.engine.run_context import RunContext
from tasks.engine.work_items import GenerationRecord, Result
from tasks.generate.text_to_image import text_to_image
from tasks.report.pictures import draw_rejects, draw_segments
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


def test_every_class_map_names_the_colours_that_it_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    def runs(*rows: list[int]) -> list[str]:
        return [encode_mask(np.array(rows) == number) for number in range(3)]

    shown = {"size": [1, 3], "truth": runs([0, 1, 1]), "prediction": runs([0, 1, 2])}
    test = {"images": ["resize/a", "resize/b"], "maps": [shown, None]}
    photo = SimpleNamespace(name="cat/a")
    scores = {"segments": ["background", "cat", "dog"], "test": test}
    pixels = np.zeros((1, 3, 3), np.uint8)
    run: Any = SimpleNamespace(load=lambda artifact: pixels if artifact is photo else scores)
    monkeypatch.setattr(
        "tasks.report.pictures.find_artifacts", lambda run, names: dict.fromkeys(names, photo)
    )
    checkpoints = [SimpleNamespace(variant={"dataset": "real", "seed": seed}) for seed in (0, 1)]
    summary: Any = SimpleNamespace(checkpoints=checkpoints, scores=["scores", "scores"])
    ((_, truth, predicted),) = draw_segments(run, summary)
    assert (truth.title, truth.caption) == ("truth", "cat: orange")
    assert (predicted.title, predicted.caption) == ("real", "cat: orange, dog: sky blue")
    assert predicted.pixels[0].tolist() == [[0, 0, 0], [230, 159, 0], [86, 180, 233]]
