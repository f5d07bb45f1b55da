"""An encoder-decoder ready to write: text in, the target it finds out."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from cloche.errors import RequestError
from cloche.generation.beam import LENGTH_PENALTY, Hypothesis, Search, find_targets
from cloche.model.build import parameter_count
from cloche.model.config import ModelConfig
from cloche.model.seq2seq import EncoderDecoder
from cloche.text.tokenizer import Tokenizer

ROWS = 64
"""Sources read at once, about: so many beams together."""


@dataclass(frozen=True, eq=False)
class Translator:
    """An encoder-decoder, its tokenizer, and where they came from."""

    model: EncoderDecoder
    tokenizer: Tokenizer
    config: ModelConfig
    folder: Path
    """The folder that was opened: of a run, the checkpoint."""
    bos: int
    """The token that stands before every target."""
    eos: int
    """The token that ends a source, and a target."""

    def __repr__(self) -> str:
        parameters = parameter_count(self.model)
        return f"Translator({self.config.family}, {parameters:,} parameters, {self.folder})"

    def translate(
        self,
        text: str,
        *,
        beams: int = 1,
        length_penalty: float = LENGTH_PENALTY,
        max_new_tokens: int | None = None,
    ) -> str:
        """What the model makes of `text`: the target found by greedy search, or with more beams.

        At most `max_new_tokens` tokens, as many as the model can write when None. Raises
        RequestError for an empty text or one that is too long, TokenizerError naming a character
        that the model has never seen.
        """
        search = self.search(
            beams=beams, length_penalty=length_penalty, max_new_tokens=max_new_tokens
        )
        return self.text_of(self.hypotheses([text], search)[0])

    def search(
        self,
        *,
        beams: int = 1,
        length_penalty: float = LENGTH_PENALTY,
        max_new_tokens: int | None = None,
    ) -> Search:
        """How to search for targets of this model."""
        return Search(
            self.bos,
            self.eos,
            max_tokens=self.config.context if max_new_tokens is None else max_new_tokens,
            beams=beams,
            length_penalty=length_penalty,
        )

    def hypotheses(self, texts: Sequence[str], search: Search) -> list[Hypothesis]:
        """What is found for each text, in order."""
        if blank := [number for number, text in enumerate(texts, start=1) if not text.strip()]:
            raise RequestError(f"text {blank[0]} is empty: there is nothing to translate")
        sources = [self.tokenizer.encode(text.strip()) for text in texts]
        return find_all_targets(self.model, sources, search)

    def text_of(self, hypothesis: Hypothesis) -> str:
        """What was found, as text."""
        return self.tokenizer.decode(hypothesis.ids)


def find_all_targets(
    model: EncoderDecoder,
    sources: Sequence[Sequence[int]],
    search: Search,
    *,
    progress: Callable[[int], None] | None = None,
) -> list[Hypothesis]:
    """`find_targets` for any number of sources, those of like length together.

    `progress` is told how many are done, after each batch.
    """
    size = max(1, ROWS // search.beams)
    order = sorted(range(len(sources)), key=lambda number: len(sources[number]))
    found: dict[int, Hypothesis] = {}
    for begin in range(0, len(order), size):
        numbers = order[begin : begin + size]
        batch = find_targets(model, [sources[number] for number in numbers], search)
        found.update(zip(numbers, batch, strict=True))
        if progress is not None:
            progress(len(found))
    return [found[number] for number in range(len(sources))]
