#!/usr/bin/env python3
"""What a catalogue of a million vault-only files costs: time until it is mounted and first listed, and memory.

  bench/million.py --program BUILD/app/mediafs --work /var/tmp/bench [--folders 20000] [--files 50]

As root, with a GiB free in --work. Fills a catalogue (the rows that a vault's listing makes), starts mediafs, and prints how
long it took to be mounted and to answer the first listing, what memory it holds then, after a walk that looks at every
file (twice: cold and warm), and once the kernel has dropped what it knew. Needs Python 3.9; changes nothing outside --work.
"""
import os
import shutil
import sqlite3
import time

from mounts import Mediafs, arguments, drop_caches, new_folder, wait_for

OWN_INODES = 1 << 62
OLD_NS = 1_700_000_000 * 10**9
LIMITS = {"mounted and listed, s": 1, "resident at first, MiB": 64, "resident after the walk, MiB": 400}


def fill(database, folders, files):
    db = sqlite3.connect(database)
    now = time.time_ns()
    number = db.execute("SELECT max(id) FROM node").fetchone()[0]

    def add(parent, name, kind, size):
        nonlocal number
        number += 1
        db.execute("INSERT INTO node (id, parent, name, kind, generation, size, mtime, mode, inode) VALUES "
                   "(?, ?, ?, ?, 1, ?, ?, ?, ?)",
                   (number, parent, name.encode(), kind, size, OLD_NS, 0o644 if kind == 2 else 0o755, OWN_INODES + number))
        return number
    shelf = 0
    for folder in range(folders):
        if folder % 100 == 0:
            shelf_name = "Shelf %04d" % (folder // 100)
            shelf = add(1, shelf_name, 1, 0)
        folder_name = "Series %06d (2011)" % folder
        parent = add(shelf, folder_name, 1, 0)
        for n in range(files):
            name = "Series %06d (2011) - S01E%02d - Episode.mkv" % (folder, n)
            key = "%s/%s/%s" % (shelf_name, folder_name, name)
            db.execute("INSERT INTO copy (node, branch, generation, size, mtime, key, etag, since) VALUES "
                       "(?, 2, 1, ?, ?, ?, '', ?)", (add(parent, name, 2, 1000 + n), 1000 + n, OLD_NS, key.encode(), now))
    db.execute("INSERT OR REPLACE INTO setting (name, value) VALUES ('vault.listed', 'yes')")
    db.commit()
    db.close()


def walk(mount):
    found, folders = 0, [mount]
    while folders:
        with os.scandir(folders.pop()) as entries:
            for entry in entries:
                size = entry.stat(follow_symlinks=False).st_size
                if entry.is_dir(follow_symlinks=False):
                    folders.append(entry.path)
                else:
                    found += 1
                    assert size >= 1000, entry.path
    return found


def measure(m, a):
    figures = {}
    began = time.perf_counter()
    m.start()
    assert len(os.listdir(m.mount)) >= a.folders // 100
    figures["mounted and listed, s"] = time.perf_counter() - began
    time.sleep(5)
    figures["resident at first, MiB"] = m.resident_mib()
    for turn in ("cold", "warm"):
        cpu, began = m.cpu_seconds(), time.perf_counter()
        found = walk(m.mount)
        assert found == a.folders * a.files, found
        figures["walk %s, s" % turn] = time.perf_counter() - began
        figures["walk %s, processor s of mediafs" % turn] = m.cpu_seconds() - cpu
        figures["resident after the walk, MiB"] = m.resident_mib()
    drop_caches(2)
    time.sleep(5)
    figures["resident once forgotten, MiB"] = m.resident_mib()
    return figures


def main():
    parser = arguments(__doc__)
    parser.add_argument("--folders", type=int, default=20_000)
    parser.add_argument("--files", type=int, default=50)
    a = parser.parse_args()
    base = new_folder(a.work, "mediafs-million")
    for name in ("disk", "vault"):
        os.makedirs(base + "/" + name)
    m = Mediafs(a.program, base + "/mediafs.toml", mount={"path": base + "/mount"},
                local={"path": base + "/disk", "state": base + "/state", "reserve": "1G", "evict_below_free": "1G",
                       "evict_until_free": "2G"},
                vault={"url": "file://%s/vault" % base})
    try:
        m.start()  # makes the catalogue and marks the vault as its own
        wait_for(lambda: any(files for _, _, files in os.walk(base + "/vault")), 30, "the vault's marker")
        wait_for(lambda: m.setting("vault.listed") == "yes", 30, "the vault's listing")
        m.stop()
        fill(base + "/state/catalogue.db", a.folders, a.files)
        figures = measure(m, a)
    finally:
        m.stop()
    for name, figure in figures.items():
        print("%-36s %8.2f%s" % (name, figure, "   (goal: %d)" % LIMITS[name] if name in LIMITS else ""))
    shutil.rmtree(base)


if __name__ == "__main__":
    main()
