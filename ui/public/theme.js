// Sets the colour theme before the first paint, so that nothing flashes.
(function () {
  var wish = new URLSearchParams(location.search).get("theme");
  if (wish !== "light" && wish !== "dark") {
    try { wish = localStorage.getItem("keelson-theme"); } catch (e) { wish = null; }
  }
  if (wish !== "light" && wish !== "dark") wish = matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
  document.documentElement.setAttribute("data-mantine-color-scheme", wish);
})();
