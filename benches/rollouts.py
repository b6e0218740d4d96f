"""Measures what a rollout costs (docs/versions.md): python3 benches/rollouts.py path/to/pasteup

Cached pages a second of three sites, in turns, by wrk (a package of Debian): without a rollout, with one on another page, and with
one on the page itself. The first is measured twice: how it differs from itself is what this machine does to a figure.
"""

import http.server
import json
import pathlib
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import urllib.request

ROUNDS = 12
SECONDS = 1


class Service(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        body = b"<p>" + b"words " * 300 + b"</p>"
        self.send_response(200)
        for name, value in (("Content-Type", "text/html"), ("Cache-Control", "max-age=3600"), ("Content-Length", len(body))):
            self.send_header(name, str(value))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


class Site:
    """A site with a front page and another one, and a rollout of the nanoservice on one of them."""

    def __init__(self, port, rolls_out=None):
        self.folder = tempfile.TemporaryDirectory()
        self.write("pasteup.toml", '[server]\nwatch = "off"\n')
        for route, name in (("/", "front"), ("/other", "other")):
            self.write(f"layouts/{name}.html", f'+++\nroute = "{route}"\n+++\n<title>T</title><fragment name="{name}" />')
            self.manifest(port, name, name, "1.0.0")
        command = [sys.argv[1], "--site", self.folder.name, "serve", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        self.address, admin = (re.search(r"http://\S+:\d+", self.process.stdout.readline())[0] for _ in range(2))
        if rolls_out:
            self.manifest(port, f"{rolls_out}-new", rolls_out, "1.1.0", "[rollout]\nsteps = [50]\nmin_requests = 1000000\n")
            urllib.request.urlopen(urllib.request.Request(f"{admin}/api/reload", method="POST")).close()
        running = json.load(urllib.request.urlopen(f"{admin}/api/rollouts"))
        assert len(running) == (1 if rolls_out else 0), running

    def write(self, name, text):
        path = pathlib.Path(self.folder.name, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def manifest(self, port, folder, name, version, more=""):
        text = f'name = "{name}"\nversion = "{version}"\nendpoint = "http://127.0.0.1:{port}/"\n{more}'
        self.write(f"fragments/{folder}/fragment.toml", text)

    def pages_a_second(self):
        command = ["wrk", "-t1", "-c16", f"-d{SECONDS}s", f"{self.address}/"]
        return float(re.search(r"Requests/sec:\s+([\d.]+)", subprocess.run(command, capture_output=True, text=True).stdout)[1])


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Service)
threading.Thread(target=server.serve_forever, daemon=True).start()
port = server.server_address[1]
without, elsewhere, here = Site(port), Site(port, "other"), Site(port, "front")
kinds = {"without a rollout": without, "with one on another page": elsewhere, "with one on the page": here, "without again": without}
counted = {name: [] for name in kinds}
for turn in range(ROUNDS + 1):
    for name, site in kinds.items():
        counted[name].append(site.pages_a_second())
for name, all_turns in counted.items():
    # The first turn fills the caches.
    ratios = [one / other for one, other in zip(all_turns[1:], counted["without a rollout"][1:])]
    print(f"{name}: {statistics.median(all_turns[1:]):.0f} cached pages/s, {statistics.median(ratios):.3f} "
          f"({min(ratios):.2f} to {max(ratios):.2f}; median of {ROUNDS} turns)")
for site in (without, elsewhere, here):
    site.process.terminate()
