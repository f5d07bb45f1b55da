import os
import random

import pytest

from cloche.errors import TokenizerError
from cloche.text.bpe import train_bpe
from cloche.text.characters import CharacterTokenizer
from cloche.text.names import open_tokenizer
from cloche.text.words import WordTokenizer


@pytest.fixture
def words(tmp_path):
    tokenizer = WordTokenizer(["a", "cat"])
    tokenizer.save(tmp_path / "words")
    return tokenizer


@pytest.mark.parametrize("name", ["gpt2", "cl100k_base"])
def test_published_encodings_open_by_name(name):
    if "TIKTOKEN_CACHE_DIR" not in os.environ:
        pytest.skip("TIKTOKEN_CACHE_DIR does not name a folder with the published ranks")
    assert open_tokenizer(name).kind == name


def test_a_file_and_its_folder_open(words, tmp_path):
    folder = tmp_path / "words"
    copy = tmp_path / "another name.txt"
    copy.write_bytes((folder / "tokenizer.json").read_bytes())
    for path in (folder, folder / "tokenizer.json", copy):
        opened = open_tokenizer(str(path))
        assert (opened.kind, opened.fingerprint) == ("words", words.fingerprint)


@pytest.mark.parametrize(
    "place", ["tokenizer", "tokens/tokenizer", "best", "latest", "checkpoints/step-000500"]
)
def test_a_run_and_a_folder_of_tokens_open(tmp_path, place):
    tokenizer = train_bpe(["a cat, a cat"], vocab_size=260, rule="gpt-2")
    tokenizer.save(tmp_path / "run" / place)
    assert open_tokenizer(str(tmp_path / "run")).fingerprint == tokenizer.fingerprint


def test_of_several_checkpoints_the_newest_is_taken(tmp_path):
    for step, characters in ((100, "ab"), (200, "abc")):
        CharacterTokenizer(characters).save(tmp_path / f"checkpoints/step-{step:06}")
    assert open_tokenizer(str(tmp_path)).vocab_size == 4


@pytest.fixture(scope="module")
def sentencepiece_model(tmp_path_factory):
    sentencepiece = pytest.importorskip("sentencepiece")
    folder = tmp_path_factory.mktemp("sentencepiece")
    dice = random.Random(0)
    lines = (" ".join(dice.choices(["the", "cat", "sat", "on", "mats"], k=6)) for _ in range(200))
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=lines,
        model_prefix=str(folder / "small"),
        vocab_size=30,
        model_type="bpe",
        normalization_rule_name="identity",  # its rules for Unicode take long to carry over
        minloglevel=2,
    )
    return folder / "small.model"


def test_a_sentencepiece_model_and_its_folder_open(sentencepiece_model):
    sentencepiece = pytest.importorskip("sentencepiece")
    processor = sentencepiece.SentencePieceProcessor(model_file=str(sentencepiece_model))
    for path in (sentencepiece_model, sentencepiece_model.parent):
        opened = open_tokenizer(str(path))
        assert opened.encode("the cat sat") == processor.encode("the cat sat")
        assert opened.decode(opened.encode("the cat sat")) == "the cat sat"


def test_several_sentencepiece_models_in_one_folder_must_be_told_apart(tmp_path):
    (tmp_path / "a.model").touch()
    (tmp_path / "b.model").touch()
    with pytest.raises(TokenizerError, match=r"several models \(a\.model, b\.model\)"):
        open_tokenizer(str(tmp_path))


def test_a_folder_without_a_tokenizer_is_an_error(tmp_path):
    with pytest.raises(TokenizerError, match="holds no tokenizer"):
        open_tokenizer(str(tmp_path))


def test_a_wrong_name_is_an_error_with_the_nearest(words, tmp_path):
    with pytest.raises(TokenizerError, match=r"did you mean gpt2\?"):
        open_tokenizer("gpt-2")
    with pytest.raises(TokenizerError, match=r"did you mean .*words\?"):
        open_tokenizer(str(tmp_path / "word"))
    with pytest.raises(TokenizerError, match=r"no tokenizer 'xyzzy'\. It may be gpt2, cl100k_base"):
        open_tokenizer("xyzzy")


@pytest.mark.parametrize("name", ["", "a\0b", "x" * 5000])
def test_what_can_be_no_name_is_an_error(name):
    with pytest.raises(TokenizerError, match="tokenizer"):
        open_tokenizer(name)


def test_a_file_that_is_no_tokenizer_is_an_error(tmp_path):
    path = tmp_path / "model.pt"
    path.write_bytes(b"\x80\x04\x95")
    with pytest.raises(TokenizerError, match=r"model\.pt is damaged, or is no tokenizer"):
        open_tokenizer(str(path))
