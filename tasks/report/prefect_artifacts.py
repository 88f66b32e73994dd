"""The results of a run as artifacts in the Prefect UI: tables, pictures, verdict and link."""

import base64
from collections.abc import Sequence
from pathlib import Path

from prefect.artifacts import (
    create_link_artifact,
    create_markdown_artifact,
    create_table_artifact,
)

from models.data.names import make_key
from models.data.pixels import encode_jpeg, fit_within
from models.reporting.contact_sheet import contact_sheet
from models.reporting.dataset_card import escape_markdown
from models.reporting.figures import draw_scoreboard
from models.reporting.input import Sheet
from models.reporting.metrics import Metrics
from models.reporting.plots.style import PNG
from tasks.store.layout import document_name
from tasks.store.store import Store

SHOWN_SHEETS = 3


def publish(
    metrics: Metrics, sheets: Sequence[Sheet], report: Path, store: Store, document: str
) -> None:
    """Create all artifacts of a finished run.

    Args:
        metrics: the figures of the run.
        sheets: contact sheets; the first ones are shown.
        report: path of the HTML page.
        store: holds a copy of the page.
        document: name of that copy.
    """
    create_table_artifact(
        table=[
            {
                "stage": name,
                "computed": stage.computed,
                "cached": stage.cached,
                "rejected": stage.rejected,
            }
            for name, stage in metrics.stages.items()
        ],
        key="stages",
        description="Artifacts of each stage",
    )
    if metrics.verdict:
        scoreboard = draw_scoreboard(metrics, PNG)
        _show_picture(scoreboard, "image/png", "scoreboard", "The same network on each dataset")
    for sheet in sheets[:SHOWN_SHEETS]:
        picture = encode_jpeg(fit_within(contact_sheet(sheet), 1200), 80)
        key = f"contact-sheet-{make_key(sheet.reference)}"
        _show_picture(picture, "image/jpeg", key, f"{sheet.reference}: every stage")
    _show_verdict(metrics, report, store, document)


def _show_verdict(metrics: Metrics, report: Path, store: Store, document: str) -> None:
    text = metrics.verdict.text if metrics.verdict else "No two datasets were trained on."
    if metrics.problem:
        text = f"The run ended early: {metrics.problem}"
    fetch = f"`synthset store get {store.url} {document}`"
    location = f"Report: `{report}` on the machine of this run; on any other machine: {fetch}"
    parts = ["## Which dataset to use", text, location]
    failed = [photo for photo in metrics.references if photo.status == "failed"]
    if failed:
        lines = "\n".join(
            f"- {escape_markdown(photo.name)}: {escape_markdown(photo.reason or '')}"
            for photo in failed
        )
        parts += ["## Failed references", lines]
    create_markdown_artifact(
        markdown="\n\n".join(parts), key="verdict", description="Which dataset to use"
    )
    # A browser can open a local file, but not an address of a bucket.
    link = report.absolute().as_uri()
    if "://" in store.url:
        link = f"{store.url}/{document_name(document)}"
    create_link_artifact(link=link, key="report", description=f"Fetch it with {fetch}")


def _show_picture(picture: bytes, media: str, key: str, description: str) -> None:
    # Markdown, because the UI prints the whole data URL below a picture of an image artifact.
    url = f"data:{media};base64,{base64.b64encode(picture).decode()}"
    shown = f"![{escape_markdown(description)}]({url})"
    create_markdown_artifact(markdown=shown, key=key, description=description)
