"""Recipes and options with a mistake, over sound photos."""

import re
from pathlib import Path

import numpy as np

from tests.hostile.endings import (
    CLASSES,
    Ending,
    FolderKind,
    bad,
    write_classes,
)

Rng = np.random.Generator
_NO_FIELD = "there is no such field; docs/recipes.md lists the names"
_SYNTAX = "write it as section.field=value, such as resize.longest_side=512"
_NO_CLASS = "the photos have no class"
# A change, and what the line must say of the field. None is a part of the change.
_FIELDS = (
    ("ingest.max_sde=64", f"ingest.max_sde: {_NO_FIELD}"),
    ("nosuch.field=1", f"nosuch: {_NO_FIELD}"),
    ("generators.multiview.outpaint.kk=3", f"generators.multiview.outpaint.kk: {_NO_FIELD}"),
    ("outpaint.k=3", "outpaint.k was renamed: use generators.multiview.outpaint.grid_size"),
    ("plates=scenes", "plates was renamed: use backgrounds"),
    ("ingest.max_side=large", "ingest.max_side: input should be a valid integer"),
    ("ingest.max_side=8", "ingest.max_side: input should be greater than or equal to 64"),
    ("split.val=1.5", "split.val: 1.5 is neither a share below 1 nor a whole number"),
    ("split.test=0.9", "split: val + test must be below 1"),
    ("generators.nosuch={}", "generators.nosuch: there is no such generator; choose from"),
    ("generators={}", "generators: list at least one generator"),
    (
        "generators.multiview.segment.model=unet",
        "generators.multiview.segment.model: there is no model unet; choose from",
    ),
    (
        "generators.multiview.segment.checkpoint=a/b",
        "generators.multiview.segment.checkpoint: model grabcut has no field checkpoint",
    ),
    ("profile=quantum", "profile: input should be 'classical' or 'diffusion'"),
    ("split.group_pattern=(", "split.group_pattern: '(' is no regular expression"),
    ("split.group_pattern=abc", "split.group_pattern: 'abc' captures nothing"),
    ("split.group_file=nowhere.csv", "split.group_file: nowhere.csv can't be read as CSV"),
    ("backgrounds=nowhere", "backgrounds: nowhere is no folder"),
    ("datasets=[{name: a b, real: 1.0}]", "datasets.0.name: string should match pattern"),
    ("datasets=[{name: test, real: 1.0}]", "datasets: the name test is taken"),
    (
        "datasets=[{name: a, synthetic: {nosuch: 1.0}}]",
        "datasets.a: there is no generator nosuch in this recipe",
    ),
    (
        "trainings=[{name: a, dataset: nosuch}]",
        "trainings.a: there is no dataset nosuch in this recipe",
    ),
    ("resize", f"--set resize: {_SYNTAX}"),
    ("=1", f"--set =1: {_SYNTAX}"),
    ("resize.quality=[", "--set resize.quality=[: no readable YAML; correct it"),
    ("resize.quality.x=1", "resize.quality: input should be a valid integer"),
    (
        "generators.multiview.caption.prompts={nosuch: a flag}",
        f"generators.multiview.caption.prompts: {_NO_CLASS} 'nosuch'",
    ),
    (
        "generators.multiview.caption.prompts={disc: 'a {clss}'}",
        "generators.multiview.caption.prompts.disc: {clss} is no placeholder of this field",
    ),
    (
        "generators.multiview.caption.prompts={no: a flag}",
        f"generators.multiview.caption.prompts: {_NO_CLASS} 'no'",
    ),
)
_NO_YAML = "recipe.yaml: no readable YAML; correct it"
_NO_MAPPING = "recipe.yaml: a recipe must be a mapping of sections"
_FILES = (
    ("generators: [multiview", _NO_YAML),
    ("- multiview\n", _NO_MAPPING),
    ("just a text", _NO_MAPPING),
    ("\x00\x01\x02", _NO_YAML),
    ("resize:\n\tquality: 90\n", _NO_YAML),
    ("resize: 5\n", "recipe.yaml: resize: input should be a valid dictionary"),
    (
        "generators: {multiview: 5}\n",
        "recipe.yaml: generators.multiview: a generator's section must be a mapping of fields",
    ),
)
# Paths are written into the folder of the run, {work}.
_PATHS = (
    ("--out", "{work}/photos/out", "--out .*out lies in the photo folder"),
    ("--out", "{work}/letter.txt", "--out .*letter.txt is a file; name a folder"),
    ("--store", "{work}/letter.txt", "store .*letter.txt is a file; name a folder"),
    ("--store", "{work}/full", "store .*full holds other files and is no store"),
    ("--store", "gs://bucket/prefix", "a store can't be opened by gs://; use a folder or s3://"),
    ("--store", "s3://Bad_Bucket!/x", "'Bad_Bucket!' is no bucket's name"),
)


def write_field(root: Path, rng: Rng, case: int) -> Ending:
    """A field that does not exist, or a value that it can't have."""
    write_classes(root, rng, *CLASSES)
    change, says = _FIELDS[case]
    return bad(re.escape(says), "--set", change)


def write_file(root: Path, rng: Rng, case: int) -> Ending:
    """A recipe file that is none."""
    write_classes(root, rng, *CLASSES)
    text, says = _FILES[case]
    recipe = root.parent / "recipe.yaml"
    recipe.write_text(text)
    return Ending(2, re.escape(says), recipe=str(recipe))


def write_paths(root: Path, rng: Rng, case: int) -> Ending:
    """An output folder or a store that can't be used."""
    write_classes(root, rng, *CLASSES)
    work = root.parent
    (work / "letter.txt").write_text("mine")
    (work / "full").mkdir()
    (work / "full" / "letter.txt").write_text("mine")
    option, value, says = _PATHS[case]
    return bad(says, option, value.format(work=work))


KINDS: dict[str, FolderKind] = {
    "recipe field": FolderKind(write_field, len(_FIELDS)),
    "recipe file": FolderKind(write_file, len(_FILES)),
    "paths": FolderKind(write_paths, len(_PATHS)),
}
