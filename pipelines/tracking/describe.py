"""Words for MLflow: names, params, metrics, notes. Pure functions of events and of ``artifact.json``."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from pipelines.core.canonical import dotted

MAX_PARAM, MAX_NAME, MAX_TAG = 6000, 250, 8000
"""Limits of MLflow: characters of a param value (longer ones are cut silently), of a name, of a tag."""
SHORT = 12
UNSEEN = ("recipe=", "storage", "tracking", "cluster")
"""Overrides that name no experiment: they say where a run happens."""
_REFUSED = re.compile(r"[^\w\-. :/]")


def clean_name(name: str) -> str:
    """A param or metric name MLflow takes."""
    return _REFUSED.sub("_", name)[:MAX_NAME]


def changed(overrides: Sequence[str], step: str | None = None) -> str:
    """What a person changed: the overrides of one step, or all of a run, without the ``steps.`` prefix.

    ``changed(["recipe=tiny", "steps.sft.lr=1e-3"], "sft") == "lr=1e-3"``."""
    names = [override.lstrip("+~") for override in overrides]
    if step is None:
        parts = [name.removeprefix("steps.") for name in names if not name.startswith(UNSEEN)]
    else:
        mine = f"steps.{step}."
        parts = [name.removeprefix(mine) for name in names if name.startswith(mine)]
    text = ",".join(parts)
    return text if len(text) <= 60 else text[:57] + "..."


def step_name(step: str, key: str, overrides: Sequence[str]) -> str:
    return "-".join(part for part in (step, changed(overrides, step), key[:7]) if part)


def run_name(recipe: str, run_id: str, overrides: Sequence[str]) -> str:
    return f"{recipe}-{changed(overrides) or run_id}"


def params_of(document: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Identity of a step as params: config fields under their own names (``phases.0.lr``; lists of plain values are JSON),
    ``code_version``, ``limit``, and one param an input, source and tool. A value longer than MLflow keeps is cut into
    ``name.part0``, ``name.part1`` ..."""
    named: dict[str, Any] = dict(document.get("config", {}))
    for port, items in document.get("inputs", {}).items():
        named[f"input.{port}"] = ",".join(f"{step}-{key[:SHORT]}" for step, key in items)
    named |= {f"source.{name}": value[:SHORT] for name, value in document.get("sources", {}).items()}
    named |= {f"tool.{name}": str(value) for name, value in document.get("tools", {}).items()}
    named |= {name: document[name] for name in ("code_version", "limit") if name in document}
    params: dict[str, str] = {}
    for path, value in dotted(named).items() if named else ():
        name = clean_name(prefix + path)
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        parts = [text[start : start + MAX_PARAM] for start in range(0, len(text), MAX_PARAM)]
        if len(parts) <= 1:
            params[name] = text
        else:
            params |= {clean_name(f"{name}.part{number}"): part for number, part in enumerate(parts)}
    return params


def stat_metrics(record: Mapping[str, Any]) -> dict[str, float]:
    """Numbers of a committed result: ``stats.metrics`` and the main metric by their own names, the other numbers of
    ``stats`` (one level of nesting) and the seconds of the attempt that made it."""
    stats = dict(record.get("stats", {}))
    found: dict[str, Any] = {"seconds": record.get("seconds")}
    metrics = stats.pop("metrics", {})
    main = stats.pop("main_metric", None)
    for name, value in stats.items():
        if isinstance(value, Mapping):
            found.update({f"{name}/{inner}": item for inner, item in value.items()})
        else:
            found[name] = value
    if isinstance(main, Sequence) and not isinstance(main, str) and len(main) == 2:
        found[str(main[0])] = main[1]
    found.update(metrics if isinstance(metrics, Mapping) else {})
    return numbers(found)


def numbers(values: Mapping[str, Any]) -> dict[str, float]:
    """The numbers among some values, under clean names. An infinity becomes NaN, a gap in a chart: MLflow would draw it as
    1.8e308, and nothing else could be seen beside it."""
    return {
        clean_name(name): float(value) if math.isfinite(value) else math.nan
        for name, value in values.items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    }


def parent_metrics(step: str, final: Mapping[str, float]) -> dict[str, float]:
    return {clean_name(f"{step}/{name}"): value for name, value in final.items()}


def code_tags(code: Mapping[str, Any]) -> dict[str, str]:
    """Identity of the code that did the work, as that process wrote it down; what it could not tell is left out."""
    packages = " ".join(f"{name}={version}" for name, version in code.get("packages", {}).items())
    tags = {
        "cookhouse.git_sha": code.get("commit"),
        "mlflow.source.git.commit": code.get("commit"),
        "cookhouse.git_dirty": str(bool(code.get("dirty"))).lower() if code.get("commit") else "",
        "cookhouse.git_diff": code.get("dirty"),
        "cookhouse.version": code.get("version"),
        "cookhouse.image": code.get("image"),
        "cookhouse.packages": packages,
    }
    return {name: str(value) for name, value in tags.items() if value}


def odd_tags(odd: Mapping[str, tuple[int, int]]) -> dict[str, str]:
    """Which metrics were no finite numbers, how often, and from which step on."""
    told = [f"{name}: {count} from step {first}" for name, (count, first) in sorted(odd.items())]
    return {"cookhouse.not_finite": ", ".join(told)[:MAX_TAG]} if told else {}


def parent_note(recipe: str, overrides: Sequence[str], steps: Mapping[str, Mapping[str, Any]]) -> str:
    command = " ".join(["cookhouse run", f"recipe={recipe}", *(o for o in overrides if not o.startswith("recipe="))])
    lines = [f"**{recipe}** `{command}`", "", "| step | key | | status | seconds | main metric |", "|---" * 6 + "|"]
    for name, row in steps.items():
        run = f"[{name}](#/experiments/{row['experiment_id']}/runs/{row['run_id']})" if row.get("run_id") else name
        seconds = f"{row['seconds']:.1f}" if isinstance(row.get("seconds"), int | float) else ""
        cells = (run, f"`{row['key'][:SHORT]}`", row["decision"], row["status"], seconds, row.get("main", ""))
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)[:MAX_TAG]


def step_note(record: Mapping[str, Any]) -> str:
    lines = [f"**{record['stage']}** key `{record['key']}` generation {record['generation']}", ""]
    for port, items in record.get("inputs", {}).items():
        lines += [f"- {port}: {item['step']} `{item['key'][:SHORT]}`" for item in items]
    lines += ["", f"{record.get('files', 0)} files, {record.get('bytes', 0):,} bytes, {record.get('seconds', 0):.1f} s"]
    if main := main_metric(record.get("stats", {})):
        lines.append(f"main metric: {main}")
    return "\n".join(lines)[:MAX_TAG]


def main_metric(stats: Mapping[str, Any]) -> str:
    """The figure a stage calls its main one, ``cer/low 0.31``, or nothing."""
    name, value = stats.get("main_metric") or ("", None)
    return "" if value is None else f"{name} {value:.4g}" if isinstance(value, int | float) else f"{name} {value}"
