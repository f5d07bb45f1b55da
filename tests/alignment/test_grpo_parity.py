"""GRPO against TRL: the same model and answers, the loss and every gradient, for all its types."""

from typing import Any

import numpy as np
import pytest
import torch

from cloche.alignment.advantages import group_advantages
from cloche.alignment.grpo import GroupObjective
from cloche.alignment.grpo_options import GroupOptions
from cloche.alignment.rollouts_rounds import AnswerTokens, Round
from cloche.data.examples import Example
from cloche.weights.checkpoint import load_model

pytestmark = pytest.mark.filterwarnings("ignore")  # those of TRL and of what it imports
VOCAB, LONGEST, GROUP = 40, 6, 3
PROMPTS = [[3, 4, 5, 6], [7, 8]]
ANSWERS = [[9, 10, 11, 0], [12, 0], [13, 14, 15, 16, 17, 18], [19, 0], [20, 21, 0], [22]]
REWARDS = [1.0, 0.0, 0.3, 0.0, 0.0, 2.0]
TEMPERATURE = 0.7


@pytest.fixture(scope="module")
def trainer(tmp_path_factory):
    from datasets import Dataset
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM
    from trl.trainer.grpo_config import GRPOConfig
    from trl.trainer.grpo_trainer import GRPOTrainer

    folder = tmp_path_factory.mktemp("grpo")
    config = Qwen3Config(
        vocab_size=VOCAB,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=8,
        max_position_embeddings=32,
        initializer_range=0.3,
        tie_word_embeddings=False,
    )
    torch.manual_seed(0)
    model = Qwen3ForCausalLM(config).float()
    model.save_pretrained(folder / "model")
    names = {"</s>": 0, **{f"w{number}": number for number in range(1, VOCAB)}}
    words = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(models.WordLevel(names, unk_token="</s>")),
        eos_token="</s>",
        pad_token="</s>",
    )
    settings = GRPOConfig(
        output_dir=str(folder / "trl"),
        num_generations=GROUP,
        per_device_train_batch_size=len(ANSWERS),
        max_completion_length=LONGEST,
        temperature=TEMPERATURE,
        epsilon_high=0.28,
        use_cpu=True,
        report_to="none",
        bf16=False,
        gradient_checkpointing=False,
    )
    made: Any = GRPOTrainer(
        model,
        reward_funcs=lambda completions, **_: [0.0] * len(completions),
        args=settings,
        train_dataset=Dataset.from_list([{"prompt": "w1"}] * 8),
        processing_class=words,
    )
    made.beta = 0.3  # given before, it would look for a reference by the model's name
    made.model.eval()  # there is no dropout; a step is then not cut in parts
    return made, load_model(folder / "model")[0]


def padded(rows, *, left):
    longest = max(map(len, rows))
    ids, mask = torch.zeros(2, len(rows), longest, dtype=torch.long)
    for place, row in enumerate(rows):
        span = slice(longest - len(row), None) if left else slice(0, len(row))
        ids[place, span], mask[place, span] = torch.tensor(row), 1
    return ids, mask


def test_the_default_type_of_loss_is_trls(trainer):
    assert trainer[0].loss_type == GroupOptions().loss_type
    assert trainer[0].args.use_bias_correction_kl == (GroupOptions().kl_weighting == "ratio")


