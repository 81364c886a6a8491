"""What innerloop has logged: beside it, Ray logs when it likes."""

import pytest


def ours(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == "innerloop"]
