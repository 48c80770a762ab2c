#include "pipeline/naming/companion.h"

#include <algorithm>
#include <array>

#include "common/path.h"
#include "pipeline/naming/safe_name.h"
#include "pipeline/naming/text.h"
#include "pipeline/naming/tokens.h"
#include "pipeline/naming/vocabulary.h"

namespace mediafs::naming {

namespace {

template <std::size_t N>
bool among(const std::array<std::string_view, N>& list, std::string_view word) {
  return std::find(list.begin(), list.end(), word) != list.end();
}

struct Split {
  std::string_view stem;
  std::string ext;  // lower case
};

Split split_name(std::string_view name) {
  const std::size_t dot = name.rfind('.');
  if (dot == name.npos || dot == 0) return {name, {}};
  return {name.substr(0, dot), ascii_lower(name.substr(dot + 1))};
}

bool is_archive(const Split& s) {
  static constexpr std::array<std::string_view, 8> kArchives = {"zip", "rar", "7z", "tar",
                                                                "tgz", "gz",  "xz", "bz2"};
  if (among(kArchives, s.ext)) return true;
  // Volumes: .r00 to .z99, .001
  if (s.ext.size() != 3 || !is_digit(s.ext[1]) || !is_digit(s.ext[2])) return false;
  return (s.ext[0] >= 'r' && s.ext[0] <= 'z') || is_digit(s.ext[0]);
}

bool is_clutter(std::string_view lower_name, const Split& s) {
  static constexpr std::array<std::string_view, 13> kExtensions = {
      "sfv", "srr", "srs", "par2", "url", "lnk", "nzb", "torrent", "md5", "website", "webloc", "htm", "html"};
  static constexpr std::array<std::string_view, 5> kNames = {"thumbs.db", "desktop.ini", ".ds_store",
                                                             "ehthumbs.db", "folder.ini"};
  if (among(kExtensions, s.ext) || among(kNames, lower_name)) return true;
  if (s.ext != "txt" && s.ext != "exe") return false;
  // Adverts name a site; anything else that is text is somebody's.
  static constexpr std::array<std::string_view, 8> kAdverts = {
      "www.", "rarbg", "torrent downloaded from", "downloaded from", "ahashare", "demonoid", ".com", ".org"};
  const std::string stem = ascii_lower(s.stem);
  return std::any_of(kAdverts.begin(), kAdverts.end(),
                     [&](std::string_view a) { return stem.find(a) != std::string::npos; });
}

bool has_sample_word(std::string_view stem) {
  const Name name = tokenize(tidy(stem));
  if (name.size() == 0) return false;
  return name.lower(name.size() - 1) == "sample" || name.lower(0) == "sample";
}

std::string_view normalized_flag(std::string_view low) {
  if (low == "forced" || low == "foreign") return "forced";
  if (low == "sdh") return "sdh";
  if (low == "cc") return "cc";
  if (low == "hi") return "hi";
  if (low == "default") return "default";
  if (low == "commentary") return "commentary";
  return {};
}

std::string_view two_letter_language(std::string_view low) {
  static constexpr std::array<std::string_view, 44> kCodes = {
      "en", "fr", "de", "es", "it", "pt", "nl", "sv", "no", "nb", "nn", "da", "fi", "pl", "cs",
      "sk", "hu", "tr", "el", "he", "ar", "hi", "ta", "te", "ml", "kn", "bn", "zh", "ja", "ko",
      "th", "vi", "uk", "ro", "ca", "fa", "id", "is", "bg", "sr", "hr", "ru", "sl", "et"};
  const auto* it = std::find(kCodes.begin(), kCodes.end(), low);
  return it == kCodes.end() ? std::string_view{} : *it;
}

bool is_region(std::string_view word) {
  return word.size() == 2 && is_upper(word[0]) && is_upper(word[1]);
}

// Art that belongs to the folder, not to one file in it.
bool is_folder_art(std::string_view stem) {
  static constexpr std::array<std::string_view, 12> kNames = {"poster",   "folder",    "cover", "fanart",
                                                              "backdrop", "banner",    "logo",  "clearlogo",
                                                              "clearart", "landscape", "thumb", "disc"};
  return among(kNames, ascii_lower(stem));
}

}  // namespace

std::string_view to_string(FileRole role) noexcept {
  switch (role) {
    case FileRole::video:
      return "video";
    case FileRole::subtitle:
      return "subtitle";
    case FileRole::artwork:
      return "artwork";
    case FileRole::nfo:
      return "nfo";
    case FileRole::archive:
      return "archive";
    case FileRole::sample:
      return "sample";
    case FileRole::clutter:
      return "clutter";
    case FileRole::other:
      return "other";
  }
  return "other";
}

FileRole file_role(std::string_view path) {
  static constexpr std::array<std::string_view, 7> kPictures = {"jpg", "jpeg", "png", "webp",
                                                                "tbn", "gif",  "bmp"};
  const std::string_view name = base_name(path);
  const Split s = split_name(name);
  if (is_clutter(ascii_lower(name), s)) return FileRole::clutter;
  if (is_video_extension(s.ext)) {
    const std::string folder = ascii_lower(base_name(parent_path(path)));
    return has_sample_word(s.stem) || folder == "sample" || folder == "samples" ? FileRole::sample
                                                                                : FileRole::video;
  }
  if (is_subtitle_extension(s.ext)) return FileRole::subtitle;
  if (s.ext == "nfo") return FileRole::nfo;
  if (among(kPictures, s.ext)) return FileRole::artwork;
  return is_archive(s) ? FileRole::archive : FileRole::other;
}

SubtitleTags subtitle_tags(std::string_view text) {
  SubtitleTags tags;
  const Name name = tokenize(tidy(text));
  std::vector<std::string_view> seen;
  for (std::size_t i = name.size(); i > 0; --i) {
    const std::string_view low = name.lower(i - 1);
    // Hindi's code is also the flag "hearing impaired": the flag if a language stands before it.
    const bool hindi = low == "hi" && tags.language.empty() &&
                       (i < 2 || (two_letter_language(name.lower(i - 2)).empty() &&
                                  language_code(name.lower(i - 2)).empty()));
    if (const std::string_view flag = normalized_flag(low); !flag.empty() && !hindi) {
      seen.push_back(flag);
      continue;
    }
    if (!tags.language.empty()) continue;
    if (is_region(name.word(i - 1)) && i >= 2 && name.tokens[i - 1].gap == kGapDash &&
        !two_letter_language(name.lower(i - 2)).empty()) {
      tags.language = std::string(name.lower(i - 2)) + "-" + std::string(name.word(i - 1));
      continue;
    }
    std::string_view code = two_letter_language(low);
    if (code.empty()) code = language_code(low);
    if (code != "multi") tags.language = code;
  }
  for (const std::string_view flag : {"forced", "sdh", "cc", "hi", "default", "commentary"}) {
    if (std::find(seen.begin(), seen.end(), flag) != seen.end()) tags.flags.emplace_back(flag);
  }
  return tags;
}

Result<std::string> place_companion(std::string_view video_target, std::string_view companion_name,
                                    std::string_view video_source_name) {
  const FileRole role = file_role(companion_name);
  const std::string_view name = base_name(companion_name);
  if (role != FileRole::subtitle && role != FileRole::artwork && role != FileRole::nfo) {
    return make_error(ErrorCode::invalid, "place " + printable(name),
                      "a file of the kind \"" + std::string(to_string(role)) + "\" does not follow a video");
  }
  const Split own = split_name(name);
  const Split source = split_name(base_name(video_source_name));
  const Split target = split_name(base_name(video_target));
  const std::string own_low = ascii_lower(own.stem);
  const std::string source_low = ascii_lower(source.stem);
  const bool follows = own_low.substr(0, source_low.size()) == source_low;
  const std::string_view rest = follows ? own.stem.substr(source.stem.size()) : own.stem;
  std::string result;
  std::string tail = "." + own.ext;
  if (role == FileRole::subtitle) {
    const SubtitleTags tags = subtitle_tags(rest);
    std::string middle;
    if (!tags.language.empty()) middle += "." + tags.language;
    for (const std::string& flag : tags.flags) middle += "." + flag;
    tail = middle + tail;
    result = std::string(target.stem) + tail;
  } else if (role == FileRole::artwork && is_folder_art(own.stem)) {
    result = own_low + tail;
  } else if (role == FileRole::artwork) {
    // "name-poster.jpg" keeps what kind of picture it is.
    const std::size_t dash = own.stem.rfind('-');
    const std::string_view kind = dash == own.stem.npos ? std::string_view{} : own.stem.substr(dash + 1);
    if (is_folder_art(kind)) tail = "-" + ascii_lower(kind) + tail;
    result = std::string(target.stem) + tail;
  } else {
    result = std::string(target.stem) + tail;
  }
  const std::string path = join_path(parent_path(video_target), safe_component(result, tail.size()));
  MEDIAFS_TRY(check_path(path));
  return path;
}

}  // namespace mediafs::naming
