"""The small pipelines, saved once for all tests of pictures."""

from pathlib import Path

import pytest

pytest.importorskip("diffusers", reason="pictures need the extra image")

from small_pipelines import save_pipelines


@pytest.fixture(scope="session")
def pipelines(tmp_path_factory) -> dict[str, Path]:
    return save_pipelines(tmp_path_factory.mktemp("pipelines"))
