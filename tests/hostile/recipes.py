"""Recipes and options with a mistake, over sound photos."""

from pathlib import Path

import numpy as np

from tests.hostile.folders import (
    CLASSES,
    Ending,
    WriteFolder,
    bad,
    write_classes,
)

Rng = np.random.Generator
_FIELDS = (
    ("ingest.max_sde=64", "ingest.max_sde"),
    ("nosuch.field=1", "nosuch"),
    ("generators.multiview.outpaint.kk=3", "outpaint.kk"),
    ("outpaint.k=3", "renamed"),
    ("plates=scenes", "renamed"),
    ("ingest.max_side=large", "ingest.max_side"),
    ("ingest.max_side=8", "ingest.max_side"),
    ("split.val=1.5", "split.val"),
    ("split.test=0.9", r"split.*val \+ test"),
    ("generators.nosuch={}", "nosuch.*there is no such generator"),
    ("generators={}", "at least one generator"),
    ("generators.multiview.segment.model=unet", "segment.model.*unet"),
    ("generators.multiview.segment.checkpoint=a/b", "segment.*checkpoint"),
    ("profile=quantum", "profile"),
    ("split.group_pattern=(", "group_pattern"),
    ("split.group_pattern=abc", "captures nothing"),
    ("split.group_file=nowhere.csv", "group_file.*nowhere.csv"),
    ("backgrounds=nowhere", "backgrounds.*nowhere"),
    ("datasets=[{name: a b, real: 1.0}]", "datasets"),
    ("datasets=[{name: test, real: 1.0}]", "test is taken"),
    ("datasets=[{name: a, synthetic: {nosuch: 1.0}}]", "no generator nosuch"),
    ("trainings=[{name: a, dataset: nosuch}]", "no dataset nosuch"),
    ("resize", "section.field=value"),
    ("=1", "section.field=value"),
    ("resize.quality=[", "resize.quality"),
    ("resize.quality.x=1", "quality"),
    ("generators.multiview.caption.prompts={nosuch: a flag}", "caption.*nosuch"),
    ("generators.multiview.caption.prompts={disc: 'a {clss}'}", "caption.*clss"),
    ("generators.multiview.caption.prompts={no: a flag}", "caption.*(no|False|quote)"),
)
_FILES = (
    ("generators: [multiview", "no readable YAML|YAML"),
    ("- multiview\n", "mapping of sections"),
    ("just a text", "mapping of sections"),
    ("\x00\x01\x02", "YAML"),
    ("resize:\n\tquality: 90\n", "YAML"),
    ("resize: 5\n", "resize"),
    ("generators: {multiview: 5}\n", "multiview"),
)


def write_field(root: Path, rng: Rng, number: int) -> Ending:
    """A field that does not exist, or a value that it can't have."""
    write_classes(root, rng, *CLASSES)
    change, says = _FIELDS[number % len(_FIELDS)]
    return bad(says, "--set", change)


def write_file(root: Path, rng: Rng, number: int) -> Ending:
    """A recipe file that is none."""
    write_classes(root, rng, *CLASSES)
    text, says = _FILES[number % len(_FILES)]
    recipe = root.parent / "recipe.yaml"
    recipe.write_text(text)
    return Ending((2,), says, recipe=str(recipe))


def write_paths(root: Path, rng: Rng, number: int) -> Ending:
    """An output folder or a store that can't be used."""
    write_classes(root, rng, *CLASSES)
    work = root.parent
    (work / "letter.txt").write_text("mine")
    (work / "full").mkdir()
    (work / "full" / "letter.txt").write_text("mine")
    cases = (
        (("--out", str(root / "out")), "lies in the photo folder"),
        (("--store", str(work / "letter.txt")), "is a file"),
        (("--store", str(work / "full")), "holds other files"),
        (("--store", "gs://bucket/prefix"), "gs://"),
        (("--store", "s3://Bad_Bucket!/x"), "bucket"),
        (("--out", str(work / "letter.txt")), "letter.txt"),
    )
    options, says = cases[number % len(cases)]
    return bad(says, *options)


KINDS: dict[str, WriteFolder] = {
    "recipe field": write_field,
    "recipe file": write_file,
    "paths": write_paths,
}
