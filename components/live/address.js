// Writes parameters into the address bar and leaves all others as they are. Each change is a step of the
// browser's history, so that Back undoes it; going back hands the address to Python, and until Python has
// taken it nothing is written. A page that was left while it ran writes nothing into the address of the
// one that came: its controls bear its name.
export default function ({ data, setTriggerValue }) {
  const own = (window.loupeAddress ??= { path: null, asked: 0, arrived: false });
  const path = window.location.pathname;
  const page = path.split("/").pop();
  if (data.page && data.page !== page && !(data.page === "home" && page === "")) return;

  const ask = () => {
    own.asked = Math.max(own.asked, data.serial) + 1;
    setTriggerValue("back", { search: window.location.search, serial: own.asked });
  };
  if (data.steps) {
    own.back = () => {
      if (window.location.pathname === own.path) ask();
      else own.arrived = true; // another page comes, which asks when it is there
    };
    if (!own.listens) {
      own.listens = true;
      window.addEventListener("popstate", () => own.back());
    }
    if (own.arrived && own.path !== path) {
      own.arrived = false;
      own.path = path;
      ask();
      return;
    }
    if (data.serial < own.asked) return;
  }

  const address = new URL(window.location.href);
  if (data.steps) {
    for (const name of [...address.searchParams.keys()]) {
      const isOurs = name.startsWith(`${page}_`) && !(name in data.parameters);
      if (isOurs) address.searchParams.delete(name);
    }
  }
  for (const [name, value] of Object.entries(data.parameters)) {
    if (value === null) address.searchParams.delete(name);
    else if (!name.includes("_") || name.startsWith(`${page}_`)) address.searchParams.set(name, value);
  }
  if (address.href === window.location.href) {
    if (data.steps) own.path = path;
    return;
  }
  const isStep = data.steps && own.path === path;
  if (data.steps) own.path = path;
  if (isStep) history.pushState(history.state, "", address);
  else history.replaceState(history.state, "", address);
}
