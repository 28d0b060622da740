// A slider that reports while it is dragged. One value is in flight at a time: the next is sent
// when Python has answered the last, so that nothing queues behind a slow computation.
const ANSWER_TIMEOUT_MS = 1500;

export default function ({ data, parentElement, setStateValue, setTriggerValue }) {
  const root = parentElement.querySelector(".slider");
  const input = root.querySelector("input");
  const own = (root.own ??= { serial: 0, inFlight: 0, waiting: null, dragging: false });

  const toPosition = (value) => (data.log ? Math.log(value) : value);
  const fromPosition = (position) => {
    const raw = data.log ? Math.exp(position) : position;
    const stepped = data.log && data.step < 1 ? raw : data.low + Math.round((raw - data.low) / data.step) * data.step;
    return Math.min(data.high, Math.max(data.low, Number(stepped.toPrecision(12))));
  };
  const text = (value) => {
    const digits = data.log && data.step < 1 ? Math.max(0, 2 - Math.floor(Math.log10(value))) : data.digits;
    return value.toFixed(Math.min(digits, 12)) + (data.unit ? " " + data.unit : "");
  };

  const show = (value) => {
    const part = (toPosition(value) - input.min) / (input.max - input.min || 1);
    input.style.setProperty("--part", `${100 * part}%`);
    input.setAttribute("aria-valuetext", text(value));
    root.querySelector("output").textContent = text(value);
  };
  const send = (value) => {
    if (own.inFlight && performance.now() - own.sentAt < ANSWER_TIMEOUT_MS) {
      own.waiting = value;
      return;
    }
    own.waiting = null;
    own.inFlight = ++own.serial;
    own.sentAt = performance.now();
    setStateValue("sent", { value, serial: own.serial });
  };
  const writeAddress = (value) => {
    const address = new URL(window.location.href);
    if (value === data.default) address.searchParams.delete(data.parameter);
    else address.searchParams.set(data.parameter, String(value));
    if (address.href !== window.location.href) history.replaceState(history.state, "", address);
  };

  root.querySelector("label").textContent = data.label;
  root.querySelector("label").htmlFor = input.id = `slider-${data.parameter}`;
  root.title = data.help;
  input.setAttribute("aria-label", data.label);
  input.min = toPosition(data.low);
  input.max = toPosition(data.high);
  input.step = data.log ? (input.max - input.min) / 200 : data.step;

  if (data.serial === own.inFlight) own.inFlight = 0;
  if (!own.dragging && !own.inFlight && own.waiting === null) {
    input.value = toPosition(data.value);
    show(data.value);
    writeAddress(data.value);
  } else if (!own.inFlight && own.waiting !== null) {
    send(own.waiting);
  }

  input.onpointerdown = () => (own.dragging = true);
  input.oninput = () => {
    const value = fromPosition(Number(input.value));
    show(value);
    send(value);
  };
  input.onchange = () => {
    own.dragging = false;
    const value = fromPosition(Number(input.value));
    own.waiting = null;
    own.inFlight = ++own.serial;
    own.sentAt = performance.now();
    setTriggerValue("settled", { value, serial: own.serial });
    writeAddress(value);
  };
  input.ondblclick = () => {
    input.value = toPosition(data.default);
    input.oninput();
    input.onchange();
  };
  const onBack = () => {
    const asked = Number(new URL(window.location.href).searchParams.get(data.parameter) ?? data.default);
    const value = Number.isFinite(asked) ? Math.min(data.high, Math.max(data.low, asked)) : data.default;
    input.value = toPosition(value);
    show(value);
    send(value);
  };
  window.addEventListener("popstate", onBack);
  return () => window.removeEventListener("popstate", onBack);
}
