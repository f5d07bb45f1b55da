"""The packaged recipes: all of them valid, and their models those that were published."""

from pathlib import Path

import pytest

import cloche
from cloche.config import check, read_toml, with_values
from cloche.model.config import ModelConfig
from cloche.model.presets import complete
from cloche.planning.flops import parameter_count
from cloche.training.options import RunOptions

FOLDER = Path(cloche.__file__).parent / "recipes"
NAMES = sorted(path.stem for path in FOLDER.glob("*.toml"))


def recipe(name: str) -> RunOptions:
    return with_values(RunOptions(), read_toml(FOLDER / f"{name}.toml"), source=name)


def model_of(name: str, *, vocab_size: int) -> ModelConfig:
    options = recipe(name).model
    return complete(options, vocab_size=vocab_size, layers=1, width=32, context=8)


def test_the_named_recipes_come_with_the_package():
    named = {"babygpt", "bigram", "verdict", "novel", "nanogpt-cpu", "nanogpt-gpu", "gpt-textbook"}
    assert named <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_recipe_has_no_problem_and_says_how_it_learns(name):
    options = recipe(name)
    check(options)
    assert options.train.learning_rate


@pytest.mark.parametrize(
    ("name", "vocab_size", "parameters"),
    [
        ("babygpt", 65, 129 * 65 + 203_392),
        ("babygpt", 7000, 129 * 7000 + 203_392),
        ("novel", 100_256, 140_573_600),
        ("verdict", 50_257, 163_009_536 - 768 * 768),  # 1024 positions there, 256 here
        ("bigram", 65, 65 * 65),
        # 10.65 million without the positions (256 x 384) and without biases: ours has both
        ("nanogpt-gpu", 65, 10_646_784 + 256 * 384 + 6 * (384 + 4 * 384 + 384 + 2 * 384) + 384),
    ],
)
def test_a_recipe_gives_the_published_number_of_parameters(name, vocab_size, parameters):
    assert parameter_count(model_of(name, vocab_size=vocab_size)) == parameters


def test_the_recipes_of_shakespeare_have_the_published_shapes():
    small, large = (model_of(f"nanogpt-{size}", vocab_size=65) for size in ("cpu", "gpu"))
    assert (small.layers, small.heads, small.width, small.context) == (4, 4, 128, 64)
    assert (large.layers, large.heads, large.width, large.context) == (6, 6, 384, 256)
    assert large.dropout == 0.2
