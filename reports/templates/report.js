(() => {
  const read = (id) => JSON.parse(document.getElementById(id).textContent);
  const specs = read("specs");
  const drawings = read("drawings");
  const root = document.documentElement;
  const look = {
    background: "transparent",
    font: "system-ui, sans-serif",
    view: { stroke: "var(--line)" },
    title: { color: "var(--ink)", anchor: "start", fontSize: 13 },
    header: { labelColor: "var(--ink)", titleColor: "var(--quiet)", labelLimit: 600 },
    axis: {
      labelColor: "var(--ink)", titleColor: "var(--quiet)", gridColor: "var(--line)", domainColor: "var(--line)",
      tickColor: "var(--line)", labelLimit: 170, titleFontWeight: "normal",
    },
    legend: { labelColor: "var(--ink)", titleColor: "var(--quiet)", symbolSize: 90, symbolOpacity: 1 },
  };
  // Beside the plot there is room for the axis; what a kind needs for it.
  const margins = { occupancy: 75, ecdf: 60, flow: 60, forest: 150, response: 150, overlap: 150, throughput: 150, trend: 60 };

  const rows = (columns) => {
    const names = Object.keys(columns);
    const column = (name) => (columns[name].of ? columns[name].at.map((n) => columns[name].of[n]) : columns[name]);
    const values = names.map(column);
    return (values[0] || []).map((_, n) => Object.fromEntries(names.map((name, m) => [name, values[m][n]])));
  };
  const prune = (part, has) => {
    const wanted = (inner) => !(inner.name || "").startsWith("only_") || has(inner.name.split("_")[1]);
    if (part.layer) part.layer = part.layer.filter(wanted);
    for (const inner of [...(part.vconcat || []), ...(part.spec ? [part.spec] : [])]) prune(inner, has);
  };
  // What the specification leaves open is filled by the settings of the chart: names of units, and the scale.
  const fill = (spec, settings) => {
    let text = JSON.stringify(spec);
    for (const [name, value] of Object.entries(settings)) text = text.replaceAll(`{${name}}`, value);
    if (settings.scale === "linear") text = text.replaceAll('"type":"log"', '"type":"linear","zero":false');
    return JSON.parse(text);
  };
  // A title that is longer than its axis goes on in the next line.
  const wrap = (part, most) => {
    for (const [name, value] of Object.entries(part)) {
      if (name === "title" && typeof value === "string" && value.length > most) {
        const lines = [""];
        for (const word of value.split(" ")) {
          if (lines.at(-1) && lines.at(-1).length + word.length >= most) lines.push("");
          lines[lines.length - 1] += (lines.at(-1) ? " " : "") + word;
        }
        part[name] = lines;
      } else if (value && typeof value === "object" && name !== "tooltip") wrap(value, most);
    }
  };
  const fit = (spec, kind, room) => {
    const width = Math.max(60, Math.min(room, 1100) - (margins[kind] || 0));
    const resize = (part) => {
      if (typeof part.width === "number") part.width = width;
      for (const inner of part.vconcat || []) resize(inner);
      if (part.spec) resize(part.spec);
    };
    if (kind in margins) resize(spec);
    if (kind === "levels") {
      const columns = room < 600 ? 2 : 4;
      Object.assign(spec, { columns });
      spec.spec.width = Math.max(60, room / columns - 62);
    }
    wrap(spec, Math.max(24, Math.floor(width / 6.5)));
    return spec;
  };
  // The chart library is unpacked when the first chart is drawn.
  let library;
  const load = async () => {
    const packed = Uint8Array.from(atob(document.getElementById("vega").textContent), (sign) => sign.charCodeAt(0));
    const text = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
    (0, eval)(await new Response(text).text());
  };
  let busy = 0;
  const draw = async (place, room = place.clientWidth) => {
    const drawing = drawings[place.dataset.drawing];
    const spec = fit(fill(specs[drawing.kind], drawing.settings), drawing.kind, room);
    spec.config = structuredClone(look);
    spec.config.axis.labelLimit = room < 500 ? 110 : 170;
    spec.datasets = {};
    for (const [name, table] of Object.entries(drawing.tables)) spec.datasets[name] = rows(table);
    prune(spec, (field) => Object.values(spec.datasets).some((table) => table.some((row) => row[field])));
    place.dataset.drawn = "begun";
    place.dataset.place = place.clientWidth;
    busy += 1;
    try {
      await (library ??= load());
      const tooltip = { theme: "custom", disableDefaultStyle: true, maxDepth: 1 };
      await vegaEmbed(place, spec, { actions: false, renderer: "svg", ast: false, tooltip });
      const drawn = place.querySelector("svg");
      if (drawn) drawn.setAttribute("aria-hidden", "true");
      const excess = drawn ? Math.ceil(Number(drawn.getAttribute("width"))) - place.clientWidth : 0;
      if (excess > 0 && room === place.clientWidth) return draw(place, room - excess - 2);
      place.dataset.drawn = "yes";
    } catch (error) {
      place.dataset.drawn = "failed";
      place.textContent = "This chart could not be drawn: " + error;
      console.error(error);
    } finally {
      busy -= 1;
      root.dataset.busy = busy;
    }
  };
  const hidden = (place) => place.closest("details:not([open])") || place.closest(".hidden");
  const watch = new IntersectionObserver((seen) => {
    for (const one of seen) {
      if (one.isIntersecting && !one.target.dataset.drawn && !hidden(one.target)) draw(one.target);
    }
  }, { rootMargin: "400px" });
  const places = [...document.querySelectorAll(".chart")];
  for (const place of places) watch.observe(place);

  // A page that has become wider or narrower has its charts drawn again.
  let waiting;
  window.addEventListener("resize", () => {
    clearTimeout(waiting);
    waiting = setTimeout(() => {
      for (const place of places) {
        if (place.dataset.drawn === "yes" && Number(place.dataset.place) !== place.clientWidth && !hidden(place)) draw(place);
      }
    }, 200);
  });

  // Theme: the system's, or the reader's own choice for as long as the page is open.
  const theme = document.getElementById("theme");
  const themes = ["system", "light", "dark"];
  theme?.addEventListener("click", () => {
    const next = themes[(themes.indexOf(root.dataset.theme || "system") + 1) % themes.length];
    if (next === "system") delete root.dataset.theme; else root.dataset.theme = next;
    theme.textContent = "theme: " + next;
  });

  // Filters: a text and a state; what is filtered away is gone from the matrix and from the evidence.
  const filter = document.getElementById("filter");
  const states = [...document.querySelectorAll(".filters button[data-state]")];
  const lines = [...document.querySelectorAll("tr[data-row]")];
  let state = "";
  const sift = () => {
    const words = filter.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const line of lines) {
      const text = line.dataset.text.toLowerCase();
      const wanted = (!state || line.dataset.state === state) && words.every((word) => text.includes(word));
      line.classList.toggle("hidden", !wanted);
      document.getElementById("s-" + line.dataset.row)?.classList.toggle("hidden", !wanted);
      shown += wanted;
    }
    document.getElementById("shown").textContent = `${shown} of ${lines.length} shown`;
  };
  if (filter) {
    filter.addEventListener("input", sift);
    for (const button of states) {
      button.addEventListener("click", () => {
        state = button.dataset.state;
        for (const other of states) other.setAttribute("aria-pressed", String(other === button));
        sift();
      });
    }
    document.addEventListener("keydown", (event) => {
      const typing = event.target.matches("input, textarea");
      if (event.key === "/" && !typing) { event.preventDefault(); filter.focus(); }
      if (event.key === "Escape" && event.target === filter) { filter.value = ""; sift(); }
    });
  }

  // The table is sorted by the names, or as it came: the failures first.
  const sorters = [...document.querySelectorAll("[data-sort]")];
  for (const sorter of sorters) {
    sorter.addEventListener("click", () => {
      const by = { name: (one) => one.dataset.row, state: (one) => one.dataset.place.padStart(6, "0") }[sorter.dataset.sort];
      const sorted = [...lines].sort((one, other) => (by(one) < by(other) ? -1 : 1));
      lines[0]?.parentElement.append(...sorted);
      for (const other of sorters) {
        other.closest("th").setAttribute("aria-sort", other === sorter ? "ascending" : "none");
      }
    });
  }

  // A row that has become a card shows the name of its column beside each value.
  for (const table of document.querySelectorAll("table")) {
    const names = [...table.querySelectorAll("thead th")].map((head) => head.textContent.trim());
    if (!names.length) continue;
    for (const row of table.tBodies[0]?.rows || []) {
      for (const cell of row.cells) if (cell.tagName === "TD") cell.dataset.label = names[cell.cellIndex] || "";
    }
  }

  // A term says what it means, to the pointer and to the keyboard.
  const tip = document.getElementById("tip");
  const explain = (event) => {
    const term = event.target.closest?.("a.term");
    const meaning = term && document.getElementById(decodeURIComponent(term.hash.slice(1)))?.querySelector("dd");
    tip.hidden = !meaning;
    if (!meaning) return;
    tip.textContent = meaning.textContent;
    term.setAttribute("aria-describedby", "tip");
    const box = term.getBoundingClientRect();
    tip.style.left = `${Math.max(8, Math.min(box.left, innerWidth - tip.offsetWidth - 8)) + scrollX}px`;
    tip.style.top = `${box.bottom + scrollY + 6}px`;
  };
  if (tip) {
    for (const kind of ["pointerover", "focusin"]) document.addEventListener(kind, explain);
    document.addEventListener("keydown", (event) => { if (event.key === "Escape") tip.hidden = true; });
  }

  const folds = () => document.querySelectorAll("details.scenario");
  document.getElementById("unfold")?.addEventListener("click", () => { for (const fold of folds()) fold.open = true; });
  document.getElementById("fold")?.addEventListener("click", () => { for (const fold of folds()) fold.open = false; });
  document.addEventListener("click", async (event) => {
    const button = event.target.closest?.("[data-copy], [data-link]");
    if (!button) return;
    const link = button.dataset.link;
    if (link) history.replaceState(null, "", "#" + link);  // where nothing may be copied, the address bar has it
    try {
      await navigator.clipboard.writeText(link ? location.href : button.previousElementSibling.textContent);
      button.textContent = "copied";
    } catch {
      if (!link) getSelection().selectAllChildren(button.previousElementSibling);
      button.textContent = link ? "in the address bar" : "selected";
    }
  });

  const unfold = () => {
    const target = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (!target) return;
    for (let fold = target.closest("details"); fold; fold = fold.parentElement.closest("details")) {
      fold.classList.remove("hidden");
      fold.open = true;
    }
    if (target.tagName === "DETAILS") target.querySelector("summary").focus({ preventScroll: true });
    target.scrollIntoView();
  };
  window.addEventListener("hashchange", unfold);
  // The paper shows few charts; `poolproofPrint` waits until they are drawn for its width.
  const onPaper = (place) => place.closest(".answer") || place.closest(".kind-forest");
  window.poolproofPrint = async () => {
    for (const fold of document.querySelectorAll(".scenario.on-paper")) fold.open = true;
    await Promise.all(places.filter((place) => onPaper(place) && !place.dataset.drawn).map((place) => draw(place)));
  };
  window.poolproofDrawAll = async () => {
    for (const fold of document.querySelectorAll("details")) fold.open = true;
    await Promise.all(places.filter((place) => !place.dataset.drawn).map((place) => draw(place)));
  };
  document.getElementById("print")?.addEventListener("click", async () => { await window.poolproofPrint(); window.print(); });
  window.addEventListener("beforeprint", () => { window.poolproofPrint(); });  // the browser's own menu does not wait
  root.dataset.ready = "yes";
  unfold();
})();
