"""The keys of all shipped recipes, with fixed stand-ins for sources and tools: ``python -m cookhouse.golden_keys
[--write]``.

They are committed in ``tests/golden/keys.json``. A change there is a decision: it means that every user's results of
these steps are made anew.
"""

from __future__ import annotations

import json
import sys

from cookhouse.project import load_project
from pipelines.core.canonical import dotted
from pipelines.core.identity import sources_of
from pipelines.core.storage import INSTALLED
from pipelines.workflow.compose import PACKAGED, choices_of
from pipelines.workflow.plan import with_keys
from pipelines.workflow.probe import Probed

FILE = INSTALLED / "tests" / "golden" / "keys.json"
STAND_IN = "golden"


def golden_keys() -> dict[str, dict[str, str]]:
    """Recipe -> step -> key."""
    keys = {}
    for recipe in choices_of("recipe", [PACKAGED]):
        project = load_project([f"recipe={recipe}"])
        probes = {
            step.name: Probed(
                step.config,
                digests=dict.fromkeys(sources_of(step.config), STAND_IN),
                tools=dict.fromkeys(step.definition.engines, STAND_IN),
            )
            for step in project.steps
        }
        keys[recipe] = {item.step.name: item.key for item in with_keys(project.steps, probes)}
    return keys


def main() -> int:
    """Compare, or write with ``--write``. Exit 3 when the committed keys differ."""
    now = golden_keys()
    if "--write" in sys.argv[1:]:
        FILE.parent.mkdir(parents=True, exist_ok=True)
        FILE.write_text(json.dumps(now, indent=1) + "\n", encoding="utf-8")
        sys.stdout.write(f"wrote {FILE}\n")
        return 0
    keys = dotted(now)
    kept = dotted(json.loads(FILE.read_text(encoding="utf-8")) if FILE.exists() else {})
    changed = [name for name, key in keys.items() if kept.get(name) != key]
    gone = [name for name in kept if name not in keys]
    verdict = f"{len(changed)} keys changed, {len(gone)} gone: {', '.join(changed + gone)}"
    sys.stdout.write(f"{verdict if changed or gone else 'all keys as committed'}\n")
    return 3 if changed or gone else 0


if __name__ == "__main__":
    sys.exit(main())
