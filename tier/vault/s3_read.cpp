#include "tier/vault/s3_read.h"

#include "tier/vault/s3_xml.h"

namespace mediafs::tier::s3 {

http::Request S3Reads::prepare(const Range& range) {
  Call call;
  call.key = range.key;
  call.headers.emplace_back("range",
                            "bytes=" + std::to_string(range.first) + "-" + std::to_string(range.last));
  if (!range.etag.empty()) call.headers.emplace_back("if-match", "\"" + range.etag + "\"");
  call.reply_bytes = range.last - range.first + 1;
  return client_.prepare(call);
}

ReadServer::Verdict S3Reads::judge(const std::string& what, std::uint64_t mark,
                                   const Result<http::Response>& outcome) {
  Call call;
  call.what = what;
  call.access = mark;
  auto verdict = client_.judge(call, outcome);
  return {std::move(verdict.error), verdict.again};
}

std::string S3Reads::version(const http::Response& head, const std::string&) const {
  return unquote_etag(head.header("etag"));
}

std::optional<std::chrono::milliseconds> S3Reads::pause(int attempt, const Error& last) {
  const auto wait = quick_pause(attempt, last);
  return wait && client_.budget().take() ? wait : std::nullopt;
}

}  // namespace mediafs::tier::s3
