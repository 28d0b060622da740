"""The attention page: every bad input gets one sentence, what was typed stays, and the session goes on."""

import json
import re
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
from huggingface_hub.errors import RepositoryNotFoundError

from components.words import LANGUAGES
from tests.pages.attention_screen import CONTROLS, NETWORK, TEXT, VIEWS, attention, heatmap
from tests.pages.screen import captions, figures, live, open_page, said

# Texts and networks


@pytest.mark.parametrize(
    ("typed", "sentence"),
    [
        ("", "The text is empty; type at least one word."),
        (" \n\t ", "The text is empty; type at least one word."),
        ("a" * 100_001, "The text has 100001 characters; at most 100000 are accepted."),
    ],
    ids=["empty", "blank", "too long"],
)
def test_a_text_that_cannot_be_read_gets_one_sentence_and_stays(typed, sentence):
    screen = attention()
    screen.text_area[0].set_value(typed).run()
    assert not screen.exception
    assert said(screen) == [sentence]
    assert screen.text_area[0].value == typed
    screen.text_area[0].set_value("On we go").run()
    assert said(screen) == []
    assert set(figures(screen)) == VIEWS["look"]


@pytest.mark.parametrize(
    "typed",
    [
        "\x00\x07\x1b[31m\u200b\u202e",
        "🙂👩‍🚀🇨🇳",
        "长江两岸，灯火通明。",
        "<|start|>",
        "a",
        "`*_$<b>&{x}:red[y]",
        "字" * 90,
    ],
)
@pytest.mark.parametrize("view", ["look", "find", "depth"])
def test_unusual_texts_are_read_like_any_other(typed, view):
    screen = attention(view=view)
    screen.text_area[0].set_value(typed).run()
    assert not screen.exception
    assert said(screen) == []
    assert screen.text_area[0].value == typed
    if view == "look":
        np.testing.assert_allclose(np.nansum(heatmap(screen), axis=1), 1, atol=1e-5)


def test_a_long_text_is_cut_and_the_page_says_how_much_is_shown():
    screen = attention()
    screen.text_area[0].set_value("lamp and rope " * 6_000).run()
    assert said(screen) == []
    (cut,) = [caption for caption in captions(screen) if caption.startswith("The first")]
    shown, total = map(int, re.findall(r"\d+", cut)[:2])
    assert (shown, len(heatmap(screen))) == (256, 256)
    assert total > 10_000


def unreachable(*_arguments, **_options):
    raise ConnectionError("no route to host")


def unknown(*_arguments, **_options):
    raise RepositoryNotFoundError("404", response=SimpleNamespace(headers={}, request=None))


@pytest.mark.parametrize(
    ("name", "hub", "sentence"),
    [
        ("nobody/nothing-here", unknown, "The hub does not know a network named nobody/nothing-here."),
        (
            "nobody/nothing-here",
            unreachable,
            "nobody/nothing-here lies on a hub that cannot be reached from here; "
            "choose a network that ships with Loupe, or try again later.",
        ),
        ("/no/such/folder", unreachable, "There is no folder '/no/such/folder'."),
        (
            "two words {and} more",
            unreachable,
            "'two words {and} more' is not a network that Loupe knows; give a name from the list, "
            'a hub id such as "owner/name", or a folder that begins with "/" or "./".',
        ),
    ],
)
def test_a_network_that_cannot_be_had_gets_one_sentence_and_the_name_stays(
    monkeypatch, name, hub, sentence
):
    monkeypatch.setattr("models.networks.hub.HfApi.model_info", hub)
    screen = attention(network="other")
    screen.text_input[0].set_value(name).run()
    assert not screen.exception
    assert said(screen) == [sentence]
    assert screen.text_input[0].value == name
    screen.text_input[0].set_value(str(NETWORK)).run()
    assert said(screen) == []
    assert set(figures(screen)) == VIEWS["look"]


def damaged(folder):
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:5_000])


def pickled(folder):
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def remote_code(folder):
    config = {"model_type": "mine", "auto_map": {"AutoModel": "mine.Model"}}
    (folder / "config.json").write_text(json.dumps(config))


def too_large(folder):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"vocab_size": 10**8}))


@pytest.mark.parametrize(
    ("spoil", "word"),
    [(damaged, "damaged"), (pickled, "pickled"), (remote_code, "program"), (too_large, "parameters")],
)
@pytest.mark.parametrize("language", LANGUAGES)
def test_a_folder_that_is_no_sound_network_gets_one_sentence(tmp_path, spoil, word, language):
    folder = tmp_path / "network"
    shutil.copytree(NETWORK, folder)
    spoil(folder)
    screen = attention(network="other", other=str(folder))
    screen.session_state["lang"] = language
    screen.run()
    assert not screen.exception
    (sentence,) = said(screen)
    assert str(folder) in sentence
    assert (word in sentence) == (language == "en")
    assert sentence[-1] == ("." if language == "en" else "。")
    assert screen.text_area[0].value == TEXT


BAD = ("nan", "-inf", "1e999", "-1", "999999", "1.5", "", "<script>" * 40, "中文")
OWN_WORDS = {"attention_text", "attention_other", "attention_logits"}  # any text may stand there


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("value", BAD)
def test_an_address_with_wrong_values_opens_the_page_with_defaults(view, value):
    wrong = dict.fromkeys(set(CONTROLS) - OWN_WORDS, value)
    screen = open_page("attention", **{**wrong, "attention_text": TEXT, "attention_view": view})
    assert not screen.exception
    assert said(screen) == []
    assert set(figures(screen)) == VIEWS[view]
    for slider in live(screen).values():
        if "low" in slider:
            assert slider["low"] <= slider["value"] <= slider["high"]


@pytest.mark.parametrize("value", BAD)
def test_an_address_with_an_unknown_view_opens_the_first_one(value):
    screen = attention(view=value)
    assert not screen.exception
    assert set(figures(screen)) == VIEWS["look"]


@pytest.mark.parametrize("value", ["nan", "inf", "1e999", "two", "1," * 17, "1;2"])
def test_logits_that_are_no_numbers_get_one_sentence_and_stay(value):
    screen = attention(view="softmax", logits=value)
    assert not screen.exception
    assert said(screen) == [
        "Logits are 1 to 16 finite numbers with commas between them, such as 2, 1, 0, -1."
    ]
    assert screen.text_input[0].value == value


def test_a_repeated_parameter_is_no_trouble():
    repeated = {name: ["1", "2"] for name in CONTROLS if name not in OWN_WORDS | {"attention_view"}}
    screen = open_page("attention", attention_text=TEXT, **repeated)
    assert not screen.exception
    assert said(screen) == []


# Languages


def test_a_chinese_browser_gets_a_chinese_page_and_chinese_refusals():
    screen = open_page("attention", locale="zh-CN", attention_text=TEXT)
    assert screen.title[0].value == "注意力"
    assert live(screen)["attention_temperature_slider"]["label"] == "温度"
    screen.text_area[0].set_value("").run()
    assert said(screen) == ["文本是空的；请至少输入一个词。"]


def test_the_language_is_switched_without_losing_what_was_set():
    screen = attention(layer="2", stage="raw", temperature="0.5")
    before = heatmap(screen)
    screen.session_state["lang"] = "zh"
    screen.run()
    assert screen.title[0].value == "注意力"
    np.testing.assert_array_equal(heatmap(screen), before)
    assert screen.text_area[0].value == TEXT
