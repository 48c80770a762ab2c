// What a Catalogue is made of: one writer, a pool of readers, the queue.
// Threads:    as in catalogue.h. A Lease belongs to one thread and gives its reader back when it dies.
#pragma once

#include <utility>

#include "tier/catalogue/internal.h"
#include "tier/catalogue/writer.h"

namespace mediafs::tier {

// Connections that read. One keeps its snapshot while nothing is committed: to begin and end one costs more than to
// look a path up in it. Those at rest give theirs up before each commit, so that the log can be cut short after it.
class Readers {
 private:
  struct Reader {
    std::unique_ptr<sql::Connection> db;
    rows::Directories directories = {};  // of the snapshot
    std::uint64_t commits = 0;           // when the snapshot was taken
  };

 public:
  Readers(std::string path, std::function<void()> on_corrupt)
      : path_(std::move(path)), on_corrupt_(std::move(on_corrupt)) {}

  class Lease {  // one snapshot of the database
   public:
    Lease(Lease&& other) noexcept = default;
    Lease& operator=(Lease&&) = delete;
    ~Lease();
    sql::Connection& db() { return *reader_->db; }
    rows::Directories& directories() { return reader_->directories; }

   private:
    friend class Readers;
    Lease(Readers& readers, std::unique_ptr<Reader> reader)
        : readers_(&readers), reader_(std::move(reader)) {}
    Readers* readers_;
    std::unique_ptr<Reader> reader_;
  };

  // A snapshot that has everything which was answered before. now(): what the database has, without a wait.
  Result<Lease> lease(Writer::Haste haste = Writer::Haste::patient) EXCLUDES(mutex_);
  Result<Lease> at_once() EXCLUDES(mutex_) { return lease(Writer::Haste::at_once); }
  Result<Lease> now() EXCLUDES(mutex_);
  void follow(Writer* writer) { writer_ = writer; }
  void close() EXCLUDES(mutex_);       // those at rest. REQUIRES: nobody has one
  void committing() EXCLUDES(mutex_);  // the writer is about to; committed(): it has, or it could not
  void committed() EXCLUDES(mutex_);
  // A connection outside any transaction, for what must not run in one.
  Result<std::unique_ptr<sql::Connection>> connect() const;

 private:
  Result<std::unique_ptr<Reader>> take() EXCLUDES(mutex_);
  // With its snapshot, if that may be used again. Null: it is of no use any more.
  void give_back(std::unique_ptr<Reader> reader) EXCLUDES(mutex_);
  void put(std::unique_ptr<Reader> reader) REQUIRES(mutex_);
  bool is_current(const Reader& reader) const REQUIRES(mutex_);
  std::string path_;
  const std::function<void()> on_corrupt_;
  Writer* writer_ = nullptr;  // whose pending records come first; set before anybody reads
  Mutex mutex_;
  CondVar given_back_;
  std::size_t open_ GUARDED_BY(mutex_) = 0;
  std::vector<std::unique_ptr<Reader>> idle_ GUARDED_BY(mutex_);
  std::uint64_t commits_ GUARDED_BY(mutex_) = 0;
  bool committing_ GUARDED_BY(mutex_) = false;
};

struct Catalogue::Impl {
  explicit Impl(Options o) : options(std::move(o)), readers(options.path, [this] { met_damage(); }) {}
  ~Impl();
  void met_damage() noexcept;
  Status write(const Writer::Work& work, bool durable = false);
  Status open_writer();
  Status mark_incomplete();
  Later::Touch pending(std::string_view path) const;  // what is pending and has to do with this name
  // The row as the writer sees it, or not_found.
  static Result<Node> file(rows::Tx& tx, std::int64_t id);

  Options options;
  std::atomic<bool> damaged{false};
  mutable Mutex incomplete_mutex;
  std::string incomplete GUARDED_BY(incomplete_mutex);
  bool noted_open = false;  // health.h: by this one
  rows::PromisedInodes promised;
  rows::Names names;
  Readers readers;
  std::unique_ptr<Writer> writer;  // unset when read-only
  std::unique_ptr<Jobs> jobs;
};

std::unique_ptr<Jobs> make_jobs(Readers& readers, Writer* writer, const Catalogue::Options& options);

}  // namespace mediafs::tier
