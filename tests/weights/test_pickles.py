"""Foreign PyTorch files: opened only elsewhere, and only as what they are known to be."""

import os
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional
from transformers import GPT2Config, GPT2LMHeadModel
from weights_parity import assert_equal_logits, assert_equal_models

from cloche.errors import CheckpointError
from cloche.text.characters import CharacterTokenizer
from cloche.weights import pickles, unpickle
from cloche.weights.imported import Imported
from cloche.weights.pickles import (
    import_pickle,
    import_state_dict,
)

TOKENIZER = CharacterTokenizer("abcdefghijklmnopqrstuvwxyz .")
VOCAB, WIDTH, HEADS, CONTEXT = TOKENIZER.vocab_size, 32, 4, 16


class CausalAttention(nn.Module):
    """Attention over projections that a subclass names."""

    def attend(self, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        split = [x.unflatten(-1, (HEADS, -1)).transpose(1, 2) for x in (queries, keys, values)]
        mixed = functional.scaled_dot_product_attention(
            split[0], split[1], split[2], is_causal=True
        )
        return mixed.transpose(1, 2).flatten(2)


class BookNorm(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.randn(WIDTH) * 0.1 + 1)
        self.shift = nn.Parameter(torch.randn(WIDTH) * 0.1)

    def forward(self, x: Tensor) -> Tensor:
        return functional.layer_norm(x, (WIDTH,), self.scale, self.shift, 1e-5)


class BookAttention(CausalAttention):
    def __init__(self, *, bias: bool) -> None:
        super().__init__()
        self.W_query = nn.Linear(WIDTH, WIDTH, bias=bias)
        self.W_key = nn.Linear(WIDTH, WIDTH, bias=bias)
        self.W_value = nn.Linear(WIDTH, WIDTH, bias=bias)
        self.out_proj = nn.Linear(WIDTH, WIDTH)
        self.register_buffer("mask", torch.triu(torch.ones(CONTEXT, CONTEXT), diagonal=1))

    def forward(self, x: Tensor) -> Tensor:
        return self.out_proj(self.attend(self.W_query(x), self.W_key(x), self.W_value(x)))


class BookFeedForward(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        gelu = nn.GELU(approximate="tanh")
        self.layers = nn.Sequential(nn.Linear(WIDTH, 4 * WIDTH), gelu, nn.Linear(4 * WIDTH, WIDTH))

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


class BookBlock(nn.Module):
    def __init__(self, *, bias: bool) -> None:
        super().__init__()
        self.att, self.ff = BookAttention(bias=bias), BookFeedForward()
        self.norm1, self.norm2 = BookNorm(), BookNorm()

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.att(self.norm1(x))
        return x + self.ff(self.norm2(x))


class BookGPT(nn.Module):
    """The GPT of the book, by the names of its modules."""

    def __init__(self, *, bias: bool, vocab_size: int = VOCAB) -> None:
        super().__init__()
        self.tok_emb, self.pos_emb = nn.Embedding(vocab_size, WIDTH), nn.Embedding(CONTEXT, WIDTH)
        self.trf_blocks = nn.Sequential(BookBlock(bias=bias), BookBlock(bias=bias))
        self.final_norm = BookNorm()
        self.out_head = nn.Linear(WIDTH, vocab_size, bias=False)

    def forward(self, ids: Tensor) -> Tensor:
        x = self.tok_emb(ids) + self.pos_emb(torch.arange(ids.shape[1]))
        return self.out_head(self.final_norm(self.trf_blocks(x)))


class NanoNorm(nn.Module):
    def __init__(self, *, bias: bool) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(WIDTH) * 0.1 + 1)
        self.bias = nn.Parameter(torch.randn(WIDTH) * 0.1) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        return functional.layer_norm(x, (WIDTH,), self.weight, self.bias, 1e-5)


class NanoAttention(CausalAttention):
    def __init__(self, *, bias: bool) -> None:
        super().__init__()
        self.c_attn = nn.Linear(WIDTH, 3 * WIDTH, bias=bias)
        self.c_proj = nn.Linear(WIDTH, WIDTH, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.c_proj(self.attend(*self.c_attn(x).split(WIDTH, dim=2)))


class NanoMLP(nn.Module):
    def __init__(self, *, bias: bool) -> None:
        super().__init__()
        self.c_fc = nn.Linear(WIDTH, 4 * WIDTH, bias=bias)
        self.c_proj = nn.Linear(4 * WIDTH, WIDTH, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.c_proj(functional.gelu(self.c_fc(x)))


class NanoBlock(nn.Module):
    def __init__(self, *, bias: bool) -> None:
        super().__init__()
        self.ln_1, self.attn = NanoNorm(bias=bias), NanoAttention(bias=bias)
        self.ln_2, self.mlp = NanoNorm(bias=bias), NanoMLP(bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.ln_1(x))
        return x + self.mlp(self.ln_2(x))


class NanoGPT(nn.Module):
    """nanoGPT, by the names of its modules."""

    def __init__(self, *, bias: bool) -> None:
        super().__init__()
        self.transformer = nn.ModuleDict(
            {
                "wte": nn.Embedding(VOCAB, WIDTH),
                "wpe": nn.Embedding(CONTEXT, WIDTH),
                "h": nn.ModuleList([NanoBlock(bias=bias), NanoBlock(bias=bias)]),
                "ln_f": NanoNorm(bias=bias),
            }
        )
        self.lm_head = nn.Linear(WIDTH, VOCAB, bias=False)
        table = self.transformer["wte"]
        assert isinstance(table, nn.Embedding)
        self.lm_head.weight = table.weight

    def forward(self, ids: Tensor) -> Tensor:
        parts = self.transformer
        x = parts["wte"](ids) + parts["wpe"](torch.arange(ids.shape[1]))
        for block in self.transformer.get_submodule("h").children():
            x = block(x)
        return self.lm_head(parts["ln_f"](x))


@pytest.fixture
def tokenizer(tmp_path: Path) -> str:
    """The path of the tokenizer that goes with the models of this file."""
    TOKENIZER.save(tmp_path / "tokenizer")
    return str(tmp_path / "tokenizer")


def told_nothing(message: str) -> None:
    raise AssertionError(f"nothing was to be told, and it said {message}")


def opened(
    path: Path,
    *,
    tokenizer: str | None = None,
    heads: int | None = None,
    tell: Callable[[str], None] = told_nothing,
) -> Imported:
    """What `import_pickle` does, without another process, which takes seconds to start."""
    assert unpickle.main([str(path), str(path.parent)]) == 0
    file = path.parent / unpickle.file_name(0)
    return import_state_dict(file, source=path, tokenizer=tokenizer, heads=heads, tell=tell)


def assert_same(imported: Imported, theirs: nn.Module) -> None:
    ids = torch.randint(VOCAB, (2, CONTEXT), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        assert_equal_logits(imported.model.eval()(ids), theirs.eval()(ids))


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("prefix", ["", "_orig_mod.", "module._orig_mod."])
def test_a_nanogpt_checkpoint_computes_the_same(tmp_path, tokenizer, bias, prefix):
    torch.manual_seed(0)
    theirs = NanoGPT(bias=bias)
    arguments = {
        "n_layer": 2,
        "n_head": HEADS,
        "n_embd": WIDTH,
        "block_size": CONTEXT,
        "bias": bias,
        "vocab_size": VOCAB,
        "dropout": 0.1,
    }
    held = {
        "model": {prefix + name: tensor for name, tensor in theirs.state_dict().items()},
        "optimizer": torch.optim.AdamW(theirs.parameters()).state_dict(),
        "model_args": arguments,
        "iter_num": 5,
        "best_val_loss": torch.tensor(1.5),
        "config": {"dataset": "x"},
    }
    torch.save(held, tmp_path / "ckpt.pt")
    imported = opened(tmp_path / "ckpt.pt", tokenizer=tokenizer)
    assert imported.origin == "file ckpt.pt (nanoGPT, float32)"
    config = imported.config
    assert (config.family, config.heads, config.dropout, config.tied) == ("gpt", HEADS, 0.1, True)
    assert config.qkv_bias == bias
    assert_same(imported, theirs)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("nested", [True, False])
@pytest.mark.parametrize("zipped", [True, False])
def test_the_books_model_computes_the_same(tmp_path, tokenizer, bias, nested, zipped):
    torch.manual_seed(0)
    theirs = BookGPT(bias=bias)
    held = {"model_state_dict": theirs.state_dict()} if nested else theirs.state_dict()
    path = tmp_path / "model.pth"
    torch.save(held, path, _use_new_zipfile_serialization=zipped)
    imported = opened(path, tokenizer=tokenizer, heads=HEADS)
    assert imported.config.qkv_bias == bias
    assert not imported.config.tied
    assert_same(imported, theirs)


def test_a_guessed_number_of_heads_is_told(tmp_path, tokenizer):
    torch.save(BookGPT(bias=False).state_dict(), tmp_path / "model.pth")
    told: list[str] = []
    imported = opened(tmp_path / "model.pth", tokenizer=tokenizer, tell=told.append)
    assert imported.config.heads == 1  # heads are 64 wide, and this model only 32
    assert "how many heads" in told[0]
    assert "--heads" in told[0]
    with pytest.raises(CheckpointError, match="5 heads do not share the width 32"):
        opened(tmp_path / "model.pth", tokenizer=tokenizer, heads=5)


def test_a_lone_state_dict_of_gpt2_computes_the_same(tmp_path, tokenizer):
    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=VOCAB, n_embd=WIDTH, n_layer=2, n_head=HEADS, n_positions=CONTEXT
    )
    theirs = GPT2LMHeadModel(config).eval()
    torch.save(theirs.state_dict(), tmp_path / "gpt2.bin")
    imported = opened(
        tmp_path / "gpt2.bin",
        tokenizer=tokenizer,
        heads=HEADS,
    )
    assert imported.config.tied
    assert_equal_models(imported.model, theirs, vocab_size=VOCAB, time=CONTEXT)


def test_a_state_dict_in_safetensors_needs_no_consent(tmp_path, tokenizer):
    theirs = BookGPT(bias=True)
    path = tmp_path / "gpt.safetensors"
    save_file(theirs.state_dict(), path)
    imported = import_state_dict(
        path, source=path, tokenizer=tokenizer, heads=HEADS, tell=told_nothing
    )
    assert_same(imported, theirs)


def test_gpt2s_vocabulary_brings_gpt2s_tokenizer_and_any_other_must_be_named(tmp_path, gpt2_ranks):
    torch.save(BookGPT(bias=False).state_dict(), tmp_path / "small.pth")
    with pytest.raises(CheckpointError, match=r"vocabulary of 29 and brings no tokenizer.*--tok"):
        opened(tmp_path / "small.pth", heads=HEADS)
    torch.save(BookGPT(bias=False, vocab_size=50304).state_dict(), tmp_path / "large.pth")
    imported = opened(tmp_path / "large.pth", heads=HEADS)
    assert imported.tokenizer.kind == "gpt2"
    assert imported.stop_ids == (50256,)


def test_a_tokenizer_larger_than_the_embedding_is_refused(tmp_path, gpt2_ranks):
    torch.save(BookGPT(bias=False).state_dict(), tmp_path / "small.pth")
    with pytest.raises(CheckpointError, match=r"has 50257 tokens, its model's embedding 29"):
        opened(tmp_path / "small.pth", tokenizer="gpt2", heads=HEADS)


class RunsCode:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self):
        return os.mkdir, (str(self.mark),)


def test_code_in_a_file_is_never_run(tmp_path, capfd):
    mark, path = tmp_path / "was here", tmp_path / "evil.pt"
    code = RunsCode(mark)
    for held in (code, {"model": BookGPT(bias=False).state_dict(), "x": code}):
        torch.save(held, path)
        assert unpickle.main([str(path), str(tmp_path)]) == unpickle.REFUSED
        assert "could run code" in capfd.readouterr().err
    path.write_bytes(pickle.dumps(code))
    with pytest.raises(CheckpointError, match=r"evil\.pt cannot be used"):
        import_pickle(path, tell=told_nothing)
    assert not mark.exists()


@pytest.mark.parametrize(
    ("held", "message"),
    [
        ([1, 2], "holds no state dict, but a list"),
        ({"epoch": 3}, "holds no state dict: its keys are epoch"),
        ({"model": {}}, "holds no state dict"),
        ({"model": {"a": torch.ones(2)}}, "does not know; its first tensors are a"),
        ({"a": torch.ones(3).to_sparse()}, "no plain tensor"),
        ({"a": torch.ones(1).expand(2**40)}, "several times larger than the file"),
        ({"a": torch.ones(2, dtype=torch.complex64)}, "no plain tensor"),
        ({"trf_blocks.0.att.W_query.weight": torch.ones(2)}, "is not whole"),
        (
            {"transformer.h.0.attn.c_attn.weight": torch.ones(6, 2), "wte.weight": torch.ones(3)},
            "is not whole",
        ),
    ],
)
def test_files_that_are_no_known_model_are_refused(tmp_path, held, message, capfd):
    torch.save(held, tmp_path / "x.pt")
    if unpickle.main([str(tmp_path / "x.pt"), str(tmp_path)]) == unpickle.REFUSED:
        assert message in capfd.readouterr().err
        return
    file = tmp_path / unpickle.file_name(0)
    with pytest.raises(CheckpointError, match=message):
        import_state_dict(file, source=tmp_path / "x.pt", tell=told_nothing)


CUT = object()


@pytest.mark.parametrize(
    "content", [b"", b"PK\x03\x04 no zip", b"\x80\x02]q\x00.", b"a\n" * 50, CUT]
)
def test_files_that_are_damaged_are_refused(tmp_path, content, capfd):
    path = tmp_path / "x.pt"
    if content is CUT:
        torch.save(BookGPT(bias=False).state_dict(), path)
        content = path.read_bytes()[:-500]
    path.write_bytes(content)
    assert unpickle.main([str(path), str(tmp_path)]) == unpickle.REFUSED
    assert "x.pt cannot be used" in capfd.readouterr().err
    assert not (tmp_path / unpickle.file_name(0)).exists()


def test_a_process_that_dies_is_an_error_that_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(pickles, "_LAUNCH", "import os; os.kill(os.getpid(), 9)")
    (tmp_path / "x.pt").write_bytes(b"")
    with pytest.raises(CheckpointError, match=r"ended with status -9.*memory too small"):
        import_pickle(tmp_path / "x.pt", tell=told_nothing)


def test_all_that_a_state_dict_lacks_is_named_in_its_own_words(tmp_path, tokenizer):
    tensors = BookGPT(bias=False).state_dict()
    del tensors["trf_blocks.1.ff.layers.2.bias"], tensors["final_norm.shift"]
    tensors["extra"] = torch.ones(1)
    torch.save(tensors, tmp_path / "x.pt")
    with pytest.raises(CheckpointError) as caught:
        opened(tmp_path / "x.pt", tokenizer=tokenizer, heads=HEADS)
    assert "missing are final_norm.shift, trf_blocks.1.ff.layers.2.bias" in str(caught.value)
    assert "unknown are extra" in str(caught.value)
