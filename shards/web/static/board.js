// What a page does by itself: it follows the board, moves cards to where they stand now, keeps ages and leases up to
// date, and listens to keys. Everything it shows is made by the server; without it, every page works and stands still.
"use strict";
(() => {
  const root = document.documentElement;
  const base = `/b/${encodeURIComponent(root.dataset.board)}/`;
  const still = matchMedia("(prefers-reduced-motion: reduce)");
  const one = (selector, within = document) => within.querySelector(selector);
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];
  root.classList.add("is-scripted");

  // --- ages and leases -----------------------------------------------------------------------------------------

  const span = (seconds) => {
    const whole = Math.max(0, Math.floor(seconds));
    for (const [unit, length] of [["d", 86400], ["h", 3600], ["min", 60]]) {
      if (whole >= length) return `${Math.floor(whole / length)} ${unit}`;
    }
    return `${whole} s`;
  };
  const says = {
    age: (at, now) => span(now - at),
    ago: (at, now) => `${span(now - at)} ago`,
    until: (at, now) => (at >= now ? `${span(at - now)} left` : `over for ${span(now - at)}`),
  };
  // A page of the past stands still: its ages count from then.
  const past = () => { const then = one("[data-now]"); return then ? Number(then.dataset.now) : null; };
  const inTime = () => new URLSearchParams(location.search).has("at");
  const tick = () => {
    const now = past() ?? Date.now() / 1000;
    for (const time of all("time[data-how]")) {
      const say = says[time.dataset.how];
      const text = say && say(Number(time.dataset.at), now);
      if (text && text !== time.textContent) time.textContent = text;
    }
    for (const bar of all("progress.left")) {
      const left = Number(bar.dataset.until) - now;
      bar.value = Math.max(0, Math.min(bar.max, left));
      bar.parentElement.classList.toggle("is-over", left < 0);
    }
  };

  // --- what is new ---------------------------------------------------------------------------------------------

  const board = () => one("#board");
  const parsed = (text) => new DOMParser().parseFromString(text, "text/html");

  async function fetched(address) {
    const answer = await fetch(address, { headers: { accept: "text/html" }, cache: "no-store" });
    return { ok: answer.ok, page: parsed(await answer.text()) };
  }

  async function renewBoard() {
    const words = new URLSearchParams(location.search);
    words.set("have", all(".column[data-mark]").map((column) => column.dataset.mark).join(" "));
    const { ok, page } = await fetched(`${base}columns?${words}`);
    const next = one("#board", page);
    if (!ok || !next) return location.reload();
    for (const part of all("[data-part]", page)) one(`[data-part="${part.dataset.part}"]`)?.replaceWith(part);
    for (const link of all("#then a[rel]", page)) one(`#then a[rel=${link.rel}]`).href = link.href;
    const before = new Map(all(".card").map((card) => [card.id, { at: card.getBoundingClientRect(), status: card.dataset.status }]));
    const known = new Map(all(".column").map((column) => [column.dataset.mark, column]));
    for (const column of all(".column[data-same]", next)) column.replaceWith(known.get(column.dataset.mark) ?? column);
    const focused = document.activeElement?.closest?.(".card")?.id;
    board().replaceChildren(...next.childNodes);
    board().dataset.position = next.dataset.position;
    one("#needing").textContent = next.dataset.needing;
    if (next.dataset.now) board().dataset.now = next.dataset.now; else delete board().dataset.now;
    if (focused) one(`#${focused} .title`)?.focus({ preventScroll: true });
    tick();
    show(before);
  }

  // Cards go from where they were to where they are.
  function show(before) {
    const told = [];
    for (const card of all(".card")) {
      const was = before.get(card.id);
      const now = card.getBoundingClientRect();
      const moved = was && was.status !== card.dataset.status;
      if (!was || moved) told.push(`${one(".title", card).textContent.trim()}: ${card.dataset.status}`);
      if (still.matches) {
        if (!was || moved) card.animate([{ backgroundColor: "var(--moved)" }, {}], 1500);
        continue;
      }
      if (!was) {
        card.animate([{ opacity: 0, transform: "translateY(-8px)" }, { opacity: 1, transform: "none" }], { duration: 260, easing: "ease-out" });
      } else if (was.at.left !== now.left || was.at.top !== now.top) {
        const path = `translate(${was.at.left - now.left}px, ${was.at.top - now.top}px)`;
        card.style.zIndex = moved ? "4" : "";
        const going = card.animate([{ transform: path }, { transform: "none" }], { duration: moved ? 520 : 300, easing: "cubic-bezier(.2, .7, .2, 1)" });
        going.onfinish = () => { card.style.zIndex = ""; };
      }
      if (!was || moved) card.animate([{ boxShadow: "0 0 0 4px var(--moved)" }, { boxShadow: "0 0 0 4px transparent" }], { duration: 2200, easing: "ease-in" });
    }
    if (told.length) one("#aloud").textContent = told.slice(0, 3).join(". ");
  }

  async function renewParts() {
    if (!one("[data-part]")) return; // a sentence that no merge changes
    const { ok, page } = await fetched(location.href);
    if (!ok) return location.reload();
    for (const part of all("[data-part]", page)) {
      const mine = one(`[data-part="${part.dataset.part}"]`);
      // What is being written is not taken away; its form says what its page had shown when it was opened.
      if (!mine || mine.contains(document.activeElement) || one("details[open] form", mine)) continue;
      const isNew = part.dataset.mark ? part.dataset.mark !== mine.dataset.mark : part.textContent !== mine.textContent;
      if (isNew) mine.replaceWith(part);
    }
    tick();
  }

  let renewing = false, again = false;
  async function renew() {
    if (renewing) { again = true; return; }
    renewing = true;
    const began = performance.now();
    try {
      if (one("[data-trouble]")) return location.reload();
      await (board() ? renewBoard() : renewParts());
    } catch {
      again = true; // the server is away for a moment
    } finally {
      one("#then")?.classList.remove("is-busy");
      // On a board where much is going on, a page takes a quarter of its time for looking, at most.
      setTimeout(() => { renewing = false; if (again) { again = false; renew(); } }, inTime() ? 0 : Math.min(2000, 3 * (performance.now() - began)));
    }
  }

  // --- following -----------------------------------------------------------------------------------------------

  let stream = null, position = null;
  const lamp = one("#live");
  const light = (on, words) => {
    lamp.classList.toggle("is-on", on);
    lamp.classList.toggle("is-off", !on);
    one("span", lamp).textContent = words;
  };
  function follow() {
    if (stream || document.hidden || inTime()) return;
    stream = new EventSource(`${base}live`);
    stream.addEventListener("moved", (event) => {
      const moved = JSON.parse(event.data);
      light(!moved.trouble, moved.trouble ? "cannot be read" : "live");
      const shown = one("[data-position]")?.dataset.position;
      const isNew = position === null ? moved.trouble !== null || String(moved.position) !== shown : true;
      position = moved.position;
      if (moved.trouble ? !one("[data-trouble]") : isNew || one("[data-trouble]")) renew();
    });
    stream.onerror = () => light(false, "not connected");
  }
  function rest() {
    stream?.close();
    stream = null;
    position = null;
  }
  // A page that nobody sees holds no connection; a browser has only six for a server.
  document.addEventListener("visibilitychange", () => (document.hidden ? rest() : follow()));
  addEventListener("pagehide", rest);
  addEventListener("pageshow", follow);

  // --- time ----------------------------------------------------------------------------------------------------

  const slider = one("#slider");
  function goTo(position) {
    const then = one("#then");
    const there = Math.max(Number(then.dataset.first), Math.min(Number(then.dataset.last), position));
    const words = new URLSearchParams(location.search);
    words.set("at", there);
    slider.value = there;
    history.replaceState(null, "", `?${words}`);
    then.classList.add("is-busy");
    renew();
  }
  if (slider) {
    slider.addEventListener("input", () => goTo(Number(slider.value)));
    for (const link of all("#then a[rel]")) {
      link.addEventListener("click", (event) => { event.preventDefault(); goTo(Number(slider.value) + (link.rel === "next" ? 1 : -1)); });
    }
    light(true, "past");
  }

  // --- filters -------------------------------------------------------------------------------------------------

  const form = one("form.filters");
  if (form) {
    const send = () => {
      const words = new URLSearchParams([...new FormData(form)].filter(([, value]) => value !== ""));
      if (slider && form.elements.at) words.set("at", slider.value);
      const address = `${base}${words.size ? `?${words}` : ""}`;
      if (form.contains(document.activeElement) && document.activeElement.type === "search") {
        history.replaceState(null, "", address);
        if (slider) goTo(Number(slider.value)); else renew();
      } else {
        location.assign(address);
      }
    };
    form.addEventListener("change", (event) => { if (event.target.type !== "search") send(); });
    form.addEventListener("submit", (event) => { event.preventDefault(); send(); });
    let typing = 0;
    one("#search")?.addEventListener("input", () => { clearTimeout(typing); typing = setTimeout(send, 180); });
  }

  // --- keys ----------------------------------------------------------------------------------------------------

  const keys = one("#keys");
  function step(dx, dy) {
    const titles = all(".card .title");
    if (!titles.length) return false;
    const here = document.activeElement?.closest?.(".card");
    if (!here) { titles[0].focus(); return true; }
    const from = here.getBoundingClientRect();
    if (dy) {
      const cards = all(".card", here.closest(".column"));
      const next = cards[cards.indexOf(here) + dy];
      if (next) one(".title", next).focus();
      return true;
    }
    const columns = all(".column", here.closest(".columns")).filter((column) => one(".card", column));
    const column = columns[columns.indexOf(here.closest(".column")) + dx];
    if (!column) return true;
    const near = all(".card", column).reduce((best, card) => {
      const far = Math.abs(card.getBoundingClientRect().top - from.top);
      return !best || far < best.far ? { card, far } : best;
    }, null);
    one(".title", near.card).focus();
    near.card.scrollIntoView({ block: "nearest", inline: "nearest" });
    return true;
  }
  const go = (address) => location.assign(base + address);
  const does = {
    ArrowLeft: () => step(-1, 0), ArrowRight: () => step(1, 0), ArrowUp: () => step(0, -1), ArrowDown: () => step(0, 1),
    "/": () => { const search = one("#search"); if (!search) return false; search.focus(); search.select(); return true; },
    "?": () => { keys.open ? keys.close() : keys.showModal(); return true; },
    ",": () => { if (slider) goTo(Number(slider.value) - 1); return Boolean(slider); },
    ".": () => { if (slider) goTo(Number(slider.value) + 1); return Boolean(slider); },
    b: () => { go(""); return true; }, g: () => { go("graph"); return true; }, p: () => { go("?at=now"); return true; }, h: () => { go("health"); return true; },
    n: () => { const link = one("#new"); if (link) link.click(); return Boolean(link); },
    c: () => { const text = one("#comment-text"); if (text) { text.closest("details").open = true; text.focus(); } return Boolean(text); },
    Escape: () => {
      if (keys.open) return false;
      if (document.activeElement && document.activeElement !== document.body) { document.activeElement.blur(); return true; }
      if (root.dataset.page !== "board") { go(""); return true; }
      return false;
    },
  };
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const writing = event.target.closest?.("input:not([type=checkbox], [type=range]), textarea, select");
    if (writing && event.key !== "Escape") return;
    if (event.target === slider && event.key.startsWith("Arrow")) return;
    const deed = does[event.key];
    if (deed && deed()) event.preventDefault();
  });

  tick();
  setInterval(tick, 1000);
  follow();
})();
