"""The yardstick: a GPT and its training loop as the textbooks have them, from a text to a file.

    python -m cloche.bench.textbook TEXT FILE [--steps N] [--seed N]

Deliberately plain: float32, one operation after the other, nothing compiled or fused but PyTorch's
own attention (measured: 1.2 to 1.6 times the speed of a written-out softmax), and no part of cloche
in it. The settings are those that nanoGPT publishes for Tiny Shakespeare by characters on a CPU:
https://github.com/karpathy/nanoGPT#quick-start

It prints JSON lines: each evaluation, `saved` when the file is on disk, and at the end the loss
over the whole validation part.
"""

import argparse
import json
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn


@dataclass(frozen=True)
class Recipe:
    """Model and training; dropout is zero and left out."""

    layers: int = 4
    heads: int = 4
    width: int = 128
    context: int = 64
    batch: int = 12
    steps: int = 2000
    learning_rate: float = 1e-3
    last_learning_rate: float = 1e-4
    warmup: int = 100
    betas: tuple[float, float] = (0.9, 0.99)
    weight_decay: float = 0.1
    clip: float = 1.0
    eval_every: int = 250
    eval_batches: int = 20


class Attention(nn.Module):
    """Every token looks at itself and at those before it, in several heads."""

    def __init__(self, recipe: Recipe) -> None:
        super().__init__()
        self.heads = recipe.heads
        self.qkv = nn.Linear(recipe.width, 3 * recipe.width, bias=False)
        self.projection = nn.Linear(recipe.width, recipe.width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, time, width) to the same shape."""
        batch, time_, width = x.shape
        # (batch, heads, time, head_dim) each
        query, key, value = (
            part.view(batch, time_, self.heads, width // self.heads).transpose(1, 2)
            for part in self.qkv(x).split(width, dim=2)
        )
        mixed = F.scaled_dot_product_attention(query, key, value, is_causal=True)
        return self.projection(mixed.transpose(1, 2).reshape(batch, time_, width))


class Block(nn.Module):
    """Attention, then a small network for each token; both add to what comes in."""

    def __init__(self, recipe: Recipe) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(recipe.width, bias=False)
        self.attention = Attention(recipe)
        self.mlp_norm = nn.LayerNorm(recipe.width, bias=False)
        self.up = nn.Linear(recipe.width, 4 * recipe.width, bias=False)
        self.projection = nn.Linear(4 * recipe.width, recipe.width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, time, width) to the same shape."""
        x = x + self.attention(self.attention_norm(x))
        return x + self.projection(F.gelu(self.up(self.mlp_norm(x))))


class GPT(nn.Module):
    """Token and position embeddings, blocks, a norm, and the token embedding again as the head."""

    def __init__(self, vocab_size: int, recipe: Recipe) -> None:
        super().__init__()
        self.recipe = recipe
        self.tokens = nn.Embedding(vocab_size, recipe.width)
        self.positions = nn.Embedding(recipe.context, recipe.width)
        self.blocks = nn.ModuleList(Block(recipe) for _ in range(recipe.layers))
        self.norm = nn.LayerNorm(recipe.width, bias=False)
        for name, parameter in self.named_parameters():
            if name.endswith("projection.weight"):  # GPT-2: less for what adds to the residual
                nn.init.normal_(parameter, std=0.02 / math.sqrt(2 * recipe.layers))
            elif parameter.ndim == 2:
                nn.init.normal_(parameter, std=0.02)

    def forward(self, ids: Tensor) -> Tensor:
        """(batch, time) ids to (batch, time, vocab) logits."""
        places = torch.arange(ids.shape[1], device=ids.device)
        x = self.tokens(ids) + self.positions(places)
        for block in self.blocks:
            x = block(x)
        return F.linear(self.norm(x), self.tokens.weight)


