"""Pairs as tokens on disk: one tokenizer for both sides, and two parts that share no source.

The cut is made between sources, before tokenizing: all pairs with one source fall on one side, so
that no sentence is ever trained on and judged by. It depends on the sources alone, not on their
order. In each part's shard sources and targets take turns, each closed by the end-of-text token.
"""

import hashlib
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from cloche.data.joined import JoinedShards
from cloche.data.options import DataOptions
from cloche.data.pairs import Pair, PairReport, read_pairs
from cloche.data.place import TOKENIZER, begin, clear, refuse_foreign, writing
from cloche.data.plan import Tell, read_json, write_json
from cloche.data.prepare import PreparedText
from cloche.data.shards import Shard, ShardWriter
from cloche.errors import DataError, TokenizerError
from cloche.text.choice import TokenizerChoice, choose_tokenizer, make_tokenizer, read_statistics
from cloche.text.options import TextOptions
from cloche.text.saved import load_tokenizer
from cloche.text.sources import SourceFile
from cloche.text.tokenizer import Tokenizer

FORMAT = 1
PAIRS = "pairs.json"
"""Written last: with it, the tokens are whole."""
PARTS = ("train", "validation")
SPLIT_SEED = 0
"""Of the cut: other parts for another seed, the same ones in every run."""

InTraining = Callable[[str], bool]


@dataclass(frozen=True)
class PreparedPairs(PreparedText):
    """Pairs as tokens in two parts; `train` and `validation` hold sources and targets in turn."""

    target_bytes: int
    """Of the targets of the validation part, in UTF-8."""
    target_tokens: int
    """Of the targets of the validation part, the end-of-text tokens among them."""


def prepare_pairs(
    folder: Path,
    sources: Sequence[SourceFile],
    reports: Sequence[PairReport],
    *,
    text: TextOptions,
    data: DataOptions,
    tell: Tell,
) -> PreparedPairs:
    """The pairs' tokens, from `folder` if they were made of the same pairs in the same way.

    `reports` are `inspect_pairs`'s. The tokenizer is chosen and made from the training part, as for
    any text. Raises ClocheError; what a killed process left is made anew.
    """
    recipe = _recipe(reports, text=text, data=data)
    stored = read_json(folder / PAIRS)
    if stored is not None and stored["recipe"] == recipe:
        tell(f"Tokens: those made earlier in {folder}, as pairs and tokenizer are unchanged.")
        return open_pairs(folder)
    refuse_foreign(folder, sources)

    def pairs() -> Iterator[Pair]:
        return read_pairs(sources, reports, columns=data.pair_columns)

    in_training = split_pairs(pairs(), share=data.split)
    choice = choose_tokenizer(
        text,
        train=lambda: read_statistics(_texts(pairs(), in_training, training=True)),
        validation=lambda: read_statistics(_texts(pairs(), in_training, training=False)),
    )
    tell(f"Tokenizer: {choice.reason}.")
    tokenizer = make_tokenizer(choice, _texts(pairs(), in_training, training=True))
    if choice.vocab_size and tokenizer.vocab_size < choice.vocab_size:
        tell(
            f"The pairs support a vocabulary of {tokenizer.vocab_size:,}, not "
            f"{choice.vocab_size:,}: no pair of tokens occurs twice any more."
        )
    with writing(folder):
        _clear(folder)
        tokenizer.save(folder / TOKENIZER)
        fingerprints = _fingerprints(reports)
        counts = _write_shards(folder, pairs(), in_training, tokenizer, sources=fingerprints)
        write_json(folder / PAIRS, {"recipe": recipe, "choice": asdict(choice), **counts})
    return open_pairs(folder)


def are_prepared(folder: Path) -> bool:
    """Whether there are finished tokens of pairs in `folder`."""
    return (folder / PAIRS).is_file()


def open_pairs(folder: Path) -> PreparedPairs:
    """The pairs that were prepared in `folder`. DataError where they are absent or damaged."""
    stored = read_json(folder / PAIRS)
    if stored is None:
        raise DataError(f"there are no prepared pairs in {folder}")
    tokenizer = load_tokenizer(folder / TOKENIZER)
    shards = [Shard(folder / part) for part in PARTS]
    for shard in shards:
        if shard.metadata.tokenizer != tokenizer.fingerprint or len(shard.ends) % 2:
            raise DataError(f"{folder} does not fit together: delete it to have it made anew")
    train, validation = (JoinedShards([shard], metadata=shard.metadata) for shard in shards)
    try:
        return PreparedPairs(
            tokenizer,
            train,
            validation,
            TokenizerChoice(**stored["choice"]),
            stored["target_bytes"],
            stored["target_tokens"],
        )
    except (KeyError, TypeError) as exc:
        raise DataError(f"{folder / PAIRS} is damaged ({exc}): delete {folder}") from exc


