// A Plotly figure that is redrawn in place: zoom stays, nothing is mounted again.
const INK = "#010203"; // as in components/figures/style.py

function loadPlotly(address) {
  window.loupePlotly ??= new Promise((resolve, reject) => {
    const script = document.createElement("script");
    script.src = address;
    script.onload = () => resolve(window.Plotly);
    script.onerror = () => reject(new Error("plotly.js did not load"));
    document.head.append(script);
  });
  return window.loupePlotly;
}

// Colours come from the person's theme, so that one figure serves light and dark.
function readTheme(element) {
  const style = getComputedStyle(element);
  const ink = style.getPropertyValue("--st-text-color").trim() || "#222";
  const probe = document.createElement("i");
  probe.style.color = `color-mix(in srgb, ${ink} 15%, transparent)`;
  element.append(probe);
  const line = getComputedStyle(probe).color;
  probe.remove();
  return {
    ink,
    line,
    paper: style.getPropertyValue("--st-background-color").trim() || "#fff",
    font: style.getPropertyValue("--st-font").trim() || "sans-serif",
  };
}

function inTheme(layout, { ink, line, paper, font }, scale) {
  const themed = { ...layout, paper_bgcolor: paper, plot_bgcolor: paper };
  themed.font = { family: font, ...layout.font, size: scale * (layout.font?.size ?? 13), color: ink };
  for (const name of Object.keys(layout).filter((name) => /^[xy]axis/.test(name))) {
    themed[name] = { gridcolor: line, zerolinecolor: line, linecolor: line, ...layout[name] };
  }
  themed.shapes = (layout.shapes ?? []).map((shape) =>
    shape.line?.color === INK ? { ...shape, line: { ...shape.line, color: ink } } : shape
  );
  return themed;
}

// Lines that stand where a control stands are of the theme's ink as well.
const inked = (trace, { ink }) => {
  const own = ["line", "marker"].filter((part) => trace[part]?.color === INK);
  const filled = trace.fillcolor === INK ? { fillcolor: ink } : {};
  return { ...trace, ...filled, ...Object.fromEntries(own.map((part) => [part, { ...trace[part], color: ink }])) };
};

const NARROW = 480; // pixels: a phone
const NO_BAR = 330; // pixels of width below which a colour bar takes too much
const LEGEND_SAMPLE = 50; // pixels of a name's line and the gaps beside it
const LABEL = 12; // pixels that a slanted or stacked tick label needs
const LINE = 17; // pixels of a further line of a title
const SMALLEST = 11; // pixels of a letter
const LARGE = 1.6; // letters on a projector, or in a figure that fills the window
const ROOMY = { width: 34, height: 18 }; // pixels of a cell that has room for its number
const MOST_NUMBERS = 400; // cells

// No letter is smaller than can be read; on a projector all are larger.
function sized(node, scale, name = "") {
  if (Array.isArray(node)) return node.map((item) => (item && typeof item === "object" ? sized(item, scale) : item));
  if (!node || typeof node !== "object" || ArrayBuffer.isView(node)) return node;
  const made = {};
  for (const [key, value] of Object.entries(node)) {
    const isPlain = !value || typeof value !== "object" || ["z", "x", "y", "text", "customdata", "frames"].includes(key);
    made[key] = isPlain ? value : sized(value, scale, key);
  }
  if (/font$/.test(name) && typeof made.size === "number") made.size = scale * Math.max(SMALLEST, made.size);
  return made;
}

