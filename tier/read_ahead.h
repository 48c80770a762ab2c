// Tells a sequential reader from a seeking one, and how far ahead to ask. Pure: no I/O, no clock.
// Threads:    values; the caller brings the lock.
// Units:      bytes. What to ask for begins and ends at any byte; the caller rounds to blocks.
// Invariants: (1) what is asked for ahead is at most twice what the run has read, so that little is fetched in vain, but
//             for who went on reading after a seek: that is a player; (2) beyond kPatientWindow the window grows only for a
//             reader that had to wait.
#pragma once

#include <algorithm>
#include <cstdint>

namespace mediafs::tier {

class ReadAhead {
 public:
  static constexpr std::uint64_t kSmallestWindow = 256ULL << 10;
  static constexpr std::uint64_t kPatientWindow = 8ULL << 20;
  static constexpr std::uint64_t kLargestWindow = 64ULL << 20;
  // The kernel asks for what it reads ahead in several pieces, which arrive out of order.
  static constexpr std::uint64_t kSlack = 2ULL << 20;
  static constexpr std::uint64_t kLate = 4ULL << 20;
  static constexpr std::uint64_t kBoldRun = 1280ULL << 10;
  static constexpr std::uint64_t kSmallestSegment = 256ULL << 10;
  static constexpr std::uint64_t kLargestSegment = 4ULL << 20;

  struct Plan {
    bool seek = false;                 // what was asked for before is useless
    std::uint64_t begin = 0, end = 0;  // ask for this ahead; empty: nothing now
    std::uint64_t segment_bytes = 0;   // in requests of this size
  };

  // A read of [offset, offset + size) of an object of object_bytes was asked for.
  Plan note(std::uint64_t offset, std::uint64_t size, std::uint64_t object_bytes) {
    const auto end = offset + size;
    const bool follows =
        started_ && offset + kLate >= position_ && offset <= std::max(position_ + kSlack, asked_);
    if (!follows) {
      const bool seek = started_;
      *this = ReadAhead{};
      started_ = true;
      sought_ = seek;
      run_begin_ = offset;
      run_bytes_ = first_bytes_ = size;
      position_ = asked_ = raised_at_ = end;
      return {seek, end, end, std::clamp(size, kSmallestSegment, kLargestSegment)};
    }
    if (offset < run_begin_) {  // the first piece comes late
      run_begin_ = offset;
      first_bytes_ = std::max(first_bytes_, size);
    }
    position_ = std::max(position_, end);
    run_bytes_ = std::min(run_bytes_ + size, position_ - run_begin_);
    asked_ = std::max(asked_, position_);
    // The rest of one read that the kernel cut in two is no sign of more to come.
    if (run_bytes_ < first_bytes_ + first_bytes_ / 4)
      return {false, asked_, asked_, std::clamp(size, kSmallestSegment, kLargestSegment)};
    const auto least = sought_ && run_bytes_ >= kBoldRun ? kPatientWindow : kSmallestWindow;
    window_ = std::clamp(2 * run_bytes_, least, ceiling_);
    const auto segment = std::clamp(std::max(window_ / 4, size), kSmallestSegment, kLargestSegment);
    const auto want = std::min(position_ + window_, object_bytes);
    // Whole segments only: many small requests would cost more than they bring.
    const bool enough = want >= asked_ + segment || (want == object_bytes && want > asked_);
    return {false, asked_, enough ? want : asked_, segment};
  }
  // [.., until) was really asked for; less than planned when memory or connections were short.
  void asked(std::uint64_t until) { asked_ = std::max(asked_, until); }
  // What was asked for from `offset` on won't come.
  void lost(std::uint64_t offset) { asked_ = std::max(position_, std::min(asked_, offset)); }
  // The reader had to wait for bytes at `offset`.
  void waited(std::uint64_t offset) {
    // A player that seeks and buffers some MiB before it goes on shall not look like one that reads it all.
    const auto proof = sought_ && ceiling_ == kPatientWindow ? ceiling_ : ceiling_ / 2;
    if (window_ < ceiling_ || ceiling_ >= kLargestWindow || offset < raised_at_ + proof) return;
    ceiling_ *= 2;
    raised_at_ = offset;
  }

 private:
  bool started_ = false;
  bool sought_ = false;  // this run began with a seek
  std::uint64_t run_begin_ = 0;
  std::uint64_t first_bytes_ = 0;  // of the run's first read
  std::uint64_t run_bytes_ = 0;
  std::uint64_t position_ = 0;  // the end of the furthest read of this run
  std::uint64_t asked_ = 0;
  std::uint64_t window_ = 0;
  std::uint64_t ceiling_ = kPatientWindow;
  std::uint64_t raised_at_ = 0;  // where the ceiling was raised
};

}  // namespace mediafs::tier
