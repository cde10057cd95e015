// The plane with the examples of two classes, the line that learns to part them, and the steps in which it does; in an
// editable plane the visitor places the examples with clicks.
// Blue circles are class 0, orange squares class 1; a red ring is a mistake, a dashed ring the example just learnt.

const SVG = "http://www.w3.org/2000/svg";
const SIDE = 400;
const MOVE = 220; // ms that the line takes to its new place
const STEP = 550; // ms from step to step while it plays
const MOST = 60; // examples: enough to see, few enough to learn at once

function element(parent, name, attributes, text) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== undefined) made.textContent = text;
  parent.append(made);
}

const netInput = ([w1, w2, b], x, y) => w1 * x + w2 * y + b;

// The part of the square [low, high]^2 where the net input is above 0, as corners in order (Sutherland-Hodgman).
function halfPlane(weights, low, high) {
  const square = [[low, low], [high, low], [high, high], [low, high]];
  const kept = [];
  square.forEach((from, index) => {
    const to = square[(index + 1) % 4];
    const [before, after] = [netInput(weights, ...from), netInput(weights, ...to)];
    if (before > 0) kept.push(from);
    if (before > 0 !== after > 0) {
      const part = before / (before - after);
      kept.push([from[0] + part * (to[0] - from[0]), from[1] + part * (to[1] - from[1])]);
    }
  });
  return kept;
}

