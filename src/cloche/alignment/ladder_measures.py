"""How good a rung of the ladder is, on stories that none learned from."""

from dataclasses import replace
from pathlib import Path

from cloche.alignment.ladder_data import HELD_OUT_SEED, LadderData
from cloche.alignment.reward_model_data import ScoredText
from cloche.evaluation.stories_truth import measure_truth
from cloche.generation.kernels.choosing import Forwards
from cloche.model.build import build_model
from cloche.model.decoder import Decoder
from cloche.model.initialise import initialise
from cloche.model.scorer import Scorer, make_scorer
from cloche.run import LM, load
from cloche.text.chat import ChatTemplate
from cloche.tuning.answering import answer_all
from cloche.tuning.classify_model import open_scorer
from cloche.tuning.classify_scoring import score_examples, scored_example

ANSWER_TOKENS = 24
ENDINGS = 200
"""Stories whose endings are compared."""


def right_answers(lm: LM, template: ChatTemplate, data: LadderData) -> float:
    """The share of held-out questions that the model answers exactly as the story's world does."""
    asked = [record.conversation for record in data.asked]
    written = answer_all(lm, template, asked, max_tokens=ANSWER_TOKENS)
    right = [
        text.strip() == record.fields["answer"]
        for text, record in zip(written, data.asked, strict=True)
    ]
    return sum(right) / len(right)


def true_endings(lm: LM, data: LadderData) -> float:
    """The share of held-out stories whose true ending is likelier than one with a fact wrong."""
    found = measure_truth(lm, language=data.language, count=ENDINGS, seed=HELD_OUT_SEED)
    return found.prefers_truth.value


def untrained_like(lm: LM) -> LM:
    """The same model with the random weights of a training that has not begun."""
    model = build_model(lm.config)
    initialise(model, seed=0)
    return replace(lm, model=model.eval(), forwards=Forwards(model))


def pair_accuracy(base: Path, run: Path, data: LadderData) -> tuple[float, float]:
    """The share of held-out pairs in which the right answer is scored higher: before and after.

    Before its training, a reward model is the base with a score of random weights.
    """
    found = open_scorer(run, device="cpu", warn=_ignore)
    lm = load(base, warn=_ignore)
    assert isinstance(lm.model, Decoder), "a tuned model is a decoder"
    assert lm.template is not None, "a tuned model has a template"
    writer = ScoredText(lm.template, lm.tokenizer)
    untrained = make_scorer(lm.model, 1, seed=0)
    before, after = (
        _share_ordered(scorer, writer, data) for scorer in (untrained, found.opened.scorer)
    )
    return before, after


def _share_ordered(scorer: Scorer, writer: ScoredText, data: LadderData) -> float:
    conversations = [(*pair.prompt, *pair.chosen) for pair in data.pairs]
    conversations += [(*pair.prompt, *pair.rejected) for pair in data.pairs]
    examples = [
        scored_example(writer.ids(conversation), number=number)
        for number, conversation in enumerate(conversations)
    ]
    scores = score_examples(scorer, examples)[:, 0]
    chosen, rejected = scores.chunk(2)
    return float((chosen > rejected).float().mean())


def _ignore(_text: str) -> None:
    """For what the stage tells itself."""
