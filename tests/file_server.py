"""A stand-in for a server of large files, on loopback: it can break off, forbid ranges, change its file or be busy."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Behaviour:
    """What the server does with the next requests.

    Attributes:
        content: The file.
        cut_after: Bytes of the body after which each connection breaks, one entry a request; then whole answers.
        ranges: Does it know Range?
        etag: Sent as ETag where not empty.
        statuses: Answers instead of the file, one a request.
        pause_s: Rests so long after each 64 kB.
        seen: Range headers of every request, None where there was none.
    """

    content: bytes
    cut_after: list[int] = field(default_factory=list)
    ranges: bool = True
    etag: str = '"one"'
    statuses: list[int] = field(default_factory=list)
    pause_s: float = 0.0
    seen: list[str | None] = field(default_factory=list)


@contextmanager
def serving(behaviour: Behaviour) -> Iterator[str]:
    """Yields the address of the file."""

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

        def do_GET(self) -> None:
            wanted = self.headers.get("Range")
            behaviour.seen.append(wanted)
            if behaviour.statuses:
                self.send_error(behaviour.statuses.pop(0))
                return
            start = int(wanted.removeprefix("bytes=").split("-")[0]) if wanted and behaviour.ranges else 0
            changed = self.headers.get("If-Range") not in (None, behaviour.etag)
            start = 0 if changed else start
            if start and start >= len(behaviour.content):
                self.send_error(416)
                return
            body = behaviour.content[start:]
            self.send_response(206 if start else 200)
            if start:
                self.send_header("Content-Range", f"bytes {start}-{len(behaviour.content) - 1}/{len(behaviour.content)}")
            if behaviour.etag:
                self.send_header("ETag", behaviour.etag)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if behaviour.cut_after:
                body = body[: behaviour.cut_after.pop(0)]
                self.close_connection = True
            for at in range(0, len(body), 65536):
                try:
                    self.wfile.write(body[at : at + 65536])
                except OSError:
                    return  # whoever asked has gone
                time.sleep(behaviour.pause_s)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/weights.bin"
    finally:
        server.shutdown()
        server.server_close()
