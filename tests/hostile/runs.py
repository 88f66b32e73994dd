"""Generated inputs through `synthset run`, and whether the run says of each what is true."""

import json
import os
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from models.data.records import SourceImage, Sources
from tasks.engine.run_documents import load_part, make_run_id
from tasks.store.store import open_store
from tests.hostile import (
    alpha_files,
    annotated_sets,
    broken_files,
    file_names,
    folders,
    recipes,
    sound_files,
)
from tests.hostile.folders import CLASSES, Ending, WriteFolder, write_classes
from tests.hostile.kinds import Input, Outcome, WriteFiles
from tests.tiny import Cli, Ended, manifest_of

FILES: dict[str, WriteFiles] = {
    **sound_files.KINDS,
    **alpha_files.KINDS,
    **broken_files.KINDS,
    **file_names.KINDS,
}
FOLDERS: dict[str, WriteFolder] = {**folders.KINDS, **annotated_sets.KINDS, **recipes.KINDS}
# A run of which only the photos matter: one reference, one image.
RECIPE = """\
references_per_class: 1
generators:
  multiview:
    upscale: {factor: 1}
    multiview: {size: 64, views: 1}
    upscale_views: {factor: 1}
    augment: {n_augmentations: 1}
    segment: {working_side: 128, min_score: 0, min_compactness: 0}
    background: {n_backgrounds: 1, width: 64, height: 64}
    outpaint: {grid_size: 2}
ingest: {max_side: 512}
resize: {longest_side: 64}
split: {compare_pictures: false, near_duplicate_bits: 0}
datasets:
  - {name: real, real: 1.0}
train: null
quality: null
"""


@dataclass(frozen=True)
class Finding:
    """What became of an input; ``wrong`` says what is not as it must be, and is empty if all is."""

    kind: str
    name: str
    outcome: Outcome | None
    wrong: str = ""


def run_files(cli: Cli, folder: Path, kinds: Sequence[tuple[str, int]], seed: int) -> list[Finding]:
    """One run over two classes of sound photos and an input of each kind.

    Args:
        kinds: names of kinds, each with the number of its input.
    """
    photos, rng = folder / "photos", np.random.default_rng(seed)
    write_classes(photos, rng, *CLASSES)
    inputs: dict[str, list[Input]] = defaultdict(list)
    for place, (kind, number) in enumerate(kinds):
        path = photos / CLASSES[place % 2] / f"h{place}"
        inputs[kind] += FILES[kind](path, rng, number)
    ended = run_recipe(cli, folder)
    if ended.code != 0 or "Traceback" in ended.err:
        wrong = f"exit code {ended.code}: {ended.err.strip()[-300:]}"
        return [Finding(kind, i.file.name, None, wrong) for kind in inputs for i in inputs[kind]]
    report = Report.read(folder / "out")
    return [
        report.judge(kind, photos, written) for kind, found in inputs.items() for written in found
    ]


def run_folder(cli: Cli, folder: Path, kind: str, number: int, seed: int) -> Finding:
    """One run over a folder or a recipe with a mistake."""
    folder.mkdir(parents=True)
    ending = FOLDERS[kind](folder / "photos", np.random.default_rng(seed), number)
    ended = run_recipe(cli, folder, ending.recipe, ending.options)
    wrong = _check_ending(ending, ended, folder / "out")
    return Finding(kind, str(number), "taken" if ended.code == 0 else "refused", wrong)


def run_recipe(cli: Cli, folder: Path, own_recipe: str = "", options: Sequence[str] = ()) -> Ended:
    """Run a recipe over the photos of a folder.

    Args:
        own_recipe: the path of a recipe to run in place of `RECIPE`.
        options: what the command gets besides recipe, photos and --out.
    """
    recipe = folder / "tiny.yaml"
    recipe.write_text(RECIPE)
    where = ("--photos", folder / "photos", "--out", folder / "out")
    return cli.run("run", own_recipe or recipe, *where, "--json", *options)


