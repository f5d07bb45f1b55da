"""What every side writes once in each round, and how that becomes a speed. Loads no torch."""

import random
from dataclasses import dataclass

from cloche.bench.generators import Times, Writing, prefill_seconds, seconds_a_token
from cloche.errors import SettingError, join_problems

_WARM_TOKENS = 8
PREFILL = "prefill"


@dataclass(frozen=True)
class Work:
    """Prompts of random tokens, continued; where only one token is made, reading is timed."""

    batch: int
    prompt_tokens: int
    new_tokens: int

    @property
    def name(self) -> str:
        """What is timed."""
        return PREFILL if self.new_tokens == 1 else f"batch {self.batch}"

    def draw(self, turn: int, *, vocab_size: int, again: int = 0) -> Writing:
        """What all sides are given at this turn, and `again` within it.

        Prompts never come twice: nobody can use again what was read before. Turn 0 warms up, and
        is shorter.
        """
        generator = random.Random(f"{self.name}, turn {turn}, {again}")
        prompts = [
            [generator.randrange(vocab_size) for _ in range(self.prompt_tokens)]
            for _ in range(self.batch)
        ]
        new_tokens = self.new_tokens if turn else min(self.new_tokens, _WARM_TOKENS)
        return Writing(prompts, new_tokens, room=self.prompt_tokens + self.new_tokens)

    def seconds_per_token(self, times: Times) -> float:
        """Of a new token; of a token of the prompt where reading is timed."""
        if self.new_tokens == 1:
            return prefill_seconds(times) / (self.batch * self.prompt_tokens)
        return seconds_a_token(times)


@dataclass(frozen=True)
class Lengths:
    """Tokens of prompts and answers; None is what fits into the model."""

    prompt: int | None = None
    """Before an answer: 32."""
    new: int | None = None
    """Of an answer: 64."""
    prefill: int | None = None
    """Of the prompt whose reading is timed: 800."""

    def problems(self) -> list[str]:
        """What can be used with no model."""
        named = {"prompt-tokens": self.prompt, "prefill-tokens": self.prefill}
        found = [
            f"--{name} must be at least 1, got {tokens}"
            for name, tokens in named.items()
            if tokens is not None and tokens < 1
        ]
        if self.new is not None and self.new < 2:
            found.append(
                f"--new-tokens must be at least 2, got {self.new}: time is taken from the first "
                "to the last"
            )
        return found

    def works(self, batches: list[int], *, context: int) -> list[Work]:
        """What is timed on a model of that context: each batch, then reading.

        Raises SettingError where a length that was given does not fit.
        """
        problems = self._too_long(context)
        if problems:
            raise SettingError(join_problems(problems))
        new = self.new or min(64, context - (self.prompt or min(32, context // 4)))
        prompt = self.prompt or min(32, context - new)
        prefill = self.prefill or min(800, context - 1)
        return [*(Work(batch, prompt, new) for batch in batches), Work(1, prefill, 1)]

    def _too_long(self, context: int) -> list[str]:
        if context < 4:
            return [f"the model reads {context} tokens, too few to be timed"]
        problems = []
        prompt, new = self.prompt or 1, self.new or 2
        if prompt + new > context:
            problems.append(
                f"--prompt-tokens {prompt} and --new-tokens {new} are {prompt + new} tokens, but "
                f"the model reads {context}"
            )
        if self.prefill is not None and self.prefill + 1 > context:
            problems.append(
                f"--prefill-tokens {self.prefill} and the token after it do not fit into the "
                f"{context} tokens that the model reads"
            )
        return problems
