// Keeps a text that is too long for the address in this tab, and hands it back to a session that
// does not have it: after a reload, or when another process has taken over.
export default function ({ data, setTriggerValue }) {
  const name = `loupe:${data.name}`;
  if (data.text !== null) {
    try {
      sessionStorage.setItem(name, data.text);
    } catch {
      sessionStorage.removeItem(name); // no room: the text lives as long as its session
    }
  } else setTriggerValue("kept", { text: sessionStorage.getItem(name) });
}
