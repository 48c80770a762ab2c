// A subject of the contract whose server stands behind a fault proxy (tests/servers/faultproxy.py).
#pragma once

#include <cstdlib>
#include <string>
#include <vector>

#include "common/http.h"
#include "tests/tier/vault_contract.h"

namespace mediafs::tier::test {

inline std::string environment(const char* name) {
  const char* value = ::getenv(name);
  return value == nullptr ? std::string() : std::string(value);
}

class ProxiedS3 {
 public:
  static std::string unavailable() {
    return environment("MEDIAFS_TEST_S3_PROXY").empty() ? "no fault proxy (MEDIAFS_TEST_S3_PROXY is not set)"
                                                        : "";
  }
  ProxiedS3() { post("/reset"); }
  ~ProxiedS3() { asked("POST", "/reset"); }
  ProxiedS3(const ProxiedS3&) = delete;
  ProxiedS3& operator=(const ProxiedS3&) = delete;

  static s3::Options through_proxy(s3::Options options) {
    const std::string proxy = environment("MEDIAFS_TEST_S3_PROXY");
    options.host = proxy.substr(proxy.find("//") + 2);
    while (options.host.ends_with('/')) options.host.pop_back();
    options.stall_timeout = std::chrono::milliseconds(1500);
    return options;
  }
  s3::Options options() const { return through_proxy(direct.options()); }
  std::unique_ptr<Vault> open() const { return s3::open_s3_vault(options()); }
  static void set(const std::string& settings) { post("/set?" + settings); }
  // A fault of the requests whose "METHOD /path HTTP/1.1" matches.
  static void rule(const std::string& match, const std::string& fault) {
    post("/rule?match=" + http::percent_encode(match, false) + "&fault=" + fault);
  }
  static std::vector<std::string> requests(std::size_t from = 0) {
    std::vector<std::string> lines;
    for (std::string text = asked("GET", "/log?from=" + std::to_string(from)); !text.empty();) {
      const auto end = text.find('\n');
      lines.push_back(text.substr(0, end));
      text.erase(0, end == std::string::npos ? end : end + 1);
    }
    return lines;
  }
  static void post(const std::string& what) { REQUIRE_FALSE(asked("POST", what).empty()); }
  S3Subject direct;

 private:
  static std::string asked(const std::string& method, const std::string& what) {
    http::Client client;
    http::Request request;
    request.method = method;
    request.url = environment("MEDIAFS_TEST_S3_PROXY_CONTROL") + what;
    const auto answer = client.perform(std::move(request));
    return answer && answer->status == 200 ? answer->body : std::string();
  }
};

}  // namespace mediafs::tier::test
