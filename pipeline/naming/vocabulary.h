// The words that release names use, and what each may mean.
// Threads:    pure functions over constant tables.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace mediafs::naming {

// Bits; a word may be several.
inline constexpr std::uint32_t kStrong = 1;  // never part of a title: 1080p, x264, BluRay
inline constexpr std::uint32_t kWeak = 2;    // technical only next to other technical words: WEB, HD, LIMITED
inline constexpr std::uint32_t kLanguage = 4;       // weak as well
inline constexpr std::uint32_t kTvSource = 8;       // broadcast: HDTV, PDTV
inline constexpr std::uint32_t kEditionHead = 16;   // "Director's", "Special": needs a tail
inline constexpr std::uint32_t kEditionTail = 32;   // Cut, Edition, Version
inline constexpr std::uint32_t kEditionAlone = 64;  // EXTENDED, IMAX, Remastered
inline constexpr std::uint32_t kSeasonWord = 128;
inline constexpr std::uint32_t kEpisodeWord = 256;
inline constexpr std::uint32_t kSubtitled = 512;     // VOSTFR and such: no broadcast, often anime
inline constexpr std::uint32_t kSpecialWord = 1024;  // OVA, ONA, NCOP
inline constexpr std::uint32_t kExtraWord = 2048;    // extras, trailer
inline constexpr std::uint32_t kResolution = 4096;
inline constexpr std::uint32_t kVersion = 8192;    // v2
inline constexpr std::uint32_t kTrailing = 16384;  // technical when it ends the name, too: PROPER, Subbed
inline constexpr std::uint32_t kMonth = 32768;
inline constexpr std::uint32_t kPlainWord = 65536;  // an English word: technical only in capitals

std::uint32_t classify_word(std::string_view lower);
// The ISO 639-1 code of a language word, or "".
std::string_view language_code(std::string_view lower);
// 1 to 12 for an English month's name or abbreviation.
std::optional<int> month_number(std::string_view lower);
bool is_known_extension(std::string_view lower);
bool is_video_extension(std::string_view lower);
bool is_subtitle_extension(std::string_view lower);

}  // namespace mediafs::naming
