"""Bytes from a source to a file: counted, gone on with after a break, compared with their sums."""

import hashlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from models.checkpoints.local import PULL
from models.checkpoints.pull_source import (
    CHUNK,
    Interrupted,
    Listing,
    NothingThere,
    Published,
    PullFailed,
    Source,
)

TRIES = 5
PAUSE_S = 1.0

# Bytes done, bytes of all files, the file at work.
Told = Callable[[int, int, str], None]


@dataclass
class Progress:
    """How many bytes of how many are done."""

    total: int
    told: Told
    done: int = 0

    def add(self, count: int, doing: str) -> None:
        """Say that more bytes are done."""
        self.done += count
        self.told(min(self.done, self.total), self.total, doing)


@dataclass(frozen=True)
class Transfer:
    """Fetches the files of one checkpoint."""

    checkpoint: str
    source: Source
    listing: Listing
    progress: Progress

    def fetch(self, file: Published, part: Path) -> None:
        """Read a file into ``part``, from where that ends; again after a broken connection.

        A part that the source has nothing to add to is whole where no size is known: whether it is
        the right one is for `verify` to say.

        Raises:
            PullFailed: it broke too often without anything new, or is shorter than it should be.
            PullRefused: the source does not give it.
        """
        have = part.stat().st_size if part.is_file() else 0
        if file.size is not None and have > file.size:
            part.unlink()
            have = 0
        self.progress.add(have, file.path)
        failures, pause_s, anew = 0, PAUSE_S, False
        while have == 0 or file.size is None or have < file.size:
            before = have
            try:
                with self.source.opened(self.checkpoint, self.listing, file, have) as (
                    start,
                    chunks,
                ):
                    self.progress.add(start - have, file.path)
                    _append(part, start, chunks, lambda count: self.progress.add(count, file.path))
                have = part.stat().st_size
                if file.size is None or have >= file.size:
                    return
                reason = f"{self.source.name} ends it early"
            except NothingThere:
                if file.size is None:
                    return
                if anew:
                    raise PullFailed(
                        f"{self.checkpoint}: {file.path} from {self.source.name} ends at {have} of"
                        f" {file.size} bytes; use another source: {PULL} {self.checkpoint} --from"
                        " PLACE"
                    ) from None
                part.unlink()
                self.progress.add(-have, file.path)
                have, anew = 0, True
                continue
            except Interrupted as error:
                have, reason = part.stat().st_size if part.is_file() else 0, str(error)
            failures = 1 if have > before else failures + 1
            if failures >= TRIES:
                size = f" of {file.size / 1e6:.1f}" if file.size else ""
                raise PullFailed(
                    f"{self.checkpoint}: {file.path} stopped at {have / 1e6:.1f}{size} MB"
                    f" ({reason}); run it again to go on: {PULL} {self.checkpoint}, or give --from"
                    " FOLDER"
                )
            time.sleep(pause_s)
            pause_s = min(2 * pause_s, 8 * PAUSE_S)

    def verify(self, file: Published, part: Path, expected: str | None) -> str:
        """The sha256 of a fetched file, after comparing it with all that is known of it.

        Raises:
            PullFailed: it differs; the fetched file is removed.
        """
        sha256, blob = sums_of(part, with_blob=file.blob is not None)
        size = part.stat().st_size
        wrong = None
        if file.size is not None and size != file.size:
            wrong = f"{size} bytes instead of {file.size}"
        elif expected is not None and sha256 != expected:
            wrong = f"sha256 {sha256[:12]}… instead of {expected[:12]}…"
        elif file.blob is not None and blob != file.blob:
            wrong = f"git sum {blob[:12]}… instead of {file.blob[:12]}…"
        if wrong is not None:
            part.unlink()
            raise PullFailed(
                f"{self.checkpoint}: {file.path} from {self.source.name} has {wrong};"
                f" refused and removed, pull it again: {PULL} {self.checkpoint}, or use another"
                " source: --from PLACE"
            )
        return sha256


def sums_of(path: Path, with_blob: bool = False) -> tuple[str, str]:
    """The sha256 of a file and, if asked for, git's sum of it as a blob (else an empty text)."""
    sha256, blob = hashlib.sha256(), hashlib.sha1(usedforsecurity=False)
    blob.update(f"blob {path.stat().st_size}\0".encode())
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            sha256.update(chunk)
            if with_blob:
                blob.update(chunk)
    return sha256.hexdigest(), blob.hexdigest() if with_blob else ""


def _append(part: Path, start: int, chunks: Iterator[bytes], count: Callable[[int], None]) -> None:
    with part.open("r+b" if part.is_file() else "wb") as out:
        out.seek(start)
        out.truncate()
        for chunk in chunks:
            out.write(chunk)
            count(len(chunk))
