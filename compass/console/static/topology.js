// The picture of the landscape, beyond its links: arrows walk from node to node along the lines, and it is kept as PNG.
(() => {
  "use strict";
  const nodes = () => [...document.querySelectorAll(".picture svg a[id^='node-']")];
  const at = (node) => {
    const box = node.querySelector("rect.box");
    return { x: +box.getAttribute("x"), y: +box.getAttribute("y"), width: +box.getAttribute("width"), height: +box.getAttribute("height") };
  };
  const near = (first, second) => Math.abs(first - second) < 1;

  /** The nodes at the other end of each line that begins or ends at a node. */
  function joined(node, all) {
    const { x, y, width, height } = at(node);
    const middle = y + height / 2;
    const found = [];
    for (const path of document.querySelectorAll(".picture svg path")) {
      const [, x1, y1, x2, y2] = /^M([\d.]+) ([\d.]+)C.* ([\d.]+) ([\d.]+)$/.exec(path.getAttribute("d")).map(Number);
      if (near(x1, x + width) && near(y1, middle)) found.push([x2, y2]);
      if (near(x2, x) && near(y2, middle)) found.push([x1, y1]);
    }
    return all.filter((other) => {
      const box = at(other);
      return found.some(([toX, toY]) => (near(toX, box.x) || near(toX, box.x + box.width)) && near(toY, box.y + box.height / 2));
    });
  }

  function next(node, key) {
    const all = nodes();
    const { x, y } = at(node);
    const nearest = (several) => several.sort((one, two) => Math.abs(at(one).y - y) - Math.abs(at(two).y - y))[0];
    switch (key) {
      case "ArrowUp": return nearest(all.filter((one) => near(at(one).x, x) && at(one).y < y));
      case "ArrowDown": return nearest(all.filter((one) => near(at(one).x, x) && at(one).y > y));
      case "ArrowLeft": return nearest(joined(node, all).filter((one) => at(one).x < x));
      case "ArrowRight": return nearest(joined(node, all).filter((one) => at(one).x > x));
      case "Home": return all.sort((one, two) => at(one).x - at(two).x || at(one).y - at(two).y)[0];
    }
    return null;
  }

  document.addEventListener("keydown", (event) => {
    const node = event.target.closest?.(".picture svg a");
    if (!node || event.ctrlKey || event.metaKey || event.altKey) return;
    if (!/^(Arrow(Up|Down|Left|Right)|Home)$/.test(event.key)) return;
    event.preventDefault();
    next(node, event.key)?.focus();
  });

  // --- as PNG: the browser draws what the plane writes as SVG ---
  const MOST_PIXELS = 12000;
  document.addEventListener("click", async (event) => {
    const button = event.target.closest("[data-png]");
    if (!button) return;
    button.disabled = true;
    try {
      const image = new Image();
      image.src = button.dataset.png;
      await image.decode();
      const scale = Math.min(2, MOST_PIXELS / Math.max(image.naturalWidth, image.naturalHeight));
      const canvas = document.createElement("canvas");
      canvas.width = Math.round(image.naturalWidth * scale);
      canvas.height = Math.round(image.naturalHeight * scale);
      canvas.getContext("2d").drawImage(image, 0, 0, canvas.width, canvas.height);
      const blob = await new Promise((done) => canvas.toBlob(done, "image/png"));
      const link = Object.assign(document.createElement("a"), { href: URL.createObjectURL(blob), download: "topology.png" });
      link.click();
      setTimeout(() => URL.revokeObjectURL(link.href), 10000);
    } finally {
      button.disabled = false;
    }
  });
})();
