// Writes parameters into the address bar and leaves all others as they are. A page that was left
// while it ran writes nothing into the address of the one that came: its controls bear its name.
export default function ({ data }) {
  const address = new URL(window.location.href);
  const page = address.pathname.split("/").pop();
  for (const [name, value] of Object.entries(data.parameters)) {
    if (value === null) address.searchParams.delete(name);
    else if (!name.includes("_") || name.startsWith(`${page}_`)) address.searchParams.set(name, value);
  }
  if (address.href !== window.location.href) history.replaceState(history.state, "", address);
}
