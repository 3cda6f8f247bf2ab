// The interactive parts: distributions to filter, texts token by token, a vocabulary to search.
// The page holds the data as JSON; it is inserted as text, never as markup.
(() => {
  const root = document.documentElement;

  // --- words and numbers -------------------------------------------------------------------------

  const said = (words, key, values = {}) => (words[root.lang] || Object.values(words)[0])[key]
    .replace(/\{(\w+)\}/g, (_, name) => values[name]);
  const whole = number => number.toLocaleString("en");
  // As `share` in interactive.py.
  const share = probability => {
    const percent = probability * 100;
    if (percent === 0 || percent >= 99.95) return `${percent.toFixed(0)}%`;
    if (percent < 0.0001) return "<0.0001%";
    const magnitude = Number(percent.toExponential().split("e")[1]);
    return `${percent.toFixed(Math.max(0, (percent >= 0.1 ? 2 : 1) - magnitude))}%`;
  };
  const short = number => Number(number.toPrecision(3)).toString();

  // --- text with visible characters only ----------------------------------------------------------

  const SPECIAL = new RegExp("SPECIAL", "gu"); // the pattern of visible.py, put in by page.py

  const element = (name, className, ...children) => {
    const made = document.createElement(name);
    if (className) made.className = className;
    made.append(...children);
    return made;
  };
  const sign = text => text === "\t" ? "⇥" : text.endsWith("\n") ? "↵"
    : `U+${text.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}`;
  const shown = text => {
    const made = element("bdi");
    let end = 0;
    for (const match of text.matchAll(SPECIAL)) {
      made.append(text.slice(end, match.index));
      const [, kept, , spaces] = match;
      made.append(kept || element("span", spaces ? "spaces" : "unseen", spaces || sign(match[0])));
      end = match.index + match[0].length;
    }
    made.append(text.slice(end));
    return made;
  };
  const dataOf = place => JSON.parse(place.querySelector("script[type='application/json']").textContent);

  // --- the decoding explorer ----------------------------------------------------------------------

  const BARS = 25;
  const HIDDEN_TOP_K = 50;
  // Where top-k's slider stops; its right end keeps all.
  const STOPS = [...Array(20).keys()].map(k => k + 1)
    .concat([25, 30, 40, 50, 60, 80, 100, 150, 200, 300, 500, 1000, 2000, 5000, 10000, 20000, 0]);

  // All logits in order: the head, then straight lines between those kept of the tail.
  const rebuilt = ({ vocabulary, head, step, tail }) => {
    const logits = new Float64Array(vocabulary);
    logits.set(head);
    for (let rank = head.length; rank < vocabulary; rank++) {
      const left = Math.floor((rank - head.length) / step);
      const start = head.length + left * step, stop = Math.min(start + step, vocabulary - 1);
      const slope = stop > start ? (tail[left + 1] - tail[left]) / (stop - start) : 0;
      logits[rank] = tail[left] + slope * (rank - start);
    }
    return logits;
  };

  // Temperature, top-k, top-p, min-p, as probes/stats/sampling_reference.py defines them. The logits are in order,
  // and so each filter keeps the first ones: three numbers say how many.
  const filtered = (logits, { temperature, top_k, top_p, min_p }) => {
    const size = logits.length, largest = logits[0] / temperature;
    const mass = logits.map(logit => Math.exp(logit / temperature - largest));
    const sum = count => { let total = 0; for (let i = 0; i < count; i++) total += mass[i]; return total; };
    let afterK = size;
    if (top_k > 0 && top_k < size) {
      afterK = top_k;
      while (afterK < size && logits[afterK] / temperature === logits[top_k - 1] / temperature) afterK++;
    }
    let afterP = afterK;
    if (top_p < 1) {
      const total = sum(afterK);
      let before = 0;
      for (afterP = 0; afterP < afterK && (afterP === 0 || before < top_p); afterP++) before += mass[afterP] / total;
    }
    let kept = afterP;
    if (min_p > 0) {
      const total = sum(afterP), least = min_p * (mass[0] / total);
      while (kept > 1 && mass[kept - 1] / total < least) kept--;
    }
    const total = sum(kept);
    let entropy = 0;
    for (let i = 0; i < kept; i++) {
      const probability = mass[i] / total;
      if (probability > 0) entropy -= probability * Math.log(probability);
    }
    return {
      afterK, afterP, kept, entropy: Math.max(0, entropy), mass: total / sum(size),
      probability: rank => rank < kept ? mass[rank] / total : 0,
      out: rank => rank < kept ? "" : rank >= afterK ? "top_k" : rank >= afterP ? "top_p" : "min_p",
    };
  };

  // The right end of the bars: the next round number above the largest.
  const round = value => {
    for (let unit = 1; unit > 1e-9; unit /= 10) {
      for (const part of [0.15, 0.2, 0.3, 0.5, 0.75, 1]) if (value > unit / 10 && value <= unit * part) return unit * part;
    }
    return value || 1;
  };

  const explore = place => {
    const { words, prompts } = dataOf(place);
    const say = (key, values) => said(words, key, values);
    const find = selector => place.querySelector(selector);
    const each = (name, act) => place.querySelectorAll(`[data-${name}]`).forEach(node => act(node, node.dataset[name]));
    const settings = { temperature: 1, top_k: 0, top_p: 1, min_p: 0 };
    const select = find("select"), hidden = find("[role=switch]"), body = find("tbody"), live = find("output");
    let prompt, logits, own, pending;
    let rows = [];

    const choose = () => {
      prompt = prompts[select.selectedIndex];
      logits = rebuilt(prompt);
      own = filtered(logits, { temperature: 1, top_k: 0, top_p: 1, min_p: 0 });
      rows = prompt.tokens.slice(0, BARS).map(([id, text], rank) => {
        const bars = [element("div", "own"), element("div", "now")];
        const row = {
          bars, now: element("td", "figure"), own: element("td", "figure own", share(own.probability(rank))),
          line: element("tr"),
        };
        const token = element("th", "token", named(text), element("span", "id", String(id)));
        token.scope = "row";
        const track = element("td", "track", element("div", "bar-pair", ...bars));
        track.setAttribute("aria-hidden", "true");
        row.line.append(element("td", "rank", String(rank + 1)), token, track, row.now, row.own);
        return row;
      });
      body.replaceChildren(...rows.map(row => row.line));
    };
    const named = text => text ? shown(text) : element("span", "nothing", say("empty"));

    const figure = (name, value, ...children) => {
      const node = find(`[data-figure=${name}]`);
      node.replaceChildren(...children);
      if (value === null) delete node.dataset.value; else node.dataset.value = value;
    };

    const draw = () => {
      const found = filtered(logits, settings);
      const all = whole(logits.length), kept = whole(found.kept);
      const top = { nats: short(found.entropy), count: short(Math.exp(found.entropy)) };
      figure("kept", found.kept, say("kept", { kept, all }));
      figure("mass", found.mass, share(found.mass));
      figure("entropy", found.entropy, say("nats", top), element("span", "more", say("alike", top)));
      const greedy = share(found.probability(0));
      figure("greedy", found.probability(0), greedy, " ", named(prompt.tokens[0][1]));
      let answer = "";
      if (!prompt.answer) figure("answer", null, element("span", "more", say("no_answer")));
      else if (prompt.answer.rank === null) {
        const last = prompt.tokens.length;
        answer = say("unlisted", { share: share(found.probability(last - 1)), count: last });
        figure("answer", null, element("span", "more", answer));
      } else {
        answer = share(found.probability(prompt.answer.rank));
        const why = found.out(prompt.answer.rank);
        figure("answer", found.probability(prompt.answer.rank),
          answer, " ", named(prompt.tokens[prompt.answer.rank][1]),
          ...why ? [" ", element("span", "out", say(`dropped_${why}`))] : []);
      }
      bars(found);
      const left = { top_k: [settings.top_k, found.afterK], top_p: [settings.top_p < 1, found.afterP], min_p: [settings.min_p, found.kept] };
      each("left", (node, name) => {
        if (name in left) node.textContent = left[name][0] ? say("left", { count: whole(left[name][1]) }) : say("all_kept");
      });
      each("preset", (node, preset) => {
        const same = preset === [settings.temperature, settings.top_k, settings.top_p, settings.min_p].join(" ");
        if (same) node.setAttribute("aria-current", "true"); else node.removeAttribute("aria-current");
      });
      // Announced after a pause, not at every move.
      clearTimeout(pending);
      pending = setTimeout(() => {
        live.textContent = say("said", { kept, all, nats: top.nats, greedy }) +
          (answer ? ` ${say("said_answer", { answer })}` : "");
      }, 700);
    };

    const bars = found => {
      const scale = round(Math.max(own.probability(0), found.probability(0)));
      find("[data-scale]").textContent = share(scale);
      rows.forEach((row, rank) => {
        const now = found.probability(rank), why = found.out(rank);
        row.line.className = why ? rank === found.kept ? "dropped first" : "dropped" : "";
        row.line.dataset.value = now;
        row.now.replaceChildren(why ? say(`dropped_${why}`) : share(now));
        row.bars[0].style.setProperty("inline-size", `${own.probability(rank) / scale * 100}%`);
        row.bars[1].style.setProperty("inline-size", `${now / scale * 100}%`);
      });
      const rest = probability => {
        let listed = 0;
        for (let rank = 0; rank < rows.length; rank++) listed += probability(rank);
        return share(Math.max(0, 1 - listed) < 1e-12 ? 0 : 1 - listed);
      };
      find("tfoot tr").hidden = logits.length <= rows.length;
      find("[data-others]").textContent = say("others",
        { count: whole(logits.length - rows.length), kept: whole(Math.max(0, found.kept - rows.length)) });
      find("[data-others-now]").textContent = rest(found.probability);
      find("[data-others-own]").textContent = rest(own.probability);
    };

    const position = (name, value) => {
      if (name !== "top_k") return value;
      const past = STOPS.findIndex(stop => stop >= value && stop);
      return value && past >= 0 ? past : STOPS.length - 1;
    };
    const show = except => {
      each("field", (node, name) => { if (node !== except) node.value = settings[name]; });
      each("slider", (node, name) => {
        if (node !== except) node.value = position(name, settings[name]);
        if (name === "top_k") node.setAttribute("aria-valuetext", settings[name] || say("all_kept"));
      });
      hidden.checked = settings.top_k === HIDDEN_TOP_K;
      draw();
    };
    const set = (values, except) => { Object.assign(settings, values); show(except); };

    each("slider", (node, name) => {
      if (name === "top_k") node.max = STOPS.length - 1;
      node.addEventListener("input", () => set({ [name]: name === "top_k" ? STOPS[node.value] : Number(node.value) }, node));
    });
    each("field", (node, name) => {
      node.addEventListener("input", () => { if (node.value && node.validity.valid) set({ [name]: Number(node.value) }, node); });
      node.addEventListener("change", () => show());
    });
    each("preset", (node, preset) => node.addEventListener("click", () => {
      const [temperature, top_k, top_p, min_p] = preset.split(" ").map(Number);
      set({ temperature, top_k, top_p, min_p });
    }));
    hidden.addEventListener("change", () => set({ top_k: hidden.checked ? HIDDEN_TOP_K : 0 }));
    select.addEventListener("change", () => { choose(); draw(); });
    root.addEventListener("languagechange", () => { choose(); show(); });
    choose();
    show();
    place.hidden = false;
  };

  // --- the trace view: details of a token are copied from its row of the table ------------------------

  const follow = place => {
    const tokens = [...place.querySelectorAll("button.token")], step = place.querySelector(".step");
    const rows = place.querySelectorAll(".all-steps tbody tr");
    const slots = step.querySelectorAll("[data-cell]");
    let current = -1;
    const select = number => {
      if (number === current || !tokens[number]) return;
      tokens.forEach((token, other) => {
        token.tabIndex = other === number ? 0 : -1;
        if (other === number) token.setAttribute("aria-current", "true"); else token.removeAttribute("aria-current");
      });
      current = number;
      for (const slot of slots) {
        slot.replaceChildren(...rows[number].cells[slot.dataset.cell].cloneNode(true).childNodes);
      }
    };
    const moves = { ArrowRight: 1, ArrowLeft: -1, Home: -Infinity, End: Infinity };
    tokens.forEach((token, number) => {
      for (const event of ["pointerenter", "focus", "click"]) token.addEventListener(event, () => select(number));
      token.addEventListener("keydown", event => {
        if (!(event.key in moves) || event.ctrlKey || event.altKey || event.metaKey) return;
        event.preventDefault();
        tokens[Math.min(tokens.length - 1, Math.max(0, number + moves[event.key]))].focus();
      });
    });
    select(0);
    step.hidden = false;
  };

  // --- the vocabulary ---------------------------------------------------------------------------------

  const LISTED = 50;

  const unpacked = async table => {
    const bytes = Uint8Array.from(atob(table), character => character.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
    return JSON.parse(await new Response(stream).text());
  };

  const lookUp = place => {
    const { words, table } = dataOf(place);
    const search = place.querySelector("input"), output = place.querySelector("output");
    const list = place.querySelector(".scroll"), body = place.querySelector("tbody");
    let pieces;
    const found = () => {
      const wanted = search.value.replaceAll(" ", "▁");
      // The piece with this id, then the piece itself, then pieces that contain the text.
      const first = /^\d+$/.test(wanted) ? [Number(wanted)].filter(id => id < pieces.length) : [];
      const ids = [...pieces.keys()].filter(id => pieces[id].includes(wanted) && !first.includes(id));
      return [...first, ...ids.filter(id => pieces[id] === wanted), ...ids.filter(id => pieces[id] !== wanted)];
    };
    const show = async () => {
      try {
        pieces ??= unpacked(table);
        pieces = await pieces;
      } catch {
        output.textContent = said(words, "broken");
        return;
      }
      const ids = found();
      const key = ids.length === 0 ? "none" : ids.length > LISTED ? "first" : "found";
      output.textContent = said(words, key, { count: whole(ids.length), all: whole(pieces.length), shown: LISTED });
      body.replaceChildren(...ids.slice(0, LISTED).map(id => {
        const piece = element("td", "", element("span", "word", shown(pieces[id].slice(0, 200))));
        return element("tr", "", element("td", "figure", String(id)), piece);
      }));
      list.hidden = ids.length === 0;
    };
    search.addEventListener("input", show);
    search.addEventListener("focus", show, { once: true });
    root.addEventListener("languagechange", () => { if (pieces) show(); });
    place.hidden = false;
  };

  document.querySelectorAll(".explorer").forEach(explore);
  document.querySelectorAll(".trace").forEach(follow);
  document.querySelectorAll(".lookup").forEach(lookUp);
})();
