#include <dirent.h>
#include <fcntl.h>

#include <algorithm>
#include <cerrno>
#include <memory>

#include "common/path.h"
#include "tier/vault/dir_files.h"

namespace mediafs::tier::dir {

namespace {

struct CloseDir {
  void operator()(DIR* dir) const { ::closedir(dir); }
};

struct Entry {
  std::string name;  // a folder's ends with '/', so that sorting gives the byte order of keys
  struct stat st;
};

Result<std::vector<Entry>> read_folder(int root, const std::string& folder) {
  MEDIAFS_ASSIGN(const Fd at, open_dir(root, folder, false));
  MEDIAFS_ASSIGN(Fd readable, open_at(at.get(), "", O_RDONLY | O_DIRECTORY));
  const std::unique_ptr<DIR, CloseDir> dir(::fdopendir(readable.get()));
  if (!dir) {
    const int saved = errno;
    return failed(saved, "read folder " + printable(folder));
  }
  [[maybe_unused]] const int owned_by_dir = readable.release();
  std::vector<Entry> entries;
  for (;;) {
    errno = 0;
    const dirent* found = ::readdir(dir.get());
    const int saved = errno;
    if (found == nullptr && saved != 0) return failed(saved, "read folder " + printable(folder));
    if (found == nullptr) break;
    Entry entry{found->d_name, {}};
    if (entry.name == "." || entry.name == ".." || (folder.empty() && entry.name == ".mediafs")) continue;
    if (join_path(folder, entry.name) == kTemp) continue;
    if (::fstatat(at.get(), entry.name.c_str(), &entry.st, AT_SYMLINK_NOFOLLOW) != 0) {
      const int why = errno;
      if (why == ENOENT) continue;  // removed meanwhile
      return failed(why, "stat vault object " + printable(join_path(folder, entry.name)));
    }
    if (S_ISDIR(entry.st.st_mode)) entry.name += '/';
    if (S_ISDIR(entry.st.st_mode) || S_ISREG(entry.st.st_mode)) entries.push_back(std::move(entry));
  }
  // Backwards: the walk takes from the end.
  std::sort(entries.begin(), entries.end(), [](const Entry& a, const Entry& b) { return a.name > b.name; });
  return entries;
}

}  // namespace

Status walk(int root, const Walk& what, const std::function<bool(std::vector<ObjectInfo>&&)>& page,
            const std::stop_token& stop) {
  struct Level {
    std::string folder;
    std::vector<Entry> left;
  };
  std::vector<Level> levels;
  std::vector<ObjectInfo> found;
  // A folder that vanished is empty; one that can't be read is an error: a listing is never shortened silently.
  auto enter = [&](const std::string& folder) -> Status {
    auto entries = read_folder(root, folder);
    if (entries) levels.push_back({folder, std::move(*entries)});
    if (entries || entries.error().code == ErrorCode::not_found ||
        entries.error().code == ErrorCode::not_directory) {
      return {};
    }
    return std::move(entries).error();
  };
  MEDIAFS_TRY(enter(what.prefix));
  while (!levels.empty()) {
    if (stop.stop_requested()) return make_error(ErrorCode::cancelled, "list the vault", "asked to stop");
    Level& level = levels.back();
    if (level.left.empty()) {
      levels.pop_back();
      continue;
    }
    Entry entry = std::move(level.left.back());
    level.left.pop_back();
    if (S_ISDIR(entry.st.st_mode)) {
      entry.name.pop_back();
      MEDIAFS_TRY(enter(join_path(level.folder, entry.name)));
      continue;
    }
    found.push_back(describe_listed(join_path(level.folder, entry.name), entry.st));
    if (found.size() < what.page_size) continue;
    if (!page(std::exchange(found, {}))) return {};
  }
  if (!found.empty()) page(std::move(found));
  return {};
}

}  // namespace mediafs::tier::dir
