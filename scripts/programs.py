#!/usr/bin/env python3
"""Writes src/page/visit/programs.txt: the names of programs that take no cookies, as words in lower case.

    curl -O https://raw.githubusercontent.com/monperrus/crawler-user-agents/master/crawler-user-agents.json
    scripts/programs.py crawler-user-agents.json > src/page/visit/programs.txt

The patterns of that list are nearly all plain names. Names that `programs.rs` finds by its rules are left out, and so are those that
phones and browsers for people have as well."""

import json
import re
import sys

# Patterns that are not plain names, as the names that they stand for.
EXPANDED = {
    "AdsBot-Google([^-]|$)": [], "Ahrefs(Bot|SiteAudit)": ["ahrefssiteaudit"], "Automaton|Newsify Feed Fetcher": ["automaton", "newsify feed fetcher"],
    "Bark[rR]owler": ["barkrowler"], "BlogTraffic\\/\\d\\.\\d+ Feed-Fetcher": ["blogtraffic"], "Chirp|gotosocial": ["gotosocial"],
    "ContextualBot[\\s\\S]*outcomes\\.net": [], "Current[\\s\\S]*RSS Reader": ["rss reader"], "Netumo|netumo": ["netumo"],
    "Spider[\\s\\S]*spider\\.com": [], "(sistrix|SISTRIX) [cC]rawler": [], "(^| )sentry\\/": ["sentry"], "(^| )PTST\\/": ["ptst"],
    "[wW]get": ["wget"], "[pP]ingdom": ["pingdom", "pingdomtms"], "[aA]cunetix": ["acunetix"], "[dD]ir[Bb]uster": ["dirbuster"],
    "[mM]echanize": ["mechanize"], "[cC]ludo": ["cludo"], "[Cc]urebot": [], "[cC]laude[bB]ot": [], "Livelap[bB]ot": [], "S[eE][mM]rushBot": [],
}
# Found in user agents of phones (HTC Butterfly), tablets (Silk) and browsers of people.
NOT_ONLY_PROGRAMS = {"008", "blackboard", "butterfly", "bw", "fever", "fluid", "mail", "red", "s4a", "silk", "valve steam"}

NOTICE = """Written by scripts/programs.py from crawler-user-agents 1.60.0 (github.com/monperrus/crawler-user-agents):

The MIT License (MIT)

Copyright (c) 2017 Martin Monperrus

Permission is hereby granted, free of charge, to any person obtaining a copy of
this software and associated documentation files (the "Software"), to deal in
the Software without restriction, including without limitation the rights to
use, copy, modify, merge, publish, distribute, sublicense, and/or sell copies of
the Software, and to permit persons to whom the Software is furnished to do so,
subject to the following conditions:

The above copyright notice and this permission notice shall be included in all
copies or substantial portions of the Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR
IMPLIED, INCLUDING BUT NOT LIMITED TO THE WARRANTIES OF MERCHANTABILITY, FITNESS
FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE AUTHORS OR
COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER LIABILITY, WHETHER
IN AN ACTION OF CONTRACT, TORT OR OTHERWISE, ARISING FROM, OUT OF OR IN
CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE SOFTWARE."""


def words(text):
    return " ".join(re.findall("[a-z0-9]+", text.lower()))


def is_found_by_rule(name):
    return any(re.fullmatch("(?!cubot).*(bot|crawler|spider)s?", word) for word in name.split())


def main():
    names = set()
    for entry in json.load(open(sys.argv[1])):
        pattern = entry["pattern"]
        plain = words(re.sub(r"\\(.)", r"\1", pattern).strip("^$"))
        names.update(EXPANDED.get(pattern, [plain]))
    names = {name for name in names if name and not is_found_by_rule(name)} - NOT_ONLY_PROGRAMS
    # A name that contains another one is found by that.
    names = sorted(name for name in names if not any(other != name and f" {other} " in f" {name} " for other in names))
    print("\n".join(f"# {line}".rstrip() for line in NOTICE.splitlines()))
    print("\n".join(names))


main()
