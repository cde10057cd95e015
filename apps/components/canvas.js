// A sheet to draw one digit on. Strokes are kept as points: the screen shows them as SVG in the theme's colours,
// and what Python gets is a 280x280 PNG in black on white, whatever the theme or the size on the screen.

const SIZE = 280; // the sheet's own units, = pixels of the PNG
const WIDTH = { pen: 18, eraser: 36 };
const NEAR = 1.5; // points closer than this to the last one add noise, not shape
const FOLLOW = 0.7; // how far the line follows the pointer at each point: less is smoother and lags more
const PEN_ERASER_BUTTON = 32; // the bit of PointerEvent.buttons for the other end of a pen

// Quadratic curves from middle to middle of the points, with the points as handles: smooth at any speed.
function outline(points) {
  const [first, ...rest] = points;
  let path = `M${first[0]} ${first[1]}`;
  if (rest.length === 0) return `${path}l0.01 0`; // a tap leaves a dot
  rest.forEach(([x, y], index) => {
    const next = rest[index + 1];
    path += next ? `Q${x} ${y} ${(x + next[0]) / 2} ${(y + next[1]) / 2}` : `L${x} ${y}`;
  });
  return path;
}

function toPng(strokes) {
  if (!strokes.some((stroke) => stroke.tool === "pen")) return null; // an empty sheet has no picture
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = SIZE;
  const context = canvas.getContext("2d");
  context.fillStyle = "white";
  context.fillRect(0, 0, SIZE, SIZE);
  context.lineCap = context.lineJoin = "round";
  for (const { tool, points } of strokes) {
    context.strokeStyle = tool === "pen" ? "black" : "white";
    context.lineWidth = WIDTH[tool];
    context.stroke(new Path2D(outline(points)));
  }
  return canvas.toDataURL("image/png");
}

export default function ({ parentElement, data, setStateValue }) {
  const board = parentElement.querySelector(".board");
  const layer = parentElement.querySelector(".strokes");
  const undo = parentElement.querySelector(".undo");
  const clear = parentElement.querySelector(".clear");
  const tools = parentElement.querySelectorAll(".tool");

  // This function runs again whenever Python draws the page: the sheet itself remembers what is on it.
  // Only a new sheet takes the strokes that Python kept from an earlier visit.
  if (!board.sheet) board.sheet = { strokes: data?.strokes ?? [], tool: "pen", current: null };
  const sheet = board.sheet;

  const show = () => {
    while (layer.childElementCount > sheet.strokes.length) layer.lastElementChild.remove();
    sheet.strokes.forEach(({ tool, points }, index) => {
      let path = layer.children[index];
      if (!path) {
        path = document.createElementNS("http://www.w3.org/2000/svg", "path");
        layer.append(path);
      }
      path.setAttribute("class", tool);
      path.setAttribute("stroke-width", WIDTH[tool]);
      path.setAttribute("d", outline(points));
    });
    board.classList.toggle("used", sheet.strokes.length > 0);
    undo.disabled = clear.disabled = sheet.strokes.length === 0;
    tools.forEach((button) => button.setAttribute("aria-pressed", button.dataset.tool === sheet.tool));
  };
  const send = () => setStateValue("drawing", { png: toPng(sheet.strokes), strokes: sheet.strokes });

  const place = (event) => {
    const box = board.getBoundingClientRect();
    const at = (offset, length) => Math.round(Math.min(1, Math.max(0, offset / length)) * SIZE * 10) / 10;
    return [at(event.clientX - box.left, box.width), at(event.clientY - box.top, box.height)];
  };
  const extend = (event) => {
    const points = sheet.current.points;
    const last = points[points.length - 1];
    const [x, y] = place(event);
    if (Math.hypot(x - last[0], y - last[1]) < NEAR) return;
    points.push([last[0] + FOLLOW * (x - last[0]), last[1] + FOLLOW * (y - last[1])].map((v) => Math.round(v * 10) / 10));
  };
  const finish = (event) => {
    if (!sheet.current || event.pointerId !== sheet.pointer) return;
    sheet.current = null;
    show();
    send();
  };
  const drop = (keep) => {
    if (sheet.current || sheet.strokes.length === 0) return;
    sheet.strokes = sheet.strokes.slice(0, keep);
    show();
    send();
  };

  board.onpointerdown = (event) => {
    if (!event.isPrimary || sheet.current || (event.pointerType === "mouse" && event.button !== 0)) return;
    event.preventDefault();
    board.classList.add("pointed"); // focus is for Ctrl+Z; a ring around it is for the keyboard alone
    board.focus({ preventScroll: true });
    board.setPointerCapture(event.pointerId); // the stroke goes on when the pointer leaves the sheet
    sheet.pointer = event.pointerId;
    sheet.current = { tool: event.buttons & PEN_ERASER_BUTTON ? "eraser" : sheet.tool, points: [place(event)] };
    sheet.strokes = [...sheet.strokes, sheet.current];
    show();
  };
  board.onpointermove = (event) => {
    if (!sheet.current || event.pointerId !== sheet.pointer) return;
    const events = event.getCoalescedEvents?.() ?? [];
    (events.length > 0 ? events : [event]).forEach(extend);
    show();
  };
  board.onpointerup = finish;
  board.onpointercancel = finish;
  board.onblur = () => board.classList.remove("pointed");
  board.onkeydown = (event) => {
    if ((event.ctrlKey || event.metaKey) && event.key.toLowerCase() === "z") {
      event.preventDefault();
      drop(-1);
    }
  };
  undo.onclick = () => drop(-1);
  clear.onclick = () => drop(0);
  tools.forEach((button) => {
    button.onclick = () => {
      sheet.tool = button.dataset.tool;
      show();
    };
  });

  show();
}
