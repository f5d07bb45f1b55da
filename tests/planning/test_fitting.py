"""Whether a training fits, and the ways out where it does not."""

import re
import shlex
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloche.cli.parse import parse
from cloche.model.config import ModelOptions
from cloche.model.presets import complete
from cloche.planning.fitting import (
    Fit,
    TooLarge,
    change_cost,
    describe_too_large,
    fit_training,
)
from cloche.planning.memory import (
    LIBRARY_BYTES,
    TOKENIZER_BYTES,
    copy_bytes,
    training_memory,
)
from cloche.training.options import RunOptions

HOW: dict[str, Any] = {"precision": "float32", "optimizer": "adamw", "attention": "plain"}


def model(family: Any = "qwen3", *, vocab_size=8192, layers=12, width=768, context=1024, **options):
    return complete(
        ModelOptions(family=family, **options),
        vocab_size=vocab_size,
        layers=layers,
        width=width,
        context=context,
    )


def total(config, *, batch, **how):
    return training_memory(config, batch=batch, **(HOW | how)).total


def test_what_fits_at_once_is_computed_at_once():
    fit = fit_training(model(), batch=12, available_bytes=10**12, **HOW)
    memory = training_memory(model(), batch=12, **HOW)
    copies = copy_bytes(model(), optimizer=HOW["optimizer"])
    assert fit == Fit(12, 1, replace(memory, copies=copies), 10**12)


def test_without_room_for_copies_training_waits_for_its_checkpoints():
    config = model()
    needed = total(config, batch=1)
    fit = fit_training(config, batch=1, available_bytes=int(needed / 0.9) + 1, **HOW)
    assert isinstance(fit, Fit)
    assert fit.memory.copies == 0
    assert copy_bytes(config, optimizer=HOW["optimizer"]) * 1.5 > 0.1 * needed


def test_a_bpe_that_is_learned_from_the_text_takes_its_own():
    given, free = (
        fit_training(model(), batch=12, available_bytes=10**12, vocab=vocab, **HOW)
        for vocab in ("given", "free")
    )
    assert free.memory.total - given.memory.total == TOKENIZER_BYTES


def test_a_batch_is_cut_into_as_few_parts_as_needed_and_they_divide_it():
    config = model()
    available = int(total(config, batch=5) / 0.9)
    fit = fit_training(config, batch=12, available_bytes=available, **HOW)
    assert isinstance(fit, Fit)
    assert (fit.micro_batch, fit.accumulate) == (4, 3)
    assert fit.memory.total <= 0.9 * available < total(config, batch=6)


def test_parts_that_were_asked_for_are_the_fewest():
    fit = fit_training(model(), batch=12, available_bytes=10**12, accumulate=4, **HOW)
    assert isinstance(fit, Fit)
    assert (fit.micro_batch, fit.accumulate) == (3, 4)


def too_large(config, *, below=1.0, **given):
    """The answer where there is a share of what one sequence of four takes, libraries aside."""
    how = {name: given[name] for name in HOW.keys() & given.keys()}
    of_model = total(config, batch=1, parts=4, **how) - LIBRARY_BYTES
    available = int((below * of_model + LIBRARY_BYTES) / 0.9) - 1
    found = fit_training(config, batch=4, available_bytes=available, **(HOW | given))
    assert isinstance(found, TooLarge)
    return found


def test_too_large_tells_the_parts_and_three_changes_in_order():
    found = too_large(model())
    assert found.memory == training_memory(model(), batch=1, **HOW)
    assert len(found.changes) == 3
    assert [c.cost for c in found.changes] == sorted(c.cost for c in found.changes)
    most = found.share * found.available_bytes
    assert all(change.memory.total <= most for change in found.changes)
    # what leaves the model as it is comes first
    assert found.changes[0].options == ("--train.optimizer muon",)


