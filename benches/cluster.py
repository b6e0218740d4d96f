"""Measures three replicas with a shared store (docs/scaling.md).

    python3 benches/cluster.py path/to/pasteup               all figures, in about six minutes
    python3 benches/cluster.py path/to/pasteup --away 5      the same, with a shorter absence
    python3 benches/cluster.py path/to/pasteup soak 600      purges, a store that is killed every 20 s, and replicas that restart

It needs redis-server on PATH. What is compared is measured in turns, on one machine, in one run.
"""

import argparse
import asyncio
import json
import os
import pathlib
import random
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time

KEY = "0123456789abcdef0123456789abcdef"
HTML = "<p>content {version} of {page}</p>" + "<li class=\"item\">one of many</li>" * 120


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def quantile(values, share):
    values = sorted(values)
    return values[min(len(values) - 1, int(share * len(values)))]


def ms(seconds):
    return f"{seconds * 1000:.2f} ms"


class Client:
    """A connection to one listener that stays open."""

    def __init__(self, port):
        self.port, self.streams = port, None

    async def ask(self, path, method="GET", body=None):
        for attempt in range(2):
            try:
                return await self._ask(path, method, body)
            except (OSError, asyncio.IncompleteReadError):
                # A server may close an idle connection.
                was_open, self.streams = self.streams is not None, None
                if attempt or not was_open:
                    raise

    async def _ask(self, path, method, body):
        if self.streams is None:
            self.streams = await asyncio.open_connection("127.0.0.1", self.port)
        reader, writer = self.streams
        head = f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n"
        if body is not None:
            head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        writer.write((head + "\r\n").encode() + (body or b""))
        answer = await reader.readuntil(b"\r\n\r\n")
        lines = answer.decode("latin-1").split("\r\n")
        status = int(lines[0].split(" ")[1])
        fields = {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in lines[1:] if line)}
        if fields.get("transfer-encoding") == "chunked":
            text = b""
            while True:
                size = int(await reader.readuntil(b"\r\n"), 16)
                chunk = await reader.readexactly(size + 2)
                if not size:
                    break
                text += chunk[:-2]
        else:
            text = await reader.readexactly(int(fields.get("content-length", 0)))
        if fields.get("connection") == "close":
            writer.close()
            self.streams = None
        return status, text


class Service:
    """The nanoservice: each page has content with a version, and it is counted how often it is asked."""

    def __init__(self):
        self.versions, self.asked, self.pause = {}, 0, 0.0

    async def start(self):
        server = await asyncio.start_server(self.serve, "127.0.0.1", 0, backlog=1024)
        self.port = server.sockets[0].getsockname()[1]

    async def serve(self, reader, writer):
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                page = head.split(" ")[1].partition("n=")[2]
                self.asked += 1
                version = self.versions.get(page, 0)
                await asyncio.sleep(self.pause)
                body = HTML.format(version=version, page=page).encode()
                writer.write((
                    "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nCache-Control: max-age=3600, stale-while-revalidate=3600\r\n"
                    f"Surrogate-Key: page-{page}\r\nContent-Length: {len(body)}\r\n\r\n"
                ).encode() + body)
        except (asyncio.IncompleteReadError, OSError):
            pass
        finally:
            writer.close()


