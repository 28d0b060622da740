"""What no policy page can work with: one sentence each, and the table keeps what was typed."""

import pytest

from components.words import LANGUAGES
from tests.pages.policy_screen import CONTROLS, policy
from tests.pages.screen import open_page, said


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ({"rewards": "1,nan;0,1"}, "Row 1, column 2"),
        ({"rewards": "1,1e999;0,1"}, "Row 1, column 2"),
        ({"rewards": "1,x;0,1"}, "'x'"),
        ({"rewards": ",1;0,1"}, "the cell is empty"),
        ({"rewards": "1,0;,"}, "Row 2, column 1: the cell is empty"),
        ({"lengths": "40,0,90,60"}, "row 1, column 2 is 0"),
        ({"lengths": "40,1e9,90,60"}, "tokens"),
        ({"ratios": "1,-2,1,1"}, "above 0"),
        ({"rewards": ";".join(["1,0"] * 70)}, "70 rows"),
        ({"view": "conventions", "rewards": "1,nan;0,1"}, "Row 1, column 2"),
        ({"view": "gae", "gae_rewards": "1,2"}, "2 rewards and 6 values"),
        ({"view": "gae", "gae_values": "1,inf"}, "Row 1, column 2"),
        ({"view": "zero", "one": "1,nan"}, "Row 1, column 2"),
        ({"view": "zero", "one": ""}, "empty"),
        ({"view": "strip", "prompt": " "}, "empty"),
        ({"view": "real", "prompt": "a bell " * 200}, "tokens"),
        ({"view": "real", "goal": "word", "word": " "}, "word"),
        ({"view": "real", "new_tokens": "128", "prompt": "the bell rang " * 40}, "room"),
    ],
)
def test_a_bad_input_is_answered_by_a_sentence_and_kept(query, words):
    screen = policy(**query)
    assert not screen.exception
    assert said(screen)
    assert all(words in sentence for sentence in said(screen))
    for name, value in query.items():
        control = CONTROLS.get(f"policy_{name}")
        typed = value if control is None else control.parse(value)
        assert screen.session_state[f"policy_{name}"] == typed


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_refusal_speaks_the_persons_language(language):
    screen = open_page("policy", lang=language, policy_rewards="1,nan;0,1")
    assert ("不是有限的数" in said(screen)[0]) == (language == "zh")


@pytest.mark.parametrize(
    "query",
    [
        {"epsilon": "nan"},
        {"clip": "1e999"},
        {"cell": "x"},
        {"cell": "9.9"},
        {"reward": "nan"},
        {"method": "ppo"},
        {"view": "none"},
        {"longest": "-5"},
        {"view": "dead", "pass": "7", "size": "-3", "spread": "2"},
        {"view": "dead", "batch": "99999999999"},
        {"view": "kl", "outcomes": "1", "distance": "inf"},
        {"view": "learning", "algorithms": "none", "rate": "-1", "lab_steps": "999999"},
        {"view": "learning", "seeds": "0", "entropy": "-2"},
        {"view": "strip", "drift": "-1", "level": "x", "seed": "-4"},
        {"view": "real", "real_rate": "7", "real_answers": "1000", "temperature": "0"},
        {"rewards": "1,0", "lengths": "", "ratios": ""},
    ],
)
def test_nonsense_in_the_address_gives_the_page(query):
    screen = policy(**query)
    assert not screen.exception
    assert said(screen) == []


def test_a_group_of_one_has_no_advantage_and_says_so():
    screen = policy(rewards="0.7;0.2")
    assert not screen.exception
    assert said(screen) == []
