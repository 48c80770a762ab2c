#include "tier/vault/s3_notes.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <span>
#include <string_view>
#include <system_error>

#include "common/fd.h"
#include "common/hash.h"
#include "common/http.h"
#include "common/log.h"
#include "common/path.h"

namespace mediafs::tier::s3 {

namespace {

constexpr std::size_t kMostBytes = 16 * 1024;

// The rest of the line that begins with `name` and a space.
std::string line_of(std::string_view text, std::string_view name) {
  while (!text.empty()) {
    const std::string_view line = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(line.size() + 1, text.size()));
    if (line.starts_with(name) && line.substr(name.size()).starts_with(' '))
      return std::string(line.substr(name.size() + 1));
  }
  return {};
}

}  // namespace

std::string UploadNotes::file_of(const std::string& key) const {
  return folder_ + "/" + digest_hex(Digest::sha256, store_ + "\n" + key);
}

std::optional<UploadNote> UploadNotes::find(const std::string& key) const {
  if (folder_.empty()) return std::nullopt;
  const auto text = read_file(AT_FDCWD, file_of(key), kMostBytes);
  if (!text) return std::nullopt;
  UploadNote note{line_of(*text, "id"), line_of(*text, "of")};
  if (note.id.empty() || note.of.empty()) return std::nullopt;
  return note;
}

bool UploadNotes::remember(const std::string& key, const UploadNote& note) const {
  if (folder_.empty() || note.id.find('\n') != std::string::npos) return false;
  const std::string text =
      "id " + note.id + "\nof " + note.of + "\nkey " + http::percent_encode(key, true) + "\n";
  Status written = mkdirs_at(AT_FDCWD, folder_, 0700);
  if (written) written = write_file_atomic(AT_FDCWD, file_of(key), text, 0600);
  if (written) return true;
  log::warning("an upload can't be noted: a restart would begin it anew", written.err(),
               {{"path", printable(key)}});
  return false;
}

void UploadNotes::touch(const std::string& key) const {
  if (!folder_.empty()) ::utimensat(AT_FDCWD, file_of(key).c_str(), nullptr, 0);
}

void UploadNotes::forget(const std::string& key) const {
  if (!folder_.empty()) ::unlink(file_of(key).c_str());
}

void UploadNotes::drop_older_than(std::chrono::hours age) const {
  if (folder_.empty()) return;
  std::error_code none;
  const auto limit = std::filesystem::file_time_type::clock::now() - age;
  for (const auto& entry : std::filesystem::directory_iterator(folder_, none)) {
    std::error_code ignored;
    if (entry.is_regular_file(ignored) && entry.last_write_time(ignored) < limit && !ignored)
      std::filesystem::remove(entry.path(), ignored);
  }
}

}  // namespace mediafs::tier::s3
