"""Markup in every text field, and addresses that no control has written: nothing of it is carried out."""

import json
import re

import pytest

from components.catalogue import PAGES
from components.control_kinds import Text
from tests.pages.screen import controls, open_page, views

NAMES = [entry.name for entry in PAGES]
MARK = "lOuPe"  # in no page's own words
MARKUP = (
    f"https://evil.example/{MARK} www.{MARK}.example a@{MARK}.example "
    f"<script>{MARK}()</script><img src=x onerror={MARK}()> [{MARK}](javascript:{MARK}()) "
    f"![{MARK}](https://x.example/{MARK}) **{MARK}** :red[{MARK}] $\\href{{{MARK}}}{{x}}$ {{0}} %s"
)
HTML = re.compile(rf"<(script|img)[^>]*{MARK}|<script>{MARK}", re.IGNORECASE)
MARKDOWN = re.compile(rf"\]\(javascript:|!\[{MARK}|\*\*{MARK}\*\*|:red\[{MARK}|\$\\href")
LINK = re.compile(rf"(?<!\u2060)(://|www\.|@)[^\s]*{MARK}", re.IGNORECASE)  # a link without any mark
WRITTEN = ("markdown", "caption", "info", "warning", "error", "success", "title")


def nothing_is_carried_out(screen):
    assert not screen.exception
    for element in screen.get("html"):
        assert not HTML.search(element.proto.body), element.proto.body
    for kind in WRITTEN:
        for element in screen.get(kind):
            body = re.sub(r"(`+).+?\1|\\.", "", str(element.value), flags=re.DOTALL)  # code, and escaped
            assert not MARKDOWN.search(body), (kind, element.value)
            assert not LINK.search(re.sub(r"(`+).+?\1", "", str(element.value))), (kind, element.value)
            assert not (getattr(element.proto, "allow_html", False) and HTML.search(body)), element.value


@pytest.mark.parametrize("name", NAMES)
def test_markup_in_every_text_field_stays_text(name):
    fields = 0
    for view in views(name):
        if not any(isinstance(control, Text) for control in view.controls().values()):
            continue  # numbers and choices only
        screen = open_page(name, **{f"{name}_view": view.name})
        for kind in ("text_area", "text_input"):
            for number in range(len(getattr(screen, kind))):
                if number < len(getattr(screen, kind)):  # what was typed before may have taken it away
                    getattr(screen, kind)[number].set_value(MARKUP).run()
                    nothing_is_carried_out(screen)
                    fields += 1
    assert fields or name in ("optimizers", "lora")  # hidden at first, and none


@pytest.mark.parametrize("value", ["x" * 1_000, MARKUP, "1e999", "9" * 1_000], ids=lambda value: value[:5])
@pytest.mark.parametrize("name", NAMES)
def test_addresses_that_no_control_has_written_open_the_page(name, value):
    screen = open_page(name, lang=value, missing=value, **dict.fromkeys(controls(name), value))
    assert screen.title
    nothing_is_carried_out(screen)


@pytest.mark.parametrize("asked", [MARKUP, MARKUP[60:], "x" * 10_000], ids=["script", "markdown", "long"])
def test_a_page_that_is_not_there_is_named_as_text(asked):
    screen = open_page("home", missing=asked)
    assert len(screen.info[0].value) < 200
    nothing_is_carried_out(screen)


KEYS = ("model_type", f"rope_[{MARK}](https://evil.example/{MARK})", f"rope_https://evil.example/{MARK}")


@pytest.mark.parametrize("where", ["beside", "inside", "layer types"])
def test_names_of_fields_in_a_config_stay_text(where):
    llama = {"model_type": "llama", "hidden_size": 64, "num_attention_heads": 4}
    strange = dict.fromkeys(KEYS[1:], 1)
    rope = {"rope_type": "yarn", "factor": 2.0, "rope_theta": 1e4}
    config = {
        "beside": llama | strange,
        "inside": llama | {"rope_parameters": rope | strange},
        "layer types": {
            "model_type": "gemma3_text",
            "layer_types": ["full_attention", *KEYS[1:]],
            "num_hidden_layers": 3,
            "rope_parameters": {"full_attention": rope} | dict.fromkeys(KEYS[1:], rope),
        },
    }[where]
    screen = open_page("context", context_view="config", context_config=json.dumps(config))
    nothing_is_carried_out(screen)
    for radio in screen.get("radio"):
        for option in radio.options:
            assert not LINK.search(option), option
            assert not MARKDOWN.search(re.sub(r"\\.", "", option)), option
