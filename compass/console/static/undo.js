// The undo window: what removes something is held back for ten seconds in view, in which one press takes it back. Nothing
// is sent before they are over, so leaving the page, closing it and a plane that is gone remove nothing. Without this the
// form is sent as soon as it is confirmed.
(() => {
  "use strict";
  const SECONDS = 10;
  const SPOKEN = new Set([5, 2]);
  let pending = null;
  let sent = null;
  let spoken = null;

  const made = (name, words, classes = "") => Object.assign(document.createElement(name), { textContent: words, className: classes });
  const seconds = (left) => `${left} second${left === 1 ? "" : "s"}`;

  function begin(form, submitter) {
    const what = form.dataset.undo;
    const bar = made("section", "", "undo");
    const text = made("p", "");
    const count = made("b", SECONDS, "countdown");
    const undo = made("button", "Undo", "button main");
    const now = made("button", "Remove now", "button danger");
    bar.setAttribute("aria-label", "About to be removed");
    undo.type = now.type = "button";
    undo.setAttribute("aria-describedby", "undo-text");
    text.id = "undo-text";
    text.append(`Removing ${what} in `, count, " s. Nothing is removed before, nor when you leave this page.");
    bar.append(text, undo, now, made("i", ""));
    document.body.append(bar);
    // What is confirmed stays as it was confirmed, also while the page changes under it.
    const wasTouched = "touched" in form.dataset;
    form.inert = true;
    form.dataset.touched = "";
    pending = { form, submitter, bar, count, what, wasTouched, left: SECONDS, timer: setInterval(tick, 1000) };
    undo.addEventListener("click", () => end(`${what}: kept. Nothing was removed.`));
    now.addEventListener("click", send);
    spoken.textContent = `${what} will be removed in ${seconds(SECONDS)}. Undo is focused.`;
    undo.focus();
  }

  // Counted in ticks and not by the clock: a machine that slept has not shown them.
  function tick() {
    pending.left -= 1;
    pending.count.textContent = pending.left;
    if (SPOKEN.has(pending.left)) spoken.textContent = `${seconds(pending.left)} left`;
    if (!pending.form.isConnected) end(`${pending.what}: the page changed meanwhile. Nothing was removed.`);
    else if (pending.left <= 0) send();
  }

  function release() {
    const held = pending;
    pending = null;
    clearInterval(held.timer);
    held.bar.remove();
    held.form.inert = false;
    return held;
  }

  function end(why) {
    const held = release();
    if (!held.wasTouched) delete held.form.dataset.touched;
    spoken.textContent = why;
    (held.submitter?.isConnected ? held.submitter : document.querySelector("main")).focus();
  }

  function send() {
    const { form, submitter } = release();
    sent = form;
    form.requestSubmit(submitter?.isConnected ? submitter : null);
  }

  document.addEventListener("submit", (event) => {
    const form = event.target;
    if (event.defaultPrevented || !form.matches("form[data-undo]") || form === sent) return;
    event.preventDefault();
    if (pending) pending.bar.querySelector("button").focus();
    else begin(form, event.submitter);
  });
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && pending) end(`${pending.what}: kept. Nothing was removed.`);
  });
  // What is gone need not be asked how it is, until the next page is there.
  document.addEventListener("htmx:beforeRequest", (event) => sent && event.detail.target.matches("main") && event.preventDefault());
  // A page that is left is kept by the browser as it is, and may come back.
  addEventListener("pagehide", () => pending && release());
  addEventListener("pageshow", () => (sent = null));
  document.addEventListener("DOMContentLoaded", () => {
    spoken = made("p", "", "visually-hidden");
    spoken.id = "undo-spoken";
    spoken.setAttribute("role", "status");
    document.body.append(spoken);
  });
})();
