"""Runs whose worker or machine is gone: the automations that mark them and have the night go on."""

from datetime import timedelta
from typing import Any

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import StateType
from prefect.events.actions import ChangeFlowRunState
from prefect.events.schemas.automations import AutomationCore, EventTrigger, Posture
from prefect.events.schemas.events import ResourceSpecification

from flows.execution.crash_limit import RESUMED

# Five heartbeats of a minute: a server that restarts must not take its runs for dead.
UNHEARD = timedelta(minutes=5)
ZOMBIES = "synthset: runs that are not heard of have crashed"
# A machine that was switched off may be up again by then.
RESUMED_AFTER = timedelta(minutes=5)
NIGHTS = "synthset: a regenerate run that crashed goes on"
_ENDED = {f"prefect.flow-run.{state}" for state in ("Completed", "Failed", "Cancelled", "Crashed")}
_WAITING = {
    f"prefect.flow-run.{state}"
    for state in (
        *("AwaitingRetry", "Scheduled", "Late", "Pending", "Paused", "Suspended", "Cancelling"),
        RESUMED,
    )
}


def apply_zombie_rule(client: SyncPrefectClient) -> str | None:
    """Create or change the automation that marks silent runs as crashed; what was done, or None if
    it was as it should be.

    One that an operator switched off stays off.
    """
    heartbeat = "prefect.flow-run.heartbeat"
    rule = _unless_heard(
        ZOMBIES,
        "A worker or its machine is gone: the run is marked, its parent goes on.",
        after=heartbeat,
        expect=_ENDED | _WAITING | {heartbeat},
        within=UNHEARD,
        change=ChangeFlowRunState(
            state=StateType.CRASHED,
            message=f"not heard of for {UNHEARD.seconds // 60} minutes: its worker is gone",
        ),
    )
    return _apply(client, rule, "zombies")


def apply_resume_rule(client: SyncPrefectClient) -> str | None:
    """Create or change the automation that schedules a crashed `regenerate` run again, under its
    own id, so that it adopts its children; what was done, or None if it was as it should be.

    It waits for `RESUMED_AFTER`, so that a run that can't even start is not started in a haste.
    """
    crashed = "prefect.flow-run.Crashed"
    rule = _unless_heard(
        NIGHTS,
        "The worker of the parent is gone: the night goes on where it stopped.",
        after=crashed,
        expect=(_ENDED - {crashed}) | _WAITING | {"prefect.flow-run.Running"},
        within=RESUMED_AFTER,
        change=ChangeFlowRunState(
            state=StateType.SCHEDULED,
            name=RESUMED,
            message="it crashed; what is done stays done, and its children are adopted",
        ),
        flow="regenerate",
    )
    return _apply(client, rule, "crashed nights")


def _unless_heard(
    name: str,
    description: str,
    *,
    after: str,
    expect: set[str],
    within: timedelta,
    change: ChangeFlowRunState,
    flow: str | None = None,
) -> AutomationCore:
    """Change the state of a run, of any flow or of one, after whose event none of others came."""
    of_flow: dict[str, str | list[str]] = {}
    if flow is not None:
        of_flow = {"prefect.resource.role": "flow", "prefect.resource.name": flow}
    trigger = EventTrigger(
        match=ResourceSpecification({"prefect.resource.id": ["prefect.flow-run.*"]}),
        match_related=ResourceSpecification(of_flow),
        for_each={"prefect.resource.id"},
        after={after},
        expect=expect,
        posture=Posture.Proactive,
        threshold=1,
        within=within,
    )
    return AutomationCore(name=name, description=description, trigger=trigger, actions=[change])


def _apply(client: SyncPrefectClient, wanted: AutomationCore, what: str) -> str | None:
    has = client.read_automations_by_name(wanted.name)
    if not has:
        client.create_automation(wanted)
        return f"automation for {what}: created"
    if _rule(has[0]) == _rule(wanted):
        return None
    client.update_automation(has[0].id, wanted.model_copy(update={"enabled": has[0].enabled}))
    return f"automation for {what}: changed"


def _rule(automation: AutomationCore) -> Any:
    trigger, actions = automation.trigger, automation.actions
    assert isinstance(trigger, EventTrigger)
    fields = (trigger.after, trigger.expect, trigger.for_each, trigger.within, trigger.posture)
    related = trigger.match_related
    return fields, related, [action.model_dump(exclude={"id"}) for action in actions]
