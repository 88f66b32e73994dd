"""The report of a run: page, plots, metrics, predictions and dataset card."""

from pathlib import Path

from prefect import task
from prefect.cache_policies import NO_CACHE

from models.data.files import write_atomic
from models.data.names import digest_of_name, make_key
from models.data.records import Record
from models.evaluation.answers import Conclusion
from models.evaluation.prediction_file.table import FILE_NAME as PREDICTIONS
from models.evaluation.prediction_file.table import write_predictions
from models.reporting.input import ReportInput
from tasks.engine.run_context import RunContext
from tasks.report.data import RunSummary
from tasks.report.detections import draw_detections
from tasks.report.metrics import gather_metrics, load_scored_models
from tasks.report.pictures import (
    draw_datasets,
    draw_mistakes,
    draw_pairs,
    draw_rejects,
    draw_segments,
    draw_sheets,
    draw_test,
)


class WrittenReport(Record):
    """Path of the report, and the verdict of the run."""

    path: Path
    verdict: Conclusion | None


def write_report(run: RunContext, summary: RunSummary, out: Path) -> WrittenReport:
    """Write the report below ``out``, and a copy into the store as `report_document`.

    The copy is for people who can't read ``out``.
    """

    # The task takes no arguments. Prefect would find results of other flow runs in the summary and
    # note them as inputs of a kind that its UI can't list.
    @task(name="report", task_run_name="report", cache_policy=NO_CACHE, persist_result=False)
    def work() -> WrittenReport:
        return _write(run, summary, out)

    return work()


def report_document(recipe: str, out: Path) -> str:
    """Name in the store of the last report that any run of a recipe wrote into a folder."""
    return f"reports/{make_key(recipe)}-{digest_of_name(str(out.absolute()))}.html"


def _write(run: RunContext, summary: RunSummary, out: Path) -> WrittenReport:
    # Not above: matplotlib takes half a second to import, and a command without report needs none.
    from models.reporting.dataset_card import render_card
    from models.reporting.figures import draw_figures
    from models.reporting.page import render_report
    from tasks.report.prefect_artifacts import publish

    metrics = gather_metrics(run, summary)
    figures = tuple(draw_figures(metrics))
    sheets = draw_sheets(run, summary)
    page = render_report(
        ReportInput(
            title=summary.name,
            metrics=metrics,
            figures=figures,
            sheets=sheets,
            rejects=draw_rejects(run, summary),
            dataset_samples=draw_datasets(run, summary),
            test_samples=draw_test(run, summary),
            misclassified=draw_mistakes(run, summary),
            segmented=draw_segments(run, summary),
            detected=draw_detections(run, summary),
            near_pairs=draw_pairs(run, metrics.quality),
        )
    )
    models = load_scored_models(run, summary)
    if models:
        write_predictions(out / PREDICTIONS, models, summary.verdict)
    else:
        (out / PREDICTIONS).unlink(missing_ok=True)
    plots = {out / "plots" / f"{figure.name}.svg": figure.svg for figure in figures}
    for stale in set((out / "plots").glob("*.svg")) - set(plots):
        stale.unlink()
    files = {
        out / "metrics.json": metrics.model_dump_json(indent=1).encode(),
        out / "README.md": render_card(metrics).encode(),
        out / "report.html": page.encode(),
    }
    for path, blob in {**plots, **files}.items():
        write_atomic(path, blob)
    document = report_document(summary.name, out)
    run.store.put_document(document, page.encode())
    publish(metrics, sheets, out / "report.html", run.store, document)
    return WrittenReport(path=out / "report.html", verdict=metrics.verdict)
