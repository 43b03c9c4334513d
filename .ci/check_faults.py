"""Is the map of faults true?  All rows are there, and so are the files and the words that they name."""

import pathlib
import re
import sys

MAP = pathlib.Path("test/faults/FAULTS.md")
ROWS = 55


def squeeze(text: str) -> str:
    """Words that were broken into lines, or into strings and comments, are the same words."""
    return re.sub(r"[\s#]+|\n-- ", " ", text)


def proof_problems(number: int, proof: str) -> list[str]:
    """What the last column of a row names, and what is not there."""
    found = []
    proofs = re.findall(r'`([^`]+)`(?: "([^"]+)")?', proof)
    if not proofs:
        found.append(f"row {number} has no proof")
    for name, words in proofs:
        path = pathlib.Path(name)
        if not path.is_file():
            found.append(f"row {number}: no such file: {name}")
        elif words and squeeze(words) not in squeeze(path.read_text(encoding="utf-8")):
            found.append(f'row {number}: {name} has no "{words}"')
        elif path.suffix in (".sql", ".spec") and path.parent.name in ("sql", "specs"):
            if not pathlib.Path(f"expected/{path.stem}.out").is_file():
                found.append(f"row {number}: {name} has no answer in expected/")
    return found


def problems() -> list[str]:
    """What is missing, one sentence each."""
    rows = re.findall(r"^\| (\d+) \|(.*)\|$", MAP.read_text(encoding="utf-8"), re.MULTILINE)
    numbers = [int(number) for number, _ in rows]
    found = [] if numbers == list(range(1, ROWS + 1)) else [f"{MAP}: the rows are not 1 to {ROWS}: {numbers}"]
    for number, cells in rows:
        columns = cells.split(" | ")
        if len(columns) != 3 or not all(column.strip() for column in columns):
            found.append(f"row {number} has not three cells with text")
        found += proof_problems(int(number), columns[-1])
    return found


if __name__ == "__main__":
    sys.exit("\n".join(problems()) or 0)
