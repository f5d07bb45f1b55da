"""Loss and gradients of a reward model, held against TRL's RewardTrainer on the same model."""

from collections import defaultdict
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForSequenceClassification
from trl.trainer.reward_trainer import DataCollatorForPreference, RewardTrainer

from cloche.alignment.scoring import RankedAnswers, RankedGroup, lay_out_groups
from cloche.model.build import build_model
from cloche.model.config import ModelOptions
from cloche.model.decoder import Decoder
from cloche.model.presets import complete
from cloche.model.scorer import make_scorer
from cloche.text.bpe import train_bpe
from cloche.text.tokenizer import SpecialIds
from cloche.tuning.classify_scoring import scored_example
from cloche.weights.scorers import REWARD, save_scorer

PAD = 0


def their_loss(model, pairs, *, center: float) -> torch.Tensor:
    """What RewardTrainer.compute_loss makes of the batch its collator builds."""
    rows = [{"chosen_ids": chosen, "rejected_ids": rejected} for chosen, rejected in pairs]
    inputs = DataCollatorForPreference(pad_token_id=PAD)(rows)
    accelerator = SimpleNamespace(gather=lambda x: x, gather_for_metrics=lambda x: x)
    trainer = SimpleNamespace(
        model=model,
        args=SimpleNamespace(center_rewards_coefficient=center or None),
        accelerator=accelerator,
        _metrics={"train": defaultdict(list)},
        _total_train_tokens=0,
        _tp_size=1,
    )
    compute_loss: Any = RewardTrainer.compute_loss  # on a stand-in for what holds its settings
    return compute_loss(trainer, model, inputs)


@pytest.mark.parametrize("center", [0.0, 0.01])
def test_loss_and_gradients_are_those_of_trl(tmp_path, center):
    text = "the best of times, the worst of times. " * 9
    tokenizer = train_bpe([text], vocab_size=270, rule="gpt-2")
    options = ModelOptions(family="llama", kv_heads=1)
    config = complete(options, vocab_size=tokenizer.vocab_size, layers=2, width=32, context=16)
    torch.manual_seed(0)
    decoder = build_model(config)
    assert isinstance(decoder, Decoder)
    scorer = make_scorer(decoder, 1, seed=3).train()
    save_scorer(
        tmp_path / "s",
        scorer=scorer,
        labels=REWARD,
        tokenizer=tokenizer,
        card="",
        special_ids=SpecialIds(),
    )
    theirs = AutoModelForSequenceClassification.from_pretrained(tmp_path / "s").train()
    theirs.config.pad_token_id = PAD
    generator = np.random.default_rng(2)
    pairs = [
        tuple(generator.integers(1, 200, length).tolist() for length in lengths)
        for lengths in ((3, 7), (9, 2), (5, 5))
    ]
    groups = [RankedGroup(tuple(map(scored_example, pair)), ((0, 1),)) for pair in pairs]

    their = their_loss(theirs, pairs, center=center)
    their.backward()
    terms = RankedAnswers(center=center)(scorer, lay_out_groups(groups)).terms
    mine = torch.stack([term.weight * term.sum / term.count for term in terms.values()]).sum()
    mine.backward()

    torch.testing.assert_close(mine, their, rtol=1e-5, atol=1e-7)
    gradients = {name: weight.grad for name, weight in theirs.named_parameters()}
    names = [name for name, _ in scorer.named_parameters()]
    assert len(names) == len(gradients)
    for name, weight in scorer.named_parameters():
        other = gradients[name.replace("decoder.", "model.")]
        torch.testing.assert_close(weight.grad, other, rtol=1e-4, atol=1e-6)
