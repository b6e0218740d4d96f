"""Measures nanoservices on demand (docs/on-demand.md): python3 benches/on_demand.py path/to/pasteup

Each figure is printed with the number of runs. Python is used since the programs that are started are in Python anyway, and since
its monotonic clock is the one that they report.
"""

import concurrent.futures
import os
import pathlib
import re
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request

PASTEUP = os.path.abspath(sys.argv[1])

PROGRAM = r'''
import itertools, os, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
count = itertools.count(1)
class Handler(BaseHTTPRequestHandler):
    protocol_version, wbufsize = "HTTP/1.1", -1
    def do_GET(self):
        if "crash" in os.environ.get("MODE", "") and next(count) % 10 == 0:
            os._exit(1)
        body = f"<p>ok {os.getpid()} {LISTENED} {os.environ.get('SAYS', '')}</p>".encode()
        self.send_response(200)
        for name, value in [("Content-Type", "text/html"), ("Cache-Control", "no-store"), ("Content-Length", len(body))]:
            self.send_header(name, str(value))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *_): pass
class Server(ThreadingHTTPServer):
    request_queue_size = 128
    def server_activate(self):
        global LISTENED
        super().server_activate()
        LISTENED = time.monotonic_ns()
Server(("127.0.0.1", int(os.environ["PORT"])), Handler).serve_forever()
'''

PAGE = '+++\nroute = "/"\n+++\n<fragment name="a" timeout="20s">instead</fragment><i>whole</i>'


def manifest(name, run=""):
    return f'name = "{name}"\nversion = "1.0.0"\ncommand = ["{sys.executable}", "program.py"]\n[run]\n{run}\n'


class Site:
    def __init__(self, run="", settings='[page]\nbudget = "20s"\n'):
        self.folder = tempfile.TemporaryDirectory()
        self.path = pathlib.Path(self.folder.name)
        self.write("layouts/front.html", PAGE)
        self.write("pasteup.toml", settings)
        self.write("fragments/a/fragment.toml", manifest("a", run))
        self.write("fragments/a/program.py", PROGRAM)

    def write(self, name, text):
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.with_suffix(".new").write_text(text)
        path.with_suffix(".new").rename(path)

    def __enter__(self):
        command = [PASTEUP, "--site", str(self.path), "serve", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        self.pages = re.search(r"http\S+", self.process.stdout.readline())[0]
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait()

    def get(self):
        with urllib.request.urlopen(self.pages + "/") as response:
            return response.read().decode()


def percentile(values, share):
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


def first_answers(runs=60):
    took = []
    with Site() as site:
        for _ in range(runs):
            page = site.get()
            pid, listened = re.search(r"ok (\d+) (\d+)", page).groups()
            took.append((time.monotonic_ns() - int(listened)) / 1e6)
            os.kill(int(pid), signal.SIGKILL)
            while "ok" in (page := site.get()) and pid in page:
                pass
            # That request may have started the next process, whose first answer is not measured.
            if "ok" in page:
                pid = re.search(r"ok (\d+)", page)[1]
                os.kill(int(pid), signal.SIGKILL)
                time.sleep(0.2)
    print(f"first answer after listen(): p50 {percentile(took, .5):.1f} ms, p95 {percentile(took, .95):.1f} ms ({runs} starts)")


def steady(runs=400):
    def measure(site):
        site.get()
        took = []
        for _ in range(runs):
            began = time.monotonic()
            assert "ok" in site.get()
            took.append((time.monotonic() - began) * 1e3)
        return f"p50 {percentile(took, .5):.2f} ms, p99 {percentile(took, .99):.2f} ms"
    with Site() as site:
        program = measure(site)
    site = Site()
    port = 20_000 + os.getpid() % 10_000
    service = subprocess.Popen([sys.executable, "program.py"], cwd=site.path / "fragments/a", env={"PORT": str(port)})
    time.sleep(1)
    site.write("fragments/a/fragment.toml", f'name = "a"\nversion = "1.0.0"\nendpoint = "http://127.0.0.1:{port}/"\n')
    with site:
        endpoint = measure(site)
    service.kill()
    print(f"a page of one part that is not cached: program {program}; the same service as an endpoint {endpoint} ({runs} pages)")


def memory(pid):
    text = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text()
    return int(re.search(r"^Pss:\s+(\d+)", text, re.M)[1])


def declared(count=1000):
    def site(make):
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder)
            (path / "layouts").mkdir()
            (path / "layouts/front.html").write_text('+++\nroute = "/"\n+++\nx')
            for number in range(count):
                (path / f"fragments/s{number}").mkdir(parents=True)
                (path / f"fragments/s{number}/fragment.toml").write_text(make(f"s{number}"))
            command = [PASTEUP, "--site", folder, "serve", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"]
            process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
            process.stdout.readline()
            time.sleep(3)
            found = memory(process.pid)
            process.terminate()
            process.wait()
            return found
    programs = [site(lambda name: manifest(name)) for _ in range(3)]
    endpoints = [site(lambda name: f'name = "{name}"\nversion = "1.0.0"\nendpoint = "http://127.0.0.1:1/{name}"\n') for _ in range(3)]
    more = (sorted(programs)[1] - sorted(endpoints)[1]) / 1024
    print(f"{count} declared programs: {more:+.2f} MiB over {count} endpoints (median of 3; {sorted(programs)[1] / 1024:.1f} MiB)")


def killed(runs=20):
    longest = 0
    for _ in range(runs):
        with Site("min = 1") as site:
            pid = int(re.search(r"ok (\d+)", site.get())[1])
            site.process.kill()
            began = time.monotonic()
            while pathlib.Path(f"/proc/{pid}/exe").exists() and time.monotonic() < began + 5:
                time.sleep(0.001)
            longest = max(longest, time.monotonic() - began)
    print(f"no child after SIGKILL of the compositor: {longest * 1e3:.0f} ms at most ({runs} runs)")


def load(site, seconds_or_event):
    def one():
        pages = []
        while not seconds_or_event():
            pages.append(site.get())
        return pages
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        return [page for result in [pool.submit(one) for _ in range(4)] for page in result.result()]


def changes(count=20):
    with Site() as site, concurrent.futures.ThreadPoolExecutor(1) as pool:
        site.get()
        over = []
        pages = pool.submit(load, site, lambda: over)
        for number in range(1, count + 1):
            site.write("fragments/a/fragment.toml", manifest("a", f'env = {{ SAYS = "version{number}" }}'))
            while f"version{number}<" not in site.get():
                time.sleep(0.01)
        over.append(True)
        pages = pages.result()
        failed = sum("ok" not in page for page in pages)
        print(f"a manifest changed {count} times under load: {failed} of {len(pages)} pages failed")


def crashes(seconds=10):
    with Site('env = { MODE = "crash" }') as site:
        end = time.monotonic() + seconds
        pages = load(site, lambda: time.monotonic() > end)
        whole = sum("<i>whole</i>" in page for page in pages)
        lost = sum("instead" in page for page in pages)
        print(f"a program that crashes on every tenth request: {len(pages)} pages, all with their other parts: {whole == len(pages)}; "
              f"its own part was missing on {lost}; answered at the end: {'ok' in site.get() or 'ok' in site.get()}")


if __name__ == "__main__":
    first_answers()
    steady()
    declared()
    killed()
    changes()
    crashes()
