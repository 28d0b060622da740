"""A text as a network's tokenizer sees it: cut to length, and every token readable."""

import json
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby

from tokenizers import Encoding
from transformers import PreTrainedTokenizerBase
from transformers.convert_slow_tokenizer import bytes_to_unicode

from models.errors import InputError
from models.runtime.settings import settings

SPACE, NEWLINE, TAB, CIRCLE = "·", "⏎", "⇥", "◌"
NOTATION = frozenset(f"{SPACE}{NEWLINE}{TAB}{CIRCLE}‹›⟨⟩")  # where typed, shown by code point
BYTE_OF = {character: byte for byte, character in bytes_to_unicode().items()}
INVISIBLE = frozenset({"Cc", "Cf", "Cn", "Co", "Cs", "Zl", "Zp", "Zs"})


@dataclass(frozen=True)
class TokenizedText:
    """The tokens that are kept, and how much of the text they are."""

    token_ids: tuple[int, ...]
    shown: str  # the part of the text that the kept tokens cover, whole characters only
    total: int  # tokens of the whole text, special ones included


def tokenize(tokenizer: PreTrainedTokenizerBase, text: str, most_tokens: int) -> TokenizedText:
    """Tokens of ``text`` with the tokenizer's own special tokens, at most ``most_tokens``.

    A start token typed in front of the text, or an end token behind it, is the tokenizer's own: with
    two of them every position would be one further on. Works on a copy of the tokenizer's result and
    leaves the tokenizer as it is, which several threads share. Raises InputError on a text that is
    empty, blank, too long, not valid Unicode, or of which the tokenizer keeps nothing.
    """
    check_text(text)
    backend = tokenizer.backend_tokenizer
    try:
        encoding = backend.encode(text, add_special_tokens=False)
    except BaseException as error:
        if not isinstance(error, Exception) and not is_panic(error):
            raise
        raise InputError("The network's tokenizer fails on this text.") from error
    special = backend.num_special_tokens_to_add(False)
    offsets, total = encoding.offsets, len(encoding.ids)
    if total == 0:
        raise InputError("The network's tokenizer keeps nothing of this text; type some words.")
    kept = min(total, most_tokens - special)
    if kept < 1:
        raise InputError(
            "The network puts {special} tokens around a text; a limit of {most} leaves no room for it.",
            special=special,
            most=most_tokens,
        )
    end = len(text) if kept == total else min(offsets[kept - 1][1], offsets[kept][0])
    encoding.truncate(kept)
    ids = once(backend.post_process(encoding, None, True))
    return TokenizedText(ids, text[:end], total + special - (kept + special - len(ids)))


def once(encoding: Encoding) -> tuple[int, ...]:
    """The ids without special tokens that were typed right where the tokenizer puts the same ones."""
    ids, added = encoding.ids, [sequence is None for sequence in encoding.sequence_ids]
    front = next((index for index, is_added in enumerate(added) if not is_added), len(ids))
    back = next((index for index, is_added in enumerate(reversed(added)) if not is_added), 0)
    before, typed, after = ids[:front], ids[front : len(ids) - back], ids[len(ids) - back :]
    if before and typed[:front] == before:
        typed = typed[front:]
    if after and typed[-back:] == after:
        typed = typed[:-back]
    return (*before, *typed, *after)


def is_panic(error: BaseException) -> bool:
    """Whether a library in Rust gave up: it raises what is no Exception, under a name of its own."""
    return type(error).__name__ == "PanicException"


def check_text(text: str) -> None:
    if not text.strip():
        raise InputError("The text is empty; type at least one word.")
    most = settings().text_characters
    if len(text) > most:
        raise InputError(
            "The text has {count} characters; at most {most} are accepted.", count=len(text), most=most
        )
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InputError(
            "Character {position} of the text is half of a surrogate pair, which is not valid Unicode.",
            position=error.start + 1,
        ) from error


