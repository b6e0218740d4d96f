"""Measures components (docs/on-demand.md): python3 benches/components.py path/to/pasteup [path/to/wasmtime]

The compositor must be built with `--features wasm`. The component is tests/guests/guest.wasm; with wasmtime's program, the same one
is served by `wasmtime serve` as well. Each figure is printed with the number of runs. Requests are sent over one connection, by
bare sockets, one after another.
"""

import os
import pathlib
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time

PASTEUP = os.path.abspath(sys.argv[1])
WASMTIME = sys.argv[2] if len(sys.argv) > 2 else shutil.which("wasmtime")
GUEST = pathlib.Path(__file__).parent.parent / "tests/guests/guest.wasm"
ALMANAC = pathlib.Path(__file__).parent.parent / "fragments/almanac/almanac.wasm"

SETTINGS = '[page]\nbudget = "20s"\n[fragment]\nbreaker_failures = 1000\n[server]\nwatch = "off"\n[on_demand]\ncache = "{cache}"\n'
LOOP_TIMEOUT = 200  # ms


def component(name, path, more=""):
    return f'name = "{name}"\nversion = "1.0.0"\ncomponent = "guest.wasm"\npath = "{path}"\n[cache]\nttl = "0s"\n{more}'


def page(route, fragment=""):
    return f'+++\nroute = "{route}"\n+++\n{fragment}<i>whole</i>'


