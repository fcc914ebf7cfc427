// What takes longer than a moment to come shows its outline: the page that a link leads to, or the part of a page that a
// form asks for. What is sent shows a bar. Nothing here keeps anything waiting.
(() => {
  "use strict";
  const AFTER = 200;
  /** By then it was a file, or the browser says itself that nobody answers. */
  const MOST = 15000;
  const FILE = /(\.\w+|\/raw)$/;
  const main = () => document.querySelector("main");
  let timer = 0;

  function outline() {
    const shown = document.createElement("div");
    shown.className = "outline";
    shown.setAttribute("role", "status");
    shown.innerHTML = '<span class="visually-hidden">Loading</span><i></i><i></i><i></i>';
    main().append(shown);
    // The page that is left changes no more.
    Object.assign(main().dataset, { loading: "", keep: "" });
    main().setAttribute("aria-busy", "true");
  }
  function end() {
    clearTimeout(timer);
    delete document.body.dataset.sending;
    if (!main() || !("loading" in main().dataset)) return;
    delete main().dataset.loading;
    delete main().dataset.keep;
    main().removeAttribute("aria-busy");
    main().querySelector(".outline")?.remove();
  }
  function begin(show) {
    end();
    timer = setTimeout(() => {
      show();
      timer = setTimeout(end, MOST);
    }, AFTER);
  }

  document.addEventListener("click", (event) => {
    const link = event.target.closest?.("a[href]");
    if (!link || event.defaultPrevented || event.button || event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return;
    // A link of a picture has no parts of its own.
    const to = new URL(link.getAttribute("href"), location.href);
    const isHere = to.pathname === location.pathname && to.search === location.search && to.hash;
    if (isHere || to.origin !== location.origin || FILE.test(to.pathname) || link.hasAttribute("target") || link.hasAttribute("download")) return;
    begin(outline);
  });
  document.addEventListener("submit", (event) => {
    const method = event.target.getAttribute("method");
    if (event.defaultPrevented || method === "dialog") return;
    begin(method === "post" ? () => (document.body.dataset.sending = "") : outline);
  });
  addEventListener("pageshow", end);
  addEventListener("pagehide", end);

  // --- parts of a page, asked for by a form; that a page keeps itself current is not seen ---
  const parts = new Map();
  document.addEventListener("htmx:beforeRequest", ({ detail }) => {
    if (!detail.elt.matches("form") || detail.target === main()) return;
    clearTimeout(parts.get(detail.target));
    parts.set(detail.target, setTimeout(() => {
      detail.target.dataset.waiting = "";
      detail.target.setAttribute("aria-busy", "true");
    }, AFTER));
  });
  document.addEventListener("htmx:afterRequest", ({ detail }) => {
    clearTimeout(parts.get(detail.target));
    parts.delete(detail.target);
    delete detail.target.dataset.waiting;
    detail.target.removeAttribute("aria-busy");
  });
})();
