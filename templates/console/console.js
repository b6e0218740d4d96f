// Keeps a screen up to date. The server renders everything that it shows; what people have typed or chosen stays.
"use strict";
const live = document.getElementById("live");
const connection = document.getElementById("connection");

// The map draws lines between neighbouring columns; the more traffic, the thicker the line. Above LINES lines nobody can
// follow one, so only those of the highlighted item are drawn.
const LINES = 150, SVG = "http://www.w3.org/2000/svg";
let pointed = null;
const linked = (one) => [one.dataset.name, ...one.dataset.links.split("\n")];
const lines = (map, isShown) => {
  const columns = [...map.querySelectorAll("ul")].map((list) => new Map([...list.querySelectorAll("[data-name]")].map((one) => [one.dataset.name, one])));
  return columns.slice(1).flatMap((right, at) => [...columns[at].values()].filter(isShown).flatMap((from) =>
    linked(from).slice(1).map((name) => right.get(name)).filter((to) => to && isShown(to)).map((to) => [from, to])));
};
const draw = () => {
  const map = live.querySelector(".map");
  if (!map) return;
  map.querySelector("svg")?.remove();
  const one = pointed && [...map.querySelectorAll("[data-name]")].find((other) => other.getAttribute("href") === pointed);
  map.classList.toggle("pointing", Boolean(one));
  const links = new Set(one ? linked(one) : []);
  for (const other of map.querySelectorAll("[data-name]")) other.classList.toggle("linked", links.has(other.dataset.name));
  const pairs = lines(map, (other) => !one || links.has(other.dataset.name));
  // On a narrow screen there is a tree instead.
  if (map.offsetParent === null || pairs.length > LINES && !one) return;
  const svg = document.createElementNS(SVG, "svg"), origin = map.getBoundingClientRect();
  svg.setAttribute("aria-hidden", "true");
  for (const [from, to] of pairs) {
    const [a, b] = [from.getBoundingClientRect(), to.getBoundingClientRect()];
    const [x, y, u, v] = [a.right - origin.left, a.top + a.height / 2 - origin.top, b.left - origin.left, b.top + b.height / 2 - origin.top];
    const path = document.createElementNS(SVG, "path");
    path.setAttribute("d", `M${x} ${y}C${(x + u) / 2} ${y} ${(x + u) / 2} ${v} ${u} ${v}`);
    path.setAttribute("stroke-width", 1 + Math.log10(1 + Math.min(Number(from.dataset.rate), Number(to.dataset.rate))));
    svg.append(path);
  }
  map.append(svg);
};
const point = (event) => {
  const one = event.target.closest?.("[data-name]")?.getAttribute("href") ?? null;
  if (one !== pointed) { pointed = one; draw(); }
};
for (const name of ["mouseover", "focusin"]) live.addEventListener(name, point);
live.addEventListener("mouseleave", point);
addEventListener("resize", draw);
draw();

// Puts new content in place of the old. What is marked `data-keep` stays as it is: charts, and forms that somebody fills in.
const replace = (element, html) => {
  const fresh = new DOMParser().parseFromString(html, "text/html");
  const focused = element.contains(document.activeElement) && !document.activeElement.closest("[data-keep]") ? document.activeElement : null;
  const key = focused && [focused.tagName, focused.getAttribute("href") ?? focused.getAttribute("aria-label") ?? focused.textContent];
  const scrolled = [...element.querySelectorAll(".wide")].map((one) => one.scrollLeft);
  const opened = new Set([...element.querySelectorAll("details[open]")].map((one) => one.id));
  const typing = document.activeElement?.closest?.("[data-keep]") ? document.activeElement : null;
  for (const place of fresh.querySelectorAll("[data-keep]")) {
    const kept = document.getElementById(place.id);
    if (kept && element.contains(kept)) place.replaceWith(kept);
  }
  for (const one of fresh.querySelectorAll("details[id]")) one.open = opened.has(one.id);
  element.replaceChildren(...fresh.body.childNodes);
  element.querySelectorAll(".wide").forEach((one, at) => { one.scrollLeft = scrolled[at] ?? 0; });
  if (typing && document.activeElement !== typing && typing.isConnected) typing.focus({ preventScroll: true });
  if (key) [...element.querySelectorAll(key[0])].find((one) => (one.getAttribute("href") ?? one.getAttribute("aria-label") ?? one.textContent) === key[1])?.focus({ preventScroll: true });
};

// Nothing is replaced while a button or a link is pressed: the click would be lost.
let pressed = false, waits = null;
const replaceSoon = (html) => {
  waits = html;
  if (pressed || waits === null) return;
  waits = null;
  replace(live, html);
  draw();
  charts.find();
};
addEventListener("pointerdown", () => { pressed = true; });
for (const name of ["pointerup", "pointercancel"]) addEventListener(name, () => setTimeout(() => { pressed = false; if (waits !== null) replaceSoon(waits); }));

