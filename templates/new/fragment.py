"""The nanoservice @NAME@. `fragment` makes its HTML; the rest answers requests with Python's standard library."""

import hashlib
import html
import os
import re
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

PARAMS = [@PARAMS@]


def fragment(values):
    """The HTML for the values of the parameters. Escape whatever is not your own text."""
    shown = "".join(f", {name} = {html.escape(value)}" for name, value in values.items())
    return f"<p>Hello from @NAME@{shown}.</p>"


class Handler(BaseHTTPRequestHandler):
    protocol_version, wbufsize = "HTTP/1.1", -1  # connections stay open, and an answer is one write

    def do_GET(self):
        query = parse_qs(urlsplit(self.path).query)
        values = {name: query.get(name, [""])[0] for name in PARAMS}
        if not all(re.fullmatch("[a-z0-9-]{1,40}", value) for value in values.values()):
            self.answer(400, b"")
            return
        body = fragment(values).encode()
        tag = f'"{hashlib.sha256(body).hexdigest()[:16]}"'
        if self.headers["If-None-Match"] == tag:
            self.answer(304, b"", tag)
        else:
            self.answer(200, body, tag)

    def answer(self, status, body, tag=None):
        self.send_response(status)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        if tag:
            self.send_header("Cache-Control", "max-age=60")
            self.send_header("ETag", tag)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass  # Pasteup logs what matters


class Server(ThreadingHTTPServer):
    request_queue_size = 128  # of 5, some requests would wait a second


if __name__ == "__main__":
    Server(("127.0.0.1", int(os.environ["PORT"])), Handler).serve_forever()
