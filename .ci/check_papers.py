"""Do the control file, META.json, CHANGELOG.md, debian/ and the files they name agree?"""

import json
import pathlib
import re
import sys

NAME = "concurrency_safe"


def control_value(key: str) -> str:
    """The value of a setting in the control file."""
    text = pathlib.Path(f"{NAME}.control").read_text(encoding="utf-8")
    match = re.search(rf"^{key}\s*=\s*'([^']*)'", text, re.MULTILINE)
    return match.group(1) if match else ""


def released(version: str) -> str:
    """META.json wants three numbers: 1.0 of the control file is 1.0.0 there."""
    return version + ".0" * (2 - version.count("."))


def problems() -> list[str]:
    """What does not agree, one sentence each."""
    found = []
    meta = json.loads(pathlib.Path("META.json").read_text(encoding="utf-8"))
    version = control_value("default_version")
    wanted = released(version)
    # A release that leaves the SQL as it is has a third number of its own.
    release = str(meta.get("version"))

    if meta.get("name") != NAME:
        found.append(f"META.json: name is {meta.get('name')!r}, not {NAME!r}")
    if release.split(".")[:2] != wanted.split(".")[:2]:
        found.append(f"META.json: version is {release!r}, not {wanted!r}")
    if not meta.get("provides"):
        found.append("META.json: provides nothing")
    for name, provided in meta.get("provides", {}).items():
        if provided.get("version") != wanted:
            found.append(f"META.json: {name} has version {provided.get('version')!r}")
        for key in ("file", "docfile"):
            path = provided.get(key)
            if (path or key == "file") and not pathlib.Path(path or "?").is_file():
                found.append(f"META.json: {name}: no such {key}: {path}")
    if not pathlib.Path(f"sql/{NAME}--{version}.sql").is_file():
        found.append(f"no install script for version {version}")

    changes = pathlib.Path("CHANGELOG.md").read_text(encoding="utf-8")
    headings = re.findall(r"^#+\s*\[?v?(\d+\.\d+(?:\.\d+)?)", changes, re.MULTILINE)
    if not headings:
        found.append("CHANGELOG.md: no version among its headings")
    elif released(headings[0]) != release:
        found.append(f"CHANGELOG.md: newest version is {headings[0]}, not {release}")

    package = pathlib.Path("debian/changelog").read_text(encoding="utf-8")
    newest = re.match(r"\S+ \((.+)-[^-]+\)", package)
    if not newest or newest.group(1) != release:
        found.append(f"debian/changelog: newest version is not {release}")
    return found


if __name__ == "__main__":
    sys.exit("\n".join(problems()) or 0)
