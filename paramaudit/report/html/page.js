"use strict";
// Going into the map of modules and out again, and sorting tables. The page reads well without any of it.
(() => {
  const tree = document.querySelector(".tree");
  if (tree) map(tree);
  for (const table of document.querySelectorAll("table")) sortable(table);

  function map(stage) {
    const crumbs = document.querySelector(".crumbs ol");
    const about = document.querySelector(".about");
    const root = stage.querySelector(".node");
    let current = root;

    const parentOf = (node) => (node === root ? null : node.parentElement.closest(".node"));
    const capOf = (node) => node.querySelector(":scope > .cap");

    function tell(node) {
      const cap = capOf(node);
      about.querySelector("b").textContent = cap.dataset.path;
      about.querySelector("span").textContent = cap.title.slice(cap.title.indexOf("\n") + 1);
    }

    function show(node) {
      for (const old of stage.querySelectorAll(".in")) old.classList.remove("in", "out", "focus");
      const path = [];
      for (let at = node; at; at = parentOf(at)) path.unshift(at);
      for (const at of path) at.classList.add("in", at === node ? "focus" : "out");
      current = node;
      tell(node);
      crumbs.replaceChildren(...path.map(crumb));
    }

    function crumb(node) {
      const item = document.createElement("li");
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = node.dataset.name;
      if (node === current) button.setAttribute("aria-current", "location");
      button.addEventListener("click", () => leave(node));
      item.append(button);
      return item;
    }

    // Out to a module above; the keyboard stands on the part that it came from.
    function leave(node) {
      let from = current;
      while (from !== node && parentOf(from) !== node) from = parentOf(from);
      show(node);
      if (from !== node) capOf(from).focus();
      else crumbs.lastElementChild.firstElementChild.focus();
    }

    stage.addEventListener("click", (event) => {
      const cap = event.target.closest(".cap");
      if (!cap) return;
      let node = cap.parentElement;
      // a pointer goes in by one level, wherever in a module it strikes; a key to the part that has the focus
      while (event.detail && parentOf(node) !== current) node = parentOf(node);
      if (!node.classList.contains("group")) return tell(node);
      show(node);
      const first = node.querySelector(":scope > .kids > .node > .cap");
      if (first) first.focus();
      tell(node);
    });
    stage.addEventListener("focusin", (event) => tell(event.target.parentElement));
    stage.addEventListener("mouseover", (event) => {
      const cap = event.target.closest(".cap");
      if (cap) tell(cap.parentElement);
    });
    stage.addEventListener("mouseleave", () => tell(current));
    stage.addEventListener("keydown", (event) => {
      if (event.key !== "Escape" || current === root) return;
      event.preventDefault();
      leave(parentOf(current));
    });
    show(root);
  }

  function sortable(table) {
    const body = table.tBodies[0];
    const heads = [...table.tHead.rows[0].cells];
    const text = new Intl.Collator("en", { numeric: true });
    heads.forEach((head, column) => {
      const button = head.firstElementChild;
      button.addEventListener("click", () => {
        const numeric = "numeric" in button.dataset;
        const before = head.getAttribute("aria-sort");
        const up = before ? before === "descending" : !numeric; // numbers begin with the largest
        for (const other of heads) other.removeAttribute("aria-sort");
        head.setAttribute("aria-sort", up ? "ascending" : "descending");
        const rows = [...body.rows];
        rows.sort((a, b) => {
          const [x, y] = [a.cells[column], b.cells[column]];
          if (!numeric) return (up ? 1 : -1) * text.compare(x.textContent, y.textContent);
          const [m, n] = [x.dataset.key, y.dataset.key];
          if (m === undefined || n === undefined) return (m === undefined) - (n === undefined); // unknown last
          return (up ? 1 : -1) * (Number(m) - Number(n));
        });
        body.append(...rows);
      });
    });
  }
})();
