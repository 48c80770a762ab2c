#include "common/http.h"

#include <openssl/evp.h>
#include <pthread.h>
#include <signal.h>

#include <algorithm>
#include <atomic>
#include <cassert>
#include <deque>
#include <future>
#include <thread>
#include <unordered_map>

#include "common/http_transfer.h"
#include "common/log.h"
#include "common/sync.h"

namespace mediafs::http {

namespace {

constexpr std::chrono::milliseconds kLongestPoll{1000};

struct FreeMulti {
  void operator()(CURLM* multi) const { curl_multi_cleanup(multi); }
};

void call_done(const Client::Done& done, Result<Response> result) noexcept {
  try {
    done(std::move(result));
  } catch (const std::exception& e) {
    log::error("http completion failed", {{"error", e.what()}});
  } catch (...) {
    log::error("http completion failed", {{"error", "unknown exception"}});
  }
}

}  // namespace

// Others only post (start, cancel, stop); everything about curl happens on the engine's thread.
struct Client::Engine {
  struct Cancel {
    Engine* engine;
    std::uint64_t id;
    void operator()() const noexcept { engine->cancel(id); }
  };
  // A stop_callback's destructor waits for a running callback, which takes `mutex`: never destroyed under it.
  struct Entry {
    explicit Entry(std::unique_ptr<Transfer> t) : transfer(std::move(t)) {}
    std::unique_ptr<Transfer> transfer;
    std::optional<std::stop_callback<Cancel>> on_stop = {};
  };
  using EntryPtr = std::unique_ptr<Entry>;

  explicit Engine(ClientOptions o);
  ~Engine();
  std::uint64_t start(Request request, Client::Done done) EXCLUDES(mutex);
  void cancel(std::uint64_t id) EXCLUDES(mutex);

  void run() noexcept;
  bool take_posted() EXCLUDES(mutex);  // false: time to stop
  void drop(std::uint64_t id);
  void let_go(Entry& entry);
  bool end_a_drain();
  void admit();
  void admit_one(EntryPtr entry);
  void collect();
  int expire();  // milliseconds until the next look at the clock
  void finish(EntryPtr entry, Result<Response> result);
  EntryPtr take_active(std::uint64_t id);

