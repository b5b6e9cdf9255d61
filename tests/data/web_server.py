"""A web server that knows byte ranges, and misbehaves as it is told."""

import hashlib
import threading
from collections import Counter
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@contextmanager
def running_server():
    """A `WebServer` that answers while the block runs."""
    web = WebServer()
    thread = threading.Thread(target=web.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield web
    finally:
        web.shutdown()
        thread.join()
        web.server_close()


class WebServer(ThreadingHTTPServer):
    """Serves files with byte ranges; fails, forbids and forgets as it is told."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.files = {}
        self.failures = Counter()  # path: how many answers from now on are "503"
        self.forbidden = set()
        self.knows_ranges = True
        self.ranges = []  # (path, first, last) of every GET of a range

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}"

    def serve(self, folder):
        for path in sorted(folder.rglob("*.tfrecord")):
            self.files[f"/waymo/{path.relative_to(folder).as_posix()}"] = path.read_bytes()
        names = [name.removeprefix("/waymo/") for name in self.files]
        self.files["/waymo/index.txt"] = "\n".join(names).encode()
        return f"{self.url}/waymo"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_HEAD(self):
        self.answer(body=False)

    def do_GET(self):
        self.answer(body=True)

    def answer(self, *, body):
        content = self.server.files.get(self.path)
        if self.server.failures[self.path] > 0:
            self.server.failures[self.path] -= 1
            return self.finish_with(503)
        if self.path in self.server.forbidden:
            return self.finish_with(403)
        if content is None:
            return self.finish_with(404)
        wanted = self.headers.get("Range")
        tag = {"ETag": f'"{hashlib.md5(content).hexdigest()}"', "Accept-Ranges": "bytes"}
        if wanted is None or not self.server.knows_ranges:
            return self.finish_with(200, content, body, tag)
        first, last = map(int, wanted.removeprefix("bytes=").split("-"))
        self.server.ranges.append((self.path, first, last))
        if first >= len(content):
            return self.finish_with(416)
        part = content[first : last + 1]
        place = f"bytes {first}-{first + len(part) - 1}/{len(content)}"
        return self.finish_with(206, part, body, tag | {"Content-Range": place})

    def finish_with(self, status, content=b"", body=True, headers=()):
        self.send_response(status)
        for name, value in dict(headers).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if body:
            self.wfile.write(content)