let events = null;
const listen = () => {
  events?.close();
  events = new EventSource(`/console/live?of=${encodeURIComponent(location.pathname + location.search)}`);
  events.onopen = () => { connection.textContent = connection.dataset.live; };
  events.onerror = () => { connection.textContent = "Connection lost: these figures are not updated any more."; };
  events.onmessage = ({ data }) => replaceSoon(JSON.parse(data));
  events.addEventListener("navigation", ({ data }) => replace(document.getElementById("navigation"), JSON.parse(data)));
};
listen();

// The text of a filter is in the address, so that a reload or a link shows the same rows.
const filter = document.querySelector("[data-filter]");
let waiting = null;
const apply = () => {
  const query = new URLSearchParams([...new FormData(filter)].filter(([, value]) => value));
  history.replaceState(null, "", query.size ? `?${query}` : location.pathname);
  listen();
};
filter?.addEventListener("input", () => { clearTimeout(waiting); waiting = setTimeout(apply, 200); });
filter?.addEventListener("submit", (event) => { event.preventDefault(); clearTimeout(waiting); apply(); });

const post = async (path, order) => {
  const response = await fetch(path, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(order) });
  const body = await response.json();
  if (!response.ok) throw new Error(body.detail ?? response.statusText);
  return body;
};
const purge = document.querySelector("[data-purge]");
let counted = null;
const responses = (count) => count === 1 ? "1 response" : `${count} responses`;
const startOver = () => { counted = null; purge.querySelector("button").textContent = "Count first"; };
purge?.addEventListener("input", startOver);
purge?.addEventListener("submit", async (event) => {
  event.preventDefault();
  const [output, button] = [purge.querySelector("output"), purge.querySelector("button")];
  const order = { keys: purge.elements.keys.value.trim().split(/\s+/), soft: purge.elements.soft.checked };
  try {
    if (counted === null) {
      const query = new URLSearchParams(order.keys.map((key) => ["key", key]));
      counted = (await (await fetch(`/api/cache/count?${query}`)).json()).count;
      output.textContent = `${responses(counted)} ${counted === 1 ? "matches" : "match"}.`;
      button.textContent = counted ? `Purge ${responses(counted)}` : "Count first";
      if (!counted) counted = null;
    } else {
      output.textContent = `Purged ${responses((await post("/api/purge", order)).purged)}.`;
      startOver();
    }
  } catch (error) { output.textContent = error.message; startOver(); }
});
live.addEventListener("click", async (event) => {
  const entry = event.target.closest?.("[data-entry]");
  if (!entry) return;
  const output = document.getElementById("purged");
  try {
    const { purged } = await post("/api/purge", { entries: [entry.dataset.entry] });
    output.textContent = purged ? `Purged: ${entry.getAttribute("aria-label").replace("Purge ", "")}.` : "It was gone already.";
  } catch (error) { output.textContent = error.message; }
});
const debug = document.querySelector("[data-debug]");
debug?.addEventListener("submit", async (event) => {
  event.preventDefault();
  const output = debug.querySelector("output");
  try {
    const { path } = await post("/api/debug-token", { minutes: Number(debug.elements.minutes.value) });
    const code = document.createElement("code");
    code.textContent = path;
    output.replaceChildren("Open this path on the public listener: ", code);
  } catch (error) { output.textContent = error.message; }
});

const probe = document.querySelector("[data-probe]");
probe?.addEventListener("submit", async (event) => {
  event.preventDefault();
  const list = document.getElementById("probed");
  const item = (text, name) => Object.assign(document.createElement("li"), { textContent: text, className: name });
  list.replaceChildren(item("Waiting for an answer…", "quiet"));
  try {
    const results = await post(`/api/fragments/${encodeURIComponent(probe.dataset.probe)}/probe`, {});
    const one = ({ ok, url, what, took_ms }) => item(`${url}: ${what}${took_ms ? ` (${took_ms} ms)` : ""}`, ok ? "good" : "bad");
    list.replaceChildren(...results.length ? results.map(one) : [item("It has no endpoint of its own: it runs when a page needs it.", "quiet")]);
  } catch (error) { list.replaceChildren(item(error.message, "bad")); }
});

const toggle = document.querySelector("[data-switch]");
toggle?.addEventListener("submit", async (event) => {
  event.preventDefault();
  const output = toggle.querySelector("output"), off = event.submitter?.value !== "on";
  try {
    const order = off ? { off, minutes: Number(toggle.elements.minutes.value) } : { off };
    await post(`/api/fragments/${encodeURIComponent(toggle.dataset.switch)}`, order);
    output.textContent = off ? "Switched off." : "Switched on.";
  } catch (error) { output.textContent = error.message; }
});

// The table is replaced every second, so the document listens.
document.addEventListener("click", async (event) => {
  const button = event.target.closest?.("[data-rollout]");
  if (!button || !confirm(button.dataset.ask)) return;
  const output = document.getElementById("rolled");
  try {
    await post(`/api/rollouts/${encodeURIComponent(button.dataset.rollout)}`, { action: button.dataset.action });
    output.textContent = `${button.textContent}: done.`;
  } catch (error) { output.textContent = error.message; }
});
