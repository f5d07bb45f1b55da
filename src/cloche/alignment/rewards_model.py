"""Rewards from a reward model: one that learned from choices which answer people prefer."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from cloche.alignment.rewards import Answered, Judged
from cloche.alignment.rewards_process import RewardError
from cloche.errors import CheckpointError
from cloche.model.scorer import Scorer
from cloche.text.chat import ChatTemplate
from cloche.text.messages import ASSISTANT, Message
from cloche.text.names import open_tokenizer
from cloche.text.tokenizer import Tokenizer
from cloche.tuning.base import choose_template
from cloche.tuning.classify_scoring import score_examples, scored_example
from cloche.weights.identity import model_hash
from cloche.weights.opening import folders_to_try, open_first_whole
from cloche.weights.scorers import load_scorer


@dataclass(frozen=True, eq=False)
class RewardModel:
    """A scorer of conversations, with its own tokenizer and template."""

    scorer: Scorer
    tokenizer: Tokenizer
    template: ChatTemplate
    folder: Path
    hash: str
    """SHA-256 of the weights and the tokenizer in the folder."""

    def judge(self, answers: Sequence[Answered]) -> Judged:
        """The score of each answer behind its prompt. RewardError naming records it cannot read."""
        examples = [
            scored_example(self._ids(answered), number=number)
            for number, answered in enumerate(answers)
        ]
        scores = score_examples(self.scorer, examples)[:, 0]
        if not bool(scores.isfinite().all()):
            place = answers[int((~scores.isfinite()).nonzero()[0, 0])].place
            raise RewardError(f"{place}: the reward model {self.folder} gave no finite number")
        totals = tuple(scores.tolist())
        return Judged(totals, {"model": float(scores.mean())})

    def _ids(self, answered: Answered) -> tuple[int, ...]:
        conversation = (*answered.conversation, Message(ASSISTANT, answered.answer))
        ids = self.template.encode(conversation, self.tokenizer).ids
        if len(ids) > self.scorer.config.context:
            raise RewardError(
                f"{answered.place}: prompt and answer have {len(ids)} tokens, and the reward model "
                f"{self.folder} reads {self.scorer.config.context}: use a smaller "
                "--rollout.max-tokens"
            )
        return tuple(ids)


def open_reward_model(
    source: str, *, device: torch.device, warn: Callable[[str], None]
) -> RewardModel:
    """The reward model in a run, a checkpoint or a Hugging Face folder. Raises CheckpointError."""

    def open_folder(folder: Path) -> RewardModel:
        opened = load_scorer(folder)
        if opened.scorer.labels != 1:
            raise CheckpointError(
                f"{folder} tells {opened.scorer.labels} classes apart, and a reward is one number: "
                "make a reward model with cloche align reward"
            )
        scorer = opened.scorer.to(device).eval().requires_grad_(False)
        return RewardModel(
            scorer,
            open_tokenizer(str(folder.absolute())),
            choose_template("", folder),
            folder,
            model_hash(folder),
        )

    folders = folders_to_try(Path(source), "best", warn=warn)
    return open_first_whole(folders, open_folder, warn=warn)
