"""Check whether a machine can do the job: versions, cores, memory, disk, GPU, Prefect, store."""

import importlib.metadata
import importlib.util
import os
import platform
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
from rich.console import Console
from rich.table import Table

from models.data.records import Record

NEEDED = ("prefect", "torch", "torchvision", "lightning", "timm", "opencv-python-headless")
DIFFUSION = ("accelerate", "compel", "diffusers", "huggingface_hub", "spandrel", "transformers")
ENOUGH_MEMORY_GB = 4
ENOUGH_DISK_GB = 5


class Finding(Record):
    """The result of one check; ``fix`` says what to do if it failed."""

    subject: str
    found: str
    is_fit: bool = True
    fix: str = ""


def examine(store: str | None) -> list[Finding]:
    """Run all checks; return their results in order."""
    memory, disk = psutil.virtual_memory().total, shutil.disk_usage(Path.cwd()).free
    few_gb = f"{ENOUGH_MEMORY_GB} GB suffice with --max-parallel 1"
    findings = [
        Finding(subject="Python", found=platform.python_version()),
        *_packages(),
        _backbone(),
        Finding(subject="CPU cores", found=str(os.cpu_count())),
        _enough("memory", memory, ENOUGH_MEMORY_GB, few_gb),
        _enough("free disk here", disk, ENOUGH_DISK_GB, "use --store on another disk"),
        _gpu(),
        _diffusion(),
        _prefect(),
    ]
    return [*findings, _store(store)] if store else findings


def show_findings(findings: list[Finding]) -> None:
    """Print the results as a table."""
    table = Table("", "check", "found", "fix")
    for finding in findings:
        status = "ok" if finding.is_fit else "NO"
        table.add_row(status, finding.subject, finding.found, finding.fix)
    Console(markup=False, emoji=False).print(table)


def _packages() -> Iterator[Finding]:
    for name in NEEDED:
        try:
            yield Finding(subject=name, found=importlib.metadata.version(name))
        except importlib.metadata.PackageNotFoundError:
            yield Finding(subject=name, found="missing", is_fit=False, fix="run: make setup")


def _enough(subject: str, size: float, needed_gb: int, fix: str) -> Finding:
    """Compare a size in bytes with the gigabytes that are needed."""
    is_fit = size / 1e9 >= needed_gb
    found = f"{size / 1e9:.0f} GB"
    return Finding(subject=subject, found=found, is_fit=is_fit, fix="" if is_fit else fix)


def _backbone() -> Finding:
    from models.embedding.weights import NETWORK, embedded_tensors

    return _attempt("embedded backbone", embedded_tensors, f"{NETWORK}, verified", "")


def _gpu() -> Finding:
    from models.runtime.hardware import describe_gpu

    return Finding(subject="GPU", found=describe_gpu() or "none; the classical profile needs none")


def _diffusion() -> Finding:
    """The packages and checkpoints of the diffusion profile. The classical one needs none."""
    from models.checkpoints.local import manifests, models_folder

    missing = [name for name in DIFFUSION if importlib.util.find_spec(name) is None]
    if missing:
        fix = "for the diffusion profile: pip install 'synthset[diffusion]'"
        return Finding(subject="diffusion", found=f"no {', '.join(missing)}", fix=fix)
    count = sum(1 for _ in manifests())
    fix = "" if count else "for the diffusion profile: synthset models pull --recipe multiview"
    found = f"installed; {count} checkpoints in {models_folder()}"
    return Finding(subject="diffusion", found=found, fix=fix)


def _prefect() -> Finding:
    from prefect.settings import get_current_settings

    url = get_current_settings().api.url
    found = "embedded server starts" if url is None else f"server at {url}"
    return _attempt("Prefect", _call_server, found, "see the line on the left")


def _call_server() -> None:
    from prefect.client.orchestration import get_client

    from deployments.server.embedded import server_for_flows

    with server_for_flows(), get_client(sync_client=True) as client:
        client.hello().raise_for_status()


def _store(url: str) -> Finding:
    from tasks.store.store import open_store

    return _attempt("store", lambda: open_store(url).check_writable(), f"{url} can be used", "")


def _attempt(subject: str, action: Callable[[], object], found: str, fix: str) -> Finding:
    try:
        action()
    except Exception as error:  # every error is the result of the check
        line = " ".join(str(error).split())[:200] or type(error).__name__
        return Finding(subject=subject, found=line, is_fit=False, fix=fix)
    return Finding(subject=subject, found=found)
