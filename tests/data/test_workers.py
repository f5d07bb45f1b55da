import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import cloche
from cloche.bench.tokenizing import bench_tokenizing
from cloche.data import workers as workers_module
from cloche.data.options import DataOptions
from cloche.data.plan import inspect_all
from cloche.data.prepare import prepare_text
from cloche.data.workers import Workers, inspect_call, inspection_of
from cloche.errors import DataError, SettingError
from cloche.text.options import TextOptions
from cloche.text.sources import find_sources

SECONDS = 40


@pytest.fixture(autouse=True)
def _no_hang():
    """Whoever waits for an answer that never comes is told so."""

    def expired(*_):
        raise TimeoutError(f"nothing came within {SECONDS} s")

    before = signal.signal(signal.SIGALRM, expired)
    signal.alarm(SECONDS)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture
def workers_that(monkeypatch):
    """Makes workers that run this code instead of cloche's."""

    def make(code: str, *, count: int = 1) -> Workers:
        def start() -> subprocess.Popen[str]:
            return subprocess.Popen(
                [sys.executable, "-c", code],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                encoding="utf-8",
            )

        monkeypatch.setattr(workers_module, "_start", start)
        return Workers(count)

    return make


@pytest.fixture
def call(tmp_path) -> dict:
    """A call that a worker can answer."""
    (tmp_path / "book.txt").write_text("春眠不覺曉 and some more\n" * 20, encoding="utf-8")
    (source,) = find_sources([str(tmp_path / "book.txt")])
    return inspect_call(source)


def inspected(call: dict) -> int:
    """The characters that a real worker finds."""
    with Workers(1) as workers:
        ((_, answer),) = workers.ask([call])
    return inspection_of(answer).report.characters


def test_a_worker_killed_at_work_is_one_clear_error(workers_that):
    working = "import os, signal, sys; sys.stdin.readline(); os.kill(os.getpid(), signal.SIGKILL)"
    with (
        pytest.raises(DataError, match=r"status -9 \(it may have run out of memory\)"),
        workers_that(working, count=2) as workers,
    ):
        list(workers.ask([{}] * 5))


def test_a_worker_that_crashes_names_the_signal(workers_that):
    with (
        pytest.raises(DataError, match=r"status -11 \(Segmentation fault\)"),
        workers_that("import os, sys; sys.stdin.readline(); os.kill(os.getpid(), 11)") as workers,
    ):
        list(workers.ask([{}]))


@pytest.mark.parametrize("half", ["{", '{"answer": {"done": true}}', "nonsense"])
def test_a_line_without_its_end_is_the_death_of_the_worker(workers_that, half):
    code = f"import sys; sys.stdin.readline(); sys.stdout.write({half!r}); sys.exit(3)"
    with (
        pytest.raises(DataError, match="ended with status 3"),
        workers_that(code) as workers,
    ):
        list(workers.ask([{}]))


@pytest.mark.parametrize(
    "line",
    [
        b"Loading the model ...",
        b"5",
        b"[]",
        b"{}",
        b"\xff\xfe",
        b'{"problem": "x"}',
        b'{"problem": "x", "kind": "NoSuchError"}',
        b'{"problem": "x", "kind": "join_problems"}',
    ],
)
def test_a_foreign_line_is_one_clear_error_though_the_worker_lives(workers_that, line):
    code = (
        "import sys, time; sys.stdin.readline()\n"
        f"sys.stdout.buffer.write({line!r} + b'\\n'); sys.stdout.flush(); time.sleep(60)"
    )
    with (
        pytest.raises(DataError, match=r"no answer that can be read \(\w+: .+ --workers 1"),
        workers_that(code) as workers,
    ):
        list(workers.ask([{}, {}]))


def test_a_worker_that_lives_on_in_silence_is_not_waited_for(workers_that, monkeypatch):
    monkeypatch.setattr(workers_module, "_SECONDS_TO_END", 0.2)
    code = "import os, sys, time; sys.stdin.readline(); os.close(1); time.sleep(60)"
    with (
        pytest.raises(DataError, match="closed its output without an answer"),
        workers_that(code) as workers,
    ):
        list(workers.ask([{}]))


@pytest.mark.parametrize("size", [10, 100_000])  # one that a buffer keeps, one that goes past it
def test_closing_after_a_worker_died_masks_no_error(workers_that, size):
    workers = workers_that("pass", count=2)
    workers.start()
    for process in workers._processes:
        process.wait()
    with pytest.raises(DataError, match="ended with status 0"), workers:
        list(workers.ask([{"much": "x" * size}] * 4))
    workers.close()  # once more is harmless


