"""The tide at a harbour, worked out from its harmonic constituents. Needs nothing but Python 3.

The height of the water is the sum of harmonic waves (Pugh and Woodworth, Sea-Level Science, 2014, chapter 4):

    h(t) = Z0 + sum of f * H * cos(V(t) + u - g)

H and g are the constants of a harbour: amplitude in metres, and phase lag on Greenwich in degrees. V is the equilibrium
argument, made of the mean longitudes of Moon and Sun (Meeus, Astronomical Algorithms, chapters 25 and 47). f and u correct it
for the cycle of 18.6 years of the lunar nodes (Schureman, Manual of Harmonic Analysis and Prediction of Tides, 1958).
The harbours are invented; their constants are of the size that is usual on the coasts of the North Sea.
"""

import html
import os
from datetime import datetime, timedelta, timezone
from functools import lru_cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from math import cos, radians, sin
from urllib.parse import unquote, urlsplit

J2000 = datetime(2000, 1, 1, 12, tzinfo=timezone.utc)
STEP = timedelta(minutes=6)

# Multiples of the Sun's hour angle, and of the mean longitudes s (Moon), h (Sun) and p (lunar perigee); a constant in degrees;
# the coefficients of cos N in f (with its mean) and of sin N in u, where N is the longitude of the lunar node.
CONSTITUENTS = {
    "M2": ((2, -2, 2, 0), 0, (1.000, -0.037), -2.1),
    "S2": ((2, 0, 0, 0), 0, (1.000, 0.000), 0.0),
    "N2": ((2, -3, 2, 1), 0, (1.000, -0.037), -2.1),
    "K2": ((2, 0, 2, 0), 0, (1.024, 0.286), -17.7),
    "K1": ((1, 0, 1, 0), 90, (1.006, 0.115), -8.9),
    "O1": ((1, -2, 1, 0), -90, (1.009, 0.187), 10.8),
    "P1": ((1, 0, -1, 0), -90, (1.000, 0.000), 0.0),
    "Q1": ((1, -3, 1, 1), -90, (1.009, 0.187), 10.8),
}

# The name, the mean level above chart datum in metres, and H and g of each constituent.
HARBOURS = {
    "port-alder": ("Port Alder", 2.85, {
        "M2": (1.72, 158), "S2": (0.58, 201), "N2": (0.33, 135), "K2": (0.17, 199),
        "K1": (0.11, 247), "O1": (0.14, 98), "P1": (0.04, 239), "Q1": (0.05, 46),
    }),
    "saltmarsh": ("Saltmarsh", 2.40, {
        "M2": (1.41, 183), "S2": (0.44, 231), "N2": (0.25, 162), "K2": (0.13, 229),
        "K1": (0.10, 261), "O1": (0.12, 113), "P1": (0.03, 252), "Q1": (0.04, 61),
    }),
}


def longitudes(time):
    """The mean longitudes of Moon, Sun, lunar perigee and lunar node, in degrees."""
    centuries = (time - J2000).total_seconds() / 86400 / 36525
    return (
        218.3164477 + 481267.88123421 * centuries,
        280.46646 + 36000.76983 * centuries,
        83.3532465 + 4069.0137287 * centuries,
        125.0445479 - 1934.1362891 * centuries,
    )


def argument(name, time):
    """The equilibrium argument of a constituent, in degrees."""
    moon, sun, perigee, _ = longitudes(time)
    (t, s, h, p), constant, _, _ = CONSTITUENTS[name]
    hours = (time - J2000).total_seconds() / 3600 + 12
    return t * 15 * hours + s * moon + h * sun + p * perigee + constant


def height(harbour, time):
    """The height of the water above chart datum, in metres."""
    _, mean, constants = HARBOURS[harbour]
    node = radians(longitudes(time)[3])
    level = mean
    for name, (amplitude, lag) in constants.items():
        _, _, (average, cosine), sine = CONSTITUENTS[name]
        factor = average + cosine * cos(node)
        level += factor * amplitude * cos(radians(argument(name, time) + sine * sin(node) - lag))
    return level


def turns(harbour, start, count):
    """The next high and low waters: the time of each, its height, and whether it is high."""
    found = []
    before, time = height(harbour, start), start + STEP
    level = height(harbour, time)
    while len(found) < count:
        after = height(harbour, time + STEP)
        if (level - before) * (after - level) <= 0 and level != before:
            # The vertex of the parabola through the three points.
            shift = (before - after) / (2 * (before - 2 * level + after))
            turn = time + STEP * shift
            found.append((turn, height(harbour, turn), level > before))
        before, level, time = level, after, time + STEP
    return found


@lru_cache(maxsize=16)
def tides(harbour, now):
    """The fragment. It is worked out once a minute, for whole minutes."""
    name = html.escape(HARBOURS[harbour][0])
    level, later = height(harbour, now), height(harbour, now + timedelta(minutes=10))
    rows = "".join(
        f"<tr><th scope=\"row\">{'High' if is_high else 'Low'} water</th>"
        f"<td><time datetime=\"{time:%Y-%m-%dT%H:%MZ}\">{time:%a %H:%M}</time></td><td>{metres:.1f} m</td></tr>"
        for time, metres, is_high in turns(harbour, now, 4)
    )
    return (
        f"<section class=\"tides\" aria-label=\"Tides at {name}\"><h2 class=\"wx-city\">Tides at {name}</h2>"
        f"<p>{level:.1f} m above chart datum, {'rising' if later > level else 'falling'}.</p>"
        f"<table><caption>The next four, in Universal Time</caption><tbody>{rows}</tbody></table></section>"
    )


class Handler(BaseHTTPRequestHandler):
    protocol_version, wbufsize = "HTTP/1.1", -1  # connections stay open, and an answer is one write

    def do_GET(self):
        _, _, harbour = unquote(urlsplit(self.path).path).rpartition("/")
        if harbour in HARBOURS:
            self.answer(200, tides(harbour, datetime.now(timezone.utc).replace(second=0, microsecond=0)))
        else:
            self.answer(404, "")

    def answer(self, status, text):
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "max-age=60, stale-while-revalidate=3600, stale-if-error=21600")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        """The compositor logs requests."""


class Server(ThreadingHTTPServer):
    request_queue_size = 128
    daemon_threads = True


if __name__ == "__main__":
    Server(("127.0.0.1", int(os.environ["PORT"])), Handler).serve_forever()
