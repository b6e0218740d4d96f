#!/usr/bin/env python3
"""Counts the compositor's instructions per cached page under callgrind: instructions.py PASTEUP SITE.

Each kind of request is counted as the difference of two runs of the compositor, with 5,000 and with 8,000 requests of
this kind: of a run, the first 2,000 are all sampled."""

import json
import re
import socket
import subprocess
import sys
import time
import urllib.request

PORT, ADMIN = 7321, 7322
TRACE = "traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\r\n"


def instructions(kind, requests):
    command = ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", sys.argv[1], "--site", sys.argv[2], "serve",
               "--listen", f"127.0.0.1:{PORT}", "--admin", f"127.0.0.1:{ADMIN}"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while "admin on" not in process.stdout.readline():
        pass
    token = "x" * 22
    if kind != "no run":
        post = urllib.request.Request(f"http://127.0.0.1:{ADMIN}/api/load-runs", method="POST")
        token = json.load(urllib.request.urlopen(post))["token"]
    # Headers of the same length in each case, so that only what is done with them differs.
    carried = {"no run": f"x-other-load: {token}\r\n", "no token": f"x-other-load: {token}\r\n", "token": f"pasteup-load: {token}\r\n"}
    head = f"GET / HTTP/1.1\r\nhost: 127.0.0.1:{PORT}\r\naccept: text/html\r\n{TRACE}{carried[kind]}\r\n".encode()
    stream = socket.create_connection(("127.0.0.1", PORT))
    for _ in range(requests):
        stream.sendall(head)
        answer = b""
        while b"</p>" not in answer:
            answer += stream.recv(65536)
    time.sleep(0.3)
    process.terminate()
    errors = process.communicate()[1]
    return int(re.search(r"Collected : (\d+)", errors)[1])


counted = {}
for kind in ("no run", "no token", "token"):
    counted[kind] = (instructions(kind, 8000) - instructions(kind, 5000)) / 3000
    print(f"{kind}: {counted[kind]:.0f} instructions per page ({counted[kind] / counted['no run'] - 1:+.1%})")
