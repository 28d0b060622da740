"""Labels and cutting, on byte-level, WordPiece and SentencePiece-like tokenizers."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast
from transformers.convert_slow_tokenizer import bytes_to_unicode

from models.errors import InputError
from models.networks.tokens import labels, readable, tokenize
from tests.models.networks.tiny_networks import byte_level_tokenizer, gpt2_tokenizer, word_piece_tokenizer

BYTE_LEVEL, GPT2, WORD_PIECE = byte_level_tokenizer(), gpt2_tokenizer(), word_piece_tokenizer()
WORDY = st.text(min_size=1).filter(lambda text: text.strip() and "\ufffd" not in text)


def sentence_piece_tokenizer() -> PreTrainedTokenizerFast:
    """Llama 2's kind: ▁ for a space, bytes for what is not in the vocabulary."""
    pieces = ["<unk>", *(f"<0x{byte:02X}>" for byte in range(256)), "▁", "a", "b", "▁a", "ab", "▁ab"]
    vocabulary = {piece: index for index, piece in enumerate(pieces)}
    merges = [("▁", "a"), ("a", "b"), ("▁a", "b")]
    tokenizer = Tokenizer(models.BPE(vocabulary, merges, unk_token="<unk>", byte_fallback=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>")


SENTENCE_PIECE = sentence_piece_tokenizer()
ALL = [BYTE_LEVEL, GPT2, WORD_PIECE, SENTENCE_PIECE]
for _tokenizer in ALL:  # as the loader leaves them
    _tokenizer.backend_tokenizer.no_padding()
    _tokenizer.backend_tokenizer.no_truncation()


def spelled(tokenizer, text: str) -> tuple[str, ...]:
    return labels(tokenizer, tokenize(tokenizer, text, 1_000).token_ids)


@pytest.mark.parametrize("tokenizer", [BYTE_LEVEL, GPT2, SENTENCE_PIECE])
@settings(deadline=None)
@given(WORDY.filter(lambda text: not text.startswith("<|start|>")))
def test_token_ids_are_those_of_transformers(tokenizer, text):
    tokenized = tokenize(tokenizer, text, 1_000_000)
    assert list(tokenized.token_ids) == tokenizer(text).input_ids
    assert tokenized.shown == text
    assert tokenized.total == len(tokenized.token_ids)


def test_settings_that_a_tokenizer_file_carries_along_do_not_cut_or_pad():
    tokenizer = word_piece_tokenizer()
    tokenizer.backend_tokenizer.no_truncation()
    tokenizer.backend_tokenizer.no_padding()
    text = "Margery rowed out to the bell on the rock before the tide turned."
    assert list(tokenize(tokenizer, text, 100).token_ids) == tokenizer(text).input_ids


@pytest.mark.parametrize("tokenizer", ALL)
@settings(deadline=None)
@given(text=WORDY, most=st.integers(4, 12))
def test_cutting_keeps_the_first_tokens_and_whole_characters(tokenizer, text, most):
    tokenizer.backend_tokenizer.no_truncation()
    tokenizer.backend_tokenizer.no_padding()
    try:
        whole = tokenize(tokenizer, text, 1_000_000)
    except InputError:  # WordPiece keeps nothing of a control character
        return
    cut = tokenize(tokenizer, text, most)
    assert len(cut.token_ids) == min(most, whole.total)
    assert cut.total == whole.total
    assert text.startswith(cut.shown)
    ending = 1 if tokenizer is WORD_PIECE else 0  # [SEP] stays at the end
    kept = len(cut.token_ids) - ending
    assert cut.token_ids[:kept] == whole.token_ids[:kept]
    if ending:
        assert cut.token_ids[-1] == 3


def test_shown_text_ends_where_the_kept_tokens_end():
    text = "Margery rowed out. 茶馆里的人 🙂🙂🙂"
    whole = tokenize(BYTE_LEVEL, text, 1_000)
    for most in range(2, len(whole.token_ids)):
        cut = tokenize(BYTE_LEVEL, text, most)
        decoded = BYTE_LEVEL.decode(cut.token_ids[1:])
        assert cut.shown == decoded.rstrip("\ufffd")  # a character whose bytes were cut is not shown


def test_cutting_leaves_the_shared_tokenizer_as_it_is():
    before = GPT2.backend_tokenizer.to_str()
    tokenize(GPT2, "Margery rowed out to the bell.", 3)
    assert GPT2.backend_tokenizer.to_str() == before
    assert GPT2.backend_tokenizer.truncation is None


@pytest.mark.parametrize("tokenizer", ALL)
@settings(deadline=None)
@given(text=st.text(min_size=1).filter(str.strip))
def test_every_label_is_readable(tokenizer, text):
    try:
        shown = spelled(tokenizer, text)
    except InputError:
        return
    for label in shown:
        assert label
        assert "\ufffd" not in label
        assert label.isprintable()
        assert " " not in label


def joined(shown: tuple[str, ...]) -> str:
    """Labels as one text again: of a character's shares the first alone, without its mark."""
    kept = re.sub(
        r"(‹[^›]+›|[^›])⟨(\d+)/\d+⟩", lambda share: share[1] if share[2] == "1" else "", "".join(shown)
    )
    return kept.replace("◌", "")


@pytest.mark.parametrize("tokenizer", [BYTE_LEVEL, GPT2])
@settings(deadline=None)
@given(WORDY)
def test_labels_spell_the_text(tokenizer, text):
    start = ("<|start|>",) if tokenizer is BYTE_LEVEL else ()
    assert spelled(tokenizer, text)[: len(start)] == start
    assert joined(spelled(tokenizer, text)[len(start) :]) == readable(text).replace("◌", "")


@settings(deadline=None)
@given(st.lists(st.integers(0, 379), min_size=1, max_size=40))
def test_bytes_that_form_no_character_are_shown_as_bytes(token_ids):
    ids = tuple(token_ids)
    shown = labels(BYTE_LEVEL, ids)
    strays = BYTE_LEVEL.decode(ids).count("\ufffd") > 0
    assert any(re.search(r"‹[89A-F][0-9A-F]›", label) for label in shown) == strays


def test_labels_of_all_tokens_differ():
    """Alone, with no neighbour to complete its bytes, each token of the vocabulary has its own label."""
    alone = [labels(BYTE_LEVEL, (token,))[0] for token in range(len(BYTE_LEVEL))]
    assert len(set(alone)) == len(alone)


def test_a_character_in_several_tokens_shows_in_each_of_them():
    assert spelled(GPT2, "🙂") == ("🙂⟨1/4⟩", "🙂⟨2/4⟩", "🙂⟨3/4⟩", "🙂⟨4/4⟩")
    assert spelled(SENTENCE_PIECE, "a字") == ("·a", "字⟨1/3⟩", "字⟨2/3⟩", "字⟨3/3⟩")
    ids = tokenize(GPT2, "🙂", 1_000).token_ids
    assert labels(GPT2, ids[:3]) == ("‹F0›", "‹9F›", "‹99›")


def test_invisible_characters_are_shown():
    assert "".join(spelled(GPT2, "a b\nc\td")) == "a·b⏎c⇥d"
    assert (
        "".join(spelled(GPT2, "x\x00\u200b\x7f"))
        == "x‹U+0000›" + "‹U+200B›⟨1/3⟩‹U+200B›⟨2/3⟩‹U+200B›⟨3/3⟩" + "‹U+007F›"
    )
    # What the notation itself uses is told apart from it.
    assert "".join(spelled(WORD_PIECE, "a·b")) != "".join(spelled(WORD_PIECE, "a b"))
    assert spelled(SENTENCE_PIECE, "\ufffd")[1] == "‹U+FFFD›⟨1/3⟩"


def test_special_tokens_are_shown_as_they_are_written():
    assert spelled(BYTE_LEVEL, "Margery")[0] == "<|start|>"
    assert spelled(WORD_PIECE, "Margery") == ("[CLS]", "margery", "[SEP]")
    assert spelled(BYTE_LEVEL, "<|start|>") == ("<|start|>",)
    assert spelled(WORD_PIECE, "[MASK]") == ("[CLS]", "[MASK]", "[SEP]")


@pytest.mark.parametrize("tokenizer", [BYTE_LEVEL, WORD_PIECE], ids=["start", "start and end"])
@pytest.mark.parametrize("most", [4, 1_000])
def test_public_case_of_a_start_token_that_the_text_begins_with_already(tokenizer, most):
    """neuronpedia#204, #123, inseq#278, lm-evaluation-harness#3333: one start token, not two."""
    typed = "<|start|>" if tokenizer is BYTE_LEVEL else "[CLS] "
    plain = tokenize(tokenizer, "the bell on the rock", most)
    found = tokenize(tokenizer, typed + "the bell on the rock", most)
    assert found.token_ids.count(plain.token_ids[0]) == 1
    assert found.token_ids[:2] == plain.token_ids[:2]
    assert found.total == plain.total
    assert len(found.token_ids) <= most
    if most > 4:
        assert found.token_ids == plain.token_ids


def test_special_tokens_are_dropped_only_where_the_tokenizer_puts_them():
    ids = tokenize(WORD_PIECE, "[CLS] the bell [SEP]", 100).token_ids
    assert ids == tokenize(WORD_PIECE, "the bell", 100).token_ids
    assert spelled(WORD_PIECE, "the [SEP] bell") == ("[CLS]", "the", "[SEP]", "bell", "[SEP]")
    assert spelled(GPT2, "<|start|>a") == ("<|start|>", "a")  # it puts none of its own
    assert spelled(BYTE_LEVEL, "<|start|><|start|>a") == ("<|start|>", "<|start|>", "a")


def test_public_case_of_characters_that_lie_in_two_tokens():
    """tokenizers#1162, sae_vis#55, transformer-explainer#86: GPT-2's own ids of 東京メトロ."""
    whole = {30266: "æĿ", 12859: "äº", 26998: "ãĥ¡", 13298: "ãĥĪ", 16253: "ãĥŃ"}
    order = [*range(33, 127), *range(161, 173), *range(174, 256)]  # GPT-2 numbers visible bytes first
    order += [byte for byte in range(256) if byte not in order]
    vocabulary = {bytes_to_unicode()[byte]: index for index, byte in enumerate(order)}
    vocabulary |= {piece: token for token, piece in whole.items()}
    tokenizer = Tokenizer(models.BPE(vocabulary, []))
    tokenizer.decoder = decoders.ByteLevel()
    gpt2 = PreTrainedTokenizerFast(tokenizer_object=tokenizer)
    ids = (30266, 109, 12859, 105, 26998, 13298, 16253)
    assert gpt2.decode(ids) == "東京メトロ"
    assert labels(gpt2, ids) == ("東⟨1/2⟩", "東⟨2/2⟩", "京⟨1/2⟩", "京⟨2/2⟩", "メ", "ト", "ロ")
    assert labels(gpt2, ids[:1]) == ("‹E6›‹9D›",)


def test_embedding_rows_without_a_token_have_a_label():
    assert labels(BYTE_LEVEL, (399,)) == ("#399",)


@pytest.mark.parametrize("text", ["", " ", "\n\t \u3000"])
def test_empty_text_is_refused(text):
    with pytest.raises(InputError, match="empty"):
        tokenize(BYTE_LEVEL, text, 64)


def test_text_of_which_nothing_is_left_is_refused():
    with pytest.raises(InputError, match="keeps nothing"):
        tokenize(WORD_PIECE, "\x00\x01", 64)


@pytest.mark.parametrize(("tokenizer", "special"), [(BYTE_LEVEL, 1), (WORD_PIECE, 2)], ids=["one", "two"])
def test_a_limit_below_the_special_tokens_is_refused(tokenizer, special):
    for most in (-1, 0, special):
        with pytest.raises(InputError, match=f"puts {special} tokens around a text"):
            tokenize(tokenizer, "the bell", most)
    assert len(tokenize(tokenizer, "the bell", special + 1).token_ids) == special + 1


def test_half_a_surrogate_pair_is_refused():
    with pytest.raises(InputError, match="Character 2"):
        tokenize(BYTE_LEVEL, "a\ud83d", 64)


def test_longest_text_is_accepted_and_a_longer_one_refused():
    assert len(tokenize(BYTE_LEVEL, "a " * 50_000, 64).token_ids) == 64
    with pytest.raises(InputError, match="100001 characters; at most 100000"):
        tokenize(BYTE_LEVEL, "a" * 100_001, 64)
