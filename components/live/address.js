// Writes parameters into the address bar and leaves all others as they are.
export default function ({ data }) {
  const address = new URL(window.location.href);
  for (const [name, value] of Object.entries(data.parameters)) {
    if (value === null) address.searchParams.delete(name);
    else address.searchParams.set(name, value);
  }
  if (address.href !== window.location.href) history.replaceState(history.state, "", address);
}
