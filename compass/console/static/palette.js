// The palette above the page: Ctrl K opens it, arrows walk through what was found, Enter opens it, Escape leads back.
// Without this, its links lead to the same as a page.
(() => {
  "use strict";
  const find = (selector, within = document) => within.querySelector(selector);
  const palette = () => find("#palette");
  const field = () => find("#palette-typed");
  const links = () => [...palette().querySelectorAll(".hits a")];
  let isChosen = false;

  function open() {
    if (!palette() || palette().open) return;
    isChosen = false;
    field().value = "";
    // Where the focus was is kept by the dialog, which gives it back.
    palette().showModal();
    field().focus();
    htmx.trigger(field().form, "wanted");
  }
  const isCurrent = () => find(".hits", palette())?.dataset.typed === field().value.trim();
  function choose() {
    isChosen = !isCurrent();
    if (!isChosen) links()[0]?.click();
  }

  document.addEventListener("click", (event) => {
    if (event.target.closest("[data-palette]")) {
      event.preventDefault();
      open();
    } else if (event.target === palette()) {
      palette().close();
    } else {
      // A link that leads to another place of the same page loads nothing anew.
      const link = event.target.closest("#palette .hits a");
      if (link?.hash && link.pathname === location.pathname) palette().close();
    }
  });
  document.addEventListener("submit", (event) => {
    if (!event.target.closest("#palette")) return;
    event.preventDefault();
    choose();
  });
  document.addEventListener("htmx:afterSwap", (event) => {
    if (event.detail.target.id === "palette-found" && isChosen && isCurrent()) choose();
  });
  document.addEventListener("keydown", (event) => {
    if ((event.ctrlKey || event.metaKey) && event.key === "k") {
      event.preventDefault();
      open();
    }
    if (event.key === "/" && !event.target.matches("input, textarea, select") && !find("main [role=search] input, dialog[open]")) {
      event.preventDefault();
      open();
    }
    if (!palette()?.open || !["ArrowDown", "ArrowUp"].includes(event.key)) return;
    event.preventDefault();
    const all = [field(), ...links()];
    const at = all.indexOf(document.activeElement) + (event.key === "ArrowDown" ? 1 : -1);
    all[Math.max(0, Math.min(all.length - 1, at))].focus();
  });
})();
