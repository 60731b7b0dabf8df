"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const narrow = window.matchMedia("(max-width: 40rem)");
  const PAGE = 100; // rows of a table that are shown at once
  const chosen = {}; // what each chart shows

  // ---- colours ----

  let palette = {};
  const readPalette = () => {
    const style = getComputedStyle(document.documentElement);
    const names = ["surface", "raised", "ink", "muted", "faint", "rule", "accent", "warm", "bad", "band"];
    palette = Object.fromEntries(names.map((name) => ["@" + name, style.getPropertyValue("--" + name).trim()]));
  };
  // Colours stand in styles alone: long columns are passed over.
  const painted = (node) => {
    if (typeof node === "string") return palette[node] || node;
    if (Array.isArray(node)) return node;
    if (node === null || typeof node !== "object") return node;
    return Object.fromEntries(Object.entries(node).map(([key, value]) => [key, painted(value)]));
  };
  const merged = (one, other) => {
    const out = { ...one };
    for (const [key, value] of Object.entries(other || {})) {
      const both = value && typeof value === "object" && !Array.isArray(value) && out[key];
      out[key] = both ? merged(out[key], value) : value;
    }
    return out;
  };

  // ---- charts ----

  const axisStyle = (own) => merged({
    gridcolor: "@rule", zerolinecolor: "@faint", linecolor: "@faint", automargin: true, fixedrange: narrow.matches,
    title: { font: { size: 12, color: "@muted" }, standoff: 8 }, tickfont: { size: 12, color: "@muted" },
  }, own);
  const layoutOf = (chart, more) => {
    const own = merged(chart.layout, more);
    for (const key of Object.keys(own)) if (/^[xy]axis/.test(key)) own[key] = axisStyle(own[key]);
    return painted(merged({
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", font: { family: getComputedStyle(document.body).fontFamily, color: "@ink", size: 12 },
      margin: { l: 44, r: 12, t: 10, b: 40 }, height: chart.height, autosize: true, bargap: 0.25,
      dragmode: narrow.matches ? false : "zoom",
      legend: { orientation: "h", x: 0, y: 1, yanchor: "bottom", font: { size: 12, color: "@muted" }, bgcolor: "rgba(0,0,0,0)" },
      hoverlabel: { bgcolor: "@raised", bordercolor: "@faint", font: { color: "@ink", size: 12 }, align: "left" },
    }, own));
  };
  const choiceOf = (key) => {
    let node = data.charts[key].choices;
    for (const name of chosen[key]) node = node.of[name];
    return node;
  };
  const draw = (key) => {
    const chart = data.charts[key];
    const choice = chart.choosers.length ? choiceOf(key) : null;
    const traces = chart.traces.map((trace, i) => painted(choice ? merged(trace, choice.data[i]) : trace));
    if (choice) document.getElementById(key + "-caption").textContent = choice.caption;
    Plotly.react(key, traces, layoutOf(chart, choice && choice.layout), { displayModeBar: false, responsive: true });
  };
  const boxesOf = (key) => [...document.querySelectorAll(`select[data-chart="${key}"]`)];
  const fill = (key, from) => {
    boxesOf(key).forEach((box, place) => {
      let node = data.charts[key].choices;
      for (let i = 0; i < place; i += 1) node = node.of[chosen[key][i]];
      const names = node.names;
      if (place >= from) {
        const options = names.map((name) => new Option(data.trials[name] || name, name));
        box.replaceChildren(...options);
      }
      if (!names.includes(chosen[key][place])) chosen[key][place] = names[0];
      box.value = chosen[key][place];
    });
  };
  const choose = (key, place, name) => {
    chosen[key][place] = name;
    fill(key, place + 1);
    draw(key);
  };
  // One trial is looked at: charts that show single trials follow each other where they can.
  const follow = (trial) => {
    for (const [key, chart] of Object.entries(data.charts)) {
      if (chart.choosers[0] === "trial" && chosen[key][0] !== trial && chart.choices.names.includes(trial)) choose(key, 0, trial);
    }
  };
  const begin = (key) => {
    const chart = data.charts[key];
    chosen[key] = chart.choosers.map(() => null);
    fill(key, 0);
    for (const box of boxesOf(key)) {
      box.addEventListener("change", () => {
        const place = Number(box.dataset.place);
        choose(key, place, box.value);
        if (chart.choosers[place] === "trial") follow(box.value);
      });
    }
    draw(key);
  };

  // ---- tables ----

  const shown = (value) => {
    if (value === null || value === undefined) return "";
    if (typeof value !== "number" || Number.isInteger(value)) return String(value);
    return String(Number(value.toPrecision(4)));
  };
  // Numbers before text, and what is missing last, whichever the direction.
  const compare = (a, b, sign) => {
    const empty = (value) => value === null || value === "";
    if (empty(a) || empty(b)) return empty(a) - empty(b);
    if (typeof a === "number" && typeof b === "number") return sign * (a - b);
    if (typeof a === "number" || typeof b === "number") return sign * (typeof a === "number" ? -1 : 1);
    return sign * String(a).localeCompare(String(b));
  };
  const cell = (table, value, column) => {
    const made = document.createElement("td");
    made.textContent = shown(value);
    if (typeof value === "number") made.className = "number";
    if (table.words.includes(table.heads[column])) made.className = "words";
    return made;
  };
  const list = (key) => {
    const table = data.tables[key];
    const [body, more, count] = [`#${key} tbody`, `#${key}-more`, `#${key}-count`].map((at) => document.querySelector(at));
    const texts = table.rows.map((row) => row.map(shown).join(" ").toLowerCase());
    const state = { column: -1, sign: 1, words: [], limit: PAGE };
    const render = () => {
      let places = table.rows.map((_, i) => i).filter((i) => state.words.every((word) => texts[i].includes(word)));
      if (state.column >= 0) {
        places = places.sort((a, b) => compare(table.rows[a][state.column], table.rows[b][state.column], state.sign) || a - b);
      }
      body.replaceChildren(...places.slice(0, state.limit).map((i) => {
        const row = document.createElement("tr");
        if (key === "trials-table" && table.rows[i][0] === 1 && table.rows[i][3] !== null) row.className = "best";
        row.append(...table.rows[i].map((value, column) => cell(table, value, column)));
        return row;
      }));
      const rest = places.length - state.limit;
      more.hidden = rest <= 0;
      more.textContent = `Show ${Math.min(rest, 5 * PAGE).toLocaleString("en")} more`;
      const all = table.rows.length.toLocaleString("en");
      count.textContent = places.length === table.rows.length ? `${all} rows` : `${places.length.toLocaleString("en")} of ${all} rows`;
    };
    const heads = table.heads.map((name, column) => {
      const head = document.createElement("th");
      const button = document.createElement("button");
      head.scope = "col";
      button.type = "button";
      button.textContent = name;
      if (table.rows.some((row) => typeof row[column] === "number")) head.className = "number";
      button.addEventListener("click", () => {
        state.sign = state.column === column ? -state.sign : 1;
        state.column = column;
        for (const other of heads) other.removeAttribute("aria-sort");
        head.setAttribute("aria-sort", state.sign > 0 ? "ascending" : "descending");
        render();
      });
      head.append(button);
      return head;
    });
    const line = document.createElement("tr");
    line.append(...heads);
    document.querySelector(`#${key} thead`).append(line);
    document.getElementById(key + "-filter").addEventListener("input", (event) => {
      state.words = event.target.value.toLowerCase().split(/\s+/).filter(Boolean);
      state.limit = PAGE;
      render();
    });
    more.addEventListener("click", () => { state.limit += 5 * PAGE; render(); });
    render();
  };

  readPalette();
  Object.keys(data.tables).forEach(list);
  Object.keys(data.charts).forEach(begin);
  const told = () => { document.documentElement.dataset.scheme = dark.matches ? "dark" : "light"; };
  const again = () => { readPalette(); Object.keys(data.charts).forEach(draw); told(); };
  dark.addEventListener("change", again);
  narrow.addEventListener("change", again);
  told();
})();
