"""The passages that ship."""

from models.networks.texts import passages


def test_passages_are_long_enough_and_in_both_languages():
    english = [passage for passage in passages() if passage.language == "en"]
    chinese = [passage for passage in passages() if passage.language == "zh"]
    assert len(english) >= 4
    assert len(chinese) >= 1
    for passage in english:
        assert len(passage.text.split()) >= 1_500, passage.name


def test_each_passage_has_a_name_of_its_own_and_a_title_in_both_languages():
    names = [passage.name for passage in passages()]
    assert len(set(names)) == len(names)
    for passage in passages():
        assert passage.excerpt.strip()
        assert passage.title("zh-CN") == passage.title_zh != passage.title("en-GB")
