// How a proven upload gets to its place: folders, MOVE, and what stands in the way.
#include "common/log.h"
#include "common/path.h"
#include "tier/vault/webdav_vault.h"

namespace mediafs::tier::webdav {

namespace {

constexpr std::size_t kMostFolders = 100'000;
constexpr int kMostSteps = 12;  // of one move; each is the answer to what the server said to the last

// ".mediafs/aside/ID" of what lies below it.
std::string place_of_aside(const std::string& aside) {
  return aside.substr(0, aside.find('/', std::string_view(kAside).size() + 1));
}

bool is_success(int status) {
  return status >= 200 && status < 300;
}

}  // namespace

void DavVault::forget_folder(const std::string& folder) {
  MutexLock lock(mutex_);
  for (std::string at = folder; !at.empty(); at = std::string(parent_path(at))) made_.erase(at);
}

// Servers have many answers for one cause: whether a file stands where a folder is needed is looked up.
Error DavVault::why_not(const std::string& folder, const http::Response& response, const Task& task) {
  for (std::string at = folder; !at.empty(); at = std::string(parent_path(at))) {
    const auto found = look(client_.path_of(at), task);
    if (!found) return found.error();
    if (*found && !(*found)->collection) {
      return make_error(ErrorCode::not_directory, task.what,
                        "a file stands where the folder " + printable(at) + " is needed");
    }
  }
  return client_.explain(task.what, response);
}

Status DavVault::ensure_folder(const std::string& folder, const Task& task) {
  if (folder.empty()) return {};
  {
    MutexLock lock(mutex_);
    if (made_.contains(folder)) return {};
  }
  Call call;
  call.method = "MKCOL";
  call.path = client_.folder_of(folder);
  call.accept = {301, 400, 403, 404, 405, 409};
  call.stop = task.stop;
  call.what = task.what;
  MEDIAFS_ASSIGN(http::Response response, client_.call(call));
  if (response.status == 404 || response.status == 409) {
    const std::string above(parent_path(folder));
    if (above.empty())
      return make_error(ErrorCode::not_found, task.what,
                        "the vault's folder is not there (correct vault.url)");
    forget_folder(above);
    MEDIAFS_TRY(ensure_folder(above, task));
    MEDIAFS_ASSIGN(response, client_.call(call));
  }
  // 301 and 405: it is there.
  if (response.status >= 300 && response.status != 301 && response.status != 405) {
    // apache says 403 to the second of two that make it at once.
    MEDIAFS_ASSIGN(const std::optional<Resource> there, look(client_.folder_of(folder), task));
    if (!there || !there->collection) return why_not(folder, response, task);
  }
  MutexLock lock(mutex_);
  if (made_.size() >= kMostFolders) made_.clear();
  made_.insert(folder);
  return {};
}

// A PUT or COPY to a temporary name, whose folder may be missing.
Status DavVault::call_into_temp(Call call, const Task& task) {
  call.accept = {403, 404, 409, 500};
  MEDIAFS_ASSIGN(const http::Response response, client_.call(call));
  if (response.status < 300) return {};
  MEDIAFS_ASSIGN(const std::optional<Resource> folder, look(client_.folder_of(kTemp), task));
  if (folder && response.status == 403) return client_.explain(task.what, response);
  if (!folder) {
    forget_folder(kTemp);
    MEDIAFS_TRY(ensure_folder(kTemp, task));
  }
  call.accept = {};  // also if another put has made it meanwhile
  MEDIAFS_TRY(client_.call(call));
  return {};
}

// With statuses that tell what to do next.
Result<http::Response> DavVault::rename(const std::string& from_path, const std::string& to_path,
                                        bool overwrite, const Task& task) {
  Call call;
  call.method = "MOVE";
  call.path = from_path;
  call.headers = {"destination: " + client_.url_of(to_path), overwrite ? "overwrite: T" : "overwrite: F"};
  call.accept = {400, 403, 404, 405, 409, 412};
  call.once = true;
  call.stop = task.stop;
  call.stall = client_.options().slow_answer;
  call.what = task.what;
  return client_.call(call);
}

// After an answer that was lost, or one that says there is nothing to move.
Result<bool> DavVault::has_moved(const Move& move, const Task& task) {
  MEDIAFS_ASSIGN(const std::optional<Resource> source, look(client_.path_of(move.temp), task));
  if (source) return false;
  MEDIAFS_ASSIGN(const std::optional<Resource> target, look(client_.path_of(move.key), task));
  return target && !target->collection && target->size_bytes == move.size_bytes;
}

Result<DavVault::Moved> DavVault::move_to_place(const Move& move, const Task& task) {
  const DavClient::Replacing replacing(client_);
  const std::string from = client_.path_of(move.temp);
  const std::string to = client_.path_of(move.key);
  const std::string above(parent_path(move.key));
  MEDIAFS_TRY(ensure_folder(above, task));
  bool overwrite = false;  // until it is known that no folder would be overwritten
  bool made_again = false;
  int failures = 0;
  for (int step = 0; step < kMostSteps; ++step) {
    const auto answer = rename(from, to, overwrite, task);
    if (answer && is_success(answer->status)) return Moved::yes;
    if (!answer || answer->status != 412) {
      MEDIAFS_ASSIGN(const bool done, has_moved(move, task));
      if (done) return Moved::yes;
      MEDIAFS_ASSIGN(const std::optional<Resource> folder, look(client_.folder_of(above), task));
      if ((!folder || !folder->collection) && !std::exchange(made_again, true)) {  // it was there once
        forget_folder(above);
        MEDIAFS_TRY(ensure_folder(above, task));
        continue;
      }
    }
    if (!answer) {
      if (!DavClient::may_help(answer.error()) || ++failures >= kTries) return answer.error();
      const auto wait = client_.further_try(failures, answer.error());
      if (!wait) return answer.error();
      wait_unless_stopped(task.stop, std::chrono::steady_clock::now() + *wait);
    }
    MEDIAFS_ASSIGN(const std::optional<Resource> there, look(to, task));
    if (there && there->collection) {
      MEDIAFS_TRY(clear_folder(move.key, task));
      overwrite = false;
      continue;
    }
    if (answer && answer->status != 412) return why_not(above, *answer, task);
    if (there && there->size_bytes == move.size_bytes && there->etag == move.etag) {
      MEDIAFS_ASSIGN(const bool done, has_moved(move, task));
      if (done) return Moved::yes;
      if (!move.accept_same_etag && !move.only_new) return Moved::same_etag;
    }
    if (there && move.only_new)
      return make_error(ErrorCode::exists, task.what, "something stands there already");
    const bool never_overwrites = answer && there && overwrite;
    overwrite = overwrite || answer || there;
    if (never_overwrites) {
      MEDIAFS_TRY(move_by_aside(move, task));
      return Moved::yes;
    }
  }
  return make_error(ErrorCode::busy, task.what, "what stands in its place keeps changing");
}

// A place of its own for what steps aside: below it stands the key, so that collect_garbage() knows where it belongs.
Result<std::string> DavVault::make_aside(const std::string& key, const Task& task) {
  const std::string place = std::string(kAside) + "/" + token_ + "-" + std::to_string(++next_temp_);
  const std::string aside = join_path(place, key);
  MEDIAFS_TRY(ensure_folder(std::string(parent_path(aside)), task));
  return aside;
}

Result<bool> DavVault::holds_objects(const std::string& folder, const Task& task) {
  bool any = false;
  MEDIAFS_TRY(walk(client_, {.folder = folder, .parallel = 1, .what = task.what, .stop = task.stop},
                   [&any](std::vector<ObjectInfo>&&) {
                     any = true;
                     return false;
                   }));
  return any;
}

// Folders that are ours alone, once they hold no object.
Status DavVault::drop_own_folder(const std::string& folder, const Task& task) {
  MEDIAFS_ASSIGN(const bool full, holds_objects(folder, task));
  if (full || client_.is_nginx()) return {};
  MEDIAFS_TRY(remove_at(client_.folder_of(folder), task));
  MutexLock lock(mutex_);
  std::erase_if(made_, [&folder](const std::string& made) { return is_within(made, folder); });
  return {};
}

Status DavVault::expect_moved(const std::string& from_path, const std::string& to_path, const Task& task) {
  MEDIAFS_ASSIGN(const http::Response answer, rename(from_path, to_path, false, task));
  if (is_success(answer.status)) return {};
  return client_.explain(task.what, answer);
}

Status DavVault::move_by_aside(const Move& move, const Task& task) {
  const std::string to = client_.path_of(move.key);
  MEDIAFS_ASSIGN(const std::string aside, make_aside(move.key, task));
  MEDIAFS_TRY(expect_moved(to, client_.path_of(aside), task));
  const Task always{task.what};  // from here on it is brought to an end
  Status moved = expect_moved(client_.path_of(move.temp), to, always);
  if (!moved) {
    auto done = has_moved(move, always);
    if (done && *done) moved = {};
  }
  if (!moved) {
    if (auto back = expect_moved(client_.path_of(aside), to, always); !back) {
      log::error("vault object waits aside until garbage is collected", back.error(),
                 {{"path", printable(move.key)}});
    }
    return moved;
  }
  MEDIAFS_TRY(remove_at(client_.path_of(aside), always));
  return drop_own_folder(place_of_aside(aside), always);
}

// Moves what stands aside back to its key; if that is taken, it was replaced, and is removed.
Status DavVault::restore_aside(const std::string& aside, const Task& task) {
  const std::string place = place_of_aside(aside);
  if (place == aside) return remove_at(client_.path_of(aside), task);  // nothing of ours
  const std::string from = client_.path_of(aside);
  const std::string key = aside.substr(place.size() + 1);
  const std::string above(parent_path(key));
  MEDIAFS_ASSIGN(const std::optional<Resource> there, look(client_.path_of(key), task));
  if (there) return remove_at(from, task);
  forget_folder(above);
  MEDIAFS_TRY(ensure_folder(above, task));
  return expect_moved(from, client_.path_of(key), task);
}

// Folders stay when their last object is gone. One that holds none makes room for an object of its name: it is moved
// away first, so that what another program puts into it meanwhile is not removed with it.
Status DavVault::clear_folder(const std::string& key, const Task& task) {
  const Error taken = make_error(ErrorCode::is_directory, task.what, "a folder with files stands there");
  MEDIAFS_ASSIGN(const bool full, holds_objects(key, task));
  if (full || client_.is_nginx()) return taken;  // what nginx hides may be in it
  MEDIAFS_ASSIGN(const std::string aside, make_aside(key, task));
  const std::string from = client_.folder_of(key);
  const std::string to = client_.folder_of(aside);
  MEDIAFS_TRY(expect_moved(from, to, task));
  {
    MutexLock lock(mutex_);
    std::erase_if(made_, [&key](const std::string& folder) { return is_within(folder, key); });
  }
  const Task always{task.what};
  MEDIAFS_ASSIGN(const bool filled, holds_objects(aside, always));
  if (!filled) return drop_own_folder(place_of_aside(aside), always);
  MEDIAFS_TRY(expect_moved(to, from, always));
  return taken;
}

}  // namespace mediafs::tier::webdav
