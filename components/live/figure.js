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

function inTheme(layout, { ink, line, paper, font }) {
  const themed = { ...layout, paper_bgcolor: paper, plot_bgcolor: paper };
  themed.font = { family: font, size: 13, ...layout.font, color: ink };
  for (const name of Object.keys(layout).filter((name) => /^[xy]axis/.test(name))) {
    themed[name] = { gridcolor: line, zerolinecolor: line, linecolor: line, ...layout[name] };
  }
  themed.shapes = (layout.shapes ?? []).map((shape) =>
    shape.line?.color === INK ? { ...shape, line: { ...shape.line, color: ink } } : shape
  );
  return themed;
}

const NARROW = 480; // pixels: a phone
const LEGEND_SAMPLE = 50; // pixels of a name's line and the gaps beside it
const LABEL = 10; // pixels that a slanted or stacked tick label needs

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

// A scrubber's slider below its buttons, over the whole width.
function lowered({ sliders, margin }) {
  if (!sliders) return {};
  const below = sliders.map((slider) => ({ ...slider, x: 0, len: 1, pad: { t: 92 } }));
  return { sliders: below, margin: { ...margin, b: 170 } };
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
function inRoom(traces, layout, element) {
  const { clientWidth: width, clientHeight: height } = element;
  const thinned = (axis, room) => {
    if (axis?.type !== "category" || !Array.isArray(axis.tickvals)) return axis;
    const step = Math.ceil((axis.tickvals.length * LABEL) / room);
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
    traces: traces.map((trace) => (/^(heatmap|contour)$/.test(trace.type) ? { ...trace, showscale: false } : trace)),
    layout: { ...layout, ...underneath(layout, traces, 0.75 * width), ...lowered(layout), ...across(0.6 * width) },
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

export default function ({ data, parentElement, setStateValue, setTriggerValue }) {
  const element = parentElement.querySelector(".figure");
  const own = (element.own ??= { latest: null, shown: null, busy: false, drawn: 0, drawnAt: 0, theme: null });
  window.dispatchEvent(new CustomEvent("loupe:answer", { detail: data.answers }));
  if (data.figure !== own.shown) own.latest = data; // an unchanged figure costs nothing
  element.style.height = `${data.height}px`;
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
      const sent = JSON.parse(figure);
      const { traces, layout } = inRoom(sent.data, sent.layout, element);
      const themed = inTheme(layout, own.theme);
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
          responsive: true,
          modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d"],
          toImageButtonOptions: { filename: name, scale: 2 },
        };
        await Plotly.react(element, { data: traces, layout: themed, config, frames });
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
    own.latest = mine;
    element.style.height = `${mine.height}px`;
    element.setAttribute("aria-label", mine.alt);
    start();
  };
  window.addEventListener("loupe:figures", onFigures);
  own.stop = () => {
    forgetTheme();
    window.removeEventListener("loupe:figures", onFigures);
    window.removeEventListener("loupe:frame", follow);
  };
  return own.stop;
}