def labels(tokenizer: PreTrainedTokenizerBase, token_ids: tuple[int, ...]) -> tuple[str, ...]:
    """Each token as a readable string.

    A space is ·, a line end ⏎, a tab ⇥; other invisible characters, and those that the notation
    uses, stand as ‹U+200B›. Of a character that lies in several tokens, each shows the character
    and its share, as in 字⟨1/3⟩; bytes that form no character stand as ‹E5›. No label holds the
    replacement character.
    """
    pieces = map(_speller(tokenizer), token_ids)
    result: list[str] = []
    for _, run in groupby(pieces, key=type):
        neighbours = list(run)
        strings = [readable(piece) for piece in neighbours if isinstance(piece, str)]
        result += strings or _byte_labels([piece for piece in neighbours if isinstance(piece, bytes)])
    return tuple(result)


def readable(text: str) -> str:
    """The text with everything invisible made visible."""
    if text.isascii() and text.isalnum():
        return text
    return _on_its_own("".join(_readable(character) for character in text))


def _on_its_own(shown: str) -> str:
    """A combining mark that would begin a label gets a dotted circle to sit on."""
    return f"{CIRCLE}{shown}" if unicodedata.combining(shown[:1] or " ") else shown


@lru_cache(maxsize=4_096)
def _readable(character: str) -> str:
    if (short := {" ": SPACE, "\n": NEWLINE, "\t": TAB}.get(character)) is not None:
        return short
    if character in NOTATION or character == "\ufffd" or unicodedata.category(character) in INVISIBLE:
        return f"‹U+{ord(character):04X}›"
    return character


@lru_cache(maxsize=16)
def _spelling(tokenizer: PreTrainedTokenizerBase) -> tuple[bool, bool, dict[int, str]]:
    """Whether tokens are byte-level, or SentencePiece's; and the added tokens, written as they are."""
    decoder = tokenizer.backend_tokenizer.decoder
    state = "" if decoder is None else json.dumps(json.loads(decoder.__getstate__()), ensure_ascii=False)
    added = {token: added.content for token, added in tokenizer.added_tokens_decoder.items()}
    return '"ByteLevel"' in state, "▁" in state, added


def _speller(tokenizer: PreTrainedTokenizerBase) -> Callable[[int], bytes | str]:
    byte_level, sentence_piece, added = _spelling(tokenizer)
    token_of = tokenizer.backend_tokenizer.id_to_token

    def spell(token_id: int) -> bytes | str:
        """A token's bytes where it is made of bytes, else its characters."""
        if token_id in added:
            return added[token_id]
        token = token_of(token_id)
        if token is None:  # an embedding row that no token uses
            return f"#{token_id}"
        if byte_level:
            return bytes(BYTE_OF[character] for character in token)
        if sentence_piece:
            if len(token) == 6 and token.startswith("<0x"):
                return bytes([int(token[3:5], 16)])
            return token.replace("▁", " ")
        return token

    return spell


def _byte_labels(pieces: list[bytes]) -> list[str]:
    """Labels of neighbouring byte tokens, whose characters may run across their borders."""
    whole = b"".join(pieces)
    if whole.isascii():
        return [readable(piece.decode()) for piece in pieces]
    owner = [index for index, piece in enumerate(pieces) for _ in piece]
    parts: list[list[str]] = [[] for _ in pieces]
    position = 0
    while position < len(whole):
        character, size = _character(whole, position)
        owners = sorted(set(owner[position : position + size]))
        for share, index in enumerate(owners, start=1):
            mark = f"⟨{share}/{len(owners)}⟩" if len(owners) > 1 else ""
            parts[index].append(character + mark)
        position += size
    return [_on_its_own("".join(shown)) for shown in parts]


def _character(text: bytes, position: int) -> tuple[str, int]:
    """The readable character at ``position`` and its size in bytes; one byte where there is none."""
    first = text[position]
    size = 1 if first < 0x80 else 2 if first < 0xE0 else 3 if first < 0xF0 else 4
    try:
        return _readable(text[position : position + size].decode()), size
    except UnicodeDecodeError:
        return f"‹{first:02X}›", 1
