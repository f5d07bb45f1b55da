"""Contrastive search: likely tokens whose vectors are unlike those of the text so far.

Each step reads the few likeliest tokens, and takes the one for which (1 - alpha) times its
probability, less alpha times the largest cosine similarity of its vector with any before it, is
the highest. That keeps a deterministic search from going round in circles.

Each candidate is read in a row of its own. All rows hold the same text: the token that was chosen
is read anew, together with the next candidate, by the rows that had read another in its place. So
after the prompt nothing is copied, however long the text.

Source: Su et al. 2022, https://arxiv.org/abs/2202.06417
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from cloche.errors import RequestError
from cloche.generation.continuation import (
    Continuation,
    Ending,
    most_tokens,
    read_prompt,
    require_known,
    require_rows,
    usable_logits,
)
from cloche.generation.forward import Forward, Place
from cloche.generation.ranges import number_problems, whole_number_problems
from cloche.generation.search_settings import SearchSettings


@dataclass(frozen=True, kw_only=True)
class ContrastiveSettings(SearchSettings):
    """How likelihood is weighed against repetition. Checked when made; all problems at once."""

    penalty_alpha: float = 0.6
    """Weight of the similarity: 0 takes the likeliest token (greedy), 1 the one least alike."""
    top_k: int = 4
    """Number of likeliest tokens to choose among."""

    @property
    def rows(self) -> int:
        """Rows that the search needs of a forward."""
        return self.top_k

    def problems(self) -> list[str]:
        """What is wrong with these settings, a line each."""
        return [
            *super().problems(),
            *number_problems("penalty_alpha", self.penalty_alpha, lowest=0.0, highest=1.0),
            *whole_number_problems("top_k", self.top_k, lowest=1),
        ]


@torch.inference_mode()
def find_contrastive(
    forward: Forward,
    prompt: Sequence[int],
    settings: ContrastiveSettings,
    *,
    vocab_size: int,
    stop_ids: Sequence[int] = (),
    is_complete: Callable[[tuple[int, ...]], bool] | None = None,
) -> Continuation:
    """The one continuation; its score is the mean of what its tokens were chosen by.

    Reads into the forward's first `settings.rows` rows. A token is read before it is chosen, so the
    prompt must be shorter than the context. Everything else is as in `find_beams`.
    """
    require_rows(forward, settings.rows)
    require_known(prompt, vocab_size)
    most = most_tokens(forward, prompt, settings.max_tokens, last_is_read=True)
    ending = Ending(frozenset(stop_ids), most, is_complete)
    search = _Search(forward, tuple(prompt), settings, ending=ending, vocab_size=vocab_size)
    return search.run()


@dataclass(frozen=True)
class _Candidates:
    """The tokens that a step chooses among, the likeliest first; each is read in its own row."""

    ids: tuple[int, ...]
    probabilities: Float[Tensor, " candidates"]
    """After repetition penalty and bans."""
    log_probabilities: tuple[float, ...]
    """Under the model itself."""


class _Search:
    """The text so far: its tokens, their vectors, and the rows that hold it."""

    def __init__(
        self,
        forward: Forward,
        prompt: tuple[int, ...],
        settings: ContrastiveSettings,
        *,
        ending: Ending,
        vocab_size: int,
    ) -> None:
        self.forward, self.settings = forward, settings
        self.ending, self.vocab_size = ending, vocab_size
        self.prompt_length, self.text = len(prompt), list(prompt)
        self.held = [len(prompt)] * settings.rows
        """How many of the text's tokens each row has read before any other token."""

    def run(self) -> Continuation:
        vectors, logits = self._begin()
        total = score = 0.0
        while True:
            candidates = self._candidates(logits)
            following = self._read(candidates)
            directions = F.normalize(following.float(), dim=-1)
            likeness = (directions @ vectors[: len(self.text)].T).amax(dim=-1)
            alpha = self.settings.penalty_alpha
            scores = (1.0 - alpha) * candidates.probabilities - alpha * likeness
            chosen = int(scores.argmax())
            vectors[len(self.text)] = directions[chosen]
            self._take(candidates.ids[chosen], row=chosen)
            total += candidates.log_probabilities[chosen]
            score += scores[chosen].item()
            made = tuple(self.text[self.prompt_length :])
            reason = self.ending.reason(made)
            if reason is not None:
                return Continuation(made, total, score / len(made), reason)
            logits = self._logits(following[chosen : chosen + 1])

    def _begin(self) -> tuple[Float[Tensor, "time dim"], Float[Tensor, "1 vocab"]]:
        """Room for the vectors of all tokens, those of the prompt in place; the first logits."""
        pieces = list(read_prompt(self.forward, self.text))
        if not pieces[0].is_floating_point():
            raise RequestError(
                "contrastive search compares vectors, and a counted model has none: use beams"
            )
        logits = self._logits(pieces[-1][-1:])
        known = F.normalize(torch.cat(pieces).float(), dim=-1)
        for row in range(1, self.settings.rows):
            self.forward.copy(0, row, length=self.prompt_length)
        return torch.cat([known, known.new_zeros(self.ending.most, known.shape[1])]), logits

    def _logits(self, hidden: Float[Tensor, "1 dim"]) -> Float[Tensor, "1 vocab"]:
        return usable_logits(self.forward, hidden, rows=self.settings.rows)

    def _candidates(self, logits: Float[Tensor, "1 vocab"]) -> _Candidates:
        scores = self.settings.discourage(
            logits[:, : self.vocab_size],
            [self.text],
            made=len(self.text) - self.prompt_length,
            stop_ids=self.ending.stop_ids,
        )[0]
        found = scores.topk(min(self.settings.top_k, len(scores)))
        count = int(found.values.isfinite().sum())
        if count == 0:
            raise RequestError(
                f"no token is left to go on with after {len(self.text)}: no_repeat_ngram or "
                "min_tokens forbid them all"
            )
        chosen = found.indices[:count]
        return _Candidates(
            ids=tuple(chosen.tolist()),
            probabilities=scores.softmax(dim=-1)[chosen],
            log_probabilities=tuple(logits[0].log_softmax(dim=-1)[chosen].tolist()),
        )

    def _read(self, candidates: _Candidates) -> Float[Tensor, "candidates dim"]:
        """The vector of each candidate, behind the text so far."""
        places, wanted = [], []
        for row, token_id in enumerate(candidates.ids):
            missing = enumerate(self.text[self.held[row] :], start=self.held[row])
            places += [Place(row, position, known) for position, known in missing]
            wanted.append(len(places))
            places.append(Place(row, len(self.text), token_id))
            self.held[row] = len(self.text)
        return self.forward.hidden(places)[wanted]

    def _take(self, token_id: int, *, row: int) -> None:
        """Let the text go on with the candidate that a row has read."""
        self.text.append(token_id)
        self.held[row] = len(self.text)
