import shutil

import pytest


@pytest.fixture(scope="module", autouse=True)
def nothing_left(request, tmp_path_factory):
    """What a file's fixtures made is gone after it, unless a test failed: a whole run's checkpoints would be 8 GB."""
    base, failed = tmp_path_factory.getbasetemp(), request.session.testsfailed
    before = set(base.iterdir())
    yield
    if request.session.testsfailed == failed:
        for folder in set(base.iterdir()) - before:
            shutil.rmtree(folder, ignore_errors=True)
