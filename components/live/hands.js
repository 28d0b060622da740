// What belongs to the window rather than to a part of the page: keys, presenting, the document's language,
// and bringing the stage into view when something below it has set it.
const isTyping = ({ target }) =>
  target.closest?.("input:not([type=range]), textarea, select, [contenteditable=true], [role=combobox], [role=dialog]");

function fillUnderHand() {
  const full = document.querySelector(".loupe-full .fill");
  const under = document.querySelector(".figure-box:hover .fill, .figure-box:focus-within .fill");
  const button = full ?? under ?? document.querySelector(".st-key-stage .figure-box .fill");
  button?.click();
}

// A formula that is wider than its column scrolls, so a keyboard must come to it; others are passed by.
function reachable() {
  for (const formula of document.querySelectorAll(".katex-display")) {
    if (formula.scrollWidth > formula.clientWidth) formula.tabIndex = 0;
    else formula.removeAttribute("tabindex");
  }
}

export default function ({ data, setTriggerValue }) {
  const root = document.documentElement;
  const own = (window.loupeHands ??= { shown: data.shown });
  root.lang = data.lang;
  if (root.classList.contains("loupe-present") !== data.present) {
    root.classList.toggle("loupe-present", data.present);
    window.dispatchEvent(new Event("resize"));
  }
  if (data.shown !== own.shown) {
    own.shown = data.shown;
    document.querySelector("[data-testid=stMain]")?.scrollTo({ top: 0, behavior: "smooth" });
    root.classList.remove("loupe-flash");
    requestAnimationFrame(() => root.classList.add("loupe-flash"));
  }
  own.act = (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || isTyping(event)) return;
    const isSlider = event.target.closest?.("input[type=range], [role=radio], .figure");
    if (event.key === "/") document.querySelector(".st-key-loupe_search button")?.click();
    else if (event.key === "p" || event.key === "P") setTriggerValue("present", !data.present);
    else if (event.key === "f" || event.key === "F") fillUnderHand();
    else if (event.key === "Escape" && document.querySelector(".loupe-full")) fillUnderHand();
    else if (event.key === "Escape" && data.present) setTriggerValue("present", false);
    else if (data.present && !isSlider && event.key === "ArrowRight") setTriggerValue("scene", 1);
    else if (data.present && !isSlider && event.key === "ArrowLeft") setTriggerValue("scene", -1);
    else return;
    event.preventDefault();
  };
  if (!own.listens) {
    own.listens = true;
    window.addEventListener("keydown", (event) => own.act(event));
    let waits = null;
    const soon = () => (waits ??= setTimeout(() => ((waits = null), reachable()), 300));
    new MutationObserver(soon).observe(document.body, { childList: true, subtree: true });
    window.addEventListener("resize", soon);
    soon();
  }
}
