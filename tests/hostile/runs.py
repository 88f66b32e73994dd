"""Generated inputs through `synthset run`, and whether the run says of each what is true."""

import json
import os
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import yaml

from models.data.records import SourceImage, Sources
from tasks.engine.run_documents import load_part, make_run_id
from tasks.store.store import open_store
from tests.hostile import (
    alpha_files,
    annotated_sets,
    broken_files,
    file_names,
    folders,
    metadata_files,
    recipes,
    sound_files,
)
from tests.hostile.endings import CLASSES, Ending, FolderKind, write_classes
from tests.hostile.kinds import FileKind, Input, Outcome
from tests.tiny import RECIPE, Cli, Ended, manifest_of

FILES: dict[str, FileKind] = {
    **sound_files.KINDS,
    **metadata_files.KINDS,
    **alpha_files.KINDS,
    **broken_files.KINDS,
    **file_names.KINDS,
}
FOLDERS: dict[str, FolderKind] = {**folders.KINDS, **annotated_sets.KINDS, **recipes.KINDS}


@dataclass(frozen=True)
class Finding:
    """What became of an input; ``wrong`` says what is not as it must be, and is empty if all is."""

    kind: str
    name: str
    outcome: Outcome | None
    wrong: str = ""


def run_files(cli: Cli, folder: Path, cases: Sequence[tuple[str, int]], seed: int) -> list[Finding]:
    """One run over two classes of sound photos and an input of each case.

    Args:
        cases: names of kinds, each with the number of a case.
    """
    photos, rng = folder / "photos", np.random.default_rng(seed)
    write_classes(photos, rng, *CLASSES)
    inputs: dict[str, list[Input]] = defaultdict(list)
    for place, (kind, case) in enumerate(cases):
        path = photos / CLASSES[place % 2] / f"h{place}"
        inputs[kind] += FILES[kind].write(path, rng, case)
    ended = run_recipe(cli, folder)
    if ended.code != 0 or "Traceback" in ended.err:
        wrong = f"exit code {ended.code}: {ended.err.strip()[-300:]}"
        return [Finding(kind, i.file.name, None, wrong) for kind in inputs for i in inputs[kind]]
    report = Report.read(folder / "out")
    return [
        report.judge(kind, photos, written) for kind, found in inputs.items() for written in found
    ]


def run_folder(cli: Cli, folder: Path, kind: str, case: int, seed: int) -> Finding:
    """One run over a folder or a recipe with a mistake."""
    folder.mkdir(parents=True)
    ending = FOLDERS[kind].write(folder / "photos", np.random.default_rng(seed), case)
    ended = run_recipe(cli, folder, ending.recipe, ending.options)
    wrong = _check_ending(ending, ended, folder / "out")
    return Finding(kind, f"case {case}", "taken" if ended.code == 0 else "refused", wrong)


def run_recipe(cli: Cli, folder: Path, own_recipe: str = "", options: Sequence[str] = ()) -> Ended:
    """Run a recipe over the photos of a folder.

    Args:
        own_recipe: the path of a recipe to run in place of that of `make_recipe`.
        options: what the command gets besides recipe, photos and --out.
    """
    recipe = folder / "tiny.yaml"
    recipe.write_text(make_recipe())
    where = ("--photos", folder / "photos", "--out", folder / "out")
    return cli.run("run", own_recipe or recipe, *where, "--json", *options)


def make_recipe() -> str:
    """The tests' tiny recipe for runs of which only the photos matter: one reference, no training.

    The split does not compare photos, so that no generated photo is taken for a copy.
    """
    content = yaml.safe_load(RECIPE)
    content["generators"]["multiview"]["multiview"]["views"] = 1
    content |= {
        "references_per_class": 1,
        "ingest": {"max_side": 512},
        "split": {"compare_pictures": False, "near_duplicate_bits": 0},
        "datasets": [{"name": "real", "real": 1.0}],
        "train": None,
    }
    text: str = yaml.safe_dump(content)
    return text


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
        elif outcome != wanted.outcome:
            wrong = f"is {outcome} instead of {wanted.outcome}: {texts}"
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
    if ended.code != ending.code:
        return f"exit code {ended.code} instead of {ending.code}: {' '.join(lines)}"
    if ended.code == 0:
        metrics = json.loads((out / "metrics.json").read_text(encoding="utf-8"))
        if set(metrics["classes"]) != set(ending.classes):
            return f"has the classes {metrics['classes']} instead of {ending.classes}"
        said = any(re.search(ending.notes, note) for note in metrics["notes"])
        return "" if said or not ending.notes else f"no note says {ending.notes!r}"
    if len(lines) != 1 or ended.out:
        return f"{len(lines)} error lines, and {len(ended.out)} characters on stdout"
    if len(lines[0]) > 300:
        return f"an error line of {len(lines[0])} characters: {lines[0]}"
    if not re.search(ending.says, lines[0]):
        return f"{lines[0]!r} does not say {ending.says!r}"
    lost = [name for name in ending.leaves if not (out / name).is_file()]
    return f"leaves no {', '.join(lost)}" if lost else ""


def _size(image: SourceImage) -> tuple[int, int]:
    metadata = image.image.metadata
    return int(metadata["width"]), int(metadata["height"])
