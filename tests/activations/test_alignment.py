"""Words and sub-words: every case has a defined outcome, and nothing is shifted in silence."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from clvq_exp.activations.alignment import align, white_space_tokens
from clvq_exp.records import Alignment, EncodedText

WORDPIECE = ("wordpiece", "minilm")
BYTE_LEVEL = ("bytes-trimmed-plain", "bytes-trimmed-prefixed", "bytes-raw-plain", "bytes-raw-prefixed")
ALL = (*WORDPIECE, *BYTE_LEVEL, "metaspace")
PARTY = "\U0001f389"
FAMILY = "\U0001f468\u200d\U0001f469\u200d\U0001f467"

every_tokenizer = pytest.mark.parametrize("name", ALL)
ODD_WHITE_SPACE = (" ", "  ", "\n", "\u00a0", "\x1f")
ODD_CHARACTERS = ("\u200b", "\x00", "\u0301", "é", "▁", "Ġ", "电影", "한", PARTY, FAMILY, "½", "¨", "ﷺ", "ß")
LITERALS = ("[SEP]", "[CLS]", "<s>", "</s>", "<pad>", "<mask>")
awkward = st.lists(
    st.sampled_from(["a", "dull", "can't", "!", *ODD_WHITE_SPACE, *ODD_CHARACTERS, *LITERALS]), max_size=25
).map("".join)
any_text = st.text(max_size=60) | awkward


def aligned(reader: Any, text: str) -> tuple[EncodedText, Alignment]:
    (encoded,) = reader.encode([text])
    return encoded, align(text, encoded)


def pieces(reader: Any, text: str) -> dict[str, list[str]]:
    """Each word of a text with the characters of its sub-words."""
    encoded, alignment = aligned(reader, text)
    found: dict[str, list[str]] = {}
    for word in alignment.words:
        if not word.special:
            spans = [encoded.spans[index] for index in word.sub_words]
            found[word.text] = [text[span[0] : span[1]].strip() for span in spans if span is not None]
    return found


def encoded_by_hand(*spans: tuple[int, int] | None, cut: bool = False) -> EncodedText:
    return EncodedText(tuple(range(len(spans))), spans, 0 if spans and spans[0] is None else None, cut)


# --- white space


@given(st.text())
@example("a\x1cb\x85c\u2028d\u3000e\u200bf\u180eg")
def test_white_space_tokens__are_those_of_str_split(text: str):
    spans = white_space_tokens(text)
    assert [text[start:end] for start, end in spans] == text.split()
    assert spans == sorted(spans)


# --- by hand, without a tokenizer


def test_align__gives_sub_words_to_words_by_their_characters():
    alignment = align("ab  cd", encoded_by_hand(None, (0, 1), (1, 2), (3, 6), None))
    assert [(word.position, word.text, word.sub_words) for word in alignment.words] == [
        (-1, "[CLS]", (0,)),
        (0, "ab", (1, 2)),
        (1, "cd", (3,)),
    ]
    assert [word.special for word in alignment.words] == [True, False, False]
    assert (alignment.vanished, alignment.truncated) == ((), ())


def test_align__a_sub_word_over_two_words_belongs_to_both():
    alignment = align("New York is", encoded_by_hand((0, 8), (8, 11)))
    assert [(word.text, word.sub_words) for word in alignment.words] == [
        ("New", (0,)),
        ("York", (0,)),
        ("is", (1,)),
    ]


def test_align__white_space_and_empty_spans_belong_to_nobody():
    alignment = align("a  b", encoded_by_hand((0, 1), (1, 2), (2, 2), (2, 3), (3, 4)))
    assert [word.sub_words for word in alignment.words] == [(0,), (4,)]


def test_align__a_word_without_sub_words_vanishes_and_the_others_keep_their_positions():
    alignment = align("a ? b", encoded_by_hand((0, 1), (4, 5)))
    assert [(word.position, word.text) for word in alignment.words] == [(0, "a"), (2, "b")]
    assert (alignment.vanished, alignment.truncated) == ((1,), ())


def test_align__a_word_cut_in_its_middle_is_truncated_and_so_is_all_after_it():
    alignment = align("ab cd ef", encoded_by_hand((0, 2), (3, 4), cut=True))
    assert [word.text for word in alignment.words] == ["ab"]
    assert (alignment.vanished, alignment.truncated) == ((), (1, 2))


def test_align__a_word_that_ends_at_the_cut_is_whole():
    alignment = align("ab cd ef", encoded_by_hand((0, 2), (3, 5), cut=True))
    assert [word.text for word in alignment.words] == ["ab", "cd"]
    assert alignment.truncated == (2,)


def test_align__without_a_cut_a_half_covered_word_is_kept():
    alignment = align("ab cd", encoded_by_hand((0, 2), (3, 4)))
    assert [word.text for word in alignment.words] == ["ab", "cd"]


def test_align__a_word_that_vanished_before_the_cut_is_not_truncated():
    alignment = align("? ab cd", encoded_by_hand((2, 4), cut=True))
    assert (alignment.vanished, alignment.truncated) == ((0,), (2,))


def test_align__names_the_sentence_token_as_asked_and_leaves_it_out_where_there_is_none():
    assert align("a", encoded_by_hand(None, (0, 1)), "<s>").words[0].text == "<s>"
    assert [word.text for word in align("a", encoded_by_hand((0, 1), None)).words] == ["a"]


# --- by hand, through real tokenizers


@every_tokenizer
def test_align__contractions_and_punctuation_stay_in_their_word(readers: Any, name: str):
    found = pieces(readers(name), "I can't say more: 'dull' (number 3)...")
    assert list(found) == ["I", "can't", "say", "more:", "'dull'", "(number", "3)..."]
    assert all("".join(parts) == word for word, parts in found.items())


@pytest.mark.parametrize("name", WORDPIECE)
def test_align__wordpiece_splits_a_contraction_in_three(readers: Any, name: str):
    assert pieces(readers(name), "can't")["can't"] == ["can", "'", "t"]


@every_tokenizer
def test_align__white_space_of_any_kind_and_length_shifts_nothing(readers: Any, name: str):
    text = "  dull\n\n script \u00a0\t ending  "
    _, alignment = aligned(readers(name), text)
    assert [word.text for word in alignment.words[1:]] == ["dull", "script", "ending"]
    assert [word.position for word in alignment.words] == [-1, 0, 1, 2]
    assert (alignment.vanished, alignment.truncated) == ((), ())


@every_tokenizer
def test_align__emoji_are_words_of_their_own(readers: Any, name: str):
    _, alignment = aligned(readers(name), f"dull {PARTY}{PARTY} and {FAMILY} script")
    assert [word.text for word in alignment.words[1:]] == ["dull", PARTY * 2, "and", FAMILY, "script"]


@pytest.mark.parametrize("name", BYTE_LEVEL)
def test_align__an_emoji_in_bytes_keeps_all_its_bytes(readers: Any, name: str):
    text = f"dull {PARTY} script"
    encoded, alignment = aligned(readers(name), text)
    party = alignment.words[2]
    tokens = readers(name).tokenizer.convert_ids_to_tokens([encoded.input_ids[i] for i in party.sub_words])
    in_bytes = readers(name).tokenizer.convert_tokens_to_string(tokens)
    assert in_bytes.strip() == PARTY
    assert len(party.sub_words) in (4, 5)  # the space may be a sub-word of the emoji's or of nobody's


@every_tokenizer
def test_align__cjk_without_spaces_is_one_word(readers: Any, name: str):
    found = pieces(readers(name), "看电影 dull 한국어")
    assert list(found) == ["看电影", "dull", "한국어"]


@pytest.mark.parametrize("name", WORDPIECE)
def test_align__wordpiece_drops_zero_width_and_control_characters(readers: Any, name: str):
    text = "\x00 dull \u200b a\x00b \x07\u200d \u0301 script"
    _, alignment = aligned(readers(name), text)
    kept = [(word.position, word.text) for word in alignment.words[1:]]
    assert kept == [(1, "dull"), (3, "a\x00b"), (6, "script")]
    assert (alignment.vanished, alignment.truncated) == ((0, 2, 4, 5), ())


@pytest.mark.parametrize("name", BYTE_LEVEL)
def test_align__byte_level_drops_nothing(readers: Any, name: str):
    text = "\x00 dull \u200b a\x00b \x07\u200d \u0301 script"
    _, alignment = aligned(readers(name), text)
    assert [word.text for word in alignment.words[1:]] == text.split()
    assert alignment.vanished == ()


@pytest.mark.parametrize("name", WORDPIECE)
def test_align__a_text_whose_words_all_vanish_keeps_its_sentence_token(readers: Any, name: str):
    _, alignment = aligned(readers(name), "\u200b \x00\x01 \u200d")
    assert [word.text for word in alignment.words] == ["[CLS]"]
    assert alignment.vanished == (0, 1, 2)


@every_tokenizer
def test_align__an_empty_text_has_its_sentence_token_only(readers: Any, name: str):
    for text in ("", " \n\u3000 "):
        _, alignment = aligned(readers(name), text)
        assert [(word.position, word.special) for word in alignment.words] == [(-1, True)]
        assert alignment.vanished == alignment.truncated == ()


@pytest.mark.parametrize("name", WORDPIECE)
@pytest.mark.parametrize("literal", ["[SEP]", "[CLS]", "[PAD]", "[UNK]"])
def test_align__a_literal_special_token_is_a_word_of_the_text(readers: Any, name: str, literal: str):
    _, alignment = aligned(readers(name), f"dull {literal} script {literal}")
    kept = [(word.position, word.text, word.special) for word in alignment.words]
    assert kept == [
        (-1, "[CLS]", True),
        (0, "dull", False),
        (1, literal, False),
        (2, "script", False),
        (3, literal, False),
    ]


@pytest.mark.parametrize("name", [*BYTE_LEVEL, "metaspace"])
@pytest.mark.parametrize("literal", ["<s>", "</s>", "<pad>"])
def test_align__a_literal_special_token_of_roberta_s_too(readers: Any, name: str, literal: str):
    _, alignment = aligned(readers(name), f"{literal} dull x{literal}y")
    kept = [(word.text, word.special) for word in alignment.words[1:]]
    assert kept == [(literal, False), ("dull", False), (f"x{literal}y", False)]


@pytest.mark.parametrize("name", WORDPIECE)
def test_align__a_literal_special_token_inside_a_word_belongs_to_it(readers: Any, name: str):
    assert pieces(readers(name), "x[SEP]y")["x[SEP]y"] == ["x", "[SEP]", "y"]


@pytest.mark.parametrize("name", WORDPIECE)
def test_align__a_word_too_long_for_wordpiece_is_one_unknown_sub_word(readers: Any, name: str):
    encoded, alignment = aligned(readers(name), "dull " + "x" * 300 + " script")
    assert [len(word.text) for word in alignment.words[1:]] == [4, 300, 6]
    assert encoded.input_ids[alignment.words[2].sub_words[0]] == readers(name).tokenizer.unk_token_id
    assert len(alignment.words[2].sub_words) == 1


# --- truncation


@every_tokenizer
@pytest.mark.parametrize("limit", [2, 3, 4, 9, 16])
def test_align__a_word_cut_in_its_middle_is_truncated_through_every_tokenizer(readers: Any, name: str, limit: int):
    text = "dull script zzzyyyxxx ending superb acting"
    whole, full = aligned(readers(name), text)
    encoded, cut = aligned(readers(name, limit), text)
    assert encoded.input_ids[:-1] == whole.input_ids[: min(limit, len(whole.input_ids)) - 1]
    fitting = tuple(word for word in full.words if word.sub_words[-1] < limit - 1)
    assert cut.words == fitting
    assert cut.truncated == tuple(range(len(fitting) - 1, 6))


@pytest.mark.parametrize("name", [*BYTE_LEVEL, "metaspace"])
def test_align__a_character_cut_in_its_bytes_is_cut(readers: Any, name: str):
    text = f"dull {PARTY} script"
    _, full = aligned(readers(name), text)
    party = full.words[2]
    for limit in range(party.sub_words[0] + 1, party.sub_words[-1] + 4):
        _, cut = aligned(readers(name, limit), text)
        whole = party.sub_words[-1] < limit - 1
        assert (1 in cut.truncated) is not whole, limit
        assert [word.text for word in cut.words[1:3]] == (["dull", PARTY] if whole else ["dull"])


def test_align__a_syllable_cut_in_its_letters_is_cut(readers: Any):
    # Lower-casing WordPiece takes Hangul apart: all letters of a syllable cover the same character.
    text = "dull \ud55c\uae00 script"
    _, full = aligned(readers("minilm"), text)
    word = full.words[2]
    assert len(word.sub_words) > 1
    for limit in range(word.sub_words[0] + 1, word.sub_words[-1] + 2):
        _, cut = aligned(readers("minilm", limit), text)
        assert 1 in cut.truncated, limit


@every_tokenizer
def test_align__trailing_white_space_is_no_cut_word(readers: Any, name: str):
    whole, _ = aligned(readers(name), "dull script")
    encoded, cut = aligned(readers(name, len(whole.input_ids)), "dull script" + " " * 40)
    assert [word.text for word in cut.words[1:]] == ["dull", "script"]
    assert cut.truncated == ()
    assert len(encoded.input_ids) <= len(whole.input_ids)


@every_tokenizer
def test_align__a_text_of_100_000_words_is_cut(readers: Any, name: str):
    text = " ".join(["dull script"] * 50_000)
    encoded, alignment = aligned(readers(name, 512), text)
    assert len(encoded.input_ids) == 512
    kept = len(alignment.words) - 1
    assert alignment.truncated == tuple(range(kept, 100_000))
    assert [word.text for word in alignment.words[1:]] == (["dull", "script"] * 50_000)[:kept]


# --- properties


@every_tokenizer
@settings(max_examples=60, deadline=None)
@given(text=any_text)
def test_align__kept_vanished_and_truncated_words_are_all_words_once(readers: Any, name: str, text: str):
    for limit in (8, 4096):
        _, alignment = aligned(readers(name, limit), text)
        kept = [word.position for word in alignment.words if not word.special]
        every = [*kept, *alignment.vanished, *alignment.truncated]
        assert sorted(every) == list(range(len(text.split())))
        assert kept == sorted(kept)
        words = text.split()
        assert all(word.text == words[word.position] for word in alignment.words if not word.special)


@every_tokenizer
@settings(max_examples=60, deadline=None)
@given(text=any_text)
def test_align__sub_words_are_ordered_touch_their_word_and_none_is_lost(readers: Any, name: str, text: str):
    encoded, alignment = aligned(readers(name), text)
    words = white_space_tokens(text)
    owned: set[int] = set()
    for word in alignment.words:
        assert word.sub_words
        assert list(word.sub_words) == sorted(set(word.sub_words))
        if word.special:
            continue
        start, end = words[word.position]
        for index in word.sub_words:
            span = encoded.spans[index]
            assert span is not None
            assert span[0] < end
            assert span[1] > start
        owned.update(word.sub_words)
    covering = {i for i, span in enumerate(encoded.spans) if span and text[span[0] : span[1]].strip()}
    assert owned == covering


@every_tokenizer
@settings(max_examples=80, deadline=None)
@given(text=any_text, limit=st.integers(3, 14))
@example(text=f"dull {PARTY}", limit=6)
def test_align__a_cut_changes_no_word_before_it(readers: Any, name: str, text: str, limit: int):
    whole, full = aligned(readers(name), text)
    encoded, cut = aligned(readers(name, limit), text)
    assert encoded.cut is (len(whole.input_ids) > limit)
    if not encoded.cut:
        assert cut == full
        return
    assert cut.words == full.words[: len(cut.words)]
    assert all(word.sub_words[-1] < limit - 1 for word in cut.words)
    fitting = [word for word in full.words if word.sub_words[-1] < limit - 1]
    # One whose end the tokenizer drops cannot be told from one that is cut: it may count as cut.
    assert len(fitting) - len(cut.words) <= 1


@pytest.mark.parametrize("name", WORDPIECE[1:])
def test_align__agrees_with_the_tokenizer_s_own_words(readers: Any, name: str):
    text = "The acting is superb and the script unforgettably clumsy"
    encoded, alignment = aligned(readers(name), text)
    own = readers(name).tokenizer(text).word_ids()
    for word in alignment.words[1:]:
        assert [i for i, each in enumerate(own) if each == word.position] == list(word.sub_words)
    assert len(encoded.input_ids) == len(own)
