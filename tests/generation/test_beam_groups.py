"""Groups of beams take what a slow search without a cache takes, and keep apart."""

import pytest
import torch

from cloche.generation.beams import BeamSettings, find_beams
from cloche.generation.continuation import Continuation
from cloche.generation.forward import ModelForward

PROMPT, MOST = (10, 20, 30), 8


def search(model, *, stop_ids=(), **asked) -> list[Continuation]:
    settings = BeamSettings(max_tokens=MOST, **asked)
    forward = ModelForward(model, rows=settings.rows, capacity=16)
    return find_beams(forward, PROMPT, settings, vocab_size=257, stop_ids=stop_ids)


def groups_without_a_cache(model, prompt, *, size, groups, penalty, most, stop, n):
    """The scores and ids of the `n` best, found with no cache and no tensor kept.

    Written from the paper: each group is a beam search over log probabilities less the penalty
    for tokens that earlier groups took at this step; all text is read anew for each token.
    """
    state = [{"live": [((), 0.0)], "ended": []} for _ in range(groups)]
    for length in range(1, most + 1):
        taken: list[int] = []
        for group in state:
            options = []
            for ids, total in group["live"]:
                with torch.inference_mode():
                    row = model(torch.tensor([[*prompt, *ids]]))[0, -1].log_softmax(dim=-1).tolist()
                options += [
                    (total + value - penalty * taken.count(token), (*ids, token))
                    for token, value in enumerate(row)
                ]
            options.sort(reverse=True)
            ends = [o for o in options[:size] if o[1][-1] == stop or length == most]
            group["ended"] += [(total / length, ids) for total, ids in ends]
            group["ended"] = sorted(group["ended"], reverse=True)[:size]
            going_on = [o for o in options if o[1][-1] != stop][:size]
            group["live"] = [(ids, total) for total, ids in going_on]
            taken += [ids[-1] for _, ids in going_on]
            full = len(group["ended"]) == size
            if full and going_on and going_on[0][0] / length <= group["ended"][-1][0]:
                group["live"] = []  # the best beam, were it to end now, would come last
    return sorted((one for group in state for one in group["ended"]), reverse=True)[:n]


@pytest.mark.parametrize(("beams", "groups"), [(4, 2), (6, 3), (3, 3), (4, 1)])
@pytest.mark.parametrize("penalty", [0.0, 0.7, 5.0])
def test_groups_find_what_a_search_without_a_cache_finds(model, beams, groups, penalty):
    asked = {"groups": groups, "diversity_penalty": penalty if groups > 1 else 0.0}
    [likeliest] = search(model, beams=3)
    stop = likeliest.ids[3]  # so that some end and others go on
    found = search(model, stop_ids=(stop,), beams=beams, n=beams, **asked)
    expected = groups_without_a_cache(
        model,
        PROMPT,
        size=beams // groups,
        groups=groups,
        penalty=asked["diversity_penalty"],
        most=MOST,
        stop=stop,
        n=beams,
    )
    assert sorted(one.ids for one in found) == sorted(ids for _, ids in expected)
    assert [one.score for one in found] == pytest.approx([s for s, _ in expected], rel=1e-4)


def test_some_of_what_is_compared_ends_and_some_is_cut_off(model):
    [likeliest] = search(model, beams=3)
    asked = {"groups": 3, "diversity_penalty": 0.7}
    found = search(model, stop_ids=(likeliest.ids[3],), beams=6, n=6, **asked)
    assert {one.finish_reason for one in found} == {"stop", "length"}


def test_groups_of_one_with_a_high_penalty_take_different_tokens_at_every_step(model):
    found = search(model, beams=4, groups=4, n=4, diversity_penalty=1000.0)
    assert all(len(set(step)) == 4 for step in zip(*(one.ids for one in found), strict=True))
