import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cloche.data.batches import IGNORED
from cloche.data.example_order import ExampleOrder, Order
from cloche.data.examples import Example, common_beginning, families, lay_out, pack, sequence_sums
from cloche.errors import DataError
from cloche.evaluation.cross_entropy import summed_cross_entropy
from cloche.model.build import build_model
from cloche.model.config import ModelOptions
from cloche.model.initialise import initialise
from cloche.model.masks import SHARED
from cloche.model.presets import complete


def example(length, *, seed=0, learned_from=1, vocab=23):
    ids = np.random.default_rng(seed).integers(0, vocab, length)
    return Example(ids, np.arange(length) >= learned_from)


def tiny_model(**options):
    config = complete(ModelOptions(**options), vocab_size=23, layers=2, width=32, context=64)
    model = build_model(config)
    initialise(model, seed=1)
    for parameter in model.parameters():  # the head begins at zero, where nothing could differ
        torch.nn.init.normal_(parameter, std=0.2, generator=torch.Generator().manual_seed(2))
    return model


LENGTHS = (9, 3, 17, 2, 6, 12)


@pytest.mark.parametrize("family", ["qwen3", "gpt", "gpt2"])
def test_packed_rows_give_the_loss_and_the_gradients_of_separate_ones(family):
    examples = [example(length, seed=length, learned_from=length // 2) for length in LENGTHS]
    found = []
    for row_tokens in (40, 1):
        model = tiny_model(family=family)
        batch = lay_out(examples, row_tokens=row_tokens)
        hidden = model.hidden(batch.inputs, positions=batch.positions, documents=batch.documents)
        total = summed_cross_entropy(model, hidden, batch.targets)
        total.backward()
        found.append((total.detach(), [p.grad for p in model.parameters() if p.grad is not None]))
    (packed, packed_gradients), (separate, separate_gradients) = found
    torch.testing.assert_close(packed, separate)
    for one, other in zip(packed_gradients, separate_gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


def begun_alike(shared=5):
    """Examples that begin with the same tokens, from some of which nothing is learned."""
    beginning = np.arange(1, shared + 1)
    ends = [example(length, seed=length, learned_from=length // 2) for length in LENGTHS]
    unlearned = np.zeros(shared, bool)
    return [
        Example(np.concatenate([beginning, each.ids]), np.concatenate([unlearned, each.learned]))
        for each in ends
    ]


@pytest.mark.parametrize("options", [{}, {"family": "gpt2"}, {"window": 4}], ids=str)
def test_examples_that_share_their_beginning_give_the_loss_and_the_gradients_of_separate_ones(
    options,
):
    examples = begun_alike()
    found = []
    for row_tokens in (30, 1):
        model = tiny_model(**options)
        batch = lay_out(examples, row_tokens=row_tokens)
        assert bool((batch.documents == SHARED).any()) == (row_tokens > 1)
        hidden = model.hidden(batch.inputs, positions=batch.positions, documents=batch.documents)
        total = summed_cross_entropy(model, hidden, batch.targets)
        total.backward()
        found.append((total.detach(), [p.grad for p in model.parameters() if p.grad is not None]))
    (packed, packed_gradients), (separate, separate_gradients) = found
    torch.testing.assert_close(packed, separate)
    for one, other in zip(packed_gradients, separate_gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


def test_a_shared_beginning_stands_once_in_each_row():
    examples = begun_alike()
    batch = lay_out(examples, row_tokens=30)
    assert batch.documents is not None
    begun = common_beginning(examples)
    assert begun >= 5
    assert len(batch.inputs) > 1
    assert (batch.documents == SHARED).sum(dim=1).tolist() == [begun] * len(batch.inputs)
    assert batch.inputs[:, :5].tolist() == [[1, 2, 3, 4, 5]] * len(batch.inputs)
    assert batch.targets[:, :begun].eq(IGNORED).all()
    read = (batch.documents < batch.count) & (batch.documents != SHARED)
    assert int(read.sum()) == sum(len(each.ids) - 1 - begun for each in examples)


@given(st.lists(st.lists(st.integers(0, 1), min_size=2, max_size=8), min_size=2), st.integers(1, 8))
def test_nothing_learned_is_shared_and_each_example_keeps_an_input(texts, learned_from):
    examples = [Example(np.array(ids), np.arange(len(ids)) >= learned_from) for ids in texts]
    begun = common_beginning(examples)
    for each in examples:
        assert each.ids[:begun].tolist() == examples[0].ids[:begun].tolist()
        assert not each.learned[: begun + 1].any()
        assert begun <= len(each.ids) - 2


def test_what_is_learned_from_the_first_token_on_is_not_shared():
    one = example(8, seed=1)
    assert common_beginning([one, one]) == 0
    assert common_beginning([one]) == 0


def answers_to(prompt_seed, *lengths):
    """Answers of these lengths to one prompt of 12 tokens."""
    prompt = np.random.default_rng(prompt_seed).integers(0, 23, 12)
    found = []
    for length in lengths:
        answer = np.random.default_rng((prompt_seed, length)).integers(0, 23, length)
        ids = np.concatenate([prompt, answer])
        found.append(Example(ids, np.arange(len(ids)) >= 12))
    return found


def test_a_prompt_of_several_answers_is_read_once_for_all_of_them():
    first, second, alone = answers_to(1, 3, 2, 4), answers_to(2, 2, 5), answers_to(3, 3)
    examples = [first[0], second[0], alone[0], first[1], second[1], first[2]]
    batch = lay_out(examples, row_tokens=40)
    assert batch.documents is not None
    shared = (batch.documents == SHARED).sum(dim=1).tolist()
    assert sorted(shared) == [0, 11, 11]
    assert batch.inputs.numel() < sum(len(each.ids) - 1 for each in examples)
    found = []
    for row_tokens in (40, 1):
        model = tiny_model()
        batch = lay_out(examples, row_tokens=row_tokens)
        hidden = model.hidden(batch.inputs, positions=batch.positions, documents=batch.documents)
        summed_cross_entropy(model, hidden, batch.targets).backward()
        found.append([p.grad for p in model.parameters() if p.grad is not None])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


def test_families_are_answers_to_one_prompt_and_all_others_stay_together():
    first, second = answers_to(1, 3, 2), answers_to(2, 2, 5)
    examples = [first[0], *answers_to(3, 4), second[0], first[1], *answers_to(4, 2), second[1]]
    found = [sorted(family) for family in families(examples)]
    assert sorted(found[:-1]) == [[0, 3], [2, 5]]
    assert found[-1] == [1, 4]


def test_no_example_of_a_row_sees_another():
    first, second = example(8, seed=1), example(8, seed=2)
    other = Example(np.roll(first.ids, 3), first.learned)
    model = tiny_model()
    found = []
    for neighbour in (first, other):
        batch = lay_out([neighbour, second], row_tokens=32)
        assert len(batch.inputs) == 1
        hidden = model.hidden(batch.inputs, positions=batch.positions, documents=batch.documents)
        found.append(hidden[batch.documents == 1])
    assert torch.equal(found[0], found[1])


def test_each_learned_token_is_a_target_once_behind_the_token_before_it():
    examples = [example(length, seed=length, learned_from=2) for length in LENGTHS]
    batch = lay_out(examples, row_tokens=20)
    assert batch.documents is not None
    for number, one in enumerate(examples):
        mine = (batch.documents == number) & (batch.targets != IGNORED)
        assert batch.targets[mine].tolist() == one.ids[2:].tolist()
        assert batch.inputs[mine].tolist() == one.ids[1:-1].tolist()
    assert batch.count == len(examples)


def test_sums_of_sequences_go_to_the_example_each_token_belongs_to():
    examples = [example(length, seed=length) for length in LENGTHS]
    batch = lay_out(examples, row_tokens=20)
    counts = sequence_sums(torch.ones(int((batch.targets != IGNORED).sum())), batch)
    assert counts.tolist() == [length - 1 for length in LENGTHS]


@given(st.lists(st.integers(1, 60), min_size=1, max_size=30), st.integers(1, 100))
def test_packing_holds_every_example_once_and_no_row_is_overfull(lengths, row_tokens):
    rows = pack(lengths, row_tokens)
    assert sorted(number for row in rows for number in row) == list(range(len(lengths)))
    assert all(sum(lengths[n] for n in row) <= max(row_tokens, *lengths) for row in rows)


def test_an_order_shows_each_number_once_an_epoch_and_each_epoch_another_order():
    order = Order(50, seed=3)
    first, second = order.numbers(0, size=50), order.numbers(50, size=50)
    assert sorted(first) == sorted(second) == list(range(50))
    assert first != second
    assert order.numbers(20, size=5) == first[20:25]


def test_an_order_of_nothing_is_refused():
    with pytest.raises(DataError, match="nothing to learn from"):
        Order(0, seed=0)


def test_batches_are_cut_from_one_order():
    order = ExampleOrder([example(length) for length in LENGTHS], seed=1, row_tokens=1)
    whole = order.batch(0, size=4)
    halves = [order.batch(0, size=2), order.batch(2, size=2)]
    learned = [batch.targets[batch.targets != IGNORED].tolist() for batch in halves]
    assert whole.targets[whole.targets != IGNORED].tolist() == learned[0] + learned[1]
