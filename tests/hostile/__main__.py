"""Generated inputs through `synthset run`: `make hostile` prints what became of each kind."""

import argparse
import itertools
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from benchmarks.machine import table
from tests.hostile.cases import INPUTS, choose_inputs
from tests.hostile.runs import FILES, FOLDERS, Finding, run_files, run_folder
from tests.server import run_server
from tests.tiny import Cli

FILES_PER_RUN = 60
OUTCOMES = ("taken", "noted", "refused", "prompt")


def main() -> None:
    """Generate, run, compare; print the table."""
    parser = argparse.ArgumentParser(prog="make hostile", description=__doc__)
    parser.add_argument("--inputs", type=int, default=INPUTS, help="How many are generated.")
    parser.add_argument("--seed", type=int, default=0, help="Another seed gives other inputs.")
    parser.add_argument("--keep", type=Path, help="Folder for the inputs and runs, for a look.")
    parser.add_argument("--max-parallel", type=int, default=os.cpu_count(), help="Runs at a time.")
    chosen = parser.parse_args()
    os.environ |= {"DO_NOT_TRACK": "1", "PREFECT_SERVER_ANALYTICS_ENABLED": "false"}

    started = time.monotonic()
    with (
        tempfile.TemporaryDirectory(prefix="synthset-hostile-") as temporary,
        run_server(),
    ):
        findings = run_all(
            chosen.keep or Path(temporary), chosen.inputs, chosen.seed, chosen.max_parallel
        )
    print(show(findings))
    wrong = [finding for finding in findings if finding.wrong]
    for reason, same in itertools.groupby(wrong, key=lambda finding: finding.wrong):
        named = ", ".join(f"{finding.kind} {finding.name!a}" for finding in same)
        print(f"{named}: {reason}")
    seconds = time.monotonic() - started
    print(f"{chosen.inputs} inputs in {seconds:.0f} s")
    print(f"{len(findings)} files, folders and recipes, of which {len(wrong)} went wrong")
    sys.exit(1 if wrong else 0)


def run_all(work: Path, n_inputs: int, seed: int, max_parallel: int) -> list[Finding]:
    """What became of every input."""
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
        cli = Cli(work, str(client.api_url))
    cli.prepare()
    files, trials = choose_inputs(n_inputs, seed)
    with ThreadPoolExecutor(max_parallel) as pool:
        bundles = [
            pool.submit(run_files, cli, work / f"files{n}", files[n : n + FILES_PER_RUN], seed + n)
            for n in range(0, len(files), FILES_PER_RUN)
        ]
        singles = [
            pool.submit(run_folder, cli, work / f"folder{n}", *trial, seed + n_inputs + n)
            for n, trial in enumerate(trials)
        ]
        found = [finding for bundle in bundles for finding in bundle.result()]
        return [*found, *(single.result() for single in singles)]


def show(findings: Sequence[Finding]) -> str:
    """The table in Markdown."""
    return table(("kind", "inputs", *OUTCOMES, "wrong"), list(_rows(findings)))


def _rows(findings: Sequence[Finding]) -> Iterator[tuple[object, ...]]:
    for kind in (*FILES, *FOLDERS):
        found = [finding for finding in findings if finding.kind == kind]
        if found:
            counts = [sum(f.outcome == outcome for f in found) for outcome in OUTCOMES]
            yield kind, len(found), *counts, sum(bool(f.wrong) for f in found)


if __name__ == "__main__":
    main()
