// Signing in leads by way of the provider to the home page: the page that was asked for comes back.
const NAME = "loupe:return";
export default function ({ data }) {
  if (!data.signed_in) {
    sessionStorage.setItem(NAME, window.location.href);
    return;
  }
  const asked = sessionStorage.getItem(NAME);
  sessionStorage.removeItem(NAME);
  const isHere = asked !== null && new URL(asked).origin === window.location.origin;
  if (isHere && asked !== window.location.href) window.location.replace(asked);
}
