"""What people see of a run: the real Prefect UI in a real browser."""

import json
import time
from collections.abc import Iterator

import pytest

from tests.tiny import ONE_REFERENCE
from tests.ui.browser import Page
from tests.ui.conftest import SECRETS, Picture, Watched
from tests.ui.failing_run import list_tasks
from tests.ui.server import until

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

# The stages in the order of their task runs; upscale runs before multiview and after it.
STAGES = (
    "upscale",
    "multiview",
    "caption",
    "upscale",
    "augment",
    "segment",
    "depth",
    "masked_depth",
    "background",
    "outpaint",
    "measure",
    "screen",
    "resize",
    "annotate",
)
ATTEMPTS = 4
FAILS_AT = STAGES.index("screen")
PICTURED = (
    "[...document.images].some(image => image.src.startsWith('data:') && image.naturalWidth > 300)"
)
HEADER = "(document.querySelector('header.page-heading') || {innerText: ''}).innerText"


def test_a_run_shows_its_children(watched: Watched, page: Page, picture: Picture) -> None:
    failing_run = watched.failing_run
    open_run(watched, page, watched.parent, "Subflow Runs")
    for reference in failing_run.references:
        page.wait_for(f"{reference} · images")
    page.wait_for("6 Flow runs")
    failed = [run for run in watched.server.runs() if run["state"]["type"] == "FAILED"]
    assert [run["id"] for run in failed] == [watched.child]
    assert watched.server.run(watched.parent)["state"]["type"] == "COMPLETED"
    picture("run")

    page.click(watched.child_name, within="a")
    page.wait_for("Parent Run")
    assert page.evaluate("location.href") == watched.address(watched.child)
    shown = page.text
    for tag in (failing_run.label, "multiview"):
        assert tag in shown.splitlines()
    assert "Failed" in shown


def test_a_stage_shows_what_it_did(watched: Watched, page: Page, picture: Picture) -> None:
    name = watched.failing_run.failing
    open_run(watched, page, watched.child, "Task Runs")
    page.wait_for(f"{ATTEMPTS * (FAILS_AT + 1)} Task runs")
    page.wait_for(f"screen · {name}\nFailed")
    page.wait_for(f"measure · {name}\nCached")
    picture("child")
    page.click(f"outpaint · {name}", within="a")
    page.wait_for(f"Cached('{ONE_REFERENCE['outpaint']} cached'")

    tasks = list_tasks(watched.server, watched.child)
    first, others = tasks[: FAILS_AT + 1], tasks[FAILS_AT + 1 :]
    assert [task for task, _, _ in first] == [
        f"{stage} · {name}" for stage in STAGES[: FAILS_AT + 1]
    ]
    assert {state for _, state, _ in first[:-1]} == {"Completed"}
    messages = dict(zip(STAGES, (message for _, _, message in first), strict=False))
    assert messages["outpaint"] == f"{ONE_REFERENCE['outpaint']} computed, 0 cached, 0 rejected"
    states = [state for _, state, _ in others]
    assert states == (["Cached"] * FAILS_AT + ["Failed"]) * (ATTEMPTS - 1)


def test_the_artifacts_open(watched: Watched, page: Page, picture: Picture) -> None:
    open_run(watched, page, watched.parent, "Artifacts")
    for name in ("multiview · images", "stages", "verdict", "scoreboard"):
        page.wait_for(name)
    page.wait_for("every stage")
    page.size(1280, 1300)
    picture("artifacts")
    page.size(1280, 900)

    open_artifact(watched, page, "scoreboard")
    until(lambda: page.evaluate(PICTURED), 30)
    open_artifact(watched, page, "verdict")
    page.wait_for("Report: ")
    open_artifact(watched, page, "stages")
    page.wait_for("masked_depth")
    images = (len(watched.failing_run.references) - 1) * ONE_REFERENCE["outpaint"]
    assert f"\t{images}\t0\t0" in page.text

    found = watched.server.ask("POST", "/artifacts/filter", limit=200)
    sheets = [entry for entry in found if "every stage" in (entry["description"] or "")]
    assert len(sheets) == 3
    page.open(f"{watched.server.url}/artifacts/artifact/{sheets[0]['id']}")
    page.wait_for(sheets[0]["description"])
    until(lambda: page.evaluate(PICTURED), 30)
    picture("contact-sheet")


