// Organize: a file from Incoming gets its name and place in the library by one rename, through the tree.
#include <fcntl.h>
#include <sys/stat.h>

#include <memory>

#include "common/crash.h"
#include "common/log.h"
#include "common/path.h"
#include "common/writers.h"
#include "pipeline/naming/companion.h"
#include "pipeline/naming/layout.h"
#include "pipeline/naming/parse.h"
#include "pipeline/stages.h"

namespace mediafs::pipeline {

namespace {

constexpr int kMostVariants = 1000;
constexpr int kVariantsLookedAt = 20;
constexpr std::size_t kLongestName = 240;  // leaves room for a sidecar's
constexpr std::size_t kLongestExtension = 32;

std::string_view extension_of(std::string_view name) {
  const auto dot = name.rfind('.');
  return dot == std::string_view::npos || dot == 0 ? std::string_view{} : name.substr(dot + 1);
}

// "a/b.mkv" -> "a/b (2).mkv"; the name is shortened where it would be too long.
std::string variant(const std::string& path, int n) {
  if (n < 2) return path;
  const std::string name(base_name(path));
  std::string_view ext = extension_of(name);
  if (ext.size() > kLongestExtension) ext = {};  // no extension, but a name with a dot in it
  std::string stem = ext.empty() ? name : name.substr(0, name.size() - ext.size() - 1);
  const std::string tail = " (" + std::to_string(n) + ")" + (ext.empty() ? "" : "." + std::string(ext));
  const std::size_t room = kLongestName - tail.size();
  if (stem.size() > room) {
    std::size_t cut = room;
    while (cut > 0 && (static_cast<unsigned char>(stem[cut]) & 0xC0U) == 0x80U) cut--;
    stem.resize(cut);
  }
  return join_path(parent_path(path), stem + tail);
}

// A companion's name without its extension and its subtitle tags: the name of the video that it belongs to.
std::string video_stem(std::string_view name) {
  std::string stem(name.substr(0, name.size() - extension_of(name).size()));
  if (stem.ends_with('.')) stem.pop_back();
  for (;;) {
    const auto dot = stem.rfind('.');
    if (dot == std::string::npos || dot == 0) return stem;
    const auto tags = naming::subtitle_tags(stem.substr(dot));
    if (tags.language.empty() && tags.flags.empty()) return stem;
    stem.resize(dot);
  }
}

// What has the name already. lost: nobody has its bytes any more; lost_equal: they are those that are to be filed.
enum class Found : std::uint8_t { equal, other, lost, lost_equal };

enum class Renamed : std::uint8_t { done, taken, source_gone };

class Organizer {
 public:
  Organizer(Tools& tools, const naming::Layout& layout, const tier::Job& job, std::stop_token stop)
      : tools_(tools), layout_(layout), job_(job), stop_(std::move(stop)) {}

  Status run() {
    auto st = tools_.tree.stat(job_.path);
    if (!st && st.err().code == ErrorCode::not_found) return gone();
    if (!st) return std::move(st).error();
    if (!S_ISREG(st->mode)) return moved_on();
    MEDIAFS_TRY(check_settled());
    size_bytes_ = st->size_bytes;
    MEDIAFS_ASSIGN(const std::string target, place());
    return file_under(target);
  }

 private:
  Error moved_on() const {
    return make_error(ErrorCode::changed, "organize " + printable(job_.path), "it is no longer in Incoming");
  }

