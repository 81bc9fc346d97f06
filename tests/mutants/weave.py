#!/usr/bin/python3
"""weave.py - the core with all of its mutants in it, of which one at a time may be switched on.

usage: weave.py SOURCE OUTPUT     SOURCE is a file below daemon/
       weave.py --list            number, name and place of each mutant

A mutant is a small lie about one rule, written down in mutants.toml as the text that stands in the
source and what stands there instead. Each text has to be found exactly once, so the table cannot go
stale unnoticed. Expressions become a choice, statements an if; the choice is made when the program
starts, by the environment variable RAFT_MUTANT (a number, 0: none). The product's own sources know
nothing of this.
"""
import pathlib
import sys
import tomllib

HERE = pathlib.Path(__file__).resolve().parent
DAEMON = HERE.parents[1] / "daemon"


def mutants():
    """All of them, each with its number, from 1."""
    rows = tomllib.loads((HERE / "mutants.toml").read_text())["mutant"]
    names = [row["name"] for row in rows]
    if len(set(names)) != len(names):
        sys.exit("mutants.toml: two mutants have one name")
    return [{**row, "number": i} for i, row in enumerate(rows, 1)]


def place(text, row):
    """Where the mutant's text stands: (begin, end)."""
    before, _, rest = row["old"].strip("\n").rpartition("«")
    old, _, after = rest.partition("»")
    found = text.count(before + old + after)
    if found != 1:
        sys.exit(f"mutants.toml: {row['name']}: its text stands {found} times in "
                 f"{row['file']}, not once:\n{before + old + after}")
    begin = text.index(before + old + after) + len(before)
    return begin, begin + len(old)


def choice(old, rows):
    """The C text that is `old` unless one of these mutants is switched on."""
    if rows[0].get("statement"):
        out = ""
        for row in rows:
            out += f"if (raft_mutant == {row['number']}) {{ {row['new']} }} else "
        return f"{out}{{ {old} }}"
    out = ""
    for row in rows:
        out += f"raft_mutant == {row['number']} ? ({row['new']}) : "
    return f"({out}({old}))"


def weave(source, output):
    path = pathlib.Path(source).resolve()
    name = str(path.relative_to(DAEMON))
    text = path.read_text()
    places = {}
    for row in mutants():
        if row["file"] == name:
            places.setdefault(place(text, row), []).append(row)
    end_before = 0
    out = f'extern int raft_mutant;\n#line 1 "{path}"\n'
    for (begin, end), rows in sorted(places.items()):
        if begin < end_before:
            sys.exit(f"mutants.toml: {rows[0]['name']}: its text overlaps with another mutant's")
        out += text[end_before:begin] + choice(text[begin:end], rows)
        end_before = end
    pathlib.Path(output).write_text(out + text[end_before:])


def main():
    if sys.argv[1:] == ["--list"]:
        for row in mutants():
            print(row["number"], row["name"], row["file"])
    elif len(sys.argv) == 3:
        weave(*sys.argv[1:])
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    main()
