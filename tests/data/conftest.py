"""A small book, and tasks as small as to be many of it."""

import pytest
from preparations import LINE


@pytest.fixture
def small_tasks(monkeypatch):
    monkeypatch.setattr("cloche.data.spec.TASK_BYTES", 700)


@pytest.fixture
def book(tmp_path):
    path = tmp_path / "book.txt"
    path.write_text(LINE * 100, encoding="utf-8")
    return path
