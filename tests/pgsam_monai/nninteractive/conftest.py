"""What answers in this room's tests."""

from __future__ import annotations

import pytest
from answering_network import make_model

from pgsam_monai.nninteractive.answering import Answering


@pytest.fixture
def answering():
    model = make_model(names=["object"], values=[0, 1])
    return Answering(model=model, corrector=model, label="object")
