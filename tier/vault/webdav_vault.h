// The WebDAV driver's class, shared by its source files. Private to tier/vault.
#pragma once

#include <atomic>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "common/sync.h"
#include "tier/vault/ranged_reads.h"
#include "tier/vault/webdav_client.h"
#include "tier/vault/webdav_xml.h"

namespace mediafs::tier::webdav {

inline constexpr const char* kOwnFolder = ".mediafs";
inline constexpr const char* kTemp = ".mediafs/tmp";     // uploads under way
inline constexpr const char* kAside = ".mediafs/aside";  // what makes room for a moment: ID/KEY

// Files below `folder` (a key, "" = all) in byte order of their keys. A folder that is not there is empty.
struct WalkOptions {
  std::string folder;
  std::size_t page_size = 1000;
  int parallel = 4;
  std::string what;
  std::stop_token stop = {};
};
Status walk(DavClient& client, const WalkOptions& options,
            const std::function<bool(std::vector<ObjectInfo>&&)>& page);

class DavVault final : public Vault {
 public:
  explicit DavVault(Options options);
  ~DavVault() override { client_.stop(); }
  DavVault(const DavVault&) = delete;
  DavVault& operator=(const DavVault&) = delete;

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
  Status collect_garbage() override;

 private:
  // What one call is about: its words for messages, and its end.
  struct Task {
    std::string what;
    std::stop_token stop = {};
  };
  class Temp;  // a name in kTemp, emptied at its end
  struct Upload;

  // webdav.cpp
  Status check_key(const std::string& key) const;
  // What stands at a path; none if nothing does.
  Result<std::optional<Resource>> look(const std::string& path, const Task& task);
  Result<ObjectInfo> info_of(const std::string& key, const Resource& resource, const Task& task) const;
  Result<ObjectInfo> object_at(const std::string& key, const Task& task);  // not_found for a folder too
  Status remove_at(const std::string& path, const Task& task);

  // webdav_put.cpp
  Result<Xxh128> send(const Temp& temp, const Upload& upload, const Task& task);
  Result<Xxh128> send_chunks(const Temp& temp, const Upload& upload, const Task& task);
  // That the server holds these bytes; answers the etag.
  Result<std::string> prove(const Temp& temp, const Upload& upload, const Xxh128& sent, const Task& task);
  Result<Xxh128> read_back(const std::string& key, std::uint64_t size_bytes, const std::string& etag,
                           const Task& task);
  // False where the server keeps no properties.
  Result<bool> set_meta(const std::string& key, const ObjectInfo& expected, const Task& task);
  Result<ObjectInfo> replace_meta(ObjectInfo expected, const Task& task);
  // The object after it was moved to its place, with its metadata.
  Result<ObjectInfo> settle(const std::string& key, const ObjectInfo& expected, const Task& task);

  void sweep() EXCLUDES(mutex_);

  // webdav_place.cpp
  struct Move {
    std::string temp;  // key
    std::string key;
    std::uint64_t size_bytes = 0;
    std::string etag;
    bool only_new = false;
    bool accept_same_etag = false;
  };
  enum class Moved {
    yes,
    same_etag
  };  // same_etag: the old object could not be told from the new one; nothing was done
  Result<Moved> move_to_place(const Move& move, const Task& task);
  Result<bool> has_moved(const Move& move, const Task& task);
  Result<http::Response> rename(const std::string& from_path, const std::string& to_path, bool overwrite,
                                const Task& task);
  Status call_into_temp(Call call, const Task& task);
  Error why_not(const std::string& folder, const http::Response& response, const Task& task);
  Status expect_moved(const std::string& from_path, const std::string& to_path, const Task& task);
  Result<std::string> make_aside(const std::string& key, const Task& task);
  Result<bool> holds_objects(const std::string& folder, const Task& task);
  Status drop_own_folder(const std::string& folder, const Task& task);
  Status move_by_aside(const Move& move, const Task& task);
  Status clear_folder(const std::string& key, const Task& task);
  Status restore_aside(const std::string& key, const Task& task);
  Status ensure_folder(const std::string& folder, const Task& task) EXCLUDES(mutex_);
  void forget_folder(const std::string& folder) EXCLUDES(mutex_);

  DavClient client_;
  RangedReads reads_;
  const std::string token_;  // of this process's temporary names
  std::atomic<unsigned> next_temp_{0};
  std::atomic<bool> no_properties_{false};  // the server refused to keep them
  Mutex mutex_;
  std::chrono::steady_clock::time_point swept_ GUARDED_BY(mutex_) = std::chrono::steady_clock::now();
  std::map<std::string, std::string> strangers_ GUARDED_BY(mutex_);  // in kTemp, and which version was seen
  std::set<std::string> made_ GUARDED_BY(mutex_);                    // folders that are known to be there
};

}  // namespace mediafs::tier::webdav
