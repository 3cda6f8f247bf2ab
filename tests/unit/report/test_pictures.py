"""What the pictures of a report encode, and that nothing gets into the page by them."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

import numpy as np
import pytest

from probes.report.html.page import render
from probes.report.locale import LANGUAGES, texts
from probes.report.pictures import (
    Picture,
    choosing,
    draw,
    draw_throughput,
    gallery,
    meaning,
    measured,
    svg,
    tasks,
)
from probes.report.pictures.charts import label
from probes.schema import prompt_logprobs as kept_logits
from tests.support.samples import HOSTILE, check, header, planned, rates, record

if TYPE_CHECKING:
    from pydantic import JsonValue

    from probes.report.pictures.charts import Chart
    from probes.schema.record import Record

ENGLISH: dict[str, JsonValue] = {
    "text": "Japan is",
    "ids": [1, 4720, 349],
    "pieces": ["<s>", "▁Japan", "▁is"],
}
WORDS = ["king", "queen", "dog", "sea"]
GROUPS = ["royalty", "royalty", "animals", ""]
COSINES = [[1.0, 0.9, 0.3, 0.2], [0.9, 1.0, 0.3, 0.2], [0.3, 0.3, 1.0, 0.1], [0.2, 0.2, 0.1, 1.0]]
LIST: dict[str, JsonValue] = {
    "words": [*WORDS],
    "groups": [*GROUPS],
    "cosine_matrix": [[*row] for row in COSINES],
}
PLANE: dict[str, JsonValue] = {
    "points": [
        {"word": word, "group": group, "x": x, "y": y}
        for word, group, x, y in zip(WORDS, GROUPS, (0, 0.01, 2, 1), (0, 0, 1, -1), strict=True)
    ],
    "explained_variance": [0.25, 0.125],
}
SHARED: dict[str, JsonValue] = {
    "pieces": {"女王": ["▁", "女", "王"], "王女": ["▁", "王", "女"], "猫": ["▁", "猫"]},
    "cosine_matrix": [[1.0, 1.0, 0.5], [1.0, 1.0, 0.5], [0.5, 0.5, 1.0]],
}
TOP_TEN: dict[str, JsonValue] = {
    "top_ten": [
        {"id": 19887, "text": "Tokyo", "probability": 0.911},
        {"id": 264, "text": " ", "probability": 0.00455},
    ]
}
LOGITS = [4.0, 2.0, 1.0, 0.5]
DISTRIBUTION: dict[str, JsonValue] = {
    "prompt": "The capital of Japan is",
    "answer": None,
    "vocabulary": 4,
    "top": [{"id": 5, "text": "Tokyo", "logit": 4.0}, {"id": 6, "text": "a", "logit": 2.0}],
    "head": [4.0, 2.0],
    "step": 1,
    "tail": [1.0, 0.5],
}
FLAT = DISTRIBUTION | {"prompt": "Once upon a time,", "head": [2.1, 2.0]}
STEP: dict[str, JsonValue] = {"entropy": 1.0, "probability": 0.5, "rank": 1, "alternatives": []}
TRACED: dict[str, JsonValue] = {
    "settings": {"temperature": 1.4, "top_p": 0.9},
    "trace": {
        "prompt": "Once",
        "steps": [STEP | {"text": " upon", "kept": 21}, STEP | {"text": " a", "kept": 1}],
    },
}
SETTINGS: list[JsonValue] = [
    {
        "top_p": top_p,
        "temperature": temperature,
        "right_least": 1 - temperature / 3,
        "right_most": 1 - temperature / 4,
        "distinct_4_grams": temperature * top_p / 2,
    }
    for top_p in (0.2, 0.9)
    for temperature in (0.2, 1.4)
]
BEAMS: dict[str, JsonValue] = {
    "greedy": {"beams": 1, "text": "a", "log_probability": -25.2, "rows": 20},
    "four_beams": {"beams": 4, "text": "b", "log_probability": -24.13, "rows": 80},
}
MEMORY: dict[str, JsonValue] = {
    "linear_parameters": 1_000_000,
    "other_parameters": 500_000,
    "linear_bytes": 562_500,
    "total_bytes": 1_562_500,
    "fp16_bytes": 3_000_000,
}
VARIED: dict[str, JsonValue] = {"entropies": 0.4, "log_likelihoods": -0.9, "distinct_4_grams": 0.27}

EVIDENCE: dict[str, list[dict[str, JsonValue]]] = {
    "load-nf4": [MEMORY],
    "ids-english": [ENGLISH],
    "ids-japanese": [ENGLISH],
    "prefix-space": [ENGLISH, ENGLISH],
    "double-bos": [ENGLISH],
    "cosine-groups": [LIST | {"other_lists": {"japanese": LIST}}],
    "pca-groups": [PLANE | {"other_lists": {"japanese": PLANE}}],
    "other-vectors": [LIST, LIST | {"layer": 2}],
    "shared-pieces": [SHARED],
    "next-token": [TOP_TEN, {"distributions": [DISTRIBUTION, FLAT]}],
    "temperature-shape": [{"temperatures": [0.5, 1.0], "entropies": [0.1, 0.7]}],
    "nucleus-adapts": [{"p": 0.9, "entropies": [0.1, 3.5], "sizes": [1, 27]}],
    "filter-order": [TRACED],
    "hidden-top-k": [{"kept_by_default": [24, 2], "kept_with_top_k_0": [336, 238]}],
    "collapse": [
        {
            "greedy": "Tokyo.",
            "grid": [
                {"temperature": t, "top_p": p, "probability": t * p}
                for p in (0.2, 0.9)
                for t in (0.2, 1.0)
            ],
        }
    ],
    "heat-wide-varies-more": [{"narrow_hot": {**VARIED}, "wide_hot": VARIED | {"entropies": 1.4}}],
    "greedy-repeats": [
        {"greedy_distinct": 0.2, "sampled_distinct": 0.99, "greedy_text": "a b c d a b c d e"}
    ],
    "beam-likelihood": [BEAMS],
    "knowledge-dose": [
        {"temperatures": [0.2, 1.4], "at_least": [1.0, 0.5], "at_most": [1.0, 0.75]}
    ],
    "task-settings": [{"settings": SETTINGS}],
}


def of(evidence: dict[str, list[dict[str, JsonValue]]], name: str = "test_it[0.9]") -> Record:
    """A record whose claims have this evidence."""
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


def said(pictures: tuple[Picture, ...]) -> list[str]:
    return [number for picture in pictures for number in picture.numbers]


def rows(chart: Chart) -> list[dict[str, Any]]:
    """The data of all charts within one, each once."""
    spec = chart.to_dict()
    return [row for text in spec["datasets"].values() for row in json.loads(text)]


def test_every_claim_of_the_gallery_has_its_pictures(
    drawn: dict[str, tuple[Picture, ...]],
) -> None:
    assert set(EVIDENCE) == set(gallery.GALLERY)
    keys = {claim: [picture.key for picture in pictures] for claim, pictures in drawn.items()}
    assert set(keys) == set(EVIDENCE)
    assert keys["cosine-groups"] == ["cosine", "cosine-other"]
    assert keys["double-bos"] == ["double"]
    assert keys["other-vectors"] == ["cosine-head", "cosine-layer"]
    assert keys["next-token"] == ["top-ten", "temperatures", "temperatures"]


def test_drawings_are_xml_without_ids_styles_links_or_scripts(
    drawn: dict[str, tuple[Picture, ...]],
) -> None:
    for picture in (picture for pictures in drawn.values() for picture in pictures):
        root = ElementTree.fromstring(str(picture.drawing))  # noqa: S314
        for node in root.iter():
            assert node.tag in {
                *("svg", "g", "path", "line", "rect", "text", "tspan", "title"),
                *("ol", "li", "dl", "dt", "dd", "bdi", "i", "span", "p", "mark"),
            }
            assert not {"id", "style", "href", "clip-path"} & set(node.attrib)
            assert not any(name.startswith("on") for name in node.attrib)
            assert "url(" not in "".join(node.attrib.values())


def test_charts_fit_a_page_and_are_named_in_every_language(
    drawn: dict[str, tuple[Picture, ...]],
) -> None:
    for picture in (picture for pictures in drawn.values() for picture in pictures):
        if not picture.drawing.startswith("<svg"):
            continue
        root = ElementTree.fromstring(str(picture.drawing))  # noqa: S314
        assert float(root.get("width", "")) <= 640
        assert root.get("role") == "img"
        for language in LANGUAGES:
            title = texts(language)[f"pictures.{picture.key}.title"]
            assert root.get(f"data-{language}-aria-label") == title


def test_every_picture_has_its_texts_with_nothing_left_open(
    drawn: dict[str, tuple[Picture, ...]],
) -> None:
    for picture in (picture for pictures in drawn.values() for picture in pictures):
        assert picture.title
        assert "{" not in picture.note


def test_labels_are_in_every_language_and_none_of_their_marks_is_left(
    drawn: dict[str, tuple[Picture, ...]],
) -> None:
    shown = "".join(str(p.drawing) + "".join(p.numbers) for each in drawn.values() for p in each)
    assert svg.WORD not in shown
    assert svg.VALUE not in shown
    for language, text in (
        ("en", "temperature T"),
        ("ja", "温度 T"),
        ("en", "step 2"),
        ("ja", "2 番目"),
    ):
        assert f'<tspan lang="{language}">{text}</tspan>' in shown


def test_the_texts_have_the_same_keys_and_no_label_twice() -> None:
    keys = [{key for key in texts(code) if key.startswith("pictures.")} for code in LANGUAGES]
    assert all(each == keys[0] for each in keys)
    first = texts(next(iter(LANGUAGES)))
    labels = [text for key, text in first.items() if key.startswith("pictures.labels.")]
    assert len(set(labels)) == len(labels)


def test_the_texts_have_the_same_braces_in_every_language() -> None:
    for key in texts("en"):
        if key.startswith("pictures."):
            braces = [sorted(re.findall(r"\{\w*\}", texts(code)[key])) for code in LANGUAGES]
            assert all(each == braces[0] for each in braces), key


def test_a_strip_shows_pieces_ids_special_tokens_and_spaces(
    drawn: dict[str, tuple[Picture, ...]],
) -> None:
    assert str(drawn["ids-english"][0].drawing) == (
        '<ol class="strip"><li class="special"><bdi>&lt;s&gt;</bdi><span>1</span></li>'
        "<li><bdi><i>▁</i>Japan</bdi><span>4720</span></li>"
        "<li><bdi><i>▁</i>is</bdi><span>349</span></li></ol>"
    )


def test_the_head_of_a_tied_model_is_not_drawn_twice() -> None:
    tied = LIST | {"tied_to_the_embedding": True}
    assert draw(of({"other-vectors": [tied]})) == {}


def test_scripts_whose_space_is_merged_come_before_those_whose_space_is_not() -> None:
    alone: dict[str, JsonValue] = {"text": "日", "ids": [1, 28705, 3], "pieces": ["<s>", "▁", "日"]}
    (picture,) = draw(of({"prefix-space": [alone, *[ENGLISH] * 5]}))["prefix-space"]
    assert picture.drawing.count("<dt>") == 4
    assert picture.drawing.index("Japan") < picture.drawing.index("日")


def test_a_heat_map_has_a_cell_a_pair_as_strong_as_its_cosine() -> None:
    found = measured.Similarities.model_validate(LIST)
    cells = [row for row in rows(meaning.similarities(found)) if "cosine" in row]
    assert [row["cosine"] for row in cells] == [cosine for line in COSINES for cosine in line]
    assert cells[1]["tip"] == "king – queen: 0.900"
    # A gap lies between the groups, and none within.
    assert [cell["left"] for cell in cells[:4]] == [0, 16, 35, 54]


def test_a_plane_keeps_one_scale_and_hides_no_name() -> None:
    found = measured.Plane.model_validate(PLANE)
    points = [row for row in rows(meaning.plane(found)) if row.get("tip")]
    placed = {row["name"]: row for row in points}
    king, dog, sea = placed["king"], placed["dog"], placed["sea"]
    assert dog["x"] - king["x"] == pytest.approx(2 * (sea["x"] - king["x"]))
    assert sea["y"] - king["y"] == pytest.approx(sea["x"] - king["x"])
    assert dog["y"] < king["y"] < sea["y"]
    # Two words in one place: their names are not.
    assert (king["name_x"], king["name_y"]) != (
        placed["queen"]["name_x"],
        placed["queen"]["name_y"],
    )
    assert king["colour"] == placed["queen"]["colour"] != dog["colour"]


def test_pairs_that_share_a_piece_are_told_from_the_others(
    drawn: dict[str, tuple[Picture, ...]],
) -> None:
    assert said(drawn["shared-pieces"]) == [
        "女王 – 王女: 1.0000 女 王",
        "女王 – 猫: 0.5000",
        "王女 – 猫: 0.5000",
    ]


def test_the_likeliest_tokens_show_their_probabilities(
    drawn: dict[str, tuple[Picture, ...]],
) -> None:
    picture = drawn["next-token"][0]
    assert picture.numbers == ("Tokyo (19887): 0.911000", "␣ (264): 0.004550")
    assert ">91.1 %</text>" in picture.drawing


def test_temperatures_are_those_of_the_whole_distribution() -> None:
    found = measured.Distribution.model_validate(DISTRIBUTION)
    bars = [row for row in rows(choosing.temperatures(found)) if row.get("tip")]
    tokyo = {row["tip"].split(",")[0]: row["length"] for row in bars if "Tokyo" in row["tip"]}
    for temperature in choosing.TEMPERATURES:
        weights = np.exp(np.asarray(LOGITS) / temperature)
        assert tokyo[f"T {temperature:g}"] == pytest.approx(weights[0] / weights.sum())
    others = [row["length"] for row in bars if "…" in row["tip"]]
    assert others == sorted(others)


def test_the_flattest_distribution_stands_beside_the_first(
    drawn: dict[str, tuple[Picture, ...]],
) -> None:
    notes = [str(picture.note) for picture in drawn["next-token"][1:]]
    assert "The capital of Japan is" in notes[0]
    assert "Once upon a time," in notes[1]


def test_logits_are_rebuilt_without_torch() -> None:
    assert kept_logits.whole(4, [4.0, 2.0], 1, [1.0, 0.5]).tolist() == LOGITS
    assert kept_logits.whole(2, [4.0, 2.0], 1, []).tolist() == [4.0, 2.0]


@pytest.mark.parametrize(
    ("claim", "numbers"),
    [
        ("temperature-shape", ["0.9, T 0.5: 0.10", "0.9, T 1: 0.70"]),
        ("nucleus-adapts", ["0.10 → 1", "3.50 → 27"]),
        ("filter-order", ["upon: 21 · 50.0 %", "a: 1 · 50.0 %"]),
        (
            "beam-likelihood",
            [
                "0.9, num_beams 1: −25.20",
                "0.9, num_beams 4: −24.13",
                "0.9, num_beams 1: 20",
                "0.9, num_beams 4: 80",
            ],
        ),
        ("knowledge-dose", ["top_p 0.9, T 0.2: 100 %", "top_p 0.9, T 1.4: 50.0 % – 75.0 %"]),
        ("load-nf4", ["fp16: 1.0 MB", "fp16: 2.0 MB", "NF4: 1.0 MB", "NF4: 562.5 kB"]),
        (
            "collapse",
            [
                "T 0.2, top_p 0.2: 0.04",
                "T 1, top_p 0.2: 0.2",
                "T 0.2, top_p 0.9: 0.18",
                "T 1, top_p 0.9: 0.9",
            ],
        ),
    ],
)
def test_marks_say_what_was_measured(
    drawn: dict[str, tuple[Picture, ...]], claim: str, numbers: list[str]
) -> None:
    assert said(drawn[claim]) == numbers
    for number in numbers:
        assert f"<title>{number}</title>" in drawn[claim][0].drawing


def test_bars_of_kept_tokens_are_as_long_as_their_logarithm() -> None:
    found = measured.Traced.model_validate(TRACED)
    first, second = [row for row in rows(choosing.kept_along([found])) if "tip" in row][:2]
    assert first["length"] - second["length"] == pytest.approx(np.log10(21))


def test_hidden_top_k_is_set_beside_none(drawn: dict[str, tuple[Picture, ...]]) -> None:
    numbers = said(drawn["hidden-top-k"])
    assert set(numbers) == {"0.9, 1: 24 → 336", "0.9, 2: 2 → 238"}


def test_settings_have_a_panel_a_nucleus_and_both_measures() -> None:
    found = measured.Settings.model_validate({"settings": SETTINGS})
    chart = tasks.settings(found)
    assert len(chart.to_dict()["hconcat"]) == 2
    hot = [row for row in rows(chart) if row.get("temperature") == 1.4]
    assert [row["distinct"] for row in hot] == [pytest.approx(0.14), pytest.approx(0.63)]
    assert [row["least"] for row in hot] == [pytest.approx(1 - 1.4 / 3)] * 2


def test_repeated_words_are_marked(drawn: dict[str, tuple[Picture, ...]]) -> None:
    (picture,) = drawn["greedy-repeats"]
    assert "a b c d <mark>a b c d</mark> e" in picture.drawing
    assert "20.0 %" in picture.note


SPEAKING = {
    *("ids-english", "prefix-space", "cosine-groups", "pca-groups", "shared-pieces", "next-token"),
    *("temperature-shape", "filter-order", "hidden-top-k", "collapse", "greedy-repeats"),
    *("knowledge-dose", "beam-likelihood"),
}
"""Claims whose pictures show text from outside."""


def hostile(value: JsonValue, text: str) -> JsonValue:
    """Evidence in which every text is another."""
    if isinstance(value, dict):
        return {key: hostile(item, text) for key, item in value.items()}
    if isinstance(value, list):
        return [hostile(item, text) for item in value]
    return text if isinstance(value, str) else value


@pytest.mark.parametrize(
    "text",
    [
        HOSTILE,
        "</script><img src=x onerror=alert(1)>" * 3000,
        "]]><!DOCTYPE x [<!ENTITY a 'b'>]>&a;",
        f"{svg.WORD}temperature T{svg.VALUE}{{0.__class__}}",
        "{{7*7}} {0} {key}",
        "\ud83d\ude00",
        "",
    ],
    ids=["everything", "long", "entities", "marks", "braces", "surrogates", "empty"],
)
def test_text_from_outside_stays_text(text: str) -> None:
    evidence = {
        claim: [value for each in values if isinstance(value := hostile(each, text), dict)]
        for claim, values in EVIDENCE.items()
        if claim in SPEAKING
    }
    evidence["pca-groups"] = [
        PLANE | {"other_lists": {text[:40]: PLANE}, "points": evidence["pca-groups"][0]["points"]}
    ]
    evidence["shared-pieces"] = [
        {"pieces": {text[:400]: ["▁", text], "b": [text]}, "cosine_matrix": [[1, 0.5], [0.5, 1]]}
    ]
    pictures = draw(of(evidence, f"test_it[{text}]"))
    assert SPEAKING - set(pictures) <= (set() if text else {"greedy-repeats"})
    for picture in (picture for several in pictures.values() for picture in several):
        whole = f"<div>{picture.drawing}{picture.note}</div>"
        names = {node.tag for node in ElementTree.fromstring(whole).iter()}  # noqa: S314
        assert not names & {"script", "img", "image", "a", "style", "foreignObject", "use"}
        assert len(whole) < 100_000
        assert not re.search("[\u202a-\u202e\u2066-\u2069\x00-\x08]", whole)
        assert svg.WORD not in whole


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"words": ["a"], "text": 5, "top_ten": [], "settings": "none"},
        {"words": ["a", "b"], "groups": ["", ""], "cosine_matrix": [[1.0], [1.0]]},
        {"top_ten": [{"id": 1, "text": "a", "probability": "NaN"}]},
        {"points": [{"word": "a", "group": "", "x": 1e308, "y": -1e308}] * 2}
        | {"explained_variance": [0.1, 0.1]},
        {"p": 0.9, "entropies": [1.0], "sizes": [1, 2]},
        {"distributions": [{"prompt": 1}]},
        {"temperatures": [0.2, 0.0], "entropies": [1.0, 2.0]},
    ],
)
def test_evidence_of_another_shape_has_no_picture(values: dict[str, JsonValue]) -> None:
    evidence = {claim: [values] for claim in gallery.GALLERY}
    drawn = draw(of(evidence))
    assert "cosine-groups" not in drawn
    assert "next-token" not in drawn
    assert "nucleus-adapts" not in drawn


def test_a_claim_of_ones_own_has_no_picture() -> None:
    assert draw(of({"knows-tokyo": [TOP_TEN]})) == {}


@pytest.mark.parametrize(
    ("inner", "refused"),
    [
        ("<script>1</script>", "<script> in a picture"),
        ('<path d="M0,0" fill="url(#a)"/>', "fill='url"),
        ('<path d="M0,0" fill="var(--x);x:url(a)"/>', "fill="),
        ('<text transform="javascript:1">a</text>', "transform="),
        ('<image fill="none"/>', "<image> in a picture"),
        ("<g>", "not XML"),
    ],
)
def test_what_is_not_on_the_list_is_refused(inner: str, refused: str) -> None:
    document = '<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9">{}</svg>'
    with pytest.raises(ValueError, match=re.escape(refused)):
        svg.clean(document.format(inner), "cosine")


def test_a_declaration_is_refused() -> None:
    with pytest.raises(ValueError, match="declaration"):
        svg.clean('<!DOCTYPE svg [<!ENTITY a "b">]><svg/>', "cosine")


def test_attributes_not_on_the_list_are_left_out() -> None:
    document = (
        '<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><g clip-path="url(#a)">'
        '<text style="fill:red" onclick="x()" id="a" font-size="12px">b</text></g></svg>'
    )
    drawing, _ = svg.clean(document, "cosine")
    assert drawing.endswith('<text font-size="12">b</text></svg>')


def test_a_label_is_short_and_on_one_line() -> None:
    assert len(label("x" * 100_000)) == 18
    assert "\n" not in label("a\nb")
    assert label(" Tokyo") == "Tokyo"


def test_vega_is_imported_only_to_draw_and_torch_never() -> None:
    program = (
        "import sys, probes.report.pictures as p;"
        "assert not {'altair', 'vl_convert', 'torch'} & set(sys.modules);"
        "import probes.report.pictures.gallery;"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


# --- throughput ----------------------------------------------------------------------------------


def test_every_rate_by_batch_has_its_mark_and_each_batch_its_limit() -> None:
    (picture,) = draw_throughput(record(throughput=rates()))
    drawn = [rate for rate in rates() if rate.unit == "tokens" and rate.per_second]
    batches = {rate.batch for rate in drawn}
    assert len(picture.numbers) == len(drawn) + 2 * len(batches)
    assert "8, static: 453" in picture.numbers
    assert "8, limit: 7,600" in picture.numbers
    assert "stroke-dasharray" in picture.drawing
    assert "静的キャッシュ" in picture.drawing
    assert "コンパイル済み" not in picture.drawing


@pytest.mark.parametrize("kept", [[], ["copy"], ["copy", "continuous batching"]])
def test_without_rates_by_batch_there_is_no_picture(kept: list[str]) -> None:
    few = tuple(rate for rate in rates() if rate.what in kept)
    assert draw_throughput(record(throughput=few)) == ()


@pytest.mark.parametrize("rate", [float("nan"), float("inf"), -1.0])
def test_rates_that_no_chart_can_hold_leave_the_report_whole(rate: float) -> None:
    (one,) = [r for r in rates() if (r.what, r.batch, r.cache) == ("decode", 8, "dynamic")]
    odd = one.model_copy(update={"per_second": rate, "low": rate, "high": rate, "share": rate})
    assert 'id="throughput"' in render(record(throughput=(odd,)))
