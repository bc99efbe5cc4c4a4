"""Writes a scenario as YAML that reads well: what fits on a line stays on it."""

import json

import yaml

WIDTH = 110
PLAIN = yaml.CSafeLoader


def scalar(value) -> str:
    if isinstance(value, str):
        if "\n" in value or not value:
            return json.dumps(value, ensure_ascii=False)
        # Without quotes where YAML reads the same text back, also inside brackets.
        special = any(mark in value for mark in ",[]{}#&*!|>'\"%@`") or ": " in value or value != value.strip()
        if special or value.endswith(":") or yaml.load(value, PLAIN) != value:
            return json.dumps(value, ensure_ascii=False)
        return value
    text = json.dumps(value)
    if isinstance(value, float) and "e" in text:
        # YAML wants a point and a sign.
        digits, exponent = text.split("e")
        digits += "" if "." in digits else ".0"
        text = f"{digits}e{exponent if exponent[0] in '+-' else '+' + exponent}"
    return text


def flow(value) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{scalar(key)}: {flow(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(flow(item) for item in value) + "]"
    return scalar(value)


def block(value, indent: int) -> list[str]:
    """Lines of a value that did not fit on one; `indent` is where they begin."""
    pad = " " * indent
    lines = []
    if isinstance(value, dict):
        for key, item in value.items():
            line = f"{pad}{scalar(key)}: {flow(item)}"
            if len(line) <= WIDTH or not isinstance(item, (dict, list)) or not item:
                lines.append(line)
            else:
                lines.append(f"{pad}{scalar(key)}:")
                lines += block(item, indent + 2)
    else:
        for item in value:
            line = f"{pad}- {flow(item)}"
            if len(line) <= WIDTH or not isinstance(item, (dict, list)) or not item:
                lines.append(line)
            else:
                first, *rest = block(item, indent + 2)
                lines.append(f"{pad}- {first.lstrip()}")
                lines += rest
    return lines


def written(scenario: dict) -> str:
    """The whole file. A step is always in block style, so that steps are seen at a glance."""
    lines = [f"{key}: {flow(value)}" for key, value in scenario.items() if key != "steps"]
    lines.append("steps:")
    for step in scenario["steps"]:
        first, *rest = block(step, 4)
        lines.append(f"  - {first.lstrip()}")
        lines += rest
    text = "\n".join(lines) + "\n"
    if yaml.load(text, PLAIN) != scenario:
        raise ValueError(f"the file would not read back as it was: {scenario['what']}")
    return text
