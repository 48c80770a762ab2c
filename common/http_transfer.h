// One HTTP transfer: a curl handle set up from a Request, and the callbacks that move its bytes.
// Private to http*.cpp.
// Threads:    used on the engine's thread only, but for its construction.
// Owns:       its curl handle. The engine adds it to and removes it from the multi handle.
#pragma once

#include <curl/curl.h>

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <stop_token>
#include <string>
#include <string_view>

#include "common/clock.h"
#include "common/http.h"

namespace mediafs::http {

class Transfer {
 public:
  Transfer(std::uint64_t id, Request request, Client::Done done);
  Transfer(const Transfer&) = delete;
  Transfer& operator=(const Transfer&) = delete;

  std::uint64_t id() const { return id_; }
  CURL* easy() const { return easy_.get(); }
  const std::stop_token& stop() const { return request_.stop; }
  Status prepare(const ClientOptions& options);  // makes the curl handle; the stall clock starts

  // When expired() is worth asking again. While it waits for its turn only the deadline counts.
  SteadyTime due() const { return due_; }
  // The timeout's error when nothing moved for too long or the deadline passed.
  std::optional<Error> expired(SteadyTime now);

  // True when it failed only because a kept connection had been closed by the server meanwhile: the engine then adds
  // the handle, made ready for a connection of its own, once more.
  bool begin_again(CURLcode code);
  // Cancelling closes the connection, and the next request would wait for another: whether reading the rest costs less.
  bool worth_draining() const;
  bool gave_up() const { return gave_up_ && !draining_; }  // a callback refused: drain() is due
  // Forgets whom it was for, which it answers; what still comes is thrown away, until then at most.
  Client::Done drain(SteadyTime until);
  bool draining() const { return draining_; }
  Result<Response> outcome(CURLcode code);  // once, when curl is done with it
  Error cancelled() const { return failure(ErrorCode::cancelled, "asked to stop"); }
  void log_end(const Result<Response>& result) const;  // at level debug
  Client::Done take_done() { return std::move(done_); }

 private:
  struct FreeEasy {
    void operator()(CURL* easy) const { curl_easy_cleanup(easy); }
  };
  struct FreeList {
    void operator()(curl_slist* list) const { curl_slist_free_all(list); }
  };

  void set_common_options(const ClientOptions& options);
  void set_send_limit();
  void set_method();
  Status set_headers();
  Error failure(ErrorCode code, std::string cause) const;
  std::optional<std::uint64_t> announced_size() const;
  bool sends_body() const;
  void schedule(SteadyTime now);

  bool show_head();
  bool take_header(std::string_view line);
  bool take_body(std::span<const std::byte> bytes);
  std::size_t give_body(std::span<std::byte> into);
  bool rewind_body();
  static std::size_t header_callback(char* data, std::size_t size, std::size_t count, void* self) noexcept;
  static std::size_t write_callback(char* data, std::size_t size, std::size_t count, void* self) noexcept;
  static std::size_t read_callback(char* data, std::size_t size, std::size_t count, void* self) noexcept;
  static int seek_callback(void* self, curl_off_t offset, int origin) noexcept;

  std::uint64_t id_;
  Request request_;
  Client::Done done_;
  std::unique_ptr<curl_slist, FreeList> headers_;
  std::array<char, CURL_ERROR_SIZE> curl_message_{};
  std::unique_ptr<CURL, FreeEasy> easy_;  // after what it points to
  Response response_;
  std::optional<Error> abort_;  // why one of our callbacks stopped the transfer
  bool expects_continue_ = false;
  bool head_shown_ = false;
  bool head_whole_ = false;  // its end was seen: else the connection ended within it
  bool began_again_ = false;
  bool gave_up_ = false;
  bool draining_ = false;
  std::uint64_t received_ = 0;  // bytes of the reply's body
  std::uint64_t sent_ = 0;      // bytes of the body handed to curl
  SteadyTime started_;          // when it was asked for: the deadline counts from here
  SteadyTime admitted_{};       // when curl got it
  SteadyTime last_progress_{};
  SteadyTime due_;
  curl_off_t sampled_ = 0;  // bytes that had gone through curl when last looked at
};

}  // namespace mediafs::http