// A title that its axis is too short for goes on in further lines.
function wrapped(text, room, letter) {
  if (typeof text !== "string" || text.includes("<") || wordWidth(text) * letter <= room) return text;
  const lines = [""];
  for (const word of text.split(" ")) {
    const longer = lines.at(-1) ? `${lines.at(-1)} ${word}` : word;
    if (lines.at(-1) && wordWidth(longer) * letter > room) lines.push(word);
    else lines[lines.length - 1] = longer;
  }
  return lines.join("<br>");
}
function withTitles(layout, { clientWidth, clientHeight }, scale) {
  const { l = 60, r = 12, t = 30, b = 40 } = layout.margin ?? {};
  const letter = 1.12 * scale; // of a title, beside a name in a legend
  const margin = { ...layout.margin };
  const axes = Object.entries(layout).filter(([name, axis]) => /^[xy]axis/.test(name) && axis?.title?.text);
  const made = axes.map(([name, axis]) => {
    const [from, to] = axis.domain ?? [0, 1];
    const room = (to - from) * (name[0] === "x" ? clientWidth - l - r : clientHeight - t - b);
    const text = wrapped(axis.title.text, room, letter);
    const side = { top: "t", bottom: "b", left: "l", right: "r" }[axis.side ?? (name[0] === "x" ? "bottom" : "left")];
    const more = LINE * (String(text).split("<br>").length - 1);
    if (more && !axis.title.text.includes("<") && margin[side]) margin[side] = Math.max(margin[side], layout.margin[side] + more);
    return [name, { ...axis, title: { ...axis.title, text } }];
  });
  return { ...layout, margin, ...Object.fromEntries(made) };
}

// Where letters grow, so does the room that they have around the axes.
function roomier(layout, scale) {
  if (scale === 1) return layout;
  const margin = Object.fromEntries(Object.entries(layout.margin ?? {}).map(([side, size]) => [side, 1.15 * size]));
  const axes = Object.entries(layout).filter(([name]) => /^[xy]axis/.test(name));
  const measured = axes.map(([name, axis]) => [name, { ...axis, automargin: true }]);
  return { ...layout, margin, ...Object.fromEntries(measured) };
}

// A heatmap whose cells are large enough shows their numbers, unless it moves just now.
function numbered(trace, layout, { clientWidth, clientHeight }, scale) {
  if (trace.type !== "heatmap" || trace.texttemplate || trace.hoverinfo === "none" || trace.meta === "picture") return trace;
  const [rows, columns] = trace.z?.shape ? String(trace.z.shape).split(",").map(Number) : [trace.z?.length, trace.z?.[0]?.length];
  if (!columns || rows * columns > MOST_NUMBERS) return trace;
  const share = (axis) => (axis?.domain ? axis.domain[1] - axis.domain[0] : 1);
  const at = (letter) => layout[(trace[`${letter}axis`] ?? letter).replace(letter, `${letter}axis`)];
  const { l = 60, r = 60, t = 30, b = 40 } = layout.margin ?? {};
  const bar = trace.showscale === false ? 0 : 70;
  const width = ((clientWidth - l - r - bar) * share(at("x"))) / columns;
  const height = ((clientHeight - t - b) * share(at("y"))) / rows;
  if (width < ROOMY.width * scale || height < ROOMY.height * scale) return trace;
  return { ...trace, texttemplate: "%{z:.2f}", textfont: { size: SMALLEST * scale } };
}

// Lines of words that the cells of a row are too narrow for are left out; hover still says them.
function writtenIn(trace, width) {
  if (!trace.texttemplate || !Array.isArray(trace.text?.[0])) return trace;
  const letter = 0.55 * (trace.textfont?.size ?? 12);
  const lines = (word) => word.split("<br>");
  const letters = (line) => line.replace(/<[^>]*>/g, "").replace(/&\w+;/g, "x").length;
  const text = trace.text.map((row) => {
    const fits = (at) => letter * Math.max(...row.map((word) => letters(lines(word)[at] ?? ""))) * row.length < 0.85 * width;
    return row.map((word) => lines(word).filter((_, at) => fits(at)).join("<br>"));
  });
  if (!trace.hovertemplate?.includes("%{text}")) return { ...trace, text };
  const hovertemplate = trace.hovertemplate.replace("%{text}", "%{customdata}");
  return { ...trace, text, customdata: trace.text, hovertemplate };
}

// A scrubber's slider leaves its buttons the room that they need.
function besideButtons({ sliders }) {
  if (!sliders) return {};
  return { sliders: sliders.map((slider) => ({ ...slider, x: 0.38, len: 0.62 })) };
}

