// What the contract suite needs of a driver under test, and small helpers. A subject is one empty vault.
#pragma once

#include <doctest/doctest.h>

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "common/fd.h"
#include "tier/vault/s3.h"
#include "tier/vault/vault.h"
#include "tier/vault/webdav.h"

namespace mediafs::tier::test {

inline constexpr std::size_t kPart = 5U << 20;  // multipart begins above it, and a part is as large

class TempFolder {
 public:
  TempFolder();
  ~TempFolder();
  TempFolder(const TempFolder&) = delete;
  TempFolder& operator=(const TempFolder&) = delete;
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

class DirSubject {
 public:
  DirSubject();
  static std::string unavailable() { return {}; }
  static constexpr const char* kName = "DirSubject";
  static bool lacks(std::string_view) { return false; }
  std::unique_ptr<Vault> open() const;
  // Leftovers of unfinished puts.
  std::size_t garbage() const;
  std::string root() const { return root_; }
  void pass_to_child() const;  // sets the environment that from_parent() reads
  static DirSubject from_parent();

 private:
  explicit DirSubject(std::string root) : root_(std::move(root)) {}
  std::shared_ptr<TempFolder> folder_;  // none in the child
  std::string root_;
};

class S3Subject {
 public:
  S3Subject();
  static std::string unavailable();
  static constexpr const char* kName = "S3Subject";
  static bool lacks(std::string_view) { return false; }
  std::unique_ptr<Vault> open() const;
  s3::Options options() const { return options_; }
  std::size_t garbage() const;
  void pass_to_child() const;
  static S3Subject from_parent();

  explicit S3Subject(s3::Options options) : options_(std::move(options)) {}

 private:
  s3::Options options_;
};

class DavSubject {
 public:
  DavSubject();
  static std::string unavailable();
  static constexpr const char* kName = "DavSubject";
  // What this kind of server can't do, by name; says so.
  static bool lacks(std::string_view feature);
  std::unique_ptr<Vault> open() const;
  webdav::Options options() const { return options_; }
  std::size_t garbage() const;
  void pass_to_child() const;
  static DavSubject from_parent();

 private:
  explicit DavSubject(webdav::Options options) : options_(std::move(options)) {}
  webdav::Options options_;
};

std::string make_bytes(std::size_t size, unsigned seed);

// A file without a name that holds the bytes.
class Source {
 public:
  explicit Source(std::string_view bytes);
  PutSource put() const { return {.fd = fd_.get(), .size_bytes = size_}; }
  int fd() const { return fd_.get(); }

 private:
  Fd fd_;
  std::uint64_t size_;
};

ObjectMeta some_meta();
PutResult put_bytes(Vault& vault, const std::string& key, std::string_view bytes);
Result<std::string> read_bytes(Vault& vault, const ReadRequest& request);
std::vector<ObjectInfo> list_all(Vault& vault, const std::string& prefix = "");
std::vector<std::string> keys_of(const std::vector<ObjectInfo>& objects);

template <class T>
ErrorCode code_of(const Result<T>& result) {
  REQUIRE_FALSE(result.has_value());
  return result.error().code;
}
template <class T>
T value_of(Result<T> result) {
  REQUIRE_MESSAGE(result.has_value(), (result ? std::string() : result.error().message()));
  return std::move(*result);
}
inline void check_ok(const Status& status) {
  CHECK_MESSAGE(status.has_value(), (status ? std::string() : status.error().message()));
}

}  // namespace mediafs::tier::test

// Opens a contract test: the subject, or the reason why it is left out.
#define MEDIAFS_SUBJECT(S, subject)                      \
  if (const auto why = S::unavailable(); !why.empty()) { \
    MESSAGE("skipped: " << why);                         \
    return;                                              \
  }                                                      \
  const S subject

TYPE_TO_STRING(mediafs::tier::test::DirSubject);
TYPE_TO_STRING(mediafs::tier::test::S3Subject);
TYPE_TO_STRING(mediafs::tier::test::DavSubject);
