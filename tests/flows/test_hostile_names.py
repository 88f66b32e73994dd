"""A whole run whose recipe, classes and photos have names that other systems stumble over."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from models.data.names import comparable
from tasks.store.store import open_store
from tests.readers import indices_of_datasets, indices_of_timm, indices_of_torchvision, listed
from tests.tiny import RECIPE, Cli, draw_photo, manifest_of

LABELS = ("train", "[b] no $x$ 🐱")
STEMS = (
    "一",
    "[red]",
    ":cat:",
    "con",
    "x" * 240,
    "a",
    "A",
    "e\u0301",
    "\u00e9",
    "b_view0",
    "{label}",
)


def draw_named_photos(folder: Path) -> None:
    for number, label in enumerate(LABELS):
        for at, stem in enumerate(STEMS):
            path = folder / label / f"{stem}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            draw_photo(path, ("disc", "block")[number], 100 * number + at)


@pytest.mark.slow
def test_a_run_takes_any_name(cli: Cli, tmp_path: Path) -> None:
    draw_named_photos(tmp_path / "photos")
    recipe, out = tmp_path / "训练.yaml", tmp_path / "out"
    recipe.write_text(RECIPE)
    since = datetime.now(UTC)
    found = cli.run(
        *("run", recipe, "--photos", tmp_path / "photos", "--out", out, "--json"),
        *("--set", "train=null", "--set", "references_per_class=2"),
        *("--set", "generators.multiview.outpaint.grid_size=1"),
    ).found
    assert Path(found["report"]).is_file()
    reports = list(open_store(out / "store").documents("reports/"))
    assert len(reports) == 1
    real = [row for row in manifest_of(out) if not row["generator"]]
    assert len(real) == len(LABELS) * len(STEMS)
    assert all(row["accepted"] for row in real)
    assert len({comparable(row["file"]) for row in real}) == len(real)
    assert max(len(Path(row["file"]).name.encode()) for row in manifest_of(out)) <= 255
    assert len(sheet_keys(since)) == 3

    classes = (out / "classes.txt").read_text().splitlines()
    assert classes == sorted(LABELS)
    for name in found["datasets"]:
        read = indices_of_datasets(out, name)
        for split in ("train", "val", "test"):
            folder = out / "datasets" / ("test" if split == "test" else f"{name}/{split}")
            expected = listed(folder, classes)
            assert read[split] == expected
            assert indices_of_torchvision(folder) == expected
            assert indices_of_timm(folder, out / "classes.txt") == expected


def sheet_keys(since: datetime) -> set[Any]:
    """The keys of the contact sheets that were made since then."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey

    with get_client(sync_client=True) as client:
        artifacts = client.read_artifacts(
            artifact_filter=ArtifactFilter(key=ArtifactFilterKey(like_="contact-sheet-"))
        )
    return {
        artifact.key for artifact in artifacts if artifact.created and artifact.created >= since
    }