  // The job was made for a file that had settled. What has taken its name since, or is written again, gets a job of its
  // own once it settles.
  Status check_settled() const {
    const Error superseded =
        make_error(ErrorCode::changed, "organize " + printable(job_.path), "it is being written again");
    const int root = tools_.branches.local_root.get();
    auto fd = open_at(root, job_.path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (!fd) return fd.err().code == ErrorCode::not_found ? moved_on() : Status{};  // the rename tells
    MEDIAFS_ASSIGN(const struct stat st, stat_fd(fd->get()));
    const bool same = job_.generation == 0 || static_cast<std::int64_t>(st.st_ino) == job_.generation;
    if (!same || !S_ISREG(st.st_mode) || has_writer(fd->get()) || is_unfinished(fd->get())) return superseded;
    return {};
  }

  // Killed after the rename, before its row was written: the hooks on `filed` come with the row, by this job.
  Error gone() const {
    const std::string aside = unsorted(base_name(job_.path));
    for (const std::string& first : {place().value_or(aside), aside}) {
      for (int n = 1; n <= kVariantsLookedAt; n++) {
        const std::string path = variant(first, n);
        const auto st = stat_at(tools_.branches.local_root.get(), path);
        if (!st) break;
        if (static_cast<std::int64_t>(st->st_ino) != job_.generation) continue;
        const auto row = tools_.branches.catalogue->find(path);
        if (row && *row) break;
        return make_error(ErrorCode::busy, "organize " + printable(job_.path),
                          "it is filed, and will be catalogued by the scan");
      }
    }
    return moved_on();
  }

  std::string unsorted(std::string_view name) const {
    return join_path(tools_.branches.config.organize.unsorted, name);
  }

  Result<std::string> place() const {
    const std::string& incoming = tools_.branches.config.incoming.path;
    const std::string_view below = std::string_view(job_.path).substr(incoming.size() + 1);
    const std::string_view name = base_name(job_.path);
    switch (naming::file_role(below)) {
      case naming::FileRole::video:
        return layout_.place(naming::parse(below), name, extension_of(name));
      case naming::FileRole::subtitle:
      case naming::FileRole::artwork:
      case naming::FileRole::nfo:
        return place_beside_video(below, name);
      case naming::FileRole::archive:
      case naming::FileRole::sample:
      case naming::FileRole::clutter:
      case naming::FileRole::other:
        return unsorted(name);
    }
    return unsorted(name);
  }

  Result<std::string> place_beside_video(std::string_view below, std::string_view name) const {
    const std::string video = video_stem(name) + ".mkv";
    const auto parsed = naming::parse(join_path(parent_path(below), video));
    if (!naming::Layout::is_filed(parsed)) return unsorted(name);
    MEDIAFS_ASSIGN(const std::string target, layout_.place(parsed, video, "mkv"));
    auto placed = naming::place_companion(target, name, video);
    if (!placed) return unsorted(name);
    return placed;
  }

  Result<Renamed> rename_to(const std::string& from, const std::string& to) const {
    MEDIAFS_TRY(check_path(to));
    if (!tools_.branches.visible(to)) {
      return make_error(ErrorCode::config, "organize " + printable(job_.path),
                        "its place " + printable(to) + " is not in the library (correct [organize])");
    }
    crash_point("organize.before_rename");
    Status renamed = tools_.tree.rename(from, to);
    if (renamed) return Renamed::done;
    if (renamed.err().code == ErrorCode::exists) return Renamed::taken;
    if (renamed.err().code == ErrorCode::not_found && !tools_.tree.stat(from)) return Renamed::source_gone;
    return std::move(renamed).error();
  }

  // To the first free one of `to`, "to (2)", "to (3)" …
  Result<std::string> rename_to_free(const std::string& from, const std::string& to, int first) const {
    for (int n = first; n < kMostVariants; n++) {
      const std::string path = variant(to, n);
      MEDIAFS_ASSIGN(const Renamed renamed, rename_to(from, path));
      if (renamed == Renamed::done) return path;
      if (renamed == Renamed::source_gone) return moved_on();
    }
    return make_error(ErrorCode::exists, "organize " + printable(from),
                      "a thousand files have the name " + printable(to) + " (clear some of them away)");
  }

  Status file_under(const std::string& target) {
    for (int turn = 0; turn < 3; turn++) {
      MEDIAFS_ASSIGN(const Renamed renamed, rename_to(job_.path, target));
      if (renamed == Renamed::done) {
        filed(target);
        return {};
      }
      if (renamed == Renamed::source_gone) return moved_on();
      MEDIAFS_ASSIGN(const bool again, resolve_conflict(target));
      if (!again) return {};
    }
    return make_error(ErrorCode::busy, "organize " + printable(job_.path),
                      "others want the same name just now");
  }

  // True: the name is free now, try again. False: the file went elsewhere.
  Result<bool> resolve_conflict(const std::string& target) {
    const auto before = stat_at(tools_.branches.local_root.get(), job_.path);
    MEDIAFS_ASSIGN(const Found found, look_at(target));
    const bool equal = found == Found::equal;
    const auto after = stat_at(tools_.branches.local_root.get(), job_.path);
    const bool still = before && after && tier::fingerprint_of(*before) == tier::fingerprint_of(*after);
    if ((equal || found == Found::lost_equal) && !still)
      return make_error(ErrorCode::busy, "organize " + printable(job_.path), "it changes just now");
    if (equal) {
      log::info("an equal file is in the library already; the new one is removed",
                {{"path", printable(target)}, {"job", job_.id}, {"from", printable(job_.path)}});
      crash_point("organize.before_unlink");
      Status removed = tools_.tree.unlink(job_.path);
      crash_point("organize.after_unlink");
      if (!removed && removed.err().code != ErrorCode::not_found) return std::move(removed).error();
      return false;
    }
    if (found == Found::lost_equal) return replace_lost(target);
    const std::string& policy = tools_.branches.config.organize.on_conflict;
    const bool in_unsorted = is_within(target, tools_.branches.config.organize.unsorted);
    if (policy == "keep_both" || in_unsorted) {
      MEDIAFS_ASSIGN(const std::string path, rename_to_free(job_.path, target, 2));
      filed(path);
      return false;
    }
    auto existing = tools_.tree.stat(target);
    if (!existing) return true;
    const bool better = found == Found::lost || policy == "replace" ||
                        (policy == "keep_better" && size_bytes_ > existing->size_bytes);
    if (better) {  // the one that gives way is kept, too: nothing is overwritten
      MEDIAFS_ASSIGN(const std::string aside, rename_to_free(target, unsorted(base_name(target)), 1));
      crash_point("organize.after_aside");
      log::info("gave way to a better file",
                {{"path", printable(aside)}, {"job", job_.id}, {"from", printable(target)}});
      return true;
    }
    MEDIAFS_ASSIGN(const std::string path, rename_to_free(job_.path, unsorted(base_name(job_.path)), 1));
    filed(path);
    return false;
  }

  // A release that was dropped twice. The catalogue's checksum spares reading what is in the library.
  Result<Found> look_at(const std::string& target) const {
    MEDIAFS_ASSIGN(const auto node, tools_.branches.catalogue->find(target));
    const bool lost = node && is_lost(*node);
    auto existing = tools_.tree.stat(target);
    if (!existing || !S_ISREG(existing->mode) || existing->size_bytes != size_bytes_)
      return lost ? Found::lost : Found::other;
    MEDIAFS_ASSIGN(const auto mine, tools_.tree.checksum(job_.path, stop_));
    if (lost) return mine == node->checksum ? Found::lost_equal : Found::lost;
    if (node && row_is_right(*node)) {
      if (mine != *node->checksum) return Found::other;
    } else {
      MEDIAFS_ASSIGN(const auto theirs, tools_.tree.checksum(target, stop_));
      if (mine != theirs) return Found::other;
    }
    return node && !node->local && node->vault ? ask_vault(*node) : Found::equal;
  }

  static bool is_lost(const tier::Node& node) { return !node.local && node.vault && node.vault->lost; }

  // Only the vault has the library's copy, as the row says. The new one may be the last by now: it goes only on the
  // store's own word.
  Result<Found> ask_vault(const tier::Node& node) const {
    const Status confirmed = tools_.mover.confirm_in_vault(node);
    if (confirmed) return Found::equal;
    if (confirmed.err().code == ErrorCode::corrupt) return Found::other;
    return make_error(ErrorCode::busy, "organize " + printable(job_.path), confirmed.err().message());
  }

  // Moved away by the tree, which knows what else has its name; then the row goes, for its bytes are back.
  Result<bool> replace_lost(const std::string& target) const {
    MEDIAFS_ASSIGN(const auto mine, tools_.tree.checksum(job_.path, stop_));
    MEDIAFS_ASSIGN(const std::string aside, rename_to_free(target, unsorted(base_name(target)), 1));
    MEDIAFS_ASSIGN(auto claim, tools_.branches.claims->claim(aside));
    MEDIAFS_ASSIGN(const auto node, tools_.branches.catalogue->find(aside));
    const bool same = node && is_lost(*node) && node->checksum == mine && node->size_bytes == size_bytes_;
    if (same && !stat_at(tools_.branches.local_root.get(), aside)) {
      MEDIAFS_TRY(tools_.branches.catalogue->remove(aside, tools_.branches.visible(aside)));
      log::info("a lost file is replaced by its own bytes", {{"path", printable(target)}, {"job", job_.id}});
    }
    return true;
  }

  // Whether the row's checksum is that of the bytes that are there now.
  bool row_is_right(const tier::Node& node) const {
    if (!node.checksum || node.size_bytes != size_bytes_) return false;
    if (!node.local) return node.in_vault();
    const auto st = stat_at(tools_.branches.local_root.get(), node.path);
    return st && tier::fingerprint_of(*st) == node.local->fingerprint;
  }

  void filed(const std::string& path) const {
    crash_point("organize.after_rename");
    log::info("filed", {{"path", printable(path)}, {"job", job_.id}, {"from", printable(job_.path)}});
  }

  Tools& tools_;
  const naming::Layout& layout_;
  const tier::Job& job_;
  const std::stop_token stop_;
  std::uint64_t size_bytes_ = 0;
};

}  // namespace

Result<Handler> organize_stage(Tools& tools) {
  const auto& config = tools.branches.config.organize;
  MEDIAFS_ASSIGN(
      auto compiled,
      naming::Layout::compile({.movies = config.movies, .shows = config.shows, .unsorted = config.unsorted}));
  auto layout = std::make_shared<const naming::Layout>(std::move(compiled));
  return Handler([&tools, layout](const tier::Job& job, std::stop_token stop) {
    return Organizer(tools, *layout, job, std::move(stop)).run();
  });
}

}  // namespace mediafs::pipeline
