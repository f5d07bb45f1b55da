"""One small tokenizer of each kind that Hugging Face files are of."""

import json

import tokenizers
from tokenizers import decoders, models, normalizers, pre_tokenizers, processors, trainers

from cloche.text.splitting import pre_tokenizer

CORPUS = [
    "Once upon a time there was a little cat. It's 12345 o'clock! The cat said: hello.",
    "从前有一座山，山里有一座庙。庙里有个老和尚。今天天气很好，我们去公园玩。",
    "Café naïve: the cats, the dogs; and the birds (all of them) don't sing, do they?",
] * 6


def byte_level(**options) -> tokenizers.Tokenizer:
    engine = tokenizers.Tokenizer(models.BPE(**options))
    engine.pre_tokenizer = pre_tokenizer("llama-bpe")
    engine.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=330, initial_alphabet=alphabet, special_tokens=["<s>", "</s>"]
    )
    engine.train_from_iterator(CORPUS, trainer)
    engine.add_tokens(["<think>"])
    return engine


def unigram() -> tokenizers.Tokenizer:
    engine = tokenizers.Tokenizer(models.Unigram())
    engine.normalizer = normalizers.NFKC()
    engine.pre_tokenizer = pre_tokenizers.Metaspace()
    engine.decoder = decoders.Metaspace()
    special = ["<pad>", "</s>", "<unk>"]
    trainer = trainers.UnigramTrainer(vocab_size=150, special_tokens=special, unk_token="<unk>")
    engine.train_from_iterator(CORPUS, trainer)
    engine.post_processor = processors.TemplateProcessing(
        single="$A </s>", special_tokens=[("</s>", 1)]
    )
    return engine


def word_piece() -> tokenizers.Tokenizer:
    engine = tokenizers.Tokenizer(models.WordPiece(unk_token="[UNK]"))
    engine.normalizer = normalizers.BertNormalizer(lowercase=True)
    engine.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    engine.decoder = decoders.WordPiece(cleanup=True)
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    engine.train_from_iterator(
        CORPUS, trainers.WordPieceTrainer(vocab_size=200, special_tokens=special)
    )
    engine.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    engine.enable_truncation(5)
    engine.enable_padding(length=9)
    return engine


def byte_fallback() -> tokenizers.Tokenizer:
    """As Llama 2: a space before the text, no splits, unknown characters as bytes."""
    bytes_ = [f"<0x{byte:02X}>" for byte in range(256)]
    engine = tokenizers.Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    engine.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=["<unk>", "<s>", "</s>", *bytes_], max_token_length=6
    )
    engine.train_from_iterator(CORPUS, trainer)
    content = json.loads(engine.to_str())
    content["added_tokens"] = content["added_tokens"][:3]
    engine = tokenizers.Tokenizer.from_str(json.dumps(content))
    steps = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    engine.decoder = decoders.Sequence([*steps, decoders.Strip(" ", 1, 0)])
    return engine


def suffixed() -> tokenizers.Tokenizer:
    """As the first GPT: words end in a mark, which the decoder turns into spaces."""
    engine = tokenizers.Tokenizer(models.BPE(unk_token="<unk>", end_of_word_suffix="</w>"))
    engine.normalizer = normalizers.BertNormalizer()
    engine.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    engine.decoder = decoders.BPEDecoder("</w>")
    trainer = trainers.BpeTrainer(
        vocab_size=300, special_tokens=["<unk>"], end_of_word_suffix="</w>"
    )
    engine.train_from_iterator(CORPUS, trainer)
    return engine


def words() -> tokenizers.Tokenizer:
    engine = tokenizers.Tokenizer(models.WordLevel(unk_token="[UNK]"))
    engine.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    trainer = trainers.WordLevelTrainer(special_tokens=["[UNK]", "</s>"])
    engine.train_from_iterator(CORPUS, trainer)
    return engine


def grouped() -> tokenizers.Tokenizer:
    """With a decoder that looks at neighbours: repeated tokens are one."""
    engine = words()
    engine.decoder = decoders.CTC(pad_token="</s>", word_delimiter_token="|")
    return engine


KINDS = {
    "byte level": byte_level,
    "unigram": unigram,
    "word piece": word_piece,
    "byte fallback": byte_fallback,
    "suffixed": suffixed,
    "words": words,
    "grouped": grouped,
}
