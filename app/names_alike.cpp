#include "app/names_alike.h"

#include <locale.h>

#include <algorithm>
#include <climits>
#include <cwchar>
#include <cwctype>
#include <map>
#include <utility>

#include "common/path.h"

namespace mediafs::app {

namespace {

// The C library's knowledge of letters, whatever the caller's language; C.UTF-8 is part of it.
class Utf8 {
 public:
  Utf8() : before_(uselocale(locale())) {}
  ~Utf8() { uselocale(before_); }
  Utf8(const Utf8&) = delete;
  Utf8& operator=(const Utf8&) = delete;

 private:
  static locale_t locale() {
    static const locale_t utf8 = newlocale(LC_CTYPE_MASK, "C.UTF-8", nullptr);
    return utf8;  // null: the caller's stays
  }
  const locale_t before_;
};

}  // namespace

std::string without_case(std::string_view name) {
  const Utf8 letters;
  std::string folded;
  folded.reserve(name.size());
  while (!name.empty()) {
    wchar_t letter = 0;
    std::mbstate_t state{};
    const std::size_t size = std::mbrtowc(&letter, name.data(), name.size(), &state);
    char bytes[MB_LEN_MAX];
    state = {};
    const bool whole = size > 0 && size <= name.size();  // else no letter: a byte as it is
    const std::size_t made =
        whole ? std::wcrtomb(bytes, static_cast<wchar_t>(std::towlower(static_cast<wint_t>(letter))), &state)
              : static_cast<std::size_t>(-1);
    if (made <= sizeof bytes) {
      folded.append(bytes, made);
    } else {
      folded.append(name.substr(0, whole ? size : 1));
    }
    name.remove_prefix(whole ? size : 1);
  }
  return folded;
}

Result<NamesAlike> names_alike(tier::Catalogue& catalogue, std::size_t most) {
  NamesAlike found;
  std::vector<std::string> directories{""};
  while (!directories.empty()) {
    const std::string dir = std::move(directories.back());
    directories.pop_back();
    MEDIAFS_ASSIGN(const auto entries, catalogue.share_entries(dir));
    std::map<std::string, std::vector<std::string>> by_name;
    for (auto entry = entries.rbegin(); entry != entries.rend(); ++entry) {
      std::string path = join_path(dir, entry->name);
      if (entry->is_directory()) directories.push_back(path);
      by_name[without_case(entry->name)].push_back(std::move(path));
    }
    for (auto& [name, paths] : by_name) {
      if (paths.size() < 2) continue;
      std::reverse(paths.begin(), paths.end());
      if (found.groups++ < most) found.some.push_back(std::move(paths));
    }
  }
  return found;
}

}  // namespace mediafs::app
