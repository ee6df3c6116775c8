"""A server for one browser on this machine: read only, and nobody without its address is let in."""

import asyncio
import hmac
import json
import secrets
import signal
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from importlib import resources
from typing import Any
from urllib.parse import urlsplit

from tornado.httpserver import HTTPServer
from tornado.web import Application, HTTPError, RequestHandler

from i2r.errors import DamageError, I2RError
from i2r.view.live import LiveExperiment
from i2r.view.pictures import find_contrast
from i2r.view.questions import Picture, answer

HOST = "127.0.0.1"
# As the browser may call this machine, also through a forwarded port.
NAMES = {HOST, "localhost"}
PAGE = {"": "index.html", "view.js": "view.js", "view.css": "view.css"}
KINDS = {"html": "text/html", "js": "text/javascript", "css": "text/css"}
POLICY = (
    "default-src 'none'; img-src 'self' data:; style-src 'self'; script-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
READERS = 4
# Questions that are answered with a picture, or not at all.
PICTURES = {"crops", "field", "outlines"}


class _Guarded(RequestHandler):
    """Answers only requests that know the token and come to this machine by its own name."""

    def initialize(self, live: LiveExperiment, token: str, readers: ThreadPoolExecutor) -> None:
        self.live, self.token, self.readers = live, token, readers

    def set_default_headers(self) -> None:
        self.set_header("Content-Security-Policy", POLICY)
        self.set_header("Referrer-Policy", "no-referrer")
        self.set_header("X-Content-Type-Options", "nosniff")
        self.set_header("Cross-Origin-Resource-Policy", "same-origin")
        self.set_header("Cache-Control", "no-store")
        self.clear_header("Server")

    def prepare(self) -> None:
        # Another site can make a browser ask under its own name (DNS rebinding).
        try:
            name = urlsplit(f"//{self.request.host}").hostname
        except ValueError:
            name = None
        token = self.path_kwargs.get("token", "")
        if name not in NAMES or not hmac.compare_digest(token.encode(), self.token.encode()):
            raise HTTPError(403)

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        self.set_header("Content-Type", "text/plain; charset=utf-8")
        self.finish(f"{status_code}: {self._reason}")


class _PageFile(_Guarded):
    """The page itself, its script and its style."""

    def get(self, token: str, name: str) -> None:
        if name not in PAGE:
            raise HTTPError(404)
        content = (resources.files("i2r.view") / "page" / PAGE[name]).read_bytes()
        kind = KINDS[PAGE[name].rpartition(".")[2]]
        self.set_header("Content-Type", f"{kind}; charset=utf-8")
        self.finish(content)


class _Question(_Guarded):
    """Values as JSON, and pictures."""

    async def get(self, token: str, name: str) -> None:
        # Names may begin or end with a space, which Tornado would take away.
        names = self.request.query_arguments
        given = {name: self.get_query_argument(name, strip=False) for name in names}
        loop = asyncio.get_running_loop()
        try:
            found = await loop.run_in_executor(self.readers, answer, self.live, name, given)
        except DamageError as error:
            self._refuse(503, f"{error} (A run may be writing it: try again.)")
        except I2RError as error:
            # What is not there yet is an answer; a browser would log another status as an error.
            self._refuse(404 if name in PICTURES else 200, str(error))
        except FileNotFoundError:
            self._refuse(503, "not there just now: a run is replacing it. Try again.")
        else:
            if isinstance(found, Picture):
                self.set_header("Content-Type", found.kind)
                # The address says everything that the picture depends on but the ledger.
                self.set_header("Cache-Control", "private, max-age=60")
                self.finish(found.data)
            else:
                self._send(found)

    def _refuse(self, status: int, words: str) -> None:
        self.set_status(status)
        self._send({"error": words})

    def _send(self, values: dict[str, Any]) -> None:
        self.set_header("Content-Type", "application/json; charset=utf-8")
        self.finish(json.dumps(values, allow_nan=False))


def make_application(live: LiveExperiment, token: str, readers: ThreadPoolExecutor) -> Application:
    """Make the application: every path begins with the token."""
    given = {"live": live, "token": token, "readers": readers}
    return Application(
        [
            (r"/(?P<token>[\w-]+)/ask/(?P<name>[a-z]+)", _Question, given),
            (r"/(?P<token>[\w-]+)/(?P<name>[a-z.]*)", _PageFile, given),
        ],
        # Requests would be logged with the token in them.
        log_function=lambda handler: None,
    )


def serve(live: LiveExperiment, *, port: int = 0, say: Callable[[str], None]) -> None:
    """Serve until the process is interrupted or asked to end.

    Parameters
    ----------
    live
        The experiment.
    port
        On this machine's loopback; 0 takes a free one.
    say
        Called once with the address, token included.

    Raises
    ------
    OSError
        If the port is taken.
    """
    asyncio.run(_serve(live, port, say))


def _warm(live: LiveExperiment) -> None:
    """Find out what the first nuclei need, while somebody still looks at the page."""
    with suppress(I2RError, OSError):
        source = live.source()
        for stage in source.stages_of("crop")[:1]:
            if source.results(stage.title):
                find_contrast(source, stage.title)


async def _serve(live: LiveExperiment, port: int, say: Callable[[str], None]) -> None:
    listening = socket.socket()
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listening.bind((HOST, port))
    listening.listen(128)
    listening.setblocking(False)
    token = secrets.token_urlsafe(18)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for name in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(name, stop.set)
    with ThreadPoolExecutor(READERS, thread_name_prefix="view") as readers:
        server = HTTPServer(make_application(live, token, readers))
        server.add_socket(listening)
        say(f"http://{HOST}:{listening.getsockname()[1]}/{token}/")
        readers.submit(_warm, live)
        await stop.wait()
        server.stop()
        readers.shutdown(wait=False, cancel_futures=True)
        await server.close_all_connections()