// A legend below takes as many rows as its names need in the width that there is.
const wordWidth = (text) => [...text].reduce((sum, letter) => sum + (letter > "\u2e7f" ? 13 : 7), 0);
function underneath({ legend, margin, showlegend }, traces, room) {
  const names = traces.filter(({ name, showlegend: isShown }) => name && isShown !== false).map(({ name }) => wordWidth(name));
  if (legend?.yref !== "container" || showlegend === false || !names.length) return {};
  const across = Math.max(1, Math.floor(room / (Math.max(...names) + LEGEND_SAMPLE)));
  return { margin: { ...margin, b: 52 + 20 * Math.ceil(names.length / across) } };
}

// Where there is little room, fewer token labels and no colour bar; hover still names every cell.
function inRoom(traces, layout, element, scale) {
  const { clientWidth: width, clientHeight: height } = element;
  const thinned = (axis, room) => {
    if (axis?.type !== "category" || !Array.isArray(axis.tickvals)) return axis;
    const step = Math.ceil((axis.tickvals.length * LABEL * scale) / room);
    const keep = (_, index) => index % step === 0;
    return { ...axis, tickvals: axis.tickvals.filter(keep), ticktext: axis.ticktext.filter(keep) };
  };
  // Of the width, an axis has its domain's share: figures may stand side by side in one.
  const across = (room) =>
    Object.fromEntries(
      Object.entries(layout)
        .filter(([name]) => name.startsWith("xaxis"))
        .map(([name, axis]) => {
          const [from, to] = axis?.domain ?? [0, 1];
          return [name, thinned(axis, room * (to - from))];
        })
    );
  layout = { ...layout, yaxis: thinned(layout.yaxis, 0.8 * height) };
  traces = traces.map((trace) => writtenIn(trace, width));
  if (width >= NARROW) return { traces, layout: { ...layout, ...across(0.75 * width) } };
  return {
    traces: traces.map((trace) => (width < NO_BAR && /^(heatmap|contour)$/.test(trace.type) ? { ...trace, showscale: false } : trace)),
    layout: { ...layout, ...underneath(layout, traces, 0.75 * width), ...besideButtons(layout), ...across(0.6 * width) },
  };
}

// What moves in a trace while a slider is dragged: cells, the points of lines and markers, lengths of bars.
const WITH_POINTS = { text: 0, customdata: 0 };
const MOVING = {
  heatmap: { z: 0 },
  contour: { z: 0 },
  scatter: { x: 0, y: 0, ...WITH_POINTS },
  v: { y: 0, ...WITH_POINTS },
  h: { x: 0, ...WITH_POINTS },
};
function kindOf({ type, orientation, stackgroup, error_x, error_y }) {
  if (stackgroup || error_x || error_y) return null;
  if (type === "bar") return orientation ?? "v";
  return type ?? "scatter";
}

// What a figure is apart from what moves, as text to compare.
function anatomyOf(traces, layout) {
  return JSON.stringify([layout, traces.map((trace) => ({ ...trace, ...MOVING[kindOf(trace)] }))]);
}

// Numbers as they were sent: in a list, or packed, in rows where they have a shape.
const NUMBERS = { f4: Float32Array, f8: Float64Array, u1: Uint8Array, i1: Int8Array, i2: Int16Array, i4: Int32Array };
function unpacked(sent) {
  if (!sent?.bdata) return sent;
  const bytes = Uint8Array.from(atob(sent.bdata), (letter) => letter.charCodeAt(0));
  if (!NUMBERS[sent.dtype]) return null;
  const values = Array.from(new NUMBERS[sent.dtype](bytes.buffer));
  const [rows, columns] = (sent.shape ?? "").split(",").map(Number);
  if (!columns) return values;
  return Array.from({ length: rows }, (_, row) => values.slice(row * columns, (row + 1) * columns));
}

// The rows of a heatmap; what is no number is undefined, as Plotly keeps it.
const cells = (z) => unpacked(z).map((row) => row.map((value) => (Number.isNaN(value) ? undefined : value ?? undefined)));

// Places along an axis whose range stays; null where Plotly has to work them out itself.
function along(axis, values) {
  if (!axis || axis.autorange || !Array.isArray(values)) return null;
  if (!values.every((value) => value === null || typeof value === "number")) return null;
  const known = (value) => (Number.isFinite(value) ? value : undefined);
  if (axis.type === "linear") return values.map(known);
  if (axis.type === "log") return values.map((value) => known(value > 0 ? Math.log10(value) : NaN));
  return null;
}