def prompts_of_answers():
    return [PROMPTS[number // GROUP] for number in range(len(ANSWERS))]


def their_inputs(theirs):
    """A round as TRL lays it out, with log probabilities of which some are beyond the clip."""
    torch.manual_seed(1)
    prompt_ids, prompt_mask = padded(prompts_of_answers(), left=True)
    ids, mask = padded(ANSWERS, left=False)
    with torch.no_grad():
        now, _, _ = theirs._get_per_token_logps_and_entropies(
            theirs.model,
            torch.cat([prompt_ids, ids], dim=1),
            torch.cat([prompt_mask, mask], dim=1),
            ids.shape[1],
        )
    return {
        "prompt_ids": prompt_ids,
        "prompt_mask": prompt_mask,
        "completion_ids": ids,
        "completion_mask": mask,
        "advantages": group_advantages(torch.tensor(REWARDS), group=GROUP),
        "old_per_token_logps": now + 0.5 * torch.randn(now.shape),
        "ref_per_token_logps": now + 0.5 * torch.randn(now.shape),
        "num_items_in_batch": mask.sum(),
    }


def our_batch(inputs):
    """The same round as ours, its answers in another order."""
    lengths = torch.tensor([len(answer) for answer in ANSWERS])
    examples = tuple(
        Example(
            np.array([*prompt, *answer], np.int64),
            np.array([False] * len(prompt) + [True] * len(answer)),
        )
        for prompt, answer in zip(prompts_of_answers(), ANSWERS, strict=True)
    )
    written = inputs["completion_mask"].bool()
    tokens = AnswerTokens(
        old_logprobs=inputs["old_per_token_logps"][written],
        reference_logprobs=inputs["ref_per_token_logps"][written],
        advantages=inputs["advantages"].repeat_interleave(lengths),
        returns=torch.zeros(int(lengths.sum())),
        old_values=torch.zeros(int(lengths.sum())),
    )
    return Round(0, examples, tokens, {}).batch([4, 0, 3, 1, 5, 2])


@pytest.mark.parametrize(
    ("loss_type", "weighting"),
    [
        ("dapo", "ratio"),
        ("dapo", "plain"),
        ("grpo", "ratio"),
        ("bnpo", "ratio"),
        ("dr_grpo", "plain"),
    ],
)
def test_losses_and_gradients_equal_trls(trainer, loss_type, weighting):
    theirs: Any = trainer[0]
    ours = trainer[1]
    inputs = their_inputs(theirs)
    theirs.loss_type = loss_type
    theirs.args.use_bias_correction_kl = weighting == "ratio"
    theirs.model.zero_grad()
    expected = theirs._compute_loss(theirs.model, inputs)
    expected.backward()

    batch = our_batch(inputs)
    align = GroupOptions(
        loss_type=loss_type, kl=0.3, kl_weighting=weighting, clip_low=0.2, clip_high=0.28
    )
    objective = GroupObjective(align, LONGEST, TEMPERATURE)
    ours.zero_grad()
    losses = objective(ours, batch)
    term = losses.terms["policy"]
    assert objective.counts(batch) == {name: each.count for name, each in losses.terms.items()}
    assert 0 < losses.metrics["train/clipped"] < 1
    loss = term.sum / term.count
    loss.backward()
    torch.testing.assert_close(loss, expected, rtol=1e-4, atol=1e-6)
    gradients = {name.removeprefix("model."): p.grad for name, p in theirs.model.named_parameters()}
    for name, parameter in ours.named_parameters():
        wanted = gradients[name]
        scale = wanted.abs().max().item()
        torch.testing.assert_close(parameter.grad, wanted, rtol=1e-4, atol=1e-5 * scale, msg=name)


@pytest.mark.parametrize(
    ("ours", "theirs"), [("group", "group"), ("round", "batch"), ("none", "none")]
)
def test_advantages_are_those_that_trl_writes_down(ours, theirs):
    rewards = torch.tensor(REWARDS)
    above = rewards - rewards.view(-1, GROUP).mean(dim=1).repeat_interleave(GROUP)
    spread = {
        "group": rewards.view(-1, GROUP).std(dim=1).repeat_interleave(GROUP),
        "batch": rewards.std().expand(len(rewards)),
        "none": torch.ones(len(rewards)) - 1e-4,
    }[theirs]
    found = group_advantages(rewards, group=GROUP, scale=ours)
    torch.testing.assert_close(found, above / (spread + 1e-4))
