"""Cases for `bad_input.py` about models: those that come in, those that go out, and choices."""

import struct

import torch
from bad_input_cases import BOOK, NO_NETWORK, SMALL, TEXT, Case, both, nothing, write
from bad_models import (
    as_iq2,
    changed,
    described,
    foreign,
    gguf,
    innocent,
    killed,
    linked,
    lose_and_add,
    malicious,
    malicious_and_bare,
    reshape,
    saved,
    shard,
    spoil,
    stopped,
    untie,
)

from cloche.text.words import WordTokenizer, distinct_words

MODEL = saved("book")
TO_HF = "export book --to hf --out book-hf"
WRITTEN = ".book-hf.*.tmp/model.safetensors"  # all but the check, the card and the name
TO_GGUF = "export book --to gguf --out book.gguf"
IMPORT = "import model --out new"
IMPORT_GGUF = "import model.gguf --out new"
WORDS = WordTokenizer(distinct_words([TEXT], pattern="colons"))

IMPORT_CASES = [
    Case("Missing and unknown tensors", IMPORT, changed(lose_and_add)),
    Case("Tensors of other shapes", IMPORT, changed(reshape)),
    Case(
        "Tied weights that are stored twice and differ",
        IMPORT,
        changed(untie, tied=True),
    ),
    Case("Weights that are NaN or infinite", IMPORT, changed(spoil)),
    Case("A tokenizer larger than the embedding", IMPORT, foreign(rows=200)),
    Case(
        "A config.json of an unknown family",
        IMPORT,
        both(foreign(), described(model_type="mamba", architectures=["MambaForCausalLM"])),
    ),
    Case(
        "A config.json that says nothing",
        IMPORT,
        both(foreign(), write("model/config.json", "{}")),
    ),
    Case(
        "A config.json with impossible numbers",
        IMPORT,
        both(foreign(), described(num_attention_heads=0, hidden_size="wide")),
    ),
    Case(
        "A quantization that is not read",
        IMPORT,
        both(foreign(), described(quantization_config={"quant_method": "awq", "bits": 4})),
    ),
    Case(
        "A shard by a path out of the folder",
        IMPORT,
        shard("../secret.safetensors"),
    ),
    Case(
        "A shard by an absolute path",
        IMPORT,
        shard("/etc/secret.safetensors"),
    ),
    Case("A shard that is a link out of the folder", IMPORT, linked),
    Case(
        "A shard that was not fetched",
        IMPORT,
        shard("model-00001-of-00002.safetensors"),
    ),
    Case(
        "A model folder without its tokenizer",
        IMPORT,
        both(foreign(), lambda folder: (folder / "model/tokenizer.json").unlink()),
    ),
    Case("An empty folder", IMPORT, lambda folder: (folder / "model").mkdir()),
    Case("A name that is not there", IMPORT, nothing),
    Case("A file that is no model", "import book.txt --out new", BOOK),
    Case("An import interrupted by Ctrl-C", IMPORT, foreign(), shell=stopped("INT", ".new.*.tmp")),
    Case("An import onto something that exists", "import model --out book", both(foreign(), MODEL)),
    Case(
        "A family that a model cannot become",
        f"{IMPORT} --family gpt",
        foreign(),
    ),
]

