// The S3 driver's class, shared by its source files. Private to tier/vault.
#pragma once

#include <atomic>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "tier/vault/s3_client.h"
#include "tier/vault/s3_notes.h"
#include "tier/vault/s3_read.h"
#include "tier/vault/s3_xml.h"

namespace mediafs::tier::s3 {

class S3Vault final : public Vault {
 public:
  explicit S3Vault(Options options)
      : client_(std::move(options)),
        notes_(client_.options().notes_folder,
               client_.options().host + client_.options().base_path + "/" + client_.options().bucket),
        read_calls_(client_),
        reads_(read_calls_) {}
  ~S3Vault() override { client_.stop(); }
  S3Vault(const S3Vault&) = delete;
  S3Vault& operator=(const S3Vault&) = delete;

  std::string describe() const override { return client_.url_for_people(); }
  Status probe() override;
  Result<PutResult> put(const std::string& key, const PutSource& source, const ObjectMeta& meta,
                        std::stop_token stop) override;
  Result<ObjectInfo> head(const std::string& key) override;
  std::uint64_t start_read(ReadRequest request, std::function<bool(std::span<const std::byte>)> on_bytes,
                           std::function<void(Status)> on_done) override;
  void cancel(std::uint64_t read) override { reads_.cancel(read); }
  Result<ObjectInfo> copy(const std::string& from, const std::string& to, const ObjectMeta& meta,
                          std::stop_token stop) override;
  Status remove(const std::string& key) override;
  Status list(const std::string& prefix, const std::function<bool(std::vector<ObjectInfo>&&)>& page,
              std::stop_token stop) override;
  Status list_after(const std::string& after, const std::function<bool(std::vector<ObjectInfo>&&)>& page,
                    std::stop_token stop) override;
  Status collect_garbage() override;

 private:
  // One of an upload: the call that sends it, or the ETag of one that the store has already.
  struct Part {
    Call call;
    std::string etag;
  };
  // The parts of one multipart upload: `next` makes them in order on the caller's thread, a few calls run at once.
  struct Parts {
    std::string what;
    std::size_t count = 0;
    std::function<Result<Part>(std::size_t)> next;  // from 0
    std::function<Result<std::string>(std::size_t, const http::Response&)> etag;
  };
  class PartRun;
  class FileParts;
  struct Upload {
    std::string id;
    bool noted = false;  // a later put may go on with it
    std::map<std::uint64_t, ListedPart> parts;
  };

  struct Listing {
    std::string folder, after;  // keys in the tree; "" for all, and from the first
  };
  Status list_pages(const Listing& listing, const std::function<bool(std::vector<ObjectInfo>&&)>& page,
                    const std::stop_token& stop);
  Status check_key(const std::string& key) const;
  static Error stands_there(const std::string& key);
  std::optional<http::Response> landed(const ObjectInfo& sent, const std::string& md5_hex);
  // With If-None-Match: *, or without it where the server has said that it can't.
  Result<http::Response> send_if_new(Call& call, const std::string& key);
  Result<PutResult> put_single(const std::string& key, const PutSource& source, ObjectMeta meta,
                               const std::stop_token& stop);
  Result<PutResult> put_multipart(const std::string& key, const PutSource& source, ObjectMeta meta,
                                  const std::stop_token& stop);
  Result<std::string> create_upload(const std::string& key, const ObjectMeta& meta, const std::string& what,
                                    const std::stop_token& stop);
  Result<std::vector<std::string>> run_parts(const Parts& parts, const std::stop_token& stop);
  Result<Upload> begin_upload(const std::string& key, const ObjectMeta& meta, const std::string& of,
                              const std::string& what, const std::stop_token& stop);
  Result<std::map<std::uint64_t, ListedPart>> list_parts(const std::string& key, const std::string& id,
                                                         const std::string& what,
                                                         const std::stop_token& stop);
  // Completes it and proves by HEAD that the object is ours.
  Result<ObjectInfo> complete_upload(const std::string& upload, const std::vector<std::string>& etags,
                                     const ObjectInfo& expected, bool only_new, const std::string& what,
                                     const std::stop_token& stop);
  void abort_upload(const std::string& key, const std::string& upload);
  Result<ObjectInfo> copy_multipart(const ObjectInfo& from, const std::string& to, const ObjectMeta& meta,
                                    const std::stop_token& stop);
  Result<ObjectInfo> prove(const std::string& key, const ObjectInfo& expected, const std::string& what);

  S3Client client_;
  const UploadNotes notes_;
  // What the server makes of If-None-Match: *. Until it has shown that it honours it, it may well ignore it.
  enum class Condition : std::uint8_t { unknown, honoured, refused };
  std::atomic<Condition> if_new_{Condition::unknown};
  S3Reads read_calls_;
  RangedReads reads_;
};

// One pass over a piece of a file. `whole` gets the bytes too, if given. A short file is `changed`.
Result<Checksums> hash_piece(int fd, std::uint64_t offset, std::uint64_t size_bytes, Hasher::Want want,
                             Hasher* whole, const std::string& what, const std::stop_token& stop);
std::uint64_t divided_up(std::uint64_t size, std::uint64_t by);
// The smallest size, a multiple of 1 MiB unless it is `least` itself, with which `size` fits in 10,000 parts.
std::uint64_t part_size(std::uint64_t size, std::uint64_t least);
std::string content_type(const std::string& key);
bool is_md5(std::string_view etag);

}  // namespace mediafs::tier::s3
