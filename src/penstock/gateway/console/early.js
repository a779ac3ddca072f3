// Runs before the first paint, so a chosen theme never flashes the other one.
(() => {
  let theme = null;
  try { theme = localStorage.getItem("penstock.theme"); } catch { /* storage is switched off */ }
  if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
})();
