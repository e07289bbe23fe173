(() => {
  const specs = JSON.parse(document.getElementById("specs").textContent);
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const look = () => {
    const style = getComputedStyle(document.documentElement);
    const ink = style.getPropertyValue("--ink").trim();
    const quiet = style.getPropertyValue("--quiet").trim();
    const line = style.getPropertyValue("--line").trim();
    return {
      background: "transparent",
      font: "system-ui, sans-serif",
      view: { stroke: line },
      title: { color: ink, anchor: "start", fontSize: 13 },
      axis: { labelColor: ink, titleColor: quiet, gridColor: line, domainColor: line, tickColor: line, labelLimit: 220 },
      legend: { labelColor: ink, titleColor: quiet },
    };
  };
  const draw = (place) => {
    const spec = specs[place.dataset.spec];
    if (!spec) return;
    place.dataset.drawn = "yes";
    vegaEmbed(place, { ...spec, config: look() }, { actions: false, renderer: "svg", ast: false })
      .catch((error) => { place.textContent = "This chart could not be drawn: " + error; console.error(error); });
  };
  const drawVisible = (again) => {
    for (const place of document.querySelectorAll(".chart")) {
      const folded = place.closest("details:not([open])");
      if (!folded && (again || !place.dataset.drawn)) draw(place);
    }
  };
  for (const fold of document.querySelectorAll("details")) fold.addEventListener("toggle", () => drawVisible(false));
  const unfold = () => {
    const target = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (target && target.tagName === "DETAILS") { target.open = true; target.scrollIntoView(); }
  };
  window.addEventListener("hashchange", unfold);
  window.addEventListener("beforeprint", () => {
    for (const fold of document.querySelectorAll("details")) fold.open = true;
    drawVisible(false);
  });
  dark.addEventListener("change", () => drawVisible(true));
  drawVisible(false);
  unfold();
})();
