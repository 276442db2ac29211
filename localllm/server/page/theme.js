// Before anything is painted: the theme that was chosen. Loaded as a plain script, which the browser waits for.
(() => {
  let theme = "auto";
  try {
    theme = localStorage.getItem("localllm.theme") ?? "auto";
  } catch {
    // Storage is switched off: the system's theme.
  }
  document.documentElement.dataset.theme = theme;
})();
