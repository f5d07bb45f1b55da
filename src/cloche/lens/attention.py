"""Where each head of a decoder looks: all heads at a glance, those of a layer, or one in full."""

from dataclasses import dataclass
from typing import ClassVar

from cloche.lens.attention_induction import Induction, measure_induction
from cloche.lens.attention_maps import HeadMaps, Site, check_room, choose, maps_of
from cloche.lens.capture import capture, check_length, require_decoder
from cloche.lens.view import View, pieces_of, provenance_of
from cloche.model.config import ModelConfig
from cloche.run import LM


@dataclass(frozen=True, eq=False)
class AttentionView(View):
    """The attention of a text: maps of weights, and what kind of head each is."""

    name: ClassVar[str] = "attention"
    maps: HeadMaps
    induction: Induction


def see_attention(
    lm: LM, text: str, *, layer: int | None = None, head: int | None = None, seed: int = 0
) -> AttentionView:
    """Where each head looks as the model reads `text`; with a `layer`, those of that layer.

    With a `head` of it, too, that one's steps: queries, keys, scores, masked scores, weights,
    values and what was gathered. `seed` draws the tokens that induction is measured on. Raises
    SettingError for a layer or head that there is none of, RequestError for a model without
    attention and for a text that is empty, or too long for the model or for memory.
    """
    require_decoder(lm, "attention")
    site = decoder_site(lm.config)
    chosen = choose(site, layer=layer, head=head)
    ids = lm.prompt_ids(text) if text else ()
    check_length(lm, ids)
    check_room(site, chosen, queries=len(ids), keys=len(ids))
    told = capture(lm, ids, wanted=chosen.names(site).__contains__).numbers
    pieces = tuple(pieces_of(ids, lm.tokenizer))
    return AttentionView(
        provenance_of(lm, text=text, seed=seed),
        maps_of(told, site, chosen, queries=pieces, keys=pieces),
        measure_induction(lm, site, chosen, seed=seed),
    )


def decoder_site(config: ModelConfig) -> Site:
    """The attention layers of a decoder-only model."""
    windows = (
        None if layer < config.full_layers else config.window for layer in range(config.layers)
    )
    return Site("layers.{}.attention", config.layers, config.heads, config.kv_heads, (*windows,))