def test_the_tasks_of_the_parent_are_listed(watched: Watched, page: Page) -> None:
    open_run(watched, page, watched.parent, "Task Runs")
    page.wait_for("ingest · scenes\nCompleted", 20)
    page.wait_for("report\nCompleted", 20)
    assert not page.errors


def test_the_log_shows_how_long_stages_took(watched: Watched) -> None:
    logs = [log for page in pages(watched, "/logs/filter") for log in json.loads(page)]
    messages = [log["message"] for log in logs if log["name"] == "synthset.stage"]
    assert any(message.startswith("outpaint: 12 computed in ") for message in messages)


def test_no_secret_is_shown(watched: Watched, page: Page) -> None:
    kinds = ("flow_runs", "task_runs", "artifacts", "deployments", "work_pools", "logs")
    for kind in kinds:
        for text in pages(watched, f"/{kind}/filter"):
            assert not any(secret in text for secret in SECRETS.values()), kind
    page.open(watched.address(watched.child))
    for tab in ("Logs", "Parameters", "Job Variables", "Details"):
        page.click(tab)
        time.sleep(1)
        assert not any(secret in page.text for secret in SECRETS.values())


def test_the_retry_button_completes_a_failed_child(
    watched: Watched, page: Page, picture: Picture
) -> None:
    failing_run, server = watched.failing_run, watched.server
    before, tasks = failing_run.records(), list_tasks(server, watched.child)
    assert server.run(watched.child)["run_count"] == ATTEMPTS
    failing_run.blocking_folder.rmdir()

    open_run(watched, page, watched.child, "Task Runs")
    page.wait_for("Failed")
    page.click("Retry", within="header button")
    page.wait_for(f"Retry {watched.child_name}?")
    picture("retry")
    page.click("Retry", within="[role=dialog] button")
    until(lambda: server.run(watched.child)["state"]["type"] == "COMPLETED", 90)
    # The page follows the run without a reload. While the run waits for its worker it has no task
    # runs, and the page shows another tab.
    until(lambda: "Completed" in page.evaluate(HEADER), 30)
    page.click("Task Runs")
    page.wait_for(f"annotate · {failing_run.failing}\nCompleted", 60)
    picture("retried")

    assert server.run(watched.child)["run_count"] == ATTEMPTS + 1
    again = list_tasks(server, watched.child)[len(tasks) :]
    assert [name for name, _, _ in again] == [
        f"{stage} · {failing_run.failing}" for stage in STAGES
    ]
    assert [state for _, state, _ in again[:FAILS_AT]] == ["Cached"] * FAILS_AT
    assert [state for _, state, _ in again[FAILS_AT:]] == ["Completed"] * 3
    after = failing_run.records()
    assert before.items() <= after.items(), "a stage before the failure was computed again"
    new = [name.partition("/")[0] for name in after.keys() - before.keys()]
    wanted = {stage: ONE_REFERENCE[stage] for stage in ("screen", "resize", "annotate")}
    assert {stage: new.count(stage) for stage in sorted(set(new))} == wanted


def open_run(watched: Watched, page: Page, run: str, tab: str) -> None:
    """Open a tab of a run's page. The tabs depend on the run's state, which arrives late."""
    page.open(watched.address(run))
    until(lambda: "Task runs" in page.evaluate(HEADER), 60)
    page.click(tab)


def open_artifact(watched: Watched, page: Page, name: str) -> None:
    """Click an artifact on the page of the run."""
    open_run(watched, page, watched.parent, "Artifacts")
    page.click(name)
    page.wait_for("Show raw data")


def pages(watched: Watched, path: str) -> Iterator[str]:
    """All results of a filter of the API, as text, one page at a time."""
    step, offset = 200, 0
    while True:
        answer = watched.server.api.post(path, json={"limit": step, "offset": offset})
        assert answer.is_success, answer.text
        yield answer.text
        if len(answer.json()) < step:
            return
        offset += step