@dataclass(frozen=True)
class Report:
    """What a run says of the files of its photo folder.

    ``taken`` are the source images by file, ``refused`` the reasons by file.
    """

    taken: Mapping[str, SourceImage]
    refused: Mapping[str, list[str]]
    notes: Sequence[str]
    manifest: frozenset[str]

    @classmethod
    def read(cls, out: Path) -> "Report":
        """From ``metrics.json``, ``manifest.parquet`` and the sources in the store."""
        metrics = json.loads((out / "metrics.json").read_text(encoding="utf-8"))
        store = open_store(str(out / "store"))
        sources = load_part(store, make_run_id(out), Sources)
        refused: dict[str, list[str]] = defaultdict(list)
        for entry in metrics["refused"]:
            refused[entry["file"]].append(entry["reason"])
        rows = manifest_of(out)
        named = {row["file"] for row in rows if not row["generator"]}
        return cls(
            {image.file: image for image in sources.images},
            refused,
            metrics["notes"],
            frozenset(named),
        )

    def judge(self, kind: str, photos: Path, written: Input) -> Finding:
        """Compare what the run says of a file with what was written."""
        file = written.file.relative_to(photos).as_posix()
        shown, wanted = show_name(file), written.wanted
        image = self.taken.get(file)
        reasons = self.refused.get(shown, [])
        notes = [note for note in self.notes if note.startswith(f"{shown}:")]
        if image is not None and not notes:
            notes = [
                note for note in image.image.metadata.get("notes", ()) if self._is_shared(note)
            ]
        outcome: Outcome | None = None
        if reasons:
            outcome = "refused"
        elif image is not None:
            outcome = "noted" if notes else "taken"
        elif file.endswith(".txt"):
            outcome = "prompt"
        texts = "; ".join([*reasons, *notes])
        wrong = ""
        if outcome is None:
            wrong = "lost in silence"
        elif outcome not in wanted.outcomes:
            wrong = f"is {outcome} instead of {' or '.join(wanted.outcomes)}: {texts}"
        elif outcome in ("noted", "refused") and not re.search(wanted.says, texts):
            wrong = f"{texts!r} does not say {wanted.says!r}"
        elif len(reasons) > 1 or (reasons and image is not None):
            wrong = f"is named {len(reasons)} times: {texts}"
        elif image is not None and f"{image.name}.jpg" not in self.manifest:
            wrong = "is not in the manifest"
        elif image is not None and wanted.size not in (None, _size(image)):
            wrong = f"has {_size(image)} px instead of {wanted.size}"
        elif outcome == "prompt" and not self._is_used(file, wanted.says):
            wrong = "is not the prompt of its photo"
        return Finding(kind, shown, outcome, wrong)

    def _is_shared(self, note: str) -> bool:
        """Whether one line gives this note of many photos; figures in it may differ."""
        ending = re.sub(r"\d+", "0", f" other photos: {note}")
        return any(re.sub(r"\d+", "0", line).endswith(ending) for line in self.notes)

    def _is_used(self, file: str, says: str) -> bool:
        stem = file.removesuffix(".txt")
        owners = [image for name, image in self.taken.items() if name.rpartition(".")[0] == stem]
        return any(image.prompt and re.search(says, image.prompt) for image in owners)


def show_name(file: str) -> str:
    """A path as reports show it: what is no UTF-8 or controls a terminal is escaped."""
    text = os.fsencode(file).decode("utf-8", "backslashreplace")
    escaped = (c if c.isprintable() or c == " " else ascii(c)[1:-1] for c in text)
    return "".join(escaped)


def _check_ending(ending: Ending, ended: Ended, out: Path) -> str:
    """What is wrong about how a run ended; empty if nothing is."""
    lines = [line for line in ended.err.splitlines() if line.startswith("synthset: ")]
    if "Traceback" in ended.err:
        return f"a traceback: {ended.err.strip()[-300:]}"
    if ended.code not in ending.codes:
        return f"exit code {ended.code} instead of {ending.codes}: {' '.join(lines)}"
    if ended.code == 0:
        metrics = json.loads((out / "metrics.json").read_text(encoding="utf-8"))
        missing = set(ending.classes) - set(metrics["classes"])
        if missing:
            return f"lacks the classes {sorted(missing)}"
        notes = "; ".join(metrics["notes"])
        said = re.search(ending.notes, notes)
        return "" if said else f"the notes {notes!r} do not say {ending.notes!r}"
    if len(lines) != 1 or ended.out:
        return f"{len(lines)} error lines, and {len(ended.out)} characters on stdout"
    if len(lines[0]) > 300:
        return f"an error line of {len(lines[0])} characters: {lines[0]}"
    if not re.search(ending.says, lines[0]):
        return f"{lines[0]!r} does not say {ending.says!r}"
    leaves = ending.leaves if ended.code == 1 else ()
    lost = [name for name in leaves if not (out / name).is_file()]
    return f"leaves no {', '.join(lost)}" if lost else ""


def _size(image: SourceImage) -> tuple[int, int]:
    metadata = image.image.metadata
    return int(metadata["width"]), int(metadata["height"])
