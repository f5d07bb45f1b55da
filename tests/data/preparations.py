"""What tests of preparations share."""

from cloche.data.options import DataOptions
from cloche.data.plan import inspect_all
from cloche.data.prepare import prepare_text
from cloche.data.tasks import open_work, task_folder
from cloche.text.options import TextOptions
from cloche.text.sources import find_sources

LINE = "The quick brown fox saw seven old hens.\n"


def files_of(folder):
    """All bytes of the tokens and the tokenizer."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for part in ("tasks", "tokenizer")
        for path in sorted((folder / part).rglob("*"))
        if path.is_file()
    }


def place_of(folder, number):
    return task_folder(folder, number, spec=open_work(folder).spec)


def prepare(folder, *paths, text=None, data=None, told=None, **how):
    options = text or TextOptions()
    sources = find_sources([str(path) for path in paths])
    return prepare_text(
        folder,
        sources,
        inspect_all(sources, options),
        text=options,
        data=data or DataOptions(),
        tell=(told if told is not None else []).append,
        **how,
    )


def text_of(prepared, part):
    shard = getattr(prepared, part)
    return prepared.tokenizer.decode([int(token) for token in shard.tokens[:]])
