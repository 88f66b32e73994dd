"""Checkpoints from files that someone put somewhere: a folder, or whatever else is a `Tree`.

Three layouts are read: a models folder of this project (its manifests say everything), a cache of
the hub's library (``models--owner--name/snapshots/<commit>``), and ``<id>/<files>`` as
``hf download --local-dir`` leaves them. A released file may also lie at the top.
"""

import contextlib
import json
import re
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path, PurePosixPath
from typing import Protocol

from pydantic import ValidationError

from models.checkpoints.catalog import CatalogEntry
from models.checkpoints.local import MANIFEST, REVISIONS, Manifest
from models.checkpoints.pull_source import CHUNK, Listing, Published, PullRefused

# Where the hub's library notes, per file, the commit and the sum it was fetched with.
NOTES = ".cache/huggingface/download"
_COMMIT = re.compile(r"[0-9a-f]{40}")


class Tree(Protocol):
    """Files under a name, read only."""

    name: str

    def sizes(self, prefix: str) -> dict[str, int]:
        """The bytes of every file at or below a path, by whole path."""

    def opened(self, path: str, start: int) -> AbstractContextManager[Iterator[bytes]]:
        """The bytes of a file from ``start`` on, in pieces."""

    def etag(self, path: str) -> str | None:
        """The hub's sum of a file, where the tree keeps it: a sha256, or git's of a small file."""


class FolderTree:
    """A folder of this machine."""

    def __init__(self, folder: Path) -> None:
        if not folder.is_dir():
            raise PullRefused(
                f"no folder {folder}: give --from FOLDER, s3://bucket/prefix or a URL"
            )
        self._folder = folder
        self.name = str(folder)

    def sizes(self, prefix: str) -> dict[str, int]:
        """The bytes of every file at or below a path, by whole path."""
        top = self._folder / prefix
        paths = [top] if top.is_file() else (path for path in top.rglob("*") if path.is_file())
        return {path.relative_to(self._folder).as_posix(): path.stat().st_size for path in paths}

    @contextlib.contextmanager
    def opened(self, path: str, start: int) -> Iterator[Iterator[bytes]]:
        """The bytes of a file from ``start`` on, in pieces."""
        with (self._folder / path).open("rb") as file:
            file.seek(start)
            yield iter(lambda: file.read(CHUNK), b"")

    def etag(self, path: str) -> str | None:
        """The name of the blob that a link of the hub's cache points to."""
        link = self._folder / path
        if not link.is_symlink():
            return None
        blob = PurePosixPath(link.readlink().as_posix())
        return blob.name if blob.parent.name == "blobs" else None


