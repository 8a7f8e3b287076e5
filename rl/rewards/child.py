"""The reward child: one JSON case a line in, one JSON judgement a line out. Started and killed by
``rl.rewards.service``.

Answers leave through a private copy of standard output; the standard one is turned to standard error first, so that a
verifier that prints cannot break the protocol.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict

from rl.rewards.verify import Case, judge


def main() -> None:
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    for line in sys.stdin:
        try:
            reply = asdict(judge(Case(**json.loads(line))))
        except Exception:
            reply = {"accuracy": 0.0, "format": 0.0, "repetition": 0.0, "verdict": "error"}
        answers.write(json.dumps(reply) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
