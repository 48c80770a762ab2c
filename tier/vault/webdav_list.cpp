// A listing is one PROPFIND a folder, since servers refuse deeper ones. Several run at once, those that come first in the
// order of the keys first, and the objects come out in that order.
#include <algorithm>
#include <list>
#include <thread>

#include "common/log.h"
#include "common/path.h"
#include "tier/vault/webdav_vault.h"

namespace mediafs::tier::webdav {

namespace {

constexpr std::size_t kMostWaiting = 50'000;  // objects that are known before it is their turn

struct Entry {
  std::string order;  // its name, a folder's with a slash: so keys compare
  bool folder = false;
  ObjectInfo info;
};

Result<std::optional<Entry>> entry_of(const Resource& resource, const std::string& folder,
                                      const std::string& path, const std::string& what) {
  const Place place = place_of(resource.href, path);
  const std::string href = printable(resource.href.substr(0, 200));
  switch (place.kind) {
    case Place::self:
    case Place::deeper:  // its own folder's listing tells it
      return std::optional<Entry>{};
    case Place::unusable:
      log::warning("vault object's name can't be a path: it is left out", {{"href", href}});
      return std::optional<Entry>{};
    case Place::outside:
      return make_error(ErrorCode::io, what, "the server lists " + href + ", which is not in the folder");
    case Place::child:
      break;
  }
  Entry entry{
      .order = place.name + (resource.collection ? "/" : ""), .folder = resource.collection, .info = {}};
  entry.info.key = join_path(folder, place.name);
  if (entry.folder) return std::optional<Entry>{std::move(entry)};
  if (!resource.size_bytes)
    return make_error(ErrorCode::io, what, "the server does not say how large " + href + " is");
  entry.info.size_bytes = *resource.size_bytes;
  entry.info.etag = resource.etag;
  // The file's own time where it is kept: a library that is rebuilt from its vault shows it.
  ObjectMeta told;
  meta_from(resource, told);
  entry.info.meta.mtime_ns = told.mtime_ns;
  return std::optional<Entry>{std::move(entry)};
}

// In order of the keys; none if the folder is not there.
Result<std::optional<std::vector<Entry>>> list_folder(DavClient& client, const std::string& folder,
                                                      const std::string& what, const std::stop_token& stop) {
  Call call;
  call.method = "PROPFIND";
  call.path = client.folder_of(folder);
  call.headers = {"depth: 1"};
  call.body_text = propfind_body(Ask::listing);
  call.accept = {404, 410};
  call.stop = stop;
  call.what = what;
  MEDIAFS_ASSIGN(const http::Response response, client.call(call));
  if (response.status == 404 || response.status == 410) return std::optional<std::vector<Entry>>{};
  if (response.status != 207)
    return make_error(ErrorCode::io, what, "the server answered HTTP " + std::to_string(response.status));
  auto resources = parse_multistatus(response.body);
  if (!resources) return make_error(resources.error().code, what, resources.error().cause);
  std::vector<Entry> entries;
  for (const Resource& resource : *resources) {
    MEDIAFS_ASSIGN(auto entry, entry_of(resource, folder, client.path_of(folder), what));
    if (entry) entries.push_back(std::move(*entry));
  }
  std::sort(entries.begin(), entries.end(), [](const Entry& a, const Entry& b) { return a.order < b.order; });
  const auto again = std::unique(entries.begin(), entries.end(),
                                 [](const Entry& a, const Entry& b) { return a.order == b.order; });
  entries.erase(again, entries.end());
  return std::optional<std::vector<Entry>>{std::move(entries)};
}

class Walk {
 public:
  Walk(DavClient& client, const WalkOptions& options)
      : client_(client), options_(options), outer_(options.stop, [this] { stop_.request_stop(); }) {}

  Status run(const std::function<bool(std::vector<ObjectInfo>&&)>& page) EXCLUDES(mutex_) {
    {
      MutexLock lock(mutex_);
      items_.push_back({.folder = options_.folder});
    }
    std::vector<std::jthread> threads;
    for (int i = 0; i < std::max(options_.parallel, 1); ++i) threads.emplace_back([this] { work(); });
    bool more = true;
    std::vector<ObjectInfo> ready;
    while (more && next(ready)) {
      while (ready.size() >= options_.page_size && more) {
        const auto end = ready.begin() + static_cast<std::ptrdiff_t>(options_.page_size);
        std::vector<ObjectInfo> full(std::make_move_iterator(ready.begin()), std::make_move_iterator(end));
        ready.erase(ready.begin(), end);
        more = page(std::move(full));
      }
    }
    {
      MutexLock lock(mutex_);
      over_ = true;
      changed_.notify_all();
    }
    stop_.request_stop();
    threads.clear();  // joins
    MutexLock lock(mutex_);
    if (!more) return {};
    if (failed_) return *failed_;
    lock.unlock();
    if (!ready.empty()) page(std::move(ready));
    return {};
  }

