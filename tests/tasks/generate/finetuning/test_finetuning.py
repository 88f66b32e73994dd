"""The stages that learn a class from its photos: keys, resuming, what they leave, and errors."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models.data.pixels import decode, encode_png
from models.data.records import Annotation, Artifact, SourceImage
from tasks.engine.run_context import RunContext
from tasks.generate.finetuning.dreambooth import one_network
from tasks.generate.finetuning.scratch import remove_copies, remove_states
from tasks.generate.finetuning.textual_inversion import one_word, textual_inversion
from tasks.settings.finetuning import LearnWordOn, TuneUnetOn
from tasks.store.layout import digest_of
from tasks.store.store import open_store
from tests.checkpoints import sd15

CHECKPOINT = "stable-diffusion-v1-5/stable-diffusion-v1-5"
TINY: dict[str, Any] = {
    **{"size": 64, "steps": 5, "accumulation": 1, "save_every": 2},
    **{"samples": 2, "sample_every": None},
    **{"model": "sd15", "checkpoint": CHECKPOINT, "vae": None},
}
WORD = LearnWordOn(**TINY)
LORA = TuneUnetOn(**TINY, lora_rank=2, prior_images=0)


@pytest.fixture(scope="module")
def models_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from models.checkpoints.import_folder import import_checkpoint

    published, folder = tmp_path_factory.mktemp("published"), tmp_path_factory.mktemp("models")
    sd15.build(published / CHECKPOINT)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SYNTHSET_MODELS", str(folder))
        import_checkpoint(CHECKPOINT, published, lambda *_: None)
    return folder


@pytest.fixture(autouse=True)
def use_models(models_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SYNTHSET_MODELS", str(models_folder))


def open_run(folder: Path, **functions: Any) -> RunContext:
    return RunContext(open_store(folder / "store"), "test", folder / "scratch", **functions)


def put_photo(run: RunContext, name: str, seed: int) -> SourceImage:
    """A photo of random pixels in the store."""
    image = np.random.default_rng(seed).integers(0, 256, (64, 72, 3), np.uint8)
    blob = encode_png(image)
    artifact = Artifact(
        key=f"{seed:064x}",
        stage="ingest",
        version=1,
        name=name,
        media="png",
        digest=digest_of(blob),
        size=len(blob),
    )
    run.store.put(artifact, blob)
    label = name.partition("/")[0]
    notes = (Annotation(label=label),)
    return SourceImage(name=name, file=name, split="train", image=artifact, annotations=notes)


def photos_of(run: RunContext, label: str, first: int) -> list[SourceImage]:
    return [put_photo(run, f"{label}/{number}", first + number) for number in range(3)]


def test_a_changed_photo_retrains_one_class_and_a_renamed_one_none(tmp_path: Path) -> None:
    run = open_run(tmp_path)
    mugs, kiwis = photos_of(run, "mug", 0), photos_of(run, "kiwi_fruit", 10)
    for label, photos in (("mug", mugs), ("kiwi_fruit", kiwis)):
        textual_inversion.run(run, WORD, photos, label)
    assert run.counts["textual_inversion"].computed == 2

    again = open_run(tmp_path)
    changed = [put_photo(again, "mug/0", 99), *mugs[1:]]
    renamed = [kiwis[0].model_copy(update={"name": "kiwi_fruit/z"}), *kiwis[1:]][::-1]
    (mug,) = textual_inversion.run(again, WORD, changed, "mug")
    (kiwi,) = textual_inversion.run(again, WORD, renamed, "kiwi_fruit")
    assert again.fresh == {mug.id}
    assert kiwi.variant["initializer"] == "fruit"
    assert (kiwi.name, kiwi.metadata["word"]) == ("kiwi_fruit/textual_inversion", "<funny-ret>")
    assert len(kiwi.metadata["losses"]) == 5
    assert set(kiwi.parents) == {photo.image.id for photo in kiwis}


def test_a_cancelled_training_continues_and_gives_the_same_weights(tmp_path: Path) -> None:
    def learn(run: RunContext) -> Artifact:
        (made,) = textual_inversion.run(run, WORD, photos_of(run, "mug", 0), "mug")
        return made

    steps: list[int] = []

    def on_batch(stage: str, done: int, _total: int) -> None:
        steps.extend([done] if stage == "textual_inversion · mug" else [])

    whole = learn(open_run(tmp_path / "whole"))
    cancelled = open_run(
        tmp_path / "killed", on_batch=on_batch, is_cancelled=lambda: len(steps) == 3
    )
    with pytest.raises(KeyboardInterrupt):
        learn(cancelled)
    resumed = learn(open_run(tmp_path / "killed", on_batch=on_batch))
    assert steps == [1, 2, 3, 3, 4, 5]
    assert (resumed.key, resumed.digest) == (whole.key, whole.digest)
    assert resumed.metadata == whole.metadata


def test_leaves_losses_and_sample_sheets_and_removes_the_state(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("models.diffusion.finetuning.samples.STEPS", 2)
    run = open_run(tmp_path)
    sampled = WORD.model_copy(update={"sample_every": 3})
    made = textual_inversion.run(run, sampled, photos_of(run, "mug", 0), "mug")
    (folder,) = (run.scratch / "textual_inversion").iterdir()
    assert (folder / "state.pt").is_file()
    remove_states(run, made)
    left = sorted(str(file.relative_to(folder)) for file in folder.rglob("*.*"))
    sheets = ["samples/step-000003.png", "samples/step-000005.png"]
    assert left == ["losses.csv", "losses.svg", *sheets]
    rows = (folder / "losses.csv").read_text().split()
    assert rows[0] == "step,loss"
    assert len(rows) == 1 + 5
    first, last = (decode((folder / sheet).read_bytes()) for sheet in sheets)
    assert first.shape == last.shape == (64, 2 * 64, 3)
    assert not np.array_equal(first, last)


def test_a_copy_for_drawing_is_removed_and_the_store_keeps_its_file(tmp_path: Path) -> None:
    run = open_run(tmp_path)
    weights = put_photo(run, "mug/0", 0).image
    own = run.fetch(weights)
    remove_copies(run, [weights])
    assert own.is_file()
    copy = run.scratch / "files" / weights.digest[:16] / "weights"
    copy.parent.mkdir(parents=True)
    copy.touch()
    remove_copies(run, [weights])
    assert not copy.exists()


def test_samples_and_saves_are_not_part_of_the_key(tmp_path: Path) -> None:
    run = open_run(tmp_path)
    photos = photos_of(run, "mug", 0)
    (job,) = one_word(WORD, photos, "mug")
    other = WORD.model_copy(update={"save_every": 9, "sample_every": None, "samples": 9})
    assert textual_inversion.key(job, other) == textual_inversion.key(job, WORD)
    faster = WORD.model_copy(update={"learning_rate": 0.1})
    assert textual_inversion.key(job, faster) != textual_inversion.key(job, WORD)
    (own,) = one_word(
        WORD.model_copy(update={"initializers": {"mug": "cup", "tin": "can"}}), photos, "mug"
    )
    assert own.variant["initializer"] == "cup"


def test_the_prior_images_and_texts_of_a_class_are_part_of_its_job(tmp_path: Path) -> None:
    run = open_run(tmp_path)
    photos, priors = photos_of(run, "ice_cream", 0), photos_of(run, "prior", 20)
    settings = LORA.model_copy(update={"prompt": "a photo of {word} {label}", "prior_images": 3})
    (job,) = one_network(settings, photos, [prior.image for prior in priors], "ice_cream")
    assert job.variant == {
        "label": "ice_cream",
        "photos": 3,
        "prompt": "a photo of sks ice cream",
        "prior_prompt": "a photo of ice cream",
    }
    assert [image.name for image in job.inputs[3:]] == [prior.name for prior in priors]


def test_a_class_without_photos_or_prior_images_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="class 'mug': it has no photo to learn from; give 3 to 5"):
        one_word(WORD, [], "mug")
    photos = photos_of(open_run(tmp_path), "mug", 0)
    with pytest.raises(ValueError, match="no photo to learn from"):
        one_network(LORA, [], [], "mug")
    with pytest.raises(ValueError, match="no prior image is left, because all were flagged"):
        one_network(LORA.model_copy(update={"prior_images": 5}), photos, [], "mug")
