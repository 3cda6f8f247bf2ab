"use strict";
// Every page: choose the language, and light or dark colours.
(() => {
  const root = document.documentElement;
  const keep = (key, value) => { try { localStorage.setItem(key, value); } catch { /* a file may not */ } };
  const kept = key => { try { return localStorage.getItem(key); } catch { return null; } };
  const press = (button, pressed) => button.setAttribute("aria-pressed", String(pressed));

  const choices = document.querySelector(".choices"), dark = document.getElementById("dark");
  const languages = [...choices.querySelectorAll("[data-language]")];
  const system = matchMedia("(prefers-color-scheme: dark)");

  const speak = language => {
    root.lang = language;
    for (const button of languages) press(button, button.dataset.language === language);
    for (const name of ["aria-label", "title", "placeholder"]) {
      for (const node of document.querySelectorAll(`[data-${language}-${name}]`)) {
        node.setAttribute(name, node.getAttribute(`data-${language}-${name}`));
      }
    }
    root.dispatchEvent(new CustomEvent("languagechange"));
  };
  const is_dark = () => root.dataset.theme ? root.dataset.theme === "dark" : system.matches;
  const light = theme => {
    if (theme === "light" || theme === "dark") root.dataset.theme = theme;
    press(dark, is_dark());
  };

  const spoken = languages.map(button => button.dataset.language);
  const wanted = [kept("language"), ...navigator.languages.map(tag => tag.split("-")[0])];
  speak(wanted.find(language => spoken.includes(language)) || spoken[0]);
  light(kept("theme"));
  choices.hidden = false;

  for (const button of languages) {
    button.addEventListener("click", () => {
      speak(button.dataset.language);
      keep("language", root.lang);
    });
  }
  dark.addEventListener("click", () => {
    light(is_dark() ? "light" : "dark");
    keep("theme", root.dataset.theme);
  });
  system.addEventListener("change", () => light());

  // Show the claims of one kind only.
  const filter = document.querySelector(".filter");
  const kinds = filter ? [...filter.querySelectorAll("button")] : [];
  if (filter) filter.hidden = false;
  for (const button of kinds) {
    button.addEventListener("click", () => {
      for (const each of kinds) press(each, each === button);
      for (const claim of document.querySelectorAll("article.claim")) {
        claim.hidden = !["all", claim.dataset.kind].includes(button.dataset.kind);
      }
    });
  }

  // Make regions that scroll reachable by keyboard.
  const wide = [...document.querySelectorAll(".scroll:not([tabindex]), .again code")];
  const reach = node => {
    if (node.scrollWidth > node.clientWidth) node.tabIndex = 0; else node.removeAttribute("tabindex");
  };
  const sizes = new ResizeObserver(entries => entries.forEach(({ target }) => reach(target)));
  wide.forEach(node => sizes.observe(node));
  root.addEventListener("languagechange", () => wide.forEach(reach));
})();
