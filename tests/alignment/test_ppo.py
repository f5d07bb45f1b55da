"""PPO's round and losses, against loops over tokens as the papers write them."""

import math

import pytest
import torch
from small_policies import small_model

from cloche.alignment.ppo import ProximalObjective, advantages_of, token_rewards
from cloche.alignment.ppo_model import ActorCritic
from cloche.alignment.ppo_options import ProximalOptions
from cloche.alignment.rollouts import token_scores, token_values
from cloche.alignment.rollouts_rounds import AnswerTokens, Round, restore_round
from cloche.data.examples import Example
from cloche.model.scorer import make_scorer

ROWS = [([1, 2, 3], [4, 5]), ([6], [7, 8, 9, 10]), ([2, 2], [3])]
OPTIONS = ProximalOptions(entropy=0.01, value_weight=0.5, clip_high=0.3)


@pytest.fixture(scope="module")
def models():
    policy, _, _ = small_model(dropout=0.0)
    value = make_scorer(small_model(seed=1, dropout=0.0)[0], 1, seed=2)
    return ActorCritic(policy, value)


@pytest.fixture(scope="module")
def examples():
    found = []
    for prompt, answer in ROWS:
        learned = [False] * len(prompt) + [True] * len(answer)
        found.append(Example(torch.tensor(prompt + answer).numpy(), torch.tensor(learned).numpy()))
    return tuple(found)


def each_token(models):
    """(log probability, entropy, value) of every answer's tokens, one whole row at a time."""
    for prompt, answer in ROWS:
        row = torch.tensor([prompt + answer])
        table = models.policy(row)[0].log_softmax(dim=-1)
        values = models.value.score_of(models.value.hidden(row))[0, :, 0]
        found = []
        for place, token in enumerate(answer, start=len(prompt)):
            probabilities = table[place - 1].exp()
            entropy = -(probabilities * table[place - 1]).sum()
            found.append((table[place - 1, token], entropy, values[place - 1]))
        yield found


def rewards_by_the_paper(logprobs, references, score, cost):
    rewards = [-cost * (p - r) for p, r in zip(logprobs, references, strict=True)]
    rewards[-1] += score
    return rewards


def advantages_by_the_paper(rewards, values, discount, trace):
    found = []
    for place in range(len(rewards)):
        total = 0.0
        for later in range(place, len(rewards)):
            after = values[later + 1] if later + 1 < len(rewards) else 0.0
            surprise = rewards[later] + discount * after - values[later]
            total += (discount * trace) ** (later - place) * surprise
        found.append(total)
    return found


def test_rewards_and_advantages_are_the_papers():
    torch.manual_seed(0)
    lengths = [2, 4, 1]
    policy, reference, values = torch.randn(3, 7)
    scores = torch.tensor([1.0, -2.0, 0.5])
    rewards = token_rewards(policy - reference, lengths, scores=scores, kl_cost=0.3)
    found = advantages_of(rewards, values, lengths, discount=0.9, trace=0.8)
    expected_rewards, expected = [], []
    begin = 0
    for length, score in zip(lengths, scores.tolist(), strict=True):
        span = slice(begin, begin + length)
        own = rewards_by_the_paper(policy[span].tolist(), reference[span].tolist(), score, 0.3)
        expected_rewards += own
        expected += advantages_by_the_paper(own, values[span].tolist(), 0.9, 0.8)
        begin += length
    torch.testing.assert_close(rewards, torch.tensor(expected_rewards))
    torch.testing.assert_close(found, torch.tensor(expected))


def test_log_probabilities_and_values_of_packed_answers_are_those_of_whole_rows(models, examples):
    scored = token_scores(models.policy, examples, temperature=1.0)
    values = token_values(models.value, examples)
    expected = [token for row in each_token(models) for token in row]
    with torch.no_grad():
        logprobs, entropies, expectations = (
            torch.stack(part) for part in zip(*expected, strict=True)
        )
    torch.testing.assert_close(scored.logprobs, logprobs, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(scored.entropy, entropies, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(values, expectations, rtol=1e-4, atol=1e-5)


def test_loss_and_gradients_are_those_of_a_loop_over_tokens(models, examples):
    torch.manual_seed(3)
    count = sum(len(answer) for _, answer in ROWS)
    now = token_scores(models.policy, examples, temperature=1.0).logprobs
    tokens = AnswerTokens(
        old_logprobs=now + 0.4 * torch.randn(count),
        reference_logprobs=now,
        advantages=torch.randn(count),
        returns=torch.randn(count),
        old_values=token_values(models.value, examples) + 0.4 * torch.randn(count),
    )
    batch = Round(0, examples, tokens, {}).batch([2, 0, 1])
    objective = ProximalObjective(OPTIONS, temperature=1.0)
    terms = objective(models, batch).terms
    assert objective.counts(batch) == {name: term.count for name, term in terms.items()}
    loss = torch.stack([term.weight * term.sum / term.count for term in terms.values()]).sum()
    models.zero_grad()
    loss.backward()
    found = {name: p.grad.clone() for name, p in models.named_parameters() if p.grad is not None}

    total = torch.zeros(())
    flat = [token for row in each_token(models) for token in row]
    for number, (logprob, entropy, value) in enumerate(flat):
        ratio = (logprob - tokens.old_logprobs[number]).exp()
        advantage = tokens.advantages[number]
        clipped = ratio.clamp(1 - OPTIONS.clip_low, 1 + OPTIONS.clip_high)
        policy_loss = -torch.min(ratio * advantage, clipped * advantage)
        old, wanted = float(tokens.old_values[number]), tokens.returns[number]
        near = value.clamp(old - OPTIONS.value_clip, old + OPTIONS.value_clip)
        value_loss = 0.5 * torch.max((value - wanted) ** 2, (near - wanted) ** 2)
        total = total + policy_loss + OPTIONS.value_weight * value_loss - OPTIONS.entropy * entropy
    expected = total / count
    models.zero_grad()
    expected.backward()
    torch.testing.assert_close(loss, expected, rtol=1e-4, atol=1e-6)
    for name, parameter in models.named_parameters():
        if parameter.grad is None:
            continue
        scale = parameter.grad.abs().max().item()
        torch.testing.assert_close(
            found[name], parameter.grad, rtol=1e-4, atol=1e-5 * max(scale, 1e-3), msg=name
        )


def test_a_round_comes_back_from_its_tensors(examples):
    count = sum(len(answer) for _, answer in ROWS)
    tokens = AnswerTokens(*torch.randn(5, count))
    made = Round(3, examples, tokens, {"train/reward": 0.5})
    again = restore_round(made.state_tensors(), number=3, told=made.told)
    assert again.number == 3
    for one, other in zip(
        made.batch([1, 2]).__dict__.items(), again.batch([1, 2]).__dict__.items(), strict=True
    ):
        assert one[0] == other[0]
        same = torch.equal(one[1], other[1]) if isinstance(one[1], torch.Tensor) else one == other
        assert same


def test_an_infinite_clip_leaves_the_values_loss_as_the_paper_has_it():
    assert not ProximalOptions(value_clip=math.inf).problems()
