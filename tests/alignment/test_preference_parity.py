"""DPO, IPO and KTO against TRL: the same models and tokens, the loss and every gradient."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from cloche.alignment.preference_batches import (
    EncodedPair,
    EncodedVote,
    lay_out_pairs,
    lay_out_votes,
)
from cloche.alignment.preference_objectives import (
    PreferredAnswers,
    VotedAnswers,
    answer_logprobs,
)
from cloche.data.batches import Batch
from cloche.data.examples import Example, lay_out
from cloche.training.objectives import Objective
from cloche.weights.checkpoint import load_model

pytestmark = pytest.mark.filterwarnings("ignore")  # those of TRL and of what it imports
VOCAB = 40
RECORDS = [
    ("w1 w2 w3", "w4 w5 w6 w7", "w8"),
    ("w9", "w10 w11", "w12 w13 w14 w15 w16"),
    ("w17 w18", "w19", "w20 w21"),
    ("w22 w23 w24 w25", "w26 w27 w28", "w29 w30 w31"),
]


def words():
    """A tokenizer of transformers with a word for each id."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    names = ["</s>", "<unk>", *(f"w{number}" for number in range(VOCAB - 2))]
    made = Tokenizer(models.WordLevel({n: i for i, n in enumerate(names)}, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=made, eos_token="</s>", pad_token="</s>", unk_token="<unk>"
    )


def two_models(folder: Path) -> dict[str, tuple[Any, Any]]:
    """(theirs, ours) of a policy and of a reference with other weights."""
    from transformers import Qwen3Config, Qwen3ForCausalLM

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
    found = {}
    for seed, name in enumerate(("reference", "policy")):
        torch.manual_seed(seed)
        theirs = Qwen3ForCausalLM(config).float()
        theirs.save_pretrained(folder / name)
        ours, _ = load_model(folder / name, dtype=torch.float32)
        found[name] = (theirs, ours)
    return found


def example(prompt_ids: list[int], answer_ids: list[int]) -> Example:
    """What TRL's collators make of prompt and answer."""
    learned = np.array([False] * len(prompt_ids) + [True] * len(answer_ids))
    return Example(np.array(prompt_ids + answer_ids, np.int64), learned)


def assert_equal_losses(
    trainer: Any, theirs: nn.Module, ours: nn.Module, *, objective: Objective, batch: Batch
) -> None:
    """The loss of the trainer's first batch, and the gradient of each weight."""
    theirs.zero_grad()
    ours.zero_grad()
    rows = [trainer.train_dataset[number] for number in range(len(trainer.train_dataset))]
    expected = trainer.compute_loss(theirs, trainer.data_collator(rows))
    expected.backward()
    term = objective(ours, batch).terms["loss"]
    assert term.count == objective.counts(batch)["loss"]
    loss = term.sum / term.count
    loss.backward()
    torch.testing.assert_close(loss, expected, rtol=1e-4, atol=1e-6)
    gradients = {name.removeprefix("model."): p.grad for name, p in theirs.named_parameters()}
    assert len(gradients) == len(list(ours.parameters()))
    for name, parameter in ours.named_parameters():
        expected = gradients[name]
        assert expected is not None
        scale = expected.abs().max().item()
        torch.testing.assert_close(parameter.grad, expected, rtol=1e-4, atol=1e-5 * scale, msg=name)


def reference_logprobs(model: nn.Module, examples: list[Example]) -> torch.Tensor:
    with torch.no_grad():
        return answer_logprobs(model, lay_out(examples))


@pytest.mark.parametrize(
    ("loss_type", "objective"),
    [
        ("sigmoid", PreferredAnswers(loss="dpo", beta=0.4)),
        ("ipo", PreferredAnswers(loss="ipo", beta=0.4)),
    ],
)
def test_losses_and_gradients_of_pairs_equal_trls(loss_type, objective, tmp_path):
    from datasets import Dataset
    from trl.trainer.dpo_config import DPOConfig
    from trl.trainer.dpo_trainer import DPOTrainer

    models = two_models(tmp_path)
    settings = DPOConfig(
        output_dir=str(tmp_path / "trl"),
        loss_type=[loss_type],
        beta=objective.beta,
        use_cpu=True,
        report_to="none",
        bf16=False,
        gradient_checkpointing=False,
    )
    records = [{"prompt": p, "chosen": f" {c}", "rejected": f" {r}"} for p, c, r in RECORDS]
    trainer: Any = DPOTrainer(
        models["policy"][0],
        ref_model=models["reference"][0],
        args=settings,
        train_dataset=Dataset.from_list(records),
        processing_class=words(),
    )
    pairs = [
        EncodedPair(
            example(row["prompt_ids"], row["chosen_ids"]),
            example(row["prompt_ids"], row["rejected_ids"]),
        )
        for row in trainer.train_dataset
    ]
    reference = reference_logprobs(
        models["reference"][1], [p.chosen for p in pairs] + [p.rejected for p in pairs]
    )
    batch = lay_out_pairs(pairs, reference.view(2, -1).T, row_tokens=16)
    assert_equal_losses(trainer, *models["policy"], objective=objective, batch=batch)


def test_losses_and_gradients_of_votes_equal_trls(tmp_path):
    from datasets import Dataset
    from trl.trainer.kto_config import KTOConfig
    from trl.trainer.kto_trainer import KTOTrainer

    objective = VotedAnswers(beta=0.3, desirable_weight=1.2, undesirable_weight=0.7)
    models = two_models(tmp_path)
    settings = KTOConfig(
        output_dir=str(tmp_path / "trl"),
        per_device_train_batch_size=len(RECORDS),
        beta=objective.beta,
        desirable_weight=objective.desirable_weight,
        undesirable_weight=objective.undesirable_weight,
        train_sampling_strategy="sequential",
        use_cpu=True,
        report_to="none",
        bf16=False,
        gradient_checkpointing=False,
    )
    records = [
        {"prompt": prompt, "completion": f" {answer}", "label": number != 1}
        for number, (prompt, answer, _) in enumerate(RECORDS)
    ]
    trainer: Any = KTOTrainer(
        models["policy"][0],
        ref_model=models["reference"][0],
        args=settings,
        train_dataset=Dataset.from_list(records),
        processing_class=words(),
    )
    votes = [
        EncodedVote(
            example(row["prompt_ids"], row["completion_ids"]),
            example(row["prompt_ids"], row["KL_completion_ids"]),
            row["label"],
        )
        for row in trainer.train_dataset
    ]
    reference = torch.stack(
        [
            reference_logprobs(models["reference"][1], [vote.answer for vote in votes]),
            reference_logprobs(models["reference"][1], [vote.mismatched for vote in votes]),
        ],
        dim=1,
    )
    batch = lay_out_votes(votes, reference, row_tokens=16)
    ours = models["policy"][1]
    assert objective(ours, batch).metrics["train/divergence"] > 0, "else the estimate is not seen"
    assert_equal_losses(trainer, *models["policy"], objective=objective, batch=batch)
