"""The releases that the end-to-end tests drop: made-up titles, each file with its bytes and its place in the library."""
import hashlib
import os
import random

ADJECTIVES = ["Quiet", "Northern", "Broken", "Golden", "Distant", "Hollow", "Crimson", "Winter", "Silent", "Paper"]
NOUNS = ["Harbor", "Lantern", "Orchard", "Meridian", "Sparrow", "Causeway", "Foundry", "Archive", "Tide", "Garden"]
MIB = 1 << 20


class Release:
    """What is dropped at once: a file or a folder. files: {name below Incoming: (bytes, place in the library)}."""

    def __init__(self, name, files):
        self.name, self.files = name, files

    def write(self, folder, mtime):
        """Makes it below `folder`; returns its path there."""
        for name, (data, _) in self.files.items():
            path = os.path.join(folder, name)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "wb") as file:
                file.write(data)
            os.utime(path, ns=(mtime, mtime))
        return os.path.join(folder, self.name)


class Maker:
    """Makes releases from a seed; equal seeds make equal releases."""

    def __init__(self, seed, scale=1.0):
        self.random, self.scale, self._titles = random.Random(seed), scale, 0

    def bytes(self, mib):
        return self.random.randbytes(max(1, int(mib * self.scale * MIB) + self.random.randrange(5000)))

    def title(self):
        first, second = divmod(self._titles, len(NOUNS))
        self._titles += 1
        return "The %s %s" % (ADJECTIVES[first % len(ADJECTIVES)], NOUNS[second])

    def film(self, mib=14, folder=False, subtitle=False):
        title, year = self.title(), 1960 + self._titles
        base = "%s.%d.1080p.BluRay.x264-GRP" % (title.replace(" ", "."), year)
        place = "Movies/%s (%d)/%s (%d)" % (title, year, title, year)
        prefix = base + "/" if folder or subtitle else ""
        files = {prefix + base + ".mkv": (self.bytes(mib), place + ".mkv")}
        if subtitle:
            text = "1\n00:00:01,000 --> 00:00:02,000\n%s\n" % title
            files[prefix + base + ".en.srt"] = (text.encode(), place + ".en.srt")
        return Release(base if prefix else base + ".mkv", files)

    def _episode(self, show, season, episode, tail):
        name = "%s.S%02dE%02d.%s" % (show.replace(" ", "."), season, episode, tail)
        place = "Shows/%s/Season %02d/%s - S%02dE%02d.mkv" % (show, season, show, season, episode)
        return name, place

    def episode(self, show, season, episode, mib=10):
        name, place = self._episode(show, season, episode, "720p.WEB.H264-ABC.mkv")
        return Release(name, {name: (self.bytes(mib), place)})

    def season(self, show, season, episodes, mib=12):
        folder = "%s.S%02d.1080p.WEB.H264-XYZ" % (show.replace(" ", "."), season)
        files = {}
        for episode in range(1, episodes + 1):
            name, place = self._episode(show, season, episode, "1080p.WEB.H264-XYZ.mkv")
            files[folder + "/" + name] = (self.bytes(mib), place)
        return Release(folder, files)

    def unsortable(self, mib=6):
        name = self.random.randbytes(16).hex() + ".mkv"
        return Release(name, {name: (self.bytes(mib), "Unsorted/" + name)})


def whole_set(seed):
    """120 releases, about 1.5 GiB: films, episodes, seasons, unsortable names, subtitles."""
    make = Maker(seed)
    out = [make.film() for _ in range(50)]
    out += [make.film(folder=True) for _ in range(10)]
    out += [make.film(subtitle=True) for _ in range(12)]
    out += [make.episode("Harbor Watch", 1 + n // 12, 1 + n % 12) for n in range(36)]
    out += [make.season("Lantern Street", 1, 8), make.season("Lantern Street", 2, 6)]
    out += [make.unsortable() for _ in range(10)]
    make.random.shuffle(out)
    return out


def sha1(data):
    return hashlib.sha1(data).hexdigest()
