"""The work pools of ``synthset deploy``: templates of ``deployments/work-pools``, and what an
operator has set in the UI since.
"""

import copy
import json
from pathlib import Path
from typing import Any, Literal

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.actions import WorkPoolCreate, WorkPoolUpdate
from prefect.exceptions import ObjectNotFound

DEPLOYMENTS = Path(__file__).resolve().parent
Infrastructure = Literal["process", "docker", "kubernetes"]
GPU_POOL = "synthset-gpu"
# Pool, and per infrastructure the type of its workers and the file of its job template.
POOLS: dict[str, dict[Infrastructure, tuple[str, str]]] = {
    "synthset-cpu": {
        "process": ("process", "process-cpu"),
        "docker": ("docker", "docker-cpu"),
        "kubernetes": ("kubernetes", "kubernetes-cpu"),
    },
    GPU_POOL: {
        "process": ("persistent-process", "persistent-process"),
        "docker": ("docker", "docker-gpu"),
        "kubernetes": ("kubernetes", "kubernetes-gpu"),
    },
}
# The defaults as they were deployed: what differs from them later, the operator has set.
_DEPLOYED = "x-deployed"
_ABSENT = object()


class DeployError(ValueError):
    """The server or the request does not allow it; one line with the mend."""


def apply_pool(
    client: SyncPrefectClient, name: str, infrastructure: Infrastructure, gpus: int, reset: bool
) -> list[str]:
    """Create a pool, or bring it to its template but for the values that its operator has set.

    Args:
        client: of the server.
        name: one of `POOLS`.
        infrastructure: what its workers start.
        gpus: of all machines: where runs do not hold a GPU each, so many may be at work.
        reset: take the operator's values back too.

    Returns:
        A line for what was done, and one for what was kept.

    Raises:
        DeployError: the pool is of another type, or there is no readable template.
    """
    kind, template = POOLS[name][infrastructure]
    wanted = read_template(template)
    wanted["variables"][_DEPLOYED] = _defaults(wanted)
    try:
        pool = client.read_work_pool(name)
    except ObjectNotFound:
        limit = _limit(infrastructure, gpus) if name == GPU_POOL else None
        new = WorkPoolCreate(
            name=name, type=kind, base_job_template=wanted, concurrency_limit=limit
        )
        client.create_work_pool(new)
        at_once = "" if limit is None else f", {limit} at once"
        return [f"work pool {name}: created, type {kind}{at_once}"]
    if pool.type != kind:
        raise DeployError(
            f"work pool {name} is of type {pool.type}, not {kind}, and a pool keeps its type: "
            f"delete it with 'prefect work-pool delete {name}' or choose its --infrastructure"
        )
    kept: list[str] = []
    if not reset:
        wanted, kept = merged(pool.base_job_template, wanted)
    done = []
    if pool.base_job_template != wanted:
        client.update_work_pool(name, WorkPoolUpdate(base_job_template=wanted))
        done.append(f"work pool {name}: job template changed")
    if kept:
        what = ", ".join(kept)
        done.append(f"work pool {name}: kept what was set there, {what}; --reset-pools undoes it")
    return done


def merged(has: dict[str, Any], wanted: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """A template with the defaults that an operator has set in the one the server has.

    Both are job templates of Prefect. A dictionary, such as ``env``, is merged key by key.

    Returns:
        The template, and the names of the variables whose defaults are not those of ``wanted``.
    """
    template = copy.deepcopy(wanted)
    deployed = has.get("variables", {}).get(_DEPLOYED, {})
    there = _defaults(has)
    kept = []
    for name, schema in template["variables"]["properties"].items():
        ours = schema.get("default", _ABSENT)
        value = _merge(deployed.get(name, _ABSENT), there.get(name, _ABSENT), ours)
        if value == ours:
            continue
        kept.append(name)
        if value is _ABSENT:
            del schema["default"]
        else:
            schema["default"] = value
    return template, kept


def read_template(name: str) -> dict[str, Any]:
    """A job template of ``deployments/work-pools``.

    Raises:
        DeployError: it is not there or no JSON.
    """
    path = DEPLOYMENTS / "work-pools" / f"{name}.json"
    try:
        template: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DeployError(f"{path}: no readable job template: {error}") from error
    return template


def _limit(infrastructure: Infrastructure, gpus: int) -> int | None:
    # A process worker has a slot per GPU. All containers of Docker get the same one; a pod without
    # a free one would wait until it is given up.
    return {"process": None, "docker": 1, "kubernetes": gpus}[infrastructure]


def _defaults(template: dict[str, Any]) -> dict[str, Any]:
    properties = template.get("variables", {}).get("properties", {})
    return {name: one["default"] for name, one in properties.items() if "default" in one}


def _merge(deployed: Any, there: Any, ours: Any) -> Any:
    if there == deployed:
        return ours
    if isinstance(there, dict) and isinstance(ours, dict):
        before = deployed if isinstance(deployed, dict) else {}
        values = {
            key: _merge(*(one.get(key, _ABSENT) for one in (before, there, ours)))
            for key in [*ours, *(key for key in there if key not in ours)]
        }
        return {key: value for key, value in values.items() if value is not _ABSENT}
    return there
