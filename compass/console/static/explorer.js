// Documents of the explorer that this browser keeps, as links, which hold no secrets.
(() => {
  "use strict";
  const KEY = "compass.explorer.saved";
  const MOST = 50;
  const here = document.getElementById("saved");
  if (!here) return;
  const list = document.getElementById("saved-list");
  const form = document.getElementById("save");

  function read() {
    try {
      const kept = JSON.parse(localStorage.getItem(KEY) ?? "[]");
      return Array.isArray(kept) ? kept.filter((one) => typeof one?.name === "string" && isOurs(one.link)) : [];
    } catch {
      return null;
    }
  }
  // Whoever could write into the storage must not lead anybody elsewhere.
  const isOurs = (link) => typeof link === "string" && link.startsWith(`${document.documentElement.dataset.root}/explorer?`);
  function write(saved) {
    try {
      localStorage.setItem(KEY, JSON.stringify(saved.slice(0, MOST)));
    } catch {
      return;
    }
    show();
  }
  function show() {
    const saved = read();
    here.hidden = !saved || (!saved.length && !form);
    if (!saved) return;
    list.replaceChildren(...saved.map((one) => {
      const item = document.createElement("li");
      const text = document.createElement("span");
      text.className = "text";
      const link = document.createElement("a");
      link.href = one.link;
      link.textContent = one.name;
      text.append(link);
      const button = document.createElement("button");
      button.className = "button tight danger";
      button.type = "button";
      button.textContent = "Forget";
      button.setAttribute("aria-label", `Forget ${one.name}`);
      button.addEventListener("click", () => write(read().filter((each) => each.name !== one.name)));
      item.append(text, button);
      return item;
    }));
  }
  form?.addEventListener("submit", (event) => {
    event.preventDefault();
    const name = document.getElementById("save-as").value.trim();
    if (!name || form.dataset.link.length > Number(here.dataset.longest)) return;
    write([{ name, link: form.dataset.link }, ...(read() ?? []).filter((one) => one.name !== name)]);
    form.reset();
  });
  show();
})();
