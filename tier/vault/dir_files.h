// What the directory driver asks of the filesystem, each call confined to the directory it is given.
// Threads:    functions; DirRoot is safe from any thread.
// Errors:     offline where the filesystem itself is gone, else from errno.
// Invariants: (1) no symlink is followed below the root.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <stop_token>
#include <string>
#include <vector>

#include "common/fd.h"
#include "common/sync.h"
#include "tier/vault/vault.h"

namespace mediafs::tier::dir {

inline constexpr const char* kTemp = ".mediafs/tmp";

// errno's Error, with what a dead mount answers turned into offline.
Error failed(int saved_errno, std::string what);
Error from_mount(Error error);

class DirRoot {
 public:
  explicit DirRoot(std::string path) : path_(std::move(path)) {}
  const std::string& path() const { return path_; }
  // Opens the root. A root that never was is made (its last component only) if `create`.
  Result<Fd> open(bool create) EXCLUDES(mutex_);
  // .mediafs has been made in it: from now on a root without one is another directory.
  void marked() EXCLUDES(mutex_);

 private:
  Status check_same(int root) EXCLUDES(mutex_);
  const std::string path_;
  Mutex mutex_;
  bool seen_ GUARDED_BY(mutex_) = false;     // the root was there
  bool had_own_ GUARDED_BY(mutex_) = false;  // and .mediafs in it
};

// The directory below `root` that is `path` ("" = the root), component by component.
// `made`, if given, becomes true when a component had to be made.
Result<Fd> open_dir(int root, const std::string& path, bool create, bool* made = nullptr);
Result<Fd> open_file(int root, const std::string& key);  // O_RDONLY; a regular file or not_found
Status remove_empty_parents(int root, const std::string& key);

std::string etag_of(const struct stat& st);
// From stat and extended attributes.
ObjectInfo describe_file(const std::string& key, int fd, const struct stat& st);
// From stat alone, as in a listing.
ObjectInfo describe_listed(std::string key, const struct stat& st);
// Owner (as root), mode, attributes, and the mtime last.
Status apply_meta(int fd, const ObjectMeta& meta);

// A file in .mediafs/tmp that is removed unless it was published.
class TempFile {
 public:
  static Result<TempFile> create(int root);
  // Another name of the file, which nobody changes in place. An error: the filesystem has none of that.
  static Result<TempFile> link(int root, Fd file);
  TempFile(TempFile&& other) noexcept;
  TempFile& operator=(TempFile&&) = delete;
  ~TempFile();
  int fd() const { return fd_.get(); }
  // fsync, rename to `key` below `root` (folders are made), fsync of the folder. `exists` if only_new and it is taken.
  Status publish(int root, const std::string& key, bool only_new = false);

 private:
  TempFile() = default;
  Fd dir_, fd_;
  std::string name_;
  bool linked_ = false;
};

struct Walk {
  std::string prefix;  // the folder to walk, "" = all
  std::size_t page_size = 1000;
};
// Regular files below, in byte order of their keys.
Status walk(int root, const Walk& what, const std::function<bool(std::vector<ObjectInfo>&&)>& page,
            const std::stop_token& stop);

}  // namespace mediafs::tier::dir