def split_pairs(pairs: Iterator[Pair], *, share: float, seed: int = SPLIT_SEED) -> InTraining:
    """Which sources are trained on: about `share` of the different ones, never none and never all.

    A function of each source and of which others there are, whatever their order. Raises DataError
    where all pairs have the same source.
    """
    places = np.unique(np.fromiter((_place(pair.source, seed) for pair in pairs), np.uint64))
    if len(places) < 2:
        raise DataError(
            "all pairs have the same source, and no source may be both trained on and judged by: "
            "bring more pairs"
        )
    count = min(len(places) - 1, max(1, round(share * len(places))))
    first_left_out = int(places[count])
    return lambda source: _place(source, seed) < first_left_out


def beginning_and_end(tokenizer: Tokenizer) -> tuple[int, int]:
    """The tokens that begin and end a target. TokenizerError where the tokenizer has no end."""
    special = tokenizer.special_ids
    if special.eos is None:
        raise TokenizerError(
            "a target ends with an end-of-text token, and this tokenizer has none: use another "
            "with --text.tokenizer, such as bpe or characters"
        )
    return (special.eos if special.bos is None else special.bos), special.eos


def _place(source: str, seed: int) -> int:
    """Where among 2^64 places a source lies."""
    key = seed.to_bytes(8, "little")
    digest = hashlib.blake2b(source.encode("utf-8"), digest_size=8, key=key).digest()
    return int.from_bytes(digest, "little")


def _texts(pairs: Iterator[Pair], in_training: InTraining, *, training: bool) -> Iterator[str]:
    """Both sides of the pairs of one part; an empty text behind each."""
    for pair in pairs:
        if in_training(pair.source) == training:
            yield from (pair.source, "", pair.target, "")


def _write_shards(
    folder: Path,
    pairs: Iterator[Pair],
    in_training: InTraining,
    tokenizer: Tokenizer,
    *,
    sources: list[dict[str, object]],
) -> dict[str, int]:
    """Write both parts; the numbers that `PreparedPairs` has of the validation part."""
    _, end = beginning_and_end(tokenizer)
    made = {"vocab_size": tokenizer.vocab_size, "tokenizer": tokenizer.fingerprint}
    writers = [ShardWriter(folder / part, **made) for part in PARTS]
    totals = [{"characters": 0, "utf8_bytes": 0} for _ in PARTS]
    target_bytes = target_tokens = 0
    try:
        for pair in pairs:
            number = 0 if in_training(pair.source) else 1
            for text in (pair.source, pair.target):
                ids = tokenizer.encode_array(text)
                writers[number].append(np.append(ids, end))
                writers[number].end_document()
                totals[number]["characters"] += len(text)
                totals[number]["utf8_bytes"] += len(text.encode("utf-8"))
            if number:
                target_bytes += len(pair.target.encode("utf-8"))
                target_tokens += len(ids) + 1
    except BaseException:
        for writer in writers:
            writer.discard()
        raise
    for writer, total in zip(writers, totals, strict=True):
        writer.finish(sources=sources, separated=True, **total)
    return {"target_bytes": target_bytes, "target_tokens": target_tokens}


def _recipe(
    reports: Sequence[PairReport], *, text: TextOptions, data: DataOptions
) -> dict[str, object]:
    """All that the tokens depend on, as JSON gives it back."""
    chosen = {"split": data.split, "pair_columns": list(data.pair_columns)}
    made = {"format": FORMAT, "text": asdict(text), "data": chosen}
    return {"options": made, "sources": _fingerprints(reports)}


def _fingerprints(reports: Sequence[PairReport]) -> list[dict[str, object]]:
    """What identifies each file's pairs, whatever its name and encoding."""
    return [
        {"characters": report.characters, "utf8_sha256": report.utf8_sha256} for report in reports
    ]


def _clear(folder: Path) -> None:
    """Remove what an earlier preparation made, of pairs or of running text."""
    begin(folder)
    (folder / PAIRS).unlink(missing_ok=True)
    clear(folder)
    for part in PARTS:
        shutil.rmtree(folder / part, ignore_errors=True)
