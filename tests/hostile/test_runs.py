"""A sample of `make hostile`, and the comparison that it rests on."""

from pathlib import Path

import numpy as np
import pytest

from models.data.records import Annotation, Artifact, SourceImage
from tests.hostile.kinds import TAKEN, Input, Wanted, noted, refused
from tests.hostile.runs import FILES, FOLDERS, Report, run_files, run_folder
from tests.tiny import Cli

SAMPLE = 25
PHOTOS = Path("photos")


@pytest.mark.slow
def test_a_run_says_what_is_true_of_each_file(cli: Cli, tmp_path: Path) -> None:
    kinds = [(kind, 0) for kind in list(FILES)[-SAMPLE:]]
    findings = run_files(cli, tmp_path, kinds, seed=1)
    assert len(findings) >= SAMPLE
    wrong = [f"{finding.kind}: {finding.wrong}" for finding in findings if finding.wrong]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("kind", ["splits", "recipe field"])
def test_a_run_names_the_mistake_of_a_folder_or_recipe(cli: Cli, tmp_path: Path, kind: str) -> None:
    assert run_folder(cli, tmp_path / "run", kind, 0, seed=1).wrong == ""


@pytest.mark.parametrize("kind", FILES)
def test_the_same_seed_writes_the_same_files(kind: str, tmp_path: Path) -> None:
    written = []
    for name in ("first", "second"):
        for label in ("box", "disc"):
            (tmp_path / name / label).mkdir(parents=True)
        path = tmp_path / name / "disc" / "h0"
        inputs = FILES[kind](path, np.random.default_rng(5), 3)
        written.append([(i.file.relative_to(tmp_path / name), i.wanted) for i in inputs])
    assert written[0] == written[1]


def source(file: str) -> SourceImage:
    """A source image of 96 x 72 px."""
    metadata = {"width": 96, "height": 72}
    artifact = Artifact(
        key="k",
        stage="ingest",
        version=1,
        name=file,
        media="png",
        digest="d",
        size=1,
        metadata=metadata,
    )
    return SourceImage(
        name=file.rpartition(".")[0],
        file=file,
        split="train",
        image=artifact,
        annotations=(Annotation(label="disc"),),
        prompt="a red disc",
    )


REPORT = Report(
    taken={name: source(name) for name in ("disc/a.png", "disc/b.png", "disc/lost.png")},
    refused={"disc/c.png": ["the file is empty (0 bytes)"]},
    notes=["disc/b.png: 16-bit scaled"],
    manifest=frozenset({"disc/a.jpg", "disc/b.jpg"}),
)


@pytest.mark.parametrize(
    ("name", "wanted", "wrong"),
    [
        ("a.png", TAKEN, ""),
        ("a.png", noted("16-bit"), "is taken instead of noted"),
        ("a.png", Wanted(("taken",), size=(72, 96)), "has (96, 72) px"),
        ("a.txt", Wanted(("prompt",), "a red disc"), ""),
        ("a.txt", Wanted(("prompt",), "a blue disc"), "is not the prompt"),
        ("b.png", noted("16-bit"), ""),
        ("b.png", noted("CMYK"), "does not say 'CMYK'"),
        ("b.png", TAKEN, "is noted instead of taken"),
        ("c.png", refused("empty"), ""),
        ("c.png", refused("too small"), "does not say 'too small'"),
        ("c.png", TAKEN, "is refused instead of taken"),
        ("gone.png", TAKEN, "lost in silence"),
        ("lost.png", TAKEN, "is not in the manifest"),
    ],
)
def test_the_comparison_finds_what_is_wrong(name: str, wanted: Wanted, wrong: str) -> None:
    finding = REPORT.judge("kind", PHOTOS, Input(PHOTOS / "disc" / name, wanted))
    assert wrong in finding.wrong
    assert bool(finding.wrong) == bool(wrong)


def test_every_kind_has_a_name_of_its_own() -> None:
    assert not FILES.keys() & FOLDERS.keys()
