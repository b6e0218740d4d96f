// Draws over a page what became of each of its parts. Nothing of the page is touched: all is drawn in a layer of its
// own, with a style of its own, in places that are measured. Texts are set as texts, never as HTML.
(() => {
  "use strict";
  const source = document.getElementById("pasteup-overlay");
  const told = JSON.parse(source.textContent);
  const record = told.record;
  const KEY = "`";

  const style = `
    :host { all: initial }
    .layer { position: fixed; inset: 0; overflow: clip; pointer-events: none; z-index: 2147483647;
             font: 13px/1.4 system-ui, sans-serif; color: #1a1a1a }
    .layer[hidden], [hidden] { display: none !important }
    .page { position: absolute; top: 0; left: 0; width: 0; height: 0 }
    .box { position: absolute; box-sizing: border-box; border: 2px solid var(--c); border-radius: 2px }
    .box:has(button:hover), .box:has(button:focus-visible), .box.chosen { background: color-mix(in srgb, var(--c) 12%, transparent) }
    .service { --c: #0a7a33 } .combines { --c: #c01818 } .degraded { --c: #b36200 }
    button { font: inherit; cursor: pointer }
    .label { position: absolute; bottom: 100%; left: -2px; max-width: calc(100% + 4px); overflow: hidden; white-space: nowrap; text-overflow: ellipsis;
             pointer-events: auto; border: 0; margin: 0; padding: 1px 6px; background: var(--c); color: #fff;
             font-size: 12px; border-radius: 3px 3px 0 0; text-align: left }
    .box.top > .label { bottom: auto; top: 0; left: 0; border-radius: 0 0 3px 0 }
    .bar, .panel, .mistakes { pointer-events: auto; background: #fff; color: #1a1a1a; border: 1px solid #888;
             box-shadow: 0 2px 12px #0004; border-radius: 6px }
    .bar { position: absolute; bottom: 12px; left: 50%; transform: translateX(-50%); padding: 6px 12px; display: flex; gap: 14px;
           align-items: center; max-width: calc(100vw - 48px); box-sizing: border-box; flex-wrap: wrap }
    .bar b { font-weight: 600 } .legend { display: flex; gap: 10px; flex-wrap: wrap }
    .legend span::before { content: ""; display: inline-block; width: 10px; height: 10px; margin-right: 4px; background: var(--c); border-radius: 2px }
    .bar button, .panel button, .panel input { font-size: 13px }
    .panel { position: absolute; right: 12px; top: 12px; width: min(26rem, calc(100vw - 24px)); max-height: calc(100vh - 84px);
             overflow: auto; padding: 12px 14px; box-sizing: border-box }
    .panel h2 { font-size: 16px; margin: 0 2rem 6px 0 } .panel p { margin: 0 0 8px }
    .close { position: absolute; top: 8px; right: 8px }
    dl { display: grid; grid-template-columns: auto 1fr; gap: 3px 12px; margin: 0 } dt { color: #555 } dd { margin: 0; overflow-wrap: anywhere }
    .time { position: relative; height: 10px; background: #e4e4e4; border-radius: 3px; margin: 8px 0 2px; overflow: hidden }
    .time i { position: absolute; top: 0; bottom: 0; background: var(--c); min-width: 2px }
    ul { list-style: none; margin: 0; padding: 0 } li { margin: 2px 0 }
    li button { display: block; width: 100%; text-align: left; border: 0; border-left: 5px solid var(--c); background: #f4f4f4; padding: 3px 8px; color: inherit }
    fieldset { border: 1px solid #bbb; border-radius: 4px; margin: 10px 0 0 } label { display: block; margin: 3px 0 } input[type=range] { width: 100% }
    .mistakes { position: absolute; left: 12px; right: 12px; top: 12px; max-height: 60vh; overflow: auto; padding: 10px 14px; border: 2px solid #c01818 }
    .mistakes h2 { margin: 0 0 6px; font-size: 16px; color: #a01010 } pre { margin: 0 0 10px; white-space: pre-wrap; font: 13px/1.45 ui-monospace, Menlo, Consolas, monospace }
    :focus-visible { outline: 3px solid #1663d6; outline-offset: 1px } .panel:focus-visible { outline: none }
    @media (prefers-color-scheme: dark) {
      .bar, .panel, .mistakes { background: #1f2023; color: #eee; border-color: #666 }
      dt { color: #aaa } .time { background: #3a3b3f } li button { background: #2b2c30 } a { color: #8ab4f8 } .mistakes h2 { color: #ff9a8f }
      .legend, li, .panel { --dark: 1 } li.service, .legend .service { --c: #35b565 } li.combines, .legend .combines { --c: #ff6b5e } li.degraded, .legend .degraded { --c: #f0a030 }
    }`;

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

  const all = [];
  const gather = (parts, depth) => parts.forEach((part) => { all.push({ part, depth }); gather(part.parts, depth + 1); });
  if (record) gather(record.parts, 0);
  const kind = (part) => {
    const expected = ["condition", "empty", "revalidating"].includes(part.reason);
    if (part.outcome !== "fresh" && !expected) return "degraded";
    if (part.outcome === "stale") return "degraded";
    return part.parts.length ? "combines" : "service";
  };
  const state = (part) => part.outcome + (part.reason ? ` (${part.reason})` : "") + (part.cache ? `, ${part.cache}` : "");
  const took = (part) => part.start_ms === null ? null : ms(part.end_ms - part.start_ms);
  const label = (part) => [`${part.id}: ${state(part)}`, took(part), part.parts.length ? `combines ${part.parts.length}` : null].filter(Boolean).join(" · ");

  // The host stands behind the body, where it moves nothing.
  const host = element("pasteup-overlay");
  const shadow = host.attachShadow({ mode: "open" });
  const sheet = new CSSStyleSheet();
  sheet.replaceSync(style);
  shadow.adoptedStyleSheets = [sheet];
  const page = element("div", { class: "page" });
  const layer = element("div", { class: "layer", lang: "en" }, page);
  shadow.append(layer);

  // Where parts are: between the comments around them.
  const ranges = new Map();
  const measure = () => {
    const walker = document.createTreeWalker(document.documentElement, NodeFilter.SHOW_COMMENT);
    const begun = new Map();
    ranges.clear();
    while (walker.nextNode()) {
      const text = walker.currentNode.data;
      const begins = text.startsWith(`${told.mark} `);
      if (!begins && !text.startsWith(`/${told.mark} `)) continue;
      const number = Number(text.slice(told.mark.length + (begins ? 1 : 2)));
      if (begins) { begun.set(number, walker.currentNode); continue; }
      if (!begun.has(number)) continue;
      const range = new Range();
      range.setStartAfter(begun.get(number));
      range.setEndBefore(walker.currentNode);
      ranges.set(number, range);
    }
  };
  const place = (range) => {
    const shown = [...range.getClientRects()].filter((rect) => rect.width > 0 && rect.height > 0);
    if (!shown.length) return null;
    const left = Math.min(...shown.map((rect) => rect.left)), top = Math.min(...shown.map((rect) => rect.top));
    return { left: left + scrollX, top: top + scrollY,
      width: Math.max(...shown.map((rect) => rect.right)) - left, height: Math.max(...shown.map((rect) => rect.bottom)) - top };
  };
  const boxes = new Map();
  const draw = () => {
    for (const { part } of all) {
      const range = ranges.get(part.number);
      const at = range && place(range);
      let box = boxes.get(part.number);
      if (!at) { box?.remove(); boxes.delete(part.number); continue; }
      if (!box) {
        box = element("div", { class: `box ${kind(part)}` },
          element("button", { class: "label", type: "button", click: () => choose(part) }, label(part)));
        boxes.set(part.number, box);
        page.append(box);
      }
      box.classList.toggle("top", at.top < 20);
      Object.assign(box.style, { left: `${at.left}px`, top: `${at.top}px`, width: `${at.width}px`, height: `${at.height}px` });
    }
    follow();
  };
  const follow = () => { page.style.transform = `translate(${-scrollX}px, ${-scrollY}px)`; };

  let panel = null;
  const close = () => { panel?.remove(); panel = null; for (const box of boxes.values()) box.classList.remove("chosen"); };
  const open = (made) => {
    close();
    panel = made;
    panel.append(element("button", { class: "close", type: "button", "aria-label": "Close", click: close }, "×"));
    layer.append(panel);
    panel.focus();
  };
  const choose = (part) => {
    const row = (name, value) => value === null || value === undefined || value === "" ? [] : [element("dt", {}, name), element("dd", {}, value)];
    const link = (url) => url && /^https?:/.test(url) ? element("a", { href: url, target: "_blank", rel: "noopener noreferrer" }, url) : url;
    const time = element("div", { class: `time ${kind(part)}`, role: "img", "aria-label": `${took(part)} of ${ms(part.timeout_ms)}` });
    if (part.start_ms !== null && part.timeout_ms) {
      const bar = element("i");
      bar.style.width = `${Math.min(100, 100 * (part.end_ms - part.start_ms) / part.timeout_ms)}%`;
      time.append(bar);
    }
    open(element("section", { class: "panel", tabindex: "-1", "aria-label": `Part ${part.id}` },
      element("h2", {}, part.id), element("p", {}, part.why),
      part.start_ms === null ? null : time,
      element("dl", {},
        ...row("outcome", state(part)), ...row("nanoservice", [part.fragment, part.version].filter(Boolean).join(" ")),
        ...row("owner", part.owner), ...row("runbook", link(part.runbook)), ...row("kept", part.kept), ...row("age", ms(part.age_ms)),
        ...row("time", part.start_ms === null ? null : `${took(part)} of ${ms(part.timeout_ms)}`),
        ...row("first byte", part.first_byte_ms === null ? null : `after ${ms(part.first_byte_ms - part.start_ms)}`),
        ...row("asked", part.tries ? `${part.endpoint}${part.tries > 1 ? `, ${part.tries} times` : ""}` : part.endpoint),
        ...row("bytes", part.bytes), ...row("what happened", part.detail), ...row("layout", `${part.file}:${part.line}`)),
      told.dev ? tamper(part) : null));
    boxes.get(part.number)?.classList.add("chosen");
  };
  const list = () => open(element("section", { class: "panel", tabindex: "-1", "aria-label": "All parts" },
    element("h2", {}, "All parts"),
    element("p", {}, `${record.layout}${record.owner ? `, ${record.owner}` : ""}`),
    element("ul", {}, ...all.map(({ part, depth }) => {
      const item = element("li", { class: kind(part) }, element("button", { type: "button", click: () => choose(part) }, label(part)));
      item.style.marginLeft = `${depth}rem`;
      return item;
    }))));

  // While developing: what if it were slow, or failed, or had nothing to show?
  const tamper = (part) => {
    const faults = JSON.parse(sessionStorage.getItem("pasteup-faults") ?? "{}");
    const known = faults[part.fragment] ?? {};
    const slow = element("input", { type: "range", min: "0", max: "3000", step: "100", value: String(known.delay_ms ?? 0) });
    const says = element("output", {}, ms(Number(slow.value)));
    slow.addEventListener("input", () => { says.textContent = ms(Number(slow.value)); });
    const what = ["answer", "fail", "empty"].map((name) => element("input", { type: "radio", name: "what", value: name, checked: (known.what ?? "answer") === name }));
    const words = ["it answers as it does", "it fails", "it has nothing to show"];
    const send = async () => {
      const fault = { delay_ms: slow.value, what: what.find((one) => one.checked).value };
      sessionStorage.setItem("pasteup-faults", JSON.stringify({ ...faults, [part.fragment]: fault }));
      const query = new URLSearchParams({ fragment: part.fragment, ...fault });
      await fetch(`/_pasteup/dev/fault?${query}`, { method: "POST", headers: { "pasteup-dev": "1" } });
      reload();
    };
    return element("fieldset", {}, element("legend", {}, `What if ${part.fragment} …`),
      element("label", {}, "were slower by ", says, slow), ...what.map((input, at) => element("label", {}, input, ` ${words[at]}`)),
      element("button", { type: "button", click: send }, "Try it"));
  };

  const reload = () => {
    sessionStorage.setItem("pasteup-scroll", JSON.stringify([location.pathname, scrollX, scrollY]));
    location.reload();
  };
  const mistakes = element("section", { class: "mistakes", role: "alert", hidden: true });
  const tell = (problems) => {
    mistakes.hidden = !problems.length;
    mistakes.replaceChildren(element("h2", {}, problems.length === 1 ? "A mistake in a file" : `${problems.length} mistakes in files`),
      element("p", {}, "What was good before is shown until it is right again."),
      ...problems.map((text) => element("pre", {}, text)));
  };
  const watch = () => {
    let seen = null;
    const events = new EventSource("/_pasteup/dev/events");
    events.onmessage = ({ data }) => {
      const { version, process, problems } = JSON.parse(data);
      const now = `${process} ${version}`;
      if (seen !== null && seen !== now && !problems.length) return reload();
      seen = now;
      tell(problems);
    };
  };

  const toggle = () => {
    layer.hidden = !layer.hidden;
    sessionStorage.setItem("pasteup-hidden", layer.hidden ? "1" : "");
  };
  addEventListener("keydown", (event) => {
    const typing = event.composedPath()[0];
    if (typing instanceof HTMLElement && (typing.isContentEditable || /^(input|textarea|select)$/i.test(typing.tagName)) && typing.type !== "radio" && typing.type !== "range") return;
    if (event.key === KEY && !event.ctrlKey && !event.metaKey && !event.altKey) toggle();
    if (event.key === "Escape") close();
  });

  const begin = () => {
    if (record) {
      const of = (wanted) => all.filter(({ part }) => kind(part) === wanted).length;
      const legend = [["service", "from nanoservices"], ["combines", "that combine others"], ["degraded", "stale or missing"]]
        .map(([name, words]) => element("span", { class: name }, `${of(name)} ${words}`));
      layer.append(element("div", { class: "bar", role: "region", "aria-label": "Pasteup overlay" },
        element("b", {}, `${record.route} ${record.status}`), element("span", {}, `${ms(record.took_ms)} of ${ms(record.budget_ms)}`),
        element("span", { class: "legend" }, ...legend),
        element("button", { type: "button", click: list }, "All parts"),
        element("button", { type: "button", click: toggle }, `Hide (key ${KEY})`)));
    }
    layer.append(mistakes);
    layer.hidden = sessionStorage.getItem("pasteup-hidden") === "1";
    document.documentElement.append(host);
    measure();
    draw();
    let due = false;
    const again = () => {
      if (due) return;
      due = true;
      requestAnimationFrame(() => { due = false; draw(); });
    };
    addEventListener("scroll", follow, { passive: true });
    addEventListener("resize", again);
    addEventListener("load", again);
    new ResizeObserver(again).observe(document.body ?? document.documentElement);
    const [path, x, y] = JSON.parse(sessionStorage.getItem("pasteup-scroll") ?? "[]");
    sessionStorage.removeItem("pasteup-scroll");
    if (path === location.pathname) scrollTo({ left: x, top: y, behavior: "instant" });
    if (told.dev) watch();
  };
  if (document.readyState === "loading") addEventListener("DOMContentLoaded", begin); else begin();
})();
