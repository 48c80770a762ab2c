#include <sqlite3.h>

#include "common/log.h"
#include "tier/catalogue/impl.h"

namespace mediafs::tier {

namespace {

constexpr std::size_t kReaders = 16;

bool has_snapshot(sql::Connection& db) {  // an error may have ended it
  return sqlite3_get_autocommit(db.raw()) == 0;
}

bool end_snapshot(sql::Connection& db) {
  if (!has_snapshot(db)) return true;
  const Status ended = db.run("COMMIT");
  if (!ended) log::debug("catalogue reader dropped", {{"why", ended.err().message()}});
  return ended.has_value();
}

}  // namespace

Readers::Lease::~Lease() {
  if (reader_) readers_->give_back(std::move(reader_));
}

Result<std::unique_ptr<sql::Connection>> Readers::connect() const {
  MEDIAFS_ASSIGN(auto db, sql::Connection::open(path_, sql::Connection::Mode::read_only));
  db->on_corrupt(on_corrupt_);
  MEDIAFS_TRY(db->execute("PRAGMA query_only=1"));
  return db;
}

Result<std::unique_ptr<Readers::Reader>> Readers::take() {
  {
    MutexLock lock(mutex_);
    while (idle_.empty() && open_ >= kReaders) given_back_.wait(mutex_);
    if (!idle_.empty()) {
      auto reader = std::move(idle_.back());
      idle_.pop_back();
      return reader;
    }
    ++open_;
  }
  auto db = connect();
  if (db) return std::make_unique<Reader>(Reader{std::move(*db)});
  give_back(nullptr);
  return std::move(db).error();
}

bool Readers::is_current(const Reader& reader) const {
  return writer_ != nullptr && !committing_ && reader.commits == commits_;
}

void Readers::put(std::unique_ptr<Reader> reader) {
  if (reader) {
    idle_.push_back(std::move(reader));
  } else {
    --open_;
  }
  given_back_.notify_one();
}

void Readers::give_back(std::unique_ptr<Reader> reader) {
  {
    MutexLock lock(mutex_);
    if (!reader || is_current(*reader)) return put(std::move(reader));
  }
  if (!end_snapshot(*reader->db)) reader.reset();
  MutexLock lock(mutex_);
  put(std::move(reader));
}

void Readers::committing() {
  std::vector<std::unique_ptr<Reader>> ending;
  {
    MutexLock lock(mutex_);
    committing_ = true;
    std::swap(ending, idle_);
  }
  for (auto& reader : ending) {
    if (!end_snapshot(*reader->db)) reader.reset();
  }
  MutexLock lock(mutex_);
  for (auto& reader : ending) put(std::move(reader));
}

void Readers::committed() {
  MutexLock lock(mutex_);
  committing_ = false;
  ++commits_;
}

void Readers::close() {
  std::vector<std::unique_ptr<Reader>> ending;
  {
    MutexLock lock(mutex_);
    std::swap(ending, idle_);
    open_ -= ending.size();
  }
}

Result<Readers::Lease> Readers::lease(Writer::Haste haste) {
  if (writer_ != nullptr) MEDIAFS_TRY(writer_->flush_pending(haste));
  return now();
}

Result<Readers::Lease> Readers::now() {
  MEDIAFS_ASSIGN(auto reader, take());
  std::uint64_t commits = 0;
  bool current = false;
  {
    MutexLock lock(mutex_);
    commits = commits_;
    current = is_current(*reader);
  }
  if (current && has_snapshot(*reader->db)) return Lease(*this, std::move(reader));
  reader->directories.clear();
  reader->commits = commits;
  const Status begun = end_snapshot(*reader->db)
                           ? reader->db->run("BEGIN")
                           : Status(make_error(ErrorCode::io, "database " + path_, "a reader can't go on"));
  if (!begun) {
    give_back(nullptr);
    return begun.err();
  }
  return Lease(*this, std::move(reader));
}

}  // namespace mediafs::tier
