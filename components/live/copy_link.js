// Copies the address of what is on screen.
export default function ({ data, parentElement }) {
  const button = parentElement.querySelector("button");
  button.textContent = data.label;
  button.onclick = async () => {
    const href = window.location.href;
    try {
      await navigator.clipboard.writeText(href);
      button.textContent = data.done;
    } catch {
      window.prompt(data.label, href); // no clipboard without https: let the person copy it
    }
    setTimeout(() => (button.textContent = data.label), 2000);
  };
}
