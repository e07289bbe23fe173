// What is wrong with the layout of the page: what scrolls, is cut off, lies beyond the edge, or overlaps.
const wrong = [];
const name = (node) => node.tagName + (node.id ? "#" + node.id : "") + (node.className && node.className.baseVal === undefined ? "." + node.className : "") + ": " + node.textContent.trim().slice(0, 40);
if (document.documentElement.scrollWidth > innerWidth) wrong.push("the page scrolls sideways: " + document.documentElement.scrollWidth);
const shown = (node) => node.checkVisibility() && !node.closest("svg, script, style, .skip, thead");
for (const node of document.querySelectorAll("body *")) {
  if (!shown(node)) continue;
  const style = getComputedStyle(node);
  if (["auto", "scroll"].includes(style.overflowX) && node.scrollWidth > node.clientWidth) wrong.push("scrolls inside: " + name(node));
  if (style.overflowX !== "visible" && node.scrollWidth > node.clientWidth + 1) wrong.push("cut: " + name(node));
  const box = node.getBoundingClientRect();
  if (box.width && box.right > innerWidth + 1) wrong.push("beyond the edge: " + Math.round(box.right) + " " + name(node));
}
for (const svg of document.querySelectorAll(".chart svg")) {
  const box = svg.getBoundingClientRect(), room = svg.closest(".chart").getBoundingClientRect();
  if (box.width > room.width + 1) wrong.push("chart wider than its place: " + svg.closest(".chart").dataset.drawing + " " + box.width + ">" + room.width);
}
const overlaps = (one, other) => one.left < other.right - 1 && other.left < one.right - 1 && one.top < other.bottom - 1 && other.top < one.bottom - 1;
for (const parent of document.querySelectorAll("body, header, main, section, .tiles, .answer, .twins, .pair, .body, ul, dl, tr, summary, .strip, .filters")) {
  if (!shown(parent)) continue;
  const boxes = [...parent.children].filter((node) => shown(node) && !["sticky","absolute","fixed"].includes(getComputedStyle(node).position) && getComputedStyle(node).display !== "inline").map((node) => [node, node.getBoundingClientRect()]).filter(([, box]) => box.width && box.height);
  for (let n = 1; n < boxes.length; n++) if (overlaps(boxes[n - 1][1], boxes[n][1])) wrong.push("overlap: " + name(boxes[n - 1][0]) + " / " + name(boxes[n][0]));
}
return wrong;