const axisOf = (layout, trace, letter) => layout[(trace[`${letter}axis`] ?? letter).replace(letter, `${letter}axis`)];
const same = (one, other) => JSON.stringify(one) === JSON.stringify(other);

// What a trace is to show, as changes to its points and to itself; null where it needs all of Plotly.react.
function moved(element, trace, before, points) {
  const { _fullLayout: layout } = element;
  const kind = kindOf(trace);
  if (points[0]?.trace?.visible !== true) return null;
  if (kind === "heatmap" || kind === "contour") {
    const z = cells(trace.z);
    if (kind === "contour" && z.flat().includes(undefined)) return null; // Plotly fills its holes
    return { z };
  }
  const letters = kind === "scatter" ? ["x", "y"] : [kind === "h" ? "x" : "y"];
  if (kind !== "scatter" && (trace.base !== undefined || !["group", "overlay"].includes(layout.barmode))) return null;
  const part = {};
  for (const name of [...letters, "text", "customdata"]) {
    if (same(trace[name], before[name])) continue;
    const values = unpacked(trace[name]);
    if (!Array.isArray(values) || values.length !== points.length) return null;
    part[name] = values;
  }
  part.places = {};
  for (const letter of letters.filter((name) => part[name])) {
    const axis = axisOf(layout, trace, letter);
    const places = along(axis, part[letter]);
    if (!places || (kind !== "scatter" && (axis.type !== "linear" || places.includes(undefined)))) return null;
    part.places[letter] = places;
  }
  return part;
}

function put(trace, points, { places, ...arrays }) {
  const [first] = points;
  Object.assign(first.trace, arrays);
  if (arrays.z) first.z = arrays.z;
  points.forEach((point, at) => {
    for (const letter in places) {
      point[letter] = places[letter][at];
      if (trace.type !== "bar") continue;
      point.s = point[letter];
      point.s1 = point[letter] = point.b + point.s;
    }
    if (arrays.text) point.tx = arrays.text[at];
    if (arrays.customdata) point.data = arrays.customdata[at];
  });
}

// Axes, margins and colour bar are most of the work of Plotly.react. Where only cells and points
// moved, they are put in the place of the old ones and Plotly paints its traces, nothing else.
function putInPlace(element, traces, texts, before) {
  const parts = traces.map((trace, index) => {
    if (texts[index] === before[index]) return {};
    return MOVING[kindOf(trace)] ? moved(element, trace, JSON.parse(before[index]), element.calcdata[index]) : null;
  });
  if (parts.includes(null)) return false;
  parts.forEach((part, index) => {
    if (!Object.keys(part).length) return;
    put(traces[index], element.calcdata[index], part);
    const { places, ...arrays } = part;
    Object.assign(element.data[index], arrays);
  });
  for (const module of element._fullLayout._basePlotModules) module.plot(element);
  return true;
}

const AT_ONCE = { mode: "immediate", frame: { duration: 0, redraw: false }, transition: { duration: 0 } };
const REST_MS = 250; // without a further frame after the slider was let go, or when playing has ended

// A change of theme shows as a new class on the app's own element.
function onThemeChange(element, act) {
  const observer = new MutationObserver(act);
  const app = element.closest("[data-testid=stApp]") ?? document.body;
  observer.observe(app, { attributes: true, attributeFilter: ["class"] });
  return () => observer.disconnect();
}

// On a stage a figure takes its share of the height there is (shell's style sheet); elsewhere its own.
function takeRoom(element, { room, height }) {
  element.classList.toggle("staged", Boolean(room));
  if (!room) {
    element.style.height = `${height}px`;
    return;
  }
  element.style.setProperty("--share", room.share);
  element.style.setProperty("--reserved", `${room.reserved}px`);
  element.style.setProperty("--least", `${room.least}px`);
}

const isFull = (element) => element.parentElement.classList.contains("loupe-full");
const isLarge = (element) => innerWidth > 640 && (isFull(element) || document.documentElement.classList.contains("loupe-present"));

