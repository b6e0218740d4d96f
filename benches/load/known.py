#!/usr/bin/env python3
"""A server of known times, and one that stops: GET /known takes 5 to 104 ms in turns, uniformly, so that its quantiles are known;
GET /stop answers at once, except that the whole server stops for 1 s in the middle of a run (5 s after its first request)."""

import asyncio
import sys
import time

count = 0
first = None
BODY = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 8\r\n\r\n<p>x</p>"


async def serve(reader, writer):
    global count, first
    try:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            if head.startswith(b"GET /known"):
                # 37 and 100 have no common factor: every value occurs once in 100 requests, in a mixed order.
                took = 5 + (count * 37) % 100
                count += 1
                await asyncio.sleep(took / 1000)
            elif head.startswith(b"GET /stop"):
                first = first or time.monotonic()
                if first + 5 < time.monotonic() < first + 5.5:
                    first -= 100
                    time.sleep(1)
            writer.write(BODY)
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()


async def main():
    server = await asyncio.start_server(serve, "127.0.0.1", int(sys.argv[1]), backlog=1024)
    async with server:
        await server.serve_forever()


asyncio.run(main())
