"""The first examples of some records, as a tuning would learn from them: nothing is split off."""

from cloche.data.conversations import ConversationRecord, read_conversations
from cloche.data.examples import Example
from cloche.errors import SettingError
from cloche.tuning.base import Base, context_for, open_base
from cloche.tuning.encoding import encode_records
from cloche.tuning.options import TuneOptions


def first_examples(
    options: TuneOptions, *, count: int
) -> tuple[Base, list[tuple[Example, ConversationRecord]]]:
    """The base, and the first examples in the files' order with the record of each.

    Raises ClocheError for records that cannot be used, naming each.
    """
    if not options.sources:
        raise SettingError("name a file of conversations to show")
    base = open_base(
        options.base,
        template=options.tune.template,
        may_grow=options.method.method == "full",
        warn=_ignore,
    )
    data = options.data
    found = read_conversations(options.sources, records=data.records, encoding=data.encoding)
    encoded = encode_records(
        found.records,
        base.template,
        base.tokenizer,
        context=context_for(base, options.tune.context, warn=_ignore),
        learned=options.tune.loss,
    )
    return base, list(zip(encoded.examples, encoded.records, strict=True))[:count]


def _ignore(_text: str) -> None:
    """Nothing is trained, so nothing needs a warning."""