export default function ({ parentElement, data, setStateValue }) {
  const part = (name) => parentElement.querySelector(`.${name}`);
  const plane = part("plane");
  const { low, high, editable, label } = data;
  const place = ([x, y]) => [((x - low) / (high - low)) * SIDE, ((high - y) / (high - low)) * SIDE];

  // This function runs again whenever Python draws the page, so the plane itself remembers what the visitor did: the
  // examples in an editable plane, the brush, and the step. Other steps are shown from their end, what has been learnt;
  // Play then goes back to the beginning.
  if (!plane.placed) Object.assign(plane, { placed: data.points, positive: false });
  // Clicks do not wait for Python: until it has learnt from the last one, there is nothing but the examples.
  const places = (points) => JSON.stringify(points.map(({ x, y, positive }) => [x, y, positive]));
  const current = (points) => places(points) === places(data.points);
  const lesson = JSON.stringify(data.steps);
  if (plane.lesson !== lesson) {
    clearInterval(plane.timer);
    Object.assign(plane, { lesson, step: data.steps.length - 1, timer: null, line: null });
  }
  let points, known, steps, hidden, region, last;
  const take = () => {
    points = editable ? plane.placed : data.points;
    known = current(points);
    steps = known ? data.steps : [];
    hidden = known ? data.hidden : [];
    region = known ? data.region : null;
    last = steps.length - 1;
  };

  const brushes = parentElement.querySelectorAll(".brush");
  const drawLines = (weights) => {
    const sides = weights && !region ? halfPlane(weights, low, high) : [];
    part("half").setAttribute("points", sides.map((corner) => place(corner).join(",")).join(" "));
    part("lines").replaceChildren();
    const stroke = ([w1, w2, b], name) => {
      const length = Math.hypot(w1, w2);
      if (length === 0) return; // without weights there is no line
      const foot = [(-b * w1) / length ** 2, (-b * w2) / length ** 2];
      const reach = (4 * (high - low) + Math.hypot(...foot)) / length;
      const [x1, y1] = place([foot[0] - w2 * reach, foot[1] + w1 * reach]);
      const [x2, y2] = place([foot[0] + w2 * reach, foot[1] - w1 * reach]);
      element(part("lines"), "line", { class: name, x1, y1, x2, y2 });
    };
    if (weights) stroke(weights, "decision");
    hidden.forEach((unit) => stroke(unit, "hidden-unit"));
  };

  const moveLine = (line) => {
    const from = plane.line;
    plane.line = line;
    cancelAnimationFrame(plane.frame);
    if (!from || !line || matchMedia("(prefers-reduced-motion: reduce)").matches) return drawLines(line);
    const start = performance.now();
    const frame = (now) => {
      const share = Math.min(1, Math.max(0, (now - start) / MOVE));
      drawLines(line.map((end, index) => from[index] + (end - from[index]) * share * (2 - share)));
      if (share < 1) plane.frame = requestAnimationFrame(frame);
    };
    plane.frame = requestAnimationFrame(frame);
  };

  const show = () => {
    take();
    const step = steps[plane.step];
    if (region) part("region").setAttribute("href", region);
    else part("region").removeAttribute("href");
    part("hint").textContent = points.length === 0 ? "Click to place examples" : "";
    part("tools").hidden = !editable;
    part("undo").disabled = part("clear").disabled = points.length === 0;
    brushes.forEach((brush) => brush.setAttribute("aria-pressed", brush.dataset.positive === String(plane.positive)));
    part("points").replaceChildren();
    points.forEach(({ x, y, positive, wrong }, index) => {
      const [cx, cy] = place([x, y]);
      const mistaken = step ? netInput(step.line, x, y) > 0 !== positive : wrong && known;
      part("points").append(document.createElementNS(SVG, "g"));
      const group = part("points").lastElementChild;
      group.setAttribute("class", `point ${positive ? "positive" : "negative"}`);
      if (positive) element(group, "rect", { class: "mark", x: cx - 7, y: cy - 7, width: 14, height: 14, rx: 2 });
      else element(group, "circle", { class: "mark", cx, cy, r: 7.5 });
      if (mistaken) element(group, "circle", { class: "wrong", cx, cy, r: 13 });
      if (step && step.now === index) element(group, "circle", { class: "now", cx, cy, r: 18 });
    });
    moveLine(step ? step.line : null);
    part("steps").hidden = last < 1;
    if (last < 1) return;
    part("slider").max = last;
    part("slider").value = plane.step;
    part("count").textContent = `${plane.step} of ${last}`;
    part("caption").textContent = step.text;
    part("play").textContent = plane.timer ? "Pause" : "Play";
    part("back").disabled = plane.step === 0;
    part("forward").disabled = plane.step === last;
  };
  const stop = () => {
    clearInterval(plane.timer);
    plane.timer = null;
  };
  const go = (step) => {
    plane.step = Math.min(last, Math.max(0, step));
    show();
  };

  plane.setAttribute("aria-label", label);
  plane.classList.toggle("editable", editable);
  part("axes").replaceChildren();
  for (let tick = Math.ceil(low + 0.4); tick <= high - 0.4; tick += 1) {
    const [x, y] = place([tick, tick]);
    const number = String(tick).replace("-", "\u2212");
    element(part("axes"), "line", { x1: x, x2: x, y1: 0, y2: SIDE });
    element(part("axes"), "line", { x1: 0, x2: SIDE, y1: y, y2: y });
    element(part("axes"), "text", { x: x + 4, y: SIDE - 6 }, number);
    element(part("axes"), "text", { x: 5, y: y - 4 }, number);
  }
  show();

  part("slider").oninput = (event) => {
    stop();
    go(Number(event.target.value));
  };
  part("back").onclick = () => {
    stop();
    go(plane.step - 1);
  };
  part("forward").onclick = () => {
    stop();
    go(plane.step + 1);
  };
  part("play").onclick = () => {
    if (plane.timer) {
      stop();
      return show();
    }
    plane.timer = setInterval(() => plane.tick(), STEP);
    go(plane.step === last ? 0 : plane.step + 1);
  };
  plane.tick = () => {
    if (!plane.isConnected || plane.step >= last - 1) stop(); // the visitor left the page, or this is the last one
    go(plane.step + 1);
  };

  const keep = (placed) => {
    stop();
    plane.placed = placed;
    show();
    setStateValue("placed", placed);
  };
  plane.onclick = (event) => {
    if (!editable || plane.placed.length >= MOST) return;
    const box = plane.getBoundingClientRect();
    const at = (share) => Math.round((low + share * (high - low)) * 100) / 100;
    const x = at((event.clientX - box.left) / box.width);
    const y = at(1 - (event.clientY - box.top) / box.height);
    keep([...plane.placed, { x, y, positive: plane.positive, wrong: false }]);
  };
  part("undo").onclick = () => keep(plane.placed.slice(0, -1));
  part("clear").onclick = () => keep([]);
  brushes.forEach((brush) => {
    brush.onclick = () => {
      plane.positive = brush.dataset.positive === "true";
      show();
    };
  });
}
