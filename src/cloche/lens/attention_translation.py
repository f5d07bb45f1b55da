"""Where an encoder-decoder looks: its source at itself, its target at itself, and at the source."""

from dataclasses import dataclass
from typing import ClassVar

from cloche.errors import CheckpointError, RequestError, SettingError
from cloche.generation.translating import Translator
from cloche.lens.attention_maps import HeadMaps, Site, check_room, choose, maps_of
from cloche.lens.capture import capture_translation
from cloche.lens.view import Provenance, View, pieces_of
from cloche.model.config import ModelConfig
from cloche.weights.identity import model_hash

KINDS = ("encoder", "decoder", "cross")


@dataclass(frozen=True, eq=False)
class TranslationAttentionView(View):
    """The attention of a translation; each kind is None where only others were asked for."""

    name: ClassVar[str] = "attention-translation"
    source: str
    target: str
    written: bool
    """Whether the target is what the model wrote for the source, not what it was given."""
    encoder: HeadMaps | None
    """The source's tokens look at one another."""
    decoder: HeadMaps | None
    """The target's tokens look at those before them, and themselves."""
    cross: HeadMaps | None
    """The target's tokens look at the source's."""

    @property
    def kinds(self) -> dict[str, HeadMaps]:
        """Those that there are, by their names."""
        found = {kind: getattr(self, kind) for kind in KINDS}
        return {kind: maps for kind, maps in found.items() if maps is not None}


def see_translation_attention(
    translator: Translator,
    source: str,
    target: str | None = None,
    *,
    layer: int | None = None,
    head: int | None = None,
    kind: str | None = None,
) -> TranslationAttentionView:
    """Where each head looks as the model reads `source` and writes `target`.

    Of `cloche.load_translator`. The target is what the model writes for the source when None.
    `layer` and `head` as in `see_attention`, for each kind of attention or the one named `kind`:
    encoder, decoder or cross. Raises SettingError for one that there is none of, RequestError for
    an empty source, or a text that does not fit the model or memory.
    """
    if kind is not None and kind not in KINDS:
        raise SettingError(f"kind must be one of {', '.join(KINDS)}, got {kind!r}")
    every = sites_of(translator.config)
    sites = {each: site for each, site in every.items() if kind in (None, each)}
    chosen = {
        each: choose(site, layer=layer, head=head, where=f"the {each} attention of the model")
        for each, site in sites.items()
    }
    read, wrote = _ids_of(translator, source, target)
    sides = {"encoder": (read, read), "decoder": (wrote, wrote), "cross": (wrote, read)}
    for each, (queries, keys) in sides.items():
        _check_room(every[each], queries=len(queries), keys=len(keys))
    told = capture_translation(translator.model, read, wrote).numbers
    pieces = {ids: tuple(pieces_of(ids, translator.tokenizer)) for ids in (read, wrote)}

    def maps(each: str) -> HeadMaps | None:
        if each not in sites:
            return None
        queries, keys = (pieces[ids] for ids in sides[each])
        return maps_of(told, sites[each], chosen[each], queries=queries, keys=keys)

    shown = translator.tokenizer.decode(wrote[1:]) if target is None else target
    return TranslationAttentionView(
        _provenance_of(translator, f"{source} → {shown}"),
        source,
        shown,
        target is None,
        *(maps(each) for each in KINDS),
    )


def sites_of(config: ModelConfig) -> dict[str, Site]:
    """The attention layers of an encoder-decoder, by their kinds."""
    heads, reach_back = (config.heads, config.kv_heads), (None,) * config.layers
    return {
        "encoder": Site("encoder.layers.{}.attention", config.encoder_layers, *heads),
        "decoder": Site("decoder.layers.{}.attention", config.layers, *heads, reach_back),
        "cross": Site("decoder.layers.{}.cross_attention", config.layers, *heads, within=False),
    }


def _check_room(site: Site, *, queries: int, keys: int) -> None:
    """RequestError where all that the layers tell is more than is kept: they tell three tables."""
    everything = choose(site, layer=None, head=None)
    check_room(site, everything, queries=3 * queries, keys=keys)


def _ids_of(
    translator: Translator, source: str, target: str | None
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """What the encoder reads, and what the decoder does: the beginning, then the target."""
    if target is None:
        hypothesis = translator.hypotheses([source], translator.search())[0]
        # one that was cut off fills the context, and its last token was written but never read
        wrote = (translator.bos, *hypothesis.ids)[: translator.config.context]
    else:
        wrote = (translator.bos, *translator.tokenizer.encode(target.strip()))
    read = (*translator.tokenizer.encode(source.strip()), translator.eos)
    if len(read) == 1:
        raise RequestError("the source has no token to look at: give a text")
    for name, ids in (("source", read), ("target", wrote)):
        if len(ids) > translator.config.context:
            raise RequestError(
                f"the {name} has {len(ids) - 1:,} tokens, and the model reads "
                f"{translator.config.context - 1:,}: give a shorter one"
            )
    return read, wrote


def _provenance_of(translator: Translator, text: str) -> Provenance:
    """Where the numbers of a translator come from, as `provenance_of` says it of an LM."""
    folder = translator.folder.resolve()
    run = folder.parents[1] if folder.parent.name == "checkpoints" else folder
    try:
        sha256 = model_hash(folder)
    except CheckpointError:
        sha256 = ""  # the model was built in memory: no weights lie in the folder
    return Provenance(run.name or str(run), folder.name, sha256, text)
