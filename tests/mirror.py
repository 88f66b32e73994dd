"""A local HTTP server in the hub's layout. Tests can make it fail.

It serves ``<folder>/<owner>/<name>/<commit>/<files>`` with checksums as the hub does, and
``<folder>/releases/<path>`` as plain files.
"""

import contextlib
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
TREE = re.compile(r"/api/models/([^/]+/[^/]+)/tree/([^/]+)")
TEXT_SUFFIXES = (".json", ".txt")
FILE = re.compile(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)")


@dataclass
class Mirror:
    """A running mirror: the requests it received, and the failures it simulates.

    ``main`` is the newest commit by checkpoint. ``stands_for`` maps a requested commit to another
    one that is served instead. ``cut`` holds, by file name, after how many bytes each of the next
    answers breaks off. ``wrong`` are names of files that are served with other bytes. ``status``
    replaces every answer. ``redirects``: files are served from another host name, as the hub does
    with large ones. ``pause_s``: a wait after every 100 kB. ``credentials`` are pairs of the host
    and the credentials of each request.
    """

    folder: Path
    main: dict[str, str] = field(default_factory=dict)
    stands_for: dict[str, str] = field(default_factory=dict)
    cut: dict[str, list[int]] = field(default_factory=dict)
    wrong: set[str] = field(default_factory=set)
    status: int | None = None
    error_code: str | None = None
    redirects: bool = False
    pause_s: float = 0.0
    credentials: list[tuple[str, str | None]] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    sent: int = 0
    url: str = ""

    def put(self, checkpoint: str, commit: str, files: dict[str, bytes]) -> None:
        """Publish a commit, and make it the newest."""
        for name, content in files.items():
            path = self.folder / checkpoint / commit / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        self.main[checkpoint] = commit

    def downloads(self, ending: str) -> list[str]:
        """The GET requests for files whose paths end so."""
        gets = [line for line in self.requests if line.startswith("GET ")]
        return [line for line in gets if line.partition(" bytes=")[0].endswith(ending)]


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
        """Print nothing: the tests read `Mirror.requests`."""

    def _answer(self) -> None:
        path, _, _query = self.path.partition("?")
        span = self.headers.get("Range")
        self.mirror.requests.append(f"{self.command} {path}" + (f" {span}" if span else ""))
        host = self.headers["Host"].partition(":")[0]
        self.mirror.credentials.append((host, self.headers.get("Authorization")))
        if self.mirror.status is not None:
            self._fail(self.mirror.status, self.mirror.error_code)
        elif match := TREE.fullmatch(path):
            self._send_tree(match[1], match[2])
        elif match := API.fullmatch(path):
            self._send_listing(match[1], match[2] or "main")
        elif match := FILE.fullmatch(path):
            commit = self.mirror.main.get(match[1], "") if match[2] == "main" else match[2]
            redirects = self.mirror.redirects and host == HOST
            self._send_file(self.mirror.folder / match[1] / commit / match[3], commit, redirects)
        elif path.startswith("/releases/"):
            self._send_file(self.mirror.folder / path[1:], None)
        else:
            self._fail(404, None)

    def _send_listing(self, checkpoint: str, revision: str) -> None:
        folder = self._folder(checkpoint, revision)
        if folder is None:
            return
        siblings = []
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            sha256, blob = _checksums(path)
            row: dict[str, Any] = {
                "rfilename": path.relative_to(folder).as_posix(),
                "size": path.stat().st_size,
                "blobId": blob,
            }
            if path.suffix not in TEXT_SUFFIXES:
                row["lfs"] = {"sha256": sha256, "size": row["size"], "pointerSize": 134}
            siblings.append(row)
        sha = {"id": checkpoint, "modelId": checkpoint, "sha": folder.name}
        self._send_json(sha | {"siblings": siblings})

    def _send_tree(self, checkpoint: str, revision: str) -> None:
        folder = self._folder(checkpoint, revision)
        if folder is None:
            return
        rows = []
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            sha256, blob = _checksums(path)
            size = path.stat().st_size
            row: dict[str, Any] = {
                "type": "file",
                "path": path.relative_to(folder).as_posix(),
                "size": size,
                "oid": blob,
            }
            if path.suffix not in TEXT_SUFFIXES:
                row["lfs"] = {"oid": sha256, "size": size, "pointerSize": 134}
            rows.append(row)
        self._send_json(rows)

    def _folder(self, checkpoint: str, revision: str) -> Path | None:
        """The folder of a revision; without one an error is sent."""
        if checkpoint not in self.mirror.main:
            self._fail(404, "RepoNotFound")
            return None
        commit = self.mirror.main[checkpoint] if revision == "main" else revision
        commit = self.mirror.stands_for.get(commit, commit)
        folder = self.mirror.folder / checkpoint / commit
        if not folder.is_dir():
            self._fail(404, "RevisionNotFound")
            return None
        return folder

    def _send_json(self, content: Any) -> None:
        body = json.dumps(content).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _send_file(self, path: Path, commit: str | None, redirects: bool = False) -> None:
        if not path.is_file():
            self._fail(404, "EntryNotFound")
            return
        content = path.read_bytes()
        sha256, _ = _checksums(path)
        if path.name in self.mirror.wrong:
            content = bytes(byte ^ 1 for byte in content)
        match = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        start = int(match[1]) if match else 0
        self.send_response(302 if redirects else 206 if start else 200)
        if redirects:
            self.send_header("Location", self.mirror.url.replace(HOST, "localhost") + self.path)
        self.send_header("Content-Length", "0" if redirects else str(len(content) - start))
        self.send_header("ETag", f'"{sha256}"')
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        if commit is not None:
            self.send_header("X-Repo-Commit", commit)
            self.send_header("X-Linked-Etag", f'"{sha256}"')
            self.send_header("X-Linked-Size", str(len(content)))
        self.end_headers()
        if self.command == "GET" and not redirects:
            self._send_body(path.name, content[start:])

    def _send_body(self, name: str, body: bytes) -> None:
        cuts = self.mirror.cut.get(name)
        if cuts:
            body = body[: cuts.pop(0)]
            self.close_connection = True
        with contextlib.suppress(OSError):
            for first in range(0, len(body), 100_000):
                self.wfile.write(body[first : first + 100_000])
                threading.Event().wait(self.mirror.pause_s)
        self.mirror.sent += len(body)

    def _fail(self, status: int, code: str | None) -> None:
        self.send_response(status)
        self.send_header("Content-Length", "0")
        if code:
            self.send_header("X-Error-Code", code)
        self.end_headers()


def _checksums(path: Path) -> tuple[str, str]:
    """The sha256 of a file, and git's sha1 of it as a blob."""
    content = path.read_bytes()
    blob = hashlib.sha1(f"blob {len(content)}\0".encode() + content).hexdigest()
    return hashlib.sha256(content).hexdigest(), blob
