"""What text encoders read of a prompt: cut, spelled in bytes, unknown."""

from dataclasses import dataclass, field
from typing import Any

import pytest
from small_pipelines import make_tokenizer

from cloche.image.prompts import find_cuts, find_tokenizers, find_unreadable


@dataclass
class Pieces:
    """A tokenizer that has some words and characters as pieces, as sentencepiece's models do."""

    known: tuple[str, ...]
    model_max_length: int = 10**30
    unk_token: str = "<unk>"
    by_bytes: bool = False
    vocab: list[str] = field(default_factory=list)

    def __call__(self, text: str, *, add_special_tokens: bool, truncation: bool) -> Any:
        ids = [self._id("▁")]
        for character in text:
            if character in self.known:
                ids.append(self._id(character))
            elif self.by_bytes:
                ids += [self._id(f"<0x{byte:02X}>") for byte in character.encode()]
            else:
                ids.append(self._id(self.unk_token))
        return {"input_ids": [*ids, self._id("</s>")] if add_special_tokens else ids}

    def convert_ids_to_tokens(self, ids: list[int]) -> list[str]:
        return [self.vocab[number] for number in ids]

    def decode(self, ids: list[int]) -> str:
        return "".join(self.convert_ids_to_tokens(ids)).replace("▁", " ")

    def _id(self, piece: str) -> int:
        if piece not in self.vocab:
            self.vocab.append(piece)
        return self.vocab.index(piece)


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return make_tokenizer(tmp_path_factory.mktemp("clip") / "words")


@pytest.mark.parametrize("prompt", ["a sea", "Łódź café naïve", "🌊🌊 !? …", "1 2 ３", "e\u0301"])
def test_latin_letters_signs_and_emoji_are_no_foreign_words(clip, prompt):
    assert not find_unreadable(prompt, {"tokenizer": clip})


@pytest.mark.parametrize(
    "prompt", ["画一个大海", "a 海 at dusk", "море", "海を描いて", "바다", "बादल"]
)
def test_scripts_spelled_in_bytes_are_told(clip, prompt):
    (found,) = find_unreadable(prompt, {"tokenizer": clip})
    assert found.tokens > found.characters
    assert found.text in prompt


def test_only_the_words_that_are_not_read_are_told(clip):
    (found,) = find_unreadable("a sea 画 dusk 海", {"tokenizer": clip})
    assert (found.text, found.tokens, found.characters) == ("画 海", 6, 2)


def test_a_tokenizer_that_has_the_characters_reads_them():
    reads = Pieces(known=tuple("画一个大海"))
    assert not find_unreadable("画一个大海", {"tokenizer": reads})
    assert not find_unreadable("海", {"tokenizer": reads})  # its sign of a word's begin not counted


@pytest.mark.parametrize("by_bytes", [False, True])
def test_unknown_characters_are_not_read(by_bytes):
    (found,) = find_unreadable("大海", {"tokenizer": Pieces(known=("大",), by_bytes=by_bytes)})
    assert found.text == "大海"


def test_each_encoder_is_asked(clip):
    tokenizers = {"tokenizer": clip, "tokenizer_2": Pieces(known=tuple("画一个大海"))}
    found = find_unreadable("画一个大海", tokenizers)
    assert [each.tokenizer for each in found] == ["tokenizer"]


def test_a_prompt_of_77_tokens_is_whole_and_of_78_is_cut(clip):
    assert not find_cuts("sea " * 75, {"tokenizer": clip}, longest=None)
    (cut,) = find_cuts("sea " * 75 + "dusk", {"tokenizer": clip}, longest=None)
    assert (cut.tokens, cut.limit, cut.text) == (78, 77, "dusk")


def test_what_is_cut_is_text_even_within_a_character(clip):
    (cut,) = find_cuts("海" * 30, {"tokenizer": clip}, longest=None)
    assert cut.tokens == 92
    assert cut.text.endswith("海" * 5)


def test_encoders_other_than_clip_read_as_much_as_the_pipeline_lets_them(clip):
    other = Pieces(known=("a",), model_max_length=512)
    assert not find_cuts("a" * 300, {"tokenizer_2": other}, longest=None)
    (cut,) = find_cuts("a" * 300, {"tokenizer_2": other}, longest=256)
    assert (cut.limit, cut.tokens) == (256, 302)
    assert not find_cuts("a" * 300, {"tokenizer_2": Pieces(known=("a",))}, longest=None)
    (of_clip,) = find_cuts("sea " * 80, {"tokenizer": clip}, longest=256)
    assert of_clip.limit == 77


def test_a_very_long_prompt_is_cut_quickly(clip):
    (cut,) = find_cuts("sea," * 5000, {"tokenizer": clip}, longest=None)
    assert cut.tokens == 10_002


def test_tokenizers_are_found_in_order(clip):
    parts = {"unet": 1, "tokenizer_2": clip, "tokenizer": clip, "tokenizer_3": None}
    assert list(find_tokenizers(parts)) == ["tokenizer", "tokenizer_2"]
