"""A sample of `make hostile`, and the comparison that it rests on."""

import re
from pathlib import Path

import numpy as np
import pytest

from models.data.records import Annotation, Artifact, SourceImage
from tests.hostile.cases import INPUTS, choose_inputs
from tests.hostile.kinds import TAKEN, Input, Wanted, noted, refused
from tests.hostile.runs import FILES, FOLDERS, Report, run_files, run_folder
from tests.tiny import Cli, files_of

PHOTOS = Path("photos")


@pytest.mark.slow
def test_a_run_says_what_is_true_of_each_file(cli: Cli, tmp_path: Path) -> None:
    findings = run_files(cli, tmp_path, [(kind, 0) for kind in FILES], seed=1)
    assert {finding.kind for finding in findings} == FILES.keys()
    wrong = [f"{finding.kind}: {finding.wrong}" for finding in findings if finding.wrong]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("kind", ["two layouts", "recipe field"])
def test_a_run_names_the_mistake_of_a_folder_or_recipe(cli: Cli, tmp_path: Path, kind: str) -> None:
    assert run_folder(cli, tmp_path / "run", kind, 0, seed=1).wrong == ""


@pytest.mark.parametrize("seed", [0, 1])
def test_all_cases_come_up(seed: int) -> None:
    files, trials = choose_inputs(INPUTS, seed)
    assert len(files) + len(trials) == INPUTS
    for kinds, chosen in ((FILES, files), (FOLDERS, trials)):
        every = {(name, case) for name, kind in kinds.items() for case in range(kind.n_cases)}
        assert set(chosen) == every


def write(root: Path, kind: str, case: int) -> tuple[dict[str, str], list[Wanted]]:
    """The digests of the files of an input, and what must happen to them."""
    for label in ("box", "disc"):
        (root / label).mkdir(parents=True)
    inputs = FILES[kind].write(root / "disc" / "h0", np.random.default_rng(5), case)
    return files_of(root), [written.wanted for written in inputs]


@pytest.mark.parametrize("kind", FILES)
def test_each_case_of_a_kind_writes_its_own_files_always_the_same(
    kind: str, tmp_path: Path
) -> None:
    n_cases = FILES[kind].n_cases
    written = [write(tmp_path / f"{case}", kind, case) for case in range(n_cases)]
    assert write(tmp_path / "again", kind, n_cases - 1) == written[-1]
    assert all(written.count(other) == 1 for other in written)
    if n_cases == 1:
        assert write(tmp_path / "more", kind, 1) == written[0]
    else:
        with pytest.raises(IndexError):
            write(tmp_path / "more", kind, n_cases)


@pytest.mark.parametrize("kind", FOLDERS)
def test_no_option_says_what_the_error_line_must_say(kind: str, tmp_path: Path) -> None:
    n_cases = FOLDERS[kind].n_cases
    for case in range(n_cases):
        root = tmp_path / f"{case}" / "photos"
        root.parent.mkdir()
        ending = FOLDERS[kind].write(root, np.random.default_rng(5), case)
        assert bool(ending.says) == (ending.code != 0)
        assert not ending.says or not re.search(ending.says, " ".join(ending.options))
    (tmp_path / "more").mkdir()
    if n_cases > 1:
        with pytest.raises(IndexError):
            FOLDERS[kind].write(tmp_path / "more" / "photos", np.random.default_rng(5), n_cases)


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
        ("a.png", Wanted("taken", size=(72, 96)), "has (96, 72) px"),
        ("a.txt", Wanted("prompt", "a red disc"), ""),
        ("a.txt", Wanted("prompt", "a blue disc"), "is not the prompt"),
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