 private:
  // A run of objects, or a folder that is yet to be listed.
  struct Item {
    std::vector<ObjectInfo> objects = {};
    std::optional<std::string> folder = {};
    bool busy = false;
  };

  // Adds the objects whose turn it is; false at the end or after a failure.
  bool next(std::vector<ObjectInfo>& into) EXCLUDES(mutex_) {
    MutexLock lock(mutex_);
    while (!failed_ && !items_.empty() && items_.front().folder) changed_.wait(mutex_);
    if (failed_ || items_.empty()) return false;
    std::vector<ObjectInfo>& objects = items_.front().objects;
    waiting_ -= objects.size();
    std::move(objects.begin(), objects.end(), std::back_inserter(into));
    items_.pop_front();
    changed_.notify_all();
    return true;
  }

  void fail(Error error) EXCLUDES(mutex_) {
    MutexLock lock(mutex_);
    if (!failed_) failed_ = std::move(error);
    changed_.notify_all();
  }

  void work() noexcept EXCLUDES(mutex_) {
    try {
      while (work_on_one()) {
      }
    } catch (const std::exception& e) {
      fail(make_error(ErrorCode::internal, options_.what, e.what()));
    }
  }

  std::list<Item>::iterator pick() REQUIRES(mutex_) {
    if (waiting_ >= kMostWaiting) {  // only what comes next
      const auto first = items_.begin();
      return first != items_.end() && first->folder && !first->busy ? first : items_.end();
    }
    return std::find_if(items_.begin(), items_.end(),
                        [](const Item& item) { return item.folder && !item.busy; });
  }

  bool work_on_one() EXCLUDES(mutex_) {
    std::list<Item>::iterator item;
    std::string folder;
    {
      MutexLock lock(mutex_);
      for (item = pick(); item == items_.end(); item = pick()) {
        if (over_ || failed_ || items_.empty()) return false;
        changed_.wait(mutex_);
      }
      if (over_ || failed_) return false;
      item->busy = true;
      folder = *item->folder;
    }
    auto entries = list_folder(client_, folder, options_.what, stop_.get_token());
    if (entries && !*entries) {
      // Gone since its parent was listed, or never there. If the vault itself is gone, this is no listing of it.
      auto root = list_folder(client_, "", options_.what, stop_.get_token());
      if (root && !*root)
        root = make_error(ErrorCode::not_found, options_.what, "the vault's folder is not there");
      if (!root) entries = std::move(root).error();
    }
    if (!entries) {
      fail(std::move(entries).error());
      return false;
    }
    MutexLock lock(mutex_);
    if (*entries) expand(item, std::move(**entries));
    items_.erase(item);
    changed_.notify_all();
    return true;
  }

  void expand(std::list<Item>::iterator at, std::vector<Entry>&& entries) REQUIRES(mutex_) {
    std::list<Item> expanded;
    for (Entry& entry : entries) {
      if (entry.folder) {
        expanded.push_back({.folder = std::move(entry.info.key)});
        continue;
      }
      if (expanded.empty() || expanded.back().folder) expanded.emplace_back();
      expanded.back().objects.push_back(std::move(entry.info));
      ++waiting_;
    }
    items_.splice(at, expanded);
  }

  DavClient& client_;
  const WalkOptions& options_;
  std::stop_source stop_;
  Mutex mutex_;
  CondVar changed_;
  std::list<Item> items_ GUARDED_BY(mutex_);  // what is yet to be told, in order
  std::size_t waiting_ GUARDED_BY(mutex_) = 0;
  bool over_ GUARDED_BY(mutex_) = false;
  std::optional<Error> failed_ GUARDED_BY(mutex_);
  std::stop_callback<std::function<void()>> outer_;  // last: it uses the others
};

}  // namespace

Status walk(DavClient& client, const WalkOptions& options,
            const std::function<bool(std::vector<ObjectInfo>&&)>& page) {
  return Walk(client, options).run(page);
}

}  // namespace mediafs::tier::webdav
