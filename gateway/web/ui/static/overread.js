// Keyboard, slices, theme, live events. Every page works without this file except for scrolling through slices.
(() => {
  "use strict";
  const root = document.documentElement;
  root.classList.add("js");
  const one = (selector, from = document) => from.querySelector(selector);
  const all = (selector, from = document) => [...from.querySelectorAll(selector)];

  // Times: relative ones stay, exact ones become local with their zone.
  const localise = (from) => all("time", from).forEach((time) => {
    const at = new Date(time.dateTime);
    if (Number.isNaN(at.getTime())) return;
    const two = "2-digit";
    const text = at.toLocaleString("sv-SE", { year: "numeric", month: two, day: two, hour: two, minute: two, second: two, timeZoneName: "short" });
    if (time.classList.contains("clock")) time.textContent = text;
    else time.title = text;
  });

  const theme = () => {
    root.dataset.theme = root.dataset.theme === "light" ? "dark" : "light";
    document.cookie = `overread_theme=${root.dataset.theme}; path=/; max-age=31536000; samesite=strict`;
  };

  // Slices
  class Viewer {
    constructor(element) {
      this.element = element;
      this.count = Number(element.dataset.count);
      this.index = Number(element.dataset.index);
      this.picture = element.dataset.picture;
      this.base = one(".stage .base", element);
      this.overlay = one(".stage .overlay", element);
      this.range = one("input[type=range]", element);
      this.where = one(".where", element);
      this.range.addEventListener("input", () => this.show(Number(this.range.value)));
      one(".stage", element).addEventListener("wheel", (event) => {
        event.preventDefault();
        this.show(this.index + Math.sign(event.deltaY));
      }, { passive: false });
      element.addEventListener("click", (event) => {
        const thumb = event.target.closest("[data-slice]");
        const mode = event.target.closest("[data-mode]");
        if (thumb) this.show(Number(thumb.dataset.slice));
        if (mode) this.turn(mode.dataset.mode);
      });
      this.preload();
    }
    url(index, kind) { return `${this.element.dataset.base}/${index}/${kind}`; }
    show(index) {
      this.index = Math.min(Math.max(index, 0), this.count - 1);
      this.base.src = this.url(this.index, "image.png");
      this.overlay.src = this.url(this.index, this.picture);
      this.base.alt = `Slice ${this.index + 1} of ${this.count}`;
      this.range.value = this.index;
      this.where.textContent = `${this.index + 1} / ${this.count}`;
      all("[data-slice]", this.element).forEach((thumb) => {
        if (Number(thumb.dataset.slice) === this.index) thumb.setAttribute("aria-current", "true");
        else thumb.removeAttribute("aria-current");
      });
      this.preload();
    }
    preload() {
      for (const next of [this.index + 1, this.index - 1]) {
        if (next < 0 || next >= this.count) continue;
        new Image().src = this.url(next, "image.png");
        new Image().src = this.url(next, this.picture);
      }
    }
    turn(picture) {
      this.picture = picture;
      this.modes().forEach((b) => b.setAttribute("aria-pressed", String(b.dataset.mode === picture)));
      this.show(this.index);
    }
    modes() { return all("[data-mode]", this.element); }
    next() {
      const pictures = this.modes().map((b) => b.dataset.mode);
      if (pictures.length) this.turn(pictures[(pictures.indexOf(this.picture) + 1) % pictures.length]);
    }
    toggle() {
      const off = this.element.dataset.overlay === "off";
      this.element.dataset.overlay = off ? "on" : "off";
      one("[data-do=overlay]", this.element).setAttribute("aria-pressed", String(off));
    }
  }
  let viewer = null;
  const look = (from) => {
    const element = one("[data-viewer]", from);
    if (element && (!viewer || viewer.element !== element)) viewer = new Viewer(element);
  };

  // Rows
  const step = (by) => {
    const rows = all("[data-rows] .row");
    if (!rows.length) return;
    const at = rows.indexOf(document.activeElement);
    rows[Math.min(Math.max(at < 0 ? 0 : at + by, 0), rows.length - 1)].focus();
  };

  const doThings = {
    theme,
    help: () => { const d = one("#help"); if (d.open) d.close(); else d.showModal(); },
    overlay: () => viewer && viewer.toggle(),
  };
  document.addEventListener("click", (event) => {
    const button = event.target.closest("[data-do], [data-copy], [data-needs-reason]");
    if (!button) return;
    if (button.dataset.do) doThings[button.dataset.do]();
    if (button.dataset.copy) navigator.clipboard.writeText(button.dataset.copy).then(() => { button.title = "Copied"; button.classList.add("done"); });
    if ("needsReason" in button.dataset) {
      const comment = one("#comment");
      if (comment && !comment.value.trim()) {
        event.preventDefault();
        comment.setAttribute("aria-invalid", "true");
        comment.placeholder = "A reason is needed for this decision";
        comment.focus();
      }
    }
  });
  document.addEventListener("change", (event) => {
    const form = event.target.closest("form[data-auto]");
    if (form) form.requestSubmit();
  });
  // Empty filters stay out of the URL.
  document.addEventListener("submit", (event) => {
    if (event.target.method !== "get") return;
    all("input, select", event.target).forEach((field) => { if (!field.value) field.disabled = true; });
  });
  window.addEventListener("pageshow", () => all("form[method=get] :disabled").forEach((field) => { field.disabled = false; }));

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const typing = event.target.closest("input:not([type=range]), textarea, select");
    if (typing) { if (event.key === "Escape") typing.blur(); return; }
    const keys = {
      j: () => step(1), k: () => step(-1), u: () => { location.href = "/"; }, t: theme,
      "/": () => { const f = one("input[type=search]"); if (f) f.focus(); },
      "?": doThings.help,
      "[": () => viewer && viewer.show(viewer.index - 1), "]": () => viewer && viewer.show(viewer.index + 1),
      o: doThings.overlay, b: () => viewer && viewer.next(),
      c: () => { const f = one("#comment"); if (f) f.focus(); },
    };
    const decision = /^[1-5]$/.test(event.key) ? all(".choices button")[Number(event.key) - 1] : null;
    const action = decision ? () => decision.focus() : keys[event.key.toLowerCase()];
    if (!action || (one("#help").open && event.key !== "?")) return;
    event.preventDefault();
    action();
  });

  // Live events: htmx elements listen to caseChanged; a toast says what arrived.
  const live = one("#live");
  const say = (state, text) => { live.dataset.state = state; one("span", live).textContent = text; };
  const toast = (text, href) => {
    const old = one(".toast");
    if (old) old.remove();
    const box = document.createElement("p");
    box.className = "toast";
    box.setAttribute("role", "status");
    const link = document.createElement("a");
    link.href = href;
    link.textContent = text;
    box.append(link);
    document.body.append(box);
    setTimeout(() => box.remove(), 8000);
  };
  const words = { EDIT_ACCEPTED: "An edit was accepted", EDIT_HELD: "An edit is held for you", CONFLICT_HELD: "An object arrived twice with different content" };
  if (live) {
    const source = new EventSource("/api/v1/events");
    source.addEventListener("open", () => say("on", "live"));
    source.addEventListener("error", () => say("lost", "reconnecting"));
    const heard = (event) => {
      const fact = JSON.parse(event.data);
      document.body.dispatchEvent(new CustomEvent("caseChanged", { detail: fact }));
      const own = one("#case");
      if (own && own.dataset.case === fact.case_id) document.body.dispatchEvent(new CustomEvent("thisCaseChanged"));
      if (words[fact.action]) toast(words[fact.action], fact.action === "EDIT_ACCEPTED" ? `/cases/${fact.case_id}` : "/holds");
    };
    source.addEventListener("case", heard);
    source.addEventListener("node", heard);
    window.addEventListener("pagehide", () => source.close());
  }

  localise(document);
  look(document);
  new MutationObserver((changes) => changes.forEach((change) => change.addedNodes.forEach((node) => {
    if (node.nodeType !== 1) return;
    localise(node);
    look(node.matches("[data-viewer]") ? node.parentNode : node);
  }))).observe(document.body, { childList: true, subtree: true });
})();
