"""Artifacts of the Prefect UI: keys that differ, and names of photos that stay text."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models.reporting.input import Sheet, SheetRow, Thumb
from models.reporting.metrics import ReferenceMetrics
from tasks.report import prefect_artifacts
from tasks.report.prefect_artifacts import publish
from tasks.report.write import report_document
from tasks.store.layout import document_name
from tasks.store.store import open_store
from tests.models.reporting.report_case import change, make_metrics

HOSTILE = "mug/](javascript:x)<img src=x>`|*a*"


@pytest.fixture
def created(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What would be sent to the Prefect server."""
    calls: list[dict[str, Any]] = []
    for kind in ("link", "markdown", "table"):
        monkeypatch.setattr(
            prefect_artifacts, f"create_{kind}_artifact", lambda **fields: calls.append(fields)
        )
    return calls


def sheet(name: str) -> Sheet:
    thumb = Thumb(np.zeros((8, 8, 3), np.uint8), "", "", "hidden")
    return Sheet(name, name.partition("/")[0], (SheetRow("stage", "what", (thumb,), 1, (), ()),))


def test_each_reference_has_an_artifact_of_its_own(
    created: list[dict[str, Any]], tmp_path: Path
) -> None:
    sheets = [sheet(name) for name in ("猫/一", "猫/二", "A b/" + "x" * 100)]
    store = open_store(tmp_path / "store")
    publish(make_metrics(seeds=1), sheets, tmp_path / "report.html", store, "reports/a.html")
    keys = [call["key"] for call in created if call["key"].startswith("contact-sheet-")]
    assert len(set(keys)) == 3
    assert all(set(key) <= set("abcdefghijklmnopqrstuvwxyz0123456789-") for key in keys)


def test_names_of_failed_references_stay_text(
    created: list[dict[str, Any]], tmp_path: Path
) -> None:
    metrics = make_metrics(seeds=1)
    fields = metrics.references[0].model_dump() | {"name": HOSTILE, "status": "failed"}
    failed = ReferenceMetrics(**{**fields, "reason": HOSTILE})
    store = open_store(tmp_path / "store")
    publish(
        change(metrics, references=(failed,)), [], tmp_path / "report.html", store, "reports/a.html"
    )
    (text,) = [call["markdown"] for call in created if call["key"] == "verdict"]
    line = text.splitlines()[-1]
    assert "<img" not in line
    assert "](" not in line.replace("\\]", "")


def test_a_report_has_a_document_for_each_recipe_and_folder(tmp_path: Path) -> None:
    names = ("训练", "测试", "", "a b", "a_b", "x" * 500, "../../x")
    documents = [report_document(name, tmp_path / out) for name in names for out in ("1", "2")]
    assert len({document_name(name) for name in documents}) == len(names) * 2