// One figure fills the window, with the rail's sliders below it; once more, or Escape, and it is back.
function fill(element, on) {
  for (const other of document.querySelectorAll(".loupe-full")) other.classList.remove("loupe-full");
  element.parentElement.classList.toggle("loupe-full", on);
  document.documentElement.classList.toggle("loupe-filled", on);
}

// What a click chooses, the arrow keys reach: they move from point to point, Enter chooses.
function byKeys(element, own, choose) {
  element.tabIndex = own.clickable ? 0 : -1;
  element.onkeydown = (event) => {
    const step = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] }[event.key];
    const curve = (element.calcdata ?? []).findIndex(([first]) => first?.trace?.hoverinfo !== "skip");
    if (!own.clickable || curve < 0 || !(step || event.key === "Enter") || event.target !== element) return;
    event.preventDefault();
    const { trace, z } = element.calcdata[curve][0];
    const rows = z ? z.length : 1;
    const columns = z ? z[0].length : element.calcdata[curve].length;
    const isFlipped = z && element._fullLayout.yaxis.range[0] < element._fullLayout.yaxis.range[1];
    const [row, column] = own.cursor ?? [isFlipped ? rows - 1 : 0, 0];
    const within = (value, most) => Math.min(most - 1, Math.max(0, value));
    if (step) own.cursor = [within(row + (isFlipped ? -step[0] : step[0]), rows), within(column + step[1], columns)];
    const [y, x] = own.cursor ?? [row, column];
    if (event.key === "Enter") {
      const point = element.calcdata[curve][x];
      choose(z ? { x: trace.x?.[x] ?? x, y: trace.y?.[y] ?? y, curve, point: null, custom: null }
               : { x: trace.x?.[x], y: trace.y?.[x], curve, point: x, custom: point?.data ?? null });
      return;
    }
    window.Plotly.Fx.hover(element, [{ curveNumber: curve, pointNumber: z ? [y, x] : x }]);
  };
}

