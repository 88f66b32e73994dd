"""Runs whose worker or machine is gone: the automation that marks them, so that parents go on."""

from datetime import timedelta
from typing import Any

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import StateType
from prefect.events.actions import ChangeFlowRunState
from prefect.events.schemas.automations import AutomationCore, EventTrigger, Posture
from prefect.events.schemas.events import ResourceSpecification

# Five heartbeats of a minute: a server that restarts must not take its runs for dead.
UNHEARD = timedelta(minutes=5)
ZOMBIES = "synthset: runs that are not heard of have crashed"
_ENDED_OR_WAITING = (
    *("Completed", "Failed", "Cancelled", "Crashed"),
    *("AwaitingRetry", "Scheduled", "Late", "Pending", "Paused", "Suspended"),
)


def apply_zombie_rule(client: SyncPrefectClient) -> str | None:
    """Create or change the automation; what was done, or None if it was as it should be.

    One that an operator switched off stays off.
    """
    heard = {f"prefect.flow-run.{state}" for state in _ENDED_OR_WAITING}
    wanted = AutomationCore(
        name=ZOMBIES,
        description="A worker or its machine is gone: the run is marked, and its parent goes on.",
        trigger=EventTrigger(
            match=ResourceSpecification({"prefect.resource.id": ["prefect.flow-run.*"]}),
            for_each={"prefect.resource.id"},
            after={"prefect.flow-run.heartbeat"},
            expect=heard | {"prefect.flow-run.heartbeat"},
            posture=Posture.Proactive,
            threshold=1,
            within=UNHEARD,
        ),
        actions=[
            ChangeFlowRunState(
                state=StateType.CRASHED,
                message=f"not heard of for {UNHEARD.seconds // 60} minutes: its worker is gone",
            )
        ],
    )
    has = client.read_automations_by_name(ZOMBIES)
    if not has:
        client.create_automation(wanted)
        return "automation for zombies: created"
    if _rule(has[0]) == _rule(wanted):
        return None
    client.update_automation(has[0].id, wanted.model_copy(update={"enabled": has[0].enabled}))
    return "automation for zombies: changed"


def _rule(automation: AutomationCore) -> Any:
    trigger, actions = automation.trigger, automation.actions
    assert isinstance(trigger, EventTrigger)
    fields = (trigger.after, trigger.expect, trigger.for_each, trigger.within, trigger.posture)
    return fields, [action.model_dump(exclude={"id"}) for action in actions]