FILE_CASES = [
    Case(
        "A GGUF file cut short",
        IMPORT_GGUF,
        gguf(lambda content: content[: len(content) // 2]),
    ),
    Case("A GGUF file cut within its head", IMPORT_GGUF, gguf(lambda content: content[:700])),
    Case("An empty GGUF file", IMPORT_GGUF, write("model.gguf", "")),
    Case(
        "Something else called .gguf",
        IMPORT_GGUF,
        gguf(lambda content: b"GGML" + content[4:]),
    ),
    Case(
        "A GGUF file of an unknown version",
        IMPORT_GGUF,
        gguf(lambda content: content[:4] + struct.pack("<I", 9) + content[8:]),
    ),
    Case(
        "A GGUF file that lacks a tensor, and has another",
        IMPORT_GGUF,
        gguf(lambda content: content.replace(b"blk.0.ffn_up.weight", b"blk.0.ffn_on.weight")),
    ),
    Case("A GGUF type that is not read", IMPORT_GGUF, gguf(as_iq2)),
    Case("A GGUF file given as a RUN", "generate model.gguf hello", gguf()),
    Case("A pickle without consent", "import model.pt --out new", innocent),
    Case(
        "A pickle that holds a command, with consent (it is not run)",
        "import model.pt --out new --pickle-ok",
        malicious,
    ),
    Case(
        "The same as the weights of a model folder",
        f"{IMPORT} --pickle-ok",
        malicious_and_bare,
    ),
    Case(
        "Text called .pt, with consent",
        "import model.pt --out new --pickle-ok",
        write("model.pt", TEXT),
    ),
    Case(
        "A state dict of unknown names",
        "import model.pt --out new --pickle-ok",
        lambda folder: torch.save({"net.0.weight": torch.zeros(4, 4)}, folder / "model.pt"),
    ),
]

EXPORT_CASES = [
    Case("An export interrupted by Ctrl-C", TO_HF, MODEL, shell=stopped("INT", WRITTEN)),
    Case("An export that is killed", TO_HF, MODEL, shell=stopped("KILL", WRITTEN)),
    Case(
        "The same command once more, after it was killed",
        TO_HF,
        both(MODEL, killed(TO_HF, WRITTEN)),
    ),
    Case(
        "An export to GGUF interrupted by Ctrl-C",
        TO_GGUF,
        MODEL,
        shell=stopped("INT", ".book.gguf.*.tmp"),
    ),
    Case(
        "The same command, after another of it was killed",
        TO_GGUF,
        both(MODEL, killed(TO_GGUF, ".book.gguf.*.tmp")),
    ),
    Case("An export onto something that exists", TO_HF, both(MODEL, write("book-hf/a", "mine"))),
    Case("An export onto a file that exists", TO_GGUF, both(MODEL, write("book.gguf", "mine"))),
    Case("A GGUF file without its ending", "export book --to gguf --out book", MODEL),
    Case("A bigram as a Hugging Face folder", TO_HF, saved("book", "bigram")),
    Case("A bigram as a GGUF file", TO_GGUF, saved("book", "bigram")),
    Case("An encoder-decoder as a Hugging Face folder", TO_HF, saved("book", "seq2seq")),
    Case("A tokenizer of words as a GGUF file", TO_GGUF, saved("book", tokenizer=WORDS)),
    Case("A type of GGUF that is not there", f"{TO_GGUF} --type Q9_K", MODEL),
    Case("An option of the other format", f"{TO_HF} --type Q8_0", MODEL),
    Case("A model that is not there", "export bok --to hf --out book-hf", MODEL),
    Case(
        "A disk that is full",
        TO_HF,
        MODEL,
        shell="ulimit -f 800; ",
    ),
]

PAIR_LINES = "".join(f"the fox {number}\tder Fuchs {number}\n" for number in range(300))
PAIRS = f"--model.family seq2seq {SMALL}"
CHOICE_CASES = [
    Case(
        "Rows that are no pairs",
        f"train pairs.tsv {PAIRS}",
        write("pairs.tsv", f"{PAIR_LINES}no target\n\tno source\n"),
    ),
    Case(
        "Objects that are no pairs",
        f"train pairs.jsonl {PAIRS}",
        write("pairs.jsonl", '{"source": "a"}\n{"source": 3, "target": "x"}\n{"no end\n["a"]\n'),
    ),
    Case("Pairs without any row", f"train pairs.jsonl {PAIRS}", write("pairs.jsonl", "\n")),
    Case(
        "Columns of pairs that are not there",
        f"train pairs.tsv {PAIRS} --data.pair-columns en de",
        write("pairs.tsv", PAIR_LINES),
    ),
    Case("A text where pairs are needed", f"train book.txt {PAIRS}", BOOK),
    Case(
        "Pairs where a text is needed",
        f"train pairs.tsv --model.family llama {SMALL}",
        write("pairs.tsv", PAIR_LINES),
    ),
    Case("Experts of a model without them", f"train book.txt {SMALL} --model.experts 4", BOOK),
    Case(
        "More experts used than there are",
        f"train book.txt {SMALL} --model.family moe --model.experts 4 --model.experts-used 5",
        BOOK,
    ),
    Case("Heads of a bigram", "train book.txt --model.family bigram --model.heads 4", BOOK),
    Case("A size that is not GPT-2's", "train book.txt --model.size small", BOOK),
    Case("A family that is not there", "train book.txt --model.family mamba", BOOK),
    Case(
        "A window of a model in a recipe without attention",
        "train book.txt --recipe my.toml",
        both(BOOK, write("my.toml", '[model]\nfamily = "bigram"\nwindow = 8\n')),
    ),
    Case("A published result of an unknown name", "replay perplexity-of-the-moon", nothing),
    Case(
        "A published result without its text (not run; the others would be)",
        "replay 'the-verdict characters' --json",
        nothing,
        shell=NO_NETWORK,
    ),
]
