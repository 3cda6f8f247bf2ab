"use strict";
// What every page does: its language, its light.
(() => {
  const root = document.documentElement;
  const keep = (key, value) => { try { localStorage.setItem(key, value); } catch { /* a file may not */ } };
  const kept = key => { try { return localStorage.getItem(key); } catch { return null; } };

  const speak = language => {
    root.lang = language;
    for (const name of ["aria-label", "title", "placeholder"]) {
      for (const node of document.querySelectorAll(`[data-${language}-${name}]`)) {
        node.setAttribute(name, node.getAttribute(`data-${language}-${name}`));
      }
    }
    root.dispatchEvent(new CustomEvent("languagechange"));
  };
  const light = theme => { if (theme) root.dataset.theme = theme; };

  speak(kept("language") || (navigator.language.startsWith("ja") ? "ja" : "en"));
  light(kept("theme"));

  const language = document.getElementById("language"), theme = document.getElementById("theme");
  language.hidden = theme.hidden = false;
  language.addEventListener("click", () => {
    speak(root.lang === "ja" ? "en" : "ja");
    keep("language", root.lang);
  });
  theme.addEventListener("click", () => {
    const dark = root.dataset.theme ? root.dataset.theme === "dark"
      : matchMedia("(prefers-color-scheme: dark)").matches;
    light(dark ? "light" : "dark");
    keep("theme", root.dataset.theme);
  });
})();
