"""Report: metrics.json, the HTML page, the dataset card, and their copies in the Prefect UI."""

import base64
import hashlib
import json
import re
from pathlib import Path
from typing import Any

from prefect import task
from prefect.artifacts import (
    create_link_artifact,
    create_markdown_artifact,
    create_table_artifact,
)
from prefect.cache_policies import NO_CACHE

from models.data.pixels import encode_jpeg, fit_within
from models.data.records import Record
from models.reporting.contact_sheet import contact_sheet
from models.reporting.dataset_card import render_card
from models.reporting.figure_style import Style
from models.reporting.input import ReportInput, Sheet
from models.reporting.page import render_report
from tasks.engine.run_context import RunContext
from tasks.report.data import Story
from tasks.report.metrics import gather_metrics
from tasks.report.pictures import (
    draw_datasets,
    draw_mistakes,
    draw_rejects,
    draw_sheets,
    draw_test,
)
from tasks.report.plots import draw_plots, draw_scoreboard
from tasks.store.layout import document_name
from tasks.store.store import Store

IN_THE_UI = 3


class Written(Record):
    """Where the report is, and its verdict."""

    path: Path
    verdict: dict[str, Any] | None


def write_report(run: RunContext, story: Story, out: Path) -> Written:
    """Write ``report.html``, ``plots/``, ``metrics.json`` and ``README.md`` below ``out``.

    The report is in the store too, as the document `report_document`, for whoever does not see
    ``out``.
    """

    # Prefect would find the results of other flow runs in the story, and note them as inputs of a
    # kind that its UI doesn't know: it then lists no task run at all.
    @task(name="report", task_run_name="report", cache_policy=NO_CACHE, persist_result=False)
    def work() -> Written:
        return _write(run, story, out)

    return work()


def _write(run: RunContext, story: Story, out: Path) -> Written:
    metrics = gather_metrics(run, story)
    sheets = draw_sheets(run, story)
    page = render_report(
        ReportInput(
            title=story.recipe["name"],
            metrics=metrics,
            sheets=sheets,
            rejects=draw_rejects(run, story),
            dataset_samples=draw_datasets(run, story),
            test_samples=draw_test(run, story),
            misclassified=draw_mistakes(run, story),
        )
    )
    for name, plot in draw_plots(metrics):
        _save(out / "plots" / name, plot.decode())
    _save(out / "metrics.json", json.dumps(metrics, indent=1, ensure_ascii=False))
    _save(out / "README.md", render_card(metrics))
    _save(out / "report.html", page)
    name = report_document(story.recipe["name"], out)
    run.store.put_document(name, page.encode())
    _show_in_prefect(metrics, story, sheets)
    _show_verdict(metrics, story, out / "report.html", run.store, name)
    return Written(path=out / "report.html", verdict=metrics["verdict"])


def report_document(recipe: str, out: Path) -> str:
    """The store's name of the report of all runs of a recipe into a folder: the last one's."""
    place = hashlib.sha256(str(out.absolute()).encode()).hexdigest()[:8]
    return f"reports/{_slug(recipe)}-{place}.html"


def _show_in_prefect(metrics: dict[str, Any], story: Story, sheets: tuple[Sheet, ...]) -> None:
    counts = [
        {"stage": stage, **{at: count[at] for at in ("computed", "cached", "rejected")}}
        for stage, count in metrics["stages"].items()
    ]
    create_table_artifact(table=counts, key="stages", description="What each stage did")
    if metrics["verdict"]:
        board = draw_scoreboard(metrics, Style(kind="png", theme="light", dpi=96))
        _show_picture(board, "image/png", "scoreboard", "The same network on each dataset")
    for sheet in sheets[:IN_THE_UI]:
        picture = encode_jpeg(fit_within(contact_sheet(sheet), 1200), 80)
        key = f"contact-sheet-{_slug(sheet.reference)}"
        _show_picture(picture, "image/jpeg", key, f"{sheet.reference}: every stage")


def _show_verdict(
    metrics: dict[str, Any], story: Story, report: Path, store: Store, name: str
) -> None:
    answer = (metrics["verdict"] or {}).get("text", "Nothing was trained.")
    failed = [f"- {one.name}: {one.reason}" for one in story.references if one.status == "failed"]
    missing = ["## Missing references", "\n".join(failed)] if failed else []
    fetch = f"`synthset store get {store.url} {name}`"
    where = f"Report: `{report}` where this ran; anywhere else: {fetch}"
    told = ["## Which dataset to use", answer, where, *missing]
    create_markdown_artifact(
        markdown="\n\n".join(told), key="verdict", description="Which dataset to use"
    )
    # A browser opens a file on its own machine, and no address of a bucket.
    link = report.absolute().as_uri()
    if "://" in store.url:
        link = f"{store.url}/{document_name(name)}"
    create_link_artifact(link=link, key="report", description=f"Fetched by {fetch}")


def _slug(text: str) -> str:
    return re.sub("[^a-z0-9]+", "-", text.lower()).strip("-")


def _show_picture(picture: bytes, kind: str, key: str, description: str) -> None:
    url = f"data:{kind};base64,{base64.b64encode(picture).decode()}"
    # The page of an image artifact prints its whole data URL below the picture.
    create_markdown_artifact(markdown=f"![{description}]({url})", key=key, description=description)


def _save(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    writing = path.with_name(f".{path.name}.writing")
    writing.write_text(text, encoding="utf-8")
    writing.replace(path)
