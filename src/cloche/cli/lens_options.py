"""The options of each view of `cloche lens`, and how the view is asked for."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from cloche.cli.environment import cache_folder
from cloche.cli.sampling import require_unicode, tell
from cloche.cli.standard_input import standard_input
from cloche.errors import RequestError, SettingError, TextError

if TYPE_CHECKING:
    from cloche.lens.view import View
    from cloche.run import LM

Text = Annotated[tyro.conf.Positional[str | None], tyro.conf.arg(metavar="TEXT")]


@dataclass(frozen=True, kw_only=True)
class Shown:
    """How a view is shown, whichever it is."""

    out: str | None = None
    """Draw it to this file: .png, .svg, or .html (a page by itself); with --over-time .gif too."""
    lang: Literal["en", "zh"] = "en"
    """Language of the labels; zh needs a font with Chinese characters."""
    theme: Literal["light", "dark"] = "light"
    """Colours of the picture."""
    json: bool = False
    """Print one JSON object with all the numbers, and nothing else, on standard output."""


@dataclass(frozen=True, kw_only=True)
class Read(Shown):
    """A view of what a model makes of a text."""

    encoding: str | None = None
    """Encoding of what is read from standard input or a file; detected when not given."""

    def text_of(self, given: str) -> str:
        """What was typed, or what stands in standard input."""
        if given == "-":
            return read_standard_input(encoding=self.encoding)
        if self.encoding is not None:
            raise SettingError("--encoding is that of standard input, and the text was typed")
        require_unicode(given, what="the text")
        return given


@dataclass(frozen=True, kw_only=True)
class OfModel(Shown):
    """A view of one model."""

    checkpoint: str = "best"
    """Which checkpoint of a run: best, latest, or a step."""
    precision: Literal["auto", "float32", "bfloat16", "int8", "int4"] = "auto"
    """How the weights are kept while they are looked at."""
    over_time: bool = False
    """The same view at every checkpoint of the run, side by side, or as an animation."""

    def opened(self, run: str) -> "LM":
        """The model that is looked at."""
        return opened(run, checkpoint=self.checkpoint, precision=self.precision)

    def see(self, lm: "LM") -> "View":
        """The view of an opened model."""
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class OfText(OfModel, Read):
    """A view of one model reading a text."""

    text: Text = None
    """What the model reads; - reads it from standard input."""

    @property
    def read(self) -> str:
        """The text, of a command that `with_text` gave."""
        assert self.text is not None, "with_text refuses a command without one"
        return self.text


@dataclass(frozen=True, kw_only=True)
class Tokens(OfText):
    """A text as the model reads it: its tokens, ids and bytes, and how much each surprised it."""

    def see(self, lm: "LM") -> "View":
        """The view of an opened model."""
        from cloche.lens.tokens import see_tokens

        return see_tokens(lm, self.read)


@dataclass(frozen=True, kw_only=True)
class Embeddings(OfModel):
    """The table of token vectors: norms, nearest neighbours of tokens, all in two dimensions."""

    tokens: tyro.conf.Positional[tuple[str, ...]] = ()
    """Tokens whose neighbours are shown, as texts (␣ stands for a space) or #ids such as #42."""
    neighbours: int = 10
    """How many of each."""

    def see(self, lm: "LM") -> "View":
        """The view of an opened model."""
        from cloche.lens.embeddings import see_embeddings

        named = [_token(given) for given in self.tokens]
        return see_embeddings(lm, named, neighbours=self.neighbours)


@dataclass(frozen=True, kw_only=True)
class Positions(OfModel):
    """How the model tells places apart: learned, sinusoidal or rotary, as table and as curves."""

    length: int | None = None
    """Places that are shown; the context, up to a readable number, when not given."""

    def see(self, lm: "LM") -> "View":
        """The view of an opened model."""
        from cloche.lens.positions import see_positions

        return see_positions(lm, length=self.length)


@dataclass(frozen=True, kw_only=True)
class Attention(OfText):
    """Where each head looks: all layers and heads; or, with --layer and --head, one in stages."""

    layer: int | None = None
    """One layer, counted from 0."""
    head: int | None = None
    """One head of it: queries, keys, scores, masked, weights, times values."""
    seed: int = 0
    """Of the random tokens that the induction score is measured on."""
    target: str | None = None
    """Of a model that translates: the target for the source TEXT; its own when not given."""
    kind: Literal["encoder", "decoder", "cross"] | None = None
    """Of a model that translates: one kind of its attention; all three when not given."""

    def see(self, lm: "LM") -> "View":
        """The view of an opened model."""
        from cloche.lens.attention import see_attention

        if self.target is not None or self.kind is not None:
            raise SettingError(
                f"--target and --kind are for models that translate, and {lm.folder} continues text"
            )
        return see_attention(lm, self.read, layer=self.layer, head=self.head, seed=self.seed)


@dataclass(frozen=True, kw_only=True)
class Residual(OfText):
    """The residual stream: its norms by layer, and what each layer would say (logit lens)."""

    top: int = 5
    """Likeliest tokens kept at each place."""
    positions: int | None = 16
    """Places, the last of the text, at which each layer is asked; None for all."""

    def see(self, lm: "LM") -> "View":
        """The view of an opened model."""
        from cloche.lens.residual import see_residual

        return see_residual(lm, self.read, top=self.top, positions=self.positions)