def test_a_call_that_is_no_json_is_an_error_and_no_hang(workers_that):
    with (
        pytest.raises(DataError, match="TypeError: Object of type PosixPath"),
        workers_that("import sys; sys.stdin.read()") as workers,
    ):
        list(workers.ask([{"path": Path()}]))


def test_a_bug_in_a_worker_reaches_the_user_with_its_type_and_text(capfd):
    with (
        pytest.raises(DataError, match=r"met KeyError: 'inspect' \(in workers.py, line \d+: .*bug"),
        Workers(1) as workers,
    ):
        list(workers.ask([{"nonsense": 1}]))
    assert "Traceback" not in capfd.readouterr().err


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("MemoryError", r"met MemoryError: too much \(the memory is used up: use fewer --workers"),
        ("Panic", "met Panic: too much"),
        ("RecursionError", "met RecursionError: too much"),
    ],
)
def test_whatever_a_worker_meets_is_told(workers_that, kind, message):
    code = (
        "import cloche.data.workers as w\n"
        "class Panic(BaseException): pass\n"
        f"def broken(call): raise {kind}('too much')\n"
        "w._do = broken\n"
        "w.serve()"
    )
    with pytest.raises(DataError, match=message), workers_that(code) as workers:
        list(workers.ask([{}]))


def test_a_users_mistake_keeps_its_kind(tmp_path):
    call = {"task": 0, "folder": str(tmp_path)}
    with pytest.raises(DataError, match="no preparation has begun"), Workers(1) as workers:
        list(workers.ask([call]))


def test_modules_in_the_current_directory_are_not_imported(tmp_path, monkeypatch):
    (tmp_path / "book.txt").write_text("low lower lowest\n" * 200)
    for name in ("queue", "json", "tokenizers", "numpy", "cloche"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('mine was imported')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("cloche.data.spec.TASK_BYTES", 1000)
    sources = find_sources(["book.txt"])
    text = TextOptions(tokenizer="characters")
    with Workers(2) as workers:
        prepared = prepare_text(
            tmp_path / "tokens",
            sources,
            inspect_all(sources, text, workers=workers),
            text=text,
            data=DataOptions(),
            tell=lambda _: None,
            workers=workers,
        )
    assert prepared.train.metadata.count + prepared.validation.metadata.count == 17 * 200


def test_workers_find_a_checkout_that_only_pythonpath_names(call, tmp_path, monkeypatch):
    package = Path(cloche.__file__ or "").parent
    skipped = shutil.ignore_patterns("__pycache__")
    copy = shutil.copytree(package, tmp_path / "checkout" / "cloche", ignore=skipped)
    with (copy / "data" / "workers.py").open("a") as file:
        file.write("\n\ndef _do(call): return {'file': __file__}\n")
    monkeypatch.setenv("PYTHONPATH", str(copy.parent))
    with Workers(1) as workers:
        ((_, answer),) = workers.ask([call])
    assert Path(answer["file"]) == copy / "data" / "workers.py"


def test_workers_find_the_package_where_nothing_else_does(call, monkeypatch):
    """As in `cd src` without an installation, or after sys.path.append in a notebook."""
    nowhere = "import sys; sys.path = [p for p in sys.path if p != sys.argv[1]]; "
    monkeypatch.setattr(workers_module, "_LAUNCH", nowhere + workers_module._LAUNCH)
    assert inspected(call) == 400


def test_workers_are_at_least_one():
    with pytest.raises(SettingError, match="at least 1 worker, got 0"):
        Workers(0)


def bench(text: Path, **changes) -> object:
    options = {"training_bytes": 2000, "tokenizer": "gpt2", "vocab_size": 300} | changes
    return bench_tokenizing(text, workers=2, rounds=1, tell=lambda _: None, **options)


@pytest.mark.parametrize("data", ["春眠不覺曉".encode("gb18030"), b"\xff\xfea\x00", b"abc\xe6\x98"])
def test_a_benchmark_of_text_that_is_not_utf8_is_refused_at_once(tmp_path, data):
    (tmp_path / "book.txt").write_bytes(data)
    with pytest.raises(SettingError, match=r"book.txt is not UTF-8.* give a text in UTF-8") as told:
        bench(tmp_path / "book.txt")
    assert "Traceback" not in str(told.value)


def test_a_benchmark_imports_nothing_from_the_current_directory(shared_data, tmp_path, monkeypatch):
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(shared_data / "tiktoken_cache"))
    (tmp_path / "book.txt").write_text("low lower lowest 春眠不覺曉\n" * 200, encoding="utf-8")
    for name in ("queue", "tokenizers"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('mine was imported')")
    monkeypatch.chdir(tmp_path)
    assert os.environ.get("PYTHONSAFEPATH") is None
    assert bench(tmp_path / "book.txt")
