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
  const fit = (spec, kind, room) => {
    const width = Math.max(200, Math.min(room, 1100) - (margins[kind] || 0));
    const resize = (part) => {
      if (typeof part.width === "number") part.width = width;
      for (const inner of part.vconcat || []) resize(inner);
      if (part.spec) resize(part.spec);
    };
    if (kind in margins) resize(spec);
    if (kind === "levels") spec.spec.width = Math.max(80, room / 4 - 58);
    return spec;
  };
  let busy = 0;
  const draw = async (place) => {
    const drawing = drawings[place.dataset.drawing];
    const spec = fit(structuredClone(specs[drawing.kind]), drawing.kind, place.clientWidth);
    spec.config = look;
    spec.datasets = {};
    for (const [name, table] of Object.entries(drawing.tables)) spec.datasets[name] = rows(table);
    prune(spec, (field) => Object.values(spec.datasets).some((table) => table.some((row) => row[field])));
    place.dataset.drawn = "begun";
    place.dataset.room = place.clientWidth;
    busy += 1;
    try {
      const tooltip = { theme: "custom", disableDefaultStyle: true, maxDepth: 1 };
      await vegaEmbed(place, spec, { actions: false, renderer: "svg", ast: false, tooltip });
      const drawn = place.querySelector("svg");
      if (drawn) drawn.setAttribute("aria-hidden", "true");
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
  const drawAll = () => Promise.all(places.filter((place) => !place.dataset.drawn).map(draw));

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

  const folds = () => document.querySelectorAll("details.scenario");
  document.getElementById("unfold")?.addEventListener("click", () => { for (const fold of folds()) fold.open = true; });
  document.getElementById("fold")?.addEventListener("click", () => { for (const fold of folds()) fold.open = false; });
  for (const button of document.querySelectorAll("[data-copy]")) {
    button.addEventListener("click", async () => {
      try {
        await navigator.clipboard.writeText(button.previousElementSibling.textContent);
        button.textContent = "copied";
      } catch {
        getSelection().selectAllChildren(button.previousElementSibling);
        button.textContent = "selected";
      }
    });
  }

  const unfold = () => {
    const target = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (target && target.tagName === "DETAILS") {
      target.classList.remove("hidden");
      target.open = true;
      target.scrollIntoView();
      target.querySelector("summary").focus({ preventScroll: true });
    }
  };
  window.addEventListener("hashchange", unfold);
  // For paper all parts are open and drawn; `poolproofPrint` waits until they are.
  window.poolproofPrint = async () => {
    for (const fold of document.querySelectorAll("details")) fold.open = true;
    await drawAll();
  };
  document.getElementById("print")?.addEventListener("click", async () => { await window.poolproofPrint(); window.print(); });
  window.addEventListener("beforeprint", () => { window.poolproofPrint(); });  // the browser's own menu does not wait
  root.dataset.ready = "yes";
  unfold();
})();
