"""A headless Chromium that tests talk to: open a page, run a script in it, hear its console."""

import asyncio
import base64
import json
import os
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tornado.websocket import WebSocketClientConnection, websocket_connect

BROWSER = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
# Large pictures come in one message.
MOST_BYTES = 2**26


class Page:
    """One page of a browser, through Chromium's DevTools protocol.

    Attributes
    ----------
    complaints
        Everything that the console said, and errors of scripts and of loading.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, socket: WebSocketClientConnection) -> None:
        self._loop, self._socket, self._number = loop, socket, 0
        self.complaints: list[str] = []
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Call a method of the protocol and wait for its answer."""
        return self._loop.run_until_complete(self._call(method, parameters))

    async def _call(self, method: str, parameters: dict[str, Any]) -> dict[str, Any]:
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        await self._socket.write_message(json.dumps(message))
        while True:
            text = await self._socket.read_message()
            if text is None:
                raise RuntimeError("the browser has ended")
            found = json.loads(text)
            self._listen(found)
            if found.get("id") == self._number:
                if "error" in found:
                    raise RuntimeError(found["error"]["message"])
                return found["result"]

    def _listen(self, event: dict[str, Any]) -> None:
        values = event.get("params", {})
        if event.get("method") == "Runtime.consoleAPICalled":
            self.complaints.append(str([a.get("value") for a in values["args"]]))
        elif event.get("method") == "Runtime.exceptionThrown":
            self.complaints.append(str(values["exceptionDetails"]))
        elif event.get("method") == "Log.entryAdded":
            self.complaints.append(str(values["entry"]["text"]))

    def open(self, address: str) -> None:
        """Go to an address."""
        self.call("Page.navigate", url=address)

    def evaluate(self, script: str) -> Any:
        """Run a script and give its value; promises are waited for."""
        found = self.call(
            "Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True
        )
        if "exceptionDetails" in found:
            raise RuntimeError(str(found["exceptionDetails"]))
        return found["result"].get("value")

    def wait_for(self, script: str, *, seconds: float = 60.0) -> None:
        """Wait until a script gives something that is true."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if self.evaluate(f"Boolean({script})"):
                return
            time.sleep(0.02)
        raise TimeoutError(f"{script}: not within {seconds} s; console: {self.complaints}")

    def resize(self, width: int, height: int) -> None:
        """Give the page a window of this size."""
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height,
            deviceScaleFactor=1, mobile=False,
        )  # fmt: skip

    def save_picture(self, path: Path) -> None:
        """Write what the page looks like as PNG."""
        found = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(found["data"]))


@contextmanager
def open_browser(folder: Path) -> Iterator[Page]:
    """Start a browser without a window and without a profile of anybody's.

    Parameters
    ----------
    folder
        For its profile.
    """
    options = [
        "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
        "--disable-background-networking", "--disable-component-update", "--disable-sync",
        f"--user-data-dir={folder / 'profile'}", "--remote-debugging-port=0", "about:blank",
    ]  # fmt: skip
    # That of a browser before would name a port where nobody listens any more.
    (folder / "profile" / "DevToolsActivePort").unlink(missing_ok=True)
    process = subprocess.Popen(
        [str(BROWSER), *options], env={**os.environ, "HOME": str(folder)},
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    loop = asyncio.new_event_loop()
    try:
        port = _find_port(folder / "profile" / "DevToolsActivePort", process)
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/json") as answer:
            targets = json.loads(answer.read())
        address = next(t["webSocketDebuggerUrl"] for t in targets if t["type"] == "page")
        socket = loop.run_until_complete(_connect(address))
        yield Page(loop, socket)
        loop.run_until_complete(_close(socket))
    finally:
        process.terminate()
        process.wait(30)
        loop.close()


async def _connect(address: str) -> WebSocketClientConnection:
    return await websocket_connect(address, max_message_size=MOST_BYTES)


async def _close(socket: WebSocketClientConnection) -> None:
    # Within the loop: Tornado would make another one, which nobody closes.
    socket.close()
    await asyncio.sleep(0.05)


def _find_port(file: Path, process: subprocess.Popen[bytes]) -> int:
    end = time.monotonic() + 60
    while time.monotonic() < end:
        if process.poll() is not None:
            raise RuntimeError(f"the browser ended with {process.returncode}")
        if file.exists() and (lines := file.read_text().splitlines()):
            return int(lines[0])
        time.sleep(0.05)
    raise TimeoutError("the browser did not say its port")
