#include "fs/control_files.h"

#include "common/clock.h"
#include "common/path.h"

namespace mediafs::fs {
namespace {

constexpr std::string_view kDirectory = ".mediafs";
constexpr std::uint64_t kFirstInode = 0xFFFF'FFFF'0000'0000ULL;  // no local filesystem's numbers are near

std::string line_of(const std::string& number, const tier::Change& change) {
  // A newline in a name would start another line.
  const bool broken = change.path.find('\n') != std::string::npos;
  return number + '\t' + (broken ? printable(change.path) : change.path) + '\n';
}

std::optional<std::size_t> which_file(std::string_view path) {
  if (parent_path(path) != kDirectory) return std::nullopt;
  for (std::size_t i = 0; i < ControlFiles::kNames.size(); ++i) {
    if (base_name(path) == ControlFiles::kNames[i]) return i;
  }
  return std::nullopt;
}

// The first three are made of the library's version alone.
bool versioned(std::size_t which) {
  return which < 3;
}

}  // namespace

std::uint16_t short_version(std::int64_t version) noexcept {
  if (version <= 0) return 0;
  return static_cast<std::uint16_t>((version - 1) % 65535 + 1);
}

std::string version_file(std::int64_t version, const std::vector<tier::Change>& newest_first) {
  const std::uint16_t number = short_version(version);
  std::string text;
  text.reserve(kVersionFileSize);
  text += static_cast<char>(number >> 8);
  text += static_cast<char>(number & 0xFF);
  text += '\n';
  for (const tier::Change& change : newest_first) {
    const std::string line = line_of(std::to_string(short_version(change.version)), change);
    if (text.size() + line.size() > kVersionFileSize) break;
    text += line;
  }
  text.resize(kVersionFileSize, '\0');
  return text;
}

ControlFiles::ControlFiles(tier::Catalogue& catalogue, std::function<std::string()> status_json,
                           std::function<std::string()> jobs_json)
    : catalogue_(catalogue),
      status_json_(std::move(status_json)),
      jobs_json_(std::move(jobs_json)),
      started_ns_(Clock::system().wall_ns()) {}

Result<struct stat> ControlFiles::stat(std::string_view path) {
  struct stat st {};
  st.st_blksize = 4096;
  st.st_mtim = {.tv_sec = started_ns_ / 1'000'000'000, .tv_nsec = started_ns_ % 1'000'000'000};
  st.st_ino = kFirstInode;
  if (path == kDirectory) {
    st.st_mode = S_IFDIR | 0555;
    st.st_nlink = 2;
  } else {
    const auto which = which_file(path);
    if (!which) return make_error(ErrorCode::not_found, std::string(path));
    st.st_mode = S_IFREG | 0444;
    st.st_nlink = 1;
    st.st_ino += 1 + *which;
    if (versioned(*which)) {
      MEDIAFS_TRY(text(path));
    }
    MutexLock lock(mutex_);
    const Made& made = made_[*which];
    if (made.text) {
      st.st_size = static_cast<off_t>(made.text->size());
      st.st_mtim = {.tv_sec = made.made_ns / 1'000'000'000, .tv_nsec = made.made_ns % 1'000'000'000};
    }
  }
  st.st_blocks = (st.st_size + 511) / 512;
  st.st_atim = st.st_ctim = st.st_mtim;
  return st;
}

Result<std::shared_ptr<const std::string>> ControlFiles::text(std::string_view path) {
  const auto which = which_file(path);
  if (!which) return make_error(ErrorCode::not_found, std::string(path));
  const std::int64_t version = catalogue_.version();
  if (versioned(*which)) {
    MutexLock lock(mutex_);
    if (made_[*which].text && made_[*which].version == version) return made_[*which].text;
  }
  MEDIAFS_ASSIGN(std::string fresh, make(*which));
  auto shared = std::make_shared<const std::string>(std::move(fresh));
  MutexLock lock(mutex_);
  made_[*which] = Made{version, Clock::system().wall_ns(), shared};
  return shared;
}

Result<std::string> ControlFiles::make(std::size_t which) {
  switch (which) {
    case 0:
      return std::to_string(catalogue_.version()) + '\n';
    case 1: {
      MEDIAFS_ASSIGN(const auto changes, catalogue_.changes(0, kChangelogLines, true));
      std::string text;
      for (const tier::Change& change : changes) text += line_of(std::to_string(change.version), change);
      return text;
    }
    case 2: {
      // No line is shorter than four bytes: more of them than these can't fit.
      MEDIAFS_ASSIGN(const auto changes, catalogue_.changes(0, kVersionFileSize / 4, true));
      return version_file(changes.empty() ? catalogue_.version() : changes.front().version, changes);
    }
    case 3:
      return status_json_ ? status_json_() : std::string("{}\n");
    default:
      return jobs_json_ ? jobs_json_() : std::string("{}\n");
  }
}

}  // namespace mediafs::fs
