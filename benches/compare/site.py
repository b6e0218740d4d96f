#!/usr/bin/env python3
"""Writes the bench's neutral layouts as a Pasteup site, and serves it.

site.py PASTEUP LAYOUTS WORK ORIGIN PORT
"""
import html
import json
import os
import sys

pasteup, layouts, work, origin, port = sys.argv[1:]
site = os.path.join(work, "site")


def write(name, text):
    path = os.path.join(site, name)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w") as file:
        file.write(text)


def fragment(one):
    timeout = f" timeout={one['timeout_ms']}ms" if one.get("timeout_ms") else ""
    if one.get("forward_cookie"):
        # Only a manifest may ask for cookies.
        name = one["id"]
        manifest = f'name = "{name}"\nversion = "1.0.0"\nendpoint = "{origin}{one["path"]}"\ncontext = ["cookie:uid"]\n'
        write(f"fragments/{name}/fragment.toml", manifest)
        which = f"name={name}"
    else:
        which = f'src="{html.escape(origin + one["path"])}"'
    return f"<fragment {which}{timeout}>{one.get('fallback_html') or ''}</fragment>"


for name in sorted(os.listdir(layouts)):
    with open(os.path.join(layouts, name)) as file:
        layout = json.load(file)
    parts = [part["text"] if "text" in part else fragment(part["fragment"]) for part in layout["parts"]]
    write(f"layouts/{layout['name']}.html", f"+++\nroute = \"{layout['path']}\"\n+++\n{''.join(parts)}")

os.makedirs(os.path.join(site, "fragments"), exist_ok=True)
write(
    "pasteup.toml",
    f"""[server]
listen = "127.0.0.1:{port}"
admin = "127.0.0.1:0"
[cache]
memory = "1GiB"
[upstreams]
allow = ["{origin}"]
private = true
[fragment]
concurrency = 256
[telemetry]
log = "error"
""",
)
os.execv(pasteup, [pasteup, "--site", site, "serve"])
