"""What the tests share: where the real data are, and one trained classifier."""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder that `TEXTCLF_DATA` names; the test skips where it is not set."""
    folder = os.environ.get("TEXTCLF_DATA")
    if not folder:
        pytest.skip("TEXTCLF_DATA is not set: this test reads published data sets")
    return Path(folder).resolve()
