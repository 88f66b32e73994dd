"""One process at a time holds the lock of a file, also when a holder dies."""

import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from models.data.file_lock import file_lock

HOLDER = """\
import os, sys, time
from pathlib import Path
from models.data.file_lock import file_lock
with file_lock(Path(sys.argv[1])):
    print("held", flush=True)
    {work}
print("free", flush=True)
sys.stdin.readline()
"""


@contextmanager
def holder(path: Path, work: str = "sys.stdin.readline()") -> Iterator[subprocess.Popen[str]]:
    """A process that holds the lock while it works."""
    script = textwrap.dedent(HOLDER).format(work=work)
    started = subprocess.Popen(
        [sys.executable, "-c", script, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert started.stdout
    assert started.stdout.readline() == "held\n"
    try:
        yield started
    finally:
        started.kill()
        started.communicate()


def is_free(path: Path) -> bool:
    try:
        with file_lock(path, wait=False):
            return True
    except BlockingIOError:
        return False


def test_one_process_holds_the_lock_until_it_releases_it(tmp_path: Path) -> None:
    path = tmp_path / "new" / "lock"
    with holder(path) as other:
        assert not is_free(path)
        assert other.stdin
        assert other.stdout
        other.stdin.write("\n")
        other.stdin.flush()
        assert other.stdout.readline() == "free\n"
        assert is_free(path)
    with file_lock(path):
        assert not is_free(path)
    assert is_free(path)


def test_a_killed_holder_releases_the_lock(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with holder(path) as other:
        other.kill()
        other.wait()
        assert is_free(path)


def test_a_forked_child_does_not_keep_the_lock(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with holder(path, "if os.fork() == 0: time.sleep(5); os._exit(0)") as other:
        assert other.stdout
        assert other.stdout.readline() == "free\n"
        assert is_free(path)


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_text("mine")
    os.symlink(precious, tmp_path / "lock")
    with pytest.raises(OSError, match="lock"), file_lock(tmp_path / "lock"):
        pass
    assert precious.read_text() == "mine"
