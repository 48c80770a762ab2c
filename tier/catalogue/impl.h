// What a Catalogue is made of: one writer, a pool of readers, the queue.
// Threads:    as in catalogue.h. A Lease belongs to one thread and gives its reader back when it dies.
#pragma once

#include <utility>

#include "tier/catalogue/internal.h"
#include "tier/catalogue/writer.h"

namespace mediafs::tier {

class Readers {
 public:
  explicit Readers(std::string path) : path_(std::move(path)) {}

  class Lease {  // one snapshot of the database
   public:
    Lease(Lease&& other) noexcept = default;
    Lease& operator=(Lease&&) = delete;
    ~Lease();
    sql::Connection& db() { return *db_; }

   private:
    friend class Readers;
    Lease(Readers& readers, std::unique_ptr<sql::Connection> db) : readers_(&readers), db_(std::move(db)) {}
    Readers* readers_;
    std::unique_ptr<sql::Connection> db_;
  };

  // A snapshot that has everything which was answered before. now(): what the database has, without a wait.
  Result<Lease> lease(Writer::Haste haste = Writer::Haste::patient) EXCLUDES(mutex_);
  Result<Lease> at_once() EXCLUDES(mutex_) { return lease(Writer::Haste::at_once); }
  Result<Lease> now() EXCLUDES(mutex_);
  void follow(Writer* writer) { writer_ = writer; }
  // A connection outside any transaction, for what must not run in one.
  Result<std::unique_ptr<sql::Connection>> connect() const;

 private:
  Result<std::unique_ptr<sql::Connection>> take() EXCLUDES(mutex_);
  void give_back(std::unique_ptr<sql::Connection> db, bool usable) EXCLUDES(mutex_);
  std::string path_;
  Writer* writer_ = nullptr;  // whose pending records come first; set before anybody reads
  Mutex mutex_;
  CondVar given_back_;
  std::size_t open_ GUARDED_BY(mutex_) = 0;
  std::vector<std::unique_ptr<sql::Connection>> idle_ GUARDED_BY(mutex_);
};

struct Catalogue::Impl {
  explicit Impl(Options o) : options(std::move(o)), readers(options.path) {}
  Status write(const Writer::Work& work, bool durable = false);
  Status open_writer();
  Later::Touch pending(std::string_view path) const;  // what is pending and has to do with this name
  // The row as the writer sees it, or not_found.
  static Result<Node> file(rows::Tx& tx, std::int64_t id);

  Options options;
  rows::PromisedInodes promised;
  rows::Names names;
  Readers readers;
  std::unique_ptr<Writer> writer;  // unset when read-only
  std::unique_ptr<Jobs> jobs;
};

std::unique_ptr<Jobs> make_jobs(Readers& readers, Writer* writer, const Catalogue::Options& options);

}  // namespace mediafs::tier
