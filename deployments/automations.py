"""Automations for runs whose worker died: mark them as crashed, and start parent runs again."""

from datetime import timedelta
from typing import Any

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import StateType
from prefect.events.actions import ChangeFlowRunState
from prefect.events.schemas.automations import AutomationCore, EventTrigger, Posture
from prefect.events.schemas.events import ResourceSpecification

from flows.execution.crash_limit import RESUMED

# Five heartbeats of a minute: a server that restarts must not mark its runs as crashed.
SILENT_FOR = timedelta(minutes=5)
CRASH_RULE = "synthset: runs without a heartbeat have crashed"
# By then a machine that was switched off may be up again.
RESUMED_AFTER = timedelta(minutes=5)
RESUME_RULE = "synthset: a crashed pipeline run starts again"
# Rules of earlier versions, which these two replace.
_OLD_NAMES = {
    CRASH_RULE: "synthset: runs that are not heard of have crashed",
    RESUME_RULE: "synthset: a regenerate run that crashed goes on",
}
_FINAL = ("Completed", "Failed", "Cancelled", "Crashed")
_WAITING = (
    "AwaitingRetry",
    "Scheduled",
    "Late",
    "Pending",
    "Paused",
    "Suspended",
    "Cancelling",
    RESUMED,
)
_HEARTBEAT = "prefect.flow-run.heartbeat"


def apply_crash_rule(client: SyncPrefectClient) -> str | None:
    """Create or change the automation that marks runs without a heartbeat as crashed.

    An automation that an operator switched off stays off. Returns what was done, or None.
    """
    rule = _after_silence(
        CRASH_RULE,
        "Its worker or machine died: mark the run, so that its parent starts it again.",
        after=_HEARTBEAT,
        expect=_events(*_FINAL, *_WAITING) | {_HEARTBEAT},
        within=SILENT_FOR,
        change=ChangeFlowRunState(
            state=StateType.CRASHED,
            message=f"no heartbeat for {SILENT_FOR.seconds // 60} minutes: its worker died",
        ),
    )
    return _apply(client, rule, "runs without a heartbeat")


def apply_resume_rule(client: SyncPrefectClient) -> str | None:
    """Create or change the automation that schedules a crashed `pipeline` run again.

    The run keeps its id and with it its child runs. It waits `RESUMED_AFTER`, so that a run that
    can't start is not started in a tight loop. Returns what was done, or None.
    """
    rule = _after_silence(
        RESUME_RULE,
        "The worker of the parent died: start the run again; it computes only what is missing.",
        after="prefect.flow-run.Crashed",
        expect=_events("Completed", "Failed", "Cancelled", "Running", *_WAITING),
        within=RESUMED_AFTER,
        change=ChangeFlowRunState(
            state=StateType.SCHEDULED,
            name=RESUMED,
            message="started again after a crash; finished work and child runs are kept",
        ),
        flow="pipeline",
    )
    return _apply(client, rule, "crashed parent runs")


def _after_silence(
    name: str,
    description: str,
    *,
    after: str,
    expect: set[str],
    within: timedelta,
    change: ChangeFlowRunState,
    flow: str | None = None,
) -> AutomationCore:
    """Change the state of a run if no expected event follows an event in time.

    With ``flow``, only runs of that flow.
    """
    related: dict[str, str | list[str]] = {}
    if flow is not None:
        related = {"prefect.resource.role": "flow", "prefect.resource.name": flow}
    trigger = EventTrigger(
        match=ResourceSpecification({"prefect.resource.id": ["prefect.flow-run.*"]}),
        match_related=ResourceSpecification(related),
        for_each={"prefect.resource.id"},
        after={after},
        expect=expect,
        posture=Posture.Proactive,
        threshold=1,
        within=within,
    )
    return AutomationCore(name=name, description=description, trigger=trigger, actions=[change])


def _apply(client: SyncPrefectClient, wanted: AutomationCore, subject: str) -> str | None:
    found = client.read_automations_by_name(wanted.name)
    old = found or client.read_automations_by_name(_OLD_NAMES[wanted.name])
    if not old:
        client.create_automation(wanted)
        return f"automation for {subject}: created"
    if found and _compared_fields(found[0]) == _compared_fields(wanted):
        return None
    client.update_automation(old[0].id, wanted.model_copy(update={"enabled": old[0].enabled}))
    return f"automation for {subject}: changed"


def _compared_fields(automation: AutomationCore) -> Any:
    trigger, actions = automation.trigger, automation.actions
    assert isinstance(trigger, EventTrigger)
    fields = (trigger.after, trigger.expect, trigger.for_each, trigger.within, trigger.posture)
    return fields, trigger.match_related, [action.model_dump(exclude={"id"}) for action in actions]


def _events(*states: str) -> set[str]:
    return {f"prefect.flow-run.{state}" for state in states}
