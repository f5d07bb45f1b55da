"""Rewards from a reward model: one that learned from choices which answer people prefer."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from cloche.alignment.reward_model_data import ScoredText
from cloche.alignment.rewards import Answered, Judged
from cloche.alignment.rewards_process import RewardError
from cloche.errors import CheckpointError, ClocheError
from cloche.model.scorer import Scorer
from cloche.text.messages import ASSISTANT, Message
from cloche.tuning.base import choose_template
from cloche.tuning.classify_model import open_scorer
from cloche.tuning.classify_scoring import score_examples, scored_example
from cloche.weights.identity import model_hash


@dataclass(frozen=True, eq=False)
class RewardModel:
    """A scorer of conversations, with its own tokenizer and template."""

    scorer: Scorer
    writer: ScoredText
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
        try:
            ids = self._written(answered)
        except ClocheError as exc:
            raise RewardError(
                f"{answered.place}: the reward model {self.folder} cannot read the answer "
                f"{answered.answer[:60]!r}: {exc}"
            ) from exc
        if len(ids) > self.scorer.config.context:
            raise RewardError(
                f"{answered.place}: prompt and answer have {len(ids)} tokens, and the reward model "
                f"{self.folder} reads {self.scorer.config.context}: use a smaller "
                "--rollout.max-tokens"
            )
        return ids

    def _written(self, answered: Answered) -> tuple[int, ...]:
        """The conversation as the reward model learned to read it."""
        if answered.answer.strip():
            message = Message(ASSISTANT, answered.answer)
            return self.writer.ids((*answered.conversation, message))
        # nobody is taught an empty answer, so templates refuse one; but a policy may give it
        template, tokenizer = self.writer.template, self.writer.tokenizer
        asked = template.prompt_ids(answered.conversation, tokenizer)
        return (*asked, *template.stop_ids(tokenizer)[:1])


def open_reward_model(source: str, *, device: str, warn: Callable[[str], None]) -> RewardModel:
    """The reward model in a run, a checkpoint or a Hugging Face folder. Raises CheckpointError."""
    found = open_scorer(source, device=device, warn=warn)
    scorer = found.opened.scorer
    if scorer.labels != 1:
        raise CheckpointError(
            f"{found.folder} tells {scorer.labels} classes apart, and a reward is one number: make "
            "a reward model with cloche align reward"
        )
    scorer.requires_grad_(False)
    writer = ScoredText(choose_template("", found.folder), found.tokenizer)
    return RewardModel(scorer, writer, found.folder, model_hash(found.folder))