  ClientOptions options;
  std::unique_ptr<CURLM, FreeMulti> multi;
  std::deque<EntryPtr> waiting;                        // the engine's thread only
  std::unordered_map<std::uint64_t, EntryPtr> active;  // likewise
  Mutex mutex;
  std::deque<EntryPtr> posted GUARDED_BY(mutex);
  std::vector<std::uint64_t> cancelled GUARDED_BY(mutex);
  bool stopping GUARDED_BY(mutex) = false;
  std::atomic<std::uint64_t> next_id{1};
  std::thread thread;
};

Client::Engine::Engine(ClientOptions o) : options(std::move(o)) {
  [[maybe_unused]] static const CURLcode global = curl_global_init(CURL_GLOBAL_DEFAULT);
  multi.reset(curl_multi_init());
  if (!multi) throw std::bad_alloc();
  options.max_connections = std::max<std::size_t>(options.max_connections, 1);
  curl_multi_setopt(multi.get(), CURLMOPT_MAXCONNECTS, static_cast<long>(options.max_connections));
  // No signal is for this thread: the daemon's handlers run elsewhere, and a closed socket must not kill it.
  sigset_t all;
  sigset_t before;
  ::sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, &before);
  thread = std::thread([this] { run(); });
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

Client::Engine::~Engine() {
  assert(std::this_thread::get_id() != thread.get_id() && "a Client destroyed from its own callback");
  {
    MutexLock lock(mutex);
    stopping = true;
  }
  curl_multi_wakeup(multi.get());
  thread.join();
}

std::uint64_t Client::Engine::start(Request request, Client::Done done) {
  const std::uint64_t id = next_id.fetch_add(1);
  auto entry = std::make_unique<Entry>(std::make_unique<Transfer>(id, std::move(request), std::move(done)));
  bool late = false;
  {
    MutexLock lock(mutex);
    late = stopping;
    if (!late) posted.push_back(std::move(entry));
  }
  if (late) {
    const Error error = entry->transfer->cancelled();
    call_done(entry->transfer->take_done(), error);
  }
  curl_multi_wakeup(multi.get());
  return id;
}

void Client::Engine::cancel(std::uint64_t id) {
  {
    MutexLock lock(mutex);
    if (stopping) return;
    cancelled.push_back(id);
  }
  curl_multi_wakeup(multi.get());
}

void Client::Engine::run() noexcept {
  ::pthread_setname_np(::pthread_self(), "mediafs-http");
  while (take_posted()) {
    admit();
    int running = 0;
    curl_multi_perform(multi.get(), &running);
    collect();
    const int wait_ms = expire();
    // Finished transfers made room: go on at once.
    const bool room = !waiting.empty() && active.size() < options.max_connections;
    curl_multi_poll(multi.get(), nullptr, 0, room ? 0 : wait_ms, nullptr);
  }
  while (!active.empty()) {
    EntryPtr entry = take_active(active.begin()->first);
    const Error error = entry->transfer->cancelled();
    finish(std::move(entry), error);
  }
  while (!waiting.empty()) drop(waiting.front()->transfer->id());
}

bool Client::Engine::take_posted() {
  std::deque<EntryPtr> fresh;
  std::vector<std::uint64_t> ids;
  bool stop = false;
  {
    MutexLock lock(mutex);
    fresh.swap(posted);
    ids.swap(cancelled);
    stop = stopping;
  }
  for (EntryPtr& entry : fresh) {
    Transfer& transfer = *entry->transfer;
    // Already stopped: the callback runs at once and posts the cancellation for the next round.
    if (transfer.stop().stop_possible()) entry->on_stop.emplace(transfer.stop(), Cancel{this, transfer.id()});
    waiting.push_back(std::move(entry));
  }
  for (const std::uint64_t id : ids) drop(id);
  return !stop;
}

Client::Engine::EntryPtr Client::Engine::take_active(std::uint64_t id) {
  const auto found = active.find(id);
  if (found == active.end()) return nullptr;
  EntryPtr entry = std::move(found->second);
  active.erase(found);
  return entry;
}

// Ends a transfer as cancelled, wherever it is; nothing when it is over already.
void Client::Engine::drop(std::uint64_t id) {
  if (const auto found = active.find(id); found != active.end()) {
    if (found->second->transfer->draining()) return;
    if (found->second->transfer->worth_draining()) return let_go(*found->second);
  }
  EntryPtr entry = take_active(id);
  if (!entry) {
    const auto found = std::find_if(waiting.begin(), waiting.end(),
                                    [&](const EntryPtr& e) { return e->transfer->id() == id; });
    if (found == waiting.end()) return;
    entry = std::move(*found);
    waiting.erase(found);
  }
  const Error error = entry->transfer->cancelled();
  finish(std::move(entry), error);
}

// It is over for who asked; the rest of the reply is read for the sake of its connection.
void Client::Engine::let_go(Entry& entry) {
  entry.on_stop.reset();
  const Error error = entry.transfer->cancelled();
  entry.transfer->log_end(error);
  const auto done = entry.transfer->drain(std::chrono::steady_clock::now() + options.drain_time);
  call_done(done, error);
}

// Frees a connection for who waits for one.
bool Client::Engine::end_a_drain() {
  const auto found = std::find_if(active.begin(), active.end(),
                                  [](const auto& one) { return one.second->transfer->draining(); });
  if (found == active.end()) return false;
  const Error error = found->second->transfer->cancelled();
  finish(take_active(found->first), error);
  return true;
}

// Waiting here and not in curl keeps the stall clock of a transfer from running before its turn.
void Client::Engine::admit() {
  while (!waiting.empty() && (active.size() < options.max_connections || end_a_drain())) {
    EntryPtr entry = std::move(waiting.front());
    waiting.pop_front();
    admit_one(std::move(entry));
  }
}

void Client::Engine::admit_one(EntryPtr entry) {
  Transfer& transfer = *entry->transfer;
  if (transfer.stop().stop_requested()) {
    const Error error = transfer.cancelled();
    return finish(std::move(entry), error);
  }
  if (auto ready = transfer.prepare(options); !ready)
    return finish(std::move(entry), std::move(ready).error());
  const CURLMcode code = curl_multi_add_handle(multi.get(), transfer.easy());
  if (code != CURLM_OK) {
    return finish(std::move(entry),
                  make_error(ErrorCode::internal, "http transfer", curl_multi_strerror(code)));
  }
  active.emplace(transfer.id(), std::move(entry));
}

void Client::Engine::collect() {
  int left = 0;
  while (const CURLMsg* message = curl_multi_info_read(multi.get(), &left)) {
    if (message->msg != CURLMSG_DONE) continue;
    const CURLcode code = message->data.result;
    Transfer* transfer = nullptr;
    curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &transfer);
    if (transfer->begin_again(code)) {
      curl_multi_remove_handle(multi.get(), transfer->easy());
      if (curl_multi_add_handle(multi.get(), transfer->easy()) == CURLM_OK) continue;
    }
    EntryPtr entry = take_active(transfer->id());
    auto result = transfer->draining() ? Result<Response>(transfer->cancelled()) : transfer->outcome(code);
    finish(std::move(entry), std::move(result));
  }
}