def test_the_message_names_bytes_by_part_and_what_to_type():
    found = too_large(model())
    text = describe_too_large(found)
    for name in ("weights", "gradients", "optimizer", "activations"):
        assert re.search(rf"{name} [\d.]+ [GM]B", text)
    for change in found.changes:
        assert " ".join(change.options) in text
    assert "90%" in text


def test_each_size_is_changed_no_more_than_needed():
    config = model(tied=True)
    found = too_large(config, below=0.95, optimizer="muon", precision="bfloat16")
    by_name = {change.options[-1].split()[0]: change.options[-1] for change in found.changes}
    most = found.share * found.available_bytes
    how: dict[str, Any] = {"optimizer": "muon", "precision": "bfloat16"}
    layers = int(by_name["--model.layers"].split()[1])
    assert total(replace(config, layers=layers), batch=1, parts=4, **how) <= most
    assert total(replace(config, layers=layers + 1), batch=1, parts=4, **how) > most


def test_a_vocabulary_is_made_smaller_only_where_it_is_free():
    config = model(vocab_size=60_000, layers=2, width=128)

    def typed(**how):
        return str(too_large(config, below=0.6, optimizer="muon", **how).changes)

    assert "--text.vocab-size" in typed(vocab="free")
    assert "--text.vocab-size" not in typed()


def test_a_published_gpt2_becomes_a_smaller_published_one():
    config = model("gpt2", size="large", vocab_size=50_257)
    found = too_large(config, below=0.6, optimizer="muon", precision="bfloat16")
    assert ("--model.size medium",) in [change.options for change in found.changes]
    assert not any("--model.layers" in str(change.options) for change in found.changes)


def test_where_no_single_change_is_enough_several_are_told_together():
    found = too_large(model(layers=48, width=4096), below=0.005)
    assert found.changes
    assert len(found.changes[0].options) > 1


def test_where_nothing_fits_that_is_said():
    found = fit_training(model(), batch=4, available_bytes=10_000, **HOW)
    assert isinstance(found, TooLarge)
    assert found.changes == ()
    assert "free some memory" in describe_too_large(found)


@settings(deadline=None, max_examples=60)
@given(
    st.sampled_from(["qwen3", "moe", "llama", "gpt", "gpt2", "seq2seq"]),
    st.sampled_from([(64, 4), (192, 6), (512, 8), (640, 10)]),
    st.integers(1, 12),
    st.sampled_from([16, 100, 512]),
    st.sampled_from([0.95, 0.6, 0.2, 0.05]),
)
def test_what_is_told_can_be_typed_and_then_fits(family, shape, layers, context, below):
    """The options, read as the command reads them, give a model that takes no more than told."""
    width, heads = shape
    config = model(family, layers=layers, width=width, context=context, heads=heads)
    found = too_large(config, below=below, vocab="free")
    for change in found.changes:
        typed = shlex.split(" ".join(change.options))
        run = parse(RunOptions, typed, prog="test")
        smaller = complete(
            replace(run.model, family=family, heads=heads),
            vocab_size=run.text.vocab_size or config.vocab_size,
            layers=layers,
            width=width,
            context=context,
        )
        how: dict[str, Any] = {
            "optimizer": "adamw" if run.train.optimizer == "auto" else run.train.optimizer,
            "precision": "float32" if run.train.precision == "auto" else run.train.precision,
        }
        assert total(smaller, batch=1, parts=4, **how) <= 1.05 * change.memory.total


def test_costs_put_context_and_vocabulary_before_layers():
    config = model()
    assert change_cost(config, config) == 0
    half = change_cost(config, replace(config, context=512))
    assert half == pytest.approx(0.125)
    assert half < change_cost(config, replace(config, layers=6)) == pytest.approx(0.5)


def test_a_bigram_is_offered_a_shorter_context_alone():
    config = model("bigram", vocab_size=3000, context=256, layers=1, width=1)
    found = too_large(config, below=0.99)
    assert {change.options[-1].split()[0] for change in found.changes} == {"--model.context"}
