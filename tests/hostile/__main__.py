"""Generated inputs through `synthset run`: `make hostile` prints what became of each kind."""

import argparse
import itertools
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from benchmarks.machine import table
from tests.hostile.runs import FILES, FOLDERS, Finding, run_files, run_folder
from tests.server import run_server
from tests.tiny import Cli

# How many of the generated inputs are photo files; each of the others needs a run of its own.
FILE_SHARE = 0.75
FILES_PER_RUN = 60
OUTCOMES = ("taken", "noted", "refused", "prompt")


def main() -> None:
    """Generate, run, compare; print the table."""
    parser = argparse.ArgumentParser(prog="make hostile", description=__doc__)
    parser.add_argument("--inputs", type=int, default=500, help="How many inputs are generated.")
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
    print(f"{len(findings)} inputs in {seconds:.0f} s, of which {len(wrong)} went wrong")
    sys.exit(1 if wrong else 0)


def run_all(work: Path, n_inputs: int, seed: int, max_parallel: int) -> list[Finding]:
    """What became of every input."""
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
        cli = Cli(work, str(client.api_url))
    cli.prepare()
    n_files = round(n_inputs * FILE_SHARE)
    files = list(_numbered(itertools.islice(itertools.cycle(FILES), n_files)))
    order = [*FOLDERS, *FOLDERS, *["recipe field"] * 6]
    trials = list(_numbered(itertools.islice(itertools.cycle(order), n_inputs - n_files)))
    with ThreadPoolExecutor(max_parallel) as pool:
        bundles = [
            pool.submit(run_files, cli, work / f"files{n}", files[n : n + FILES_PER_RUN], seed + n)
            for n in range(0, n_files, FILES_PER_RUN)
        ]
        singles = [
            pool.submit(run_folder, cli, work / f"folder{n}", *trial, seed + n_inputs + n)
            for n, trial in enumerate(trials)
        ]
        found = [finding for bundle in bundles for finding in bundle.result()]
        return [*found, *(single.result() for single in singles)]


def _numbered(kinds: Iterable[str]) -> Iterator[tuple[str, int]]:
    """Each kind with the number of inputs of this kind before it."""
    counts: Counter[str] = Counter()
    for kind in kinds:
        yield kind, counts[kind]
        counts[kind] += 1


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