int Client::Engine::expire() {
  const SteadyTime now = std::chrono::steady_clock::now();
  SteadyTime next = now + kLongestPoll;
  std::vector<std::pair<std::uint64_t, Error>> late;
  const auto look = [&](Transfer& transfer) {
    if (auto error = transfer.expired(now)) {
      late.emplace_back(transfer.id(), std::move(*error));
    } else {
      next = std::min(next, transfer.due());
    }
  };
  for (auto& [id, entry] : active) {
    if (entry->transfer->gave_up()) let_go(*entry);
    look(*entry->transfer);
  }
  for (EntryPtr& entry : waiting) look(*entry->transfer);
  for (auto& [id, error] : late) {
    EntryPtr entry = take_active(id);
    if (!entry) {
      const auto found = std::find_if(waiting.begin(), waiting.end(), [&, wanted = id](const EntryPtr& e) {
        return e->transfer->id() == wanted;
      });
      entry = std::move(*found);
      waiting.erase(found);
    }
    finish(std::move(entry), std::move(error));
  }
  const auto wait = std::chrono::ceil<std::chrono::milliseconds>(next - now).count();
  return static_cast<int>(std::clamp<long>(wait, 0, kLongestPoll.count()));
}

void Client::Engine::finish(EntryPtr entry, Result<Response> result) {
  Transfer& transfer = *entry->transfer;
  if (transfer.easy() != nullptr) curl_multi_remove_handle(multi.get(), transfer.easy());
  const bool told = transfer.draining();
  if (!told) transfer.log_end(result);
  const Client::Done done = transfer.take_done();
  entry.reset();  // the request's callbacks and their captures go before the caller learns that it is over
  if (!told) call_done(done, std::move(result));
}

Client::Client(ClientOptions options) : engine_(std::make_unique<Engine>(std::move(options))) {}
Client::~Client() = default;

Result<Response> Client::perform(Request request) {
  if (std::this_thread::get_id() == engine_->thread.get_id()) {
    return make_error(ErrorCode::internal, "http request",
                      "perform() was called from the engine's own thread");
  }
  auto promise = std::make_shared<std::promise<Result<Response>>>();
  auto future = promise->get_future();
  engine_->start(std::move(request),
                 [promise](Result<Response> result) { promise->set_value(std::move(result)); });
  return future.get();
}

std::uint64_t Client::start(Request request, Done on_done) {
  return engine_->start(std::move(request), std::move(on_done));
}

void Client::cancel(std::uint64_t transfer) {
  engine_->cancel(transfer);
}

std::string_view Response::header(const std::string& lower_case_name) const {
  const auto found = headers.find(lower_case_name);
  return found == headers.end() ? std::string_view{} : std::string_view(found->second);
}

std::string base64(std::string_view bytes) {
  std::string text((bytes.size() + 2) / 3 * 4 + 1, '\0');  // with the NUL that is written too
  EVP_EncodeBlock(reinterpret_cast<unsigned char*>(text.data()),
                  reinterpret_cast<const unsigned char*>(bytes.data()), static_cast<int>(bytes.size()));
  text.pop_back();
  return text;
}

std::string percent_encode(std::string_view bytes, bool keep_slash) {
  constexpr std::string_view kHex = "0123456789ABCDEF";
  std::string out;
  out.reserve(bytes.size());
  for (const char c : bytes) {
    const bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
    if (letter || c == '-' || c == '_' || c == '.' || c == '~' || (c == '/' && keep_slash)) {
      out.push_back(c);
    } else {
      const auto byte = static_cast<unsigned char>(c);
      out.append(1, '%').append(1, kHex[byte >> 4]).append(1, kHex[byte & 15]);
    }
  }
  return out;
}

std::string percent_decode(std::string_view text) {
  const auto nibble = [](char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
  };
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '%' && i + 2 < text.size() && nibble(text[i + 1]) >= 0 && nibble(text[i + 2]) >= 0) {
      out.push_back(static_cast<char>(nibble(text[i + 1]) << 4 | nibble(text[i + 2])));
      i += 2;
    } else {
      out.push_back(text[i]);
    }
  }
  return out;
}

}  // namespace mediafs::http
