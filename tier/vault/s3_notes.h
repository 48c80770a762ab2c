// The multipart uploads under way, noted on our disk: which one was begun for which bytes and metadata. The store can't
// say that, and what it lists of an upload (its parts) it alone knows: together they let a restart go on.
// Threads:    safe from any thread; one key's upload is one caller's at a time.
// Owns:       the files of its directory, one for each upload.
// Shapes:     a file's name is the SHA-256 of what the upload is for; its lines are "id ID", "of DIGEST", "key KEY".
// Errors:     none that stop an upload: what can't be noted is not resumed.
// Crash:      a note is durable before the first part is sent; one that outlives its upload is dropped by age.
#pragma once

#include <chrono>
#include <optional>
#include <string>

namespace mediafs::tier::s3 {

struct UploadNote {
  std::string id;  // the store's
  std::string of;  // digest of all that must be the same for the upload to go on
};

class UploadNotes {
 public:
  // `store` is the address that keys are of. An empty folder: nothing is ever noted.
  UploadNotes(std::string folder, std::string store) : folder_(std::move(folder)), store_(std::move(store)) {}
  std::optional<UploadNote> find(const std::string& key) const;
  bool remember(const std::string& key, const UploadNote& note) const;  // false: it is not noted
  void touch(const std::string& key) const;                             // it goes on: its age is 0 again
  void forget(const std::string& key) const;
  void drop_older_than(std::chrono::hours age) const;

 private:
  std::string file_of(const std::string& key) const;
  const std::string folder_;
  const std::string store_;
};

}  // namespace mediafs::tier::s3
