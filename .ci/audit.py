"""Ask pip-audit for known holes in the pinned dependencies: ``audit.py COMMAND...``, its command.

Fails on what is found. Where nothing can be looked up, as on a network without a service that knows
vulnerabilities, one line says so and the exit code is 0: that is no finding.
"""

import json
import subprocess
import sys
from typing import Any

PATIENCE_S = 90


def main(command: list[str]) -> int:
    """Run the command, print what it comes to, and return the exit code."""
    try:
        ended = subprocess.run(
            [*command, "--format", "json", "--progress-spinner", "off"],
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )
        looked_at: list[dict[str, Any]] = json.loads(ended.stdout)["dependencies"]
    except subprocess.TimeoutExpired:
        return not_audited(f"no answer within {PATIENCE_S} s")
    except (ValueError, LookupError):
        if ended.returncode > 1:  # not its answer, but how it was called
            print(ended.stderr, file=sys.stderr)
            return ended.returncode
        return not_audited((ended.stderr.strip().splitlines() or ["pip-audit says nothing"])[-1])
    found = [one for one in looked_at if one.get("vulns")]
    for one in found:
        for hole in one["vulns"]:
            mend = ", ".join(hole["fix_versions"]) or "no version"
            print(f"{one['name']} {one['version']}: {hole['id']}, mended in {mend}")
    unknown = [one["name"] for one in looked_at if "skip_reason" in one]
    if unknown:
        some = ", ".join(unknown[:3])
        not_audited(f"{len(unknown)} of {len(looked_at)} packages are not known there: {some}, ...")
    print(f"audited: {len(looked_at) - len(unknown)} packages, {len(found)} with known holes")
    return 1 if found else 0


def not_audited(why: str) -> int:
    """Say that it could not be looked up; the exit code."""
    print(f"NOT AUDITED: {why}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
