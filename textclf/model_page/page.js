"use strict";
(() => {
  const figures = JSON.parse(document.getElementById("figures").textContent);
  const share = value => value === null ? "-" : value.toFixed(4);
  const count = value => value.toLocaleString("en");
  const ratio = (part, whole) => whole ? part / whole : null;

  // === Tables ===

  for (const table of document.querySelectorAll("table.sortable")) {
    const headers = [...table.querySelectorAll("thead th")];
    const body = table.tBodies[0];
    headers.forEach((header, column) => header.firstChild.addEventListener("click", () => {
      const isNumber = column > 0;
      const former = header.getAttribute("aria-sort");
      const ascends = former ? former === "descending" : !isNumber;
      headers.forEach(other => other.removeAttribute("aria-sort"));
      header.setAttribute("aria-sort", ascends ? "ascending" : "descending");
      const key = row => {
        const cell = row.cells[column];
        if (!isNumber) return cell.textContent;
        return cell.dataset.v === "" ? NaN : Number(cell.dataset.v);
      };
      const compare = (a, b) => {
        const [x, y] = [key(a), key(b)];
        if (!isNumber) return (ascends ? 1 : -1) * x.localeCompare(y);
        if (isNaN(x) || isNaN(y)) return isNaN(x) - isNaN(y);  // undefined scores come last
        return ascends ? x - y : y - x;
      };
      body.append(...[...body.rows].sort(compare));
    }));
  }

  addEventListener("beforeprint", () => {
    for (const details of document.querySelectorAll("details")) details.open = true;
  });

  // === Explorers ===

  const svgElement = (name, attributes, text) => {
    const element = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    if (text !== undefined) element.textContent = text;
    return element;
  };

  // Draws lines over x in [0, 1]; returns a function that moves the marks.
  const chart = (box, description, xName, lines, low) => {
    const width = 340, height = 190, left = 42, bottom = 32, top = 8, right = 10;
    const x = value => left + value * (width - left - right);
    const y = value => top + (1 - (value - low) / (1 - low)) * (height - top - bottom);
    const svg = svgElement("svg", {
      viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": description });
    for (const tick of [0, 0.25, 0.5, 0.75, 1]) {
      const value = low + tick * (1 - low);
      svg.append(
        svgElement("line", { x1: x(0), x2: x(1), y1: y(value), y2: y(value),
          stroke: "currentColor", "stroke-opacity": 0.15 }),
        svgElement("text", { x: left - 5, y: y(value) + 4, "text-anchor": "end" },
          value.toFixed(low > 0.9 ? 3 : 2)),
        svgElement("text", { x: x(tick), y: height - 17, "text-anchor": "middle" }, tick));
    }
    svg.append(svgElement("text", {
      x: x(0.5), y: height - 3, "text-anchor": "middle" }, xName));
    for (const { xs, ys, colour, dash } of lines) {
      const points = xs.map((value, i) => ys[i] === null ? "" : `${x(value)},${y(ys[i])}`);
      svg.append(svgElement("polyline", { points: points.join(" "), fill: "none",
        stroke: `var(${colour})`, "stroke-width": 2, "stroke-dasharray": dash }));
    }
    const mark = dash => svgElement("line", { y1: top, y2: height - bottom,
      stroke: "currentColor", "stroke-width": 1.5, "stroke-dasharray": dash });
    const current = mark("none"), used = mark("2 3");
    svg.append(used, current);
    box.replaceChildren(svg);
    const move = (line, value) => {
      line.setAttribute("visibility", value === null ? "hidden" : "visible");
      if (value !== null) for (const name of ["x1", "x2"]) line.setAttribute(name, x(value));
    };
    return (now, inUse) => { move(current, now); move(used, inUse); };
  };

  const nearest = (values, wanted) => values.reduce(
    (best, value, i) => Math.abs(value - wanted) < Math.abs(values[best] - wanted) ? i : best, 0);

  const fillRows = (body, rows) => body.replaceChildren(...rows.map(cells => {
    const row = document.createElement("tr");
    cells.forEach((text, i) => {
      const cell = document.createElement(i ? "td" : "th");
      if (!i) cell.scope = "row";
      cell.textContent = text;
      row.append(cell);
    });
    return row;
  }));

  const exploreThresholds = box => {
    const [select, slider, number, back] =
      ["select", "[type=range]", "[type=number]", "button"].map(s => box.querySelector(s));
    const [body, output, used, pre, words] =
      ["tbody", "output", ".used", "pre", ".command-words"].map(s => box.querySelector(s));
    figures.classes.forEach((entry, i) => select.append(new Option(entry.name, i)));
    let entry, move, start;
    const at = i => {
      const [n, r, support] = [entry.n[i], entry.r[i], entry.support];
      return [
        ["precision", share(ratio(r, n))], ["precision at least (90 %)", share(entry.pb[i])],
        ["recall", share(ratio(r, support))], ["recall at least (90 %)", share(entry.rb[i])],
        ["F1", share(2 * r / Math.max(n + support, 1))], ["predicted", count(n)],
        ["false positives", count(n - r)], ["false negatives", count(support - r)],
      ];
    };
    const show = i => {
      slider.value = i;
      const threshold = entry.t[i];
      number.value = Number(threshold.toFixed(4));
      slider.setAttribute("aria-valuetext", threshold.toFixed(4));
      output.textContent = Number(threshold.toFixed(4));
      const usedRows = start === null ? null : at(start);
      fillRows(body, at(i).map((cells, k) => [...cells, usedRows ? usedRows[k][1] : ""]));
      move(threshold, start === null ? null : entry.t[start]);
      const bound = entry.rb[i];
      pre.hidden = bound <= 0;
      pre.textContent = `${entry.command} --recall ${bound}`;
      words.textContent = bound <= 0
        ? "No example of the class is found at this threshold."
        : "This command sets the highest threshold that finds as many examples of the class"
          + (figures.multi_label ? "; every label gets the same target:" : ":");
    };
    const choose = () => {
      entry = figures.classes[select.value];
      slider.max = entry.t.length - 1;
      // Without a threshold, the most probable of two classes is predicted: from 0.5 on.
      const isSet = entry.in_use !== null;
      start = isSet ? entry.in_use : nearest(entry.t, 0.5);
      const value = Number(entry.t[start].toFixed(4));
      used.textContent = isSet ? `in use: ${value}` : "most probable class: 0.5";
      back.textContent = isSet ? `Back to ${value}, in use` : "Back to 0.5";
      const line = (ys, colour, dash) => ({ xs: entry.t, ys, colour, dash });
      move = chart(box.querySelector(".chart"), `Precision, recall and F1 of ${entry.name}`,
        "threshold", [
          line(entry.r.map((r, i) => ratio(r, entry.n[i])), "--c0", "none"),
          line(entry.r.map(r => ratio(r, entry.support)), "--c1", "7 3"),
          line(entry.r.map((r, i) => 2 * r / Math.max(entry.n[i] + entry.support, 1)),
            "--c2", "2 2"),
        ], 0);
      const key = document.createElement("p");
      key.className = "key";
      [["precision", "--c0", "solid"], ["recall", "--c1", "dashed"], ["F1", "--c2", "dotted"]]
        .forEach(([name, colour, style]) => {
          const sample = document.createElement("i");
          sample.style.borderColor = `var(${colour})`;
          sample.style.borderTopStyle = style;
          key.append(sample, name);
        });
      key.append(" (dotted vertical line: in use)");
      box.querySelector(".chart").append(key);
      show(start);
    };
    select.addEventListener("change", choose);
    slider.addEventListener("input", () => show(Number(slider.value)));
    number.addEventListener("change", () => show(nearest(entry.t, Number(number.value))));
    back.addEventListener("click", () => show(start));
    choose();
    box.hidden = false;
  };

  const exploreCoverage = box => {
    const [slider, number, body, pre] =
      ["[type=range]", "[type=number]", "tbody", "pre"].map(s => box.querySelector(s));
    const { share: shares, accuracy, below, size, command, in_use: inUse } = figures.coverage;
    const last = shares.length - 1;  // the slider goes from low to high, the figures down
    slider.max = last;
    const isUsed = i => inUse !== null && below[i] >= inUse;
    const lowest = Math.min(...accuracy.filter(value => value !== null));
    const low = Math.min(0.99, Math.floor(lowest * 20) / 20);
    const move = chart(box.querySelector(".chart"), "Accuracy of the answers by their share",
      "share of answered texts", [{ xs: shares, ys: accuracy, colour: "--c0", dash: "none" }], low);
    const show = i => {
      slider.value = last - i;
      const percent = Number((100 * shares[i]).toFixed(1));
      number.value = percent;
      slider.setAttribute("aria-valuetext", `${percent} %`);
      const answered = Math.round(shares[i] * size);
      fillRows(body, [
        ["answered", `${percent} %, ${count(answered)} of ${count(size)}`],
        ["accuracy of the answers", share(accuracy[i])],
        ["wrong answers", count(Math.round(answered * (1 - accuracy[i])))],
        ["lowest confidence of an answer", below[i] ? share(below[i]) : "any"],
        ["in use", inUse === null ? "never abstains" : `abstains below ${inUse.toFixed(4)}`],
      ]);
      move(shares[i], null);
      pre.textContent = shares[i] === 1 ? command
        : `${command} --coverage ${Math.floor(shares[i] * 1e4) / 1e4}`;
    };
    slider.addEventListener("input", () => show(last - Number(slider.value)));
    number.addEventListener("change", () => show(nearest(shares, Number(number.value) / 100)));
    const used = shares.findIndex((_, i) => isUsed(i));
    show(inUse === null || used < 0 ? 0 : used);
    box.hidden = false;
  };

  for (const [id, explore] of [
    ["threshold-explorer", exploreThresholds], ["coverage-explorer", exploreCoverage]]) {
    const box = document.getElementById(id);
    if (box) explore(box);
  }
})();
