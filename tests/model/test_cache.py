"""Cached equals uncached, whatever joins, leaves, is cropped or copied."""

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cloche.model.cache import KeyValueCache


def ids(*shape: int) -> torch.Tensor:
    return torch.randint(29, shape, generator=torch.Generator().manual_seed(5))


def feed(model, cache: KeyValueCache, pieces: dict[int, torch.Tensor]) -> dict[int, torch.Tensor]:
    """Hidden vectors of new tokens, given as cache row -> ids, in one right-padded forward."""
    counts = [len(piece) for piece in pieces.values()]
    batch = torch.full((len(pieces), max(counts)), 28)
    for row, piece in zip(batch, pieces.values(), strict=True):
        row[: len(piece)] = piece
    with torch.no_grad():
        hidden = model.hidden(batch, cache=cache.view(list(pieces), counts))
    return {row: vectors[:n] for row, vectors, n in zip(pieces, hidden, counts, strict=True)}


def uncached(model, tokens: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return model.hidden(tokens[None])[0]


def assert_close(mine: torch.Tensor, theirs: torch.Tensor) -> None:
    torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-5)


def test_one_token_at_a_time_equals_all_at_once(config, random_model):
    model, tokens = random_model(config), ids(12)
    cache = KeyValueCache(config, rows=1, capacity=12)
    row = cache.allocate()
    steps = [feed(model, cache, {row: tokens[i : i + 1]})[row] for i in range(12)]
    assert_close(torch.cat(steps), uncached(model, tokens))
    assert cache.lengths == (12,)


def test_ragged_rows_in_any_order_equal_each_alone(config, random_model):
    model = random_model(config)
    cache = KeyValueCache(config, rows=4, capacity=32)
    rows = [cache.allocate() for _ in range(4)]
    texts = {row: ids(4, 20)[row] for row in rows}
    cuts = {3: (0, 7, 8, 20), 0: (0, 1, 6, 9), 2: (0, 5, 12, 13)}
    got: dict[int, list[torch.Tensor]] = {row: [] for row in cuts}
    for turn in range(3):
        pieces = {row: texts[row][ends[turn] : ends[turn + 1]] for row, ends in cuts.items()}
        for row, vectors in feed(model, cache, pieces).items():
            got[row].append(vectors)
    for row, ends in cuts.items():
        assert_close(torch.cat(got[row]), uncached(model, texts[row][: ends[-1]]))
    assert cache.lengths == (9, 0, 13, 20)


def test_a_cropped_row_goes_on_as_if_the_rest_had_never_been(config, random_model):
    model, tokens = random_model(config), ids(10)
    cache = KeyValueCache(config, rows=1, capacity=16)
    row = cache.allocate()
    feed(model, cache, {row: torch.cat((tokens[:4], ids(9) % 5))})
    cache.crop(row, 4)
    assert_close(feed(model, cache, {row: tokens[4:]})[row], uncached(model, tokens)[4:])


def test_a_copied_row_goes_on_alone(config, random_model):
    model, tokens, others = random_model(config), ids(10), ids(5) % 7
    cache = KeyValueCache(config, rows=3, capacity=16)
    source, _, target = (cache.allocate() for _ in range(3))
    feed(model, cache, {source: tokens[:5]})
    cache.copy(source, target)
    got = feed(model, cache, {source: tokens[5:], target: others})
    assert_close(got[source], uncached(model, tokens)[5:])
    assert_close(got[target], uncached(model, torch.cat((tokens[:5], others)))[5:])


def test_a_freed_row_starts_empty(config, random_model):
    model, tokens = random_model(config), ids(6)
    cache = KeyValueCache(config, rows=2, capacity=16)
    row = cache.allocate()
    feed(model, cache, {row: ids(11)})
    cache.free(row)
    assert cache.free_rows == (0, 1)
    assert cache.allocate() == row
    assert_close(feed(model, cache, {row: tokens})[row], uncached(model, tokens))


@settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_any_schedule_of_joins_steps_crops_copies_and_leaves_equals_full_forwards(
    decoder_config, random_model, data
):
    model = random_model(decoder_config)
    cache = KeyValueCache(decoder_config, rows=3, capacity=32)
    held: dict[int, torch.Tensor] = {}
    for _ in range(8):
        action = data.draw(st.sampled_from(["join", "step", "step", "crop", "copy", "leave"]))
        row = data.draw(st.sampled_from(sorted(held))) if held else None
        if action == "join" and cache.free_rows:
            held[cache.allocate()] = torch.zeros(0, dtype=torch.long)
        elif action == "step" and row is not None:
            counts = {
                r: data.draw(st.integers(1, 4)) for r in data.draw(st.permutations(sorted(held)))
            }
            pieces = {r: torch.randint(29, (n,)) for r, n in counts.items()}
            got = feed(model, cache, pieces)
            for r, piece in pieces.items():
                held[r] = torch.cat((held[r], piece))
                assert_close(got[r], uncached(model, held[r])[-len(piece) :])
        elif action == "crop" and row is not None:
            held[row] = held[row][: data.draw(st.integers(0, len(held[row])))]
            cache.crop(row, len(held[row]))
        elif action == "copy" and row is not None:
            target = data.draw(st.sampled_from(sorted(held)))
            held[target] = held[row].clone()
            cache.copy(row, target)
        elif action == "leave" and row is not None:
            cache.free(row)
            del held[row]
    assert cache.lengths == tuple(len(held.get(row, ())) for row in range(3))


def test_a_watched_cached_forward_gives_the_same(decoder_config, random_model):
    model, tokens = random_model(decoder_config), ids(6)
    cache = KeyValueCache(decoder_config, rows=1, capacity=8)
    row = cache.allocate()
    feed(model, cache, {row: tokens[:4]})
    told: dict[str, torch.Tensor] = {}
    with torch.no_grad():
        model.hidden(tokens[None, 4:], cache=cache.view([row], [2]), record=told.__setitem__)
    assert_close(told["norm"][0], uncached(model, tokens)[4:])
    assert told["layers.0.attention.weights"].shape == (1, decoder_config.heads, 2, 6)


def test_a_forward_that_fails_leaves_the_cache_as_it_was(config, random_model):
    model, tokens = random_model(config), ids(6)
    cache = KeyValueCache(config, rows=1, capacity=8)
    row = cache.allocate()
    feed(model, cache, {row: tokens[:3]})
    with pytest.raises(IndexError):
        feed(model, cache, {row: torch.tensor([1000])})
    assert cache.lengths == (3,)
    assert_close(feed(model, cache, {row: tokens[3:]})[row], uncached(model, tokens)[3:])


def test_no_gradient_flows_through_a_cache(decoder_config, random_model):
    model = random_model(decoder_config)
    cache = KeyValueCache(decoder_config, rows=1, capacity=8)
    row = cache.allocate()
    model.hidden(ids(1, 3), cache=cache.view([row], [3]))
    assert not cache.keys.requires_grad
    assert not cache.values.requires_grad


def test_misuse_of_the_cache_is_an_error(decoder_config):
    cache = KeyValueCache(decoder_config, rows=2, capacity=8)
    with pytest.raises(ValueError, match="not allocated"):
        cache.free(0)
    row = cache.allocate()
    cache.allocate()
    with pytest.raises(ValueError, match="all 2 rows"):
        cache.allocate()
    with pytest.raises(ValueError, match="exceed 8"):
        cache.view([row], [9])
    with pytest.raises(ValueError, match="distinct"):
        cache.view([row, row], [1, 1])
    with pytest.raises(ValueError, match="at least one"):
        cache.view([row], [0])
    with pytest.raises(ValueError, match="cannot keep"):
        cache.crop(row, 1)


def test_a_view_serves_one_forward_only(config, random_model):
    model = random_model(config)
    cache = KeyValueCache(config, rows=1, capacity=8)
    view = cache.view([cache.allocate()], [2])
    model.hidden(ids(1, 2), cache=view)
    with pytest.raises(AssertionError, match="one forward"):
        model.hidden(ids(1, 2), cache=view)
