"""A mirror in the hub's layout on this machine, which fails when told to.

It serves ``<folder>/<owner>/<name>/<commit>/<files>`` as the hub does, with the sums that the hub
gives, and ``<folder>/releases/<path>`` as plain files.
"""

import hashlib
import http.server
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

HOST = "127.0.0.1"
API = re.compile(r"/api/models/([^/]+/[^/]+)(?:/revision/([^/]+))?")
FILE = re.compile(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)")


@dataclass
class Mirror:
    """A running mirror: what it was asked, and how it is to fail.

    ``main`` is the newest commit by checkpoint; ``stands_for`` are commits given instead of others.
    ``cut`` is the number of bytes after which the next answers break off, by file name, once per
    entry of the list. ``wrong`` are names of files whose bytes are falsified. ``status`` answers
    that instead of anything else. ``without_ranges``: it gives whole files only. ``elsewhere``: it
    sends whoever wants a file to another host name, as the hub does with large ones. ``tokens`` are
    the hosts asked, each with the credentials that were sent to it.
    """

    folder: Path
    main: dict[str, str] = field(default_factory=dict)
    stands_for: dict[str, str] = field(default_factory=dict)
    cut: dict[str, list[int]] = field(default_factory=dict)
    wrong: set[str] = field(default_factory=set)
    status: int | None = None
    error_code: str | None = None
    without_ranges: bool = False
    elsewhere: bool = False
    tokens: list[tuple[str, str | None]] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    sent: int = 0
    url: str = ""

    def put(self, checkpoint: str, commit: str, files: dict[str, bytes]) -> None:
        """Publish a commit, and make it the newest."""
        for name, content in files.items():
            path = self.folder / checkpoint / commit / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        self.main[checkpoint] = commit

    def gets(self, ending: str) -> list[str]:
        """The requests for files whose names end so."""
        return [one for one in self.asked if one.partition(" bytes=")[0].endswith(ending)]


@contextmanager
def serving(folder: Path) -> Iterator[Mirror]:
    """A mirror of a folder, until the end of the block."""
    mirror = Mirror(folder)
    handler = type("Handler", (_Handler,), {"mirror": mirror})
    server = http.server.ThreadingHTTPServer((HOST, 0), handler)
    mirror.url = f"http://{HOST}:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield mirror
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(http.server.BaseHTTPRequestHandler):
    mirror: Mirror
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def log_message(self, *_: Any) -> None:
        """The tests look at `Mirror.asked` instead."""

    def _answer(self) -> None:
        path, _, _query = self.path.partition("?")
        span = self.headers.get("Range")
        self.mirror.asked.append(f"{self.command} {path}" + (f" {span}" if span else ""))
        host = self.headers["Host"].partition(":")[0]
        self.mirror.tokens.append((host, self.headers.get("Authorization")))
        if self.mirror.status is not None:
            self._fail(self.mirror.status, self.mirror.error_code)
        elif found := API.fullmatch(path):
            self._tell(found[1], found[2] or "main")
        elif FILE.fullmatch(path) and self.mirror.elsewhere and host == HOST:
            self.send_response(302)
            self.send_header("Location", self.mirror.url.replace(HOST, "localhost") + path)
            self.send_header("Content-Length", "0")
            self.end_headers()
        elif found := FILE.fullmatch(path):
            commit = self.mirror.main.get(found[1], "") if found[2] == "main" else found[2]
            self._give(self.mirror.folder / found[1] / commit / found[3], commit)
        elif path.startswith("/releases/"):
            self._give(self.mirror.folder / path[1:], None)
        else:
            self._fail(404, None)

    def _tell(self, checkpoint: str, revision: str) -> None:
        if checkpoint not in self.mirror.main:
            self._fail(404, "RepoNotFound")
            return
        commit = self.mirror.main[checkpoint] if revision == "main" else revision
        commit = self.mirror.stands_for.get(commit, commit)
        folder = self.mirror.folder / checkpoint / commit
        if not folder.is_dir():
            self._fail(404, "RevisionNotFound")
            return
        siblings = []
        for path in sorted(one for one in folder.rglob("*") if one.is_file()):
            content = path.read_bytes()
            blob = hashlib.sha1(f"blob {len(content)}\0".encode() + content).hexdigest()
            row: dict[str, Any] = {
                "rfilename": path.relative_to(folder).as_posix(),
                "size": len(content),
                "blobId": blob,
            }
            if path.suffix not in (".json", ".txt"):
                sha256 = hashlib.sha256(content).hexdigest()
                row["lfs"] = {"sha256": sha256, "size": len(content), "pointerSize": 134}
            siblings.append(row)
        answer = {"id": checkpoint, "modelId": checkpoint, "sha": commit, "siblings": siblings}
        body = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _give(self, path: Path, commit: str | None) -> None:
        if not path.is_file():
            self._fail(404, "EntryNotFound")
            return
        content = path.read_bytes()
        sha256 = hashlib.sha256(content).hexdigest()
        if path.name in self.mirror.wrong:
            content = bytes(one ^ 1 for one in content)
        start = 0
        if span := re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", "")):
            start = 0 if self.mirror.without_ranges else int(span[1])
        if start and start >= len(content):
            self._fail(416, None)
            return
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(content) - start))
        self.send_header("ETag", f'"{sha256}"')
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        if commit is not None:
            self.send_header("X-Repo-Commit", commit)
            self.send_header("X-Linked-Etag", f'"{sha256}"')
            self.send_header("X-Linked-Size", str(len(content)))
        self.end_headers()
        if self.command == "HEAD":
            return
        cuts = self.mirror.cut.get(path.name)
        body = content[start:]
        if cuts:
            body = body[: cuts.pop(0)]
            self.close_connection = True
        self.wfile.write(body)
        self.mirror.sent += len(body)

    def _fail(self, status: int, code: str | None) -> None:
        self.send_response(status)
        self.send_header("Content-Length", "0")
        if code:
            self.send_header("X-Error-Code", code)
        self.end_headers()
