"""A real S3 server on loopback (moto behind werkzeug) that can be told to answer 500, or not at all, for a while."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server


class S3Server:
    """``fail`` decides for each request ``(method, path)`` whether it is answered 500."""

    def __init__(self, address: str = "127.0.0.1") -> None:
        logging.getLogger("werkzeug").setLevel(logging.ERROR)
        self._app = DomainDispatcherApplication(create_backend_app)
        self.fail: Callable[[str, str], bool] = lambda method, path: False
        self._answers = threading.Event()
        self._answers.set()
        self.requests: list[tuple[str, str]] = []
        self._server = make_server(address, 0, self._answer, threaded=True)
        self.url = f"http://{address}:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def _answer(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        method, path = environ["REQUEST_METHOD"], environ["PATH_INFO"]
        self.requests.append((method, path))
        self._answers.wait()
        if self.fail(method, path):
            start_response("500 Internal Server Error", [("Content-Type", "text/plain")])
            return [b"no"]
        return self._app(environ, start_response)

    @contextmanager
    def failing(self, decide: Callable[[str, str], bool]) -> Iterator[None]:
        before, self.fail = self.fail, decide
        try:
            yield
        finally:
            self.fail = before

    @contextmanager
    def silent(self) -> Iterator[None]:
        """Nobody is answered before the end of the block."""
        self._answers.clear()
        try:
            yield
        finally:
            self._answers.set()

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
