"""Can an install script be made to run what somebody else has planted?

CREATE EXTENSION runs it as a superuser, with the schema of the extension in the
search path.  So every function and operator in it is qualified, nothing that is
there already is taken over, and nothing runs with the rights of its owner.
usage: check_sql.py SCRIPT...; prints one line for each finding.
"""

import pathlib
import re
import sys

# Comments, strings, dollar quotes, quoted names, words, numbers, arrows, operators, the rest.
TOKEN = re.compile(
    r"""(?P<comment>--[^\n]*|/\*.*?\*/)|(?P<dollar>\$\w*\$)|(?P<string>[eE]?'(?:[^'\\]|''|\\.)*')
    |(?P<name>"(?:[^"]|"")*")|(?P<word>[A-Za-z_@]\w*@?)|(?P<number>\d[\d.]*)
    |(?P<operator>[-+*/<>=~!@#%^&|`?]+)|(?P<cast>::)|(?P<other>\S)""",
    re.VERBOSE | re.DOTALL,
)

# An upgrade may replace what the version before has created.
FORBIDDEN_WHEN_NEW = [(r"OR REPLACE", "OR REPLACE takes over what is there")]
FORBIDDEN = [
    (r"IF NOT EXISTS(?! \()", "IF NOT EXISTS takes over what is there"),
    (r"SECURITY DEFINER", "SECURITY DEFINER runs with the rights of its owner"),
    (r"CASCADE", "CASCADE drops what is not ours"),
    (r"EXECUTE FORMAT", "EXECUTE runs text"),
    (r"@", "@…@ puts a name of others into the script"),
]
# They look for an operator by name, and cannot be told where.
OPERATOR_WORDS = {"BETWEEN", "ILIKE", "IN", "LIKE", "NATURAL", "NULLIF", "SIMILAR", "USING"}
# Followed by a parenthesis, but no functions that are looked up.
SYNTAX = set(
    "ALL AND ANY ARRAY AS ATOMIC BY CASE CAST CHECK COALESCE ELSE EXISTS EXTRACT FILTER FROM GREATEST JOIN KEY LATERAL"
    " LEAST NOT ON OPERATOR OR ORDER OVER ROW SELECT SETOF SOME TABLE THEN UNION VALUES WHEN WHERE WITH".split()
)


def tokens(script: str) -> list[tuple[str, str, int]]:
    """Kind, text and line of all but comments and psql's commands."""
    found = []
    text = re.sub(r"^\\.*$", "", script, flags=re.MULTILINE)
    for match in TOKEN.finditer(text):
        kind = str(match.lastgroup)
        if kind not in ("comment", "dollar"):
            found.append((kind, match.group(), text.count("\n", 0, match.start()) + 1))
    return found


def statements(script: str) -> list[list[tuple[str, str, int]]]:
    """The script cut at its semicolons; a body of several statements is cut, too."""
    parts: list[list[tuple[str, str, int]]] = [[]]
    for token in tokens(script):
        if token[1] == ";":
            parts.append([])
        else:
            parts[-1].append(token)
    return parts


def is_plain(words: list[str], i: int) -> bool:
    """Is the operator at i part of the syntax, and looked up nowhere?"""
    before, after = words[i - 1], words[i + 1] if i + 1 < len(words) else ""
    if words[i] == "*":
        return before in ("SELECT", ".", "(") and after in ("FROM", ")", ",", "")
    if words[i] == "=":  # SET, :=, storage parameters, options of RAISE
        return words[i - 2] == "SET" or before in (":", "FILLFACTOR", "ERRCODE", "DETAIL", "HINT")
    if words[i] in ("-", "+"):  # a sign
        return before in ("(", ",", "DEFAULT")
    return words[i] == "=>"


def expression_problems(statement: list[tuple[str, str, int]]) -> list[tuple[int, str]]:
    """Operators and functions that are looked up in the search path."""
    found = []
    words = [text.upper() if kind == "word" else text for kind, text, _ in statement]
    for i, (kind, text, line) in enumerate(statement):
        before = words[i - 1] if i else ""
        after = words[i + 1] if i + 1 < len(words) else ""
        if kind == "operator" and not (before == "." and "OPERATOR" in words[max(0, i - 4) : i]):
            if not is_plain(words, i):
                found.append((line, f"operator {text} is not qualified"))
        elif kind == "word" and words[i] in OPERATOR_WORDS:
            # IN (SELECT) and USING ERRCODE are told apart by what is around them.
            if not (words[i] == "USING" and after in ("ERRCODE", "BTREE", "GIN")):
                found.append((line, f"{text} looks for an operator"))
        elif kind == "word" and after == "(" and before not in (".", "FUNCTION", "PROCEDURE", "VIEW", "TABLE", "AS"):
            if words[i] not in SYNTAX and not text.startswith("cs_") and len(text) > 1:
                found.append((line, f"function {text} is not qualified"))
    return found


def routine_problems(script: str) -> list[tuple[int, str]]:
    """Bodies that are looked up when they are called need a search path of their own."""
    found = []
    for match in re.finditer(r"CREATE (?:FUNCTION|PROCEDURE) (\w+)(.*?)(?:^END;|;$)", script, re.DOTALL | re.MULTILINE):
        text = match.group(2)
        language = re.search(r"LANGUAGE (\w+)", text)
        fixed = language and (language.group(1) in ("C", "internal") or "BEGIN ATOMIC" in text)
        if not fixed and "SET search_path = pg_catalog, pg_temp" not in text:
            found.append((script.count("\n", 0, match.start()) + 1, f"{match.group(1)} has no fixed search_path"))
    return found


def problems(script: str, is_upgrade: bool) -> list[tuple[int, str]]:
    """Line and finding."""
    forbidden = FORBIDDEN if is_upgrade else FORBIDDEN + FORBIDDEN_WHEN_NEW
    found = routine_problems(script)
    for statement in statements(script):
        words = " ".join(text.upper() for _, text, _ in statement)
        line = statement[0][2] if statement else 0
        found += [(line, why) for what, why in forbidden if re.search(what, words)]
        if not re.match(r"(COMMENT|GRANT|REVOKE)\b", words):
            found += expression_problems(statement)
    return sorted(found)


def main() -> int:
    """Prints what was found."""
    count = 0
    for name in sys.argv[1:]:
        script = pathlib.Path(name).read_text(encoding="utf-8")
        for line, text in problems(script, is_upgrade=name.count("--") > 1):
            print(f"{name}:{line}: {text}")
            count += 1
    return 1 if count or len(sys.argv) < 2 else 0


if __name__ == "__main__":
    sys.exit(main())
