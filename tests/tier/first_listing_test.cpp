#include "tier/first_listing.h"

#include <algorithm>

#include "catalogue_fixture.h"

namespace mediafs::tier {

namespace {

// A store that lists in the order of its keys, and breaks off when told.
class Store final : public Vault {
 public:
  std::vector<std::string> keys;  // sorted
  std::size_t page_size = 10, breaks_after = 1000;
  std::vector<std::string> asked;  // from where it was listed

  std::string describe() const override { return "a store"; }
  Status probe() override { return {}; }
  Result<PutResult> put(const std::string&, const PutSource&, const ObjectMeta&, std::stop_token) override {
    return no();
  }
  Result<ObjectInfo> head(const std::string&) override { return no(); }  // nobody may ask for one
  std::uint64_t start_read(ReadRequest, std::function<bool(std::span<const std::byte>)>,
                           std::function<void(Status)> on_done) override {
    on_done(no());
    return 0;
  }
  void cancel(std::uint64_t) override {}
  Result<ObjectInfo> copy(const std::string&, const std::string&, const ObjectMeta&,
                          std::stop_token) override {
    return no();
  }
  Status remove(const std::string&) override { return no(); }
  Status collect_garbage() override { return no(); }
  Status list(const std::string&, const std::function<bool(std::vector<ObjectInfo>&&)>& page,
              std::stop_token stop) override {
    return list_after("", page, std::move(stop));
  }
  Status list_after(const std::string& after, const std::function<bool(std::vector<ObjectInfo>&&)>& page,
                    std::stop_token) override {
    asked.push_back(after);
    auto next = std::upper_bound(keys.begin(), keys.end(), after);
    for (std::size_t pages = 0; next != keys.end(); ++pages) {
      if (pages == breaks_after) return make_error(ErrorCode::offline, "list");
      std::vector<ObjectInfo> objects;
      for (; next != keys.end() && objects.size() < page_size; ++next) {
        ObjectInfo info;
        info.key = *next;
        info.size_bytes = 7;
        info.etag = "e";
        objects.push_back(std::move(info));
      }
      if (!page(std::move(objects))) return {};
    }
    return {};
  }

 private:
  static Error no() { return make_error(ErrorCode::unsupported, "a store that is only listed"); }
};

}  // namespace

TEST_CASE_FIXTURE(CatalogueFixture, "the first listing goes on where it broke off, and is taken once") {
  Store store;
  for (int n = 100; n < 200; ++n) store.keys.push_back("Movies/f" + std::to_string(n));
  store.breaks_after = 3;
  Branches branches;
  branches.catalogue = &cat();
  branches.vault = &store;
  FirstListing listing(branches, {});
  const Status cut = listing.run({});
  REQUIRE_FALSE(cut);
  CHECK(cut.err().code == ErrorCode::offline);
  CHECK(cat().list("Movies")->size() == 30);  // they are served meanwhile
  CHECK_FALSE(listing.progress().running);
  store.breaks_after = 1000;
  REQUIRE(listing.run({}));
  CHECK(cat().list("Movies")->size() == 100);
  CHECK(listing.progress().objects == 70);
  CHECK(store.asked == std::vector<std::string>{"", "Movies/f129"});
  REQUIRE(listing.run({}));
  CHECK(store.asked.size() == 2);
  REQUIRE(cat().vault_replaced());  // another vault: from its first key
  REQUIRE(listing.run({}));
  CHECK(store.asked.back().empty());
}

}  // namespace mediafs::tier