@dataclass(frozen=True, kw_only=True)
class Windows(OfText):
    """What a training learns from: each context, and the token that follows it."""

    context: int = 8
    """Tokens of a window."""
    count: int = 8
    """Windows that are kept."""

    def see(self, lm: "LM") -> "View":
        """The view of an opened model."""
        from cloche.lens.windows import see_windows

        return see_windows(lm, self.read, context=self.context, count=self.count)


@dataclass(frozen=True, kw_only=True)
class NextToken(OfText):
    """What comes next: probabilities, what each sampling rule removes, and the seeded pick."""

    temperature: float = 1.0
    """Below 1 sharper, above 1 flatter; 0 takes the likeliest."""
    top_k: int | None = None
    """Keep so many likeliest."""
    top_p: float | None = None
    """Keep the fewest that reach this probability together."""
    min_p: float | None = None
    """Keep those at least so likely, as a share of the likeliest."""
    seed: int | None = None
    """Of the pick; without one, nothing is picked."""
    top: int = 10
    """Bars that are drawn."""

    def see(self, lm: "LM") -> "View":
        """The view of an opened model."""
        from cloche.lens.next_token import see_next_token

        return see_next_token(
            lm,
            self.read,
            temperature=self.temperature,
            top_k=self.top_k,
            top_p=self.top_p,
            min_p=self.min_p,
            seed=self.seed,
            top=self.top,
        )


@dataclass(frozen=True, kw_only=True)
class Parameters(OfModel):
    """The tree of the model's weights: shapes, counts, bytes, shares."""

    def see(self, lm: "LM") -> "View":
        """The view of an opened model."""
        from cloche.lens.parameters import see_parameters

        return see_parameters(lm)


@dataclass(frozen=True, kw_only=True)
class Memory(OfModel, Read):
    """What was learned by heart: surprise on the training text against one it has never seen."""

    training: str | None = None
    """A file with text that the model learned from; the run's own when not given."""
    held_out: str | None = None
    """A file with text that it did not; the run's validation part when not given."""


@dataclass(frozen=True, kw_only=True)
class Two(Read):
    """Two models on one text: where probabilities moved, and how far the weights did."""

    text: Text = None
    """What both read; - reads it from standard input."""
    other: Annotated[str | None, tyro.conf.arg(name="with")] = None
    """The other run, checkpoint or model folder: this one's changes against RUN are shown."""
    checkpoint: str = "best"
    """Which checkpoint of runs: best, latest, or a step."""
    other_checkpoint: str | None = None
    """The same for the other; as --checkpoint when not given."""


@dataclass(frozen=True, kw_only=True)
class Training(Shown):
    """How trainings went: losses, learning rate, norms of gradients, samples; several at once."""

    others: Annotated[tuple[str, ...], tyro.conf.arg(name="with")] = ()
    """Further runs, drawn over the first."""
    metrics: tuple[str, ...] = ()
    """Metrics by name, as in metrics.jsonl, in place of the usual ones."""


def opened(run: str, *, checkpoint: str, precision: str) -> "LM":
    """The model of a run, with its warnings on standard error."""
    from cloche.run import load

    return load(
        run,
        checkpoint=checkpoint,
        precision=precision,
        warn=tell,
        kernels=cache_folder() / "kernels",
        broken=True,
    )


def with_text(command: Shown) -> Shown:
    """The command with the text that it is to read in the place of - for standard input, which can
    be read once only, however many checkpoints are looked at. RequestError where a text lacks."""
    if not isinstance(command, OfText | Two):
        return command
    if command.text is None:
        raise RequestError("this view needs a text: give it in quotes, or - for standard input")
    return replace(command, text=command.text_of(command.text))


def read_standard_input(*, encoding: str | None) -> str:
    """All that is piped in."""
    with standard_input() as path:
        if path is None:
            raise RequestError("- reads standard input, and nothing is piped in")
        return read_file("-", encoding=encoding, stdin_file=path)


def read_file(path: str, *, encoding: str | None, stdin_file: Path | None = None) -> str:
    """The text of a file, in whatever encoding."""
    from cloche.text.given import text_of_sources
    from cloche.text.sources import find_sources

    try:
        sources = find_sources([path], stdin_file=stdin_file)
        return "".join(text_of_sources(sources, encoding=encoding).pieces())
    except TextError as exc:
        if "text.encoding" not in str(exc):
            raise
        # the option has another name where nothing is trained
        said = (
            str(exc).replace("--text.encoding", "--encoding").replace("text.encoding", "encoding")
        )
        raise TextError(said) from exc


def _token(given: str) -> str | int:
    """#42 is the token with that id; ␣ stands for a space, which a shell's user cannot see."""
    if given.startswith("#") and len(given) > 1:
        try:
            return int(given[1:])
        except ValueError as exc:
            raise SettingError(f"a token by its id is written #42, got {given!r}") from exc
    return given.replace("␣", " ")
