import os
import sys

import psutil
import pytest

from cloche.cli import environment


@pytest.fixture
def others_use(monkeypatch):
    for name in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT"):
        monkeypatch.delenv(name, raising=False)
    # set here, so that it is taken away again whatever a test did to it
    monkeypatch.setattr(os, "environ", dict(os.environ))

    monkeypatch.delitem(sys.modules, "torch", raising=False)

    def use(percent):
        monkeypatch.setattr(psutil, "cpu_percent", lambda interval: percent)

    return use


def test_beside_other_programs_threads_wait_without_spinning(others_use):
    others_use(60.0)
    assert environment.let_threads_wait_politely()
    assert os.environ["OMP_WAIT_POLICY"] == "passive"


def test_alone_they_spin(others_use):
    others_use(3.0)
    assert not environment.let_threads_wait_politely()
    assert "OMP_WAIT_POLICY" not in os.environ


@pytest.mark.parametrize("name", ["OMP_WAIT_POLICY", "GOMP_SPINCOUNT"])
def test_what_the_environment_says_stays(others_use, name):
    others_use(60.0)
    os.environ[name] = "active"
    assert not environment.let_threads_wait_politely()
    assert os.environ[name] == "active"


def test_threads_that_run_already_are_left_alone(others_use, monkeypatch):
    others_use(60.0)
    monkeypatch.setitem(sys.modules, "torch", object())
    assert not environment.let_threads_wait_politely()