class Store:
    def __init__(self, folder):
        self.port, self.folder, self.process = free_port(), folder, None

    async def start(self):
        self.process = subprocess.Popen(
            ["redis-server", "--port", str(self.port), "--save", "", "--appendonly", "no", "--dir", self.folder],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while not await self.command("PING", quiet=True):
            await asyncio.sleep(0.01)

    async def command(self, *words, quiet=False):
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
            writer.write(f"*{len(words)}\r\n".encode() + b"".join(f"${len(w)}\r\n{w}\r\n".encode() for w in words))
            answer = await reader.readline()
            writer.close()
            return answer
        except OSError:
            if quiet:
                return b""
            raise

    def signal(self, number):
        self.process.send_signal(number)

    def kill(self):
        self.process.kill()
        self.process.wait()


class Proxy:
    """Stands before the store, and delays what comes from it, or is gone."""

    def __init__(self, to):
        self.to, self.delay, self.is_gone, self.open = to, 0.0, False, []

    async def start(self):
        server = await asyncio.start_server(self.serve, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]

    def cut(self, is_gone):
        self.is_gone = is_gone
        if is_gone:
            for writer in self.open:
                writer.close()
            self.open = []

    async def serve(self, reader, writer):
        if self.is_gone:
            writer.close()
            return
        try:
            up, down = await asyncio.open_connection("127.0.0.1", self.to)
        except OSError:
            writer.close()
            return
        self.open += [writer, down]

        async def pass_on(source, target, delayed):
            try:
                while data := await source.read(1 << 16):
                    if delayed and self.delay:
                        await asyncio.sleep(self.delay)
                    target.write(data)
            except OSError:
                pass
            target.close()

        await asyncio.gather(pass_on(reader, down, False), pass_on(up, writer, True))


class Replica:
    def __init__(self, binary, site, name, store=None, timeout="20ms", level="warn"):
        self.binary, self.site, self.name, self.store, self.timeout, self.level = binary, site, name, store, timeout, level
        self.pages, self.admin = free_port(), free_port()
        self.process = None

    async def start(self):
        env = dict(os.environ, SITE_KEY=KEY, PASTEUP_SERVER__KEY=KEY, PASTEUP_CLUSTER__NAME=self.name, NO_COLOR="1",
                   PASTEUP_TELEMETRY__LOG=self.level)
        if self.store:
            env |= {"PASTEUP_CACHE__SHARED": f"redis://127.0.0.1:{self.store}", "PASTEUP_CACHE__NAMESPACE": "bench",
                    "PASTEUP_CACHE__SHARED_TIMEOUT": self.timeout}
        self.process = subprocess.Popen(
            [self.binary, "--site", self.site, "serve", "--listen", f"127.0.0.1:{self.pages}", "--admin", f"127.0.0.1:{self.admin}"],
            env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while True:
            try:
                status, _ = await Client(self.admin).ask("/readyz")
                if status == 200:
                    return self
            except OSError:
                pass
            await asyncio.sleep(0.01)

    async def stop(self):
        self.process.send_signal(signal.SIGTERM)
        while self.process.poll() is None:
            await asyncio.sleep(0.01)

    async def metric(self, line):
        _, text = await Client(self.admin).ask("/metrics")
        return next((float(one.rsplit(" ", 1)[1]) for one in text.decode().splitlines() if one.startswith(line)), 0.0)

    async def cluster(self):
        return json.loads((await Client(self.admin).ask("/api/cluster"))[1])

    async def until_store_is(self, state):
        while (await self.cluster())["store"]["state"] != state:
            await asyncio.sleep(0.02)

    async def purge(self, client, body):
        status, text = await client.ask("/api/purge", "POST", json.dumps(body).encode())
        assert status == 200, text
        return json.loads(text)


def make_site(folder, service_port):
    def write(name, text):
        path = pathlib.Path(folder, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    write("pasteup.toml", "[page]\nstream = false\n[server]\nwatch = \"off\"\n")
    write("layouts/many.html", "+++\nroute = \"/{n}\"\n+++\n<fragment name=a data-n=\"{n}\" timeout=3s>instead</fragment>")
    write("fragments/a/fragment.toml",
          f"name = \"a\"\nversion = \"1.0.0\"\nendpoint = \"http://127.0.0.1:{service_port}/a\"\n[limits]\nconcurrency = 4096\n")
    return folder


def is_whole(answer):
    return answer[0] == 200 and b"content " in answer[1]


def version_of(answer):
    return int(answer[1].split(b"content ", 1)[1].split(b" ", 1)[0])


async def until_all_are_there(replicas):
    for replica in replicas:
        while sum(one["state"] == "up" for one in (await replica.cluster())["replicas"]) < len(replicas):
            await asyncio.sleep(0.02)


async def purges(replicas, service):
    clients, admins = [Client(one.pages) for one in replicas], [Client(one.admin) for one in replicas]
    took, wrong = [], 0
    for number in range(300):
        await asyncio.gather(*(client.ask("/p") for client in clients))
        service.versions["p"] = number + 1
        began = time.perf_counter()
        done = await replicas[number % 3].purge(admins[number % 3], {"keys": ["page-p"]})
        took.append(time.perf_counter() - began)
        assert set(done["replicas"]) == {"a", "b", "c"} and all(isinstance(n, int) for n in done["replicas"].values()), done
        for answer in await asyncio.gather(*(client.ask("/p") for client in clients)):
            wrong += version_of(answer) != number + 1
    print(f"purge on all three, from the request: p50 {ms(quantile(took, .5))}, p99 {ms(quantile(took, .99))} (300 purges); "
          f"pages with old content afterwards: {wrong}")


async def away(replicas, proxy, service, seconds):
    *there, gone = replicas
    clients = [Client(one.pages) for one in replicas]
    pages = [f"away-{number}" for number in range(50)]
    for page in pages:
        await asyncio.gather(*(client.ask(f"/{page}") for client in clients))
    proxy.cut(True)
    admin = Client(there[0].admin)
    began = time.monotonic()
    for number, page in enumerate(pages):
        service.versions[page] = 1
        await there[0].purge(admin, {"keys": [f"page-{page}"]})
        await asyncio.sleep(max(0.0, began + seconds * (number + 1) / len(pages) - time.monotonic()))
    proxy.cut(False)
    began = time.monotonic()
    client = Client(gone.pages)
    while not all([version_of(await client.ask(f"/{page}")) == 1 for page in pages]):
        await asyncio.sleep(0.01)
    print(f"a replica that was away for {seconds} s had done all of the {len(pages)} purges {ms(time.monotonic() - began)} "
          "after it was back (the time to connect included)")


async def together(binary, site, store, service, timeout, rounds=5):
    replicas = [await Replica(binary, site, name, store.port, timeout).start() for name in "abc"]
    await until_all_are_there(replicas)
    service.pause = 0.2
    fetches = []
    for number in range(rounds):
        clients = [Client(one.pages) for one in replicas for _ in range(334)][:1000]
        await asyncio.gather(*(client.ask("/open") for client in clients))
        before = service.asked
        answers = await asyncio.gather(*(client.ask(f"/together-{timeout}-{number}") for client in clients))
        assert all(map(is_whole, answers))
        fetches.append(service.asked - before)
    service.pause = 0.0
    print(f"1,000 simultaneous first requests over three replicas, shared_timeout = {timeout}: {fetches} fetches")
    for replica in replicas:
        await replica.stop()


async def timed(client, path, count):
    took, failed = [], 0
    for _ in range(count):
        began = time.perf_counter()
        failed += not is_whole(await client.ask(path))
        took.append(time.perf_counter() - began)
    return took, failed


async def store_fails(binary, site, store, service):
    proxy = Proxy(store.port)
    await proxy.start()
    with_store = await Replica(binary, site, "with", proxy.port).start()
    without = await Replica(binary, site, "without").start()
    one, other = Client(with_store.pages), Client(without.pages)
    await with_store.until_store_is("up")
    for client in (one, other):
        for _ in range(50):
            await client.ask("/cached")
    uncached = 0

    async def compare(what):
        nonlocal uncached
        # The replica without a store is measured twice: how it differs from itself is what this machine does to a figure.
        turns, failed = [], 0
        for _ in range(5):
            turns.append({"with": [], "without": [], "again": []})
            for number in range(9):
                # In another order each time: whoever comes after the pages that wait for the store finds a machine that was idle.
                order = (("with", one), ("without", other), ("again", other))
                for name, client in order[number % 3:] + order[:number % 3]:
                    took, broken = await timed(client, "/cached", 500)
                    turns[-1][name].extend(took)
                    failed += broken
                # Pages that have to ask the store.
                for _ in range(5):
                    uncached += 1
                    failed += not is_whole(await one.ask(f"/fail-{uncached}"))

        def ratios(name, share):
            pooled = {name: sum((turn[name] for turn in turns), []) for name in turns[0]}
            one_turn = sorted(quantile(turn[name], share) / quantile(turn["without"], share) for turn in turns)
            return (f"{quantile(pooled[name], share) / quantile(pooled['without'], share):.2f} "
                    f"({one_turn[0]:.2f} to {one_turn[-1]:.2f})")

        print(f"store {what}: failed pages {failed}; cached pages with it / without one, all five turns together (and each): "
              f"p50 {ratios('with', .5)}, p99 {ratios('with', .99)}; without one / the same again: "
              f"p50 {ratios('again', .5)}, p99 {ratios('again', .99)}", flush=True)

    await compare("there")
    proxy.delay = 0.2
    await compare("200 ms slow")
    proxy.delay = 0.0
    await with_store.until_store_is("up")
    store.signal(signal.SIGSTOP)
    await compare("stopped (SIGSTOP)")
    store.signal(signal.SIGCONT)
    await with_store.until_store_is("up")
    await store.command("CONFIG", "SET", "maxmemory", "1")
    await compare("full")
    await store.command("CONFIG", "SET", "maxmemory", "0")
    store.kill()
    await compare("killed")
    await store.start()
    await with_store.until_store_is("up")
    # Pages a second, as many as this client can ask for, in turns.
    counts = {"with": [], "without": []}
    for _ in range(5):
        for name, replica in (("with", with_store), ("without", without)):
            clients = [Client(replica.pages) for _ in range(16)]
            until = time.monotonic() + 2

            async def run(client):
                count = 0
                while time.monotonic() < until:
                    await client.ask("/cached")
                    count += 1
                return count

            counts[name].append(sum(await asyncio.gather(*map(run, clients))) / 2)
    print(f"cached pages a second (this client is the limit): with a store {statistics.median(counts['with']):.0f}, "
          f"without {statistics.median(counts['without']):.0f} (medians of five turns)")
    await with_store.stop()
    await without.stop()


async def looks(replicas):
    fill, client = Client(replicas[0].pages), Client(replicas[1].pages)
    store, memory = [], []
    for number in range(400):
        await fill.ask(f"/look-{number}")
    await asyncio.sleep(1)
    asked = await replicas[1].metric("pasteup_shared_cache_lookups_total{result=\"hit\"}")
    for number in range(400):
        began = time.perf_counter()
        await client.ask(f"/look-{number}")
        between = time.perf_counter()
        await client.ask(f"/look-{number}")
        store.append(between - began)
        memory.append(time.perf_counter() - between)
    hits = await replicas[1].metric("pasteup_shared_cache_lookups_total{result=\"hit\"}") - asked
    print(f"a page whose part comes from the store: p50 {ms(quantile(store, .5))}; from memory: p50 {ms(quantile(memory, .5))}; "
          f"difference {ms(quantile(store, .5) - quantile(memory, .5))} (400 each, {hits:.0f} hits)")


async def restarted(replicas, service):
    draw = random.Random(7)
    pages = [f"r-{int(draw.paretovariate(0.7)) % 400}" for _ in range(4000)]
    clients = [Client(one.pages) for one in replicas]
    for number, page in enumerate(pages[:3000]):
        await clients[number % 3].ask(f"/{page}")
    await asyncio.sleep(2.5)
    last = replicas[2]
    await last.stop()
    await last.start()
    before, client = service.asked, Client(last.pages)
    for page in pages[3000:]:
        assert is_whole(await client.ask(f"/{page}"))
    share = 1 - (service.asked - before) / 1000
    print(f"a restarted replica: {share:.1%} of its first 1,000 requests from memory or the store")


async def figures(binary, seconds):
    with tempfile.TemporaryDirectory() as folder:
        service, store = Service(), Store(folder)
        await service.start()
        await store.start()
        site = make_site(os.path.join(folder, "site"), service.port)
        proxy = Proxy(store.port)
        await proxy.start()
        replicas = [await Replica(binary, site, name, port).start() for name, port in
                    (("a", store.port), ("b", store.port), ("c", proxy.port))]
        await until_all_are_there(replicas)
        await purges(replicas, service)
        await looks(replicas)
        await restarted(replicas, service)
        await away(replicas, proxy, service, seconds)
        for replica in replicas:
            await replica.stop()
        await together(binary, site, store, service, "1s")
        await together(binary, site, store, service, "20ms")
        await store_fails(binary, site, store, service)
        store.kill()


async def soak(binary, seconds):
    with tempfile.TemporaryDirectory() as folder:
        service, store = Service(), Store(folder)
        await service.start()
        await store.start()
        site = make_site(os.path.join(folder, "site"), service.port)
        replicas = [await Replica(binary, site, name, store.port).start() for name in "abc"]
        await until_all_are_there(replicas)
        ready, oldest = set(range(3)), {}
        served = failed = wrong = purged = restarts = kills = 0
        until = time.monotonic() + seconds

        async def read(number):
            nonlocal served, failed, wrong
            while time.monotonic() < until:
                # As a load balancer does: a replica that stops gets no new requests.
                which = random.choice(sorted(ready))
                page = f"s-{random.randrange(40)}"
                least = oldest.get((which, page), 0)
                try:
                    answer = await Client(replicas[which].pages).ask(f"/{page}")
                except OSError as error:
                    failed += 1
                    print(f"failed at {replicas[which].name}: {error!r}", file=sys.stderr)
                    continue
                served += 1
                if not is_whole(answer):
                    failed += 1
                    print(f"failed at {replicas[which].name}: {answer[0]}", file=sys.stderr)
                elif version_of(answer) < least or f" of {page}<".encode() not in answer[1]:
                    wrong += 1
                    print(f"{replicas[which].name} shows {version_of(answer)} of {page}, purged at {least}", file=sys.stderr)
                await asyncio.sleep(0.002)

        async def edit():
            nonlocal purged
            while time.monotonic() < until:
                page, which = f"s-{random.randrange(40)}", random.choice(sorted(ready))
                service.versions[page] = version = service.versions.get(page, 0) + 1
                try:
                    done = await replicas[which].purge(Client(replicas[which].admin), {"keys": [f"page-{page}"]})
                except OSError:
                    continue
                purged += 1
                # From here on a replica that has done it shows nothing older.
                for index, replica in enumerate(replicas):
                    if isinstance(done["replicas"].get(replica.name), int):
                        oldest[index, page] = max(version, oldest.get((index, page), 0))
                await asyncio.sleep(0.05)

        async def kill():
            nonlocal kills
            while time.monotonic() < until - 15:
                await asyncio.sleep(17)
                store.kill()
                kills += 1
                await asyncio.sleep(3)
                await store.start()

        async def restart():
            nonlocal restarts
            while time.monotonic() < until - 20:
                await asyncio.sleep(13)
                which = random.randrange(3)
                ready.discard(which)
                await asyncio.sleep(0.5)
                await replicas[which].stop()
                for key in [key for key in oldest if key[0] == which]:
                    del oldest[key]
                await replicas[which].start()
                ready.add(which)
                restarts += 1

        await asyncio.gather(*map(read, range(6)), edit(), kill(), restart())
        for replica in replicas:
            await replica.stop()
        store.kill()
        print(f"{seconds} s: {served} pages, {failed} failed, {wrong} with wrong bytes; {purged} purges, "
              f"the store killed {kills} times, {restarts} restarts of replicas")
        return failed + wrong


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("binary")
    arguments.add_argument("what", nargs="?", default="figures", choices=["figures", "soak"])
    arguments.add_argument("seconds", nargs="?", type=int, default=600)
    arguments.add_argument("--away", type=int, default=60)
    given = arguments.parse_args()
    binary = os.path.abspath(given.binary)
    if given.what == "soak":
        sys.exit(bool(asyncio.run(soak(binary, given.seconds))))
    asyncio.run(figures(binary, given.away))


main()
