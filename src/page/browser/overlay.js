// Draws the overlay of a page, which shows what happened to each of its parts. The page itself is not changed: everything is drawn in a separate
// layer with its own style, at measured positions. Texts are inserted as text, never as HTML.
(() => {
  "use strict";
  const DATA = "script[type='application/json'][data-pasteup-overlay]";
  // The data is the element before this script, whatever elements a fragment may contain.
  const self = document.currentScript, source = self?.previousElementSibling;
  self?.remove();
  // A part that is loaded later brings this script again; its data is read by the instance that already runs.
  const ONE = Symbol.for("pasteup-overlay");
  if (ONE in window || !source?.matches(DATA)) return;
  Object.defineProperty(window, ONE, { value: true });
  source.remove();
  const payload = JSON.parse(source.textContent);
  const record = payload.record;
  const KEY = "`";

  // The page's own rules take precedence over `:host`, unless these are important.
  const style = `
    :host { all: initial !important; position: fixed !important; inset: 0 auto auto 0 !important; width: 0 !important; height: 0 !important;
            direction: ltr !important; z-index: 2147483647 !important; --service: #0a7a33; --combines: #c01818; --degraded: #9c5400 }
    .layer { position: fixed; inset: 0; overflow: clip; pointer-events: none; font: 13px/1.4 system-ui, sans-serif; color: #1a1a1a }
    [hidden] { display: none !important }
    .page { position: absolute; top: 0; left: 0; width: 0; height: 0 }
    .service { --c: var(--service); --edge: 2px solid } .combines { --c: var(--combines); --edge: 5px double } .degraded { --c: var(--degraded); --edge: 2px dashed }
    .box { position: absolute; box-sizing: border-box; border: var(--edge) var(--c); border-radius: 2px; box-shadow: 0 0 0 1px #ffffffb0, inset 0 0 0 1px #ffffffb0 }
    .box:has(+ button:hover), .box:has(+ button:focus-visible), .box:is(.chosen, .focused) { background: color-mix(in srgb, var(--c) 12%, transparent) }
    button, input { font: inherit } button { cursor: pointer }
    .label { position: absolute; overflow: hidden; white-space: nowrap; text-overflow: ellipsis; pointer-events: auto; border: 0; margin: 0;
             box-sizing: border-box; height: 20px; padding: 0 6px; background: var(--c); color: #fff; font-size: 12px; line-height: 20px;
             border-radius: 3px; text-align: left; box-shadow: 0 0 0 1px #ffffffb0 }
    .label.combines { background: #fff; color: var(--c); border: 1px solid var(--c); line-height: 18px }
    .label:hover, .label:focus-visible, .label.focused { z-index: 1 }
    .bar, .faults, .panel, .errors, .pill { pointer-events: auto; background: #fff; color: #1a1a1a; border: 1px solid #888; box-shadow: 0 2px 12px #0004; border-radius: 6px;
             box-sizing: border-box; color-scheme: light }
    .foot { position: absolute; bottom: 12px; left: 12px; right: 12px; display: flex; flex-direction: column; align-items: center; gap: 6px }
    .bar, .faults { max-width: 100%; padding: 6px 12px; display: flex; gap: 2px 14px; align-items: center } .bar { flex-wrap: wrap }
    .faults { border-color: var(--degraded) } .faults button { flex: none }
    .faults span { overflow: hidden; white-space: nowrap; text-overflow: ellipsis }
    .bar b { font-weight: 600; overflow-wrap: anywhere } .legend { display: flex; gap: 0 12px; flex-wrap: wrap }
    .legend span::before { content: ""; display: inline-block; box-sizing: border-box; width: 16px; height: 12px; margin-right: 5px; border: var(--edge) var(--c); border-radius: 2px; vertical-align: -1px }
    .pill { align-self: flex-end; padding: 4px 12px; border-radius: 99px; min-height: 28px }
    .off > .page, .off > .panel, .off :is(.bar, .faults), .layer:not(.off) .pill { display: none }
    .bar button, .faults button, .panel button, .panel input { font-size: 13px; color: inherit; background: #f1f1f1; border: 1px solid #767676; border-radius: 4px; padding: 2px 8px; min-height: 24px }
    .panel { position: absolute; right: 12px; top: 12px; width: min(26rem, calc(50% - 24px)); min-width: 18rem; max-height: calc(100% - 84px);
             overflow: auto; overscroll-behavior: contain; padding: 12px 14px }
    .panel h2 { font-size: 16px; margin: 0 3rem 6px 0; overflow-wrap: anywhere } .panel p { margin: 0 0 8px; overflow-wrap: anywhere }
    .panel.left { right: auto; left: 12px } .panel.low { top: auto; bottom: 64px }
    .panel .close { position: absolute; top: 8px; right: 8px; min-width: 28px; min-height: 28px; padding: 0 }
    dl { display: grid; grid-template-columns: auto 1fr; gap: 3px 12px; margin: 0 } dt { color: #555 } dd { margin: 0; overflow-wrap: anywhere }
    a { color: #1a56b0 }
    .time { position: relative; height: 10px; background: #e0e0e0; border-radius: 3px; margin: 8px 0; overflow: hidden }
    .time i { position: absolute; top: 0; bottom: 0; background: var(--c); min-width: 2px }
    ul { list-style: none; margin: 0; padding: 0 } li { margin: 3px 0 }
    .panel li button { display: block; width: 100%; text-align: left; border: 0; border-left: var(--edge) var(--c); border-left-width: 5px; border-radius: 0; padding: 3px 8px; overflow-wrap: anywhere }
    fieldset { border: 1px solid #bbb; border-radius: 4px; margin: 10px 0 0; padding: 6px 10px 10px } label { display: block; margin: 3px 0 }
    .panel input { min-height: 0; padding: 0; accent-color: #1663d6 } input[type=range] { width: 100%; border: 0 }
    .errors { position: absolute; left: 12px; right: 12px; top: 12px; max-height: 60%; overflow: auto; padding: 10px 14px; border: 2px solid #c01818 }
    .errors h2 { margin: 0 0 6px; font-size: 16px; color: #a01010 } .errors p { margin: 0 0 8px }
    pre { margin: 0 0 10px; white-space: pre; overflow-x: auto; font: 13px/1.45 ui-monospace, Menlo, Consolas, monospace }
    :focus-visible { outline: 3px solid #1663d6; outline-offset: 1px } .panel:focus-visible { outline: none }
    @media (max-width: 600px) {
      .foot { left: 0; right: 0; bottom: 0; gap: 0; align-items: stretch } .pill { margin: 0 8px 8px }
      .bar, .faults { border-radius: 6px 6px 0 0; border-width: 1px 0 0; padding: 6px 10px; font-size: 12px }
      .panel { left: 0; right: 0; top: auto; bottom: 0; width: auto; max-height: 70%; border-radius: 10px 10px 0 0; border-width: 1px 0 0 }
      .panel.high { top: 0; bottom: auto; border-radius: 0 0 10px 10px; border-width: 0 0 1px }
    }
    @media (prefers-color-scheme: dark) {
      .bar, .faults, .panel, .errors, .pill { background: #1f2023; color: #eee; border-color: #777; color-scheme: dark }
      .bar button, .faults button, .panel button { background: #35363b; border-color: #8a8a8a }
      dt { color: #b4b4b4 } .time { background: #45464b } a { color: #8ab4f8 } fieldset { border-color: #666 }
      .errors { border-color: #ff6b5e } .errors h2 { color: #ff9a8f } .panel input { accent-color: #8ab4f8 }
      .legend, .faults, li, .time { --service: #35b565; --combines: #ff6b5e; --degraded: #f0a030 }
      :focus-visible { outline-color: #8ab4f8 }
    }
    @media print { .layer { display: none } }`;

  const element = (name, attributes = {}, ...inside) => {
    const made = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) {
      if (typeof value === "function") made.addEventListener(key, value);
      else if (value !== null && value !== undefined && value !== false) made.setAttribute(key, value === true ? "" : value);
    }
    made.append(...inside.filter((one) => one !== null && one !== undefined));
    return made;
  };
  const ms = (value) => value === null || value === undefined ? null
    : value >= 1000 ? `${Math.round(value / 10) / 100} s` : value >= 10 ? `${Math.round(value)} ms` : `${Math.round(value * 10) / 10} ms`;

  // If storage is blocked, nothing is remembered.
  const memory = {
    get: (name) => { try { return JSON.parse(sessionStorage.getItem(`pasteup-${name}`)); } catch { return null; } },
    set: (name, value) => { try { sessionStorage.setItem(`pasteup-${name}`, JSON.stringify(value)); } catch { /* It is not remembered. */ } },
  };

  // All parts, each by the mark around it. A part that is loaded when scrolled to brings its own marks.
  const all = [], known = new Map();
  const gather = (mark, parts, depth, into = all.length) => {
    for (const part of parts) {
      const one = { part, depth };
      all.splice(into, 0, one);
      known.set(`${mark} ${part.number}`, one);
      into = gather(mark, part.parts, depth + 1, into + 1);
    }
    return into;
  };
  if (record) gather(payload.mark, record.parts, 0);
  const kind = (part) => {
    if (part.standing !== "good") return "degraded";
    return part.parts.length ? "combines" : "service";
  };
  const state = (part) => part.lazy && !part.cache ? "loads when scrolled to" : part.outcome + (part.reason ? ` (${part.reason})` : "") + (part.cache ? `, ${part.cache}` : "");
  const took = (part) => part.start_ms === null ? null : ms(part.end_ms - part.start_ms);
  // A part is known by its nanoservice, and by its own name on the page if that is another one.
  const name = (part) => part.id === part.fragment ? part.id : `${part.fragment} #${part.id}`;
  const others = (count) => count === 1 ? "1 other" : `${count} others`;
  const label = (part) => [`${name(part)}: ${state(part)}`, part.cache === "hit" ? (part.age_ms >= 1000 ? `${Math.floor(part.age_ms / 1000)} s old` : null) : took(part), part.parts.length ? `composed of ${others(part.parts.length)}` : null].filter(Boolean).join(" · ");

  // The host is placed after the body, where it moves nothing.
  const host = element("pasteup-overlay");
  const shadow = host.attachShadow({ mode: "open" });
  const sheet = new CSSStyleSheet();
  sheet.replaceSync(style);
  shadow.adoptedStyleSheets = [sheet];
  const page = element("div", { class: "page" });
  const layer = element("div", { class: "layer", lang: "en" }, page);
  shadow.append(layer);
  const isOff = () => layer.classList.contains("off");
  const hide = element("button", { type: "button", click: (event) => toggle(event) }, `Hide (key ${KEY})`);
  const pill = element("button", { class: "pill", type: "button", title: `Show the overlay (key ${KEY})`, click: (event) => toggle(event) });
  const count = (wanted) => all.filter(({ part }) => kind(part) === wanted).length;

  // Reads the data of a part that was loaded after the page.
  const arrived = (data) => {
    const holder = [...data.parentNode.childNodes].slice(0, [...data.parentNode.childNodes].indexOf(data)).reverse();
    const before = holder.find((node) => node.nodeType === Node.COMMENT_NODE);
    const place = before && known.get(before.data);
    let late;
    try { late = JSON.parse(data.textContent); } catch { return; }
    data.remove();
    const parts = late.record?.parts ?? [];
    if (!place?.part.lazy || !parts.length || typeof late.mark !== "string") return;
    // It replaces its placeholder.
    const at = all.indexOf(place), [first] = parts;
    const { id, file, line, number } = place.part;
    place.part = { ...place.part, ...first, id, file, line, number, lazy: null };
    gather(late.mark, first.parts, place.depth + 1, at + 1);
    boxes.get(place)?.remove();
  };

  // The position of each part: between the comments around it.
  const ranges = new Map();
  const measure = () => {
    for (const data of document.querySelectorAll(DATA)) arrived(data);
    for (const script of document.querySelectorAll("script[src^='/_pasteup/overlay-']")) script.remove();
    const walker = document.createTreeWalker(document.documentElement, NodeFilter.SHOW_COMMENT);
    const begun = new Map();
    ranges.clear();
    while (walker.nextNode()) {
      const text = walker.currentNode.data, ends = text.startsWith("/");
      const one = known.get(ends ? text.slice(1) : text);
      if (!one) continue;
      if (!ends) { begun.set(one, walker.currentNode); continue; }
      if (!begun.has(one)) continue;
      const range = new Range();
      range.setStartAfter(begun.get(one));
      range.setEndBefore(walker.currentNode);
      ranges.set(one, range);
    }
  };
  const place = (range) => {
    const shown = [...range.getClientRects()].filter((rect) => rect.width > 0 && rect.height > 0);
    if (!shown.length) return null;
    const left = Math.min(...shown.map((rect) => rect.left)), top = Math.min(...shown.map((rect) => rect.top));
    return { left: left + scrollX, top: top + scrollY,
      width: Math.max(...shown.map((rect) => rect.right)) - left, height: Math.max(...shown.map((rect) => rect.bottom)) - top };
  };

  class Box {
    constructor(one) {
      this.box = element("div", { class: `box ${kind(one.part)}` });
      this.label = element("button", { class: `label ${kind(one.part)}`, type: "button", click: () => choose(one), focus: () => { if (this.label.matches(":focus-visible")) reveal(this.label); } }, label(one.part));
      page.append(this.box, this.label);
      this.wide = Math.ceil(this.label.getBoundingClientRect().width) + 1;
    }
    remove() { this.box.remove(); this.label.remove(); for (const [one, box] of boxes) if (box === this) boxes.delete(one); }
    // A little larger than its part, and larger still if there are other boxes inside.
    put({ left, top, width, height }, out, end) {
      const right = Math.min(left + width + out, end);
      left = Math.max(0, left - out);
      [top, width, height] = [Math.max(0, top - out), right - left, height + 2 * out];
      Object.assign(this.box.style, { left: `${left}px`, top: `${top}px`, width: `${width}px`, height: `${height}px` });
    }
  }
  const boxes = new Map();
  const HIGH = 20, LEAST = 230;
  const levels = (part) => part.parts.length ? 1 + Math.max(...part.parts.map(levels)) : 0;
  const draw = () => {
    const places = [];
    for (const one of all) {
      const range = ranges.get(one), at = range && place(range);
      if (at) places.push([one, at]); else boxes.get(one)?.remove();
    }
    for (const [one] of places) if (!boxes.has(one) && !isOff()) boxes.set(one, new Box(one));
    const end = document.documentElement.clientWidth + scrollX, taken = [];
    for (const [one, at] of places) {
      const box = boxes.get(one);
      if (!box) continue;
      box.put(at, 3 + 3 * levels(one.part), end);
      // Above its part. If another label is there, or there is no space, below a low part, or further down inside a tall one.
      const width = Math.min(box.wide, Math.max(at.width, LEAST), end - scrollX);
      const left = Math.max(0, Math.min(at.left, end - width));
      const free = (top) => taken.every((other) => other.left >= left + width || left >= other.left + other.width || other.top >= top + HIGH || top >= other.top + HIGH);
      const tops = [at.top - HIGH, ...(at.height < 3 * HIGH ? [at.top + at.height] : []), ...Array.from({ length: 12 }, (_, step) => at.top + step * (HIGH + 1))].filter((top) => top >= 0);
      const top = tops.find(free) ?? tops[0];
      taken.push({ left, top, width });
      Object.assign(box.label.style, { left: `${left}px`, top: `${top}px`, width: `${width}px` });
    }
    follow();
  };
  const follow = () => { page.style.transform = `translate(${-scrollX}px, ${-scrollY}px)`; };

  // The layer does not scroll, so the page is scrolled to a label that gets the keyboard focus, or is chosen in the list.
  const SPACE = 100;
  const reveal = (label) => {
    const { top, bottom, left, right } = label.getBoundingClientRect();
    if (top >= 0 && left >= 0 && right <= innerWidth && bottom <= innerHeight - SPACE) return;
    scrollBy({ top: top - SPACE, left: Math.min(left, 0) + Math.max(right - innerWidth, 0), behavior: "instant" });
  };
  // The label of the innermost part that has the keyboard focus comes to the front.
  const mark = (target) => {
    const inside = all.filter((one) => ranges.get(one)?.intersectsNode(target)).at(-1);
    for (const [one, { box, label }] of boxes) for (const drawn of [box, label]) drawn.classList.toggle("focused", one === inside);
  };

  let panel = null, opener = null, chosen = null;
  const close = () => {
    if (!panel) return;
    panel.remove();
    panel = chosen = null;
    memory.set("open", null);
    for (const { box } of boxes.values()) box.classList.remove("chosen");
    opener?.focus({ preventScroll: true });
  };
  const open = (made) => {
    const from = panel ? opener : shadow.activeElement;
    opener = null;
    close();
    opener = from;
    panel = made;
    panel.append(element("button", { class: "close", type: "button", "aria-label": "Close", click: close }, "×"));
    layer.append(panel);
    panel.focus();
  };
  // Puts the panel where it covers least of the part that it is about.
  const putAside = () => {
    const drawn = panel && boxes.get(chosen);
    if (!drawn) return;
    const covered = () => {
      const over = panel.getBoundingClientRect();
      const shared = ({ left, top, right, bottom }) => Math.max(0, Math.min(right, over.right) - Math.max(left, over.left)) * Math.max(0, Math.min(bottom, over.bottom) - Math.max(top, over.top));
      return shared(drawn.box.getBoundingClientRect()) + shared(drawn.label.getBoundingClientRect());
    };
    const sides = matchMedia("(max-width: 600px)").matches ? ["", "high"] : ["", "left", "low", "left low"];
    const put = (side) => { panel.className = `panel ${side}`; };
    const costs = sides.map((side) => { put(side); return covered(); });
    put(sides[costs.indexOf(Math.min(...costs))]);
  };
  const choose = (one) => {
    const { part } = one;
    const row = (name, value) => value === null || value === undefined || value === "" ? [] : [element("dt", {}, name), element("dd", {}, value)];
    const link = (url) => url && /^https?:/.test(url) ? element("a", { href: url, target: "_blank", rel: "noopener noreferrer" }, url) : url;
    const time = element("div", { class: `time ${kind(part)}`, role: "img", "aria-label": `${took(part)} of ${ms(part.timeout_ms)}` });
    if (part.start_ms !== null && part.timeout_ms) {
      const bar = element("i");
      bar.style.width = `${Math.min(100, 100 * (part.end_ms - part.start_ms) / part.timeout_ms)}%`;
      time.append(bar);
    }
    open(element("section", { class: "panel", tabindex: "-1", "aria-label": `Part ${name(part)}` },
      element("h2", {}, name(part)), element("p", {}, part.why),
      part.start_ms === null ? null : time,
      element("dl", {},
        ...row("outcome", state(part)), ...row("nanoservice", [part.fragment, part.version].filter(Boolean).join(" ")),
        ...row("side", part.side_why), ...row("owner", part.owner), ...row("runbook", link(part.runbook)), ...row("cached", part.kept), ...row("age", ms(part.age_ms)),
        ...row("time", part.start_ms === null ? null : `${took(part)} of ${ms(part.timeout_ms)}`),
        ...row("first byte", part.first_byte_ms === null ? null : `after ${ms(Math.max(0, part.first_byte_ms - part.start_ms))}`),
        ...row("endpoint", part.tries > 1 ? `${part.endpoint}, ${part.tries} attempts` : part.endpoint),
        ...row("bytes", part.bytes), ...row("detail", part.detail), ...row("layout", `${part.file}:${part.line}`)),
      payload.dev ? tamper(part) : null));
    boxes.get(one)?.box.classList.add("chosen");
    memory.set("open", part.id);
    chosen = one;
    putAside();
  };
  const show = (one) => {
    const drawn = boxes.get(one);
    if (!drawn) return;
    reveal(drawn.label);
    follow();
    putAside();
  };
  const list = () => open(element("section", { class: "panel", tabindex: "-1", "aria-label": "All parts" },
    element("h2", {}, "All parts"),
    element("p", {}, `${record.layout}${record.owner ? `, ${record.owner}` : ""}`),
    element("ul", {}, ...all.map((one) => {
      const { part, depth } = one;
      const item = element("li", { class: kind(part) }, element("button", { type: "button", click: () => { choose(one); show(one); } },
        label(part), ranges.has(one) && place(ranges.get(one)) ? null : " · not visible"));
      item.style.marginLeft = `${depth}rem`;
      return item;
    }))));

  // During development: all simulated faults, of whatever browser, in one line.
  let faults = [];
  const simulate = (fault) => fetch(`/_pasteup/dev/fault?${new URLSearchParams(fault)}`, { method: "POST", headers: { "pasteup-dev": "1" } });
  const reset = async () => { await simulate({ reset: "all" }); reload(); };
  const simulated = element("div", { class: "faults", role: "status", hidden: true });
  const reportFaults = (now) => {
    faults = now;
    const words = { fail: "error", empty: "empty" };
    const one = ({ fragment, delay_ms, what }) => `${fragment} (${[words[what], delay_ms ? `${ms(delay_ms)} late` : null].filter(Boolean).join(", ")})`;
    const text = `Simulated: ${faults.map(one).join(", ")}`;
    simulated.hidden = !faults.length;
    simulated.replaceChildren(element("span", { title: text }, text), element("button", { type: "button", click: reset }, "Reset all"));
    const degraded = count("degraded");
    pill.textContent = ["Pasteup", degraded ? `${degraded} stale or missing` : null, faults.length ? "faults simulated" : null].filter(Boolean).join(" · ");
  };

  // During development: simulates a nanoservice that is slow, fails, or has nothing to show.
  const tamper = (part) => {
    const known = faults.find((fault) => fault.fragment === part.fragment) ?? {};
    const slow = element("input", { type: "range", min: "0", max: "3000", step: "100", value: String(known.delay_ms ?? 0) });
    const shown = element("output", {}, ms(Number(slow.value)));
    slow.addEventListener("input", () => { shown.textContent = ms(Number(slow.value)); });
    const what = ["answer", "fail", "empty"].map((name) => element("input", { type: "radio", name: "what", value: name, checked: (known.what ?? "answer") === name }));
    const words = ["Normal", "Error", "Empty"];
    const send = async () => {
      await simulate({ fragment: part.fragment, delay_ms: slow.value, what: what.find((one) => one.checked).value });
      reload();
    };
    return element("fieldset", {}, element("legend", {}, `Simulate for ${part.fragment}`),
      element("label", {}, "Delay ", shown, slow), ...what.map((input, at) => element("label", {}, input, ` ${words[at]}`)),
      element("button", { type: "button", click: send }, "Try it"));
  };

  const reload = () => {
    memory.set("scroll", [location.pathname, scrollX, scrollY]);
    location.reload();
  };
  const errors = element("section", { class: "errors", role: "alert", hidden: true });
  // A page of the site for errors, such as 404, is shown where there is no page yet.
  const isLive = record?.route.startsWith("/");
  const report = (problems) => {
    errors.hidden = !problems.length;
    errors.replaceChildren(element("h2", {}, problems.length === 1 ? "An error in a file" : `${problems.length} errors in files`),
      element("p", {}, isLive ? "The last good version is shown until this is fixed." : "This page is not live yet."),
      ...problems.map((text) => element("pre", {}, text)));
  };
  // All tabs share one connection to the server, because browsers open only six to a host: the tab that has the lock listens, and passes
  // on what it hears. Locks need HTTPS or a local host; without them, a tab listens while it is visible.
  const listen = (hear) => {
    const connect = (heard) => {
      const events = new EventSource("/_pasteup/dev/events");
      events.onmessage = ({ data }) => heard(data);
      return events;
    };
    const alone = () => {
      let events = null;
      const follow = () => {
        if (!document.hidden) { events ??= connect(hear); return; }
        events?.close();
        events = null;
      };
      document.addEventListener("visibilitychange", follow);
      follow();
    };
    if (!navigator.locks) return alone();
    const QUESTION = "?", channel = new BroadcastChannel("pasteup-dev");
    let last = null;
    channel.onmessage = ({ data }) => { if (data !== QUESTION) hear(data); else if (last) channel.postMessage(last); };
    const lead = () => new Promise(() => connect((data) => { last = data; channel.postMessage(data); hear(data); }));
    navigator.locks.request("pasteup-dev", lead).catch(alone);
    channel.postMessage(QUESTION);
  };
  const watch = () => {
    let seen = payload.version;
    listen((data) => {
      const { version, process, problems, faults } = JSON.parse(data);
      const now = `${process} ${version}`;
      if (seen !== now && !problems.length) return reload();
      seen = now;
      report(problems);
      reportFaults(faults);
    });
  };

  // Errors in files are shown all the same, and a pill that shows everything again.
  const toggle = (event) => {
    const isOff = layer.classList.toggle("off");
    memory.set("hidden", isOff);
    if (!isOff) { draw(); putAside(); }
    if (event?.type === "click" || host.matches(":focus-within")) (isOff ? pill : hide).focus({ preventScroll: true });
  };
  addEventListener("keydown", (event) => {
    const typing = event.composedPath()[0];
    if (typing instanceof HTMLElement && (typing.isContentEditable || /^(input|textarea|select)$/i.test(typing.tagName)) && typing.type !== "radio" && typing.type !== "range") return;
    if ((event.key === KEY || event.code === "Backquote") && !event.ctrlKey && !event.metaKey && !event.altKey) toggle();
    if (event.key === "Escape") close();
  }, true);

  const begin = () => {
    const foot = element("div", { class: "foot" }, simulated);
    if (record) {
      const legend = [["service", "from nanoservices"], ["combines", "composed of others"], ["degraded", "stale or missing"]]
        .map(([name, words]) => element("span", { class: name }, `${count(name)} ${words}`));
      foot.append(element("div", { class: "bar", role: "region", "aria-label": "Pasteup overlay" },
        element("b", {}, `${record.route} ${record.status}`), element("span", {}, `${ms(record.took_ms)} of ${ms(record.budget_ms)}`),
        element("span", { class: "legend" }, ...legend),
        element("button", { type: "button", click: list }, "All parts"), hide), pill);
    }
    layer.append(errors, foot);
    reportFaults(payload.faults);
    layer.classList.toggle("off", memory.get("hidden") === true);
    document.documentElement.append(host);
    measure();
    draw();
    let due = 0;
    const again = (what) => {
      if (!due) requestAnimationFrame(() => { if (due > 1) measure(); due = 0; draw(); });
      due = Math.max(due, what);
    };
    const [MOVED, CHANGED] = [1, 2];
    // A part may have a fixed position, or be in an element that scrolls by itself.
    addEventListener("scroll", () => { follow(); again(MOVED); }, { passive: true, capture: true });
    addEventListener("resize", () => { again(MOVED); putAside(); });
    document.addEventListener("focusin", ({ target }) => mark(target));
    addEventListener("load", () => again(MOVED), true);
    new ResizeObserver(() => again(MOVED)).observe(document.body ?? document.documentElement);
    new MutationObserver((changes) => again(changes.some(({ type }) => type === "childList") ? CHANGED : MOVED))
      .observe(document.documentElement, { childList: true, attributes: true, characterData: true, subtree: true });
    for (const event of ["transitionend", "animationend", "toggle", "input", "pointerup"]) addEventListener(event, () => again(MOVED), { passive: true, capture: true });
    const [path, x, y] = memory.get("scroll") ?? [];
    memory.set("scroll", null);
    if (path === location.pathname) scrollTo({ left: x, top: y, behavior: "instant" });
    const before = payload.dev && all.find(({ part }) => part.id === memory.get("open"));
    if (before) choose(before);
    if (payload.dev) watch();
  };
  if (document.readyState === "loading") addEventListener("DOMContentLoaded", begin); else begin();
})();
