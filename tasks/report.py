"""Report: metrics.json, the HTML page, the dataset card, and their copies in the Prefect UI."""

import base64
import json
import os
from pathlib import Path
from typing import Any

from prefect import task
from prefect.artifacts import (
    create_image_artifact,
    create_markdown_artifact,
    create_table_artifact,
)
from prefect.cache_policies import NO_CACHE

from models.dataset_card import render_card
from models.pixels import encode_jpeg, fit_within
from models.records import Record
from models.report import render_report
from models.report_input import ReportInput, Sheet
from models.report_sheet import contact_sheet
from tasks.bench import Workbench
from tasks.report_metrics import gather_metrics
from tasks.report_pictures import (
    draw_datasets,
    draw_mistakes,
    draw_rejects,
    draw_sheets,
    draw_test,
)
from tasks.story import Story

IN_THE_UI = 3


class Written(Record):
    """Where the report is, and its verdict."""

    path: Path
    verdict: dict[str, Any] | None


@task(name="report", task_run_name="report", cache_policy=NO_CACHE, persist_result=False)
def write_report(bench: Workbench, story: Story, out: Path) -> Written:
    """Write ``metrics.json``, ``report.html`` and ``README.md`` below ``out``."""
    metrics = gather_metrics(bench, story)
    sheets = draw_sheets(bench, story)
    page = render_report(
        ReportInput(
            title=story.recipe["name"],
            metrics=metrics,
            sheets=sheets,
            rejects=draw_rejects(bench, story),
            dataset_samples=draw_datasets(bench, story),
            test_samples=draw_test(bench, story),
            misclassified=draw_mistakes(bench, story),
        )
    )
    _write(out / "metrics.json", json.dumps(metrics, indent=1, ensure_ascii=False))
    _write(out / "README.md", render_card(metrics))
    _write(out / "report.html", page)
    _show_in_prefect(metrics, sheets, out / "report.html")
    return Written(path=out / "report.html", verdict=metrics["verdict"])


def _show_in_prefect(metrics: dict[str, Any], sheets: tuple[Sheet, ...], report: Path) -> None:
    counts = [
        {"stage": stage, **{at: count[at] for at in ("computed", "reused", "rejected")}}
        for stage, count in metrics["stages"].items()
    ]
    create_table_artifact(table=counts, key="stages", description="What each stage did")
    answer = (metrics["verdict"] or {}).get("text", "Nothing was trained.")
    create_markdown_artifact(
        markdown=f"## Which dataset to use\n\n{answer}\n\nReport: `{report}`", key="verdict"
    )
    for sheet in sheets[:IN_THE_UI]:
        picture = base64.b64encode(encode_jpeg(fit_within(contact_sheet(sheet), 1200), 80))
        create_image_artifact(
            image_url=f"data:image/jpeg;base64,{picture.decode()}",
            key="contact-sheet",
            description=f"{sheet.reference}: every intermediate",
        )


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    writing = path.with_name(f"{path.name}.{os.getpid()}.writing")
    writing.write_text(text, encoding="utf-8")
    writing.replace(path)
