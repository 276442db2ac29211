// What surrounds the conversation: theme, drawer, short messages.

import { byId, h } from "./dom.js";

const THEME = "localllm.theme";
const THEMES = { auto: ["light", "Theme: as the system"], light: ["dark", "Theme: light"], dark: ["auto", "Theme: dark"] };
const TOAST_SECONDS = 8;

export function setUpTheme() {
  const button = byId("theme");
  const { dataset } = document.documentElement;
  const show = () => {
    const theme = dataset.theme in THEMES ? dataset.theme : "auto";
    const [, label] = THEMES[theme];
    button.setAttribute("aria-label", label);
    button.title = label;
    button.querySelector("use").setAttribute("href", `#icon-theme-${theme}`);
  };
  button.addEventListener("click", () => {
    [dataset.theme] = THEMES[dataset.theme] ?? THEMES.auto;
    localStorage.setItem(THEME, dataset.theme);
    show();
  });
  show();
}

const narrow = matchMedia("(max-width: 799px)");

/** Open or close the drawer in which narrow screens have the list; whether that changed anything. */
export function openDrawer(isOpen) {
  const sidebar = byId("sidebar");
  const before = sidebar.classList.contains("open");
  sidebar.classList.toggle("open", isOpen);
  sidebar.inert = narrow.matches && !isOpen;
  byId("main").inert = narrow.matches && isOpen;
  byId("backdrop").hidden = !isOpen;
  byId("menu").setAttribute("aria-expanded", String(isOpen));
  if (before === isOpen || !narrow.matches) return false;
  (isOpen ? byId("new") : byId("menu")).focus();
  return true;
}

/** The link for keyboards that leads past the list: by the address it would leave the conversation. */
export function setUpSkipLink() {
  document.querySelector(".skip").addEventListener("click", (event) => {
    event.preventDefault();
    byId("input").focus();
  });
}

export function setUpDrawer() {
  byId("menu").addEventListener("click", () => openDrawer(true));
  byId("backdrop").addEventListener("click", () => openDrawer(false));
  byId("conversations").addEventListener("click", ({ target }) => target.closest("a") && openDrawer(false));
  narrow.addEventListener("change", () => openDrawer(false));
  openDrawer(false);
}

/** A short message, with an action perhaps. */
export function toast(text, label, act) {
  const element = h("div", { class: "toast" }, h("span", { text }));
  const close = () => element.remove();
  const button = h("button", { type: "button", text: label ?? "Close" });
  button.addEventListener("click", () => {
    close();
    act?.();
  });
  element.append(button);
  byId("toasts").replaceChildren(element);
  const timer = setInterval(() => !element.matches(":hover, :focus-within") && (clearInterval(timer), close()), TOAST_SECONDS * 1000);
}
