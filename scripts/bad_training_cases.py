"""Trainings that cannot be as asked, for `bad_input.py`: plans, parts, processes, trackers."""

from pathlib import Path

from bad_input_cases import SMALL, TEXT, Case, nothing, run_cloche, write

BOOK = write("book.txt", TEXT)


def small_run(folder: Path) -> None:
    """A finished run in runs/book."""
    BOOK(folder)
    run_cloche(f"train book.txt {SMALL}", folder)


TRAINING_CASES = [
    Case(
        "A training that no memory holds",
        "plan --model.layers 48 --model.width 4096 --model.heads 32 --train.batch 8 "
        "--train.optimizer adamw --machine t4 --tokens 1e9",
        nothing,
    ),
    Case("A machine of no table", "plan --machine t5 --tokens 1e9", nothing),
    Case("A law of a single run", "plan --fit runs/book", small_run),
    Case("A law of a run that is not there", "plan --fit runs/bok", nothing),
    Case(
        "A plan for no tokens and a share that is none",
        "plan --tokens -5 --utilisation 3 --devices 0",
        nothing,
    ),
    Case(
        "Parts that do not divide the batch",
        f"train book.txt {SMALL} --train.accumulate 3",
        BOOK,
    ),
    Case(
        "Options of the optimizer and the loss out of range",
        f"train book.txt {SMALL} --train.momentum 1.5 --train.z-loss nan --train.average 1 "
        "--train.patience -1 --train.rest-rate 0 --train.label-smoothing 1.5",
        BOOK,
    ),
    Case(
        "Figures to be skipped and counted that are less than none",
        f"train book.txt {SMALL} --train.skip-nonfinite -1 --train.statistics-every -2",
        BOOK,
    ),
    Case("No process at all", f"train book.txt {SMALL} --nproc 0", BOOK),
    Case("More processes than sequences", f"train book.txt {SMALL} --nproc 6", BOOK),
    Case(
        "A model whose heads processes cannot share",
        f"train book.txt {SMALL} --nproc 2 --train.parallel fsdp --train.tensor-parallel 2 "
        "--model.heads 1",
        BOOK,
    ),
    Case("Shards in a single process", f"train book.txt {SMALL} --train.tensor-parallel 2", BOOK),
    Case(
        "A counted model in several processes",
        "train book.txt --model.family ngram --nproc 2",
        BOOK,
    ),
    Case("A tracker that nobody knows", f"train book.txt {SMALL} --train.trackers comet", BOOK),
    Case("A device that is not here", f"train book.txt {SMALL} --train.device mps", BOOK),
    Case("A benchmark of no such size", "bench train --sizes 7B", nothing),
]