def build_optimizer(model: GPT) -> torch.optim.AdamW:
    """AdamW; matrices decay, norms do not."""
    recipe = model.recipe
    matrices = [p for p in model.parameters() if p.ndim >= 2]
    norms = [p for p in model.parameters() if p.ndim < 2]
    groups = [
        {"params": matrices, "weight_decay": recipe.weight_decay},
        {"params": norms, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=recipe.learning_rate, betas=recipe.betas)


def learning_rate(step: int, recipe: Recipe) -> float:
    """Up for the first steps, then down along a cosine."""
    if step < recipe.warmup:
        return recipe.learning_rate * (step + 1) / (recipe.warmup + 1)
    passed = (step - recipe.warmup) / max(1, recipe.steps - recipe.warmup)
    share = 0.5 * (1.0 + math.cos(math.pi * min(1.0, passed)))
    low = recipe.last_learning_rate
    return low + share * (recipe.learning_rate - low)


def loss_of(model: GPT, inputs: Tensor, targets: Tensor) -> Tensor:
    """Mean cross-entropy in nats a token."""
    return F.cross_entropy(model(inputs).flatten(0, 1), targets.flatten())


def train_step(
    model: GPT, optimizer: torch.optim.Optimizer, *, inputs: Tensor, targets: Tensor
) -> float:
    """The loss of this batch, learned from."""
    loss = loss_of(model, inputs, targets)
    loss.backward()
    nn.utils.clip_grad_norm_(model.parameters(), model.recipe.clip)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return loss.item()


def draw_batch(ids: Tensor, recipe: Recipe) -> tuple[Tensor, Tensor]:
    """Windows that begin anywhere, and the same ones a token later."""
    starts = torch.randint(len(ids) - recipe.context, (recipe.batch,)).tolist()
    inputs = torch.stack([ids[start : start + recipe.context] for start in starts])
    targets = torch.stack([ids[start + 1 : start + 1 + recipe.context] for start in starts])
    return inputs, targets


@torch.no_grad()
def estimate_loss(model: GPT, ids: Tensor) -> float:
    """Mean loss of a few drawn batches."""
    recipe = model.recipe
    losses = [loss_of(model, *draw_batch(ids, recipe)).item() for _ in range(recipe.eval_batches)]
    return sum(losses) / len(losses)


@torch.no_grad()
def validation_loss(model: GPT, ids: Tensor) -> float:
    """Mean loss over all of `ids`, in windows end to end, the last one shorter."""
    context, total = model.recipe.context, 0.0
    for start in range(0, len(ids) - 1, context):
        targets = ids[start + 1 : start + 1 + context]
        inputs = ids[start : start + len(targets)]
        total += loss_of(model, inputs[None], targets[None]).item() * len(targets)
    return total / (len(ids) - 1)


def split(text: str) -> tuple[list[str], Tensor, Tensor]:
    """The characters that occur, and the ids of the text's first nine tenths and of its last."""
    characters = sorted(set(text))
    number = {character: i for i, character in enumerate(characters)}
    ids = torch.tensor([number[character] for character in text])
    cut = int(0.9 * len(ids))
    return characters, ids[:cut], ids[cut:]


def train(
    text: str, file: Path, *, recipe: Recipe, seed: int, tell: Callable[[dict[str, Any]], None]
) -> None:
    """Learn from the text; `file` then holds the model of the best evaluation."""
    torch.manual_seed(seed)
    characters, training, validation = split(text)
    model = GPT(len(characters), recipe)
    optimizer = build_optimizer(model)
    best = math.inf
    for step in range(recipe.steps + 1):
        if step % recipe.eval_every == 0 or step == recipe.steps:
            losses = [estimate_loss(model, part) for part in (training, validation)]
            tell({"step": step, "train_loss": losses[0], "validation_loss": losses[1]})
            if step > 0 and losses[1] < best:
                best = losses[1]
                save(model, characters, file)
        if step == recipe.steps:
            break
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, recipe)
        inputs, targets = draw_batch(training, recipe)
        train_step(model, optimizer, inputs=inputs, targets=targets)


def save(model: GPT, characters: list[str], file: Path) -> None:
    """Write weights, settings and characters to one safetensors file."""
    about = {"recipe": json.dumps(asdict(model.recipe)), "characters": json.dumps(characters)}
    save_file(model.state_dict(), file, metadata=about)


def load(file: Path) -> tuple[GPT, list[str]]:
    """The model that `save` wrote, and its characters in the order of their ids."""
    with safe_open(file, framework="pt") as stored:
        about = stored.metadata()
        tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118
    characters = json.loads(about["characters"])
    values = json.loads(about["recipe"])
    model = GPT(len(characters), Recipe(**{**values, "betas": tuple(values["betas"])}))
    model.load_state_dict(tensors)
    return model, characters


def main() -> None:
    """Train on the text named, as the command line says."""
    parser = argparse.ArgumentParser(prog="python -m cloche.bench.textbook")
    parser.add_argument("text", type=Path)
    parser.add_argument("file", type=Path)
    parser.add_argument("--steps", type=int, default=Recipe.steps)
    parser.add_argument("--seed", type=int, default=1337)
    chosen = parser.parse_args()
    began = time.perf_counter()
    text = chosen.text.read_bytes().decode("utf-8")
    recipe = Recipe(steps=chosen.steps)
    train(text, chosen.file, recipe=recipe, seed=chosen.seed, tell=_print)
    _print({"saved": str(chosen.file), "seconds": time.perf_counter() - began})
    model, _ = load(chosen.file)
    _print({"whole_validation_loss": validation_loss(model, split(text)[2])})


def _print(values: dict[str, Any]) -> None:
    print(json.dumps(values), flush=True)


if __name__ == "__main__":
    main()
