"""Headless Chromium, driven by the Chrome DevTools protocol over one websocket."""

import base64
import json
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
from websockets.sync.client import connect
from websockets.sync.connection import Connection

from tests.ui.server import process, until

PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "chrome")
TIMEOUT_S = 30.0
# The browser sends nothing outside this machine: no updates, no translations, no fonts.
OPTIONS = (
    "--headless=new",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-extensions",
    "--hide-scrollbars",
    "--remote-debugging-port=0",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
)
# The middle of the innermost visible element with exactly this text: a link, a button, a tab.
FIND = """\
((text, within) => {
  const found = [...document.querySelectorAll(within)].filter(
    e => e.getClientRects().length && (e.innerText || '').trim() === text);
  const inner = found.find(e => !found.some(other => other !== e && e.contains(other)));
  if (!inner) return null;
  inner.scrollIntoView({block: 'nearest'});
  const box = inner.getBoundingClientRect();
  return [box.x + box.width / 2, box.y + box.height / 2];
})"""


class Page:
    """A tab of the browser. ``errors`` holds the exceptions of its scripts."""

    def __init__(self, socket: Connection) -> None:
        self._socket = socket
        self._sent = 0
        self.errors: list[str] = []
        for domain in ("Page", "Runtime"):
            self.send(f"{domain}.enable")

    def send(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Send a command of the protocol; return its result."""
        self._sent += 1
        self._socket.send(json.dumps({"id": self._sent, "method": method, "params": parameters}))
        end = time.monotonic() + TIMEOUT_S
        while True:
            answer = json.loads(self._socket.recv(timeout=max(0.1, end - time.monotonic())))
            if answer.get("id") == self._sent:
                assert "error" not in answer, f"{method}: {answer['error']}"
                result: dict[str, Any] = answer["result"]
                return result
            self._note_event(answer)

    def open(self, url: str) -> None:
        """Go to an address."""
        answer = self.send("Page.navigate", url=url)
        assert "errorText" not in answer, answer

    def size(self, width: int, height: int) -> None:
        """Set the window's size in pixels."""
        method = "Emulation.setDeviceMetricsOverride"
        self.send(method, width=width, height=height, deviceScaleFactor=1, mobile=False)

    def evaluate(self, script: str) -> Any:
        """The JSON-able value of a JavaScript expression; a promise is waited for."""
        answer = self.send(
            "Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    @property
    def text(self) -> str:
        """The text of the page."""
        return str(self.evaluate("document.body ? document.body.innerText : ''"))

    def wait_for(self, text: str, seconds: float = TIMEOUT_S) -> None:
        """Wait until the page shows a text."""
        end = time.monotonic() + seconds
        while text not in self.text:
            assert time.monotonic() < end, f"no {text!r} on the page:\n{self.text}"
            time.sleep(0.2)

    def click(self, text: str, within: str = "body *", seconds: float = TIMEOUT_S) -> None:
        """Click the element with exactly this text once it exists and does not move."""
        script = f"{FIND}({json.dumps(text)}, {json.dumps(within)})"
        end, before, at = time.monotonic() + seconds, None, self.evaluate(script)
        while at is None or at != before:
            assert time.monotonic() < end, (
                f"no element with the text {text!r} on the page:\n{self.text}"
            )
            time.sleep(0.15)
            before, at = at, self.evaluate(script)
        mouse = {"x": at[0], "y": at[1], "button": "left", "clickCount": 1}
        for kind in ("mouseMoved", "mousePressed", "mouseReleased"):
            self.send("Input.dispatchMouseEvent", type=kind, **mouse)

    def settle(self) -> None:
        """Wait until the run's graph is drawn; the page does not say when."""
        time.sleep(3)

    def picture(self) -> bytes:
        """A PNG of the window."""
        answer = self.send("Page.captureScreenshot", format="png")
        return base64.b64decode(answer["data"])

    def _note_event(self, event: dict[str, Any]) -> None:
        if event.get("method") == "Runtime.exceptionThrown":
            self.errors.append(json.dumps(event["params"]["exceptionDetails"])[:500])


def find_chromium() -> str | None:
    """The path of the browser, or None if none is installed."""
    return next((found for name in PROGRAMS if (found := shutil.which(name))), None)


@contextmanager
def chromium(program: str, folder: Path) -> Iterator[Page]:
    """A browser with one empty tab; its profile is in ``folder``."""
    # Chromium has no sandbox for root, and tests in a container run as root.
    sandbox = ("--no-sandbox",) if os.geteuid() == 0 else ()
    command = [program, *OPTIONS, *sandbox, f"--user-data-dir={folder}", "about:blank"]
    port_file = folder / "DevToolsActivePort"
    folder.mkdir(parents=True, exist_ok=True)
    with process(command, os.environ, folder.with_suffix(".log")):
        until(lambda: port_file.exists() and port_file.read_text().strip(), 60)
        port = port_file.read_text().split()[0]
        tabs = httpx.get(f"http://127.0.0.1:{port}/json/list").json()
        address = next(tab["webSocketDebuggerUrl"] for tab in tabs if tab["type"] == "page")
        with connect(address, max_size=None, proxy=None) as socket:
            yield Page(socket)
