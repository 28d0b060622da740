// A slider that reports while it is dragged. Two values are in flight at most, one that Python works
// on while the browser draws the other; the latest waits, so that nothing queues behind slow work.
// Where figures can follow without a rerun, values go to the app's route and figures come back
// (loupe:figures); else they go to a rerun, whose answer comes with the slider's own data, or with a
// figure that follows it (loupe:answer).
const IN_FLIGHT = 2;
const ANSWER_TIMEOUT_MS = 1500;

export default function ({ data, parentElement, setStateValue, setTriggerValue }) {
  const root = parentElement.querySelector(".slider");
  const input = root.querySelector("input");
  const own = (root.own ??= { serial: 0, answered: 0, waiting: null, dragging: false });

  const toPosition = (value) => (data.log ? Math.log(value) : value);
  const fromPosition = (position) => {
    const raw = data.log ? Math.exp(position) : position;
    const isSmooth = data.log && data.step < 1;
    const stepped = isSmooth ? raw : data.low + Math.round((raw - data.low) / data.step) * data.step;
    return Math.min(data.high, Math.max(data.low, Number(stepped.toPrecision(12))));
  };
  const text = (value) => {
    if (data.log && value < 1e-4) return value.toExponential(1) + (data.unit ? " " + data.unit : "");
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
    if (data.waits) return;
    const isBusy = own.serial - own.answered >= IN_FLIGHT;
    if (isBusy && performance.now() - own.sentAt < ANSWER_TIMEOUT_MS) {
      own.waiting = value;
      return;
    }
    own.waiting = null;
    own.sentAt = performance.now();
    if (data.token && !own.needsReruns) follow(value, ++own.serial);
    else setStateValue("sent", { value, serial: ++own.serial });
  };
  const follow = async (value, serial) => {
    const body = JSON.stringify({ token: data.token, key: data.parameter, value });
    const reply = await fetch(data.route, { method: "POST", body }).catch(() => null);
    const { figures } = reply?.ok ? await reply.json() : {};
    const isLatest = serial > Math.max(own.answered, own.released ?? 0);
    if (figures && isLatest) window.dispatchEvent(new CustomEvent("loupe:figures", { detail: figures }));
    if (!figures && own.dragging) {
      own.needsReruns = true;
      own.waiting ??= value;
    }
    own.answer(serial);
  };
  const settle = (value) => {
    own.waiting = null;
    own.needsReruns = false;
    own.sentAt = performance.now();
    own.released = ++own.serial; // figures still on their way are older than the rerun that begins
    setTriggerValue("settled", { value, serial: own.serial });
    if (!data.elsewhere) writeAddress(value, true); // where another field is written, the page says so
  };
  // A release is a step that Back undoes; what the page itself sets is none.
  const writeAddress = (value, isStep) => {
    const page = window.location.pathname.split("/").pop() || "home";
    if (!data.parameter.startsWith(`${page}_`)) return; // another page came before the release
    const address = new URL(window.location.href);
    if (value === data.default) address.searchParams.delete(data.parameter);
    else address.searchParams.set(data.parameter, String(value));
    if (address.href === window.location.href) return;
    if (isStep) history.pushState(history.state, "", address);
    else history.replaceState(history.state, "", address);
  };
  const put = (value) => {
    input.value = toPosition(value);
    show(value);
  };

  root.querySelector("label").textContent = data.label;
  root.querySelector("label").htmlFor = input.id = `slider-${data.parameter}`;
  root.title = data.help;
  root.querySelector(".mark").textContent = data.mark ?? "";
  input.disabled = Boolean(data.disabled);
  input.setAttribute("aria-label", data.label);
  input.min = toPosition(data.low);
  input.max = toPosition(data.high);
  input.step = data.log ? (input.max - input.min) / 200 : data.step;

  own.answer = (serial) => {
    own.answered = Math.max(own.answered, serial);
    if (own.waiting !== null) send(own.waiting);
  };
  own.serial = Math.max(own.serial, data.serial); // mounted anew: go on counting where Python stands
  own.answer(data.serial);
  if (!own.dragging && own.answered === own.serial) {
    put(data.value);
  }

  const value = () => fromPosition(Number(input.value));
  input.onpointerdown = () => (own.dragging = true);
  input.oninput = () => {
    show(value());
    send(value());
  };
  input.onchange = () => {
    own.dragging = false;
    settle(value());
  };
  input.ondblclick = () => {
    put(data.default);
    settle(data.default);
  };
  own.stop?.();
  const onAnswer = ({ detail }) => own.answer(detail[data.parameter] ?? 0);
  window.addEventListener("loupe:answer", onAnswer);
  own.stop = () => {
    window.removeEventListener("loupe:answer", onAnswer);
  };
  return own.stop;
}
