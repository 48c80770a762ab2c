// What one upload works with. Private to webdav*.cpp.
#pragma once

#include <string>
#include <vector>

#include "common/log.h"
#include "common/path.h"
#include "tier/vault/webdav_vault.h"

namespace mediafs::tier::webdav {

// A name in kTemp that is emptied at its end, unless the file was moved on.
class DavVault::Temp {
 public:
  explicit Temp(DavVault& vault)
      : vault_(vault),
        key_(std::string(kTemp) + "/" + vault.token_ + "-" + std::to_string(++vault.next_temp_)) {}
  ~Temp() {
    if (!stands_) return;
    Call call;
    call.method = "DELETE";
    call.path = path();
    call.accept = {404};
    call.what = "remove vault object " + key_;
    auto done = vault_.client_.call(call);
    // rclone locks what it is still being sent until it has seen the connection's end.
    for (int i = 0; i < kMostWaits && !done && done.error().code == ErrorCode::busy; ++i)
      done = vault_.client_.call(call);
    if (!done)
      log::warning("unfinished upload stays until garbage is collected", done.error(), {{"path", key_}});
  }
  Temp(const Temp&) = delete;
  Temp& operator=(const Temp&) = delete;
  const std::string& key() const { return key_; }
  std::string name() const { return std::string(base_name(key_)); }
  std::string path() const { return vault_.client_.path_of(key_); }
  std::string url() const { return vault_.client_.url_of(path()); }
  void begun() { stands_ = true; }
  void gone() { stands_ = false; }

 private:
  static constexpr int kMostWaits = 5;
  DavVault& vault_;
  const std::string key_;
  bool stands_ = false;
};

struct DavVault::Upload {
  const PutSource& source;
  const ObjectMeta& meta;
  bool first = true;             // later tries are no progress
  bool date_sets_mtime = false;  // nginx
};

std::vector<std::string> mtime_headers(WallNs mtime_ns, bool by_date);

}  // namespace mediafs::tier::webdav
