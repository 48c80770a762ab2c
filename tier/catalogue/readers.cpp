#include "common/log.h"
#include "tier/catalogue/impl.h"

namespace mediafs::tier {

namespace {

constexpr std::size_t kReaders = 16;

}  // namespace

Readers::Lease::~Lease() {
  if (!db_) return;
  const Status ended = db_->execute("COMMIT");
  if (!ended) log::debug("catalogue reader dropped", {{"why", ended.err().message()}});
  readers_->give_back(std::move(db_), ended.has_value());
}

Result<std::unique_ptr<sql::Connection>> Readers::connect() const {
  MEDIAFS_ASSIGN(auto db, sql::Connection::open(path_, sql::Connection::Mode::read_only));
  MEDIAFS_TRY(db->execute("PRAGMA query_only=1"));
  return db;
}

Result<std::unique_ptr<sql::Connection>> Readers::take() {
  {
    MutexLock lock(mutex_);
    while (idle_.empty() && open_ >= kReaders) given_back_.wait(mutex_);
    if (!idle_.empty()) {
      auto db = std::move(idle_.back());
      idle_.pop_back();
      return db;
    }
    ++open_;
  }
  auto db = connect();
  if (!db) give_back(nullptr, false);
  return db;
}

void Readers::give_back(std::unique_ptr<sql::Connection> db, bool usable) {
  MutexLock lock(mutex_);
  if (usable) {
    idle_.push_back(std::move(db));
  } else {
    --open_;
  }
  given_back_.notify_one();
}

Result<Readers::Lease> Readers::lease(Writer::Haste haste) {
  if (writer_ != nullptr) MEDIAFS_TRY(writer_->flush_pending(haste));
  return now();
}

Result<Readers::Lease> Readers::now() {
  MEDIAFS_ASSIGN(auto db, take());
  if (const Status begun = db->execute("BEGIN"); !begun) {
    give_back(nullptr, false);
    return begun.err();
  }
  return Lease(*this, std::move(db));
}

}  // namespace mediafs::tier
