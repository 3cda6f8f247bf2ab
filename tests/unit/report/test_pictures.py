"""What the pictures of a report encode, and that nothing else gets into the page by them."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from pydantic import JsonValue

from probes.report.html.page import WAY, render
from probes.report.locale import LANGUAGES, texts
from probes.report.locale.markup import say
from probes.report.pictures import (
    CHART_PACKAGES,
    Picture,
    draw,
    draw_throughput,
    engines,
    gallery,
    sampling,
    svg,
    vectors,
)
from probes.report.pictures.charts import Chart
from probes.schema.evidence import SHAPES
from probes.schema.evidence.distributions import Distribution
from probes.schema.evidence.engines import AS_ASKED, UNKNOWN, EngineSteps, SettingsInForce
from probes.schema.evidence.words import WordPlane, WordSimilarities
from probes.schema.record import Record
from probes.schema.sampling import InForce, Sampling
from probes.stats.settings_evidence import list_alternatives
from tests.support.samples import HOSTILE, check, header, planned, rates, record

Values = dict[str, JsonValue]

ENGLISH: Values = {"text": "Japan is", "ids": [1, 4720, 349], "pieces": ["<s>", "▁Japan", "▁is"]}
WORDS = ["king", "queen", "dog", "sea"]
GROUPS = ["royalty", "royalty", "animals", ""]
COSINES = [[1.0, 0.9, 0.3, 0.2], [0.9, 1.0, 0.3, 0.2], [0.3, 0.3, 1.0, 0.1], [0.2, 0.2, 0.1, 1.0]]
LIST: Values = {
    "words": [*WORDS],
    "groups": [*GROUPS],
    "cosine_matrix": [[*row] for row in COSINES],
}
PLANE: Values = {
    "points": [
        {"word": word, "group": group, "x": x, "y": y}
        for word, group, x, y in zip(WORDS, GROUPS, (0, 0.01, 2, 1), (0, 0, 1, -1), strict=True)
    ],
    "explained_variance": [0.25, 0.125],
}
SHARED: Values = {
    "pieces": {"女王": ["▁", "女", "王"], "王女": ["▁", "王", "女"], "猫": ["▁", "猫"]},
    "cosine_matrix": [[1.0, 1.0, 0.5], [1.0, 1.0, 0.5], [0.5, 0.5, 1.0]],
}
TOP_TEN: list[JsonValue] = [
    {"id": 19887, "text": "Tokyo", "probability": 0.911},
    {"id": 264, "text": " ", "probability": 0.00455},
]
LOGITS = [4.0, 2.0, 1.0, 0.5]
DISTRIBUTION: Values = {
    "prompt": "The capital of Japan is",
    "answer": None,
    "vocabulary": 4,
    "top": [{"id": 5, "text": "Tokyo", "logit": 4.0}, {"id": 6, "text": "a", "logit": 2.0}],
    "head": [4.0, 2.0],
    "step": 1,
    "tail": [1.0, 0.5],
}
FLAT = DISTRIBUTION | {"prompt": "Once upon a time,", "head": [2.1, 2.0]}
STEP: Values = {
    **{"id": 415, "probability": 0.5, "rank": 1, "margin": 0.5, "near_tie": False, "entropy": 1.0},
    "alternatives": [{"text": " upon", "probability": 0.5}],
}
SAMPLED: Values = {
    "settings": {"temperature": 1.4, "top_p": 0.9},
    "trace": {
        "prompt": "Once",
        "steps": [STEP | {"text": " upon", "kept": 21}, STEP | {"text": " a", "kept": 1}],
    },
}
SETTINGS: list[JsonValue] = [
    {
        **{"top_p": p, "temperature": t, "distinct_4_grams": t * p / 2},
        **{"right_least": 1 - t / 3, "right_most": 1 - t / 4},
    }
    for p in (0.2, 0.9)
    for t in (0.2, 1.4)
]
GRID: list[JsonValue] = [
    {"temperature": t, "top_p": p, "probability": t * p} for p in (0.2, 0.9) for t in (0.2, 1.0)
]
BEAMS: Values = {
    "greedy": {"beams": 1, "text": "a", "log_probability": -25.2, "rows": 20},
    "four_beams": {"beams": 4, "text": "b", "log_probability": -24.13, "rows": 80},
}
MEMORY: Values = {
    **{"linear_parameters": 1_000_000, "other_parameters": 500_000, "linear_bytes": 562_500},
    **{"total_bytes": 1_562_500, "fp16_bytes": 3_000_000},
}
VARIED: Values = {"entropies": 0.4, "log_likelihoods": -0.9, "distinct_4_grams": 0.27}
REPEATED: Values = {
    **{"greedy_distinct": 0.2, "sampled_distinct": 0.99, "greedy_text": "a b c d a b c d e"}
}
STEPS: list[Values] = [
    {
        **{"prompt": "Once", "position": place, "token": " upon", "engine": -0.5, "change": change},
        **{"reference": -0.4, "divergence": change / 10, "same_top": same},
    }
    for place, (change, same) in enumerate(((0.0, True), (2e-4, False), (0.2, True), (0.5, False)))
]
ENGINE: Values = {"engine_steps": [*STEPS], "tolerance": 1e-3}
DISTANCE: Values = {
    **{"mean_divergence": 0.0175, "mean_divergence_of_nf4": 0.25, "same_top_token": 0.5}
}
IN_FORCE: Values = {
    **{"drawn_tokens": 509, "log_e": 38.0, "limit": 20.8},
    "in_force": "top_k 40, though it was not asked for",
    "alternatives": [
        {"settings": "top_k 40, though it was not asked for", "nats": 41.25},
        {"settings": "temperature 0.9 times what was asked for", "nats": -3.0},
    ],
}
POWER: Values = {
    "drawn_tokens": 509,
    "tokens_needed": [
        {"settings": "greedy decoding: no temperature", "tokens": 25},
        {"settings": "temperature 0.95 times what was asked for", "tokens": 9111},
        {"settings": "top_p 0.95, though it was not asked for", "tokens": None},
    ],
}
DRAFTED: Values = {
    **{"way": "prompt lookup", "prompt": "Once"},
    "steps": [
        {"drafted": [" upon", " the"], "accepted": 1, "added": " a"},
        {"drafted": [" time"], "accepted": 1, "added": ""},
    ],
}
STOPPED: list[JsonValue] = [
    {"prompt": "Once", "stop": "s a", "kind": "across pieces", "pieces": [" was", " a"]},
    {"prompt": "Once", "stop": "\n", "kind": "of my own", "pieces": [" was", "<b>\n"]},
]
USED: list[JsonValue] = [
    {"name": "temperature", "value": 0.7, "source": "config.json", "default": 1.0},
    {"name": "top_k", "value": 50, "source": "library default", "default": 50},
]
ANSWERS: Values = {"temperatures": [0.2, 1.4], "at_least": [1.0, 0.5], "at_most": [1.0, 0.75]}

# A claim's evidence, with the keys of stored records, and its pictures.
CLAIMS: dict[str, tuple[list[Values], list[str]]] = {
    "memory": ([MEMORY, MEMORY], ["memory", "memory-mistral"]),
    "one-text": ([ENGLISH], ["strip"]),
    "several-texts": ([ENGLISH, ENGLISH], ["scripts"]),
    "double-bos": ([ENGLISH | {"decoded": "<s> Japan is"}], ["double"]),
    "similarities": ([LIST | {"other_lists": {"japanese": LIST}}], ["cosine", "cosine-other"]),
    "planes": ([PLANE | {"other_lists": {"japanese": PLANE}}], ["plane", "plane-other"]),
    "other-vectors": (
        [LIST | {"tied_to_the_embedding": False}, LIST | {"layer": 2}],
        ["cosine-head", "cosine-layer"],
    ),
    "shared-pieces": ([SHARED], ["shared-pieces"]),
    "next-token": (
        [{"top_ten": TOP_TEN}, {"distributions": [DISTRIBUTION, FLAT]}],
        ["top-ten", "temperatures", "temperatures"],
    ),
    "entropies": ([{"temperatures": [0.5, 1.0], "entropies": [0.1, 0.7]}], ["entropies"]),
    "nuclei": ([{"p": 0.9, "entropies": [0.1, 3.5], "sizes": [1, 27]}], ["nuclei"]),
    "sampled": ([SAMPLED], ["kept-along"]),
    "hidden": ([{"kept_by_default": [24, 2], "kept_with_top_k_0": [336, 238]}], ["hidden"]),
    "collapse": ([{"greedy": "Tokyo.", "grid": GRID}], ["collapse"]),
    "hot": ([{"narrow_hot": {**VARIED}, "wide_hot": VARIED | {"entropies": 1.4}}], ["coherence"]),
    "repetition": ([REPEATED], ["repeated"]),
    "beams": ([BEAMS], ["beams"]),
    "drafts": ([{"drafted_texts": [DRAFTED]}], ["drafts"]),
    "stops": ([{"stopped_texts": STOPPED}], ["stops"]),
    "used-settings": ([{"used_settings": USED}], ["used-settings"]),
    "answers": ([ANSWERS], ["doses"]),
    "settings": ([{"settings": SETTINGS}], ["settings"]),
    "engine-steps": ([ENGINE], ["engine-steps"]),
    "engine-distance": ([ENGINE | DISTANCE], ["engine-distance"]),
    "engine-settings": ([IN_FORCE, IN_FORCE], ["engine-settings"]),
    "engine-power": ([POWER], ["engine-power"]),
}
EVIDENCE = {claim: values for claim, (values, _) in CLAIMS.items()}


def of(evidence: dict[str, list[Values]], name: str = "test_it[0.9]") -> Record:
    """Return a record whose claims have this evidence."""
    plan = header(*(planned(claim, len(values)) for claim, values in evidence.items()))
    checks = [
        (claim, check(name, values=values))
        for claim, several in evidence.items()
        for values in several
    ]
    return record(checks, plan)


@pytest.fixture(scope="module")
def drawn() -> dict[str, tuple[Picture, ...]]:
    return draw(of(EVIDENCE))


@pytest.fixture(scope="module")
def pictures(drawn: dict[str, tuple[Picture, ...]]) -> list[Picture]:
    return [picture for several in drawn.values() for picture in several]


def note(picture: Picture) -> str:
    return say(f"pictures.{picture.key}.note", **picture.values)


def rows(chart: Chart) -> list[dict[str, Any]]:
    """Return the data of all charts within one, each once."""
    spec = chart.to_dict()
    return [row for text in spec["datasets"].values() for row in json.loads(text)]


def test_every_shape_of_the_gallery_has_its_pictures(drawn: dict[str, tuple[Picture, ...]]) -> None:
    assert {name: [each.key for each in several] for name, several in drawn.items()} == {
        claim: keys for claim, (_, keys) in CLAIMS.items()
    }
    assert set(gallery.PICTURES) <= set(SHAPES)


def test_report_without_chart_packages_names_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(CHART_PACKAGES, "no_such_module", "no-such-package")
    page = render(of(EVIDENCE))
    assert "<code>python -m pip install no-such-package</code>" in page
    assert '<div class="drawing"><svg' not in page
    assert '<ol class="strip">' in page


def test_learners_way_leads_to_claims_with_pictures() -> None:
    page = render(of({claim: EVIDENCE[claim] for claim in ("double-bos", "collapse")}))
    assert '<h2 id="way">' in page
    for claim in ("double-bos", "collapse"):
        assert claim in WAY
        assert f'<li><a href="#claim-{claim}"><span lang="en">{texts("en")[f"way.{claim}"]}' in page
    assert '<h2 id="way">' not in render(record())


def test_drawings_have_no_ids_styles_links_or_scripts(pictures: list[Picture]) -> None:
    for picture in pictures:
        root = ElementTree.fromstring(str(picture.drawing))  # noqa: S314
        for node in root.iter():
            assert node.tag in {
                *("svg", "g", "path", "line", "rect", "text", "tspan", "title"),
                *("ol", "li", "dl", "dt", "dd", "bdi", "i", "span", "p", "mark", "ins", "del", "b"),
                *("div", "table", "thead", "tbody", "tr", "th", "td", "details", "summary"),
            }
            assert not {"id", "style", "href", "clip-path"} & set(node.attrib)
            assert not any(name.startswith("on") for name in node.attrib)
            assert "url(" not in "".join(node.attrib.values())


def test_charts_fit_a_page_and_are_named_in_every_language(pictures: list[Picture]) -> None:
    for picture in pictures:
        assert "{" not in note(picture)
        if picture.drawing.startswith("<svg"):
            root = ElementTree.fromstring(str(picture.drawing))  # noqa: S314
            assert float(root.get("width", "")) <= 640
            assert root.get("role") == "img"
            for language in LANGUAGES:
                title = texts(language)[f"pictures.{picture.key}.title"]
                assert root.get(f"data-{language}-aria-label") == title


def test_labels_are_written_in_every_language(pictures: list[Picture]) -> None:
    shown = "".join(str(each.drawing) + "".join(each.numbers) for each in pictures)
    assert not {svg.WORD, svg.VALUE} & set(shown)
    for language, text in (
        *(("en", "temperature T"), ("ja", "温度 T")),
        *(("en", "step 2"), ("ja", "2 番目")),
    ):
        assert f'<tspan lang="{language}">{text}</tspan>' in shown


def test_no_two_labels_have_one_text() -> None:
    first = texts(next(iter(LANGUAGES)))
    labels = [text for key, text in first.items() if key.startswith("pictures.labels.")]
    assert len(set(labels)) == len(labels)


def test_pieces_are_above_their_ids(drawn: dict[str, tuple[Picture, ...]]) -> None:
    assert str(drawn["one-text"][0].drawing) == (
        '<ol class="strip"><li class="special"><bdi>&lt;s&gt;</bdi><span>1</span></li>'
        "<li><bdi><i>▁</i>Japan</bdi><span>4720</span></li>"
        "<li><bdi><i>▁</i>is</bdi><span>349</span></li></ol>"
    )


def test_drafts_are_kept_or_struck_out_step_by_step(
    drawn: dict[str, tuple[Picture, ...]],
) -> None:
    drawing = str(drawn["drafts"][0].drawing)
    assert drawing.endswith(
        "<li><ins> upon</ins><del> the</del><b> a</b></li><li><ins> time</ins></li></ol></dd></dl>"
    )
    assert '<span lang="en">drafted tokens kept: 2 of 3; steps: 2</span>' in drawing


def test_stop_string_is_marked_across_tokens(drawn: dict[str, tuple[Picture, ...]]) -> None:
    drawing = str(drawn["stops"][0].drawing)
    assert "<li> wa<mark>s</mark></li><li><mark> a</mark></li>" in drawing
    assert "<li> was</li><li>&lt;b&gt;<mark>↵</mark></li>" in drawing
    assert '<span lang="ja">ピースをまたぐ</span>' in drawing
    assert '<span class="note">of my own</span>' in drawing


def test_own_settings_are_a_table_and_others_folded(
    drawn: dict[str, tuple[Picture, ...]],
) -> None:
    table, folded = str(drawn["used-settings"][0].drawing).split("<details>")
    assert "<td>0.7</td><td>config.json</td><td>1.0</td>" in table
    assert "top_k" not in table
    assert "top_k 50" in folded


def test_tied_output_head_is_not_drawn_again() -> None:
    assert draw(of({"other-vectors": [LIST | {"tied_to_the_embedding": True}]})) == {}


def test_heat_map_has_a_cell_for_each_pair() -> None:
    found = WordSimilarities.model_validate(LIST)
    cells = [row for row in rows(vectors.similarities(found)) if "cosine" in row]
    assert [row["cosine"] for row in cells] == [cosine for line in COSINES for cosine in line]
    assert cells[1]["tip"] == "king – queen: 0.900"
    # A gap lies between the groups, and none within.
    assert [cell["left"] for cell in cells[:4]] == [0, 16, 35, 54]


def test_plane_has_one_scale_and_hides_no_name() -> None:
    found = WordPlane.model_validate(PLANE)
    placed = {row["name"]: row for row in rows(vectors.plane(found)) if row.get("tip")}
    king, queen, dog, sea = (placed[name] for name in ("king", "queen", "dog", "sea"))
    assert dog["x"] - king["x"] == pytest.approx(2 * (sea["x"] - king["x"]))
    assert sea["y"] - king["y"] == pytest.approx(sea["x"] - king["x"])
    assert dog["y"] < king["y"] < sea["y"]
    # Two words in one place: their names are not.
    assert (king["name_x"], king["name_y"]) != (queen["name_x"], queen["name_y"])
    assert king["colour"] == queen["colour"] != dog["colour"]


def test_temperatures_use_the_whole_distribution() -> None:
    found = Distribution.model_validate(DISTRIBUTION)
    assert found.logits().tolist() == LOGITS
    bars = [row for row in rows(sampling.temperatures(found)) if row.get("tip")]
    tokyo = {row["tip"].split(",")[0]: row["length"] for row in bars if "Tokyo" in row["tip"]}
    for temperature in sampling.TEMPERATURES:
        weights = np.exp(np.asarray(LOGITS) / temperature)
        assert tokyo[f"T {temperature:g}"] == pytest.approx(weights[0] / weights.sum())
    others = [row["length"] for row in bars if "…" in row["tip"]]
    assert others == sorted(others)


def test_flattest_distribution_is_beside_the_first(drawn: dict[str, tuple[Picture, ...]]) -> None:
    notes = [note(picture) for picture in drawn["next-token"][1:]]
    assert "The capital of Japan is" in notes[0]
    assert "Once upon a time," in notes[1]


@pytest.mark.parametrize(
    ("claim", "expected"),
    [
        ("next-token", ["Tokyo (19887): 0.911000", "␣ (264): 0.004550"]),
        ("shared-pieces", ["女王 – 王女: 1.0000 女 王", "女王 – 猫: 0.5000", "王女 – 猫: 0.5000"]),
        ("entropies", ["0.9, T 0.5: 0.10", "0.9, T 1: 0.70"]),
        ("nuclei", ["0.10 → 1", "3.50 → 27"]),
        ("sampled", ["upon: 21 · 50.0 %", "a: 1 · 50.0 %"]),
        ("hidden", ["0.9, 1: 24 → 336", "0.9, 2: 2 → 238"]),
        ("beams", ["0.9, num_beams 1: −25.20", "0.9, num_beams 4: −24.13"]),
        ("answers", ["top_p 0.9, T 0.2: 100 %", "top_p 0.9, T 1.4: 50.0 % – 75.0 %"]),
        ("settings", ["T 0.2: 93.3 % – 95.0 %", "T 1.4: 53.3 % – 65.0 %", "T 0.2: 2.0 %"]),
        ("memory", ["fp16: 1.0 MB", "fp16: 2.0 MB", "NF4: 1.0 MB", "NF4: 562.5 kB"]),
        (
            "engine-steps",
            [
                "Once … 0 upon: −0.50 | −0.40, Δ 0",
                "Once … 1 upon ≠: −0.50 | −0.40, Δ 0.0002",
                "Once … 2 upon: −0.50 | −0.40, Δ 0.2",
            ],
        ),
        ("engine-distance", ["Once … 0 upon: −0.50 | −0.40, Δ 0"]),
        (
            "engine-settings",
            [
                "0.9, top_k 40, though it was not asked for: 41.2",
                "0.9, temperature 0.9 times what was asked for: −3.0",
            ],
        ),
        (
            "engine-power",
            [
                "greedy decoding: no temperature: 25",
                "temperature 0.95 times what was asked for: 9,111",
                "top_p 0.95, though it was not asked for: ∞",
            ],
        ),
        ("collapse", ["T 0.2, top_p 0.2: 0.04", "T 1, top_p 0.2: 0.2", "T 0.2, top_p 0.9: 0.18"]),
    ],
)
def test_marks_name_what_was_measured(
    drawn: dict[str, tuple[Picture, ...]], claim: str, expected: list[str]
) -> None:
    picture = drawn[claim][0]
    assert [*picture.numbers[: len(expected)]] == expected
    for number in expected:
        assert f"<title>{number}</title>" in picture.drawing


def test_engine_steps_beyond_the_tolerance_stand_out(drawn: dict[str, tuple[Picture, ...]]) -> None:
    points = rows(engines.steps(EngineSteps.model_validate(ENGINE)))
    colours = {row["position"]: row["colour"] for row in points if "position" in row}
    beyond = engines.STANDS_OUT
    assert [colours[place] == beyond for place in range(4)] == [False, False, True, True]
    assert colours[0] != colours[1]
    # A change of zero has no place on a logarithmic scale.
    assert min(row["value"] for row in points if "value" in row) == 2e-4
    (picture,) = drawn["engine-steps"]
    assert "Beyond it: 2 of 4 tokens." in note(picture)
    # The distance is not judged by the tolerance.
    assert beyond not in drawn["engine-distance"][0].drawing


def test_engine_that_equals_its_reference_is_drawn() -> None:
    alike: Values = {"change": 0.0, "divergence": 0.0, "engine": -0.4}
    same = [step | alike for step in STEPS]
    zero: Values = {"mean_divergence": 0.0, "mean_divergence_of_nf4": 0.0, "same_top_token": 1.0}
    evidence: Values = {"engine_steps": [*same], "tolerance": 0.0}
    found = draw(of({"steps": [evidence], "distance": [evidence | zero]}))
    assert {name: len(several) for name, several in found.items()} == {"steps": 1, "distance": 1}


def test_settings_in_force_are_below_their_bars(drawn: dict[str, tuple[Picture, ...]]) -> None:
    assert drawn["engine-settings"][0].drawing.count(">→ top_k 40</text>") == 2
    unknown = SettingsInForce.model_validate(IN_FORCE | {"in_force": UNKNOWN})
    drawing, _ = svg.draw(engines.settings([("0.9", unknown)]), "engine-settings")
    assert "→ 既知の設定では説明できない" in drawing
    as_asked = SettingsInForce.model_validate(IN_FORCE | {"in_force": AS_ASKED})
    assert "→" not in svg.draw(engines.settings([("0.9", as_asked)]), "engine-settings")[0]


def test_settings_have_short_names_in_every_language() -> None:
    hot = Sampling(temperature=1.4, top_p=0.9)
    for first in (True, False):
        asked = InForce(hot, temperature_first=first)
        for name in list_alternatives(asked, {"its own defaults": InForce()}):
            short = engines.name_setting(name)
            assert short.startswith(svg.WORD) or re.fullmatch(r"\w+ [\d.]+", short), name
    assert engines.name_setting("another") == "another"


def test_repeated_words_are_marked(drawn: dict[str, tuple[Picture, ...]]) -> None:
    (picture,) = drawn["repetition"]
    assert "a b c d <mark>a b c d</mark> e" in picture.drawing
    assert "20.0 %" in note(picture)


# --- hostile and foreign evidence ----------------------------------------------------------------


SILENT = {"memory", "nuclei", "hot", "settings"}
"""Claims whose pictures show no text from outside."""


def hostile(value: JsonValue, text: str) -> JsonValue:
    """Return evidence in which every text is another."""
    if isinstance(value, dict):
        return {key: hostile(item, text) for key, item in value.items()}
    if isinstance(value, list):
        return [hostile(item, text) for item in value]
    return text if isinstance(value, str) else value


@pytest.mark.parametrize(
    "text",
    [
        HOSTILE * 800,
        "]]>&a;\ud83d\ude00{0}{{7*7}} {key}<!DOCTYPE x [<!ENTITY a 'b'>]>",
        "\u202e\x00\x1b<b>",
        f"{svg.WORD}temperature T{svg.VALUE}{{0.__class__}}",
        "",
    ],
    ids=["long", "syntax", "controls", "marks", "empty"],
)
def test_text_from_outside_stays_text(text: str) -> None:
    evidence = {
        claim: [value for each in values if isinstance(value := hostile(each, text), dict)]
        for claim, values in EVIDENCE.items()
        if claim not in SILENT
    }
    evidence["planes"] = [evidence["planes"][0] | {"other_lists": {text[:40]: PLANE}}]
    evidence["shared-pieces"] = [
        {"pieces": {text[:400]: ["▁", text], "b": [text]}, "cosine_matrix": [[1, 0.5], [0.5, 1]]}
    ]
    drawn = draw(of(evidence, f"test_it[{text}]"))
    assert set(evidence) - set(drawn) <= (set() if text else {"repetition"})
    for picture in (picture for several in drawn.values() for picture in several):
        whole = f"<div>{picture.drawing}{note(picture)}</div>"
        names = {node.tag for node in ElementTree.fromstring(whole).iter()}  # noqa: S314
        assert not names & {"script", "img", "image", "a", "style", "foreignObject", "use"}
        assert len(whole) < 100_000
        assert not re.search("[\u202a-\u202e\u2066-\u2069\x00-\x08]", whole)
        assert svg.WORD not in whole


LONG_LIST: Values = {
    "words": [*"ab"] * 50,
    "groups": [""] * 100,
    "cosine_matrix": [[0.0] * 100] * 100,
}


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"words": ["a"], "text": 5, "top_ten": [], "settings": "none"},
        {"words": ["a", "b"], "groups": ["", ""], "cosine_matrix": [[1.0], [1.0]], "layer": 1},
        LONG_LIST | {"layer": 1},
        {"top_ten": [{"id": 1, "text": "a", "probability": "NaN"}]},
        {"points": [{"word": "a", "group": "", "x": x, "y": 0.0} for x in (1e308, -1e308)]}
        | {"explained_variance": [0.1, 0.1], "other_lists": {}},
        {"p": 0.9, "entropies": [1.0], "sizes": [1, 2]},
        {"p": 0.9, "entropies": [1.0, 2.0], "sizes": [10**400, 0]},
        {"distributions": []},
        {"distributions": [{"prompt": 1}]},
        {"distributions": [DISTRIBUTION | {"top": [], "head": [], "tail": [], "vocabulary": 0}]},
        {"distributions": [DISTRIBUTION | {"vocabulary": 10**12, "step": 10**12}]},
        {"temperatures": [], "entropies": []},
        {"temperatures": [0.2, "x"], "entropies": [1.0, 2.0]},
        {"settings": {}, "trace": {"prompt": "", "steps": []}},
    ],
)
def test_evidence_that_no_chart_can_hold_has_no_picture(values: Values) -> None:
    assert draw(of({"claim": [values]})) == {}


@pytest.mark.parametrize(
    ("inner", "refused"),
    [
        ("<script>1</script>", "<script> in a picture"),
        ('<path d="M0,0" fill="url(#a)"/>', "fill='url"),
        ('<path d="M0,0" fill="var(--x);x:url(a)"/>', "fill="),
        ('<text transform="javascript:1">a</text>', "transform="),
        ('<image fill="none"/>', "<image> in a picture"),
        ("<g>", "not XML"),
        ("<!-- -->", "declaration"),
    ],
)
def test_svg_refuses_what_is_not_allowed(inner: str, refused: str) -> None:
    document = '<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9">{}</svg>'
    with pytest.raises(ValueError, match=re.escape(refused)):
        svg.clean(document.format(inner), "cosine")


def test_svg_leaves_out_other_attributes() -> None:
    document = (
        '<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><g clip-path="url(#a)">'
        '<text style="fill:red" onclick="x()" id="a" font-size="12px">b</text></g></svg>'
    )
    drawing, _ = svg.clean(document, "cosine")
    assert drawing.endswith('<text font-size="12">b</text></svg>')


def test_vega_is_imported_only_to_draw() -> None:
    program = (
        "import sys, probes.report.pictures as p;"
        "assert not {'altair', 'vl_convert', 'torch'} & set(sys.modules);"
        "import probes.report.pictures.gallery;"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


# --- throughput ----------------------------------------------------------------------------------


def test_throughput_has_a_mark_for_each_rate_and_limit() -> None:
    (picture,) = draw_throughput(record(throughput=rates()))
    measured = [rate for rate in rates() if rate.unit == "tokens" and rate.per_second]
    batches = {rate.batch for rate in measured}
    assert len(picture.numbers) == len(measured) + 2 * len(batches)
    assert {"8, static: 453", "8, limit: 7,600"} < set(picture.numbers)
    assert "stroke-dasharray" in picture.drawing
    assert "静的キャッシュ" in picture.drawing
    assert "コンパイル済み" not in picture.drawing


@pytest.mark.parametrize("kept", [[], ["copy"], ["copy", "continuous batching"]])
def test_throughput_without_batches_has_no_picture(kept: list[str]) -> None:
    few = tuple(rate for rate in rates() if rate.what in kept)
    assert draw_throughput(record(throughput=few)) == ()


@pytest.mark.parametrize("rate", [float("nan"), float("inf"), -1.0])
def test_report_is_whole_when_no_chart_can_hold_a_rate(rate: float) -> None:
    (one,) = [r for r in rates() if (r.what, r.batch, r.cache) == ("decode", 8, "dynamic")]
    odd = one.model_copy(update={"per_second": rate, "low": rate, "high": rate, "share": rate})
    assert 'id="throughput"' in render(record(throughput=(odd,)))
