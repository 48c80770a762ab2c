"""scan.py ROOT: the source rules that no compiler checks. One line for each fault; exit status 1 if there are any.

Arrows between folders point down: app -> {fs, pipeline, watcher, cluster} -> tier -> common; the four never include each
other. Includes of ours are root-relative and name a file that exists. Heavy headers stay out of our own headers. No
unfinished business is marked in the tree."""
import os
import re
import sys

LEVEL = {"app": 3, "fs": 2, "pipeline": 2, "watcher": 2, "cluster": 2, "tier": 1, "common": 0}
FREE = ("tests", "bench")  # may include every folder of ours, and are included by none
HEAVY = re.compile(r"<(CLI/|nlohmann/(?!json_fwd)|spdlog/(?!fwd)|toml\+\+/|toml\.hpp|fmt/)")
INCLUDE = re.compile(r'^\s*#\s*include\s*(["<])([^">]+)[">]')
MARKS = re.compile(r"\b(" + "TO" + "DO|FIX" + "ME)\\b")  # in two parts: this file is scanned too
TEXT = (".h", ".cpp", ".c", ".py", ".sh", ".md", ".cmake", ".txt", ".toml", ".conf", ".service", ".sql", "")
SKIP_FOLDER = re.compile(r"^(\.git|\.cache|build.*|__pycache__)$")


def files(root):
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(name for name in folders if not SKIP_FOLDER.match(name))
        for name in sorted(names):
            if os.path.splitext(name)[1] in TEXT:
                yield os.path.relpath(os.path.join(folder, name), root)


def include_faults(root, path, kind, target):
    if HEAVY.match("<" + target) and path.endswith(".h"):
        yield "heavy header <%s> in a header (include it in the .cpp file)" % target
    top, into = path.split("/")[0], target.split("/")[0]
    if kind == "<":
        if into in LEVEL and os.path.exists(os.path.join(root, target)):
            yield 'a header of ours in <>: use "%s"' % target
        return
    if ".." in target.split("/"):
        yield '"%s" climbs: includes are relative to the root' % target
    elif not os.path.exists(os.path.join(root, target)):
        beside = os.path.join(root, os.path.dirname(path), target)
        if top not in FREE or not os.path.exists(beside):  # a test's helper may stand beside it
            yield '"%s" is no file below the root' % target
    elif top in LEVEL and into in FREE:
        yield '"%s": the program must not need %s/' % (target, into)
    elif top in LEVEL and into not in LEVEL:
        yield '"%s" is in no folder of the layers' % target
    elif top in LEVEL and into != top and LEVEL[into] >= LEVEL[top]:
        way = "sideways" if LEVEL[into] == LEVEL[top] else "up"
        yield '"%s": the arrow %s -> %s points %s' % (target, top, into, way)


def scan(root):
    for path in files(root):
        with open(os.path.join(root, path), encoding="utf-8", errors="replace") as file:
            for number, line in enumerate(file, 1):
                found = INCLUDE.match(line) if path.endswith((".h", ".cpp", ".c")) else None
                faults = list(include_faults(root, path, *found.groups())) if found else []
                if MARKS.search(line):
                    faults.append("unfinished: %s" % line.strip())
                for fault in faults:
                    yield "%s:%d: %s" % (path, number, fault)


def main():
    if len(sys.argv) != 2 or not os.path.isdir(os.path.join(sys.argv[1], "common")):
        print("usage: scan.py ROOT (the source tree)", file=sys.stderr)
        return 2
    faults = list(scan(sys.argv[1]))
    for fault in faults:
        print(fault)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
