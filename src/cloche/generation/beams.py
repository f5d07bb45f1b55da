"""Beam search for models that continue a text: the continuations that the model finds likeliest.

Several beginnings (beams) are kept at once, and whole continuations are compared by their log
probability over a power of their length. Groups of beams look at different places: a token that
an earlier group takes costs the later ones a penalty. Length penalty, early stopping and ranking
are those of transformers' `generate`; its groups are likewise, where it has them.

Each beam has a row of cached keys and values. A beam with one successor keeps its row, and further
successors copy it into the rows of beams that have none, so no more rows are needed than beams.

Source: Vijayakumar et al. 2016, https://arxiv.org/abs/1610.02424 (groups)
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from cloche.errors import RequestError
from cloche.generation.beam_groups import BeamGroup, EarlyStopping, Ranking, less_alike
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

STEEPEST = 10.0  # a length to a higher power leaves the range of floating-point numbers
HIGHEST_PENALTY = 1e4


@dataclass(frozen=True, kw_only=True)
class BeamSettings(SearchSettings):
    """How continuations are searched for. Checked when made; all problems are told at once."""

    beams: int = 4
    """Beginnings kept at once, over all groups; 1 is greedy search."""
    groups: int = 1
    """Groups into which the beams are divided evenly."""
    diversity_penalty: float = 0.0
    """What a token costs a group for each beam of earlier groups that took it at this step, in
    nats."""
    length_penalty: float = 1.0
    """Log probabilities are divided by the length to this power: above 0, longer continuations
    count for more; 0 compares log probabilities as they are."""
    early_stopping: EarlyStopping = False
    """True: stop when as many continuations have ended as there are beams. False: when the best
    beam, were it to end now, would come after all of them. "never": when none can be overtaken."""
    n: int = 1
    """Number of continuations to return, the best of those that were found."""

    @property
    def rows(self) -> int:
        """Rows that the search needs of a forward."""
        return self.beams

    def problems(self) -> list[str]:
        """What is wrong with these settings, a line each."""
        counts = {"beams": self.beams, "groups": self.groups, "n": self.n}
        wrong = [
            line for name in counts for line in whole_number_problems(name, counts[name], lowest=1)
        ]
        found = [
            *super().problems(),
            *wrong,
            *number_problems(
                "diversity_penalty", self.diversity_penalty, lowest=0.0, highest=HIGHEST_PENALTY
            ),
            *number_problems(
                "length_penalty", self.length_penalty, lowest=-STEEPEST, highest=STEEPEST
            ),
        ]
        if not (isinstance(self.early_stopping, bool) or self.early_stopping == "never"):
            found.append(
                f'early_stopping must be True, False or "never", got {self.early_stopping!r}'
            )
        return found if wrong else [*found, *self._contradictions()]

    def _contradictions(self) -> list[str]:
        found = []
        if self.n > self.beams:
            found.append(f"n {self.n} is more than {self.beams} beams can find: give more beams")
        if self.beams % self.groups:
            found.append(
                f"{self.beams} beams cannot be divided evenly into {self.groups} groups: give a "
                f"multiple of {self.groups}"
            )
        if self.diversity_penalty and self.groups == 1:
            found.append(
                f"the diversity_penalty {self.diversity_penalty} needs groups to tell apart: give "
                "2 or more"
            )
        return found


@torch.inference_mode()
def find_beams(
    forward: Forward,
    prompt: Sequence[int],
    settings: BeamSettings,
    *,
    vocab_size: int,
    stop_ids: Sequence[int] = (),
    is_complete: Callable[[tuple[int, ...]], bool] | None = None,
) -> list[Continuation]:
    """The `settings.n` best continuations found, the best first; fewer where there are fewer.

    Reads into the forward's first `settings.rows` rows. A continuation ends with a token of
    `stop_ids`, where `is_complete` says so of its tokens, or, with `length`, where `max_tokens` or
    the context are used up. Only ids below `vocab_size` are read and chosen: a model may have more
    rows than its tokenizer has ids. Raises RequestError where the prompt does not fit, the model
    gives no numbers, or the settings leave no token to go on with.
    """
    require_rows(forward, settings.rows)
    require_known(prompt, vocab_size)
    most = most_tokens(forward, prompt, settings.max_tokens, last_is_read=False)
    ending = Ending(frozenset(stop_ids), most, is_complete)
    search = _Search(forward, tuple(prompt), settings, ending=ending, vocab_size=vocab_size)
    return search.run()


class _Search:
    """The groups of beams behind one prompt, and the row of each beam."""

    def __init__(
        self,
        forward: Forward,
        prompt: tuple[int, ...],
        settings: BeamSettings,
        *,
        ending: Ending,
        vocab_size: int,
    ) -> None:
        self.forward, self.prompt, self.settings = forward, prompt, settings
        self.ending, self.vocab_size = ending, vocab_size
        ranking = Ranking(settings.length_penalty, settings.early_stopping)
        size = settings.beams // settings.groups
        self.groups = [
            BeamGroup(size, ranking=ranking, ending=ending) for _ in range(settings.groups)
        ]
        self.rows = [0] * settings.groups
        """The row of each live beam, group by group."""
        self.made = 0

    def run(self) -> list[Continuation]:
        vectors = [piece[-1:] for piece in read_prompt(self.forward, self.prompt)]
        logits = usable_logits(self.forward, vectors[-1], rows=self.settings.rows)
        origins = self._choose(logits.expand(len(self.groups), -1))
        while origins:
            self.made += 1
            self._move(origins)
            origins = self._choose(self._next_logits())
        found = [ended for group in self.groups for ended in group.ended]
        if not found:
            raise RequestError(
                f"no token is left to go on with after {self.made + len(self.prompt)}: "
                "no_repeat_ngram or min_tokens forbid them all"
            )
        return sorted(found, key=lambda one: -one.score)[: self.settings.n]

    def _next_logits(self) -> Float[Tensor, "live vocab"]:
        """Read each beam's newest token; float32 logits of the one after it."""
        position = len(self.prompt) + self.made - 1
        newest = [beam.ids[-1] for group in self.groups for beam in group.live]
        order = sorted(range(len(newest)), key=lambda place: self.rows[place])
        places = [Place(self.rows[place], position, newest[place]) for place in order]
        hidden = self.forward.hidden(places)  # ascending rows are read without a copy
        back = sorted(range(len(order)), key=lambda place: order[place])
        return usable_logits(self.forward, hidden[back], rows=self.settings.rows)

    def _choose(self, logits: Float[Tensor, "live vocab"]) -> list[int]:
        """Take one token into every group; for each beam now live, its number before, over all."""
        log_probabilities = logits.log_softmax(dim=-1)[:, : self.vocab_size]
        histories = [(*self.prompt, *beam.ids) for group in self.groups for beam in group.live]
        scores = self.settings.discourage(
            log_probabilities, histories, made=self.made, stop_ids=self.ending.stop_ids
        )
        origins: list[int] = []
        taken: list[int] = []
        first = 0
        for group in [group for group in self.groups if group.live]:
            window = slice(first, first + len(group.live))
            penalty = self.settings.diversity_penalty
            wanted = less_alike(scores[window], taken, penalty=penalty)
            origins += [first + one for one in group.advance(wanted, log_probabilities[window])]
            taken += group.taken
            first = window.stop
        return origins

    def _move(self, origins: Sequence[int]) -> None:
        """Give each beam a row that holds what the beam it comes from has read."""
        sources = [self.rows[origin] for origin in origins]
        free = iter(sorted(set(range(self.settings.rows)) - set(sources)))
        kept: set[int] = set()
        self.rows = []
        for source in sources:
            row = source if source not in kept else next(free)
            if row != source:
                self.forward.copy(source, row, length=len(self.prompt) + self.made - 1)
            kept.add(source)
            self.rows.append(row)
