"""Is a zip a distribution that PGXN takes?  usage: check_dist.py FILE.zip

META.json is held against the PGXN meta-spec 1.0.0, and the files that it names
have to be in the zip.  One sentence for each problem; the last line is the
number of files.
"""

import json
import pathlib
import re
import sys
import zipfile
from collections.abc import Callable

REQUIRED = ("abstract", "license", "maintainer", "meta-spec", "name", "provides", "version")
OPTIONAL = ("description", "generated_by", "no_index", "prereqs", "release_status", "resources", "tags")
LICENSES = set(
    "agpl_3 apache_1_1 apache_2_0 artistic_1 artistic_2 bsd freebsd gfdl_1_2 gfdl_1_3 gpl_1 gpl_2"
    " gpl_3 lgpl_2_1 lgpl_3_0 mit mozilla_1_0 mozilla_1_1 openssl perl_5 postgresql qpl_1_0 ssleay"
    " sun zlib open_source restricted unrestricted unknown".split()
)
PHASES = ("configure", "build", "test", "runtime", "develop")
RELATIONS = ("requires", "recommends", "suggests", "conflicts")

NUMBER = r"(?:0|[1-9]\d*)"
VERSION = re.compile(rf"{NUMBER}\.{NUMBER}\.{NUMBER}(?:-?[A-Za-z][0-9A-Za-z-]*)?")
RANGE = re.compile(rf"0|(?:(?:==|!=|<=?|>=?)?\s*{VERSION.pattern})(?:\s*,\s*(?:==|!=|<=?|>=?)\s*{VERSION.pattern})*")
TERM = re.compile(r"[^\s/\\\x00-\x1f]{2,}")

# What a distribution must not carry: it is for those who work on the project.
UNWANTED = re.compile(r"\.(?:ci|git.*|clang-.*|editorconfig)(?:/|$)|debian/|.*\.(?:o|bc|so|zip)$")


def is_text(value: object) -> bool:
    """A string with something in it."""
    return isinstance(value, str) and value.strip() != ""


def is_version(value: object) -> bool:
    """A semantic version, three numbers and perhaps a suffix."""
    return isinstance(value, str) and VERSION.fullmatch(value) is not None


def is_range(value: object) -> bool:
    """A version, several with comparisons, or 0 for any."""
    return value == 0 or (isinstance(value, str) and RANGE.fullmatch(value) is not None)


def is_term(value: object) -> bool:
    """What names a distribution or an extension."""
    return isinstance(value, str) and TERM.fullmatch(value) is not None


def is_maintainer(value: object) -> bool:
    """One or several."""
    return is_text(value) or (isinstance(value, list) and bool(value) and all(map(is_text, value)))


def is_license(value: object) -> bool:
    """A known word, several, or names with addresses."""
    if isinstance(value, dict):
        return bool(value) and all(is_text(k) and is_text(v) for k, v in value.items())
    words = value if isinstance(value, list) else [value]
    return bool(words) and all(isinstance(word, str) and word in LICENSES for word in words)


def is_provides(value: object) -> bool:
    """What extensions there are, each with a file and a version."""
    return isinstance(value, dict) and bool(value) and all(
        is_term(name)
        and isinstance(one, dict)
        and is_text(one.get("file"))
        and is_version(one.get("version"))
        and all(is_text(one[key]) for key in ("abstract", "docfile") if key in one)
        and all(key in ("file", "version", "abstract", "docfile") or key.lower().startswith("x_") for key in one)
        for name, one in value.items()
    )


def is_prereqs(value: object) -> bool:
    """Phase, relation, name of the other, range of its versions."""
    return isinstance(value, dict) and all(
        phase in PHASES
        and isinstance(relations, dict)
        and all(
            relation in RELATIONS
            and isinstance(others, dict)
            and all(is_term(other) and is_range(versions) for other, versions in others.items())
            for relation, others in relations.items()
        )
        for phase, relations in value.items()
    )


def is_tags(value: object) -> bool:
    """Words of at most 255 characters."""
    return isinstance(value, list) and bool(value) and all(
        isinstance(tag, str) and re.fullmatch(r"[^/\\\x00-\x1f]{1,255}", tag) is not None for tag in value
    )


def is_meta_spec(value: object) -> bool:
    """Which specification this is."""
    return isinstance(value, dict) and value.get("version") == "1.0.0" and set(value) <= {"version", "url"}


CHECKS: dict[str, Callable[[object], bool]] = {
    "abstract": is_text,
    "description": is_text,
    "generated_by": is_text,
    "license": is_license,
    "maintainer": is_maintainer,
    "meta-spec": is_meta_spec,
    "name": is_term,
    "prereqs": is_prereqs,
    "provides": is_provides,
    "release_status": lambda value: value in ("stable", "testing", "unstable"),
    "tags": is_tags,
    "version": is_version,
}


def meta_problems(meta: object) -> list[str]:
    """What the specification would not take."""
    if not isinstance(meta, dict):
        return ["META.json is no object"]
    found = [f"META.json: no {key}" for key in REQUIRED if key not in meta]
    found += [
        f"META.json: {key} is no key of the specification"
        for key in meta
        if key not in REQUIRED + OPTIONAL and not key.lower().startswith("x_")
    ]
    found += [
        f"META.json: {key} is not as it should be: {meta[key]!r}"
        for key, check in CHECKS.items()
        if key in meta and not check(meta[key])
    ]
    return found


def problems(path: pathlib.Path) -> tuple[list[str], int]:
    """What is wrong with the zip, and how many files it has."""
    with zipfile.ZipFile(path) as archive:
        names = [name for name in archive.namelist() if not name.endswith("/")]
        prefix = path.stem + "/"
        if prefix + "META.json" not in names:
            return [f"no {prefix}META.json"], len(names)
        meta = json.loads(archive.read(prefix + "META.json"))

    found = meta_problems(meta)
    if found:
        return found, len(names)
    if path.name != f"{meta['name']}-{meta['version']}.zip":
        found.append(f"{path.name} has the name of another distribution or version")
    found += [f"{name} is not below {prefix}" for name in names if not name.startswith(prefix)]
    inside = {name.removeprefix(prefix) for name in names}
    found += [f"{name} does not belong there" for name in sorted(inside) if UNWANTED.match(name)]
    wanted = {one[key] for one in meta["provides"].values() for key in ("file", "docfile") if key in one}
    wanted |= {"Makefile", "LICENSE", "README.md", "CHANGELOG.md"}
    wanted |= {f"{extension}.control" for extension in meta["provides"]}
    found += [f"{name} is missing" for name in sorted(wanted - inside)]
    return found, len(names)


def main() -> int:
    """Prints what was found."""
    found, files = problems(pathlib.Path(sys.argv[1]))
    for problem in found:
        print(problem)
    print(files)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
