"""A translation's attention in the terminal: each kind as that of a single text is."""

from rich.console import Group, RenderableType
from rich.text import Text

from cloche.lens.attention_translation import TranslationAttentionView
from cloche.lens.terminal.attention_numbers import WORDS, list_heads, list_stages
from cloche.lens.wording import Language, Words

TITLES = {
    "encoder": "encoder: the source looks at itself",
    "decoder": "decoder: the target looks at what came before",
    "cross": "cross: the target looks at the source",
}
CHINESE = {
    "encoder: the source looks at itself": "编码器：源文看源文",
    "decoder: the target looks at what came before": "解码器：译文看前文",
    "cross: the target looks at the source": "交叉：译文看源文",
    "target, as the model wrote it": "译文，模型所写",
    "target, as given": "译文，给定的",
}


def make_rendering(view: TranslationAttentionView, lang: Language) -> RenderableType:
    """The target, then the kinds of attention that the view holds."""
    words = Words({**WORDS, **CHINESE}, lang)
    origin = "target, as the model wrote it" if view.written else "target, as given"
    parts: list[RenderableType] = [Text(f"{words(origin)}: {view.target}")]
    for kind, maps in view.kinds.items():
        numbers = {"entropy, of the largest": maps.relative_entropy.values}
        if maps.previous_token is not None:
            numbers["weight on the token before"] = maps.previous_token.values
        parts += [Text(words(TITLES[kind]), style="bold"), list_heads(maps, numbers, words)]
        if maps.stages is not None:
            parts.append(list_stages(maps, words))
    return Group(*parts)
