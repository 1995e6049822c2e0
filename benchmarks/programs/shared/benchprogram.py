"""What a measured program and the harness say to each other: parameters in, records out, one line each."""

import json
import os
from typing import Any

parameters: dict[str, int] = json.loads(os.environ["BENCH_PARAMETERS"])


def report(**fields: Any) -> None:
    print("BENCH " + json.dumps(fields), flush=True)
