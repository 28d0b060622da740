// A page whose connection comes back may find a session that knows nothing of it: its process has
// died, or has forgotten it. Streamlit then goes on with the address that it loaded the page by, or
// does nothing until something is touched. Here the page asks, and where the session is a new one,
// it loads itself by the address as it stood when the connection was lost.
export default function ({ data, setTriggerValue }) {
  const own = (window.loupeSession ??= { name: data.name, address: null });
  own.ask = () => setTriggerValue("back", data.asked);
  if (own.name !== data.name) {
    window.location.replace(own.address ?? window.location.href);
    return;
  }
  own.address = null;
  if (own.observer) return;
  const app = document.querySelector("[data-testid=stApp]");
  own.observer = new MutationObserver(() => {
    const isConnected = app.dataset.testConnectionState === "CONNECTED";
    if (!isConnected) own.address ??= window.location.href;
    else if (own.address !== null && !own.isAsking) {
      own.isAsking = true;
      setTimeout(() => {
        own.isAsking = false;
        own.ask();
      });
    }
  });
  own.observer.observe(app, { attributes: true, attributeFilter: ["data-test-connection-state"] });
}