class FolderSource:
    """Checkpoints that lie in a tree."""

    is_folder = True

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self.name = tree.name

    def listing(self, checkpoint: str, revision: str | None, known: CatalogEntry | None) -> Listing:
        """What the tree holds of a checkpoint, in whichever layout."""
        preferred = revision or (known.revision if known else None)
        for layout in (self._kept, self._cached, self._plain):
            listing = layout(checkpoint, revision, preferred)
            if listing is not None:
                return listing
        if known is not None and all(one.url for one in known.weights):
            loose = [one for file in known.weights for one in self._loose(file.choices[0])]
            if len(loose) == len(known.weights):
                return Listing(None, {one.path: one for one in loose})
        raise PullRefused(
            f"{self.name} holds no {checkpoint}: no folder {checkpoint}"
            f" and no {_cache_name(checkpoint)}"
        )

    @contextlib.contextmanager
    def opened(
        self, checkpoint: str, listing: Listing, file: Published, start: int
    ) -> Iterator[tuple[int, Iterator[bytes]]]:
        """The bytes of a file from ``start`` on."""
        with self._tree.opened(file.url or file.path, start) as chunks:
            yield start, chunks

    def _kept(self, checkpoint: str, revision: str | None, preferred: str | None) -> Listing | None:
        """As a models folder keeps it."""
        sizes = self._tree.sizes(f"{checkpoint}/")
        ending = f"/{MANIFEST}"
        here = [path.split("/")[2] for path in sizes if path.endswith(ending) and _depth(path) == 4]
        if not here:
            return None
        settled = self._settled(checkpoint)
        chosen = self._choose(checkpoint, here, revision, (settled, preferred))
        text = self._text(f"{checkpoint}/{chosen}/{MANIFEST}")
        try:
            manifest = Manifest.model_validate_json(text or "")
        except ValidationError:
            raise PullRefused(f"{self.name}: {checkpoint}/{chosen}/{MANIFEST} is damaged") from None
        if (manifest.id, manifest.revision) != (checkpoint, chosen):
            raise PullRefused(f"{self.name}: {checkpoint}/{chosen} calls itself {manifest.id}")
        files = {
            name: Published(
                name, file.size, file.sha256, url=f"{checkpoint}/{manifest.revision}/{name}"
            )
            for name, file in manifest.files.items()
        }
        return Listing(manifest.revision, files, manifest)

    def _cached(
        self, checkpoint: str, revision: str | None, preferred: str | None
    ) -> Listing | None:
        """As the hub's library caches it."""
        for top in ("", "hub/"):
            cache = f"{top}{_cache_name(checkpoint)}"
            sizes = self._tree.sizes(f"{cache}/snapshots/")
            if sizes:
                break
        else:
            return None
        start = len(f"{cache}/snapshots/")
        here = list(dict.fromkeys(path[start:].partition("/")[0] for path in sizes))
        main = (self._text(f"{cache}/refs/main") or "").strip() or None
        chosen = self._choose(checkpoint, here, revision, (preferred, main))
        below = f"{cache}/snapshots/{chosen}/"
        files = {}
        for path, size in sizes.items():
            if path.startswith(below):
                name = path.removeprefix(below)
                files[name] = _published(name, size, path, self._tree.etag(path))
        return Listing(chosen, files)

    def _plain(
        self, checkpoint: str, revision: str | None, preferred: str | None
    ) -> Listing | None:
        """As ``hf download --local-dir`` leaves it, or as someone copied it."""
        sizes = self._tree.sizes(f"{checkpoint}/")
        if not sizes:
            return None
        files, commits = {}, set()
        for path, size in sizes.items():
            name = path.removeprefix(f"{checkpoint}/")
            if name.startswith("."):
                continue
            note = f"{checkpoint}/{NOTES}/{name}.metadata"
            commit, etag = self._note(note) if note in sizes else (None, None)
            commits.add(commit)
            files[name] = _published(name, size, path, etag)
        stated = commits.pop() if len(commits) == 1 else None
        if revision is not None and stated != revision:
            raise PullRefused(f"{self.name}: nothing says that {checkpoint} is revision {revision}")
        return Listing(stated, files)

    def _settled(self, checkpoint: str) -> str | None:
        with contextlib.suppress(ValueError, AttributeError):
            return str(json.loads(self._text(REVISIONS) or "{}").get(checkpoint))
        return None

    def _loose(self, name: str) -> list[Published]:
        return [Published(name, size, url=path) for path, size in self._tree.sizes(name).items()]

    def _note(self, path: str) -> tuple[str | None, str | None]:
        lines = (self._text(path) or "").split("\n")
        commit = lines[0].strip()
        etag = lines[1].strip() if len(lines) > 1 else ""
        return (commit if _COMMIT.fullmatch(commit) else None), etag or None

    def _text(self, path: str) -> str | None:
        if path not in self._tree.sizes(path):
            return None
        with self._tree.opened(path, 0) as chunks:
            return b"".join(chunks).decode("utf-8", "replace")

    def _choose(
        self, checkpoint: str, here: list[str], revision: str | None, wishes: tuple[str | None, ...]
    ) -> str:
        """The revision asked for, else the first wish that is here, else the only one."""
        if revision is not None and revision not in here:
            raise PullRefused(
                f"{self.name} holds no {checkpoint} of revision {revision}, only {', '.join(here)}"
            )
        for wish in (revision, *wishes):
            if wish in here:
                return str(wish)
        if len(here) > 1:
            raise PullRefused(
                f"{self.name} holds several revisions of {checkpoint}: give one of"
                f" {', '.join(here)} with --revision"
            )
        return here[0]


def _published(name: str, size: int, path: str, etag: str | None) -> Published:
    is_sha256 = etag is not None and re.fullmatch("[0-9a-f]{64}", etag)
    is_blob = etag is not None and _COMMIT.fullmatch(etag)
    return Published(name, size, etag if is_sha256 else None, etag if is_blob else None, url=path)


def _cache_name(checkpoint: str) -> str:
    return "models--" + checkpoint.replace("/", "--")


def _depth(path: str) -> int:
    return len(PurePosixPath(path).parts)
