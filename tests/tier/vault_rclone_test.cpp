// The halves in C++ of s3_contract.py's comparison with rclone. Run by it, not by themselves.
#include <cstdlib>

#include "tests/tier/vault_contract.h"

namespace mediafs::tier::test {

TEST_CASE("rclone: write what it will read" * doctest::skip()) {
  const auto vault = S3Subject::from_parent().open();
  const auto put = [&](const std::string& key, std::size_t size, WallNs mtime) {
    const Source source(make_bytes(size, 11));
    ObjectMeta meta = some_meta();
    meta.mtime_ns = mtime;
    value_of(vault->put(key, source.put(), meta, {}));
  };
  put("small + %41/\xC3\xBC.mkv", 10, 1'700'000'000'123'456'789);
  put("empty", 0, 1'000'000'000'000'000'000);
  put("large", 3 * kPart + 1, 1'600'000'000'500'000'000);
  ObjectMeta meta = some_meta();
  meta.mtime_ns = 1'500'000'000'000'000'001;
  value_of(vault->copy("large", "copied", meta, {}));
}

TEST_CASE("rclone: read what it wrote" * doctest::skip()) {
  const auto vault = S3Subject::from_parent().open();
  const ObjectInfo head = value_of(vault->head("theirs/f + %41"));
  CHECK(head.size_bytes == 6);
  CHECK(head.meta.mtime_ns == 1'234'567'890'123'456'789);
  CHECK(value_of(read_bytes(*vault, {head.key, 0, 6, head.etag})) == "theirs");
  CHECK(keys_of(list_all(*vault, "theirs")) == std::vector<std::string>{head.key});
}

}  // namespace mediafs::tier::test
