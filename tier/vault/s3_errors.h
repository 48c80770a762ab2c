// What a server's refusal means. Pure.
// Source:     Amazon S3 API Reference, "Error responses".
#pragma once

#include <string>

#include "common/result.h"

namespace mediafs::tier::s3 {

struct Refusal {
  int status = 0;
  std::string code;     // from the XML; "" for a reply without a body (HEAD)
  std::string message;  // bounded, printable
  std::string region;   // from the XML
  std::string region_header;
  std::string retry_after;
};

Error error_of(const Refusal& refusal, const std::string& bucket);  // `what` is left empty

}  // namespace mediafs::tier::s3
