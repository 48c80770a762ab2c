// Transfers from the vault: their start and end, and where their blocks go.
#include <algorithm>
#include <cstring>
#include <utility>

#include "tier/stream_core.h"

namespace mediafs::tier::streaming {

void StreamCore::run(const Starts& starts, const Cancels& cancels) {
  for (const auto read : cancels) vault_.cancel(read);
  for (const auto& transfer : starts) start(transfer);
}

void StreamCore::start(const std::shared_ptr<Transfer>& transfer) {
  ++requests_;
  transfer->asked = std::chrono::steady_clock::now();
  const auto& name = transfer->object->name;
  const auto read = vault_.start_read(
      {name.key, transfer->offset, transfer->size, name.etag},
      [this, transfer](std::span<const std::byte> bytes) { return on_bytes(*transfer, bytes); },
      [this, transfer](Status status) { on_done(transfer, status); });
  bool cancel = false;
  {
    MutexLock lock(mutex_);
    transfer->read = read;
    cancel = transfer->cancelled;  // while it was being started: abandon() had no number yet
  }
  if (cancel) vault_.cancel(read);
}

bool StreamCore::on_bytes(Transfer& transfer, std::span<const std::byte> bytes) {
  fetched_bytes_ += bytes.size();
  const auto before = transfer.got;  // only this call changes it
  if (bytes.size() > transfer.size - before) {
    MutexLock lock(mutex_);
    transfer.too_long = true;
    return false;
  }
  auto at = before;
  for (auto left = bytes; !left.empty();) {
    auto& block = *transfer.blocks[static_cast<std::size_t>(at / kBlockBytes)];
    const auto skip = static_cast<std::size_t>(at % kBlockBytes);
    const auto count = std::min(left.size(), block.size - skip);
    if (!block.data) block.data = block.buffers->get();
    std::memcpy(block.data.get() + skip, left.data(), count);
    left = left.subspan(count);
    at += count;
  }
  const auto first = static_cast<std::size_t>(before / kBlockBytes);
  const auto last = at == transfer.size ? transfer.blocks.size() : static_cast<std::size_t>(at / kBlockBytes);
  {
    MutexLock lock(mutex_);
    if (before == 0) distance_.first_byte_after(std::chrono::steady_clock::now() - transfer.asked);
    if (transfer.cancelled) return false;
    transfer.got = at;
    for (auto i = first; i < last; ++i) {
      transfer.blocks[i]->filled = transfer.blocks[i]->size;
      transfer.blocks[i]->transfer = nullptr;
    }
    if (last < transfer.blocks.size()) {
      transfer.blocks[last]->filled = static_cast<std::size_t>(at - last * kBlockBytes);
    }
    transfer.object->failing = false;
    for (auto* waiter : transfer.waiters) {
      if (waiter->until <= transfer.offset + at) waiter->wake.notify_all();
    }
  }
  if (first < last) keep(transfer, first, last);
  return true;
}

// Whole blocks go to the cache's queue; what it does not take only memory has.
void StreamCore::keep(const Transfer& transfer, std::size_t first, std::size_t last) {
  const auto& object = transfer.object;
  for (auto i = first; i < last; ++i) {
    const auto& memory = transfer.blocks[i];
    const auto block = transfer.first_block + i;
    if (object->entry != nullptr &&
        cache_->put(object->entry, block, BlockCache::Bytes(memory, memory->data.get()),
                    [this, object, block, memory](bool ok) { written(object, block, memory, ok); })) {
      continue;
    }
    written(object, block, memory, false);
  }
}

void StreamCore::written(const std::shared_ptr<Object>& object, std::uint64_t block,
                         const std::shared_ptr<MemoryBlock>& memory, bool ok) {
  MutexLock lock(mutex_);
  const auto at = object->blocks.find(block);
  if (at == object->blocks.end() || at->second != memory) return;
  if (ok && memory->consumed) {
    object->blocks.erase(at);
    return;
  }
  memory->kept = ok;
  make_loose(object, block, *memory);
}

std::list<Loose>& StreamCore::list_of(const MemoryBlock& memory) {
  return memory.kept ? kept_ : loose_;
}

void StreamCore::make_loose(const std::shared_ptr<Object>& object, std::uint64_t block, MemoryBlock& memory) {
  auto& list = list_of(memory);
  memory.loose = list.insert(memory.consumed ? list.begin() : list.end(), Loose{object, block});
  while (kept_.size() * kBlockBytes > options_.memory_bytes / 4) drop_front(kept_);
  while (buffers_->used_bytes > options_.memory_bytes && drop_one(false)) {
  }
}

// It was read to its end, or nobody is going to.
void StreamCore::consume(MemoryBlock& memory) {
  memory.consumed = true;
  if (!memory.loose) return;
  if (memory.kept) return drop_loose(memory);
  loose_.splice(loose_.begin(), loose_, *memory.loose);
}

void StreamCore::drop_loose(MemoryBlock& memory) {
  const auto at = *std::exchange(memory.loose, std::nullopt);
  const auto [object, block] = *at;
  list_of(memory).erase(at);
  object->blocks.erase(block);  // the last of its owners, perhaps
}

void StreamCore::drop_front(std::list<Loose>& list) {
  const auto memory = list.front().object->blocks.at(list.front().block);
  drop_loose(*memory);
}

// Makes room. False: there is nothing (or nothing useless) to give up.
bool StreamCore::drop_one(bool only_useless) {
  const bool useless = !loose_.empty() && loose_.front().object->blocks.at(loose_.front().block)->consumed;
  if (!useless && !kept_.empty()) {
    drop_front(kept_);
  } else if (useless || (!only_useless && !loose_.empty())) {
    drop_front(loose_);
  } else {
    return false;
  }
  return true;
}

// How much memory there is for reading ahead, after what was read to its end has made way.
std::uint64_t StreamCore::room(std::uint64_t wanted) {
  while (buffers_->used_bytes + wanted > options_.memory_bytes && drop_one(true)) {
  }
  const auto used = buffers_->used_bytes.load();
  return used < options_.memory_bytes ? options_.memory_bytes - used : 0;
}

void StreamCore::abandon(Transfer& transfer, Cancels* cancels) {
  transfer.cancelled = true;
  for (auto* waiter : transfer.waiters) waiter->wake.notify_all();
  if (transfer.read) cancels->push_back(*transfer.read);
  leave(transfer);
}

// Out of the object: what it has not brought can be asked for again.
void StreamCore::leave(Transfer& transfer) {
  auto& object = *transfer.object;
  for (std::size_t i = 0; i < transfer.blocks.size(); ++i) {
    const auto& memory = transfer.blocks[i];
    if (memory->transfer == nullptr) continue;
    memory->transfer = nullptr;
    const auto at = object.blocks.find(transfer.first_block + i);
    if (at != object.blocks.end() && at->second == memory) object.blocks.erase(at);
  }
  if (transfer.got < transfer.size) {
    for (auto* owner : transfer.owners) owner->ahead.lost(transfer.offset + transfer.got);
  }
  transfer.owners.clear();
  object.transfers.remove_if([&](const auto& other) { return other.get() == &transfer; });
}

void StreamCore::on_done(const std::shared_ptr<Transfer>& transfer, const Status& status) {
  const auto& object = transfer->object;
  bool changed = false;
  {
    MutexLock lock(mutex_);
    transfer->finished = true;
    if (!transfer->cancelled) {
      const auto what = "read " + object->name.key;
      if (transfer->too_long) {
        transfer->error = make_error(ErrorCode::corrupt, what, "the vault sent more bytes than asked for");
      } else if (!status) {
        transfer->error = status.err();
      } else if (transfer->got < transfer->size) {
        transfer->error = make_error(ErrorCode::corrupt, what, "the vault sent fewer bytes than asked for");
      }
      if (transfer->error) {
        object->failing = true;
        for (auto* reader : object->reading) {
          if (reader->begin < transfer->end() && transfer->offset + transfer->got < reader->end) {
            reader->missed = transfer->error;
          }
        }
      }
      changed = transfer->error && transfer->error->code == ErrorCode::changed;
      if (changed) object->changed = transfer->error;
      leave(*transfer);
      for (auto* waiter : transfer->waiters) waiter->wake.notify_all();
    }
  }
  if (changed && object->entry != nullptr) cache_->drop(object->entry);
  MutexLock lock(mutex_);
  if (--under_way_ == 0) drained_.notify_all();
}

}  // namespace mediafs::tier::streaming
