// What the pages do beyond plain HTML: they stay current, tell when the plane is gone, count down, copy, take keys.
// Everything here adds to links and forms that work without it.
(() => {
  "use strict";
  const root = document.documentElement.dataset.root;
  const find = (selector, within = document) => within.querySelector(selector);
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];

  // --- keeping what a person is doing while the page changes under it ---
  const isHeld = (node) =>
    node instanceof Element && (node.matches("[data-keep]") || (node.matches("form") && node.contains(document.activeElement) && node.matches(":has(input:focus, textarea:focus, select:focus)")));
  const isTouched = (node) => node instanceof Element && node.matches("form[data-touched]");
  document.addEventListener("input", (event) => {
    const form = event.target.closest?.("main form:not([role=search])");
    if (form) form.dataset.touched = "";
  });
  htmx.defineExtension("morph", {
    isInlineSwap: (style) => style === "morph",
    handleSwap: (style, target, fragment) => {
      if (style !== "morph") return false;
      return Idiomorph.morph(target, fragment.children, {
        morphStyle: "outerHTML",
        ignoreActiveValue: true,
        callbacks: {
          beforeNodeMorphed: (old, fresh) => {
            if (isTouched(old) || isHeld(old)) return false;
            if (old instanceof HTMLDetailsElement && fresh instanceof HTMLDetailsElement) fresh.open = old.open;
            return true;
          },
          beforeAttributeUpdated: (name, node) => !(name === "aria-selected" && node.matches("tr")) && !(name === "checked" && node.matches("[data-pick], [data-pick-all]")),
        },
      });
    },
  });

  // --- live ---
  const banner = () => find("#banner");
  let source = null;
  let isLost = false;
  let isOver = false;
  function tell(text, isBack) {
    const shown = banner();
    if (!shown) return;
    shown.textContent = text;
    shown.classList.toggle("back", isBack);
    shown.hidden = !text;
  }
  const refresh = () => find("main[hx-get]") && htmx.trigger("main", "changed");
  let trying = 0;
  function lost() {
    if (isLost) return;
    isLost = true;
    // The page itself: it comes back current, or says that the session went with the plane.
    trying = setInterval(refresh, 2000);
    tell("The plane cannot be reached. This page shows what was true before; trying again…", false);
  }
  function back() {
    if (!isLost) return;
    isLost = false;
    clearInterval(trying);
    tell("Connected again, up to date", true);
    setTimeout(() => !isLost && tell("", false), 2500);
  }
  let again = 0;
  function listen() {
    const topics = document.body.dataset.live;
    if (source || !topics || document.hidden || isOver) return;
    source = new EventSource(`${root}/live?topics=${encodeURIComponent(topics)}`);
    // The first thing that a stream says is `changed`; that the plane is back is known when the page came anew.
    source.addEventListener("changed", refresh);
    // What the page is then told leads to signing in, and back.
    source.addEventListener("ended", refresh);
    source.addEventListener("error", () => {
      if (source.readyState === EventSource.CLOSED) {
        // The browser gives up after an answer that is no stream; a plane that starts gives such ones for a moment.
        stop();
        again = setTimeout(listen, 1500);
        refresh();
      }
      // A stream that ends in time comes back at once, which nobody needs to be told of.
      setTimeout(() => !isOver && (!source || source.readyState !== EventSource.OPEN) && !document.hidden && lost(), 1800);
    });
  }
  function stop() {
    clearTimeout(again);
    source?.close();
    source = null;
  }
  document.addEventListener("visibilitychange", () => (document.hidden ? stop() : listen()));
  addEventListener("pagehide", stop);
  addEventListener("pageshow", listen);
  // A search changes the address and a part of the page; the whole is asked for as it is shown.
  document.addEventListener("htmx:configRequest", ({ detail }) => {
    if (detail.elt.matches("main")) detail.path = location.pathname + location.search;
  });
  document.addEventListener("htmx:sendError", lost);
  document.addEventListener("htmx:beforeOnLoad", (event) => {
    // The session is over. Whoever is typing is not led away: the form is kept when it is sent.
    if (!event.detail.xhr.getResponseHeader("hx-redirect") || !find("main form[data-touched]")) return;
    event.preventDefault();
    isOver = true;
    clearInterval(trying);
    stop();
    tell("Your session is over. Nothing is lost: send the form, sign in, and what you typed is there again.", false);
  });
  document.addEventListener("htmx:beforeSwap", (event) => {
    const { status } = event.detail.xhr;
    const isPage = (event.detail.xhr.getResponseHeader("content-type") ?? "").startsWith("text/html");
    // A page that is gone says so. What is no page of ours, or one about a plane that cannot answer, changes nothing:
    // a plane that starts has none of its pages for a moment.
    event.detail.shouldSwap = isPage && status < 500;
    if (isPage && status < 500) back();
    else lost();
  });

  // --- times ---
  const relative = new Intl.RelativeTimeFormat(document.documentElement.lang, { numeric: "auto" });
  function spoken(date) {
    const seconds = (date - Date.now()) / 1000;
    for (const [unit, length] of [["year", 31536000], ["month", 2592000], ["day", 86400], ["hour", 3600], ["minute", 60]])
      if (Math.abs(seconds) >= length) return relative.format(Math.trunc(seconds / length), unit);
    return Math.abs(seconds) < 5 ? "now" : relative.format(Math.trunc(seconds), "second");
  }
  function times() {
    for (const node of all("time[datetime]")) {
      const date = new Date(node.dateTime);
      if (Number.isNaN(date.getTime())) continue;
      node.title = date.toLocaleString();
      const text = spoken(date);
      if (node.textContent !== text) node.textContent = text;
    }
    for (const node of all("[data-until]")) {
      const seconds = Math.max(0, Math.round((new Date(node.dataset.until) - Date.now()) / 1000));
      const hours = Math.floor(seconds / 3600);
      const text = (hours ? `${hours}:${String(Math.floor(seconds / 60) % 60).padStart(2, "0")}` : `${Math.floor(seconds / 60)}`) + `:${String(seconds % 60).padStart(2, "0")}`;
      if (node.textContent !== text) node.textContent = text;
    }
  }
  setInterval(times, 1000);
  document.addEventListener("htmx:afterSettle", times);

  // --- copying, narrowing while typing, dialogs ---
  document.addEventListener("click", async (event) => {
    const button = event.target.closest("[data-copy]");
    if (!button) return;
    const said = button.textContent;
    try {
      await navigator.clipboard.writeText(find(button.dataset.copy).textContent);
      button.textContent = "Copied";
    } catch {
      getSelection().selectAllChildren(find(button.dataset.copy));
      button.textContent = "Selected";
    }
    setTimeout(() => (button.textContent = said), 1500);
  });
  document.addEventListener("click", (event) => {
    for (const open of all("details.drop[open]")) if (!open.contains(event.target)) open.open = false;
    if (event.target.closest("[data-help]")) {
      event.preventDefault();
      find("#help").showModal();
    }
  });

  document.addEventListener("change", (event) => {
    if (event.target.matches("[data-pick-all]")) for (const one of all("[data-pick]")) one.checked = event.target.checked;
  });
  document.addEventListener("keydown", (event) => {
    const form = event.key === "Enter" && (event.ctrlKey || event.metaKey) && event.target.closest?.("form[data-run]");
    if (form) form.requestSubmit();
  });

  // --- what a link leads to is open; a file that is too long is not sent ---
  function reveal() {
    const target = location.hash.length > 1 && document.getElementById(location.hash.slice(1));
    if (!(target instanceof HTMLDetailsElement)) return;
    target.open = true;
    target.scrollIntoView({ block: "start" });
  }
  addEventListener("hashchange", reveal);
  document.addEventListener("change", (event) => {
    const { files, dataset } = event.target;
    if (!files || !dataset.mostBytes) return;
    const isTooLong = [...files].some((one) => one.size > Number(dataset.mostBytes));
    event.target.setCustomValidity(isTooLong ? `The file is longer than ${Math.floor(dataset.mostBytes / 1048576)} MiB` : "");
    event.target.reportValidity();
  });

  // --- keys ---
  let isGoing = false;
  // What is folded away is not reached.
  const rows = () => all("table.list tbody tr, .needs li").filter((row) => find("a[href]", row)?.checkVisibility());
  function step(by) {
    const list = rows();
    if (!list.length) return;
    const at = list.findIndex((row) => row.contains(document.activeElement));
    find("a[href]", list[Math.max(0, Math.min(list.length - 1, at + by))]).focus();
  }
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || find("dialog[open]")) return;
    // The field of a dialog that was closed may keep the focus for a moment; nobody types into it.
    if (event.target.matches("input, textarea, select") && !event.target.closest("dialog:not([open])")) {
      if (event.key === "Escape") event.target.blur();
      return;
    }
    if (event.key === "Escape") for (const open of all("details.drop[open]")) open.open = false;
    if (isGoing) {
      isGoing = false;
      all(".nav a[data-key]").find((link) => link.dataset.key === event.key)?.click();
      return;
    }
    switch (event.key) {
      case "g": isGoing = true; setTimeout(() => (isGoing = false), 1200); break;
      case "j": step(1); break;
      case "k": step(-1); break;
      case "?": find("#help")?.showModal(); break;
      case "/": {
        const box = find("main [role=search] input:not([type=hidden])");
        if (box) { event.preventDefault(); box.focus(); box.select(); }
      }
    }
  });

  document.addEventListener("DOMContentLoaded", () => {
    times();
    listen();
    reveal();
    find(".nav a[aria-current]")?.scrollIntoView({ block: "nearest" });
    find(".tabs a[aria-current]")?.scrollIntoView({ block: "nearest", inline: "center" });
    const form = find("form[data-submit]");
    if (form) form.requestSubmit();
  });
})();