export default function ({ data, parentElement, setStateValue, setTriggerValue }) {
  const element = parentElement.querySelector(".figure");
  const own = (element.own ??= { latest: null, shown: null, busy: false, drawn: 0, drawnAt: 0, theme: null });
  window.dispatchEvent(new CustomEvent("loupe:answer", { detail: data.answers }));
  const wasMoving = own.moving;
  own.moving = false;
  if (data.figure !== own.shown || wasMoving) own.latest = data; // an unchanged figure costs nothing
  own.current = data;
  takeRoom(element, data);
  own.clickable = Boolean(data.clickable);
  byKeys(element, own, (point) => setTriggerValue("click", point));
  const filler = parentElement.querySelector(".fill");
  if (filler) {
    filler.title = filler.ariaLabel = data.words.full;
    filler.onclick = () => {
      fill(element, !isFull(element));
      filler.title = filler.ariaLabel = isFull(element) ? data.words.back : data.words.full;
    };
  }
  element.setAttribute("role", "figure");
  element.setAttribute("aria-label", data.alt);

  const draw = async () => {
    if (own.busy) return;
    own.busy = true;
    const Plotly = await loadPlotly(data.plotly);
    while (own.latest) {
      const rest = own.drawnAt + data.rest - performance.now();
      if (rest > 0) await new Promise((resolve) => setTimeout(resolve, rest));
      const { figure, name } = own.latest;
      own.latest = null;
      own.shown = figure;
      own.theme ??= readTheme(element);
      own.size = `${element.clientWidth}×${element.clientHeight}`;
      const sent = JSON.parse(figure);
      const scale = isLarge(element) ? LARGE : 1;
      const { traces: fitted, layout } = inRoom(sent.data, sent.layout, element, scale);
      const numbers = own.moving ? (trace) => trace : (trace) => numbered(trace, layout, element, scale);
      const traces = fitted.map((trace) => inked(sized(numbers(trace), scale), own.theme));
      const themed = inTheme(roomier(sized(withTitles(layout, element, scale), scale), scale), own.theme, scale);
      themed.width = element.clientWidth;
      themed.height = element.clientHeight;
      const { frames } = sent;
      const anatomy = frames ? null : anatomyOf(traces, themed); // frames hold cells of their own
      const texts = traces.map((trace) => JSON.stringify(trace)); // Plotly writes into what it is given
      own.scrubber = layout.meta?.scrubber ?? null;
      own.leads = Boolean(layout.sliders);
      const isInPlace = anatomy !== null && anatomy === own.anatomy && putInPlace(element, traces, texts, own.texts);
      if (isInPlace) {
        element.dataset.inPlace = Number(element.dataset.inPlace ?? 0) + 1;
      } else {
        const isNew = !element._fullLayout;
        const config = {
          displaylogo: false,
          displayModeBar: matchMedia("(pointer: coarse)").matches ? false : "hover",
          plotlyServerURL: "",
          modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d", "sendChartToCloud", "sendDataToCloud"],
          toImageButtonOptions: { filename: name, scale: 2 },
        };
        await Plotly.react(element, { data: traces, layout: themed, config, frames });
        for (const button of element.querySelectorAll(".modebar-btn")) button.tabIndex = -1; // not seven stops a figure
        if (isNew && frames) await Plotly.addFrames(element, frames); // react puts them into old figures only
      }
      own.anatomy = anatomy;
      own.texts = texts;
      own.drawnAt = performance.now();
      element.dataset.drawn = ++own.drawn;
    }
    own.busy = false;
  };
  const start = () =>
    draw()
      .then(() => {
        if (own.listening || !own.drawn) return; // a second start while the first one still loads
        own.listening = true;
        element.on("plotly_animatingframe", ({ name }) => own.animated(name));
        element.on("plotly_sliderstart", () => (own.held = true));
        element.on("plotly_sliderend", () => {
          own.held = false;
          own.report();
        });
        element.on("plotly_click", ({ points: [point] }) =>
          setTriggerValue("click", {
            x: point.x,
            y: point.y,
            curve: point.curveNumber,
            point: point.pointNumber ?? null,
            custom: point.customdata ?? null,
          })
        );
      })
      .catch((error) => {
        own.busy = false; // the next figure may be drawn
        console.error(error);
        setStateValue("failed", true);
      });
  // Figures of one scrubber show the same frame; the one with the slider leads, and tells Python
  // which frame it came to rest at.
  own.animated = (name) => {
    if (!own.leads) return;
    element.dataset.frame = name;
    window.dispatchEvent(new CustomEvent("loupe:frame", { detail: { scrubber: own.scrubber, name } }));
    own.frame = name;
    own.report();
  };
  own.report = () => {
    clearTimeout(own.resting);
    if (own.held || own.frame === undefined) return;
    own.resting = setTimeout(() => setTriggerValue("frame", own.frame), REST_MS);
  };
  const follow = ({ detail }) => {
    if (own.leads || own.scrubber === null || detail.scrubber !== own.scrubber) return;
    element.dataset.frame = detail.name;
    window.Plotly.animate(element, [detail.name], AT_ONCE);
  };
  start();
  own.stop?.();
  window.addEventListener("loupe:frame", follow);
  const forgetTheme = onThemeChange(element, () => {
    const theme = readTheme(element);
    if (JSON.stringify(theme) === JSON.stringify(own.theme)) return;
    own.theme = theme;
    own.latest ??= data;
    start();
  });
  const onFigures = ({ detail }) => {
    const mine = detail.find(({ name }) => name === data.name);
    if (!mine || mine.figure === own.shown) return;
    own.latest = { ...data, ...mine };
    own.current = own.latest;
    own.moving = true;
    if (!data.room) element.style.height = `${mine.height ?? data.height}px`;
    element.setAttribute("aria-label", mine.alt);
    start();
  };
  window.addEventListener("loupe:figures", onFigures);
  // Laid out again when its room has changed: a turned device, a wider window, the whole screen.
  const watcher = new ResizeObserver(() => {
    const size = `${element.clientWidth}×${element.clientHeight}`;
    if (!own.size || size === own.size || !element.clientWidth) return;
    own.latest ??= own.current;
    start();
  });
  watcher.observe(element);
  own.stop = () => {
    watcher.disconnect();
    forgetTheme();
    window.removeEventListener("loupe:figures", onFigures);
    window.removeEventListener("loupe:frame", follow);
  };
  return own.stop;
}
