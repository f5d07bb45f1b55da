"""Attention in the terminal: what kind of head each is; of one, its steps as numbers."""

from rich.console import Group, RenderableType

from cloche.lens.attention import AttentionView
from cloche.lens.terminal.attention_numbers import WORDS, list_heads, list_stages
from cloche.lens.wording import Language, Words


def make_rendering(view: AttentionView, lang: Language) -> RenderableType:
    """The heads that the view holds."""
    words = Words(WORDS, lang)
    before = view.maps.previous_token
    assert before is not None, "within one text there is a token before"
    numbers = {
        "entropy, of the largest": view.maps.relative_entropy.values,
        "weight on the token before": before.values,
        "induction": view.induction.score.values,
    }
    heads = list_heads(view.maps, numbers, words)
    return heads if view.maps.stages is None else Group(heads, list_stages(view.maps, words))