class Site:
    """A site with a page for each route, and the compositor that serves it."""

    def __init__(self, pages, fragments, cache=None):
        self.folder = tempfile.TemporaryDirectory()
        self.path = pathlib.Path(self.folder.name)
        self.write("pasteup.toml", SETTINGS.format(cache=cache or self.path / "cache"))
        for route, fragment in pages.items():
            self.write(f"layouts/{route.strip('/') or 'front'}.html", page(route, fragment))
        for name, manifest in fragments.items():
            self.write(f"fragments/{name}/fragment.toml", manifest)
            if "component" in manifest:
                shutil.copy(GUEST, self.path / f"fragments/{name}/guest.wasm")

    def write(self, name, text):
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def __enter__(self):
        command = [PASTEUP, "--site", str(self.path), "serve", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"]
        began = time.monotonic()
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        self.port = int(re.search(r":(\d+)$", self.process.stdout.readline())[1])
        self.started = time.monotonic() - began
        self.admin = int(re.search(r":(\d+)$", self.process.stdout.readline())[1])
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait()

    def memory(self):
        text = pathlib.Path(f"/proc/{self.process.pid}/smaps_rollup").read_text()
        return int(re.search(r"^Pss:\s+(\d+)", text, re.M)[1])


class Client:
    """One connection."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.rest = b""

    def get(self, path):
        self.socket.sendall(b"GET " + path.encode() + b" HTTP/1.1\r\nHost: localhost\r\n\r\n")
        data = self.rest
        while b"\r\n\r\n" not in data:
            data += self.more()
        head, _, body = data.partition(b"\r\n\r\n")
        length = re.search(rb"(?i)content-length: (\d+)", head)
        if length:
            while len(body) < int(length[1]):
                body += self.more()
            body, self.rest = body[: int(length[1])], body[int(length[1]):]
        else:
            while not body.endswith(b"0\r\n\r\n"):
                body += self.more()
            self.rest = b""
        return body

    def more(self):
        data = self.socket.recv(1 << 16)
        if not data:
            raise ConnectionError("closed")
        return data


def percentile(values, share):
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


def times(port, path, runs, expected):
    """The times of requests in microseconds."""
    client, took = Client(port), []
    for run in range(runs + 100):
        began = time.perf_counter_ns()
        body = client.get(path)
        took.append((time.perf_counter_ns() - began) / 1e3)
        assert expected in body, body
    return took[100:]


def shown(took):
    return f"p50 {percentile(took, .5):.0f} us, p99 {percentile(took, .99):.0f} us"


def duration(site, name):
    """Sum in seconds and count of the time that instances of a component took."""
    text = Client(site.admin).get("/metrics").decode()
    value = lambda kind: float(re.search(rf'pasteup_component_duration_seconds_{kind}{{fragment="{name}".*?}} (\S+)', text)[1])
    return value("sum"), value("count")


def shares(site, name):
    """The share of instances that took no longer than each bound."""
    text = Client(site.admin).get("/metrics").decode()
    found = re.findall(rf'pasteup_component_duration_seconds_bucket{{le="(\S+?)",fragment="{name}".*?}} (\d+)', text)
    count = int(found[-1][1])
    return ", ".join(f"{int(below) / count * 100:.1f} % within {float(bound) * 1e6:.0f} us" for bound, below in found if bound != "+Inf" and float(bound) <= 0.001)


ENDPOINT = r'''
import socket, threading
server = socket.create_server(("127.0.0.1", 0), backlog=128)
print(server.getsockname()[1], flush=True)
body = b"<p>Hello /hello</p>"
answer = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nCache-Control: no-store\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
def serve(client):
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    while client.recv(65536):
        client.sendall(answer)
while True:
    threading.Thread(target=serve, args=(server.accept()[0],), daemon=True).start()
'''


def overhead(runs=5000):
    service = subprocess.Popen([sys.executable, "-c", ENDPOINT], stdout=subprocess.PIPE, text=True)
    port = service.stdout.readline().strip()
    fragments = {
        "hello": component("hello", "/hello"),
        "endpoint": f'name = "endpoint"\nversion = "1.0.0"\nendpoint = "http://127.0.0.1:{port}/"\n[cache]\nttl = "0s"\n',
    }
    pages = {"/none": "", **{f"/{name}": f'<fragment name="{name}" timeout="2s">instead</fragment>' for name in fragments}}
    with Site(pages, fragments) as site:
        results = {name: [] for name in ("/none", "/hello", "/endpoint")}
        for _ in range(3):
            for path in results:
                results[path] += times(site.port, path, runs // 3, b"whole")
        for path, took in results.items():
            print(f"a page {path}: {shown(took)} ({len(took)} pages)")
        for share in (.5, .99):
            more = percentile(results["/hello"], share) - percentile(results["/none"], share)
            print(f"a component's part over a page without it, p{share * 100:.0f}: {more:.0f} us")
        total, count = duration(site, "hello")
        print(f"an instance from its request to its end: {total / count * 1e6:.0f} us on average, {shares(site, 'hello')} ({count:.0f} instances)")
    service.kill()
    if WASMTIME:
        command = [WASMTIME, "serve", "-S", "cli", "--addr", "127.0.0.1:0", str(GUEST)]
        serve = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        port = int(re.search(r":(\d+)/", serve.stderr.readline())[1])
        print(f"the same component by `wasmtime serve`, without a page: {shown(times(port, '/hello', runs, b'Hello'))}")
        serve.kill()
    else:
        print("`wasmtime serve`: not measured, there is no program wasmtime")


def one_after_another(count=10_000):
    fragments = {"hello": component("hello", "/hello")}
    with Site({"/hello": '<fragment name="hello" timeout="2s">instead</fragment>'}, fragments) as site:
        times(site.port, "/hello", 2000, b"Hello")
        before = site.memory()
        times(site.port, "/hello", count, b"Hello")
        print(f"{count} requests in a row: {site.memory() - before:+} KiB (of {before} KiB)")


def many(file, count):
    guest = file.read_bytes()
    with tempfile.TemporaryDirectory() as cache:
        def site(number):
            names = [f"c{at}" for at in range(number)]
            made = Site({"/": ""}, {name: component(name, "/hello") for name in names}, cache)
            for at, name in enumerate(names):
                # A custom section with another content each: a component that was never compiled.
                text = f"component {at}".encode()
                section = bytes([2]) + b"id" + text
                (made.path / f"fragments/{name}/guest.wasm").write_bytes(guest + bytes([0, len(section)]) + section)
            return made
        with site(1) as one:
            time.sleep(2)
            base = one.memory()
        whole = site(count)
        with whole:
            compiled = whole.started
        starts, memories = [], []
        for _ in range(3):
            with whole:
                starts.append(whole.started)
                time.sleep(2)
                memories.append(whole.memory())
        each = (statistics.median(memories) - base) / (count - 1)
        print(f"{count} different components of {len(guest) / 1000:.0f} kB: {each:.0f} KiB each; first start {compiled:.1f} s, with all compiled "
              f"{statistics.median(starts):.2f} s (median of 3)")


def loops(seconds=0.6, turns=20):
    fragments = {
        "loop": component("loop", "/loop", f'[limits]\ntimeout = "{LOOP_TIMEOUT}ms"\n'),
        "hello": component("hello", "/hello"),
    }
    part = lambda name, timeout: f'<fragment name="{name}" timeout="{timeout}">instead</fragment>'
    pages = {"/none": "", "/hello": part("hello", "2s"), "/loop": part("loop", f"{LOOP_TIMEOUT}ms")}
    with Site(pages, fragments) as site:
        client, stopped = Client(site.port), []
        for _ in range(20):
            began = duration(site, "loop") if stopped else (0, 0)
            client.get("/loop")
            # Until the instance is gone, which is when its time is counted.
            while True:
                try:
                    after = duration(site, "loop")
                    if after[1] > began[1]:
                        break
                except TypeError:
                    pass
                time.sleep(0.001)
            stopped.append((after[0] - began[0]) * 1e3)
        print(f"an endless loop with a limit of {LOOP_TIMEOUT} ms: stopped after {max(stopped):.0f} ms at most, "
              f"{max(stopped) / LOOP_TIMEOUT:.2f} times ({len(stopped)} loops)")
        for path, expected in (("/none", b"whole"), ("/hello", b"Hello")):
            # Without the loop it is measured twice: how that differs from itself is what this machine does to a figure.
            took = {"without": [], "with": [], "again": []}
            for _ in range(turns):
                for kind, all_turns in took.items():
                    looping = [sys.executable, "-c", LOOPING, str(site.port)] if kind == "with" else None
                    client = looping and subprocess.Popen(looping)
                    # Until the loop runs, and until it has been stopped.
                    time.sleep(0.3)
                    all_turns += during(site, path, expected, seconds)
                    if client:
                        client.kill()
                        client.wait()
            ratio = lambda kind, share: percentile(took[kind], share) / percentile(took["without"], share)
            print(f"neighbours of an endless loop, pages {path}: p50 {ratio('with', .5):.2f} times, p99 {ratio('with', .99):.2f} times "
                  f"({percentile(took['without'], .99):.0f} us without, {percentile(took['with'], .99):.0f} us with it); without it "
                  f"once more: {ratio('again', .5):.2f} and {ratio('again', .99):.2f} times ({turns} turns, {len(took['with'])} pages each)")


# A client in a process of its own, so that it does not compete with the one that measures for Python's lock.
LOOPING = r'''
import socket, sys
client = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
while True:
    client.sendall(b"GET /loop HTTP/1.1\r\nHost: localhost\r\n\r\n")
    data = b""
    while b"whole" not in data:
        data += client.recv(65536)
'''


def during(site, path, expected, seconds):
    client, took, end = Client(site.port), [], time.monotonic() + seconds
    while time.monotonic() < end:
        began = time.perf_counter_ns()
        assert expected in client.get(path)
        took.append((time.perf_counter_ns() - began) / 1e3)
        # Not a closed loop at full speed: that would measure how the client competes with the loop.
        time.sleep(0.001)
    return took


if __name__ == "__main__":
    overhead()
    loops()
    one_after_another()
    many(GUEST, 1000)
    many(ALMANAC, 300)
